//! What the program does for each of its subcommands.

pub(crate) mod admin;
mod client;
mod deed;
mod roles;
pub(crate) mod serve;

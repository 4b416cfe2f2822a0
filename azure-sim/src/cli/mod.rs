//! What the program does for each of its subcommands.

pub(crate) mod admin;
mod client;
mod deed;
pub(crate) mod serve;

//! Everything about one NIC: its document, the requests that change it, and the machine that sends
//! them.
//!
//! The document is edited as the JSON value that Azure sent, never rewritten from a model (I3).
//! Whether and where an address should be attached is decided by the Mover.

pub(crate) mod budget;
mod document;
#[cfg(test)]
mod foreign;
mod problem;
pub(crate) mod wire;
mod writer;
#[cfg(test)]
mod writer_tests;

pub use document::{Edit, EditRefused, IpConfig, Malformed, NicDocument, Provisioning};
pub use problem::{AzureError, Problem, ProblemKind, Remedy};
pub use wire::{HttpAnswer, HttpFault, HttpId, HttpRequest, HttpResult, Method, SendBefore};
pub(crate) use writer::{NicEffect, NicWriter, Presence, Setup, Want};

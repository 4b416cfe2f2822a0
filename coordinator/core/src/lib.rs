//! The pure machines of the coordinator (being built).
mod registry;
pub use registry::{Applied, Command, Registry};

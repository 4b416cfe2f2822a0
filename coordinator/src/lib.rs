//! The coordinator of a node: consensus among the nodes, the driver of the pure machines, the way
//! to Azure, and the gRPC API.
//!
//! The decisions are in `vipfence-coordinator-core`; this crate is their shell.

pub mod api;
mod arm;
pub mod azure;
pub mod consensus;
mod driver;

pub use arm::Arm;
pub use driver::{DriverHandle, DriverParts, ReadClocks, Tally, start};

//! The deterministic world: whole clusters in simulated time, on one thread, from one seed.
//!
//! Registry, Mover, NicWriter, Holder and the pure simulator of Azure run in it unchanged; Raft is
//! the real openraft on a runtime of our own. Between them lies everything that can go wrong:
//! directed links, clocks with rates of their own, disks that lose what was not flushed, processes
//! that stop, machines that pause, kernels that expire addresses, and Azure.
//!
//! ```text
//!   schedule of faults, operator            oracle: I1 to I8, after every event
//!              |                                      ^
//!              v                                      | the truth
//!   World: queue of events -> Machine(kernel, disks, clocks) -> Process -> Coordinator, Holder
//!              ^                                                    |          Seat (openraft)
//!              +----------- packets over Net, requests to Azure <---+
//! ```
//!
//! What it does not show: the product's own shells (they run in `agent/src/stress` and as real processes),
//! the time that code takes, and hardware.
#![allow(
    clippy::missing_panics_doc,
    reason = "a world that is not as it must be has to stop at once"
)]

pub mod azure;
mod balancer;
pub mod chance;
pub mod cli;
mod gate;
mod judge;
mod kernel;
mod machine;
pub mod mutants;
mod net;
mod operator;
mod oracle;
mod process;
mod run;
mod schedule;
mod search;
mod seat;
mod sometimes;
pub mod time;
mod timeline;
mod world;

pub use balancer::Frontend;
pub use judge::{Happening, Judge, Who};
pub use kernel::Kernel;
pub use net::Spot;
pub use operator::{Call, Ended, Operator};
pub use oracle::{Node, Nodes, Truth, Violation};
pub use run::{CONVERGE, Report, run_schedule, run_seed};
pub use schedule::{Length, Schedule, Strike, WAITING_FAULTS};
pub use search::{Failure, Tally, search, shrink};
pub use sometimes::{MUST_HAPPEN, Sometimes};
pub use timeline::Timeline;
pub use world::{Coming, Deed, Kind, Plan, Verdict, World, Wrote};

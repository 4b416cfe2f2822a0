//! The pure machines of the coordinator: the Registry that every node replicates, and the Mover and
//! NicWriters of the leader, joined in one [`Coordinator`].
//!
//! Nothing here reads a clock, waits, talks to a network or draws a random number: time comes in as
//! a `Clocks` reading, what is to be done comes out as an effect, and the shells in
//! `vipfence-coordinator` carry it out in order. The same code runs in the deterministic world.

mod acks;
mod ask;
mod candidacy;
mod coordinator;
mod mover;
mod newborn;
mod nic;
mod registry;
mod rights;
mod survey;
mod voice;

pub use acks::Acks;
pub use ask::{Ask, AskError, Estimate, MovePlan, PlannedWrite, Reply};
pub use candidacy::{Candidacy, Candidate};
pub use coordinator::{
    AskId, BeatId, Confirmed, Coordinator, Effect, Input, Pace, ProposalId, ProposeFault, RoundId,
    Setup,
};
pub use mover::{NodeState, NodeView};
pub use newborn::{log_is_lost, newborn_refuses};
pub use nic::{
    AzureError, Edit, EditRefused, HttpAnswer, HttpFault, HttpId, HttpRequest, HttpResult,
    IpConfig, Malformed, Method, NicDocument, Problem, ProblemKind, Provisioning, Remedy,
    SendBefore,
};
pub use registry::*;
pub use rights::{Right, Rights, UnknownScope};
pub use survey::{Prefix, prefixes_of, virtual_network_of};
pub use voice::Voice;

//! The words of vipfence as plain data: ids, epochs, terms, clock readings, timers, grants and
//! heartbeats.
//!
//! What is here is shared by the coordinator's machines and by the agent's machine, which do not
//! know each other. It decides nothing but what a value may look like (`VipName::new`,
//! `Timing::check`) and the two ways to measure elapsed time (`Clocks`), because both sides must
//! agree on them. No I/O, no clock, no randomness.

mod clocks;
mod finding;
mod heartbeat;
mod id;
mod mutation;
mod numbers;
mod policy;
mod text;
mod timing;
mod vip;

pub use clocks::Clocks;
pub use finding::{Examined, Finding, Severity};
pub use heartbeat::{
    Answer, Connection, Cut, Grant, Heartbeat, NodeHealth, Nowhere, Reach, Refusal, VipEpoch,
    VipFailing, VipReport,
};
pub use id::{
    BootId, ClusterName, InvalidName, NicId, NicRecord, NodeId, RequestId, VipName, validate_name,
};
pub use mutation::Mutation;
pub use numbers::{Epoch, MoveId, Revision, Term};
pub use policy::{Failback, Failover, FlapBudget, Unanswered};
pub use text::{brief, told};
pub use timing::{
    CLOCK_RATIO, KERNEL_LIFETIME_CAP, KERNEL_SLACK, Profile, Timing, TimingError, lease_wait,
};
pub use vip::{
    Candidate, DataPath, DriftPolicy, InvalidSpec, Mode, Probe, ProbeProtocol, QuorumLoss, Release,
    Role, VipAddress, VipSpec,
};

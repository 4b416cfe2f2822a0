//! The gRPC API of a node: `vipfence.v1`, reflection, health.
//!
//! Any node answers. What needs the leader is forwarded to it (`forward`); what this node has
//! applied is read here. Conversions between messages and the coordinator's words live in
//! `convert`, the table of errors in `errors`. Nothing about a lease, an epoch or a term is decided
//! here.

mod cluster;
mod convert;
mod diagnose;
mod errors;
#[cfg(test)]
mod foreign;
mod forward;
mod internal;
mod read;
mod server;
mod vip;

use std::{sync::Arc, time::Duration};

use vipfence_types::{Epoch, NodeId, VipName};

use crate::{consensus::Consensus, driver::DriverHandle};

pub use convert::diagnosis;
pub use diagnose::{Examine, Examiner, Frontend};
pub use internal::{BeatError, LeaderLink, nudges};
pub use server::{ServeError, bind, serve, serve_incoming};

/// What a node knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalStatus {
    /// VIPs whose address it has: name, epoch, what is left of the lease.
    pub held: Vec<(VipName, Epoch, Duration)>,
    /// Why it holds nothing, or what hinders it; empty = nothing.
    pub detail: String,
}

/// What the services of a node work with; cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(crate) node: NodeId,
    pub(crate) consensus: Consensus,
    pub(crate) driver: DriverHandle,
    pub(crate) local: Arc<dyn Fn() -> LocalStatus + Send + Sync>,
    pub(crate) nudged: Arc<dyn Fn() + Send + Sync>,
    pub(crate) examiner: Option<Arc<dyn Examiner>>,
}

impl Api {
    /// Puts the services of a node together. `local` tells what the node's agent holds; `nudged` is
    /// called when the leader hints that the agent should beat at once.
    #[must_use]
    pub fn new(
        consensus: Consensus,
        driver: DriverHandle,
        local: Arc<dyn Fn() -> LocalStatus + Send + Sync>,
        nudged: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { node: consensus.node().clone(), consensus, driver, local, nudged, examiner: None }
    }

    /// Looks for what would go wrong on this node.
    #[must_use]
    pub fn with_examiner(self, examiner: Arc<dyn Examiner>) -> Self {
        Self { examiner: Some(examiner), ..self }
    }
}

/// The version of this build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

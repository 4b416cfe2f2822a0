//! The oracle for worlds other than this one: the same invariants, fed from outside.
//!
//! Whoever drives real shells tells what happens, at the moment at which it happens, and shows the
//! truth; the judge says what is violated. What it is not told it cannot see.

use std::{net::IpAddr, sync::Arc};

use vipfence_coordinator_core::{Applied, Command, Confirmed, HttpRequest, Registry};
use vipfence_types::{Clocks, Epoch, MoveId, NodeId, Term, VipName};

use crate::{
    oracle::{Oracle, Truth, Violation, unconverged},
    process::{Fact, HandedOver},
    seat::{Leadership, SeatCommit},
    sometimes::Sometimes,
    timeline::Timeline,
};

/// Which process, on which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The index of its node.
    pub node: usize,
    /// Its own number: another start is another process.
    pub process: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Happening {
    /// A node has applied an entry of the log; all that a node applies are told, in order.
    Applied {
        /// Its place.
        index: u64,
        /// Its term.
        term: Term,
        /// The command; none = an entry of openraft's own.
        command: Option<Command>,
        /// What the node made of it.
        applied: Option<Applied>,
    },
    /// A process believes that it leads.
    Leads {
        /// In which term.
        term: Term,
    },
    /// A write is handed over to Azure.
    Writes {
        /// The write.
        request: HttpRequest,
        /// The clocks of the sender now.
        clocks: Clocks,
        /// The replicated state from which it was decided.
        state: Arc<Registry>,
        /// The quorum rounds of this process that were confirmed by now, at least the last ones:
        /// when each began, and what it confirmed.
        rounds: Vec<(Clocks, Confirmed)>,
    },
    /// An address was set on the OS.
    Set {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
        /// The address.
        address: IpAddr,
    },
    /// An address was taken off the OS.
    Dropped {
        /// The address.
        address: IpAddr,
    },
}

/// See the module.
pub struct Judge {
    oracle: Oracle,
    sometimes: Sometimes,
    /// What happened, in words.
    pub timeline: Timeline,
}

impl Judge {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(azure: &azure_sim::World) -> Self {
        let (sometimes, timeline) = (Sometimes::default(), Timeline::default());
        Self { oracle: Oracle::new(azure), sometimes, timeline }
    }

    /// Takes note of something that a process did.
    ///
    /// # Errors
    /// An invariant does not hold.
    pub fn learn(&mut self, truth: &Truth<'_>, who: Who, what: Happening) -> Result<(), Violation> {
        let fact = fact_of(truth.machines.node(who.node).name(), what);
        let Self { oracle, sometimes, timeline } = self;
        oracle.learn(truth, (who.node, who.process), fact, sometimes, timeline)
    }

    /// Addresses are gone by themselves.
    pub fn gone(&mut self) {
        self.oracle.kernel_changed();
    }

    /// A process has ended, however.
    pub fn ended(&mut self, process: u64) {
        self.oracle.process_ended(process, &mut self.sometimes);
    }

    /// What is checked whenever something may have changed.
    ///
    /// # Errors
    /// An invariant does not hold.
    pub fn look(&mut self, truth: &Truth<'_>) -> Result<(), Violation> {
        self.oracle.check(truth, &mut self.sometimes, &mut self.timeline)
    }

    /// What is missing until the cluster has converged (I6).
    #[must_use]
    pub fn unconverged(&self, truth: &Truth<'_>) -> Option<String> {
        unconverged(truth, &self.oracle.log)
    }

    /// The cluster has come to rest: what was acknowledged must have ended (I4).
    ///
    /// # Errors
    /// An acknowledged move is lost, or goes on.
    pub fn at_the_end<'a>(
        &self,
        acknowledged: impl Iterator<Item = (MoveId, Option<&'a VipName>)>,
    ) -> Result<(), Violation> {
        self.oracle.at_the_end(acknowledged)
    }

    /// What the nodes have agreed on so far.
    #[must_use]
    pub fn agreed(&self) -> &Registry {
        &self.oracle.log.registry
    }

    /// What really happened, by how often.
    #[must_use]
    pub fn sometimes(&self) -> &Sometimes {
        &self.sometimes
    }
}

fn fact_of(node: &NodeId, what: Happening) -> Fact {
    match what {
        Happening::Applied { index, term, command, applied } => {
            Fact::Committed(SeatCommit { index, term, command: command.map(Box::new), applied })
        }
        Happening::Leads { term } => {
            Fact::Leadership(Leadership { term, leader: Some(node.clone()), leading: true })
        }
        Happening::Writes { request, clocks, state, rounds } => {
            Fact::HandedOver(Box::new(HandedOver { request, clocks, rounds, state }))
        }
        Happening::Set { vip, epoch, address } => Fact::Set { vip, epoch, address },
        Happening::Dropped { address } => Fact::Dropped { address },
    }
}

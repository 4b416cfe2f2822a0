//! What a [`Holder`](crate::Holder) tells those who watch: logs, metrics and streams derive from it.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use serde::Serialize;
use vipfence_types::{Epoch, Refusal, Term, VipName};

use crate::Task;

/// Why an entitlement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// Its lease ran out: no leader answered in time.
    LeaseEnded,
    /// The leader answered without it.
    NotGranted,
    /// The leader asked for it.
    Released,
    /// The agent is stopping, and nobody took it over in time.
    Stopping,
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeaseEnded => "its lease ended",
            Self::NotGranted => "the leader grants it no more",
            Self::Released => "the leader asked for it",
            Self::Stopping => "the agent is stopping",
        })
    }
}

/// Something happened on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The node may hold the VIP, under this epoch. A second one without `NotEntitled` between
    /// them: the address stays, the epoch is new.
    Entitled {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
    },
    /// The node may hold it no more; the address is being dropped.
    NotEntitled {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
        /// Why.
        cause: EndCause,
    },
    /// The address is on the OS, under this epoch for the first time.
    Added {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
    },
    /// The address could not be put on the OS; it is tried again.
    AddFailed {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
        /// Why.
        problem: String,
    },
    /// The address is off the OS.
    Dropped {
        /// The VIP.
        vip: VipName,
    },
    /// The address could not be taken off the OS; it is tried again, and its lifetime runs out.
    DropFailed {
        /// The VIP; none = addresses of an earlier start.
        vip: Option<VipName>,
        /// Why.
        problem: String,
    },
    /// Something else took an address of the VIP off the OS, or changed it; it is put back.
    Disturbed {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
        /// The address.
        address: IpAddr,
    },
    /// Something else put an address of a VIP on the OS that this node does not hold; it is taken
    /// off.
    Stray {
        /// The address.
        address: IpAddr,
    },
    /// Spent on disk and read back: the node confirms the release.
    Released {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
    },
    /// The state directory could not be written; the release is not confirmed before it can.
    PersistFailed {
        /// The VIP.
        vip: VipName,
        /// Why.
        problem: String,
    },
    /// A grant was not taken: its epoch is spent here, has had its tasks, or is lower than the one
    /// held.
    GrantRefused {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
    },
    /// `on_quorum_loss = hold`: kept although nobody renews it. I1 is not promised.
    HeldWithoutQuorum {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
    },
    /// The agent is stopping, and no node can take the VIP over: nobody serves it from here on.
    Nowhere {
        /// The VIP.
        vip: VipName,
        /// Why not.
        reason: String,
    },
    /// The agent, or its machine, stood still: nothing here ran for so long, as the clocks show.
    /// What ended meanwhile is dropped now, said by events of its own.
    Paused {
        /// How long.
        gap: Duration,
        /// What was held when it began.
        held: Vec<VipName>,
    },
    /// The wall clock was set, or jumped: it can end a lease early, never prolong one.
    WallStepped {
        /// By how much, in microseconds; positive = forward.
        by_us: i64,
    },
    /// Something around a VIP begins.
    TaskStarted {
        /// The VIP.
        vip: VipName,
        /// The epoch; 0 = of no entitlement: the agent has started.
        epoch: Epoch,
        /// What.
        task: Task,
    },
    /// It has ended, or was aborted and has had its time to end.
    TaskEnded {
        /// The VIP.
        vip: VipName,
        /// The epoch.
        epoch: Epoch,
        /// What.
        task: Task,
        /// How; the failure in words for people.
        outcome: Result<(), String>,
    },
    /// A leader answers, for the first time or again.
    LeaderAnswers {
        /// Its term.
        term: Term,
    },
    /// No leader answers any more.
    LeaderSilent {
        /// Why.
        problem: String,
    },
    /// A node answered that it will not take this node's heartbeats. What a lease covers stays.
    TurnedAway {
        /// Why.
        refusal: Refusal,
    },
}

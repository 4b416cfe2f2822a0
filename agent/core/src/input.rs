//! Everything that can happen to a [`Holder`](crate::Holder).

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vipfence_types::{
    Answer, BootId, Clocks, ClusterName, Connection, Epoch, NicRecord, NodeId, Refusal, VipName,
};

use crate::{Call, Duties, Serving, Spent};

/// What an agent knows when it starts. It is entitled to nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    /// The cluster.
    pub cluster: ClusterName,
    /// This node.
    pub node: NodeId,
    /// This start of the agent: random, never used twice.
    pub boot: BootId,
    /// The starts before this one, from the locked state directory.
    pub replaces: Vec<BootId>,
    /// The node's NICs.
    pub nics: Vec<NicRecord>,
    /// The version of the agent.
    pub version: String,
    /// How often to beat.
    pub heartbeat: Duration,
    /// What is spent, from disk.
    pub spent: Spent,
    /// The highest epoch ever seen, from disk.
    pub highest_epoch: Epoch,
    /// Every address of a VIP of this cluster, as far as the node's disk tells.
    pub managed: BTreeSet<IpAddr>,
    /// Those of them that are on the OS already, and what earlier starts have put there.
    pub found: Vec<Found>,
    /// What is to be done around VIPs on this node.
    pub duties: BTreeMap<VipName, Duties>,
    /// What an earlier start has begun around VIPs, from disk. Complete only if it still holds: the
    /// machine was not booted since, and the units run.
    pub serving: BTreeMap<VipName, Serving>,
}

/// What becomes of the VIPs of a node whose agent is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// They move away first.
    #[default]
    Move,
    /// They stay, for as long as their kernel lifetimes run: the agent will be back within them.
    Keep,
}

/// A managed address that an agent finds on the OS when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The address.
    pub address: IpAddr,
    /// What is left of its kernel lifetime; none = it stays for ever.
    pub lifetime_left: Option<Duration>,
}

/// What a look at the OS found after a change that this agent had not asked for. Always of the
/// present, never of the past: what is right again by then is not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Sighting {
    /// The address is on the OS as this agent would not have put it there: elsewhere, with another
    /// prefix, or with a lifetime that is not of its making.
    Foreign(IpAddr),
    /// The address is not on the OS.
    Gone(IpAddr),
    /// Events were lost, or an interface came up: anything may have changed.
    Unknown,
}

/// Everything that can happen.
///
/// Outcomes of heartbeats name the boot that sent them. The number of a heartbeat means nothing
/// in another boot, so an outcome of another boot is ignored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Input {
    /// The leader answered a heartbeat. The only thing that entitles to anything.
    Answered {
        /// The boot that sent the heartbeat.
        boot: BootId,
        /// The answer; its `seq` names the heartbeat.
        answer: Answer,
    },
    /// A node answered that it does not take the heartbeat.
    Refused {
        /// The boot that sent the heartbeat.
        boot: BootId,
        /// The heartbeat.
        seq: u64,
        /// Why.
        refusal: Refusal,
    },
    /// No answer came.
    Unreachable {
        /// The boot that sent the heartbeat.
        boot: BootId,
        /// The heartbeat.
        seq: u64,
        /// Why, for people.
        problem: String,
    },
    /// The leader hints that there is news. It carries no grant, so it can only cause a heartbeat.
    Nudged,
    /// [`Effect::Add`](crate::Effect::Add): the lifetime was set, and the addresses were read back.
    Added {
        /// The call.
        call: Call,
        /// The clocks, read after the call.
        at: Clocks,
    },
    /// [`Effect::Add`](crate::Effect::Add): failed, or started too late. The addresses may be there.
    AddFailed {
        /// The call.
        call: Call,
        /// Why, for people.
        problem: String,
    },
    /// [`Effect::Drop`](crate::Effect::Drop) or [`Effect::Sweep`](crate::Effect::Sweep): the kernel
    /// was read back *after* the removal, and the addresses are not there.
    Dropped {
        /// The call.
        call: Call,
    },
    /// [`Effect::Drop`](crate::Effect::Drop): before the addresses went, these connections to them
    /// were cut. Comes before `Dropped` or `DropFailed`, where there were any.
    Cut {
        /// The call.
        call: Call,
        /// The connections.
        connections: Vec<Connection>,
    },
    /// The addresses may still be there.
    DropFailed {
        /// The call.
        call: Call,
        /// Why, for people.
        problem: String,
    },
    /// [`Effect::PersistSpent`](crate::Effect::PersistSpent): it is on disk, flushed.
    Persisted {
        /// The call.
        call: Call,
    },
    /// It may or may not be on disk.
    PersistFailed {
        /// The call.
        call: Call,
        /// Why, for people.
        problem: String,
    },
    /// Every address of a VIP of this cluster, as far as this node's copy of the log tells. None of
    /// them may stay on the OS without a grant, whoever put it there. It entitles to nothing.
    Managed {
        /// The addresses.
        addresses: BTreeSet<IpAddr>,
    },
    /// Something other than this agent changed an address on the OS, or may have.
    Sighted(Sighting),
    /// [`Effect::Run`](crate::Effect::Run) has ended.
    Ran {
        /// The call.
        call: Call,
        /// How; the failure in words for people.
        outcome: Result<(), String>,
    },
    /// The health checks of a VIP on this node, whether or not the node holds it.
    Checked {
        /// The VIP.
        vip: VipName,
        /// Why it is not well; none = it is.
        failing: Option<String>,
    },
    /// [`Effect::Reach`](crate::Effect::Reach) has ended.
    Reached {
        /// The call.
        call: Call,
        /// Whether whoever has the address answered: by taking the connection, or by refusing it.
        answered: bool,
    },
    /// How the node is.
    Health {
        /// Whether it reaches Azure's API; none = not tried yet.
        arm_ok: Option<bool>,
        /// What is wrong, for people; empty = nothing.
        detail: String,
    },
    /// The timers changed.
    HeartbeatEvery {
        /// How often to beat from now on.
        interval: Duration,
    },
    /// Stop cleanly. To move the VIPs away: say so, go on serving until the leader has moved them,
    /// let go of what is left after `within`. To keep them: beat once more, renew, and end.
    Stop {
        /// What becomes of the VIPs.
        on_stop: OnStop,
        /// How long the leader gets to move them, or to answer once more.
        within: Duration,
    },
    /// Time has passed.
    Tick,
}

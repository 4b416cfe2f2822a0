//! What lies between a process and the world: what is due, what it leaves to be carried out, what a
//! watcher of the truth must know of it, and the machine that it can touch.
//!
//! Only data: what is done with it stands in the other modules, and in the world.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use vipfence_agent_core as agent;
use vipfence_coordinator_core::{self as core, HttpId, HttpRequest};
use vipfence_types::{Clocks, Epoch, NicRecord, NodeId, Timing, VipEpoch, VipName};

use super::Memory;
use crate::{
    chance::Chance,
    kernel::Kernel,
    net::{Packet, Tried},
    seat::{DiskHealth, Leadership, SeatCommit},
};

/// Something of a process's own that is due.
#[derive(Debug)]
pub(crate) enum Local {
    /// openraft wants to go on.
    Raft(u64),
    /// The driver's timer.
    Driver(u64),
    /// The node's timer.
    Holder(u64),
    /// The OS works off its next call.
    Os,
    /// The disk has flushed.
    Disk,
    /// Something that runs around a VIP ends.
    Task(agent::Call),
    /// An attempt to reach a VIP has had its time.
    ReachTimeout(agent::Call),
    /// A request to ARM has its connection.
    Ready(Box<Asked>),
    /// Nobody waits for the answer any more.
    HttpTimeout(HttpId),
    BeatTimeout(u64),
    /// A look at the OS found something that others have changed.
    Sighted(agent::Sighting),
    /// The token keeper looks.
    Token,
    /// A result of consensus reaches the driver.
    Input(Box<core::Input>),
    Applied,
}

/// What a process does to the world around it, and what a watcher of the truth must know.
#[derive(Debug)]
pub(crate) enum Fact {
    /// A node has applied an entry.
    Committed(SeatCommit),
    /// What this process thinks of the leadership has changed.
    Leadership(Leadership),
    /// A write is handed to the socket.
    HandedOver(Box<HandedOver>),
    /// The agent tells of itself.
    Agent(agent::Event),
    /// A leader's answer to a heartbeat has come.
    BeatAnswered {
        seq: u64,
    },
    /// A leader has received a heartbeat.
    BeatTaken {
        beat: u64,
    },
    /// A leader has answered it, with these grants.
    BeatGranted {
        beat: u64,
        grants: Vec<VipEpoch>,
    },
    /// An address was set on the OS.
    Set {
        vip: VipName,
        epoch: Epoch,
        address: IpAddr,
    },
    /// The probe of a load balancer is answered from now on.
    Opened {
        vip: VipName,
        epoch: Epoch,
        port: u16,
    },
    /// A node has had an answer from an address that it tried to reach; or none in time.
    Reached(Tried),
    NotReached,
    /// An address was taken off the OS.
    Dropped {
        address: IpAddr,
    },
    /// Clients were told in the name of these addresses that their connections are over.
    Told {
        vip: VipName,
        addresses: BTreeSet<IpAddr>,
    },
    /// Something around a VIP, by what really runs; of epoch 0: units that are stopped, for no
    /// entitlement, or unknown to the disk.
    Task {
        vip: VipName,
        epoch: Epoch,
        task: agent::Task,
        what: TaskFact,
    },
    /// A request got no answer in time, or was not sent.
    Http(&'static str),
    /// A write was begun although Azure had told to wait.
    WroteWhileThrottled,
    /// A leader that Azure does not answer makes way.
    MakesWay,
    /// Raft has stopped: the process must end.
    RaftStopped(String),
    /// The agent has stopped cleanly: the process ends.
    AgentStopped,
}

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskFact {
    /// It runs.
    Begun,
    /// It was told to end, or not to begin.
    Aborted,
    /// It has ended by itself, or since it was told to.
    Ended { well: bool },
}

/// A request that the machine has asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: HttpRequest,
    /// The replicated state from which the machine decided it.
    pub(super) state: Arc<core::Registry>,
}

/// A write at the moment at which it is handed over.
#[derive(Clone, Debug)]
pub(crate) struct HandedOver {
    pub(crate) request: HttpRequest,
    /// The clocks of the sender now.
    pub(crate) clocks: Clocks,
    /// The quorum rounds of this process that were confirmed: when each began, and its term.
    pub(crate) rounds: Vec<(Clocks, core::Confirmed)>,
    /// The replicated state from which the sender decided it.
    pub(crate) state: Arc<core::Registry>,
}

/// What a process leaves for the world to carry out.
#[derive(Default)]
pub(crate) struct Out {
    pub(crate) packets: Vec<Packet>,
    /// After so long, by the machine's monotonic clock.
    pub(crate) locals: Vec<(u64, Local)>,
    pub(crate) facts: Vec<Fact>,
}

/// The machine that a process runs on, as far as the process can touch it.
pub(crate) struct Host<'a> {
    pub(crate) now: Clocks,
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) memory: &'a mut Memory,
    pub(crate) health: DiskHealth,
    pub(crate) chance: &'a mut Chance,
    /// Calls to the OS fail, one in so many; 0 = none.
    pub(crate) os_fails: u64,
    /// Calls to the OS take up to so much longer.
    pub(crate) os_slow_ms: u64,
    /// What runs around VIPs fails, hangs or is late, one in so many; 0 = none.
    pub(crate) hooks_fail: u64,
    /// What there is to do around VIPs.
    pub(crate) duties: &'a BTreeMap<VipName, agent::Duties>,
}

impl Host<'_> {
    pub(super) fn mono(&self) -> Duration {
        Duration::from_micros(self.now.mono_us)
    }
}

/// Who a process is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) index: usize,
    pub(crate) node: NodeId,
    pub(crate) number: u64,
    pub(crate) nics: Vec<NicRecord>,
    pub(crate) timing: Timing,
}

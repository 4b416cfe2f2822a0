//! A machine: what outlives a process.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vipfence_types::{Clocks, NodeId};

use crate::{
    chance::Chance,
    kernel::Kernel,
    net::Packet,
    process::{Host, Local, Memory, Process},
    seat::RaftDisk,
    time::{At, MachineClocks, PauseSeen},
};

/// Something that waits for a process which does not run at the moment.
#[derive(Debug)]
pub(crate) enum Waits {
    Packet(Box<Packet>),
    Local { process: u64, local: Local },
}

/// See the module.
pub(crate) struct Machine {
    pub(crate) name: NodeId,
    pub(crate) clocks: MachineClocks,
    pub(crate) kernel: Kernel,
    pub(crate) raft_disk: Arc<Mutex<RaftDisk>>,
    pub(crate) memory: Memory,
    pub(crate) chance: Chance,
    pub(crate) process: Option<Process>,
    /// The process is stopped (SIGSTOP).
    pub(crate) stopped: bool,
    /// The machine is paused since then.
    pub(crate) paused: Option<(At, PauseSeen)>,
    /// The machine is off.
    pub(crate) off: bool,
    pub(crate) waiting: Vec<Waits>,
    pub(crate) os_fails: u64,
    pub(crate) os_slow_ms: u64,
    /// Addresses that were there when a pause ended, with lifetimes that stood still meanwhile: the
    /// exception of I1 (ADR 6). Each goes when it is dropped, runs out or is set anew.
    pub(crate) excused: BTreeSet<IpAddr>,
    /// What has to happen before they count all the same, and to which process: without that one
    /// nobody but the kernel takes them off.
    pub(crate) excuse_ends: ExcuseEnds,
    pub(crate) excused_process: Option<u64>,
}

/// When addresses that a pause preserved count again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ExcuseEnds {
    /// There is none.
    #[default]
    Never,
    /// The agent has taken more steps than these, and its calls to the OS are done: it looks at the
    /// clocks at least twice a second.
    AfterAStep { steps: u64 },
    /// The agent has had an answer to a heartbeat that it sent after the pause.
    AfterABeat { sent_after_seq: Option<u64> },
}

impl Machine {
    /// Whether a process could run on it now.
    pub(crate) fn runs(&self) -> bool {
        !self.stopped && self.paused.is_none() && !self.off
    }

    /// All its clocks.
    pub(crate) fn read(&self, at: At) -> Clocks {
        self.clocks.read(at)
    }

    pub(crate) fn raft_disk(&self) -> MutexGuard<'_, RaftDisk> {
        self.raft_disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process, and the machine as it can touch it.
    pub(crate) fn parts(&mut self, at: At) -> (&mut Option<Process>, Host<'_>) {
        let now = self.clocks.read(at);
        let health = self.raft_disk.lock().unwrap_or_else(PoisonError::into_inner).health;
        let host = Host {
            now,
            kernel: &mut self.kernel,
            memory: &mut self.memory,
            health,
            chance: &mut self.chance,
            os_fails: self.os_fails,
            os_slow_ms: self.os_slow_ms,
        };
        (&mut self.process, host)
    }

    /// Whether an address is on its OS, as I1 counts: not on a machine that stands still.
    pub(crate) fn counts_as_having(&self, address: IpAddr) -> bool {
        self.paused.is_none()
            && !self.off
            && self.kernel.has(address)
            && !(self.excused.contains(&address) && self.is_excused())
    }

    /// Whether what a pause preserved does not count now.
    fn is_excused(&self) -> bool {
        let number = self.process.as_ref().map(Process::number);
        self.excuse_ends != ExcuseEnds::Never || number != self.excused_process
    }
}

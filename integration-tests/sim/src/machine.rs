//! A machine: what outlives a process.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vipfence_agent_core::{Duties, HeldVip};
use vipfence_types::{Clocks, Epoch, NodeId, VipEpoch, VipName};

use crate::{
    chance::Chance,
    kernel::Kernel,
    net::Packet,
    oracle::Node,
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
    pub(crate) hooks_fail: u64,
    pub(crate) duties: BTreeMap<VipName, Duties>,
    /// The VIPs whose health checks fail.
    pub(crate) failing: BTreeSet<VipName>,
    /// Addresses that were there when a pause ended, with lifetimes that stood still meanwhile: the
    /// exception of I1 (ADR 6). Each goes when it is dropped, runs out or is set anew.
    pub(crate) excused: BTreeSet<IpAddr>,
    /// Probes that were answered then, likewise.
    pub(crate) excused_ports: BTreeSet<u16>,
    /// Epochs that the process held when a pause ended that no clock shows: what it sets under them
    /// until a leader answers it, and until the drop that follows, is excused, too.
    pub(crate) excused_epochs: Vec<VipEpoch>,
    /// What has to happen before they count all the same, and to which process.
    pub(crate) excuse_ends: ExcuseEnds,
    pub(crate) excused_process: Option<u64>,
    /// Addresses without an end that somebody else has put there, each with the process that ran
    /// then. They count when that one was told and has done what it does about it; or when a later
    /// one takes part without having dropped them (design.md I1, exceptions).
    pub(crate) left_behind: BTreeMap<IpAddr, Option<u64>>,
    /// How long the agent stays away when it has stopped next (ms).
    pub(crate) down_for: Option<u64>,
    /// The process that set each address last: another one leaves it to the kernel.
    pub(crate) set_by: BTreeMap<IpAddr, u64>,
}

/// When addresses that a pause preserved count again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ExcuseEnds {
    /// There is none.
    #[default]
    Never,
    /// The agent has taken more steps than these, and what it then dropped is gone: it looks at the
    /// clocks at least twice a second, and repeats what the OS refuses.
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
            hooks_fail: self.hooks_fail,
            duties: &self.duties,
        };
        (&mut self.process, host)
    }
}

impl Machine {
    /// Whether an address is one that a pause preserved, and does not count now: its process has not
    /// acted yet, or is gone, and nobody but the kernel takes it off.
    fn is_preserved(&self, address: IpAddr) -> bool {
        let number = self.process.as_ref().map(Process::number);
        let orphaned = self.set_by.get(&address).copied() != number;
        self.excused.contains(&address) && (self.excuse_ends != ExcuseEnds::Never || orphaned)
    }
}

impl Machine {
    /// Whether an address is one that somebody else has put there, and the agent did not have its
    /// chance yet to take it off.
    fn is_left_behind(&self, address: IpAddr) -> bool {
        let (Some(under), Some(process)) = (self.left_behind.get(&address), &self.process) else {
            return self.left_behind.contains_key(&address);
        };
        if *under == Some(process.number()) {
            return !process.has_dealt_with(address);
        }
        process.last_seq() == 0
    }
}

impl Node for Machine {
    fn name(&self) -> &NodeId {
        &self.name
    }

    fn counts_as_having(&self, address: IpAddr) -> bool {
        self.paused.is_none()
            && !self.off
            && self.kernel.has(address)
            && !self.is_preserved(address)
            && !self.is_left_behind(address)
    }

    fn answers_probe(&self, now: At, port: u16) -> bool {
        let preserved = self.excuse_ends != ExcuseEnds::Never && self.excused_ports.contains(&port);
        let stands_still = self.paused.is_some() || self.off;
        let mono = self.clocks.mono(now);
        !preserved && !stands_still && self.kernel.gate.answers(mono, port).is_some()
    }

    fn entitled(&self, now: At) -> Vec<HeldVip> {
        let stands_still = self.paused.is_some() || self.off;
        let running = self.process.as_ref().filter(|_| !stands_still);
        running.map(|process| process.holder().view(self.read(now)).held).unwrap_or_default()
    }

    fn has_spent(&self, vip: &VipName, address: IpAddr, epoch: Epoch) -> bool {
        self.memory.spent.forbids(vip, &[address], epoch)
    }

    fn has_spent_by_name(&self, vip: &VipName, epoch: Epoch) -> Option<bool> {
        Some(self.memory.spent.vips.get(vip).is_some_and(|spent| *spent >= epoch))
    }

    fn is_excused(&self) -> bool {
        self.excuse_ends != ExcuseEnds::Never
    }
}

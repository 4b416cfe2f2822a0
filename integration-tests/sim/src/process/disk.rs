//! The agent's disk: what it has spent and seen, and the calls that wait for their flush.
//!
//! The Raft log is on a disk of its own (`crate::seat`).

use std::net::IpAddr;

use vipfence_agent_core::{self as agent, Call, Spent};
use vipfence_types::{BootId, Epoch, Mutation, VipName};

use super::{Host, Local, Out, Process};
use crate::time::us;

/// What an agent finds on its disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) spent: Spent,
    pub(crate) highest_epoch: Epoch,
    pub(crate) boots: Vec<BootId>,
}

/// A call to the disk that waits for its flush.
#[derive(Debug)]
pub(super) enum DiskCall {
    Spend { call: Call, vip: VipName, addresses: Vec<IpAddr>, epoch: Epoch },
    See(Epoch),
}

impl DiskCall {
    pub(super) fn write(&self, memory: &mut Memory) {
        match self {
            Self::Spend { .. } if Mutation::SpentInMemory.is_on() => {}
            Self::Spend { vip, addresses, epoch, .. } => {
                memory.spent.spend(vip, addresses, *epoch);
            }
            Self::See(epoch) => memory.highest_epoch = memory.highest_epoch.max(*epoch),
        }
    }
}

impl Process {
    pub(super) fn ask_disk(&mut self, call: DiskCall, host: &mut Host<'_>, out: &mut Out) {
        self.disk.push_back(call);
        if self.disk.len() == 1 {
            out.locals.push((flush_time(host), Local::Disk));
        }
    }

    /// The call at the front is on the platter now.
    pub(super) fn work_disk(&mut self, host: &mut Host<'_>, out: &mut Out) {
        let Some(done) = self.disk.pop_front() else { return };
        if !self.disk.is_empty() {
            out.locals.push((flush_time(host), Local::Disk));
        }
        let full = host.health.full;
        if !full {
            done.write(host.memory);
        }
        if let DiskCall::Spend { call, .. } = done {
            let input = if full {
                let problem = "no space left on device".to_owned();
                agent::Input::PersistFailed { call, problem }
            } else {
                agent::Input::Persisted { call }
            };
            self.tell_node(input, host, out);
        }
    }
}

fn flush_time(host: &mut Host<'_>) -> u64 {
    host.chance.within(100, 1_500) + us(host.health.slow_by)
}

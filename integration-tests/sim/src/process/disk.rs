//! The agent's disk: what it has spent, seen and served, and the calls that wait for their flush.
//!
//! The Raft log is on a disk of its own (`crate::seat`).

use std::{collections::BTreeMap, net::IpAddr};

use vipfence_agent_core::{self as agent, Call, Serving, Spent};
use vipfence_types::{BootId, Epoch, Mutation, VipName};

use super::{Host, Local, Out, Process, tasks::Run};
use crate::time::us;

/// What an agent finds on its disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) spent: Spent,
    pub(crate) highest_epoch: Epoch,
    pub(crate) boots: Vec<BootId>,
    pub(crate) serving: BTreeMap<VipName, Serving>,
}

/// A call to the disk that waits for its flush.
#[derive(Debug)]
pub(super) enum DiskCall {
    Spend {
        call: Call,
        vip: VipName,
        addresses: Vec<IpAddr>,
        epoch: Epoch,
    },
    See(Epoch),
    Note {
        vip: VipName,
        serving: Option<Serving>,
    },
    /// Waits for what is to be written before it begins.
    Run(Run),
}

impl DiskCall {
    pub(super) fn write(&self, memory: &mut Memory) {
        match self {
            Self::Spend { .. } if Mutation::SpentInMemory.is_on() => {}
            Self::Spend { vip, addresses, epoch, .. } => {
                memory.spent.spend(vip, addresses, *epoch);
            }
            Self::Run(_) => {}
            Self::Note { .. } if Mutation::ServingInMemory.is_on() => {}
            Self::Note { vip, serving: Some(serving) } => {
                memory.serving.insert(vip.clone(), *serving);
            }
            Self::Note { vip, serving: None } => drop(memory.serving.remove(vip)),
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
        match done {
            DiskCall::Spend { call, .. } if full => {
                let problem = "no space left on device".to_owned();
                self.tell_node(agent::Input::PersistFailed { call, problem }, host, out);
            }
            DiskCall::Spend { call, .. } => {
                self.tell_node(agent::Input::Persisted { call }, host, out);
            }
            DiskCall::Note { vip, serving } if full => drop(self.unwritten.insert(vip, serving)),
            DiskCall::Note { vip, .. } => drop(self.unwritten.remove(&vip)),
            DiskCall::Run(run) => self.begin_task(run, host, out),
            DiskCall::See(_) => {}
        }
    }
}

fn flush_time(host: &mut Host<'_>) -> u64 {
    host.chance.within(100, 1_500) + us(host.health.slow_by)
}

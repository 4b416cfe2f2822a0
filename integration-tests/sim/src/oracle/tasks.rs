//! What is done around VIPs: hooks and units, by what really ran.
//!
//! - "Hooks always in order and never twice for one epoch", over restarts and nodes.
//! - No address before its `pre_acquire` has ended well, unless the VIP is to be served all the same.
//! - No release is confirmed while units run that were not told to stop and given their time.
//! - Units of a VIP start nowhere while they run on another node, untold to stop, whose agent has been
//!   alive and well for long enough to stop them.

use std::collections::{BTreeMap, BTreeSet};

use vipfence_agent_core::{Duties, Task};
use vipfence_types::{Epoch, NodeId, VipName};

use super::{Verdict, violated};
use crate::{
    process::TaskFact,
    time::{At, secs},
};

/// An agent that has run, with a disk that works, for so long has had time to stop what it must.
const SETTLED: u64 = secs(10);

/// What becomes of units that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Units {
    Run,
    AreBeingStopped,
    /// They did not stop, or not in their time.
    DidNotStop,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Tasks {
    pub(crate) duties: BTreeMap<VipName, Duties>,
    /// The node of each epoch, and the last task that was begun for it.
    begun: BTreeMap<(VipName, Epoch), (usize, Task)>,
    /// The epochs whose `pre_acquire` is no obstacle.
    passed: BTreeSet<(VipName, Epoch)>,
    units: BTreeMap<(usize, VipName), Units>,
    /// Since when an agent has been alive and well.
    settled: BTreeMap<usize, At>,
}

impl Tasks {
    pub(crate) fn task(
        &mut self,
        now: At,
        (node, name): (usize, &NodeId),
        (vip, epoch, task): (VipName, Epoch, Task),
        what: TaskFact,
    ) -> Verdict {
        let key = (node, vip.clone());
        match (task, what) {
            (_, TaskFact::Begun) => {
                self.in_order(node, name, &vip, epoch, task)?;
                if task == Task::StartUnits {
                    self.nowhere_else(now, node, name, &vip)?;
                    self.units.insert(key, Units::Run);
                } else if task == Task::StopUnits {
                    self.units.entry(key).and_modify(|units| *units = Units::AreBeingStopped);
                }
            }
            (Task::StopUnits, TaskFact::Ended { well: true }) => drop(self.units.remove(&key)),
            (Task::StopUnits, TaskFact::Ended { well: false } | TaskFact::Aborted) => {
                self.units.entry(key).and_modify(|units| *units = Units::DidNotStop);
            }
            (Task::PreAcquire, what) => {
                let anyhow = self.duties.get(&vip).is_some_and(|duties| duties.serve_all_the_same);
                if anyhow || what == (TaskFact::Ended { well: true }) {
                    self.passed.insert((vip, epoch));
                }
            }
            (_, TaskFact::Ended { .. } | TaskFact::Aborted) => {}
        }
        Ok(())
    }

    fn in_order(
        &mut self,
        node: usize,
        name: &NodeId,
        vip: &VipName,
        epoch: Epoch,
        task: Task,
    ) -> Verdict {
        if epoch == Epoch(0) {
            return Ok(());
        }
        let before = self.begun.insert((vip.clone(), epoch), (node, task));
        let out_of_order = before.is_some_and(|(at, last)| {
            at != node || task <= last || (last, task) == (Task::PostRelease, Task::OnFault)
        });
        if out_of_order {
            let what = format!("{name} begins {task} of {vip} at {epoch} after {before:?}");
            return violated("Tasks", what);
        }
        Ok(())
    }

    fn nowhere_else(&self, now: At, node: usize, name: &NodeId, vip: &VipName) -> Verdict {
        for ((other, _), units) in self.units.iter().filter(|((_, of), _)| of == vip) {
            let settled = self.settled.get(other).is_some_and(|since| now >= since + SETTLED);
            if *other != node && settled && *units == Units::Run {
                let what = format!("{name} starts units of {vip} which run on node {other}");
                return violated("Tasks", what);
            }
        }
        Ok(())
    }

    pub(crate) fn address_set(&self, name: &NodeId, vip: &VipName, epoch: Epoch) -> Verdict {
        let asked = self.duties.get(vip).map(|duties| &duties.tasks);
        let first = asked.is_some_and(|tasks| tasks.contains_key(&Task::PreAcquire));
        if first && !self.passed.contains(&(vip.clone(), epoch)) {
            let what = format!("{name} adds {vip} at {epoch} before pre_acquire has ended well");
            return violated("Tasks", what);
        }
        Ok(())
    }

    pub(crate) fn confirmed(&self, node: usize, name: &NodeId, vip: &VipName) -> Verdict {
        let stops = |duties: &Duties| duties.tasks.contains_key(&Task::StopUnits);
        match self.units.get(&(node, vip.clone())) {
            Some(Units::Run | Units::AreBeingStopped)
                if self.duties.get(vip).is_some_and(stops) =>
            {
                violated("Tasks", format!("{name} confirms {vip}, and its units run"))
            }
            _ => Ok(()),
        }
    }

    /// The agent of a node is alive and well from now on, or no longer.
    pub(crate) fn is_well(&mut self, node: usize, now: At, well: bool) {
        if well {
            self.settled.insert(node, now);
        } else {
            self.settled.remove(&node);
        }
    }

    /// What the agent was running is killed with it; units run on.
    pub(crate) fn killed(&mut self, node: usize) {
        self.settled.remove(&node);
        let mine = self.units.iter_mut().filter(|((of, _), _)| *of == node);
        mine.for_each(|(_, units)| *units = Units::Run);
    }

    /// The machine was switched off.
    pub(crate) fn switched_off(&mut self, node: usize) {
        self.units.retain(|(of, _), _| *of != node);
    }

    /// The node's disk is lost, and with it what it knows of the tasks of its epochs.
    pub(crate) fn disk_is_lost(&mut self, node: usize) {
        self.begun.retain(|_, (of, _)| *of != node);
    }
}

//! The shell that runs what is to be done around VIPs: hooks and units. Each run begins when the disk
//! has come to it, takes its time, and fails, hangs or ends late where the machine's hooks are bad.
//!
//! An aborted run ends a moment later, or does not listen. Units that were started are the service
//! manager's, and run on when the agent is killed.

use std::time::Duration;

use vipfence_agent_core::{self as agent, Call, Task};
use vipfence_types::{Epoch, VipName};

use super::{Fact, Host, Local, Out, Process, TaskFact, disk::DiskCall};
use crate::time::{ms, us};

/// What is to be run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) call: Call,
    pub(super) vip: VipName,
    pub(super) epoch: Epoch,
    pub(super) task: Task,
    pub(super) within: Duration,
}

/// What runs.
#[derive(Clone, Debug)]
pub(super) struct Job {
    run: Run,
    well: bool,
    /// It does not end when it is told to.
    stubborn: bool,
}

impl Process {
    /// The disk has come to it: everything that was to be noted before is written, or cannot be.
    pub(super) fn begin_task(&mut self, mut run: Run, host: &mut Host<'_>, out: &mut Out) {
        if self.aborted.remove(&run.call) {
            return self.ran(run.call, Err("it was not begun".to_owned()), host, out);
        }
        if !self.write_note(&run.vip, host) {
            if run.task != Task::StopUnits {
                out.facts.push(fact(&run, TaskFact::Ended { well: false }));
                return self.ran(run.call, Err("no space left on device".to_owned()), host, out);
            }
            // What the disk knows nothing of may run again: it counts for no epoch.
            run.epoch = Epoch(0);
        }
        let bad = host.hooks_fail > 0 && host.chance.one_in(host.hooks_fail);
        let soon = host.chance.within(ms(5), ms(300));
        let late = us(run.within) + host.chance.within(0, ms(2_000));
        let (after, well) = match bad.then(|| host.chance.within(0, 3)) {
            None => (Some(soon), true),
            Some(0 | 1) => (Some(soon), false),
            Some(2) => (None, false),
            Some(_) => (Some(late), true),
        };
        let stubborn = bad && host.chance.one_in(2);
        out.facts.push(fact(&run, TaskFact::Begun));
        out.locals.extend(after.map(|after| (after, Local::Task(run.call))));
        self.jobs.insert(run.call, Job { run, well, stubborn });
    }

    pub(super) fn abort_task(&mut self, call: Call, host: &mut Host<'_>, out: &mut Out) {
        let waits = |one: &DiskCall| match one {
            DiskCall::Run(run) if run.call == call => Some(run.clone()),
            _ => None,
        };
        if let Some(run) = self.disk.iter().find_map(waits) {
            self.aborted.insert(call);
            out.facts.push(fact(&run, TaskFact::Aborted));
        } else if let Some(job) = self.jobs.get_mut(&call) {
            out.facts.push(fact(&job.run, TaskFact::Aborted));
            if !job.stubborn {
                job.well = false;
                out.locals.push((host.chance.within(100, ms(50)), Local::Task(call)));
            }
        }
    }

    /// It ends; or what has ended long ago says so again.
    pub(super) fn task_ends(&mut self, call: Call, host: &mut Host<'_>, out: &mut Out) {
        let Some(Job { run, well, .. }) = self.jobs.remove(&call) else {
            return self.ran(call, Ok(()), host, out);
        };
        out.facts.push(fact(&run, TaskFact::Ended { well }));
        let outcome = if well { Ok(()) } else { Err("exit status 1".to_owned()) };
        self.ran(call, outcome, host, out);
    }

    fn ran(&mut self, call: Call, outcome: Result<(), String>, host: &mut Host<'_>, out: &mut Out) {
        self.tell_node(agent::Input::Ran { call, outcome }, host, out);
    }

    /// Writes what could not be written before; whether everything is.
    fn write_note(&mut self, vip: &VipName, host: &mut Host<'_>) -> bool {
        if host.health.full {
            return !self.unwritten.contains_key(vip);
        }
        if let Some(serving) = self.unwritten.remove(vip) {
            DiskCall::Note { vip: vip.clone(), serving }.write(host.memory);
        }
        true
    }
}

fn fact(run: &Run, what: TaskFact) -> Fact {
    Fact::Task { vip: run.vip.clone(), epoch: run.epoch, task: run.task, what }
}

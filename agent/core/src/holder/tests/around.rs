//! The tasks of the random test: they end well, fail, hang, and speak up when nobody asks them any
//! more; and what must hold whatever they do:
//!
//! - per VIP and epoch each task begins at most once, and in order, restarts included;
//! - no address is added before `PreAcquire` has ended, and not where it failed;
//! - an entitlement that ends is dropped in the same step, whatever runs;
//! - no release is confirmed while units run that were not told to stop, and given their time.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vipfence_types::{Clocks, Epoch, VipName};

use crate::{Call, Duties, Effect, Event, Input, Serving, Task};

/// Which tasks there are, one bit each, and whether a VIP is served although the first one failed.
pub(super) fn duties(bits: u8, serve_all_the_same: bool) -> Duties {
    let has = |at: &usize| bits >> at & 1 == 1;
    let tasks = (0..Task::ALL.len()).filter(has);
    let tasks = tasks.map(|at| (Task::ALL[at], Duration::from_secs(1 + u64::from(bits) % 3)));
    Duties { tasks: tasks.collect(), serve_all_the_same }
}

/// A task that was begun, or waits for the disk.
#[derive(Clone, Debug)]
struct Job {
    call: Call,
    vip: VipName,
    epoch: Epoch,
    task: Task,
    aborted: Option<Clocks>,
}

#[derive(Default)]
pub(super) struct Around {
    pub(super) duties: BTreeMap<VipName, Duties>,
    /// What is on disk.
    pub(super) serving: BTreeMap<VipName, Serving>,
    /// What could not be written yet.
    unwritten: BTreeMap<VipName, Option<Serving>>,
    jobs: VecDeque<Job>,
    aborted: BTreeSet<Call>,
    /// Calls that have ended.
    past: Vec<Call>,
    /// The last task that was begun for each epoch.
    begun: BTreeMap<(VipName, Epoch), Task>,
    passed: BTreeSet<(VipName, Epoch)>,
    /// Where units may run; and the call that stops them, with when it was aborted.
    units: BTreeMap<VipName, Option<(Call, Option<Clocks>)>>,
}

impl Around {
    pub(super) fn of(duties: BTreeMap<VipName, Duties>) -> Self {
        Self { duties, ..Self::default() }
    }

    /// What the machine asks for, beside what waits for the disk.
    pub(super) fn asked(&mut self, now: Clocks, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Abort { call } => self.abort(now, *call),
                Effect::Event(Event::NotEntitled { vip, .. }) => {
                    let drops =
                        |one: &Effect| matches!(one, Effect::Drop { vip: of, .. } if of == vip);
                    assert!(effects.iter().any(drops), "not dropped at once: {effects:?}");
                }
                Effect::Run { call, vip, task: Task::StopUnits, .. } => {
                    self.units.entry(vip.clone()).and_modify(|units| *units = Some((*call, None)));
                }
                _ => {}
            }
        }
    }

    fn abort(&mut self, now: Clocks, call: Call) {
        self.aborted.insert(call);
        for job in self.jobs.iter_mut().filter(|job| job.call == call) {
            job.aborted = Some(now);
        }
        for units in self.units.values_mut().flatten().filter(|units| units.0 == call) {
            units.1 = Some(now);
        }
    }

    /// The disk has come to this one. What the machine is to be told, if anything.
    pub(super) fn disk(&mut self, effect: &Effect, fails: bool) -> Option<Input> {
        match effect {
            Effect::NoteServing { vip, serving } => {
                self.unwritten.insert(vip.clone(), *serving);
                if !fails {
                    self.write(vip);
                }
                None
            }
            Effect::Run { call, vip, epoch, task, .. } => {
                if self.aborted.contains(call) {
                    self.units_are_done_with(*call);
                    return Some(Input::Ran { call: *call, outcome: Ok(()) });
                }
                let unwritten = self.unwritten.contains_key(vip);
                if unwritten && fails && *task != Task::StopUnits {
                    let outcome = Err("disk".to_owned());
                    return Some(Input::Ran { call: *call, outcome });
                }
                if !fails {
                    self.write(vip);
                }
                self.begin(*call, vip, *epoch, *task, unwritten && fails);
                None
            }
            other => unreachable!("not for the disk: {other:?}"),
        }
    }

    fn write(&mut self, vip: &VipName) {
        match self.unwritten.remove(vip) {
            Some(Some(serving)) => drop(self.serving.insert(vip.clone(), serving)),
            Some(None) => drop(self.serving.remove(vip)),
            None => {}
        }
    }

    fn begin(&mut self, call: Call, vip: &VipName, epoch: Epoch, task: Task, unwritten: bool) {
        if epoch > Epoch(0) && !unwritten {
            let before = self.begun.insert((vip.clone(), epoch), task);
            assert!(before < Some(task), "{vip} at {epoch}: {task} after {before:?}");
        }
        if task == Task::StartUnits {
            self.units.insert(vip.clone(), None);
        }
        self.jobs.push_back(Job { call, vip: vip.clone(), epoch, task, aborted: None });
    }

    /// Something that runs ends, or what ended long ago says so again.
    pub(super) fn ends(&mut self, how: u8) -> Option<Input> {
        if how == 0 {
            return self.past.last().map(|call| Input::Ran { call: *call, outcome: Ok(()) });
        }
        let Job { call, vip, epoch, task, aborted } = self.jobs.pop_front()?;
        self.past.push(call);
        let outcome = if how == 1 { Err("exit status 1".to_owned()) } else { Ok(()) };
        let same = self.duties.get(&vip).is_some_and(|duties| duties.serve_all_the_same);
        if task == Task::PreAcquire && aborted.is_none() && (outcome.is_ok() || same) {
            self.passed.insert((vip.clone(), epoch));
        }
        self.units_are_done_with(call);
        Some(Input::Ran { call, outcome })
    }

    /// They were stopped, or did not stop in their time.
    fn units_are_done_with(&mut self, call: Call) {
        self.units.retain(|_, stops| stops.is_none_or(|(stops, _)| stops != call));
    }

    pub(super) fn check_add(&self, vip: &VipName, epoch: Epoch) {
        let Some(duties) = self.duties.get(vip) else {
            return;
        };
        if duties.tasks.contains_key(&Task::PreAcquire) && !duties.serve_all_the_same {
            assert!(self.passed.contains(&(vip.clone(), epoch)), "added before pre_acquire ended");
        }
    }

    pub(super) fn check_confirmation(&self, now: Clocks, vip: &VipName) {
        let Some(duties) = self.duties.get(vip) else {
            return;
        };
        let had_its_time = |aborted: Option<Clocks>| {
            aborted.is_some_and(|at| now.mono_since(at) >= Duration::from_secs(1))
        };
        let may_run = match self.units.get(vip) {
            Some(Some((_, aborted))) => !had_its_time(*aborted),
            Some(None) => true,
            None => false,
        };
        let stops = duties.tasks.contains_key(&Task::StopUnits);
        assert!(!stops || !may_run, "confirmed while the units of {vip} run");
    }

    /// The agent is killed, and with it what it runs; but the units run on.
    pub(super) fn killed(&mut self) {
        self.aborted.clear();
        self.jobs.clear();
        self.past.clear();
        self.unwritten.clear();
        for units in self.units.values_mut() {
            *units = None;
        }
    }
}

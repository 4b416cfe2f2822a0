//! What a node does around one VIP, in order: its hooks, and the units that start and stop with it.
//!
//! ```text
//!   granted e       +------------ lease over, a leader answers -----------> Adrift e
//!      |            |                                                        |    |
//!      v            |                 granted e again: goes on where it was  |    |
//!   Acquiring e <---|--------------------------------------------------------+    |
//!   PreAcquire      |                                                             |
//!   [added]         |                                                             |
//!   StartUnits      +--- ended otherwise --> Faulted e <--- anything else --------+
//!   PostAcquire     |                        StopUnits, OnFault
//!      |            |                            ^
//!      | release    |                            | ended before these two were done
//!      v            |                            |
//!   Releasing e ----+----------------------------+
//!   PreRelease, StopUnits
//!      | dropped
//!      v
//!   Released e                               Starting: StopUnits, of no epoch
//!   [read back] PostRelease
//! ```
//!
//! - One task at a time, and each at most once for an epoch. Before the first task of an entitlement,
//!   and before the first that ends one, the disk says that the epoch is not complete: an agent that
//!   starts again takes no such epoch a second time, it asks for a new one. What a crash cut short
//!   is not repeated; units are stopped again under epoch 0, whatever they were started for.
//! - No task delays the end of an entitlement (I1): the address goes at once, and what runs is
//!   aborted. Only a *planned* release waits for tasks, under a lease that is still renewed.
//! - A release is confirmed only once the units were stopped, or did not stop in their time: the next
//!   node starts its own on that word. A confirmation is no more than a shortcut of the leader's lease
//!   wait, so waiting for it costs a failover no more than the silence of a dead node would.
//!   `PostRelease` and `OnFault` hold nothing up.
//! - Each task is aborted when its time is over; one that does not even end then is left behind.
//!
//! Deliberately not here: when a node may hold a VIP, and any I/O. That units never run on two nodes
//! at once is not promised: units that outlive a lease by more than the kernel's slack overlap with
//! the next holder's, and their epoch is what their storage can tell them apart by.

mod span;

use core::time::Duration;

use serde::Serialize;
use vipfence_types::{Clocks, Epoch, Mutation, VipName};

pub(crate) use self::span::Standing;
use self::span::{ACQUIRE, Leg, Running, Span};
use crate::lease::Timer;
use crate::{Call, Duties, Effect, Event, Serving, Task};

/// The tasks of one VIP.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Service {
    vip: VipName,
    duties: Duties,
    /// Epochs up to this one have had their tasks: none of them is taken again.
    used: Epoch,
    span: Option<Span>,
    running: Option<Running>,
    /// What the disk says, as far as was asked for.
    noted: Option<Serving>,
}

impl Service {
    /// An agent starts. `patience`: for how long an address of an earlier start may be on the OS.
    pub(crate) fn start(
        vip: VipName,
        duties: Duties,
        serving: Option<Serving>,
        patience: Timer,
    ) -> Self {
        let complete = serving.filter(|serving| serving.complete);
        let span = match complete {
            Some(Serving { epoch, .. }) => Some(Span {
                begun: ACQUIRE.into(),
                admitted: true,
                ..Span::new(epoch, Leg::Adrift(patience))
            }),
            None => (duties.tasks.contains_key(&Task::StopUnits)
                && !Mutation::UnitsLeftRunning.is_on())
            .then(|| Span::new(Epoch(0), Leg::Starting)),
        };
        let used = serving.filter(|_| complete.is_none()).map_or(Epoch(0), |used| used.epoch);
        Self { vip, duties, used, span, running: None, noted: serving }
    }

    /// Whether a grant at this epoch must be refused: its tasks have run, and run once.
    pub(crate) fn forbids(&self, epoch: Epoch) -> bool {
        epoch <= self.used && !Mutation::EpochServedTwice.is_on()
    }

    /// Whether the address may be put on the OS under this epoch.
    pub(crate) fn may_add(&self, epoch: Epoch) -> bool {
        let span = self.span.as_ref();
        let admits = |span: &Span| span.admitted || Mutation::AddedBeforePreAcquire.is_on();
        span.is_some_and(|span| span.epoch == epoch && span.leg.is_entitled() && admits(span))
    }

    /// Whether units may still run that the next holder's must not meet.
    pub(crate) fn may_run_units(&self) -> bool {
        let unsettled = |span: &Span| match span.leg {
            Leg::Adrift(_) => true,
            Leg::Faulted | Leg::Starting => !span.begun.contains(&Task::StopUnits),
            Leg::Acquiring | Leg::Releasing | Leg::Released => false,
        };
        let stops = self.running.as_ref().is_some_and(|running| running.task == Task::StopUnits);
        self.duties.tasks.contains_key(&Task::StopUnits)
            && !Mutation::ConfirmedWhileUnitsRun.is_on()
            && (stops || self.span.as_ref().is_some_and(unsettled))
    }

    /// Whether an entitlement at this epoch has tasks to do before a planned release.
    pub(crate) fn serves(&self, epoch: Epoch) -> bool {
        self.span.as_ref().is_some_and(|span| span.epoch == epoch && span.leg.is_entitled())
    }

    /// Whether the tasks that precede the drop of a planned release are done.
    pub(crate) fn is_clear(&self, epoch: Epoch) -> bool {
        let waits = self.serves(epoch) && !Mutation::ConfirmedWhileUnitsRun.is_on();
        !waits || self.is_through(Leg::Releasing)
    }

    /// How long a planned release may take.
    pub(crate) fn release_time(&self) -> Duration {
        let of = |task| self.duties.tasks.get(&task).copied().unwrap_or_default();
        [Task::PreRelease, Task::StopUnits, Task::PostRelease]
            .into_iter()
            .fold(Duration::ZERO, |sum, task| sum.saturating_add(of(task)))
    }

    /// Whether nothing is left to be done for an entitlement that is over.
    pub(crate) fn is_idle(&self) -> bool {
        let over = |span: &Span| match span.leg {
            Leg::Released | Leg::Faulted | Leg::Starting => true,
            Leg::Acquiring | Leg::Releasing | Leg::Adrift(_) => false,
        };
        self.running.is_none() && self.candidate().is_none() && self.span.as_ref().is_none_or(over)
    }

    /// Whether an agent may end now and leave all of this as it is.
    pub(crate) fn may_be_kept(&self) -> bool {
        let kept = |span: &Span| matches!(span.leg, Leg::Acquiring | Leg::Adrift(_));
        self.is_idle() || self.span.as_ref().is_some_and(kept)
    }

    /// Why this node does not take the VIP at this epoch.
    pub(crate) fn unfit(&self, epoch: Epoch) -> Option<String> {
        let span = self.span.as_ref().filter(|span| span.epoch == epoch && !span.admitted)?;
        span.failed.get(&Task::PreAcquire).map(|why| said(Task::PreAcquire, why))
    }

    /// Why the VIP is not well here although it is held.
    pub(crate) fn failing(&self) -> Option<String> {
        let span = self.span.as_ref().filter(|span| span.leg.is_entitled())?;
        let of = |task| span.failed.get(&task).map(|why| said(task, why));
        of(Task::StartUnits).or_else(|| of(Task::PostAcquire))
    }

    /// What runs now, and what failed, for people.
    pub(crate) fn detail(&self) -> Vec<String> {
        let Self { vip, span, running, .. } = self;
        let failed = span.iter().flat_map(|span| &span.failed);
        let failed = failed.map(|(task, why)| format!("{vip}: {}", said(*task, why)));
        let runs = running.iter().map(|running| match running.aborted {
            None => format!("{vip}: {} runs", running.task),
            Some(_) => format!("{vip}: {} was aborted, and has not ended yet", running.task),
        });
        failed.chain(runs).collect()
    }

    /// How long until time alone asks for something.
    pub(crate) fn wait(&self, now: Clocks) -> Duration {
        let task = self.running.as_ref().map_or(Duration::MAX, |running| running.left(now));
        match self.span.as_ref().map(|span| span.leg) {
            Some(Leg::Adrift(patience)) if !patience.is_over(now) => task.min(patience.left(now)),
            _ => task,
        }
    }

    /// The entitlement at this epoch has ended. `hope`: the same epoch may come back, and until when
    /// that is hoped for while nobody answers.
    pub(crate) fn ended(&mut self, epoch: Epoch, hope: Option<Timer>) {
        let clear = self.is_through(Leg::Releasing);
        let Some(span) = self.span.as_mut().filter(|span| span.leg.is_entitled()) else {
            return;
        };
        span.leg = match (span.leg, hope) {
            (Leg::Releasing, _) if clear => Leg::Released,
            (Leg::Acquiring, Some(hope)) if span.epoch == epoch => {
                return span.leg = Leg::Adrift(hope);
            }
            _ => Leg::Faulted,
        };
        self.used = self.used.max(span.epoch);
    }

    /// The leader answered, with a grant at this epoch, or without one.
    pub(crate) fn heard(&mut self, granted: Option<Epoch>) {
        if granted.is_none() || granted != self.span.as_ref().map(|span| span.epoch) {
            self.despair();
        }
    }

    /// Nobody answers.
    pub(crate) fn unheard(&mut self, now: Clocks) {
        if let Some(Span { leg: Leg::Adrift(hope), .. }) = &self.span
            && hope.is_over(now)
        {
            self.despair();
        }
    }

    /// What is adrift will not come back.
    pub(crate) fn despair(&mut self) {
        if let Some(span) = &mut self.span
            && matches!(span.leg, Leg::Adrift(_))
        {
            span.leg = Leg::Faulted;
            self.used = self.used.max(span.epoch);
        }
    }

    /// A task has ended by itself. Whether the leader is to know at once.
    pub(crate) fn ran(
        &mut self,
        call: Call,
        outcome: Result<(), String>,
        fx: &mut Vec<Effect>,
    ) -> bool {
        let mine = self.running.as_ref().is_some_and(|running| running.call == call);
        mine && self.task_ended(outcome, fx)
    }

    /// What was aborted had its time to end. Whether the leader is to know at once.
    pub(crate) fn give_up(&mut self, now: Clocks, fx: &mut Vec<Effect>) -> bool {
        let over = |running: &Running| running.aborted.is_some() && running.left(now).is_zero();
        self.running.as_ref().is_some_and(over) && self.task_ended(Ok(()), fx)
    }

    /// What was aborted has failed, however it ended.
    fn task_ended(&mut self, outcome: Result<(), String>, fx: &mut Vec<Effect>) -> bool {
        let Some(Running { epoch, task, aborted, .. }) = self.running.take() else {
            return false;
        };
        let outcome = aborted.map_or(outcome, |(_, why)| Err(why));
        let failed = outcome.as_ref().err().cloned();
        fx.push(Effect::Event(Event::TaskEnded { vip: self.vip.clone(), epoch, task, outcome }));
        match (self.span.as_mut().filter(|span| span.epoch == epoch), failed) {
            (Some(span), Some(why)) => {
                span.failed.insert(task, why);
                ACQUIRE.contains(&task)
            }
            _ => false,
        }
    }

    /// Takes over what the node's record says.
    pub(crate) fn follow(&mut self, standing: Standing) {
        if let Standing::Entitled { epoch, leaving, .. } = standing {
            let (idle, forbidden) = (self.is_idle(), self.forbids(epoch));
            match &mut self.span {
                Some(span) if span.epoch == epoch && matches!(span.leg, Leg::Adrift(_)) => {
                    span.leg = Leg::Acquiring;
                }
                // The address stays, and the units; the new epoch has tasks of its own.
                Some(span) if span.leg.is_entitled() && span.epoch != epoch => {
                    self.used = self.used.max(span.epoch);
                    self.span = Some(Span::new(epoch, Leg::Acquiring));
                }
                Some(span) if span.leg == Leg::Acquiring && leaving => span.leg = Leg::Releasing,
                Some(span) if span.leg.is_entitled() => {}
                _ if idle && !leaving && !forbidden => {
                    self.span = Some(Span::new(epoch, Leg::Acquiring));
                }
                _ => {}
            }
        }
        let passed = self.has_passed(Task::PreAcquire) && self.is_at(Leg::Acquiring);
        if let Some(span) = &mut self.span {
            span.admitted |= passed;
        }
    }

    /// Aborts what nobody waits for any more, and begins what is due. An agent that ends and keeps
    /// its VIPs begins nothing new (`keeps`).
    pub(crate) fn plan(
        &mut self,
        now: Clocks,
        standing: Standing,
        keeps: bool,
        last_call: &mut u64,
        fx: &mut Vec<Effect>,
    ) {
        self.abort(now, fx);
        let waits = self.running.is_some() || keeps && self.is_at(Leg::Acquiring);
        let due = self.candidate().filter(|(task, _)| !waits && standing.is_time_for(*task));
        if let (Some((task, within)), Some(span)) = (due, &mut self.span) {
            span.begun.insert(task);
            let epoch = span.epoch;
            self.note(false, fx);
            *last_call += 1;
            let (call, vip) = (Call(*last_call), self.vip.clone());
            self.running = Some(Running { call, epoch, task, since: now, within, aborted: None });
            fx.push(Effect::Event(Event::TaskStarted { vip: vip.clone(), epoch, task }));
            fx.push(Effect::Run { call, vip, epoch, task, within });
        }
        if self.is_through(Leg::Acquiring) && ACQUIRE.iter().all(|task| self.has_passed(*task)) {
            self.note(true, fx);
        }
    }

    /// The process ends: what runs must not outlive it.
    pub(crate) fn quit(&self, fx: &mut Vec<Effect>) {
        fx.extend(self.running.iter().map(|running| Effect::Abort { call: running.call }));
    }

    fn abort(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let unwanted = self.is_unwanted();
        let Some(running) = self.running.as_mut().filter(|running| running.aborted.is_none())
        else {
            return;
        };
        let why = if unwanted {
            "aborted: what it was for has ended".to_owned()
        } else if running.left(now).is_zero() {
            format!("aborted: it took longer than {:?}", running.within)
        } else {
            return;
        };
        running.aborted = Some((now, why));
        fx.push(Effect::Abort { call: running.call });
    }

    /// Whether what runs belongs to something that is over. Units that are being stopped go on being
    /// stopped; a planned release lets an acquisition end what it does for an address that is there.
    fn is_unwanted(&self) -> bool {
        let (Some(running), Some(span)) = (&self.running, &self.span) else {
            return false;
        };
        let of_another = running.epoch != span.epoch && running.task != Task::StopUnits;
        let cut_short = match span.leg {
            Leg::Faulted => !span.leg.tasks().contains(&running.task),
            Leg::Releasing => running.task == Task::PreAcquire,
            Leg::Acquiring | Leg::Released | Leg::Adrift(_) | Leg::Starting => false,
        };
        of_another || cut_short
    }

    /// The next task and its time, whether or not the address is where the task needs it.
    fn candidate(&self) -> Option<(Task, Duration)> {
        let span = self.span.as_ref()?;
        if span.is_stuck() {
            return None;
        }
        let fits = |task: &&Task| {
            let fits = **task != Task::PreRelease || span.admitted;
            fits && !span.begun.contains(*task) && self.duties.tasks.contains_key(*task)
        };
        let task = span.leg.tasks().iter().find(fits)?;
        self.duties.tasks.get(task).map(|within| (*task, *within))
    }

    fn is_at(&self, leg: Leg) -> bool {
        self.span.as_ref().is_some_and(|span| span.leg == leg)
    }

    /// Whether nothing of this leg runs or is to run.
    fn is_through(&self, leg: Leg) -> bool {
        self.is_at(leg) && self.running.is_none() && self.candidate().is_none()
    }

    /// Whether a task of the present span is no obstacle to what comes after it.
    fn has_passed(&self, task: Task) -> bool {
        let Some(span) = &self.span else {
            return false;
        };
        let runs = self.running.as_ref().is_some_and(|running| running.task == task);
        let excused = task == Task::PreAcquire && self.duties.serve_all_the_same;
        let well = excused || !span.failed.contains_key(&task);
        !self.duties.tasks.contains_key(&task) || span.begun.contains(&task) && !runs && well
    }

    /// What an agent that starts again has to know. Of no epoch there is nothing to know.
    fn note(&mut self, complete: bool, fx: &mut Vec<Effect>) {
        let Some(epoch) = self.span.as_ref().map(|span| span.epoch).filter(|one| *one > Epoch(0))
        else {
            return;
        };
        let serving = Some(Serving { epoch, complete });
        if self.noted != serving {
            self.noted = serving;
            fx.push(Effect::NoteServing { vip: self.vip.clone(), serving });
        }
    }
}

fn said(task: Task, why: &str) -> String {
    format!("{task} failed: {why}")
}

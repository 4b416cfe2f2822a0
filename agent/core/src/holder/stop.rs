//! The clean stop, in one of two manners.
//!
//! *Move*: the leader is told and gets time to move the VIPs elsewhere, while this node goes on
//! serving. What is left then is let go of here, and confirmed unasked. Where the leader answers that
//! a VIP has nowhere to go, that one is let go of at once. That is a planned release: a VIP with tasks
//! of its own is let go of so much earlier, but not in the first half of the time; and what is not
//! done with them at its end goes without.
//!
//! *Keep*: for a quick restart. Nothing is dropped, and the leader is not told: the agent beats once
//! more, gives the kernel as much of the lease as it may have, and ends. The address then stays for
//! as long as its lifetime runs; the restarted agent is granted it again under the same epoch. I1
//! needs nothing here: an agent that is killed leaves its addresses in the same way.
//!
//! ```text
//!   Running --Stop--> Stopping --(nothing left to do, or time is up)--> Stopped
//! ```
//!
//! Deliberately not here: waiting for ever. A kernel lifetime ends by itself, so a stop that
//! could not be said to anyone costs time, never safety.

use core::time::Duration;

use serde::Serialize;
use vipfence_types::{Clocks, Nowhere, VipName};

use super::Holder;
use crate::lease::Timer;
use crate::record::{Dropping, Leaving, Record, bare};
use crate::service::Service;
use crate::{Effect, EndCause, Event, OnStop};

/// How long a node that has let go tries to confirm it before it stops all the same.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a node that keeps its VIPs tries to drop those whose lifetime it could not put right.
const KEEP_FAREWELL: Duration = Duration::from_secs(1);

/// Where the agent is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) enum Course {
    Running,
    Stopping(Stopping),
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Stopping {
    manner: OnStop,
    /// Until the node lets go by itself (move), or is content with the leases it has (keep).
    grace: Timer,
    /// Until the process ends whatever happens.
    end: Timer,
    /// The first heartbeat of the stop.
    first_seq: u64,
    /// When that one, or a later one, had an outcome (move) or an answer (keep).
    said: Option<Clocks>,
    /// The first heartbeat that confirms everything that is left.
    farewell: Option<u64>,
    /// The newest heartbeat that was answered.
    answered: u64,
}

impl Course {
    pub(super) fn wait(&self, now: Clocks) -> Duration {
        match self {
            Self::Running | Self::Stopped => Duration::MAX,
            Self::Stopping(stop) if stop.grace.is_over(now) => stop.end.left(now),
            Self::Stopping(stop) => stop.grace.left(now),
        }
    }

    /// The leases of a node that keeps its VIPs are as new as they get since then: what the kernel
    /// was given before is to be renewed once.
    pub(super) fn renews_since(&self) -> Option<Clocks> {
        match self {
            Self::Stopping(Stopping { manner: OnStop::Keep, said, .. }) => *said,
            Self::Running | Self::Stopping(_) | Self::Stopped => None,
        }
    }
}

impl Holder {
    pub(crate) fn is_stopping(&self) -> bool {
        self.course != Course::Running
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.course == Course::Stopped
    }

    /// Whether the VIPs are left as they are for the next start of the agent.
    pub(super) fn keeps(&self) -> bool {
        matches!(self.course, Course::Stopping(Stopping { manner: OnStop::Keep, .. }))
    }

    /// How long until the stop asks for something.
    pub(super) fn stop_wait(&self, now: Clocks) -> Duration {
        let mut wait = self.course.wait(now);
        if let Course::Stopping(Stopping { manner: OnStop::Move, grace, .. }) = &self.course {
            for service in self.services.values() {
                let until = grace.until_left(now, service.release_time());
                wait = if until.is_zero() { wait } else { wait.min(until) };
            }
        }
        wait
    }

    /// Whether the leader is to move the VIPs elsewhere.
    pub(super) fn moves_away(&self) -> bool {
        matches!(self.course, Course::Stopping(Stopping { manner: OnStop::Move, .. }))
    }

    pub(super) fn begin_stop(&mut self, now: Clocks, manner: OnStop, within: Duration) {
        if self.course != Course::Running {
            return;
        }
        let farewell = match manner {
            OnStop::Move => FAREWELL,
            OnStop::Keep => KEEP_FAREWELL,
        };
        self.course = Course::Stopping(Stopping {
            manner,
            grace: Timer::new(now, within),
            end: Timer::new(now, within.saturating_add(farewell)),
            first_seq: self.pulse.next_seq(),
            said: None,
            farewell: None,
            answered: 0,
        });
        self.pulse.hurry();
    }

    /// A heartbeat had an outcome.
    pub(super) fn heard_at(&mut self, now: Clocks, seq: u64, answered: bool) {
        let Course::Stopping(stop) = &mut self.course else {
            return;
        };
        if seq >= stop.first_seq && (answered || stop.manner == OnStop::Move) {
            stop.said.get_or_insert(now);
        }
        if answered {
            stop.answered = stop.answered.max(seq);
        }
    }

    /// The leader has no node for these: whoever waits for them to move waits in vain.
    pub(super) fn go_nowhere(&mut self, now: Clocks, nowhere: Vec<Nowhere>, fx: &mut Vec<Effect>) {
        if !self.moves_away() {
            return;
        }
        for Nowhere { vip, reason } in nowhere {
            if let Some(Record::Holding(_)) = self.records.get(&vip) {
                self.leave(now, &vip, fx);
                if self.nowhere.insert(vip.clone(), reason.clone()).is_none() {
                    fx.push(Effect::Event(Event::Nowhere { vip, reason }));
                }
            }
        }
    }

    /// The grace is over: who moves away lets go of the rest, who keeps lets go only of what the
    /// kernel may keep for longer than the lease lasts.
    pub(super) fn let_go_before_stop(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let Course::Stopping(stop) = &mut self.course else {
            return;
        };
        let grace = stop.grace;
        if !grace.is_over(now) {
            return self.leave_in_time(now, grace, fx);
        }
        stop.said.get_or_insert(now);
        let moves = stop.manner == OnStop::Move;
        let names: Vec<_> = self.records.keys().cloned().collect();
        for vip in names {
            if let Some(Record::Holding(holding)) = self.records.get(&vip)
                && (moves || holding.kernel.unsure)
            {
                self.let_go(now, &vip, moves, fx);
            }
        }
    }

    /// What has tasks to do before it goes begins with them while there is time.
    fn leave_in_time(&mut self, now: Clocks, grace: Timer, fx: &mut Vec<Effect>) {
        if !self.moves_away() {
            return;
        }
        let is_due = |service: &Service| grace.until_left(now, service.release_time()).is_zero();
        let due = self.services.iter().filter(|(_, service)| is_due(service));
        let names: Vec<VipName> = due.map(|(vip, _)| vip.clone()).collect();
        for vip in names {
            self.leave(now, &vip, fx);
        }
    }

    /// Begins a planned release, unasked.
    fn leave(&mut self, now: Clocks, vip: &VipName, fx: &mut Vec<Effect>) {
        let tasks = self.services.get(vip);
        match self.records.get_mut(vip) {
            Some(Record::Holding(holding))
                if tasks.is_some_and(|one| one.serves(holding.epoch)) =>
            {
                let owed = holding.epoch;
                holding.leaving.get_or_insert(Leaving { owed, cause: EndCause::Stopping });
            }
            _ => self.let_go(now, vip, true, fx),
        }
    }

    fn let_go(&mut self, now: Clocks, vip: &VipName, confirmed: bool, fx: &mut Vec<Effect>) {
        let Some(Record::Holding(holding)) = self.records.get(vip) else {
            return;
        };
        let epoch = holding.epoch;
        let asked = holding.leaving.map(|leaving| leaving.owed);
        let owed = confirmed.then(|| asked.unwrap_or(epoch));
        let dropping = Dropping::new(Some(bare(&holding.addresses)), owed);
        self.records.insert(vip.clone(), Record::Dropping(dropping));
        self.announce_end(now, vip, epoch, EndCause::Stopping, fx);
    }

    pub(super) fn finish_stop(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let Course::Stopping(mut stop) = self.course else {
            return;
        };
        let done = match stop.manner {
            OnStop::Move => {
                // The leader goes on mentioning what nobody takes over; that it was told is enough.
                let told = |(vip, record): (_, &Record)| {
                    matches!(record, Record::Confirming(_)) && self.nowhere.contains_key(vip)
                };
                if !self.records.iter().all(told) {
                    stop.farewell = None;
                } else if stop.farewell.is_none() {
                    stop.farewell = Some(self.pulse.next_seq());
                }
                stop.said.is_some()
                    && self.services.values().all(Service::is_idle)
                    && (self.records.is_empty()
                        || stop.farewell.is_some_and(|farewell| stop.answered >= farewell))
            }
            OnStop::Keep => stop.said.is_some_and(|said| {
                let well = |(vip, record): (&VipName, &Record)| match record {
                    Record::Holding(holding) => {
                        self.is_held_up(vip, record) || holding.is_left_well(now, said)
                    }
                    Record::Dropping(_) | Record::Spending(_) => false,
                    Record::Confirming(_) => true,
                };
                self.services.values().all(Service::may_be_kept) && self.records.iter().all(well)
            }),
        };
        self.course = Course::Stopping(stop);
        // A node that has not joined has nobody to tell.
        let alone = self.sweep.before_joining && self.records.is_empty();
        if stop.end.is_over(now) || done || alone {
            self.course = Course::Stopped;
            for service in self.services.values() {
                service.quit(fx);
            }
            fx.push(Effect::Stopped);
        }
    }
}

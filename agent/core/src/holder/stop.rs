//! The clean stop: the leader is told and gets time to move the VIPs elsewhere, while this node
//! goes on serving. What is left then is let go of here, and confirmed unasked.
//!
//! ```text
//!   Running --Stop--> Stopping --(nothing left and the leader told, or time is up)--> Stopped
//! ```
//!
//! Deliberately not here: waiting for ever. A kernel lifetime ends by itself, so a stop that
//! could not be said to anyone costs time, never safety.

use core::time::Duration;

use serde::Serialize;
use vipfence_types::Clocks;

use super::Holder;
use crate::lease::Timer;
use crate::record::{Dropping, Record, bare};
use crate::{Effect, EndCause};

/// How long a node that has let go tries to confirm it before it stops all the same.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where the agent is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) enum Course {
    Running,
    Stopping {
        /// Until the node lets go by itself.
        grace: Timer,
        /// Until the process ends whatever happens.
        end: Timer,
        /// The first heartbeat that says so.
        first_seq: u64,
        /// That one, or a later one, had an outcome.
        said: bool,
    },
    Stopped,
}

impl Course {
    pub(super) fn wait(&self, now: Clocks) -> Duration {
        match self {
            Self::Running | Self::Stopped => Duration::MAX,
            Self::Stopping { grace, end, .. } if grace.is_over(now) => end.left(now),
            Self::Stopping { grace, .. } => grace.left(now),
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

    pub(super) fn begin_stop(&mut self, now: Clocks, within: Duration) {
        if self.course != Course::Running {
            return;
        }
        self.course = Course::Stopping {
            grace: Timer::new(now, within),
            end: Timer::new(now, within.saturating_add(FAREWELL)),
            first_seq: self.pulse.next_seq(),
            said: false,
        };
        self.pulse.hurry();
    }

    /// A heartbeat had an outcome.
    pub(super) fn heard_at(&mut self, seq: u64) {
        if let Course::Stopping { first_seq, said, .. } = &mut self.course {
            *said |= seq >= *first_seq;
        }
    }

    /// The time that the leader had is over: let go of the rest.
    pub(super) fn let_go_before_stop(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let Course::Stopping { grace, .. } = self.course else {
            return;
        };
        if !grace.is_over(now) {
            return;
        }
        let names: Vec<_> = self.records.keys().cloned().collect();
        for vip in names {
            if let Some(Record::Holding(holding)) = self.records.get(&vip) {
                let epoch = holding.epoch;
                let dropping = Dropping::new(Some(bare(&holding.addresses)), Some(epoch));
                self.records.insert(vip.clone(), Record::Dropping(dropping));
                self.announce_end(&vip, epoch, EndCause::Stopping, fx);
            }
        }
    }

    pub(super) fn finish_stop(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let Course::Stopping { end, said, .. } = self.course else {
            return;
        };
        // A node that has not joined has nobody to tell.
        let told = said || self.sweep.before_joining;
        if end.is_over(now) || (told && self.records.is_empty()) {
            self.course = Course::Stopped;
            fx.push(Effect::Stopped);
        }
    }
}

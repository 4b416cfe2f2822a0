//! When this node beats, and which heartbeat an answer belongs to.
//!
//! ```text
//!          interval gone, or news                 answered
//!   idle ------------------------> in flight ----------------> idle
//!    ^                                 |  refused, unreachable, or too late
//!    +------ 50, 100, 200, 200 ms -----+
//! ```
//!
//! At most one heartbeat is in flight; news that come meanwhile wait for its outcome. A retry is a
//! new heartbeat with a number of its own: it carries the newest state, and a lease is counted from
//! the sending of the very heartbeat that was answered, so nothing has to be kept over retries.
//!
//! Answers are used in order. That is hygiene: no invariant rests on it (attack H1).

use core::time::Duration;
use std::collections::BTreeMap;

use serde::Serialize;
use vipfence_types::{Clocks, Mutation, Refusal, Term};

use crate::lease::Timer;

/// The shortest and the longest pause before a heartbeat that failed is repeated: a change of
/// leader must cost little, and a cluster without a leader must not be flooded.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(200);
/// The shortest and the longest wait for an answer.
const GIVE_UP_MIN: Duration = Duration::from_millis(200);
const GIVE_UP_MAX: Duration = Duration::from_secs(2);
/// The shortest interval: an interval of nothing would be a flood.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How many heartbeats are remembered that may still be answered.
const REMEMBERED: usize = 8;

/// What came of the last heartbeat that had an outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Contact {
    /// None had an outcome yet.
    NotYet,
    /// A leader answered.
    Answered(Term),
    /// Nobody who can speak for a majority did: unreachable, no leader, no quorum.
    Silent(String),
    /// A leader does not want to hear this node.
    TurnedAway(Refusal),
}

impl Contact {
    pub(crate) fn of_refusal(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotLeader { .. } | Refusal::NoQuorum => Self::Silent(refusal.to_string()),
            Refusal::WrongCluster { .. } | Refusal::UnknownNode | Refusal::SecondBoot { .. } => {
                Self::TurnedAway(refusal)
            }
        }
    }
}

/// The heartbeats of one boot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Pulse {
    interval: Duration,
    pub(crate) contact: Contact,
    last_seq: u64,
    last_sent: Option<Clocks>,
    sent: BTreeMap<u64, Clocks>,
    in_flight: Option<u64>,
    urgent: bool,
    retry: Option<Timer>,
    failures: u32,
}

impl Pulse {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(INTERVAL_MIN),
            contact: Contact::NotYet,
            last_seq: 0,
            last_sent: None,
            sent: BTreeMap::new(),
            in_flight: None,
            urgent: false,
            retry: None,
            failures: 0,
        }
    }

    pub(crate) fn every(&mut self, interval: Duration) {
        self.interval = interval.max(INTERVAL_MIN);
    }

    /// There is news: beat as soon as possible.
    pub(crate) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// A leader calls: do not wait for the retry pause either.
    pub(crate) fn nudge(&mut self) {
        self.urgent = true;
        self.retry = None;
    }

    pub(crate) fn give_up_after(&self) -> Duration {
        (self.interval * 2).clamp(GIVE_UP_MIN, GIVE_UP_MAX)
    }

    /// The number of the next heartbeat.
    pub(crate) fn next_seq(&self) -> u64 {
        self.last_seq + 1
    }

    /// A heartbeat is being sent: its leases count from here.
    pub(crate) fn send(&mut self, now: Clocks) -> u64 {
        self.last_seq += 1;
        self.last_sent = Some(now);
        self.sent.insert(self.last_seq, now);
        while self.sent.len() > REMEMBERED {
            self.sent.pop_first();
        }
        self.in_flight = Some(self.last_seq);
        self.urgent = false;
        self.retry = None;
        self.last_seq
    }

    /// An answer came: when was its heartbeat sent? None = it is to be ignored.
    pub(crate) fn answered(&mut self, seq: u64) -> Option<Clocks> {
        let sent = *self.sent.get(&seq)?;
        // With it goes every older one, so that answers are used in order. (That hygiene hides it
        // when spent epochs are accepted, so it goes with them.)
        self.sent.retain(|other, _| *other > seq || Mutation::SpentAccepted.is_on());
        if self.in_flight.is_some_and(|flying| flying <= seq) {
            self.in_flight = None;
        }
        self.retry = None;
        self.failures = 0;
        Some(sent)
    }

    /// The heartbeat in flight had no answer. False = another one is in flight.
    pub(crate) fn failed(&mut self, now: Clocks, seq: u64, contact: Contact) -> bool {
        if self.in_flight != Some(seq) {
            return false;
        }
        self.in_flight = None;
        let pause = match contact {
            Contact::TurnedAway(_) => self.interval,
            Contact::NotYet | Contact::Answered(_) | Contact::Silent(_) => {
                (RETRY_MIN * 2_u32.pow(self.failures.min(4))).min(RETRY_MAX)
            }
        };
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(Timer::new(now, pause));
        self.contact = contact;
        true
    }

    /// The heartbeat in flight, when it has had its time.
    pub(crate) fn overdue(&self, now: Clocks) -> Option<u64> {
        let seq = self.in_flight?;
        self.flight_left(now).is_zero().then_some(seq)
    }

    /// How long until a heartbeat is to be sent, or given up.
    pub(crate) fn wait(&self, now: Clocks) -> Duration {
        if self.in_flight.is_some() {
            return self.flight_left(now);
        }
        if let Some(retry) = self.retry {
            return retry.left(now);
        }
        match self.last_sent {
            Some(last) if !self.urgent => Timer::new(last, self.interval).left(now),
            Some(_) | None => Duration::ZERO,
        }
    }

    /// Whether a heartbeat is to be sent now.
    pub(crate) fn is_due(&self, now: Clocks) -> bool {
        self.in_flight.is_none() && self.wait(now).is_zero()
    }

    fn flight_left(&self, now: Clocks) -> Duration {
        self.last_sent
            .map_or(Duration::ZERO, |sent| Timer::new(sent, self.give_up_after()).left(now))
    }
}

//! When a leader must not speak.
//!
//! A leader that hears no majority, but is still heard by some followers, keeps them from electing
//! another one (openraft issue 2080; openraft 0.9 has no check for it). So it goes silent when no
//! quorum has acknowledged anything for longer than an election value. Stepping down is the same
//! silence, asked for.
//!
//! ```text
//!            no quorum for `patience`, or asked to step down
//!   Speaking ------------------------------------------------> Silent
//!      ^                                                          |
//!      +----------------------------------------------------------+
//!         leads no more, or `silence` is over, or a vote was refused
//! ```
//!
//! Silence is bounded, because a silent leader may be needed: when its log is longer than that of
//! the only voter that came back, that voter can never be elected, and a leader does not stand for
//! election. Then speaking again is the way out. A refused vote says that this is the case at
//! hand, and ends the silence early.
//!
//! Silence is about liveness (I6) alone. That a leader without a quorum does no harm rests on
//! `confirm_leadership` (I7).

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use vipfence_types::{Term, Timing};

/// The rule, without a clock of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// How long a leader goes on without a quorum.
    patience: Duration,
    /// How long it is then silent, unless another node leads before.
    silence: Duration,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Not the leader: nothing to keep to oneself.
    Following,
    /// Leads, and speaks since then.
    Speaking { term: Term, since: Instant },
    /// Leads, and is silent until then.
    Silent {
        term: Term,
        until: Instant,
        /// On request: a refused vote does not end it.
        asked: bool,
    },
}

impl Rule {
    /// Takes in what Raft says now: the term that this node leads, if any, and how long ago a
    /// quorum acknowledged. Returns when to look again at the latest.
    fn look(&mut self, now: Instant, leads: Option<Term>, age: Option<Duration>) -> Instant {
        let far = now + 10 * self.silence;
        let Some(term) = leads else {
            self.mode = Mode::Following;
            return far;
        };
        match self.mode {
            Mode::Speaking { term: same, since } if same == term => {
                let alone = age.unwrap_or(Duration::MAX).min(now - since);
                if alone <= self.patience {
                    return now + (self.patience - alone) + Duration::from_millis(1);
                }
                let until = now + self.silence;
                self.mode = Mode::Silent { term, until, asked: false };
                until
            }
            Mode::Silent { term: same, until, .. } if same == term && now < until => until,
            Mode::Following | Mode::Speaking { .. } | Mode::Silent { .. } => {
                self.mode = Mode::Speaking { term, since: now };
                now + self.patience + Duration::from_millis(1)
            }
        }
    }

    fn step_down(&mut self, now: Instant, term: Term) {
        self.mode = Mode::Silent { term, until: now + self.silence, asked: true };
    }

    fn a_vote_was_refused(&mut self, now: Instant) {
        if let Mode::Silent { term, asked: false, .. } = self.mode {
            self.mode = Mode::Speaking { term, since: now };
        }
    }

    fn is_silent(&self) -> bool {
        matches!(self.mode, Mode::Silent { .. })
    }
}

/// The rule, as the parts of this module share it.
pub(super) struct Voice {
    rule: Mutex<Rule>,
    silent: AtomicBool,
    changed: Notify,
}

impl Voice {
    pub(super) fn new(timing: &Timing) -> Self {
        let patience = Duration::from_millis(timing.election_max_ms);
        Self {
            rule: Mutex::new(Rule {
                patience,
                // Long enough for the slowest voter: its followers' lease, its own value, ticks of
                // one and a half heartbeats, and once more after a split vote.
                silence: 4 * patience,
                mode: Mode::Following,
            }),
            silent: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// The longest time that a silence takes.
    pub(super) fn silence(&self) -> Duration {
        self.rule().silence
    }

    /// Whether this node must send nothing that keeps others from being elected.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    /// See `Rule::look`.
    pub(super) fn look(&self, leads: Option<Term>, age: Option<Duration>) -> Instant {
        self.change(|rule| rule.look(now(), leads, age))
    }

    /// Begins a silence in this term.
    pub(super) fn step_down(&self, term: Term) {
        self.change(|rule| rule.step_down(now(), term));
        self.changed.notify_one();
    }

    /// A voter wanted to be elected and this node would not have it.
    pub(super) fn a_vote_was_refused(&self) {
        self.change(|rule| rule.a_vote_was_refused(now()));
        self.changed.notify_one();
    }

    /// Waits for a change that did not come from `look`.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut Rule) -> T) -> T {
        let mut rule = self.rule();
        let result = change(&mut rule);
        self.silent.store(rule.is_silent(), Ordering::Release);
        result
    }

    fn rule(&self) -> MutexGuard<'_, Rule> {
        // The rule is one plain value, replaced whole: a panic elsewhere cannot have left it half
        // written.
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "measured against openraft's timers, which run on tokio's clock (simulated in tests)"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Option<Term> = Some(Term(3));

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn leading(start: Instant) -> Rule {
        let mut rule = Rule { patience: ms(450), silence: ms(1800), mode: Mode::Following };
        rule.look(start, TERM, None);
        rule
    }

    #[test]
    fn a_new_leader_has_time_to_find_its_quorum() {
        let start = now();
        let mut rule = leading(start);
        assert_eq!(
            rule.look(start + ms(400), TERM, None),
            start + ms(451),
            "looks again when its patience ends"
        );
        assert!(!rule.is_silent());
        rule.look(start + ms(451), TERM, None);
        assert!(rule.is_silent());
    }

    #[test]
    fn a_leader_that_a_quorum_acknowledges_speaks_for_ever() {
        let start = now();
        let mut rule = leading(start);
        for at in (0..100_000).step_by(100) {
            rule.look(start + ms(at), TERM, Some(ms(120)));
            assert!(!rule.is_silent());
        }
    }

    #[test]
    fn silence_ends_by_itself_and_comes_back_while_nobody_answers() {
        let start = now();
        let mut rule = leading(start);
        rule.look(start + ms(451), TERM, Some(ms(451)));
        rule.look(start + ms(2250), TERM, Some(ms(2250)));
        assert!(rule.is_silent());
        rule.look(start + ms(2251), TERM, Some(ms(2251)));
        assert!(!rule.is_silent(), "tries whether anybody is back");
        rule.look(start + ms(2702), TERM, Some(ms(2702)));
        assert!(rule.is_silent(), "nobody was");
    }

    #[test]
    fn losing_the_leadership_ends_the_silence() {
        let start = now();
        let mut rule = leading(start);
        rule.step_down(start, Term(3));
        rule.look(start + ms(1), None, None);
        assert!(!rule.is_silent());
    }

    #[test]
    fn a_refused_vote_ends_the_silence_of_a_leader_without_a_quorum() {
        let start = now();
        let mut rule = leading(start);
        rule.look(start + ms(451), TERM, None);
        rule.a_vote_was_refused(start + ms(500));
        assert!(!rule.is_silent());
    }

    #[test]
    fn a_refused_vote_does_not_stop_a_leader_from_stepping_down() {
        let start = now();
        let mut rule = leading(start);
        rule.step_down(start, Term(3));
        rule.a_vote_was_refused(start + ms(1));
        assert!(rule.is_silent());
        rule.look(start + ms(1800), TERM, None);
        assert!(!rule.is_silent(), "nobody took over");
    }
}

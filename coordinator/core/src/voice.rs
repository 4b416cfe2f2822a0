//! Voice: whether a Raft leader may speak. A rule beside Raft's own, the same in the consensus shell
//! and in the deterministic world.
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
//! Silence is about liveness (I6) alone. That a leader without a quorum does no harm rests on the
//! quorum round (I7).

use core::time::Duration;

use vipfence_types::{Term, Timing};

/// When a leader is silent. Moments are readings of one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
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
    Speaking { term: Term, since: Duration },
    /// Leads, and is silent until then.
    Silent {
        term: Term,
        until: Duration,
        /// On request: a refused vote does not end it.
        asked: bool,
    },
}

impl Voice {
    /// A node that follows.
    #[must_use]
    pub fn new(timing: &Timing) -> Self {
        let patience = Duration::from_millis(timing.election_max_ms);
        // Long enough for the slowest voter (`Candidacy`), and for another attempt after a vote that
        // was split.
        Self { patience, silence: 4 * patience, mode: Mode::Following }
    }

    /// The longest time that a silence takes.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.silence
    }

    /// Takes in what Raft says now: the term that this node leads, if any, and how long ago a
    /// quorum acknowledged. Returns when to look again at the latest.
    pub fn look(&mut self, now: Duration, leads: Option<Term>, age: Option<Duration>) -> Duration {
        let far = now + 10 * self.silence;
        let Some(term) = leads else {
            self.mode = Mode::Following;
            return far;
        };
        match self.mode {
            Mode::Speaking { term: same, since } if same == term => {
                let alone = age.unwrap_or(Duration::MAX).min(now.saturating_sub(since));
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

    /// Begins a silence in this term.
    pub fn step_down(&mut self, now: Duration, term: Term) {
        self.mode = Mode::Silent { term, until: now + self.silence, asked: true };
    }

    /// A voter wanted to be elected and this node would not have it.
    pub fn a_vote_was_refused(&mut self, now: Duration) {
        if let Mode::Silent { term, asked: false, .. } = self.mode {
            self.mode = Mode::Speaking { term, since: now };
        }
    }

    /// Whether this node must send nothing that keeps others from being elected.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self.mode, Mode::Silent { .. })
    }
}

#[cfg(test)]
mod tests {
    use vipfence_types::Profile;

    use super::*;

    const TERM: Option<Term> = Some(Term(3));

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn leading(start: Duration) -> Voice {
        let mut rule = Voice::new(&Timing::of(Profile::Fast));
        rule.look(start, TERM, None);
        rule
    }

    #[test]
    fn a_new_leader_has_time_to_find_its_quorum() {
        let start = Duration::from_secs(7);
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
        let start = Duration::from_secs(7);
        let mut rule = leading(start);
        for at in (0..100_000).step_by(100) {
            rule.look(start + ms(at), TERM, Some(ms(120)));
            assert!(!rule.is_silent());
        }
    }

    #[test]
    fn silence_ends_by_itself_and_comes_back_while_nobody_answers() {
        let start = Duration::from_secs(7);
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
        let start = Duration::from_secs(7);
        let mut rule = leading(start);
        rule.step_down(start, Term(3));
        rule.look(start + ms(1), None, None);
        assert!(!rule.is_silent());
    }

    #[test]
    fn a_refused_vote_ends_the_silence_of_a_leader_without_a_quorum() {
        let start = Duration::from_secs(7);
        let mut rule = leading(start);
        rule.look(start + ms(451), TERM, None);
        rule.a_vote_was_refused(start + ms(500));
        assert!(!rule.is_silent());
    }

    #[test]
    fn a_refused_vote_does_not_stop_a_leader_from_stepping_down() {
        let start = Duration::from_secs(7);
        let mut rule = leading(start);
        rule.step_down(start, Term(3));
        rule.a_vote_was_refused(start + ms(1));
        assert!(rule.is_silent());
        rule.look(start + ms(1800), TERM, None);
        assert!(!rule.is_silent(), "nobody took over");
    }
}

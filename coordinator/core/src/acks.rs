//! Acks: whether a majority has followed a Raft leader since a moment, as its own heartbeats tell.
//! The same rule in the consensus shell and in the deterministic world.
//!
//! A quorum round asks a majority whether it still follows this leader. A leader asks just that all
//! the time: each message of Raft carries its term, and whoever answers without naming a later one
//! follows it then. So a round that has time needs no messages of its own: it waits until a majority
//! has answered messages that were *sent* after it began. When an answer arrived says nothing, and an
//! answer to what was sent earlier proves nothing (I1, I7).
//!
//! The leader is one of that majority. That it still leads is not seen here: whoever uses this asks
//! its Raft after the last of those messages.

use core::time::Duration;
use std::collections::BTreeMap;

use vipfence_types::{Mutation, Term};

/// Who has acknowledged which term; `V` names a voter. Moments are readings of one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks<V> {
    /// The voters beside this node.
    others: Vec<V>,
    /// Whether this node has a vote itself.
    votes: bool,
    /// Of each node the newest term that it has acknowledged, and when the latest of those messages
    /// was sent.
    acked: BTreeMap<V, (Term, Duration)>,
}

impl<V: Ord + Copy> Acks<V> {
    /// Nobody has acknowledged anything to this node.
    #[must_use]
    pub fn new(me: V, voters: impl IntoIterator<Item = V>) -> Self {
        let voters: Vec<V> = voters.into_iter().collect();
        let votes = voters.contains(&me);
        let others = voters.into_iter().filter(|voter| *voter != me).collect();
        Self { others, votes, acked: BTreeMap::new() }
    }

    /// A node has answered a message of this leader's, sent then in this term, and named no later
    /// one.
    pub fn acknowledged(&mut self, node: V, term: Term, sent: Duration) {
        let latest = self.acked.entry(node).or_insert((term, sent));
        *latest = (*latest).max((term, sent));
    }

    /// Whether a majority, this node included, follows the leader of this term by messages that were
    /// all sent after `began`.
    #[must_use]
    pub fn confirm(&self, term: Term, began: Duration) -> bool {
        let follows = |voter: &&V| {
            self.acked.get(voter).is_some_and(|(acked, sent)| {
                *acked == term && (*sent > began || Mutation::AcksForEver.is_on())
            })
        };
        let following = self.others.iter().filter(follows).count() + usize::from(self.votes);
        let voters = self.others.len() + usize::from(self.votes);
        2 * following > voters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Term = Term(3);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn one_follower_of_two_is_enough() {
        let mut acks = Acks::new(1, [1, 2, 3]);
        assert!(!acks.confirm(TERM, ms(10)));
        acks.acknowledged(3, TERM, ms(11));
        assert!(acks.confirm(TERM, ms(10)));
    }

    #[test]
    fn what_was_sent_before_the_round_began_or_at_that_moment_does_not_count() {
        let mut acks = Acks::new(1, [1, 2, 3]);
        acks.acknowledged(2, TERM, ms(9));
        acks.acknowledged(3, TERM, ms(10));
        assert!(!acks.confirm(TERM, ms(10)));
    }

    #[test]
    fn an_answer_that_was_overtaken_takes_nothing_back() {
        let mut acks = Acks::new(1, [1, 2, 3]);
        acks.acknowledged(2, TERM, ms(20));
        acks.acknowledged(2, TERM, ms(5));
        assert!(acks.confirm(TERM, ms(10)));
        acks.acknowledged(2, Term(2), ms(30));
        assert!(acks.confirm(TERM, ms(10)));
    }

    #[test]
    fn another_term_confirms_nothing() {
        let mut acks = Acks::new(1, [1, 2, 3]);
        acks.acknowledged(2, Term(2), ms(20));
        assert!(!acks.confirm(TERM, ms(10)));
        acks.acknowledged(3, Term(4), ms(20));
        assert!(!acks.confirm(TERM, ms(10)));
    }

    #[test]
    fn only_voters_count() {
        let mut acks = Acks::new(1, [1, 2, 3]);
        acks.acknowledged(4, TERM, ms(20));
        assert!(!acks.confirm(TERM, ms(10)), "a learner");
        let mut five = Acks::new(1, [1, 2, 3, 4, 5]);
        five.acknowledged(2, TERM, ms(20));
        assert!(!five.confirm(TERM, ms(10)));
        five.acknowledged(5, TERM, ms(20));
        assert!(five.confirm(TERM, ms(10)));
    }

    #[test]
    fn the_only_voter_needs_nobody() {
        assert!(Acks::new(1, [1]).confirm(TERM, ms(10)));
    }
}

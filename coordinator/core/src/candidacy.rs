//! Candidacy: when a node stands for election. The same rule in the consensus shell and in the
//! deterministic world.
//!
//! A voter that has heard from no leader for longer than its value stands. The voters are ranked,
//! witnesses last, otherwise by name, and the leader that fell silent is left out: whoever is first
//! among the others has the smallest value of the profile, and the rest follow evenly spread, so
//! that after a leader's death one node stands, alone and soon. A candidate that was not elected
//! adds a draw to its value, anew each time, for two whose values are a message apart would
//! otherwise meet again and again.
//!
//! ```text
//!            no word from a leader for `value`              not elected, for `value` + draw
//!   Hearing -----------------------------------> Standing ---------------------------------+
//!      ^                                          |    ^                                   |
//!      +------------------------------------------+    +-----------------------------------+
//!         a leader's word, or own vote given away, or elected
//! ```
//!
//! A candidate that hears of a longer log cannot be elected by whoever has it: it leaves that node
//! time to stand more than once itself, since openraft does not take over the term of a candidate
//! whom it refuses for its log, and has to catch up with it one term at a time.
//!
//! A node that comes late to its own look (frozen, starved of CPU) has not been listening: that it
//! heard nothing proves nothing. It listens for its value again before it stands, once.
//!
//! This is about liveness (I6) alone: whoever stands whenever it likes is elected by a majority or
//! not at all. openraft 0.9 has a timer of its own, which is not used: it takes over only after two
//! values, and meets other candidates for ever where values are too near to one another.

use core::time::Duration;

use vipfence_types::{NodeId, Role, Timing};

/// What a look comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// Nothing to do before then.
    Waits(Duration),
    /// Stand for election now, and look again at once.
    Stands,
}

/// When a node stands for election. Moments are readings of one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidacy {
    me: NodeId,
    /// All voters, in the order in which they stand.
    ranked: Vec<NodeId>,
    least: Duration,
    most: Duration,
    /// A look that comes so much too late is that of a node that was not listening.
    late: Duration,
    /// The leader heard of last.
    leader: Option<NodeId>,
    /// Silence counts from here: a leader's word, a vote given away, or the last time it stood.
    since: Duration,
    /// How often it has stood since it heard from a leader.
    stood: u64,
    /// A voter has a longer log, or had when it was asked.
    outdone: bool,
    /// It has come late to a look since then, and has listened again.
    listened_again: bool,
    /// At the last look it led, or could not.
    out: bool,
}

impl Candidacy {
    /// A node that begins to listen now. Of `nodes`, those with a vote count.
    #[must_use]
    pub fn new<'a>(
        timing: &Timing,
        me: &NodeId,
        nodes: impl IntoIterator<Item = (&'a NodeId, Role)>,
        now: Duration,
    ) -> Self {
        let voters = nodes.into_iter().filter(|(_, role)| role.votes());
        let mut ranked: Vec<_> = voters.map(|(name, role)| (role == Role::Witness, name)).collect();
        ranked.sort_unstable();
        Self {
            me: me.clone(),
            ranked: ranked.into_iter().map(|(_, name)| name.clone()).collect(),
            least: Duration::from_millis(timing.election_min_ms),
            most: Duration::from_millis(timing.election_max_ms),
            late: Duration::from_millis(timing.raft_heartbeat_ms),
            leader: None,
            since: now,
            stood: 0,
            outdone: false,
            listened_again: false,
            out: false,
        }
    }

    /// A leader of the newest known term has spoken, or this node has voted for another one.
    pub fn heard(&mut self, now: Duration) {
        self.since = now;
        self.stood = 0;
        self.outdone = false;
        self.listened_again = false;
    }

    /// A voter refused this candidate, and has a longer log.
    pub fn outdone(&mut self) {
        self.outdone = true;
    }

    /// Takes in who leads, as far as this node knows, and whether that is itself; says what to do.
    pub fn look(&mut self, now: Duration, leader: Option<&NodeId>, leads: bool) -> Candidate {
        if leader.is_some() && leader != self.leader.as_ref() {
            self.leader = leader.cloned();
        }
        let was_out = self.out;
        self.out = leads || !self.ranked.contains(&self.me);
        if self.out {
            return Candidate::Waits(now + 10 * self.most);
        }
        if was_out {
            self.heard(now);
        }
        let due = self.since + self.patience();
        if now < due {
            return Candidate::Waits(due);
        }
        if now > due + self.late && !self.listened_again && self.stood == 0 {
            self.heard(now);
            self.listened_again = true;
            return Candidate::Waits(now + self.patience());
        }
        self.since = now;
        self.stood += 1;
        Candidate::Stands
    }

    /// How long it is patient, from `since` on.
    fn patience(&self) -> Duration {
        let alone = self.ranked.len() == 1;
        let value = if alone && self.stood == 0 { Duration::ZERO } else { self.value() };
        let draw = if self.stood == 0 { Duration::ZERO } else { self.draw() };
        let leaves = if self.outdone { 2 * self.most } else { Duration::ZERO };
        value + draw + leaves
    }

    /// This node's value: its rank among those who may follow the leader.
    fn value(&self) -> Duration {
        let others = || self.ranked.iter().filter(|name| Some(*name) != self.leader.as_ref());
        let last = u32::try_from(others().count().saturating_sub(1)).unwrap_or(u32::MAX).max(1);
        let rank = others().position(|name| *name == self.me);
        let rank = rank.and_then(|rank| u32::try_from(rank).ok()).unwrap_or(last);
        self.least + (self.most - self.least) * rank / last
    }

    /// Somewhere between nothing and the range of the values; another one each time, and for each
    /// node. Nothing rests on how random it is, and the same world must draw the same.
    fn draw(&self) -> Duration {
        let bytes = self.me.as_str().bytes().chain(self.stood.to_le_bytes());
        // FNV-1a.
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let thousandths = u32::try_from((hash >> 20) % 1_000).unwrap_or(0);
        (self.most - self.least) * thousandths / 1_000
    }
}

#[cfg(test)]
mod tests {
    use vipfence_types::Profile;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn name(name: &str) -> NodeId {
        NodeId::new(name).expect("a valid name")
    }

    fn candidacy(me: &str, nodes: &[(&str, Role)]) -> Candidacy {
        let nodes: Vec<_> = nodes.iter().map(|(node, role)| (name(node), *role)).collect();
        let nodes = nodes.iter().map(|(node, role)| (node, *role));
        Candidacy::new(&Timing::of(Profile::Fast), &name(me), nodes, Duration::ZERO)
    }

    /// The value of each node after `leader` was last heard at `SECOND`.
    fn values(nodes: &[(&str, Role)], leader: Option<&str>) -> Vec<Option<u64>> {
        let value = |me: &str| {
            let mut candidacy = candidacy(me, nodes);
            candidacy.heard(SECOND);
            let waits = candidacy.look(SECOND, leader.map(name).as_ref(), false);
            let Candidate::Waits(due) = waits else { return Some(0) };
            let value = due - SECOND;
            (value <= SECOND).then(|| u64::try_from(value.as_millis()).expect("short"))
        };
        nodes.iter().map(|(me, _)| value(me)).collect()
    }

    const THREE: [(&str, Role); 3] =
        [("a", Role::Member), ("b", Role::Member), ("c", Role::Member)];

    #[test]
    fn voters_stand_one_after_the_other() {
        assert_eq!(values(&THREE, None), [Some(300), Some(375), Some(450)]);
    }

    #[test]
    fn whoever_led_is_left_out_so_that_the_first_of_the_others_stands_soon() {
        assert_eq!(values(&THREE, Some("a")), [Some(450), Some(300), Some(450)]);
        assert_eq!(values(&THREE, Some("b")), [Some(300), Some(450), Some(450)]);
    }

    #[test]
    fn a_witness_stands_last_and_a_learner_never() {
        let four =
            [("a", Role::Witness), ("b", Role::Member), ("c", Role::Member), ("d", Role::Learner)];
        assert_eq!(values(&four, None), [Some(450), Some(300), Some(375), None]);
        assert_eq!(values(&four, Some("b")), [Some(450), Some(450), Some(300), None]);
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let backwards = [("c", Role::Member), ("b", Role::Witness), ("a", Role::Member)];
        assert_eq!(values(&backwards, None), [Some(375), Some(450), Some(300)]);
    }

    #[test]
    fn the_only_voter_stands_at_once() {
        assert_eq!(values(&[("a", Role::Member)], None), [Some(0)]);
        let mut alone = candidacy("a", &[("a", Role::Member), ("b", Role::Learner)]);
        assert_eq!(alone.look(ms(1), None, false), Candidate::Stands);
        assert!(matches!(alone.look(ms(2), None, false), Candidate::Waits(_)));
    }

    #[test]
    fn a_leaders_word_puts_it_off() {
        let mut candidacy = candidacy("a", &THREE);
        let leader = name("b");
        for beat in 0..1_000 {
            candidacy.heard(ms(beat * 290));
            let look = candidacy.look(ms(beat * 290 + 289), Some(&leader), false);
            assert_eq!(look, Candidate::Waits(ms(beat * 290 + 300)));
        }
    }

    #[test]
    fn a_leader_does_not_stand() {
        let mut candidacy = candidacy("a", &THREE);
        let look = candidacy.look(100 * SECOND, Some(&name("a")), true);
        assert!(matches!(look, Candidate::Waits(at) if at > 100 * SECOND));
        // It led until now: silence counts from here.
        let look = candidacy.look(101 * SECOND, None, false);
        assert!(matches!(look, Candidate::Waits(_)));
    }

    /// When this node stands in the next ten seconds, if it hears nothing.
    fn stands(me: &str) -> Vec<Duration> {
        let mut candidacy = candidacy(me, &THREE);
        let mut now = Duration::ZERO;
        let mut stands = Vec::new();
        while now < 10 * SECOND {
            match candidacy.look(now, None, false) {
                Candidate::Stands => stands.push(now),
                Candidate::Waits(until) => now = until,
            }
        }
        stands
    }

    #[test]
    fn candidates_that_met_once_do_not_meet_for_ever() {
        let apart = |one: &Duration, other: &Duration| one.abs_diff(*other) >= ms(20);
        let (one, other) = (stands("a"), stands("b"));
        assert!(one.len() >= 13 && other.len() >= 13, "each waits 0.6 s at most: {one:?}");
        let alone = one.iter().filter(|at| other.iter().all(|met| apart(at, met))).count();
        assert!(2 * alone > one.len(), "most of the time alone: {one:?}, {other:?}");
    }

    #[test]
    fn a_candidate_leaves_a_voter_with_a_longer_log_time_to_stand_more_than_once() {
        let (mut short, mut long) = (candidacy("a", &THREE), candidacy("b", &THREE));
        assert_eq!(short.look(ms(300), None, false), Candidate::Stands);
        short.outdone();
        let Candidate::Waits(again) = short.look(ms(301), None, false) else {
            panic!("it stands again at once");
        };
        let (mut now, mut stood) = (ms(301), 0);
        while now < again {
            match long.look(now, None, false) {
                Candidate::Stands => stood += 1,
                Candidate::Waits(until) => now = until,
            }
        }
        assert!(stood >= 2, "{stood}");
        short.heard(again);
        assert_eq!(short.look(again, None, false), Candidate::Waits(again + ms(300)));
    }

    #[test]
    fn a_node_that_was_not_listening_listens_first_but_only_once() {
        let mut candidacy = candidacy("a", &THREE);
        candidacy.heard(SECOND);
        assert_eq!(candidacy.look(9 * SECOND, None, false), Candidate::Waits(9 * SECOND + ms(300)));
        assert_eq!(candidacy.look(18 * SECOND, None, false), Candidate::Stands);
        let mut punctual = self::candidacy("a", &THREE);
        punctual.heard(SECOND);
        assert_eq!(punctual.look(SECOND + ms(375), None, false), Candidate::Stands);
    }
}

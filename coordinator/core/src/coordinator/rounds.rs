//! Quorum rounds, shared. A round that is under way never serves what was asked for after it
//! began (design.md §6): that waits for the next one. Of those with messages of their own at most
//! one is under way. It takes along what waits for Raft's heartbeats, since all of that was wanted
//! before it began.

use std::collections::{BTreeMap, VecDeque};

use vipfence_types::{Clocks, Heartbeat, Mutation, NicId};

use super::{BeatId, Confirmed, Pace, RoundId};

/// What a round is to confirm.
#[derive(Clone, Debug)]
pub(super) enum Confirm {
    /// A heartbeat, before it is answered.
    Beat { id: BeatId, heartbeat: Box<Heartbeat>, received: Clocks },
    /// A write to a NIC, before it is sent.
    Write(NicId),
}

#[derive(Debug)]
struct Ended {
    result: Option<Confirmed>,
    confirms: Vec<Confirm>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    wanted: Vec<Confirm>,
    /// Something of it is wanted at once.
    pressing: bool,
    under_way: BTreeMap<RoundId, (Pace, Vec<Confirm>)>,
    ended: VecDeque<Ended>,
}

impl Rounds {
    pub(super) fn want(&mut self, confirm: Confirm, pace: Pace) {
        if Mutation::SharedEarlierRound.is_on()
            && let Confirm::Beat { .. } = confirm
            && let Some(mut earlier) = self.under_way.first_entry()
        {
            return earlier.get_mut().1.push(confirm);
        }
        self.wanted.push(confirm);
        self.pressing |= pace == Pace::AtOnce;
    }

    /// What waits for Raft's heartbeats has no time any more.
    pub(super) fn hurry(&mut self) {
        self.under_way.retain(|_, (pace, confirms)| {
            let had_time = *pace == Pace::WithHeartbeat;
            if had_time {
                self.wanted.append(confirms);
                self.pressing = true;
            }
            !had_time
        });
    }

    /// Begins a round for everything that is wanted, unless one is in the way.
    pub(super) fn start(&mut self, next: &mut u64) -> Option<(RoundId, Pace)> {
        let asking = self.under_way.values().any(|(pace, _)| *pace == Pace::AtOnce);
        if self.wanted.is_empty() || self.pressing && asking {
            return None;
        }
        let mut confirms = Vec::new();
        let pace = if core::mem::take(&mut self.pressing) {
            let waiting = core::mem::take(&mut self.under_way);
            confirms.extend(waiting.into_values().flat_map(|(_, confirms)| confirms));
            Pace::AtOnce
        } else {
            Pace::WithHeartbeat
        };
        confirms.append(&mut self.wanted);
        *next += 1;
        let id = RoundId(*next);
        self.under_way.insert(id, (pace, confirms));
        Some((id, pace))
    }

    pub(super) fn ended(&mut self, id: RoundId, result: Option<Confirmed>) {
        if let Some((_, confirms)) = self.under_way.remove(&id) {
            if Mutation::ReceiptMovesBack.is_on() && result.is_none() {
                // Answers are late only where a heartbeat outlives its round.
                self.pressing = true;
                return self.wanted.extend(confirms);
            }
            self.ended.push_back(Ended { result, confirms });
        }
    }

    /// The results that can be used: failures, and rounds whose read index is applied.
    pub(super) fn usable(&mut self, applied: u64) -> Vec<(Confirm, Option<Confirmed>)> {
        let mut usable = Vec::new();
        let mut waiting = VecDeque::new();
        for ended in core::mem::take(&mut self.ended) {
            let early = ended.result.is_some_and(|confirmed| confirmed.read_index > applied);
            if early && !Mutation::StateBeforeReadIndex.is_on() {
                waiting.push_back(ended);
            } else {
                let result = ended.result;
                usable.extend(ended.confirms.into_iter().map(|confirm| (confirm, result)));
            }
        }
        self.ended = waiting;
        usable
    }

    /// Drops everything; returns the heartbeats that wait for an answer.
    pub(super) fn abandon(&mut self) -> Vec<BeatId> {
        let old = core::mem::take(self);
        let under_way = old.under_way.into_values().flat_map(|(_, confirms)| confirms);
        let ended = old.ended.into_iter().flat_map(|ended| ended.confirms);
        let all = old.wanted.into_iter().chain(under_way).chain(ended);
        all.filter_map(|confirm| match confirm {
            Confirm::Beat { id, .. } => Some(id),
            Confirm::Write(_) => None,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(name: &str) -> Confirm {
        Confirm::Write(NicId::new(name))
    }

    #[test]
    fn a_round_serves_only_what_was_wanted_before_it_began() {
        let (mut rounds, mut next) = (Rounds::default(), 0);
        rounds.want(write("/a"), Pace::AtOnce);
        let (first, _) = rounds.start(&mut next).expect("a round");
        rounds.want(write("/b"), Pace::AtOnce);
        assert_eq!(rounds.start(&mut next), None, "one at a time");
        rounds.ended(first, None);
        assert_eq!(rounds.usable(0).len(), 1);
        assert!(rounds.start(&mut next).is_some(), "the second has a round of its own");
    }

    #[test]
    fn a_result_waits_until_its_read_index_is_applied() {
        let (mut rounds, mut next) = (Rounds::default(), 0);
        rounds.want(write("/a"), Pace::AtOnce);
        let (id, _) = rounds.start(&mut next).expect("a round");
        let confirmed = Confirmed { term: vipfence_types::Term(3), read_index: 9 };
        rounds.ended(id, Some(confirmed));
        assert!(rounds.usable(8).is_empty());
        assert_eq!(rounds.usable(9).len(), 1);
        assert!(rounds.usable(9).is_empty(), "handed out once");
    }

    #[test]
    fn what_had_time_is_confirmed_at_once_when_there_is_a_hurry() {
        let (mut rounds, mut next) = (Rounds::default(), 0);
        rounds.hurry();
        assert_eq!(rounds.start(&mut next), None, "nothing is wanted");
        rounds.want(write("/a"), Pace::WithHeartbeat);
        let (slow, _) = rounds.start(&mut next).expect("a round");
        rounds.hurry();
        let (quick, pace) = rounds.start(&mut next).expect("another in its place");
        assert_eq!(pace, Pace::AtOnce);
        rounds.hurry();
        assert_eq!(rounds.start(&mut next), None, "it is under way");
        rounds.ended(slow, None);
        assert!(rounds.usable(0).is_empty(), "nobody waits for it any more");
        rounds.ended(quick, None);
        assert_eq!(rounds.usable(0).len(), 1);
    }

    #[test]
    fn what_is_wanted_at_once_takes_along_what_has_time() {
        let (mut rounds, mut next) = (Rounds::default(), 0);
        let mut begin = |rounds: &mut Rounds| rounds.start(&mut next);
        rounds.want(write("/a"), Pace::WithHeartbeat);
        let (slow, pace) = begin(&mut rounds).expect("a round");
        assert_eq!(pace, Pace::WithHeartbeat);
        rounds.want(write("/b"), Pace::WithHeartbeat);
        let (later, _) = begin(&mut rounds).expect("one of its own: it costs nothing");
        rounds.want(write("/c"), Pace::AtOnce);
        let (quick, pace) = begin(&mut rounds).expect("it does not wait");
        assert_eq!(pace, Pace::AtOnce);
        rounds.ended(slow, None);
        rounds.ended(later, None);
        assert!(rounds.usable(0).is_empty(), "nobody waits for those any more");
        rounds.want(write("/d"), Pace::WithHeartbeat);
        assert!(matches!(begin(&mut rounds), Some((_, Pace::WithHeartbeat))));
        rounds.want(write("/e"), Pace::AtOnce);
        assert_eq!(begin(&mut rounds), None, "of these one at a time");
        rounds.ended(quick, None);
        assert_eq!(rounds.usable(0).len(), 3);
        assert!(matches!(begin(&mut rounds), Some((_, Pace::AtOnce))));
    }
}

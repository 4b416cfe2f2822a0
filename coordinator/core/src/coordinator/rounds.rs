//! Quorum rounds, shared. A round that is under way never serves what was asked for after it
//! began (design.md §6): that waits for the next one. At most one is under way.

use std::collections::VecDeque;

use vipfence_types::{Clocks, Heartbeat, Mutation, NicId};

use super::{BeatId, Confirmed, RoundId};

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
    under_way: Option<(RoundId, Vec<Confirm>)>,
    ended: VecDeque<Ended>,
}

impl Rounds {
    pub(super) fn want(&mut self, confirm: Confirm) {
        if Mutation::SharedEarlierRound.is_on()
            && let (Confirm::Beat { .. }, Some((_, confirms))) = (&confirm, &mut self.under_way)
        {
            return confirms.push(confirm);
        }
        self.wanted.push(confirm);
    }

    /// Begins a round for everything that is wanted, if none is under way.
    pub(super) fn start(&mut self, next: &mut u64) -> Option<RoundId> {
        if self.under_way.is_some() || self.wanted.is_empty() {
            return None;
        }
        *next += 1;
        let id = RoundId(*next);
        self.under_way = Some((id, core::mem::take(&mut self.wanted)));
        Some(id)
    }

    pub(super) fn ended(&mut self, id: RoundId, result: Option<Confirmed>) {
        if let Some((_, confirms)) = self.under_way.take_if(|(known, _)| *known == id) {
            if Mutation::ReceiptMovesBack.is_on() && result.is_none() {
                // Answers are late only where a heartbeat outlives its round.
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
        let under_way = old.under_way.into_iter().flat_map(|(_, confirms)| confirms);
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
        rounds.want(write("/a"));
        let first = rounds.start(&mut next).expect("a round");
        rounds.want(write("/b"));
        assert_eq!(rounds.start(&mut next), None, "one at a time");
        rounds.ended(first, None);
        assert_eq!(rounds.usable(0).len(), 1);
        assert!(rounds.start(&mut next).is_some(), "the second has a round of its own");
    }

    #[test]
    fn a_result_waits_until_its_read_index_is_applied() {
        let (mut rounds, mut next) = (Rounds::default(), 0);
        rounds.want(write("/a"));
        let id = rounds.start(&mut next).expect("a round");
        let confirmed = Confirmed { term: vipfence_types::Term(3), read_index: 9 };
        rounds.ended(id, Some(confirmed));
        assert!(rounds.usable(8).is_empty());
        assert_eq!(rounds.usable(9).len(), 1);
        assert!(rounds.usable(9).is_empty(), "handed out once");
    }
}

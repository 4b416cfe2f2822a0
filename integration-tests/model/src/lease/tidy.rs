//! Forgetting what can no longer matter, so that states with equal futures are one state.
//!
//! Each line here is a claim about the model, made only while the rules that it rests on are kept.

use super::state::{NEVER, PROCESSES, Process};
use super::{At, Beat, Lease, Phase, Rule, State, TTL};

/// While these are kept, a deposed leader can do no more than send the answers it had confirmed.
const DEPOSED_ARE_HARMLESS: &[Rule] =
    &[Rule::QuorumRound, Rule::RoundAfterReceipt, Rule::ReceivedInThisTerm];

/// While these are kept, the record of a node is never older than the election.
const ONE_BASE: &[Rule] = &[
    Rule::AnyEpoch,
    Rule::LatestReceipt,
    Rule::WaitFromElection,
    Rule::AnsweredInThisTerm,
    Rule::ElectedNotCandidate,
    Rule::ReceivedInThisTerm,
];

impl Lease {
    /// The state that stands for all that are like this one.
    pub(super) fn tidy(&self, state: &mut State) {
        self.tidy_nodes(state);
        self.tidy_expiring(state);
        self.tidy_processes(state);
        self.tidy_last_grant(state);
        self.tidy_beats(state);
        tidy_revisions(state);
    }

    fn keeps_all(&self, rules: &[Rule]) -> bool {
        rules.iter().all(|rule| self.keeps(*rule))
    }

    fn tidy_nodes(&self, state: &mut State) {
        for index in 0..state.nodes.len() {
            let mut node = state.nodes[index];
            if node.kernel == 0 {
                node.under = 0;
            }
            if node.asked <= node.spent {
                node.asked = 0;
            }
            if self.keeps(Rule::KernelReadBack) {
                node.remembers = false;
            }
            if self.keeps(Rule::ConfirmationNamesEpoch) && old_spent_is_over(state, index) {
                node.spent = 0;
            }
            state.nodes[index] = node;
        }
    }

    fn tidy_expiring(&self, state: &mut State) {
        let (leader, last) = (state.leader(), state.term == self.bounds.terms);
        for (index, process) in state.processes.iter_mut().enumerate() {
            let of_old = process.expiring.0 != state.committed.epoch;
            let never_leads = last && leader.is_none_or(|leader| usize::from(leader) != index);
            if never_leads || (of_old && self.keeps(Rule::ExpiringOfThisEpoch)) {
                process.expiring = (0, NEVER);
            }
        }
    }

    fn tidy_processes(&self, state: &mut State) {
        let (term, committed) = (state.term, state.committed);
        let harmless = self.keeps_all(DEPOSED_ARE_HARMLESS);
        for (index, process) in state.processes.iter_mut().enumerate() {
            if self.keeps(Rule::CommandsNameRevision) && process.over != Some(committed.revision) {
                process.over = None;
            }
            if process.term == term {
                if self.keeps_all(ONE_BASE) {
                    let elected = process.elected;
                    process.answered.iter_mut().for_each(|age| *age = elected.min(*age));
                }
                continue;
            }
            self.tidy_deposed(process, harmless && !has_confirmed(&state.beats, index));
        }
    }

    /// One that was deposed, or never led: its wait counts for nothing any more.
    fn tidy_deposed(&self, process: &mut Process, forgotten: bool) {
        process.over = None;
        process.unrecorded = None;
        if self.keeps(Rule::ElectedNotCandidate) {
            process.elected = NEVER;
        }
        if self.keeps(Rule::AnsweredInThisTerm) {
            process.answered = Process::default().answered;
            process.answered_epoch = Process::default().answered_epoch;
        }
        if forgotten {
            (process.term, process.applied) = Default::default();
        }
        process.term = process.term.min(1);
    }

    /// After the last grant within the bounds nothing is counted any more.
    fn tidy_last_grant(&self, state: &mut State) {
        let last = state.committed.epoch == self.bounds.grants;
        if last && state.committed.phase == Phase::Granted && self.keeps(Rule::NewEpochOnReturn) {
            for process in &mut state.processes {
                let Process { term, applied, hanging_round, .. } = *process;
                *process = Process { term, applied, hanging_round, ..Process::default() };
            }
        }
    }

    fn tidy_beats(&self, state: &mut State) {
        let leader = state.leader();
        let (epoch, names) = (state.committed.epoch, self.keeps(Rule::ConfirmationNamesEpoch));
        let harmless = self.keeps_all(DEPOSED_ARE_HARMLESS);
        let applied: [u8; PROCESSES] = state.processes.map(|process| process.applied.revision);
        for beat in &mut state.beats {
            match &mut beat.at {
                At::Up { released } if names && *released != epoch => *released = 0,
                At::Confirmed { by, index, .. } if *index <= applied[usize::from(*by)] => {
                    *index = 0
                }
                At::Up { .. } | At::Received { .. } | At::Confirmed { .. } | At::Down { .. } => {}
            }
        }
        let nodes = state.nodes;
        state.beats.retain(|beat| match beat.at {
            At::Up { released } => beat.sent < TTL || released > 0,
            At::Received { by, .. } => leader == Some(by) || !harmless,
            At::Confirmed { .. } => true,
            At::Down { grant, releasing } => {
                let node = nodes[usize::from(beat.node)];
                let refused = grant == 0 || (grant <= node.spent && self.keeps(Rule::Spent));
                !refused || releasing > node.spent || node.kernel > 0
            }
        });
        state.beats.sort_unstable();
    }
}

fn has_confirmed(beats: &[Beat], process: usize) -> bool {
    let by_it = |at| matches!(at, At::Confirmed { by, .. } if usize::from(by) == process);
    beats.iter().any(|beat| by_it(beat.at))
}

/// What a node has spent matters only for an epoch that it may still be granted, or confirm.
fn old_spent_is_over(state: &State, index: usize) -> bool {
    let spent = state.nodes[index].spent;
    let granted_late = state.beats.iter().any(|beat| {
        usize::from(beat.node) == index
            && matches!(beat.at, At::Down { grant, releasing }
            if grant.max(releasing) > 0 && grant.max(releasing) <= spent)
    });
    let applied_late = state.processes.iter().any(|process| {
        let applied = process.applied;
        usize::from(applied.node) == index && applied.epoch > 0 && applied.epoch <= spent
    });
    spent < state.committed.epoch && !granted_late && !applied_late
}

/// Revisions are only compared: their ranks are as good.
fn tidy_revisions(state: &mut State) {
    let mut used = vec![0, state.committed.revision];
    for process in &state.processes {
        used.push(process.applied.revision);
        used.extend(process.over);
        used.extend(process.hanging_round);
    }
    for beat in &state.beats {
        if let At::Confirmed { index, .. } = beat.at {
            used.push(index);
        }
    }
    used.sort_unstable();
    used.dedup();
    let rank = |revision: &mut u8| {
        *revision = used.iter().take_while(|other| **other < *revision).map(|_| 1).sum();
    };
    rank(&mut state.committed.revision);
    for process in &mut state.processes {
        rank(&mut process.applied.revision);
        process.over.iter_mut().for_each(rank);
        process.hanging_round.iter_mut().for_each(rank);
    }
    for beat in &mut state.beats {
        if let At::Confirmed { index, .. } = &mut beat.at {
            rank(index);
        }
    }
}

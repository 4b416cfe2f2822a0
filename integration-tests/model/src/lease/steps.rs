//! What can happen in the lease model, and what comes of it.

use super::state::{ALL_PROCESSES, FOREVER, NEVER, PROCESSES, Process};
use super::{At, Beat, Lease, Phase, Rule, SLACK, State, TTL, WAIT};

/// One event. Processes and nodes are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time passes, everywhere alike.
    Tick,
    /// A node sends a heartbeat; where too many are under way, another one is lost.
    Send {
        /// The node.
        node: u8,
        /// What is lost.
        loses: Option<Beat>,
    },
    /// A process takes a heartbeat, and a confirmation with it.
    Receive {
        /// The heartbeat.
        beat: Beat,
        /// The process.
        by: u8,
    },
    /// A quorum round that began after the receipt succeeds.
    Round(Beat),
    /// The answer is decided, recorded and sent.
    Answer(Beat),
    /// Without `RecordWithAnswer`: the answer is recorded.
    Record(u8),
    /// A node gets an answer.
    Deliver(Beat),
    /// A node that was asked to drops the address, spends the epoch, will confirm.
    Release(u8),
    /// The agent of a node starts anew.
    Restart(u8),
    /// The leader commits Releasing (a switchover).
    Switchover,
    /// The leader commits Expiring (a failover, or a release that took too long).
    Expire,
    /// The leader commits a new grant for the node that still has one.
    Back,
    /// A process applies what is committed.
    Apply(u8),
    /// The leader finds the grant over and proposes the next.
    FindOver,
    /// That entry is committed: another node is granted.
    Grant {
        /// The node.
        to: u8,
    },
    /// A process is elected and commits its first entry.
    Elect(u8),
    /// Without `ElectedNotCandidate`: a process asks for votes.
    Stand(u8),
    /// Without `ExpiringApplied`: the leader proposes Expiring.
    ProposeExpiring,
    /// Without `NodeLongestClock`: a node's wall clock is set back, and the agent believes it.
    NodeClockBack(u8),
    /// Without `LeaderShortestClock`: a leader's wall clock leaps, and it believes it.
    LeaderClockLeap(u8),
}

impl State {
    /// Node 0 is granted, process 0 leads; nobody has heard anything yet.
    pub(super) fn begin() -> Self {
        let mut state = Self {
            term: 1,
            committed: super::state::Grant { epoch: 1, ..Default::default() },
            nodes: Default::default(),
            processes: [Process::default(); PROCESSES],
            beats: Vec::new(),
        };
        let committed = state.committed;
        let leader = &mut state.processes[0];
        (leader.term, leader.elected, leader.applied) = (1, 0, committed);
        state
    }

    /// The process that leads the newest term, if there is one.
    pub(super) fn leader(&self) -> Option<u8> {
        ALL_PROCESSES.into_iter().find(|process| self.process(*process).term == self.term)
    }

    fn process(&self, process: u8) -> &Process {
        &self.processes[usize::from(process)]
    }

    /// The leader, where it has applied all that is committed: only then is its proposal accepted.
    fn up_to_date_leader(&self) -> Option<u8> {
        self.leader().filter(|p| self.process(*p).applied.revision == self.committed.revision)
    }

    fn remove(&mut self, beat: Beat) {
        if let Some(at) = self.beats.iter().position(|other| *other == beat) {
            self.beats.swap_remove(at);
        }
    }
}

fn older(age: &mut u8, cap: u8) {
    if *age != NEVER {
        *age = age.saturating_add(1).min(cap);
    }
}

impl Lease {
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.rules.keep(rule)
    }

    /// Everything that can happen next.
    pub(super) fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        self.node_steps(state, steps);
        for beat in &state.beats {
            self.beat_steps(state, *beat, steps);
        }
        self.leader_steps(state, steps);
        self.process_steps(state, steps);
    }

    fn node_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for node in 0..self.bounds.nodes {
            if self.bounds.all_beat || state.committed.node == node {
                self.send_steps(state, node, steps);
            }
            let it = state.nodes[usize::from(node)];
            if it.asked > 0 {
                steps.push(Step::Release(node));
            }
            if it.asked > 0 || it.remembers || !self.keeps(Rule::SpentDurable) {
                steps.push(Step::Restart(node));
            }
            if it.kernel > 0 && !self.keeps(Rule::NodeLongestClock) {
                steps.push(Step::NodeClockBack(node));
            }
        }
    }

    fn send_steps(&self, state: &State, node: u8, steps: &mut Vec<Step>) {
        let mine = || state.beats.iter().filter(move |beat| beat.node == node);
        let most = self.bounds.beats[usize::from(node > 0)];
        if mine().count() < usize::from(most) {
            steps.push(Step::Send { node, loses: None });
        } else {
            steps.extend(mine().map(|beat| Step::Send { node, loses: Some(*beat) }));
        }
    }

    fn beat_steps(&self, state: &State, beat: Beat, steps: &mut Vec<Step>) {
        match beat.at {
            At::Up { .. } => {
                let takers = ALL_PROCESSES.into_iter().filter(|p| self.may_receive(state, *p));
                steps.extend(takers.map(|by| Step::Receive { beat, by }));
            }
            At::Received { by, .. } => {
                if state.leader() == Some(by) {
                    steps.push(Step::Round(beat));
                }
                if self.may_answer(state, by, self.round_of_another(state, by)) {
                    steps.push(Step::Answer(beat));
                }
            }
            At::Confirmed { by, index, .. } => {
                if self.may_answer(state, by, Some(index)) {
                    steps.push(Step::Answer(beat));
                }
            }
            At::Down { .. } => steps.push(Step::Deliver(beat)),
        }
    }

    /// A deposed leader takes heartbeats too, but its rounds fail: that is left out where rounds
    /// are asked for.
    fn may_receive(&self, state: &State, process: u8) -> bool {
        let believes = state.process(process).term > 0;
        let needs_no_round = !self.keeps(Rule::QuorumRound) || !self.keeps(Rule::RoundAfterReceipt);
        state.leader() == Some(process)
            || (believes && needs_no_round)
            || !self.keeps(Rule::ReceivedInThisTerm)
    }

    /// What a heartbeat without a round of its own is answered on, where a rule is dropped.
    fn round_of_another(&self, state: &State, process: u8) -> Option<u8> {
        if self.keeps(Rule::QuorumRound) { state.process(process).hanging_round } else { Some(0) }
    }

    fn may_answer(&self, state: &State, process: u8, index: Option<u8>) -> bool {
        let it = state.process(process);
        let applied = index.is_some_and(|index| it.applied.revision >= index);
        it.term > 0 && applied && it.unrecorded.is_none()
    }

    fn leader_steps(&self, state: &State, steps: &mut Vec<Step>) {
        if state.up_to_date_leader().is_some() {
            let again = state.committed.epoch < self.bounds.grants;
            match state.committed.phase {
                Phase::Granted if again => steps.extend([Step::Switchover, Step::Expire]),
                Phase::Granted => {}
                Phase::Releasing => steps.push(Step::Expire),
                Phase::Expiring => {}
            }
            if again && state.committed.phase != Phase::Granted {
                steps.push(Step::Back);
            }
        }
        let Some(leader) = state.leader() else { return };
        let it = state.process(leader);
        if it.over.is_none() && it.applied.phase == Phase::Expiring && self.is_over(it) {
            steps.push(Step::FindOver);
        }
        if it.over.is_some() && state.committed.epoch < self.bounds.grants {
            let others = (0..self.bounds.nodes).filter(|node| *node != state.committed.node);
            steps.extend(others.map(|to| Step::Grant { to }));
        }
        if !self.keeps(Rule::ExpiringApplied) && it.expiring.1 == NEVER {
            steps.push(Step::ProposeExpiring);
        }
    }

    fn process_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for process in ALL_PROCESSES {
            let it = state.process(process);
            let counts = state.committed.phase == Phase::Expiring
                || (state.committed.phase == Phase::Releasing
                    && !self.keeps(Rule::ExpiringNotReleasing));
            let news = it.term > 0 && it.applied != state.committed;
            let can_lead = state.term < self.bounds.terms || state.leader() == Some(process);
            if news || (counts && can_lead && it.expiring.0 != state.committed.epoch) {
                steps.push(Step::Apply(process));
            }
            if it.unrecorded.is_some() {
                steps.push(Step::Record(process));
            }
            if state.term < self.bounds.terms {
                self.election_steps(process, it, steps);
            }
            if it.term > 0 && !self.keeps(Rule::LeaderShortestClock) {
                steps.push(Step::LeaderClockLeap(process));
            }
        }
    }

    fn election_steps(&self, process: u8, it: &Process, steps: &mut Vec<Step>) {
        let stood = it.term == 0 && it.elected != NEVER;
        if self.keeps(Rule::ElectedNotCandidate) || stood {
            steps.push(Step::Elect(process));
        } else {
            steps.push(Step::Stand(process));
        }
    }

    fn wait(&self) -> u8 {
        if self.keeps(Rule::KernelSlack) { WAIT } else { TTL }
    }

    /// `lease_wait` has passed since the earlier of the two moments of design §6.
    fn is_over(&self, leader: &Process) -> bool {
        let node = usize::from(leader.applied.node);
        let same_epoch = leader.answered_epoch[node] == leader.applied.epoch;
        let answered = leader.answered[node];
        let first = if answered != NEVER && (self.keeps(Rule::AnyEpoch) || same_epoch) {
            answered
        } else if self.keeps(Rule::WaitFromElection) {
            leader.elected
        } else {
            WAIT
        };
        let (epoch, age) = leader.expiring;
        let this_epoch = epoch == leader.applied.epoch || !self.keeps(Rule::ExpiringOfThisEpoch);
        let second = age != NEVER && this_epoch && self.keeps(Rule::ExpiringEndsWait);
        first >= self.wait() || (second && age >= self.wait())
    }

    /// What comes of a step.
    pub(super) fn take(&self, state: &mut State, step: Step) {
        match step {
            Step::Tick => self.tick(state),
            Step::Send { node, loses } => self.send(state, node, loses),
            Step::Receive { beat, by } => self.receive(state, beat, by),
            Step::Round(beat) => self.round(state, beat),
            Step::Answer(beat) => self.answer(state, beat),
            Step::Record(process) => self.record_late(state, process),
            Step::Deliver(beat) => self.deliver(state, beat),
            Step::Release(node) => self.release(state, node),
            Step::Restart(node) => self.restart(state, node),
            Step::Switchover => self.commit(state, Phase::Releasing),
            Step::Expire => self.commit(state, Phase::Expiring),
            Step::Back => self.back(state),
            Step::Apply(process) => self.apply(state, process),
            Step::FindOver => Self::find_over(state),
            Step::Grant { to } => self.grant(state, to),
            Step::Elect(process) => self.elect(state, process),
            Step::Stand(process) => {
                state.processes[usize::from(process)] =
                    Process { elected: 0, ..Process::default() };
            }
            Step::ProposeExpiring => {
                if let Some(leader) = state.leader() {
                    let it = &mut state.processes[usize::from(leader)];
                    it.expiring = (it.applied.epoch, 0);
                }
            }
            Step::NodeClockBack(node) => state.nodes[usize::from(node)].kernel = WAIT,
            Step::LeaderClockLeap(process) => {
                Self::leap(&mut state.processes[usize::from(process)])
            }
        }
    }

    fn tick(&self, state: &mut State) {
        for node in &mut state.nodes {
            if node.kernel != FOREVER {
                node.kernel = node.kernel.saturating_sub(1);
            }
        }
        for process in &mut state.processes {
            older(&mut process.elected, WAIT);
            process.answered.iter_mut().for_each(|age| older(age, WAIT));
            older(&mut process.expiring.1, WAIT);
            if let Some((_, age)) = &mut process.unrecorded {
                older(age, WAIT);
            }
        }
        for beat in &mut state.beats {
            older(&mut beat.sent, TTL);
            if let At::Received { age, .. } | At::Confirmed { age, .. } = &mut beat.at {
                older(age, WAIT);
            }
        }
        if self.keeps(Rule::LeaseFromSend) {
            state.beats.retain(|beat| beat.sent < TTL || matches!(beat.at, At::Up { .. }));
        }
    }

    fn send(&self, state: &mut State, node: u8, loses: Option<Beat>) {
        if let Some(lost) = loses {
            state.remove(lost);
        }
        let it = state.nodes[usize::from(node)];
        // Of what it has just now it says nothing; of what it gave back it says so each time.
        let free = it.kernel == 0 || !self.keeps(Rule::KernelReadBack);
        let released = if free { it.spent } else { 0 };
        state.beats.push(Beat { node, sent: 0, at: At::Up { released } });
    }

    fn receive(&self, state: &mut State, beat: Beat, by: u8) {
        let At::Up { released } = beat.at else { return };
        state.remove(beat);
        state.beats.push(Beat { at: At::Received { by, age: 0 }, ..beat });
        if state.leader() != Some(by) {
            return;
        }
        let it = &mut state.processes[usize::from(by)];
        let in_the_way = it.applied.node == beat.node && it.applied.phase != Phase::Granted;
        let named = released == it.applied.epoch || !self.keeps(Rule::ConfirmationNamesEpoch);
        if in_the_way && released > 0 && named {
            it.over = Some(it.applied.revision);
        }
    }

    fn round(&self, state: &mut State, beat: Beat) {
        let At::Received { by, age } = beat.at else { return };
        let index = if self.keeps(Rule::ReadIndex) { state.committed.revision } else { 0 };
        state.remove(beat);
        state.beats.push(Beat { at: At::Confirmed { by, age, index }, ..beat });
        if !self.keeps(Rule::RoundAfterReceipt) {
            state.processes[usize::from(by)].hanging_round = Some(index);
        }
    }

    fn answer(&self, state: &mut State, beat: Beat) {
        let (At::Received { by, age } | At::Confirmed { by, age, .. }) = beat.at else { return };
        let applied = state.process(by).applied;
        let mine = applied.node == beat.node;
        let renewed = applied.phase != Phase::Expiring || !self.keeps(Rule::NoGrantInExpiring);
        let grant = if mine && renewed { applied.epoch } else { 0 };
        let releasing = if mine && applied.phase != Phase::Granted { applied.epoch } else { 0 };
        if grant > 0 {
            if self.keeps(Rule::RecordWithAnswer) {
                self.record(&mut state.processes[usize::from(by)], beat.node, age);
            } else {
                state.processes[usize::from(by)].unrecorded = Some((beat.node, age));
            }
        }
        state.remove(beat);
        state.beats.push(Beat { at: At::Down { grant, releasing }, ..beat });
    }

    fn record(&self, process: &mut Process, node: u8, age: u8) {
        let node = usize::from(node);
        let known = process.answered[node];
        let latest = self.keeps(Rule::LatestReceipt);
        process.answered[node] = if known == NEVER || !latest { age } else { known.min(age) };
        if !self.keeps(Rule::AnyEpoch) {
            process.answered_epoch[node] = process.applied.epoch;
        }
    }

    fn record_late(&self, state: &mut State, process: u8) {
        let it = &mut state.processes[usize::from(process)];
        if let Some((node, age)) = it.unrecorded.take() {
            self.record(it, node, age);
        }
    }

    fn deliver(&self, state: &mut State, beat: Beat) {
        let At::Down { grant, releasing } = beat.at else { return };
        state.remove(beat);
        let node = &mut state.nodes[usize::from(beat.node)];
        let left = if self.keeps(Rule::LeaseFromSend) { TTL - beat.sent } else { TTL };
        if grant > 0 && left > 0 && (grant > node.spent || !self.keeps(Rule::Spent)) {
            let finite = self.keeps(Rule::KernelLifetime);
            node.kernel = if finite { node.kernel.max(left + SLACK) } else { FOREVER };
            node.under = node.under.max(grant);
            node.remembers = true;
        }
        if releasing > node.spent {
            node.asked = node.asked.max(releasing);
        }
        if grant == 0 && releasing == 0 && self.keeps(Rule::DropWhenUnlisted) {
            node.kernel = 0;
        }
    }

    fn release(&self, state: &mut State, node: u8) {
        let node = &mut state.nodes[usize::from(node)];
        if self.keeps(Rule::KernelReadBack) || node.remembers {
            node.kernel = 0;
        }
        node.spent = node.spent.max(node.asked);
        node.remembers = false;
    }

    /// An address with a finite lifetime is left to the kernel.
    fn restart(&self, state: &mut State, node: u8) {
        let node = &mut state.nodes[usize::from(node)];
        (node.asked, node.remembers) = (0, false);
        if !self.keeps(Rule::SpentDurable) {
            node.spent = 0;
        }
    }

    fn commit(&self, state: &mut State, phase: Phase) {
        state.committed.phase = phase;
        state.committed.revision += 1;
    }

    fn back(&self, state: &mut State) {
        if self.keeps(Rule::NewEpochOnReturn) {
            state.committed.epoch += 1;
        }
        self.commit(state, Phase::Granted);
    }

    fn apply(&self, state: &mut State, process: u8) {
        let committed = state.committed;
        let it = &mut state.processes[usize::from(process)];
        if it.term > 0 {
            it.applied = committed;
        }
        let counts = match committed.phase {
            Phase::Expiring => true,
            Phase::Releasing => !self.keeps(Rule::ExpiringNotReleasing),
            Phase::Granted => false,
        };
        let goes_on = it.expiring.0 == committed.epoch
            || (it.expiring.1 != NEVER && !self.keeps(Rule::ExpiringOfThisEpoch));
        if counts && !goes_on {
            it.expiring = (committed.epoch, 0);
        }
    }

    fn find_over(state: &mut State) {
        if let Some(leader) = state.leader() {
            let it = &mut state.processes[usize::from(leader)];
            it.over = Some(it.applied.revision);
        }
    }

    fn grant(&self, state: &mut State, to: u8) {
        let Some(leader) = state.leader() else { return };
        let over = state.processes[usize::from(leader)].over.take();
        if over == Some(state.committed.revision) || !self.keeps(Rule::CommandsNameRevision) {
            state.committed.node = to;
            state.committed.epoch += 1;
            self.commit(state, Phase::Granted);
        }
    }

    fn elect(&self, state: &mut State, process: u8) {
        state.term += 1;
        state.committed.revision += 1;
        let old = *state.process(process);
        let mut new = Process { term: state.term, expiring: old.expiring, ..Process::default() };
        new.elected = if self.keeps(Rule::ElectedNotCandidate) { 0 } else { old.elected };
        if !self.keeps(Rule::AnsweredInThisTerm) {
            new.answered = old.answered;
        }
        state.processes[usize::from(process)] = new;
        let keeps = self.keeps(Rule::ReceivedInThisTerm);
        state.beats.retain(|beat| match beat.at {
            At::Received { by, .. } => by != process || !keeps,
            At::Confirmed { by, .. } => by != process,
            At::Up { .. } | At::Down { .. } => true,
        });
        self.apply(state, process);
    }

    fn leap(process: &mut Process) {
        let ages =
            process.answered.iter_mut().chain([&mut process.elected, &mut process.expiring.1]);
        ages.filter(|age| **age != NEVER).for_each(|age| *age = WAIT);
    }
}

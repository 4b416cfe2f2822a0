//! Coordinator: the one machine that the shell of a node runs. It joins the Mover, the NicWriters
//! and the surveys, and shares quorum rounds and proposals among them.
//!
//! ```text
//!            heartbeats, asks            answers, replies, nudges
//!                   |                              ^
//!             +-----v------------------------------+-----+
//!             |  Mover  --- wants, reads, seals --> NicWriter (one a NIC)
//!             +--+----------------------+----------------+
//!       propose / applied         quorum round        HTTP
//! ```
//!
//! After every input it brings itself up to date: what each VIP needs next is planned from the
//! applied state, each VIP has at most one proposal under way, and the NicWriters get their wants.
//! On a node that does not lead it only takes note of when grants first were Expiring, and keeps its
//! own view of ARM warm.
//!
//! Keeps I7: nothing is planned before this leader's `Lead` entry of this term is applied, and a
//! quorum round is always one that began after what it is to confirm; its result counts only with
//! this term and with state applied up to its read index.

mod asks;
mod estimate;
mod inputs;
mod reach;
mod rounds;
#[cfg(test)]
mod tests;
mod upkeep;
mod warmth;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use vipfence_types::{
    Clocks, Heartbeat, Mutation, NicId, NodeId, Refusal, Revision, Term, VipName,
};

use crate::{
    ask::{AskError, Reply},
    mover::{Mover, News},
    nic::{
        HttpId, HttpResult, NicEffect, NicWriter,
        budget::{Budget, Class},
    },
    registry::{
        Applied, AzureOperation, Body, COMMAND_FORMAT, Command, Note, Refused, Registry, Scope,
    },
    survey::Survey,
};
use reach::Reach;
use rounds::{Confirm, Rounds};
use warmth::Warmth;

pub use inputs::{
    AskId, BeatId, Confirmed, Effect, Input, Pace, ProposalId, ProposeFault, RoundId, Setup,
};

/// How long to wait before a proposal that failed is made again.
const REPROPOSE: Duration = Duration::from_millis(100);

/// What a proposal is for. At most one of each kind is under way, notes excepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Found,
    Lead,
    Nics(NodeId),
    Step(VipName),
    Lower(VipName),
    Resume(Scope),
    Blocked(VipName),
    Note(u64),
    Ask(AskId),
}

#[derive(Debug)]
enum Stage {
    Proposing,
    /// Applied at this index, which this machine has not seen applied yet.
    Catching(u64),
    /// Failed; not again before this.
    Resting(Clocks),
}

/// See the module.
#[derive(Debug)]
pub struct Coordinator {
    setup: Setup,
    state: Arc<Registry>,
    applied: u64,
    leader: Option<NodeId>,
    term: Term,
    mover: Mover,
    nics: BTreeMap<NicId, NicWriter>,
    rounds: Rounds,
    proposals: BTreeMap<ProposalId, Purpose>,
    busy: BTreeMap<Purpose, Stage>,
    surveys: BTreeMap<AskId, (Survey, Body)>,
    /// Grants and releases that nodes were nudged about.
    nudged: BTreeMap<VipName, Revision>,
    reach: Reach,
    warmth: Warmth,
    budget: Budget,
    /// What each request that is under way costs.
    sent: BTreeMap<HttpId, Class>,
    next: u64,
    now: Clocks,
    effects: Vec<Effect>,
}

impl Coordinator {
    /// A node's machine, before anything has happened.
    #[must_use]
    pub fn new(setup: Setup, now: Clocks) -> Self {
        Self {
            mover: Mover::new(setup.node.clone()),
            setup,
            state: Arc::default(),
            applied: 0,
            leader: None,
            term: Term(0),
            nics: BTreeMap::new(),
            rounds: Rounds::default(),
            proposals: BTreeMap::new(),
            busy: BTreeMap::new(),
            surveys: BTreeMap::new(),
            nudged: BTreeMap::new(),
            reach: Reach::default(),
            warmth: Warmth::default(),
            budget: Budget::new(now),
            sent: BTreeMap::new(),
            next: 0,
            now,
            effects: Vec::new(),
        }
    }

    /// Takes an input and says what is to be done, in order.
    pub fn step(&mut self, now: Clocks, input: Input) -> Vec<Effect> {
        self.step_all(now, [input])
    }

    /// Takes inputs that have come in meanwhile, in their order: what each VIP and each NIC needs
    /// next is looked at once, after the last of them. With hundreds of VIPs that look is dear.
    pub fn step_all(
        &mut self,
        now: Clocks,
        inputs: impl IntoIterator<Item = Input>,
    ) -> Vec<Effect> {
        self.now = now;
        for input in inputs {
            self.take(input);
        }
        self.settle();
        core::mem::take(&mut self.effects)
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Leadership { term, leader, leading } => {
                self.on_leadership(term, leader, leading)
            }
            Input::Applied { index, state } => self.on_applied(index, state),
            Input::Beat { id, heartbeat } => self.on_beat(id, heartbeat),
            Input::Asked { id, ask } => self.on_ask(id, ask),
            Input::Proposed { id, result } => self.on_proposed(id, result),
            Input::Round { id, result } => self.rounds.ended(id, result),
            Input::Http { id, result } => self.on_http(id, result),
            Input::Tick => {}
        }
    }

    /// How long until `Tick` has something to do; none = not before another input.
    #[must_use]
    pub fn wake_in(&self, now: Clocks) -> Option<Duration> {
        if self.mover.lead().is_none() {
            return self.cools_in(now);
        }
        // What was due at the last step was done then: zero means that it waits for something else.
        let passed = now.mono_since(self.now);
        let due = |writer: &NicWriter| writer.wake_in(self.now).filter(|wait| !wait.is_zero());
        let nics = self.nics.values().filter_map(due).map(|wait| wait.saturating_sub(passed));
        let resting = self.busy.values().filter_map(|stage| match stage {
            Stage::Resting(until) => Some(until.mono_since(now)),
            Stage::Proposing | Stage::Catching(_) => None,
        });
        let heartbeat = Duration::from_millis(self.state.timing.agent_heartbeat_ms);
        // Lease waits and time-outs are looked at this often. Where nothing waits, all that can fall
        // due by time alone is a node's silence (and the watch over Azure, which may come late).
        let pace = if self.is_at_rest() { heartbeat } else { heartbeat / 10 };
        let silence = self.mover.lead().and_then(|lead| lead.falls_silent_in(now, &self.state));
        let pace = pace.max(Duration::from_millis(20));
        let soonest = nics.chain(resting).chain(silence).min().unwrap_or(pace).min(pace);
        Some(soonest.max(Duration::from_millis(1)))
    }

    /// Nothing is under way: no move, no proposal, no survey, no lease that is to be lowered, no
    /// NIC with something to do.
    fn is_at_rest(&self) -> bool {
        self.busy.is_empty()
            && self.surveys.is_empty()
            && self.state.vips.values().all(|record| record.open.is_none())
            && self.mover.lead().is_none_or(|lead| !lead.is_lowering())
            && self.nics.values().all(|writer| writer.wake_in(self.now).is_none())
    }

    /// The state as this machine has seen it applied.
    #[must_use]
    pub fn state(&self) -> &Arc<Registry> {
        &self.state
    }

    // ---- inputs ---------------------------------------------------------------------------

    fn on_leadership(&mut self, term: Term, leader: Option<NodeId>, leading: bool) {
        self.leader = leader;
        self.term = term;
        let led = self.mover.lead().map(|lead| lead.term);
        if leading && led == Some(term) {
            return;
        }
        if led.is_some() {
            self.stop_leading();
        }
        if leading {
            self.reach.elected();
            self.mover.elected(self.now, term);
            self.mover.applied(self.now, &self.state);
        }
    }

    /// Everything of a term dies with it; callers are told.
    fn stop_leading(&mut self) {
        self.mover.deposed();
        self.nics.clear();
        self.nudged.clear();
        let leader = self.leader.clone().filter(|leader| *leader != self.setup.node);
        for id in self.rounds.abandon() {
            let answer = Err(Refusal::NotLeader { leader: leader.clone() });
            self.effects.push(Effect::Answer { id, answer });
        }
        for id in core::mem::take(&mut self.surveys).into_keys() {
            let reply = Err(AskError::NotLeader { leader: leader.clone() });
            self.effects.push(Effect::Reply { id, reply });
        }
        // Asks that were proposed are answered when their proposals end.
        self.busy.retain(|purpose, _| matches!(purpose, Purpose::Ask(_)));
        self.proposals.retain(|_, purpose| matches!(purpose, Purpose::Ask(_)));
    }

    fn on_applied(&mut self, index: u64, state: Arc<Registry>) {
        if index < self.applied {
            return;
        }
        self.applied = index;
        if Mutation::WaitPerEpoch.is_on() {
            self.mover.forget_earlier_epochs(&self.state, &state);
        }
        self.state = state;
        self.mover.applied(self.now, &self.state);
        let applied = self.applied;
        self.busy.retain(|_, stage| match stage {
            Stage::Catching(at) => *at > applied,
            Stage::Proposing | Stage::Resting(_) => true,
        });
    }

    fn on_beat(&mut self, id: BeatId, heartbeat: Heartbeat) {
        match self.mover.beat(self.now, &self.state, &heartbeat) {
            Ok(news) => {
                let (heartbeat, received) = (Box::new(heartbeat), self.now);
                let has_time = news == News::Nothing && self.is_at_rest();
                let pace = if has_time { Pace::WithHeartbeat } else { Pace::AtOnce };
                self.rounds.want(Confirm::Beat { id, heartbeat, received }, pace);
            }
            Err(Refusal::NotLeader { .. }) => {
                let leader = self.leader.clone().filter(|leader| *leader != self.setup.node);
                let answer = Err(Refusal::NotLeader { leader });
                self.effects.push(Effect::Answer { id, answer });
            }
            Err(refusal) => self.effects.push(Effect::Answer { id, answer: Err(refusal) }),
        }
    }

    fn on_proposed(&mut self, id: ProposalId, result: Result<(u64, Applied), ProposeFault>) {
        let Some(purpose) = self.proposals.remove(&id) else { return };
        if let Purpose::Ask(ask) = purpose {
            self.busy.remove(&purpose);
            let reply = match result {
                Ok((_, Applied::Refused(refused))) => Err(AskError::Refused(refused)),
                Ok((index, applied)) => Ok(Reply::Applied { index, applied }),
                Err(ProposeFault::Unknown) => Err(AskError::OutcomeUnknown),
                Err(ProposeFault::NotProposed) => {
                    Err(AskError::NotLeader { leader: self.leader.clone() })
                }
            };
            self.effects.push(Effect::Reply { id: ask, reply });
            return;
        }
        match result {
            // The plan was wrong, or the Registry cannot: the same plan again is no better, and
            // must not run hot. What is merely stale is planned anew from what came in between.
            Ok((_, Applied::Refused(refused))) if refused != Refused::Stale => {
                self.busy.insert(purpose, Stage::Resting(self.now.plus(REPROPOSE)));
            }
            Ok((index, _)) if index > self.applied => {
                self.busy.insert(purpose, Stage::Catching(index));
            }
            Ok(_) => {
                self.busy.remove(&purpose);
            }
            Err(_) => {
                self.busy.insert(purpose, Stage::Resting(self.now.plus(REPROPOSE)));
            }
        }
    }

    fn on_http(&mut self, id: HttpId, result: HttpResult) {
        self.reach.called(self.now, id, &result);
        let was_own = self.warmth.answered(id, &result);
        if let Some(class) = self.sent.remove(&id) {
            self.budget.learn(self.now, class, &result);
        }
        if was_own {
            return;
        }
        let survey = self.surveys.iter().find(|(_, (survey, _))| survey.awaits(id));
        if let Some(ask) = survey.map(|(ask, _)| *ask) {
            return self.on_survey(ask, id, result);
        }
        let now = self.now;
        let mut effects = Vec::new();
        for (nic, writer) in &mut self.nics {
            effects.push((nic.clone(), writer.on_http(now, id, result.clone())));
        }
        for (nic, of_nic) in effects {
            self.carry(&nic, of_nic);
        }
    }

    // ---- effects ----------------------------------------------------------------------------

    fn propose(&mut self, purpose: Purpose, body: Body) {
        if self.busy.contains_key(&purpose) {
            return;
        }
        self.next += 1;
        let id = ProposalId(self.next);
        self.proposals.insert(id, purpose.clone());
        self.busy.insert(purpose, Stage::Proposing);
        let command = Command {
            format: COMMAND_FORMAT,
            at_ms: self.now.wall_us / 1_000,
            by: self.setup.node.clone(),
            body,
        };
        self.effects.push(Effect::Propose { id, command });
    }

    fn carry(&mut self, nic: &NicId, effects: Vec<NicEffect>) {
        for effect in effects {
            match effect {
                NicEffect::Http(request) => {
                    self.reach.sent(&request);
                    self.warmth.asked(self.now);
                    self.sent.insert(request.id, Class::of(request.method));
                    self.effects.push(Effect::Http(request));
                }
                NicEffect::Round => {
                    self.rounds.want(Confirm::Write(nic.clone()), Pace::AtOnce);
                }
                NicEffect::Operation { vips, news } => {
                    for vip in vips {
                        let operation = AzureOperation {
                            nic: nic.clone(),
                            kind: news.kind,
                            url: news.url.clone(),
                            status: news.status.clone(),
                            started_ms: news.started_ms,
                            ended_ms: news.ended_ms,
                        };
                        self.note_operation(&vip, operation);
                    }
                }
            }
        }
    }

    fn note_operation(&mut self, vip: &VipName, operation: AzureOperation) {
        let moves = self.state.logs.get(vip).map(|log| &log.moves);
        // News of a known operation belong to the move that began it, superseded or not; a new one
        // to the open move, and a background seal to the one that caused it. Both are the last.
        let begun = moves.into_iter().flatten().rev().find(|known| known.knows(&operation));
        let last = moves.and_then(|moves| moves.back());
        let Some(id) = begun.or(last).map(|known| known.id) else { return };
        self.next += 1;
        let purpose = Purpose::Note(self.next);
        let note = Note::Operation(operation);
        self.propose(purpose, Body::Note { vip: vip.clone(), id, note });
    }

    fn start_round(&mut self) {
        if let Some((id, pace)) = self.rounds.start(&mut self.next) {
            self.effects.push(Effect::Round { id, pace });
        }
    }

    /// Hands out the results of rounds whose read index is applied; returns the heartbeats that
    /// were answered.
    fn use_confirmed(&mut self, term: Term) -> Vec<Heartbeat> {
        let now = self.now;
        let mut answered = Vec::new();
        for (confirm, result) in self.rounds.usable(self.applied) {
            let good = result.is_some_and(|confirmed| confirmed.term == term);
            match confirm {
                Confirm::Beat { id, heartbeat, received } => {
                    let answer = if good || Mutation::NoRoundBeforeAnswer.is_on() {
                        self.mover.answer(now, &self.state, &heartbeat, received)
                    } else {
                        None
                    };
                    if answer.is_some() {
                        answered.push(*heartbeat);
                    }
                    let answer = answer.ok_or(Refusal::NoQuorum);
                    self.effects.push(Effect::Answer { id, answer });
                }
                Confirm::Write(nic) => {
                    let state = Arc::clone(&self.state);
                    let confirmed = good.then_some(state.as_ref());
                    let effects = match self.nics.get_mut(&nic) {
                        Some(writer) => writer.on_round(now, confirmed, &mut self.next),
                        None => vec![],
                    };
                    self.carry(&nic, effects);
                }
            }
        }
        answered
    }

    fn report_nics(&mut self, heartbeat: &Heartbeat) {
        let node = &heartbeat.node;
        let known = self.state.nodes.get(node).map(|record| &record.nics);
        if !heartbeat.nics.is_empty() && known.is_some_and(|nics| *nics != heartbeat.nics) {
            let body = Body::ReportNics { node: node.clone(), nics: heartbeat.nics.clone() };
            self.propose(Purpose::Nics(node.clone()), body);
        }
    }
}

/// Whether an earlier request of this id stands in the log of the VIP: it is answered from there.
fn was_asked(state: &Registry, vip: &VipName, request: &crate::registry::Request) -> bool {
    let known = state.logs.get(vip).zip(request.id.as_ref());
    known.is_some_and(|(log, id)| log.requests.iter().any(|earlier| earlier.id == *id))
}

/// A refusal of the Registry that can be foreseen is given without a proposal.
fn refuse(refused: Refused) -> AskError {
    AskError::Refused(refused)
}

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
//! On a node that does not lead it only takes note of when grants first were Expiring.
//!
//! Keeps I7: nothing is planned before this leader's `Lead` entry of this term is applied, and a
//! quorum round is always one that began after what it is to confirm; its result counts only with
//! this term and with state applied up to its read index.

mod asks;
mod rounds;

use core::net::IpAddr;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use vipfence_types::{
    Answer, Clocks, ClusterName, Heartbeat, MoveId, NicId, NodeId, Refusal, Revision, Term, Timing,
    VipName,
};

use crate::{
    ask::{Ask, AskError, Reply},
    mover::{Decision, Mover},
    nic::{HttpId, HttpRequest, HttpResult, NicEffect, NicWriter, Setup as NicSetup, Want},
    registry::{
        Applied, AzureOperation, Body, COMMAND_FORMAT, Command, Founder, Note, Refused, Registry,
    },
    survey::Survey,
};
use rounds::{Confirm, Rounds};

/// How long to wait before a proposal that failed is made again.
const REPROPOSE: Duration = Duration::from_millis(100);

/// Names a proposal of this process.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ProposalId(pub u64);

/// Names a quorum round of this process.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct RoundId(pub u64);

/// Names a heartbeat that waits for its answer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BeatId(pub u64);

/// Names an ask that waits for its reply.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct AskId(pub u64);

/// What a quorum round brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The term in which this node was confirmed as leader.
    pub term: Term,
    /// State applied up to here reflects everything committed before the round began.
    pub read_index: u64,
}

/// Why a proposal brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProposeFault {
    /// Certain: it is not in the log.
    NotProposed,
    /// It may be committed, or may still be.
    Unknown,
}

/// Everything that can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// What this node sees of the leadership now.
    Leadership {
        /// The term.
        term: Term,
        /// Who leads, as far as known.
        leader: Option<NodeId>,
        /// Whether that is this process, in this term.
        leading: bool,
    },
    /// State was applied up to this index.
    Applied {
        /// The index.
        index: u64,
        /// The state.
        state: Arc<Registry>,
    },
    /// A heartbeat was received.
    Beat {
        /// Names it.
        id: BeatId,
        /// It.
        heartbeat: Heartbeat,
    },
    /// A caller asks for something.
    Asked {
        /// Names it.
        id: AskId,
        /// What.
        ask: Ask,
    },
    /// A proposal was applied at this index, or failed.
    Proposed {
        /// Which.
        id: ProposalId,
        /// What became of it.
        result: Result<(u64, Applied), ProposeFault>,
    },
    /// A quorum round has ended; none = it failed.
    Round {
        /// Which.
        id: RoundId,
        /// What it brought.
        result: Option<Confirmed>,
    },
    /// A request to ARM was answered, or failed.
    Http {
        /// Which.
        id: HttpId,
        /// What came back.
        result: HttpResult,
    },
    /// Time has passed.
    Tick,
}

/// Everything that the shell is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Propose a command. The shell brings `Applied` up to its index before `Proposed`, or after.
    Propose {
        /// Names it.
        id: ProposalId,
        /// It.
        command: Command,
    },
    /// Make a quorum round that begins after this effect was emitted.
    Round {
        /// Names it.
        id: RoundId,
    },
    /// Send a request to ARM; a write only while `send_before` allows it, checked as the last step.
    Http(HttpRequest),
    /// Answer a heartbeat.
    Answer {
        /// Which.
        id: BeatId,
        /// With what.
        answer: Result<Answer, Refusal>,
    },
    /// Reply to a caller.
    Reply {
        /// Which.
        id: AskId,
        /// With what.
        reply: Result<Reply, AskError>,
    },
    /// Hint to a node that it should beat at once. May be lost.
    Nudge {
        /// The node.
        node: NodeId,
    },
}

/// What a Coordinator needs to know once.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This node.
    pub node: NodeId,
    /// The cluster, for when it has to be founded.
    pub cluster: ClusterName,
    /// The timers to found it with.
    pub timing: Timing,
    /// The nodes to found it with.
    pub founders: Vec<Founder>,
    /// The api-version of the network provider.
    pub api_version: String,
}

/// What a proposal is for. At most one of each kind is under way, notes excepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Found,
    Lead,
    Nics(NodeId),
    Step(VipName),
    Lower(VipName),
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
    /// Blocked reasons as last proposed.
    told: BTreeMap<VipName, (MoveId, String, Option<u64>)>,
    /// Grants and releases that nodes were nudged about.
    nudged: BTreeMap<VipName, Revision>,
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
            told: BTreeMap::new(),
            nudged: BTreeMap::new(),
            next: 0,
            now,
            effects: Vec::new(),
        }
    }

    /// Takes an input and says what is to be done, in order.
    pub fn step(&mut self, now: Clocks, input: Input) -> Vec<Effect> {
        self.now = now;
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
        self.settle();
        core::mem::take(&mut self.effects)
    }

    /// How long until `Tick` has something to do; none = not before another input.
    #[must_use]
    pub fn wake_in(&self, now: Clocks) -> Option<Duration> {
        self.mover.lead()?;
        let nics = self.nics.values().filter_map(|writer| writer.wake_in(now));
        let resting = self.busy.values().filter_map(|stage| match stage {
            Stage::Resting(until) => Some(until.mono_since(now)),
            Stage::Proposing | Stage::Catching(_) => None,
        });
        // Silence, lease waits and time-outs are looked at this often.
        let pace = Duration::from_millis(self.state.timing.agent_heartbeat_ms / 10)
            .max(Duration::from_millis(20));
        let soonest = nics.chain(resting).min().unwrap_or(pace).min(pace);
        Some(soonest.max(Duration::from_millis(1)))
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
            self.mover.elected(self.now, term);
            self.mover.applied(self.now, &self.state);
        }
    }

    /// Everything of a term dies with it; callers are told.
    fn stop_leading(&mut self) {
        self.mover.deposed();
        self.nics.clear();
        self.told.clear();
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
            Ok(()) => {
                self.rounds.want(Confirm::Beat { id, heartbeat, received: self.now });
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

    // ---- bringing everything up to date -----------------------------------------------------

    fn settle(&mut self) {
        let now = self.now;
        self.busy.retain(|_, stage| match stage {
            Stage::Resting(until) => until.later_than(now),
            Stage::Proposing | Stage::Catching(_) => true,
        });
        let Some(term) = self.mover.lead().map(|lead| lead.term) else { return };
        self.use_confirmed(term);
        if !self.take_office(term) {
            return self.start_round();
        }
        self.ensure_writers(term);
        self.plan_all();
        self.lower_leases();
        let nics: Vec<NicId> = self.nics.keys().cloned().collect();
        for nic in nics {
            let effects = match self.nics.get_mut(&nic) {
                Some(writer) => writer.tick(now, &mut self.next),
                None => vec![],
            };
            self.carry(&nic, effects);
        }
        self.start_round();
    }

    /// The first entries of a term. Returns whether they are applied.
    fn take_office(&mut self, term: Term) -> bool {
        if self.state.cluster.is_none() {
            let body = Body::Found {
                cluster: self.setup.cluster.clone(),
                timing: self.setup.timing,
                nodes: self.setup.founders.clone(),
            };
            self.propose(Purpose::Found, body);
            return false;
        }
        let led = self.state.term == term && self.state.leader.as_ref() == Some(&self.setup.node);
        if !led {
            self.propose(Purpose::Lead, Body::Lead);
        }
        led
    }

    /// A NicWriter for every NIC that a node or a VIP names. It reads its NIC at once, so that the
    /// leader is warm.
    fn ensure_writers(&mut self, term: Term) {
        let Some(elected_at) = self.mover.lead().map(|lead| lead.elected_at) else { return };
        let state = Arc::clone(&self.state);
        let of_nodes = state.nodes.values().flat_map(|node| node.nics.iter().map(|nic| &nic.id));
        let mut nics: BTreeSet<NicId> = of_nodes.cloned().collect();
        for record in state.vips.values() {
            nics.extend(record.azure.places().into_iter().map(|place| place.nic));
            nics.extend(record.exposed.iter().cloned());
        }
        for nic in nics {
            self.ensure_writer(nic, term, elected_at);
        }
    }

    fn ensure_writer(&mut self, nic: NicId, term: Term, elected_at: Clocks) {
        if self.nics.contains_key(&nic) {
            return;
        }
        let setup = NicSetup {
            nic: nic.clone(),
            api_version: self.setup.api_version.clone(),
            term,
            elected_at,
            write_window: self.state.timing.write_window(),
            azure_max: self.state.timing.azure_max(),
            cluster: self.setup.cluster.to_string(),
        };
        let mut writer = NicWriter::new(setup, self.now);
        // An operation that an earlier leader committed is followed, not started again.
        for vip in self.state.vips.keys() {
            let open = self.state.open_move(vip);
            let running = open.into_iter().flat_map(|open| &open.operations);
            for operation in running.filter(|op| op.nic == nic && op.ended_ms.is_none()) {
                writer.follow(&operation.url, operation.kind, vip, self.now);
            }
        }
        self.nics.insert(nic, writer);
    }

    fn plan_all(&mut self) {
        let state = Arc::clone(&self.state);
        let mut wants: BTreeMap<NicId, BTreeMap<IpAddr, Want>> = BTreeMap::new();
        let mut seals: BTreeMap<NicId, BTreeMap<VipName, Revision>> = BTreeMap::new();
        let mut reads: BTreeMap<NicId, Clocks> = BTreeMap::new();
        for (vip, record) in &state.vips {
            let decision = self.mover.plan(self.now, &state, record, &self.nics);
            for (place, want) in decision.wants.iter().cloned() {
                wants.entry(place.nic).or_default().insert(place.address, want);
            }
            for nic in &decision.seals {
                seals.entry(nic.clone()).or_default().insert(vip.clone(), record.azure_phase);
            }
            for (nic, since) in &decision.reads {
                let latest = reads.entry(nic.clone()).or_insert(*since);
                if since.later_than(*latest) {
                    *latest = *since;
                }
            }
            self.act_on(vip, record.azure_phase, decision);
            self.nudge(vip);
        }
        let lead = self.mover.lead().map(|lead| (lead.term, lead.elected_at));
        if let Some((term, elected_at)) = lead {
            for nic in reads.keys().cloned().collect::<Vec<_>>() {
                self.ensure_writer(nic, term, elected_at);
            }
        }
        for (nic, writer) in &mut self.nics {
            let (wants, seals) =
                (wants.remove(nic).unwrap_or_default(), seals.remove(nic).unwrap_or_default());
            writer.want(wants, seals);
            writer.read_after(reads.remove(nic));
        }
    }

    fn act_on(&mut self, vip: &VipName, phase: Revision, decision: Decision) {
        if let Some((node, reason)) = &decision.failed {
            self.mover.target_failed(self.now, vip, node, reason);
        }
        for place in &decision.kicks {
            self.mover.kicked(vip, phase);
            if let Some(writer) = self.nics.get_mut(&place.nic) {
                writer.retry_attach(place.address);
            }
        }
        if let Some(body) = decision.step {
            self.propose(Purpose::Step(vip.clone()), body);
            return;
        }
        self.tell_blocked(vip, decision.blocked, decision.next_attempt);
    }

    /// Commits why a move does not proceed, when that has changed.
    fn tell_blocked(&mut self, vip: &VipName, reason: String, next: Option<Clocks>) {
        let Some(open) = self.state.open_move(vip) else {
            self.told.remove(vip);
            return;
        };
        let id = open.id;
        let wall_ms = self.now.wall_us / 1_000;
        let next_attempt_ms = next.map(|at| {
            wall_ms + u64::try_from(at.mono_since(self.now).as_millis()).unwrap_or(u64::MAX)
        });
        let same = match self.told.get(vip) {
            Some((told, before, until)) if *told == id => {
                // A later attempt of the same kind is news only once the earlier one has passed.
                *before == reason && until.is_none_or(|until| until > wall_ms)
            }
            Some(_) | None => reason.is_empty() && open.blocked_reason.is_empty(),
        };
        if same || self.busy.contains_key(&Purpose::Blocked(vip.clone())) {
            return;
        }
        self.told.insert(vip.clone(), (id, reason.clone(), next_attempt_ms));
        let note = Note::Blocked { reason, next_attempt_ms };
        let body = Body::Note { vip: vip.clone(), id, note };
        self.propose(Purpose::Blocked(vip.clone()), body);
    }

    /// New grants and releases are pushed: the node is asked to beat at once.
    fn nudge(&mut self, vip: &VipName) {
        let Some(record) = self.state.vip(vip) else { return };
        let Some(node) = record.holder().filter(|_| record.open.is_some()) else { return };
        if self.nudged.get(vip) != Some(&record.phase) {
            self.effects.push(Effect::Nudge { node: node.clone() });
            self.nudged.insert(vip.clone(), record.phase);
        }
    }

    fn lower_leases(&mut self) {
        let lowered = self.mover.lead().map(|lead| lead.lowered(self.now)).unwrap_or_default();
        let lease_ttl_ms = self.state.timing.lease_ttl_ms;
        for (vip, epoch) in lowered {
            let body = Body::LowerLease { vip: vip.clone(), epoch, lease_ttl_ms };
            self.propose(Purpose::Lower(vip), body);
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
                NicEffect::Http(request) => self.effects.push(Effect::Http(request)),
                NicEffect::Round => self.rounds.want(Confirm::Write(nic.clone())),
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
        let open = self.state.open_move(vip).map(|open| open.id);
        let last = self.state.logs.get(vip).and_then(|log| log.moves.back()).map(|m| m.id);
        // Background seals belong to the move that caused them: the last one.
        let Some(id) = open.or(last) else { return };
        self.next += 1;
        let purpose = Purpose::Note(self.next);
        let note = Note::Operation(operation);
        self.propose(purpose, Body::Note { vip: vip.clone(), id, note });
    }

    fn start_round(&mut self) {
        if let Some(id) = self.rounds.start(&mut self.next) {
            self.effects.push(Effect::Round { id });
        }
    }

    /// Hands out the results of rounds whose read index is applied.
    fn use_confirmed(&mut self, term: Term) {
        let now = self.now;
        for (confirm, result) in self.rounds.usable(self.applied) {
            let good = result.is_some_and(|confirmed| confirmed.term == term);
            match confirm {
                Confirm::Beat { id, heartbeat, received } => {
                    let answer = if good {
                        self.mover.answer(&self.state, &heartbeat, received)
                    } else {
                        None
                    };
                    self.report_nics(&heartbeat);
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

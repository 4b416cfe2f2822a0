//! A seat in the Raft group: the real openraft, on simulated time, disk and network.
//!
//! What surrounds openraft here says what the consensus shell of the product says (`propose`,
//! `confirm_leadership`, when a node stands for election, the silence of a leader without a quorum,
//! no vote of a voter without a log, no term led by two processes); the rules themselves are the shell's own, from
//! `vipfence_coordinator_core`. The shell as a whole runs in other tests (`agent/src/stress`).

mod disk;
mod followers;
mod network;
mod runtime;
mod types;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openraft::{
    AsyncRuntime, BasicNode, Config, ServerState, SnapshotPolicy,
    error::{CheckIsLeaderError, RaftError},
    raft::VoteResponse,
};
use tokio::sync::watch;
use vipfence_coordinator_core::{
    Acks, Applied, Candidacy, Candidate, Command, Confirmed, Pace, ProposalId, ProposeFault,
    Registry, RoundId, Voice, newborn_refuses,
};
use vipfence_types::{Mutation, NodeId, Role, Term, Timing};

pub(crate) use disk::{DiskHealth, RaftDisk};
pub(crate) use network::{RaftAnswer, RaftRequest};

use disk::{LogStore, SharedDisk, StateMachine, lock};
use followers::Followers;
use network::{Calls, Network};
use runtime::{Executor, SimRuntime};
use types::{LogId, Membership, Metrics, Raft, RaftId};

/// What a seat asks of the world, or tells it.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A message to another seat.
    Request { to: RaftId, call: u64, request: RaftRequest },
    /// The answer to a message of another seat.
    Answer { to: RaftId, incarnation: u64, call: u64, answer: RaftAnswer },
    /// The replicated state on this node is now this.
    Applied { index: u64, state: Arc<Registry> },
    /// This node has applied this entry.
    Committed(SeatCommit),
    /// A proposal has come to an end.
    Proposed { id: ProposalId, result: Result<(u64, Applied), ProposeFault> },
    /// A quorum round has come to an end.
    Rounded { id: RoundId, result: Option<Confirmed> },
    /// Raft has started, or cannot.
    Started(Result<(), String>),
}

/// An entry that a node has applied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeatCommit {
    pub(crate) index: u64,
    pub(crate) term: Term,
    /// None: an entry of openraft's own.
    pub(crate) command: Option<Box<Command>>,
    pub(crate) applied: Option<Applied>,
}

/// Where a seat puts what is for the world.
#[derive(Clone, Default)]
struct Outbox(Arc<Mutex<Vec<Outgoing>>>);

impl Outbox {
    fn push(&self, outgoing: Outgoing) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(outgoing);
    }

    fn take(&self) -> Vec<Outgoing> {
        core::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The nodes of the group, and who votes. Numbers follow from names, as in the shell.
#[derive(Clone, Debug)]
pub(crate) struct Roster(BTreeMap<RaftId, (NodeId, Role)>);

impl Roster {
    pub(crate) fn new(nodes: &[(NodeId, Role)]) -> Self {
        let mut sorted = nodes.to_vec();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self((1..).zip(sorted).collect())
    }

    pub(crate) fn id(&self, node: &NodeId) -> RaftId {
        let found = self.0.iter().find(|(_, (name, _))| name == node);
        *found.expect("a node of the group").0
    }

    pub(crate) fn name(&self, id: RaftId) -> &NodeId {
        &self.0[&id].0
    }

    fn voters(&self) -> impl Iterator<Item = RaftId> {
        self.0.iter().filter(|(_, (_, role))| role.votes()).map(|(id, _)| *id)
    }

    fn membership(&self) -> Membership {
        let nodes = self.0.iter().map(|(id, (name, _))| (*id, BasicNode::new(name.as_str())));
        Membership::new(vec![self.voters().collect()], nodes.collect::<BTreeMap<_, _>>())
    }
}

/// Who leads, as far as a node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) term: Term,
    pub(crate) leader: Option<NodeId>,
    pub(crate) leading: bool,
}

/// See the module.
pub(crate) struct Seat {
    me: RaftId,
    roster: Arc<Roster>,
    timing: Timing,
    executor: Executor,
    outbox: Outbox,
    calls: Calls,
    silent: Arc<AtomicBool>,
    voice: Voice,
    vote_refused: Arc<AtomicBool>,
    /// None before the first run, which says what time it is.
    candidacy: Option<Candidacy>,
    leader_heard: Arc<AtomicBool>,
    outdone: Arc<AtomicBool>,
    followers: Followers,
    stands_at: Option<Duration>,
    look_again: Option<Duration>,
    raft: Arc<Mutex<Option<Raft>>>,
    metrics: Option<watch::Receiver<Metrics>>,
    applied: watch::Receiver<u64>,
    publish_applied: watch::Sender<u64>,
    leadership: Leadership,
}

/// Entries between two snapshots: few, so that a world sees many.
const ENTRIES_BETWEEN_SNAPSHOTS: u64 = 30;
const ENTRIES_KEPT: u64 = 8;

impl Seat {
    /// A process takes its seat. [`Self::run`] must follow.
    pub(crate) fn take(
        node: &NodeId,
        roster: &Arc<Roster>,
        timing: Timing,
        disk: &SharedDisk,
    ) -> Self {
        let me = roster.id(node);
        {
            let mut disk = lock(disk);
            disk.be_born(roster.membership());
            disk.give_up_leadership(me);
        }
        let (publish_applied, applied) = watch::channel(0);
        let mut seat = Self {
            me,
            roster: Arc::clone(roster),
            timing,
            executor: Executor::default(),
            outbox: Outbox::default(),
            calls: Calls::default(),
            silent: Arc::default(),
            voice: Voice::new(&timing),
            vote_refused: Arc::default(),
            candidacy: None,
            leader_heard: Arc::default(),
            outdone: Arc::default(),
            followers: Followers::new(Acks::new(me, roster.voters())),
            stands_at: None,
            look_again: None,
            raft: Arc::default(),
            metrics: None,
            applied,
            publish_applied,
            leadership: Leadership::default(),
        };
        seat.start(disk);
        seat
    }

    fn start(&mut self, disk: &SharedDisk) {
        let config = self.config();
        let network = Network {
            me: self.me,
            outbox: self.outbox.clone(),
            calls: self.calls.clone(),
            silent: Arc::clone(&self.silent),
            outdone: Arc::clone(&self.outdone),
            followers: self.followers.clone(),
            pause: Duration::from_millis(self.timing.rpc_timeout_ms().min(150)),
        };
        let (me, disk, slot) = (self.me, Arc::clone(disk), Arc::clone(&self.raft));
        let outbox = self.outbox.clone();
        self.executor.spawn(async move {
            let machine = StateMachine::open(Arc::clone(&disk), me, outbox.clone());
            let raft = Raft::new(me, config, network, LogStore(disk), machine).await;
            let started = raft.map(|raft| {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(raft);
            });
            outbox.push(Outgoing::Started(started.map_err(|error| error.to_string())));
        });
    }

    /// The settings of the consensus shell, but for the size of the log.
    fn config(&self) -> Arc<Config> {
        let vote_guard = self.timing.vote_guard_ms();
        let config = Config {
            cluster_name: "world".to_owned(),
            heartbeat_interval: self.timing.raft_heartbeat_ms,
            enable_elect: false,
            election_timeout_min: vote_guard - 1,
            election_timeout_max: vote_guard,
            install_snapshot_timeout: 5_000,
            max_payload_entries: 256,
            replication_lag_threshold: ENTRIES_BETWEEN_SNAPSHOTS + ENTRIES_KEPT,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(ENTRIES_BETWEEN_SNAPSHOTS),
            snapshot_max_chunk_size: 512 << 10,
            max_in_snapshot_log_to_keep: ENTRIES_KEPT,
            purge_batch_size: ENTRIES_BETWEEN_SNAPSHOTS / 4,
            ..Config::default()
        };
        Arc::new(config.validate().expect("timers that Timing::check takes"))
    }

    fn raft(&self) -> Option<Raft> {
        self.raft.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets openraft run until it waits, and returns what is for the world, in order. `now` is the
    /// machine's monotonic clock.
    pub(crate) fn run(&mut self, now: Duration) -> Vec<Outgoing> {
        let mut all = Vec::new();
        loop {
            self.executor.run(now);
            if self.metrics.is_none() {
                self.metrics = self.raft().map(|raft| raft.metrics());
            }
            self.listen(now);
            let stood = self.stand(now);
            let outgoing = self.outbox.take();
            let newest = outgoing.iter().rev().find_map(|one| match one {
                Outgoing::Applied { index, .. } => Some(*index),
                _ => None,
            });
            if let Some(index) = newest {
                // Rounds wait for it.
                self.publish_applied.send_replace(index);
            }
            let more = newest.is_some() || stood;
            all.extend(outgoing);
            if !more {
                return all;
            }
        }
    }

    /// When [`Self::run`] wants to be called again, by the machine's monotonic clock.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        let timers = [self.executor.next_timer(), self.look_again, self.stands_at];
        timers.into_iter().flatten().min()
    }

    /// What openraft's metrics say, and the rule of the silent leader.
    fn listen(&mut self, now: Duration) {
        let Some(metrics) = &mut self.metrics else { return };
        if self.vote_refused.swap(false, Ordering::Relaxed) {
            self.voice.a_vote_was_refused(now);
            self.look_again = None;
        }
        if !metrics.has_changed().unwrap_or(false) && self.look_again.is_some_and(|at| now < at) {
            return;
        }
        let seen = metrics.borrow_and_update();
        let leads = leads(&seen);
        let age = seen.millis_since_quorum_ack.map(Duration::from_millis);
        self.leadership = Leadership {
            term: Term(seen.current_term),
            leader: seen.current_leader.map(|id| self.roster.name(id).clone()),
            leading: leads.is_some(),
        };
        drop(seen);
        self.look_again = Some(self.voice.look(now, leads, age));
        self.tell_silence();
    }

    /// Has this node stand for election if it is time; whether it did.
    fn stand(&mut self, now: Duration) -> bool {
        let Some(raft) = self.raft().filter(|_| self.metrics.is_some()) else { return false };
        let (me, timing, roster) = (self.roster.name(self.me), &self.timing, &self.roster);
        let candidacy = self.candidacy.get_or_insert_with(|| {
            let nodes = roster.0.values().map(|(name, role)| (name, *role));
            Candidacy::new(timing, me, nodes, now)
        });
        if self.leader_heard.swap(false, Ordering::Relaxed) {
            candidacy.heard(now);
        }
        if self.outdone.swap(false, Ordering::Relaxed) {
            candidacy.outdone();
        }
        let Leadership { leader, leading, .. } = &self.leadership;
        match candidacy.look(now, leader.as_ref(), *leading) {
            Candidate::Waits(until) => {
                self.stands_at = Some(until);
                false
            }
            Candidate::Stands => {
                self.executor.spawn(async move {
                    // A Raft that has stopped says so in the metrics, too.
                    let _ = raft.trigger().elect().await;
                });
                true
            }
        }
    }

    fn tell_silence(&self) {
        let silent = self.voice.is_silent();
        self.silent.store(silent, Ordering::Relaxed);
        if let Some(raft) = self.raft() {
            raft.runtime_config().heartbeat(!silent);
        }
    }

    /// Who leads, as far as this node knows.
    pub(crate) fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Why Raft has stopped, if it has.
    pub(crate) fn stopped(&self) -> Option<String> {
        let metrics = self.metrics.as_ref()?.borrow();
        metrics.running_state.as_ref().err().map(ToString::to_string)
    }

    /// Stops leading in favour of another node.
    pub(crate) fn step_down(&mut self, now: Duration) {
        if self.leadership.leading {
            self.voice.step_down(now, self.leadership.term);
            self.tell_silence();
        }
    }

    /// A message of another seat arrives; the answer goes to the process that sent it.
    pub(crate) fn receive(
        &mut self,
        from: RaftId,
        incarnation: u64,
        call: u64,
        request: RaftRequest,
    ) {
        let Some(raft) = self.raft() else { return };
        self.note_leader(&request);
        let outbox = self.outbox.clone();
        let reply = move |answer| {
            outbox.push(Outgoing::Answer { to: from, incarnation, call, answer });
        };
        match request {
            RaftRequest::Append(request) => self.executor.spawn(async move {
                reply(RaftAnswer::Append(raft.append_entries(*request).await));
            }),
            RaftRequest::Snapshot(request) => self.executor.spawn(async move {
                reply(RaftAnswer::Snapshot(raft.install_snapshot(*request).await));
            }),
            RaftRequest::Vote(request) => {
                let own = self.metrics.as_ref().and_then(|m| m.borrow().last_log_index);
                if newborn_refuses(own, request.last_log_id.map(|id| id.index)) {
                    let refused = VoteResponse::new(request.vote, None, false);
                    return reply(RaftAnswer::Vote(Ok(refused)));
                }
                let refused = Arc::clone(&self.vote_refused);
                let heard = Arc::clone(&self.leader_heard);
                self.executor.spawn(async move {
                    let answer = raft.vote(*request).await;
                    match &answer {
                        Ok(answer) if answer.vote_granted => heard.store(true, Ordering::Relaxed),
                        Ok(_) => refused.store(true, Ordering::Relaxed),
                        Err(_) => {}
                    }
                    reply(RaftAnswer::Vote(answer));
                });
            }
        }
    }

    /// A leader spoke. One of an earlier term than this node knows of is none any more.
    fn note_leader(&self, request: &RaftRequest) {
        let vote = match request {
            RaftRequest::Append(request) => request.vote,
            RaftRequest::Snapshot(request) => request.vote,
            RaftRequest::Vote(_) => return,
        };
        if self.metrics.as_ref().is_none_or(|metrics| vote >= metrics.borrow().vote) {
            self.leader_heard.store(true, Ordering::Relaxed);
        }
    }

    /// An answer arrives.
    pub(crate) fn answered(&mut self, call: u64, answer: RaftAnswer) {
        self.calls.end(call, Some(answer));
    }

    /// Proposes a command: see `Consensus::propose`.
    pub(crate) fn propose(&mut self, id: ProposalId, command: Command) {
        let outbox = self.outbox.clone();
        let Some(raft) = self.raft().filter(|_| self.leadership.leading && !self.voice.is_silent())
        else {
            let result = Err(ProposeFault::NotProposed);
            return outbox.push(Outgoing::Proposed { id, result });
        };
        let limit = Duration::from_millis(4 * self.timing.election_max_ms);
        self.executor.spawn(async move {
            let written = SimRuntime::timeout(limit, raft.client_write(command)).await;
            let result = match written {
                Ok(Ok(written)) => {
                    let applied = written.data.expect("the state machine answers every command");
                    Ok((written.log_id.index, applied))
                }
                Ok(Err(_)) | Err(_) => Err(ProposeFault::Unknown),
            };
            outbox.push(Outgoing::Proposed { id, result });
        });
    }

    /// A quorum round that begins now: see `Consensus::confirm_leadership` and
    /// `Consensus::confirm_with_heartbeat`.
    pub(crate) fn round(&mut self, id: RoundId, pace: Pace) {
        let outbox = self.outbox.clone();
        let Some(raft) = self.raft().filter(|_| !self.voice.is_silent()) else {
            return outbox.push(Outgoing::Rounded { id, result: None });
        };
        let (mut applied, followers) = (self.applied.clone(), self.followers.clone());
        let limit = Duration::from_millis(4 * self.timing.rpc_timeout_ms());
        self.executor.spawn(async move {
            let round = async {
                let read = match pace {
                    Pace::AtOnce => ask_followers(&raft).await?,
                    Pace::WithHeartbeat => hear_followers(&raft, &followers).await?,
                };
                if !Mutation::StateBeforeReadIndex.is_on() {
                    applied.wait_for(|index| *index >= read.index).await.ok()?;
                }
                Some(Confirmed { term: Term(read.leader_id.term), read_index: read.index })
            };
            let result = SimRuntime::timeout(limit, round).await.ok().flatten();
            outbox.push(Outgoing::Rounded { id, result });
        });
    }
}

async fn ask_followers(raft: &Raft) -> Option<LogId> {
    let read: Result<_, RaftError<RaftId, CheckIsLeaderError<RaftId, BasicNode>>> =
        raft.get_read_log_id().await;
    let (read, _) = read.ok()?;
    read
}

/// The rule of the shell.
async fn hear_followers(raft: &Raft, followers: &Followers) -> Option<LogId> {
    let term = leads(&raft.metrics().borrow())?;
    followers.follow(term).await;
    let own = raft.with_raft_state(|state| (*state.vote_ref(), state.committed));
    let (vote, committed) = own.await.ok()?;
    let still_leads = vote.is_committed() && vote.leader_id.term == term.0;
    committed.filter(|committed| still_leads && committed.leader_id.term == term.0)
}

/// The term that this node leads, if it does: the rule of the shell's watcher.
fn leads(metrics: &Metrics) -> Option<Term> {
    let leads = metrics.running_state.is_ok()
        && metrics.state == ServerState::Leader
        && metrics.current_leader == Some(metrics.id);
    leads.then_some(Term(metrics.current_term))
}

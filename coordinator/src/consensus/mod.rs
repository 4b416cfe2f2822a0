//! Consensus: the nodes agree on one log of commands and on who leads.
//!
//! What it does: keeps the log, the vote and snapshots on disk (redb), elects, replicates, applies
//! every committed command to the [`Registry`] on every node, and says in a quorum round that
//! began just now whether this node still leads, and in which term.
//!
//! What it does not do: it decides nothing about VIPs, reads no command, and knows no lease. It
//! does not change its membership after birth, does not authenticate peers (that is done where
//! connections are accepted), and does not repeat a proposal whose outcome is unknown.
//!
//! openraft (0.9) stays inside of this module; so does every workaround for it.
//!
//! Invariants served: I4 (what was acknowledged is on the disks of a majority), I7 (a term is led
//! by one process only, see `Store::give_up_leadership`, and [`Consensus::confirm_leadership`]
//! returns the term that its round confirmed). I6: a voter that hears no leader stands for election
//! (`watcher`), and a leader without a quorum goes silent (`quiet`), so that it cannot keep others
//! from being elected.
//!
//! ```text
//!   propose, confirm_…                   applied(), leadership()
//!            |                                  ^         ^
//!   +--------v----------------------------------+---------+------+
//!   |  openraft core  --entries-->  store::StateMachine   watcher |
//!   |     |      \--- entries, vote --> store::LogStore           |
//!   +-----+-------------------------------------------------------+
//!      network --frames over links--> service (the other nodes)
//! ```

mod clocked;
mod config;
mod error;
mod exchange;
mod followers;
#[cfg(test)]
mod foreign;
mod frame;
mod links;
mod network;
mod quiet;
mod record;
mod service;
mod start;
mod store;
#[cfg(test)]
mod tests;
mod types;
mod watcher;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use openraft::error::{CheckIsLeaderError, ClientWriteError, RaftError};
use tokio::{sync::watch, time::timeout};
use tonic::transport::Channel;
use vipfence_coordinator_core::{Applied, Candidacy, Command, Registry};
use vipfence_proto::v1::raft_service_server::RaftServiceServer;
use vipfence_types::{NodeId, Term};

pub use config::{ConsensusConfig, Peer, SnapshotLimits};
pub use error::{ProposeError, RoundError, StartError};
pub use links::Dial;
pub use service::RaftEndpoint;
pub use store::StoreError;

use clocked::Clocked;
use config::Roster;
use followers::Followers;
use links::Links;
use quiet::Voice;
use types::{LogId, Raft};

/// The largest command, encoded. One that does not fit into a message could never be replicated.
pub const MAX_COMMAND_BYTES: usize = 1 << 20;

/// A committed command.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Its place in the log.
    pub index: u64,
    /// The term in which it was proposed and committed.
    pub term: Term,
    /// What the Registry made of it.
    pub applied: Applied,
}

/// A quorum round that confirmed this node as the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The term that the majority confirmed. Not the term in which the caller decided something:
    /// compare the two (I7).
    pub term: Term,
    /// What was committed before the round began is at or below this index, and is applied here.
    pub read_index: u64,
}

/// The replicated state after an entry.
#[derive(Clone, Debug)]
pub struct AppliedState {
    /// The index of the last entry applied; 0 = none, or the first.
    pub index: u64,
    /// The state.
    pub state: Arc<Registry>,
}

/// Who leads, as far as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term that this node is in.
    pub term: Term,
    /// The leader of this term; none = being elected. May be long dead.
    pub leader: Option<NodeId>,
    /// This node was elected in this term and has seen no later one. Says nothing about now: see
    /// [`Consensus::confirm_leadership`].
    pub leading: bool,
}

/// An entry of the log, as a node applies it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entered {
    /// Its place in the log.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: Term,
    /// The command; none = an entry of openraft's own.
    pub command: Option<Command>,
    /// What the Registry made of it.
    pub applied: Option<Applied>,
}

/// Sees each entry that this node applies, in order, before the state that it makes is published.
/// Must not block. What a snapshot brought is not seen.
pub type Witness = Arc<dyn Fn(Entered) + Send + Sync>;

/// Told of each quorum round when it begins; what it returns is told what the round has confirmed,
/// before the caller is, and nothing of a round that fails. Must not block.
pub type RoundWitness = Arc<dyn Fn() -> Box<dyn FnOnce(Confirmed) + Send> + Send + Sync>;

/// What lies around a node's part in consensus. The default is the product's; a test puts a
/// simulated network there, and watches.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// How peers are reached; none = by TCP.
    pub dial: Option<Dial>,
    /// Who sees the entries; nobody in the product, where the published states are enough.
    pub witness: Option<Witness>,
    /// Who sees the quorum rounds; nobody in the product.
    pub rounds: Option<RoundWitness>,
}

/// A node's part in consensus; cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    node: Arc<Node>,
}

struct Node {
    config: ConsensusConfig,
    roster: Arc<Roster>,
    links: Arc<Links>,
    voice: Arc<Voice>,
    candidacy: Arc<Clocked<Candidacy>>,
    followers: Arc<Followers>,
    raft: Raft,
    applied: watch::Receiver<AppliedState>,
    leadership: watch::Receiver<Leadership>,
    ended: watch::Receiver<Option<String>>,
    closing: tokio::sync::Mutex<Option<store::Closing>>,
    rounds: Option<RoundWitness>,
    /// How many calls of `step_down` are under way.
    stepping_down: AtomicUsize,
}

/// While it lives, proposals are refused; it ends with the call, also when that is dropped.
struct Refusing<'a>(&'a AtomicUsize);

impl<'a> Refusing<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Refusing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Consensus {
    /// Opens the data folder, is born where it is empty, and takes part. Returns before a leader
    /// is known. [`Self::service`] must be served at this node's address soon.
    ///
    /// # Errors
    /// Says what is wrong with the configuration or the disk; nothing runs then.
    pub async fn start(config: ConsensusConfig) -> Result<Self, StartError> {
        Self::start_in(config, Surroundings::default()).await
    }

    /// As [`Self::start`], in other surroundings.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_in(
        config: ConsensusConfig,
        around: Surroundings,
    ) -> Result<Self, StartError> {
        start::start(config, around).await
    }

    /// Proposes a command and waits until it is committed and applied here.
    ///
    /// Dropping the future does not take the command back.
    ///
    /// # Errors
    /// `certainly_not_proposed` tells refusals from unknown outcomes.
    pub async fn propose(&self, command: Command) -> Result<Committed, ProposeError> {
        self.may_propose()?;
        let bytes = serde_json::to_vec(&command).map_or(usize::MAX, |bytes| bytes.len());
        if bytes > MAX_COMMAND_BYTES {
            return Err(ProposeError::TooLarge { bytes, limit: MAX_COMMAND_BYTES });
        }
        let written =
            timeout(self.propose_timeout(), Box::pin(self.node.raft.client_write(command)));
        match written.await {
            Ok(Ok(written)) => Ok(Committed {
                index: written.log_id.index,
                term: Term(written.log_id.leader_id.term),
                applied: written.data.expect("the state machine answers every command"),
            }),
            // openraft says "forward" both when it refused the command and when the entry was cut
            // off this node's log later; the latter may still be committed through another node's
            // copy. This node led a moment ago, so either is possible.
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(self.outcome_unknown())
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(_)))) => {
                unreachable!("a command is not a change of membership")
            }
            Ok(Err(RaftError::Fatal(_))) => Err(ProposeError::Stopped),
            Err(_elapsed) => Err(self.outcome_unknown()),
        }
    }

    /// A quorum round that begins now (ReadIndex): a majority answers that it still follows this
    /// node. Returns when all that was committed before is applied here; takes at most four RPC
    /// time-outs.
    ///
    /// # Errors
    /// Not the leader, no majority in time, or stopped: nothing may be concluded about anybody.
    pub async fn confirm_leadership(&self) -> Result<Confirmed, RoundError> {
        self.seen(self.ask_followers()).await
    }

    /// The same by the heartbeats that this leader sends anyway: it costs no message, and takes up
    /// to the interval between them (one and a half of those of `Timing`) longer.
    ///
    /// # Errors
    /// As [`Self::confirm_leadership`].
    pub async fn confirm_with_heartbeat(&self) -> Result<Confirmed, RoundError> {
        self.seen(self.hear_followers()).await
    }

    /// The replicated state, after every batch of entries and from the disk at first. Never goes
    /// back while the process lives.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<AppliedState> {
        self.node.applied.clone()
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.node.leadership.clone()
    }

    /// How long ago a majority last acknowledged this leader, as of the last tick (one and a half
    /// Raft heartbeats); none where this node does not lead or has just begun to.
    #[must_use]
    pub fn quorum_ack_age(&self) -> Option<Duration> {
        watcher::quorum_ack_age(&self.node.raft.metrics().borrow())
    }

    /// This node's name.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node.config.node
    }

    /// The gRPC address of a node.
    #[must_use]
    pub fn peer_address(&self, node: &NodeId) -> Option<String> {
        let peer = self.node.roster.peer(node)?;
        Some(peer.address.clone())
    }

    /// The pooled channel to a node, this one included. It has no time-out of its own.
    #[must_use]
    pub fn channel(&self, node: &NodeId) -> Option<Channel> {
        self.node.links.channel(node)
    }

    /// Stops leading in favour of another node: goes silent until another node leads, or until it
    /// is clear that none will, and then leads on. Returns who leads then, as far as is known.
    pub async fn step_down(&self) -> Option<NodeId> {
        let mut leadership = self.leadership();
        let before = leadership.borrow().clone();
        if before.leading && self.node.roster.voters().count() > 1 {
            let _refusing = Refusing::begin(&self.node.stepping_down);
            self.drain().await;
            self.node.voice.step_down(before.term);
            let moved = leadership.wait_for(|now| now.term > before.term && now.leader.is_some());
            // Elapsed: nobody took over, and the silence is over by itself.
            let _ = timeout(self.node.voice.silence(), moved).await;
        }
        self.node.leadership.borrow().leader.clone()
    }

    /// The gRPC service by which the other nodes reach this one.
    #[must_use]
    pub fn service(&self) -> RaftServiceServer<RaftEndpoint> {
        RaftEndpoint::server(
            self.node.config.cluster.clone(),
            self.node.raft.clone(),
            Arc::clone(&self.node.voice),
            Arc::clone(&self.node.candidacy),
        )
    }

    /// Waits until Raft has stopped and says why. It stops by itself only when the disk fails: the
    /// process must end then.
    pub async fn ended(&self) -> String {
        let mut ended = self.node.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "raft stopped".to_owned(),
        }
    }

    /// Stops taking part. The data folder is free when this returns; a service that is still
    /// being served answers with errors from then on.
    pub async fn shutdown(&self) {
        if let Err(error) = self.node.raft.shutdown().await {
            tracing::warn!(%error, "Raft did not stop cleanly");
        }
        if let Some(closing) = self.node.closing.lock().await.take() {
            closing.wait(start::CLOSE_LIMIT).await;
        }
    }

    /// A proposal is refused for certain only before it is handed to openraft.
    fn may_propose(&self) -> Result<(), ProposeError> {
        let metrics = self.node.raft.metrics();
        let metrics = metrics.borrow();
        if metrics.running_state.is_err() {
            return Err(ProposeError::Stopped);
        }
        if watcher::leads(&metrics).is_none() {
            let leader = watcher::leadership(&metrics, &self.node.roster).leader;
            return Err(ProposeError::NotLeader { leader });
        }
        if self.node.stepping_down.load(Ordering::Acquire) > 0 {
            return Err(ProposeError::NotLeader { leader: None });
        }
        if self.node.voice.is_silent() {
            return Err(ProposeError::NoQuorum);
        }
        Ok(())
    }

    fn outcome_unknown(&self) -> ProposeError {
        let metrics = self.node.raft.metrics();
        let leader = watcher::leadership(&metrics.borrow(), &self.node.roster).leader;
        ProposeError::Unknown { leader }
    }

    /// A whole change of leaders fits in: what was proposed before it may be committed after it.
    fn propose_timeout(&self) -> Duration {
        Duration::from_millis(4 * self.node.config.timing.election_max_ms)
    }

    /// Makes a round, unless this leader is silent, within its time and in the sight of its witness.
    async fn seen(
        &self,
        round: impl Future<Output = Result<Confirmed, RoundError>>,
    ) -> Result<Confirmed, RoundError> {
        if self.node.voice.is_silent() {
            return Err(RoundError::NoQuorum);
        }
        let seen = self.node.rounds.as_ref().map(|begins| begins());
        let limit = Duration::from_millis(4 * self.node.config.timing.rpc_timeout_ms());
        let round = timeout(limit, round).await.unwrap_or(Err(RoundError::NoQuorum));
        if let (Some(seen), Ok(confirmed)) = (seen, &round) {
            seen(*confirmed);
        }
        round
    }

    async fn ask_followers(&self) -> Result<Confirmed, RoundError> {
        match Box::pin(self.node.raft.get_read_log_id()).await {
            Ok((read, _)) => {
                self.read(read.expect("a leader's log has at least its own first entry")).await
            }
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_))) => {
                Err(self.not_leader())
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(RoundError::NoQuorum)
            }
            Err(RaftError::Fatal(_)) => Err(RoundError::Stopped),
        }
    }

    async fn hear_followers(&self) -> Result<Confirmed, RoundError> {
        let leads = watcher::leads(&self.node.raft.metrics().borrow());
        let term = leads.ok_or_else(|| self.not_leader())?;
        self.node.followers.follow(term).await;
        // This node is one of the majority. Metrics are behind; Raft's own state is not.
        let own = self.node.raft.with_raft_state(|state| (*state.vote_ref(), state.committed));
        let (vote, committed) = own.await.map_err(|_| RoundError::Stopped)?;
        if !vote.is_committed() || vote.leader_id.term != term.0 {
            return Err(self.not_leader());
        }
        // A leader knows what was committed before its term only when it has committed in it.
        match committed.filter(|committed| committed.leader_id.term == term.0) {
            Some(read) => self.read(read).await,
            None => Err(RoundError::NoQuorum),
        }
    }

    /// Waits until all is applied up to what a round is to reflect.
    async fn read(&self, read: LogId) -> Result<Confirmed, RoundError> {
        let mut applied = self.applied();
        applied
            .wait_for(|applied| applied.index >= read.index)
            .await
            .map_err(|_| RoundError::Stopped)?;
        Ok(Confirmed { term: Term(read.leader_id.term), read_index: read.index })
    }

    fn not_leader(&self) -> RoundError {
        RoundError::NotLeader { leader: self.node.leadership.borrow().leader.clone() }
    }

    /// Lets what is under way be committed, within one time-out: an entry that only this node has
    /// would keep it from voting for its successor.
    async fn drain(&self) {
        let limit = Duration::from_millis(self.node.config.timing.rpc_timeout_ms());
        let mut metrics = self.node.raft.metrics();
        let drained = metrics
            .wait_for(|metrics| metrics.last_applied.map(|id| id.index) == metrics.last_log_index);
        let _ = timeout(limit, drained).await;
    }
}

//! How openraft's messages leave a seat: into the outbox, from where the world carries them.
//!
//! As in production a failure to reach a peer is `Unreachable`, and a silent leader sends nothing
//! that would renew its followers' patience.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openraft::{
    AsyncRuntime, BasicNode, RPCTypes, RaftNetwork, RaftNetworkFactory,
    error::{
        InstallSnapshotError, RPCError, RaftError, RemoteError, Timeout as RpcTimeout, Unreachable,
    },
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest,
        InstallSnapshotResponse, VoteRequest, VoteResponse,
    },
};
use tokio::sync::oneshot;
use vipfence_types::Term;

use super::{
    Outbox, Outgoing,
    followers::Followers,
    runtime::{SimRuntime, now},
    types::{RaftId, TypeConfig},
};

/// A Raft message on its way.
#[derive(Clone, Debug)]
pub(crate) enum RaftRequest {
    Append(Box<AppendEntriesRequest<TypeConfig>>),
    Vote(Box<VoteRequest<RaftId>>),
    Snapshot(Box<InstallSnapshotRequest<TypeConfig>>),
}

/// Its answer.
#[derive(Debug)]
pub(crate) enum RaftAnswer {
    Append(Result<AppendEntriesResponse<RaftId>, RaftError<RaftId>>),
    Vote(Result<VoteResponse<RaftId>, RaftError<RaftId>>),
    Snapshot(Result<InstallSnapshotResponse<RaftId>, RaftError<RaftId, InstallSnapshotError>>),
}

/// Those who wait for answers.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    last: u64,
    calls: BTreeMap<u64, oneshot::Sender<RaftAnswer>>,
}

impl Calls {
    fn begin(&self) -> (u64, oneshot::Receiver<RaftAnswer>) {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.last += 1;
        let call = waiting.last;
        waiting.calls.insert(call, answer);
        (call, answered)
    }

    pub(super) fn end(&self, call: u64, answer: Option<RaftAnswer>) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).calls.remove(&call);
        if let (Some(waiting), Some(answer)) = (waiting, answer) {
            // The caller may have given up.
            let _ = waiting.send(answer);
        }
    }
}

/// Makes a link per peer.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) me: RaftId,
    pub(super) outbox: Outbox,
    pub(super) calls: Calls,
    pub(super) silent: Arc<AtomicBool>,
    /// Set when a voter that refused this candidate has a longer log.
    pub(super) outdone: Arc<AtomicBool>,
    pub(super) followers: Followers,
    pub(super) pause: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: RaftId, _: &BasicNode) -> Link {
        Link { network: self.clone(), target }
    }
}

/// The way to one peer.
pub(super) struct Link {
    network: Network,
    target: RaftId,
}

/// Nothing was sent, or no answer came.
#[derive(Debug)]
struct NoAnswer(&'static str);

impl core::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NoAnswer {}

type Failed<E> = RPCError<RaftId, BasicNode, E>;

fn unreachable<E: std::error::Error>(why: &'static str) -> Failed<E> {
    RPCError::Unreachable(Unreachable::new(&NoAnswer(why)))
}

impl Link {
    async fn call<T, E: std::error::Error>(
        &self,
        action: RPCTypes,
        request: RaftRequest,
        option: &RPCOption,
        take: impl FnOnce(RaftAnswer) -> Option<Result<T, E>>,
    ) -> Result<T, Failed<E>> {
        let limit = option.hard_ttl();
        let (call, answered) = self.network.calls.begin();
        self.network.outbox.push(Outgoing::Request { to: self.target, call, request });
        let answered = SimRuntime::timeout(limit, answered).await;
        self.network.calls.end(call, None);
        let Ok(answered) = answered else {
            let (id, target) = (self.network.me, self.target);
            return Err(RPCError::Timeout(RpcTimeout { action, id, target, timeout: limit }));
        };
        let answer = answered.map_err(|_| unreachable("the connection was closed"))?;
        match take(answer) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(RPCError::RemoteError(RemoteError::new(self.target, error))),
            None => Err(unreachable("the answer is of another kind")),
        }
    }

    fn is_silent(&self) -> bool {
        self.network.silent.load(Ordering::Relaxed)
    }
}

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftId>, Failed<RaftError<RaftId>>> {
        if self.is_silent() {
            return Err(unreachable("this leader is silent"));
        }
        let (term, sent) = (Term(request.vote.leader_id.term), now());
        let request = RaftRequest::Append(Box::new(request));
        let answer = self.call(RPCTypes::AppendEntries, request, &option, |answer| match answer {
            RaftAnswer::Append(answer) => Some(answer),
            RaftAnswer::Vote(_) | RaftAnswer::Snapshot(_) => None,
        });
        let answer = answer.await?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.network.followers.acknowledged(self.target, term, sent);
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<RaftId>, Failed<RaftError<RaftId, InstallSnapshotError>>>
    {
        if self.is_silent() {
            return Err(unreachable("this leader is silent"));
        }
        let request = RaftRequest::Snapshot(Box::new(request));
        self.call(RPCTypes::InstallSnapshot, request, &option, |answer| match answer {
            RaftAnswer::Snapshot(answer) => Some(answer),
            RaftAnswer::Vote(_) | RaftAnswer::Append(_) => None,
        })
        .await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<RaftId>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftId>, Failed<RaftError<RaftId>>> {
        let log = request.last_log_id;
        let request = RaftRequest::Vote(Box::new(request));
        let answer = self.call(RPCTypes::Vote, request, &option, |answer| match answer {
            RaftAnswer::Vote(answer) => Some(answer),
            RaftAnswer::Append(_) | RaftAnswer::Snapshot(_) => None,
        });
        let answer = answer.await?;
        if !answer.vote_granted && answer.last_log_id > log {
            self.network.outdone.store(true, Ordering::Relaxed);
        }
        Ok(answer)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.network.pause))
    }
}

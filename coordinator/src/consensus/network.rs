//! How openraft's messages leave this node: as frames over the pooled channels.
//!
//! Every failure to reach a peer is `Unreachable`, so that openraft pauses for one RPC time-out
//! instead of trying again at once for ever. A silent leader (`quiet`) sends nothing that would
//! renew its followers' patience: neither heartbeats, nor entries, nor quorum rounds.

use std::{sync::Arc, time::Duration};

use openraft::{
    RPCTypes, RaftNetwork, RaftNetworkFactory,
    error::{
        InstallSnapshotError, RPCError, RaftError, RemoteError, Timeout as RpcTimeout, Unreachable,
    },
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest,
        InstallSnapshotResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tonic::transport::Channel;
use vipfence_coordinator_core::Candidacy;
use vipfence_proto::v1::{RaftFrame, raft_service_client::RaftServiceClient};
use vipfence_types::{ClusterName, NodeId, Term};

use super::{
    clocked::Clocked,
    exchange::Exchange,
    followers::Followers,
    frame::{self, FrameError, MAX_FRAME_BYTES},
    links::Links,
    quiet::Voice,
    types::{RaftId, RaftPeer, TypeConfig},
};

/// Makes a client per peer out of the pooled channels.
pub(super) struct Network {
    pub(super) cluster: ClusterName,
    pub(super) me: RaftId,
    pub(super) links: Arc<Links>,
    pub(super) voice: Arc<Voice>,
    pub(super) candidacy: Arc<Clocked<Candidacy>>,
    pub(super) followers: Arc<Followers>,
    /// How long openraft pauses after a peer could not be reached.
    pub(super) pause: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    /// Called for every quorum round and within openraft's core loop, so it must not dial.
    async fn new_client(&mut self, target: RaftId, node: &RaftPeer) -> Link {
        let client = NodeId::new(&node.name).ok().and_then(|name| self.links.channel(&name)).map(
            |channel| {
                RaftServiceClient::new(channel)
                    .max_decoding_message_size(MAX_FRAME_BYTES)
                    .max_encoding_message_size(MAX_FRAME_BYTES)
            },
        );
        Link {
            cluster: self.cluster.clone(),
            me: self.me,
            target,
            client,
            appends: Appends::Never,
            voice: Arc::clone(&self.voice),
            candidacy: Arc::clone(&self.candidacy),
            followers: Arc::clone(&self.followers),
            pause: self.pause,
        }
    }
}

/// A client of one peer. A quorum round makes one for a single message, replication keeps one.
pub(super) struct Link {
    cluster: ClusterName,
    me: RaftId,
    target: RaftId,
    client: Option<RaftServiceClient<Channel>>,
    appends: Appends,
    voice: Arc<Voice>,
    candidacy: Arc<Clocked<Candidacy>>,
    followers: Arc<Followers>,
    pause: Duration,
}

/// How entries and heartbeats are sent.
enum Appends {
    /// None yet: the first is a call of its own.
    Never,
    /// The next opens a stream.
    Again,
    /// On this stream.
    On(Box<Exchange>),
}

/// Why a message did not get an answer.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("this leader is silent")]
    Silent,
    #[error("the peer is not in this node's configuration")]
    UnknownPeer,
    #[error("the peer answered: {0}")]
    Refused(Box<tonic::Status>),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

type Failed<E> = RPCError<RaftId, RaftPeer, E>;

fn unreachable<E: std::error::Error>(error: &LinkError) -> Failed<E> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl Link {
    /// Sends one message and waits at most `option.hard_ttl()`.
    async fn call<Request, Answer, E>(
        &mut self,
        action: RPCTypes,
        request: &Request,
        option: &RPCOption,
    ) -> Result<Answer, Failed<E>>
    where
        Request: Serialize,
        Answer: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let limit = option.hard_ttl();
        let client = self.client.as_mut().ok_or_else(|| unreachable(&LinkError::UnknownPeer))?;
        let frame = frame::pack(&self.cluster, request).map_err(|e| unreachable(&e.into()))?;
        let appends = &mut self.appends;
        let answered = tokio::time::timeout(limit, send(client, appends, action, frame)).await;
        let Ok(answered) = answered else {
            return Err(RPCError::Timeout(RpcTimeout {
                action,
                id: self.me,
                target: self.target,
                timeout: limit,
            }));
        };
        let frame = answered.map_err(|status| {
            tracing::debug!(target = self.target, ?action, %status, "a Raft message failed");
            unreachable(&LinkError::Refused(Box::new(status)))
        })?;
        let answer: Result<Answer, E> =
            frame::unpack(&self.cluster, &frame).map_err(|e| unreachable(&e.into()))?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
    }
}

async fn send(
    client: &mut RaftServiceClient<Channel>,
    appends: &mut Appends,
    action: RPCTypes,
    frame: RaftFrame,
) -> Result<RaftFrame, tonic::Status> {
    let answer = match action {
        RPCTypes::Vote => client.vote(frame).await,
        RPCTypes::AppendEntries => return append(client, appends, frame).await,
        RPCTypes::InstallSnapshot => client.install_snapshot(frame).await,
    };
    answer.map(tonic::Response::into_inner)
}

/// A stream that fails, or is given up on the way, is not kept.
async fn append(
    client: &mut RaftServiceClient<Channel>,
    appends: &mut Appends,
    frame: RaftFrame,
) -> Result<RaftFrame, tonic::Status> {
    match std::mem::replace(appends, Appends::Again) {
        Appends::Never => {
            return client.append_entries(frame).await.map(tonic::Response::into_inner);
        }
        Appends::Again => {}
        Appends::On(mut exchange) => {
            if let Ok(answer) = exchange.say(frame.clone()).await {
                *appends = Appends::On(exchange);
                return Ok(answer);
            }
            // It may have ended long ago, as a peer does that was started anew. The same message
            // twice does no harm.
        }
    }
    let (exchange, answer) = Exchange::open(client, frame).await?;
    *appends = Appends::On(Box::new(exchange));
    Ok(answer)
}

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftId>, Failed<RaftError<RaftId>>> {
        if self.voice.is_silent() {
            return Err(unreachable(&LinkError::Silent));
        }
        let sent = self.followers.now();
        let answer = self.call(RPCTypes::AppendEntries, &request, &option).await?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            let term = Term(request.vote.leader_id.term);
            self.followers.acknowledged(self.target, term, sent);
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<RaftId>, Failed<RaftError<RaftId, InstallSnapshotError>>>
    {
        if self.voice.is_silent() {
            return Err(unreachable(&LinkError::Silent));
        }
        self.call(RPCTypes::InstallSnapshot, &request, &option).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<RaftId>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftId>, Failed<RaftError<RaftId>>> {
        let answer: VoteResponse<RaftId> = self.call(RPCTypes::Vote, &request, &option).await?;
        if !answer.vote_granted && answer.last_log_id > request.last_log_id {
            self.candidacy.with(|rule, _| rule.outdone());
        }
        Ok(answer)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.pause))
    }
}

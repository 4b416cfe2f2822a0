//! How openraft's messages reach this node, and who is told of a leader's word or a vote.
//!
//! One rule is added to Raft's: a voter that may have lost its disk does not vote
//! (`vipfence_coordinator_core::newborn_refuses`).

use std::{pin::Pin, sync::Arc};

use openraft::{
    error::RaftError,
    raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest, VoteResponse},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use vipfence_coordinator_core::{Candidacy, newborn_refuses};
use vipfence_proto::v1::{
    RaftFrame,
    raft_service_server::{RaftService, RaftServiceServer},
};
use vipfence_types::ClusterName;

use super::{
    clocked::Clocked,
    frame::{self, MAX_FRAME_BYTES},
    quiet::Voice,
    types::{Raft, RaftId, TypeConfig, Vote},
};

/// The Raft side of this node's gRPC port; made by `Consensus::service`.
#[derive(Clone)]
pub struct RaftEndpoint {
    cluster: ClusterName,
    raft: Raft,
    voice: Arc<Voice>,
    candidacy: Arc<Clocked<Candidacy>>,
}

impl RaftEndpoint {
    pub(super) fn server(
        cluster: ClusterName,
        raft: Raft,
        voice: Arc<Voice>,
        candidacy: Arc<Clocked<Candidacy>>,
    ) -> RaftServiceServer<Self> {
        let endpoint = Self { cluster, raft, voice, candidacy };
        RaftServiceServer::new(endpoint)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES)
    }

    fn unpack<T: DeserializeOwned>(&self, frame: &RaftFrame) -> Result<T, Status> {
        frame::unpack(&self.cluster, frame).map_err(|error| {
            tracing::warn!(%error, "a Raft frame was refused");
            error.into()
        })
    }

    fn refuse_as_newborn(&self, request: &VoteRequest<RaftId>) -> Option<VoteResponse<RaftId>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let candidate = request.last_log_id.map(|id| id.index);
        if !newborn_refuses(metrics.last_log_index, candidate) {
            return None;
        }
        tracing::warn!(
            "this node's log is empty, but the cluster's is not: it does not vote until a leader \
             has filled it"
        );
        // The candidate's own vote, not granted: it learns nothing that would make it give up.
        Some(VoteResponse::new(request.vote, None, false))
    }

    /// A leader spoke. One of an earlier term than this node knows of is none any more.
    fn a_leader_spoke(&self, vote: &Vote) {
        if *vote >= self.raft.metrics().borrow().vote {
            self.candidacy.with(Candidacy::heard);
        }
    }

    async fn append(&self, frame: &RaftFrame) -> Result<RaftFrame, Status> {
        let message: AppendEntriesRequest<TypeConfig> = self.unpack(frame)?;
        self.a_leader_spoke(&message.vote);
        Ok(frame::pack(&self.cluster, &self.raft.append_entries(message).await)?)
    }

    fn answer<T: Serialize>(&self, answer: &T) -> Result<Response<RaftFrame>, Status> {
        Ok(Response::new(frame::pack(&self.cluster, answer)?))
    }
}

#[tonic::async_trait]
impl RaftService for RaftEndpoint {
    async fn append_entries(
        &self,
        request: Request<RaftFrame>,
    ) -> Result<Response<RaftFrame>, Status> {
        self.append(request.get_ref()).await.map(Response::new)
    }

    type ReplicateStream = Pin<Box<dyn Stream<Item = Result<RaftFrame, Status>> + Send>>;

    async fn replicate(
        &self,
        request: Request<Streaming<RaftFrame>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let endpoint = self.clone();
        let answers = request.into_inner().then(move |frame| {
            let endpoint = endpoint.clone();
            async move { endpoint.append(&frame?).await }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn vote(&self, request: Request<RaftFrame>) -> Result<Response<RaftFrame>, Status> {
        let message: VoteRequest<RaftId> = self.unpack(request.get_ref())?;
        if let Some(refusal) = self.refuse_as_newborn(&message) {
            let answer: Result<_, RaftError<RaftId>> = Ok(refusal);
            return self.answer(&answer);
        }
        let answer = self.raft.vote(message).await;
        match &answer {
            Ok(answer) if answer.vote_granted => self.candidacy.with(Candidacy::heard),
            Ok(_) => self.voice.a_vote_was_refused(),
            Err(_) => {}
        }
        self.answer(&answer)
    }

    async fn install_snapshot(
        &self,
        request: Request<RaftFrame>,
    ) -> Result<Response<RaftFrame>, Status> {
        let message: InstallSnapshotRequest<TypeConfig> = self.unpack(request.get_ref())?;
        self.a_leader_spoke(&message.vote);
        self.answer(&self.raft.install_snapshot(message).await)
    }
}

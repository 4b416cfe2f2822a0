//! What nodes say to each other: heartbeats and nudges.

use std::{sync::Arc, time::Duration};

use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use vipfence_proto::v1::{
    self, agent_service_client::AgentServiceClient, agent_service_server::AgentService,
};
use vipfence_types::{Answer, BootId, ClusterName, Heartbeat, NodeId, Refusal};

use super::{Api, convert};
use crate::{consensus::Consensus, driver::DriverHandle};

const DOMAIN: &str = "vipfence";

#[tonic::async_trait]
impl AgentService for Api {
    async fn beat(
        &self,
        request: Request<v1::BeatRequest>,
    ) -> Result<Response<v1::BeatResponse>, Status> {
        let heartbeat = convert::heartbeat(request.into_inner())?;
        match self.driver.beat(heartbeat).await {
            Ok(answer) => Ok(Response::new(convert::answer_message(answer))),
            Err(refusal) => Err(refusal_status(&refusal)),
        }
    }

    async fn nudge(
        &self,
        _request: Request<v1::NudgeRequest>,
    ) -> Result<Response<v1::NudgeResponse>, Status> {
        (self.nudged)();
        Ok(Response::new(v1::NudgeResponse {}))
    }
}

fn refusal_status(refusal: &Refusal) -> Status {
    let (code, reason, key, value) = match refusal {
        Refusal::NotLeader { leader } => (
            Code::Unavailable,
            "NOT_LEADER",
            "leader",
            leader.as_ref().map_or(String::new(), ToString::to_string),
        ),
        Refusal::NoQuorum => (Code::Unavailable, "NO_QUORUM", "", String::new()),
        Refusal::WrongCluster { cluster } => {
            (Code::FailedPrecondition, "WRONG_CLUSTER", "cluster", cluster.to_string())
        }
        Refusal::UnknownNode => (Code::NotFound, "UNKNOWN_NODE", "", String::new()),
        Refusal::SecondBoot { boot } => {
            (Code::AlreadyExists, "SECOND_BOOT", "boot", boot.to_string())
        }
    };
    let metadata = [(key.to_owned(), value)].into_iter().filter(|(key, _)| !key.is_empty());
    let details = ErrorDetails::with_error_info(
        reason,
        DOMAIN,
        metadata.collect::<std::collections::HashMap<_, _>>(),
    );
    Status::with_error_details(code, refusal.to_string(), details)
}

fn read_refusal(status: &Status) -> Option<Refusal> {
    let details = status.get_error_details();
    let info = details.error_info()?;
    let text = |key: &str| info.metadata.get(key).cloned().unwrap_or_default();
    Some(match info.reason.as_str() {
        "NOT_LEADER" => Refusal::NotLeader { leader: NodeId::new(&text("leader")).ok() },
        "NO_QUORUM" => Refusal::NoQuorum,
        "WRONG_CLUSTER" => {
            Refusal::WrongCluster { cluster: ClusterName::new(&text("cluster")).ok()? }
        }
        "UNKNOWN_NODE" => Refusal::UnknownNode,
        "SECOND_BOOT" => Refusal::SecondBoot { boot: BootId::from(text("boot")) },
        _ => return None,
    })
}

/// Why a heartbeat brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// It was refused.
    #[error(transparent)]
    Refused(Refusal),
    /// Nobody answered, or nobody leads.
    #[error("{0}")]
    Unreachable(String),
}

/// Takes this node's heartbeats to whoever leads.
pub struct LeaderLink {
    consensus: Consensus,
    driver: DriverHandle,
}

impl LeaderLink {
    /// By what this node's part of consensus knows of the leader; to its own driver where this node
    /// leads.
    #[must_use]
    pub fn new(consensus: Consensus, driver: DriverHandle) -> Self {
        Self { consensus, driver }
    }

    /// Sends a heartbeat to the leader.
    ///
    /// # Errors
    /// Refused, or not answered. There is no time-out but the caller's.
    pub async fn beat(&self, heartbeat: Heartbeat) -> Result<Answer, BeatError> {
        let mut leadership = self.consensus.leadership();
        let now = leadership.borrow_and_update().clone();
        let leader = now.leader.ok_or_else(|| unreachable("no leader is known"))?;
        tokio::select! {
            answer = self.ask(&leader, heartbeat) => answer,
            // The leader that was asked may never answer; another one will.
            _ = leadership.wait_for(|seen| seen.term > now.term && seen.leader.is_some()) => {
                Err(unreachable("another leader was elected"))
            }
        }
    }

    async fn ask(&self, leader: &NodeId, heartbeat: Heartbeat) -> Result<Answer, BeatError> {
        if leader == self.consensus.node() {
            return self.driver.beat(heartbeat).await.map_err(BeatError::Refused);
        }
        let channel =
            self.consensus.channel(leader).ok_or_else(|| unreachable("no way to the leader"))?;
        let message = convert::heartbeat_message(&heartbeat);
        match AgentServiceClient::new(channel).beat(message).await {
            Ok(answer) => convert::answer(answer.into_inner()).map_err(BeatError::Unreachable),
            Err(status) => Err(match read_refusal(&status) {
                Some(refusal) => BeatError::Refused(refusal),
                None => BeatError::Unreachable(format!("{leader}: {}", status.message())),
            }),
        }
    }
}

fn unreachable(why: &str) -> BeatError {
    BeatError::Unreachable(why.to_owned())
}

/// Hints from the leader to nodes that they should beat at once. A lost hint costs only time.
#[must_use]
pub fn nudges(consensus: Consensus) -> Arc<dyn Fn(NodeId) + Send + Sync> {
    Arc::new(move |node| {
        let Some(channel) = consensus.channel(&node) else { return };
        let term = consensus.leadership().borrow().term.0;
        let request = v1::NudgeRequest { leader: consensus.node().to_string(), term };
        tokio::spawn(async move {
            let mut client = AgentServiceClient::new(channel);
            let _ = tokio::time::timeout(Duration::from_secs(1), client.nudge(request)).await;
        });
    })
}

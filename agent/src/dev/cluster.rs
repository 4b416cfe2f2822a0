//! The cluster through its API, as any client sees it: whichever node answers.
//!
//! Nodes die and are stopped here all the time. A call goes to the node that answered last; one
//! that does not answer soon is passed over. A dead node refuses at once; a stopped one costs
//! `ANSWER`, once.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::timeout;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use vipfence_proto::v1::{
    self, cluster_service_client::ClusterServiceClient, vip_service_client::VipServiceClient,
};

use super::plan::{Plan, VIP_ADDRESS, VIP_NAME};

/// A read.
const ANSWER: Duration = Duration::from_millis(700);
/// A write: it is committed before it is answered.
const COMMIT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_millis(300);

/// A channel to each node.
#[derive(Debug)]
pub(super) struct Cluster {
    channels: Vec<Channel>,
    /// Who answered last.
    at: AtomicUsize,
}

impl Cluster {
    pub(super) fn new(plan: &Plan) -> Result<Self, tonic::transport::Error> {
        let channels = plan.nodes.iter().map(|node| {
            let endpoint = Endpoint::from_shared(format!("http://{}", node.grpc))?;
            // Reconnects by itself when the node is back.
            Ok(endpoint.connect_timeout(CONNECT).tcp_nodelay(true).connect_lazy())
        });
        Ok(Self { channels: channels.collect::<Result<_, _>>()?, at: AtomicUsize::new(0) })
    }

    /// As the leader sees it, with a quorum.
    pub(super) async fn status(&self) -> Result<v1::GetStatusResponse, Status> {
        let call =
            async |channel, request| ClusterServiceClient::new(channel).get_status(request).await;
        self.call(ANSWER, &v1::GetStatusRequest::default(), call).await
    }

    /// What happened after an event, as the answering node knows it, also without a quorum.
    pub(super) async fn events_after(&self, number: u64) -> Result<Vec<v1::Event>, Status> {
        let call =
            async |channel, request| ClusterServiceClient::new(channel).list_events(request).await;
        let request = v1::ListEventsRequest {
            after_number: number,
            consistency: v1::Consistency::Local.into(),
            ..v1::ListEventsRequest::default()
        };
        self.call(ANSWER, &request, call).await.map(|answer| answer.events)
    }

    /// Makes the VIP. One that is there already is as good.
    pub(super) async fn create_vip(&self, request_id: &str) -> Result<(), Status> {
        let call =
            async |channel, request| VipServiceClient::new(channel).create_vip(request).await;
        let address =
            v1::VipAddress { address: VIP_ADDRESS.to_string(), ..v1::VipAddress::default() };
        let request = v1::CreateVipRequest {
            name: VIP_NAME.to_owned(),
            spec: Some(v1::VipSpec { addresses: vec![address], ..v1::VipSpec::default() }),
            request_id: request_id.to_owned(),
            ..v1::CreateVipRequest::default()
        };
        match self.call(COMMIT, &request, call).await {
            Err(status) if status.code() != Code::AlreadyExists => Err(status),
            _ => Ok(()),
        }
    }

    /// The VIP.
    pub(super) async fn vip(&self) -> Result<v1::Vip, Status> {
        let call = async |channel, request| VipServiceClient::new(channel).get_vip(request).await;
        let request =
            v1::GetVipRequest { name: VIP_NAME.to_owned(), ..v1::GetVipRequest::default() };
        self.call(ANSWER, &request, call).await
    }

    /// Asks the nodes in turn, each once, until one answers with something else than
    /// "unavailable". All requests here may be repeated: the one that writes has an id.
    async fn call<Q, A, F, C>(&self, within: Duration, request: &Q, call: C) -> Result<A, Status>
    where
        Q: Clone,
        C: Fn(Channel, Request<Q>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let count = self.channels.len();
        let first = self.at.load(Ordering::Relaxed);
        let mut refused = Status::unavailable("there are no nodes");
        for step in 0..count {
            let at = (first + step) % count;
            let Some(channel) = self.channels.get(at).cloned() else { continue };
            match timeout(within, call(channel, Request::new(request.clone()))).await {
                Ok(Ok(answer)) => {
                    self.at.store(at, Ordering::Relaxed);
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) if is_passing(&status) => refused = status,
                Ok(Err(status)) => return Err(status),
                Err(_) => refused = Status::deadline_exceeded("a node does not answer"),
            }
        }
        Err(refused)
    }
}

/// The same may succeed at another node, or later.
pub(super) fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
    )
}

//! `ClusterService`.

use tonic::{Request, Response, Status, transport::Channel};
use vipfence_coordinator_core::{Ask, Registry, Scope};
use vipfence_proto::v1::{
    self, cluster_service_client::ClusterServiceClient, cluster_service_server::ClusterService,
};

use super::{Api, convert, forward::Call, vip::page};

const MAX_PAGE: usize = 1_000;

fn client(channel: Channel) -> ClusterServiceClient<Channel> {
    ClusterServiceClient::new(channel)
}

fn list_events(
    state: &Registry,
    message: &v1::ListEventsRequest,
) -> Result<v1::ListEventsResponse, Status> {
    let size = page(message.page_size, MAX_PAGE, MAX_PAGE);
    let of_vip = match message.vip.as_str() {
        "" => None,
        name => Some(convert::vip_name("vip", name)?),
    };
    let events = state
        .events
        .iter()
        .filter(|event| event.number > message.after_number)
        .filter(|event| of_vip.is_none() || event.vip == of_vip)
        .take(size)
        .map(|event| convert::event_message(event));
    Ok(v1::ListEventsResponse { events: events.collect() })
}

impl Api {
    async fn pause_here(
        &self,
        message: &v1::PauseRequest,
        by: &str,
    ) -> Result<v1::PauseResponse, Status> {
        let scope = convert::scope(message.scope.as_ref())?;
        let lasts = convert::pause_time(message.lasts.as_ref())?;
        let reason = convert::pause_reason(&message.reason)?;
        let ask = Ask::Pause { scope: scope.clone(), lasts, reason, by: by.to_owned() };
        let state = self.ask_plainly(ask).await?;
        let hold = match &scope {
            Scope::Vip(vip) => state.vip(vip).and_then(|record| record.restraint.hold.as_ref()),
            Scope::Node(node) => state.nodes.get(node).and_then(|record| record.hold.as_ref()),
            Scope::Cluster => state.hold.as_ref(),
        };
        Ok(v1::PauseResponse { pause: hold.map(convert::pause_message) })
    }

    async fn resume_here(
        &self,
        message: &v1::ResumeRequest,
        by: &str,
    ) -> Result<v1::ResumeResponse, Status> {
        let scope = convert::scope(message.scope.as_ref())?;
        self.ask_plainly(Ask::Resume { scope, by: by.to_owned() }).await?;
        Ok(v1::ResumeResponse {})
    }
}

#[tonic::async_trait]
impl ClusterService for Api {
    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let call = Call::of(&request);
        let message = request.into_inner();
        if message.consistency() == v1::Consistency::Local {
            return Ok(Response::new(self.status(&self.applied_here(), None)));
        }
        let here = async || {
            let state = self.applied_at_leader().await?;
            let view = self.view().await?;
            Ok(self.status(&state, Some(&view)))
        };
        let there = |channel| {
            let request = call.pass_on(message);
            async move { client(channel).get_status(request).await.map(Response::into_inner) }
        };
        self.at_leader(&call, None, here, there).await.map(Response::new)
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let call = Call::of(&request);
        let message = request.into_inner();
        if message.consistency() == v1::Consistency::Local {
            return list_events(&self.applied_here(), &message).map(Response::new);
        }
        let here = async || list_events(&*self.applied_at_leader().await?, &message);
        let there = |channel| {
            let request = call.pass_on(message.clone());
            async move { client(channel).list_events(request).await.map(Response::into_inner) }
        };
        self.at_leader(&call, None, here, there).await.map(Response::new)
    }

    async fn step_down(
        &self,
        request: Request<v1::StepDownRequest>,
    ) -> Result<Response<v1::StepDownResponse>, Status> {
        let call = Call::of(&request);
        let here = async || {
            let leader = self.consensus.step_down().await;
            let leader = leader.filter(|leader| *leader != self.node);
            Ok(v1::StepDownResponse {
                leader: leader.map_or(String::new(), |leader| leader.to_string()),
            })
        };
        let there = |channel| {
            let request = call.pass_on(v1::StepDownRequest {});
            async move { client(channel).step_down(request).await.map(Response::into_inner) }
        };
        self.at_leader(&call, None, here, there).await.map(Response::new)
    }

    async fn pause(
        &self,
        request: Request<v1::PauseRequest>,
    ) -> Result<Response<v1::PauseResponse>, Status> {
        let call = Call::of(&request);
        let message = request.into_inner();
        let here = || self.pause_here(&message, &call.caller);
        let there = |channel| {
            let request = call.pass_on(message.clone());
            async move { client(channel).pause(request).await.map(Response::into_inner) }
        };
        self.at_leader(&call, None, here, there).await.map(Response::new)
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::ResumeResponse>, Status> {
        let call = Call::of(&request);
        let message = request.into_inner();
        let here = || self.resume_here(&message, &call.caller);
        let there = |channel| {
            let request = call.pass_on(message.clone());
            async move { client(channel).resume(request).await.map(Response::into_inner) }
        };
        self.at_leader(&call, None, here, there).await.map(Response::new)
    }

    async fn diagnose(
        &self,
        request: Request<v1::DiagnoseRequest>,
    ) -> Result<Response<v1::DiagnoseResponse>, Status> {
        Box::pin(Self::diagnose(self, request.into_inner())).await.map(Response::new)
    }
}

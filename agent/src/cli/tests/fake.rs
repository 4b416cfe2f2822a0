//! A node that answers what a test tells it to.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use vipfence_proto::v1::{
    self, Consistency, Move,
    cluster_service_server::{ClusterService, ClusterServiceServer},
    vip_service_server::{VipService, VipServiceServer},
};

use crate::cli::target::Target;

/// What comes on one stream of `WatchMove`, and how it ends.
#[derive(Clone, Debug)]
pub(super) enum Watched {
    /// These, and the stream stays open.
    Open(Vec<Move>),
    /// These, and the stream breaks.
    Breaks(Vec<Move>),
}

/// What the node answers. Lists are used up from the front.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) linearizable: VecDeque<Result<v1::GetStatusResponse, Status>>,
    pub(super) local: Option<v1::GetStatusResponse>,
    pub(super) moves: VecDeque<Result<Move, Status>>,
    pub(super) watched: VecDeque<Watched>,
    pub(super) vips: Vec<v1::Vip>,
    /// The requests of `MoveVip` and `DeleteVip` that came: their request ids.
    pub(super) request_ids: Vec<String>,
    /// The requests of `MoveVip` that came.
    pub(super) asked: Vec<v1::MoveVipRequest>,
    pub(super) created: Vec<v1::CreateVipRequest>,
    pub(super) updated: Vec<v1::UpdateVipRequest>,
    /// What was paused, resumed and confirmed.
    pub(super) hands: Vec<String>,
    /// Every stream of `WatchVips`: what comes, before it breaks.
    pub(super) changes: VecDeque<Result<Vec<v1::WatchVipsResponse>, Status>>,
    /// The revisions after which `WatchVips` was asked for.
    pub(super) watched_after: Vec<u64>,
    pub(super) events: Vec<v1::Event>,
    pub(super) step_downs: VecDeque<Result<v1::StepDownResponse, Status>>,
    pub(super) diagnosis: v1::DiagnoseResponse,
    /// What is answered to the question whether the nodes reach an address.
    pub(super) reaches: VecDeque<v1::DiagnoseResponse>,
}

/// The node.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake(Arc<Mutex<Script>>);

impl Fake {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("no test panics while it holds the script")
    }

    /// Serves on a port of its own until the test ends.
    pub(super) async fn serve(&self) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = tonic::transport::Server::builder()
            .add_service(VipServiceServer::new(self.clone()))
            .add_service(ClusterServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        address.to_string().parse().expect("an address")
    }

    fn next_move(&self, request_id: String) -> Result<Response<Move>, Status> {
        let mut script = self.script();
        script.request_ids.push(request_id);
        let next = script.moves.pop_front();
        next.unwrap_or_else(|| Err(Status::internal("no more moves"))).map(Response::new)
    }
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not part of the fake"))
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl VipService for Fake {
    async fn list_vips(
        &self,
        _: Request<v1::ListVipsRequest>,
    ) -> Result<Response<v1::ListVipsResponse>, Status> {
        let vips = self.script().vips.clone();
        Ok(Response::new(v1::ListVipsResponse { vips, ..Default::default() }))
    }
    async fn get_vip(
        &self,
        request: Request<v1::GetVipRequest>,
    ) -> Result<Response<v1::Vip>, Status> {
        let name = request.into_inner().name;
        let found = self.script().vips.iter().find(|vip| vip.name == name).cloned();
        found.map(Response::new).ok_or_else(|| Status::not_found(format!("no VIP \"{name}\"")))
    }
    async fn create_vip(
        &self,
        request: Request<v1::CreateVipRequest>,
    ) -> Result<Response<v1::Vip>, Status> {
        let mut script = self.script();
        script.created.push(request.into_inner());
        let vip = script.vips.first().cloned();
        vip.map(Response::new).ok_or_else(|| Status::internal("no VIP"))
    }
    async fn update_vip(
        &self,
        request: Request<v1::UpdateVipRequest>,
    ) -> Result<Response<v1::Vip>, Status> {
        let request = request.into_inner();
        let mut script = self.script();
        script.updated.push(request.clone());
        let vip = script.vips.iter().find(|vip| vip.name == request.name).cloned();
        vip.map(|vip| Response::new(v1::Vip { spec: request.spec, ..vip }))
            .ok_or_else(|| Status::not_found("no such VIP"))
    }
    async fn confirm_failover(
        &self,
        request: Request<v1::ConfirmFailoverRequest>,
    ) -> Result<Response<v1::Vip>, Status> {
        let request = request.into_inner();
        let mut script = self.script();
        script.hands.push(format!("confirm {} {}", request.vip, request.decline));
        let vip = script.vips.iter().find(|vip| vip.name == request.vip).cloned();
        vip.map(Response::new).ok_or_else(|| Status::failed_precondition("nothing waits"))
    }
    async fn delete_vip(
        &self,
        request: Request<v1::DeleteVipRequest>,
    ) -> Result<Response<Move>, Status> {
        self.next_move(request.into_inner().request_id)
    }
    async fn enable_vip(&self, _: Request<v1::EnableVipRequest>) -> Result<Response<Move>, Status> {
        unused()
    }
    async fn disable_vip(
        &self,
        _: Request<v1::DisableVipRequest>,
    ) -> Result<Response<Move>, Status> {
        unused()
    }
    async fn move_vip(
        &self,
        request: Request<v1::MoveVipRequest>,
    ) -> Result<Response<Move>, Status> {
        let request = request.into_inner();
        self.script().asked.push(request.clone());
        self.next_move(request.request_id)
    }
    async fn get_move(&self, _: Request<v1::GetMoveRequest>) -> Result<Response<Move>, Status> {
        unused()
    }
    async fn list_moves(
        &self,
        _: Request<v1::ListMovesRequest>,
    ) -> Result<Response<v1::ListMovesResponse>, Status> {
        unused()
    }
    type WatchMoveStream = Messages<Move>;
    async fn watch_move(
        &self,
        _: Request<v1::WatchMoveRequest>,
    ) -> Result<Response<Self::WatchMoveStream>, Status> {
        let next = self.script().watched.pop_front();
        let stream: Self::WatchMoveStream = match next {
            Some(Watched::Open(moves)) => {
                Box::pin(stream::iter(moves.into_iter().map(Ok)).chain(stream::pending()))
            }
            Some(Watched::Breaks(moves)) => {
                let broken = Err(Status::unavailable("shutting down"));
                Box::pin(stream::iter(moves.into_iter().map(Ok).chain([broken])))
            }
            None => return Err(Status::not_found("no such move")),
        };
        Ok(Response::new(stream))
    }
    type WatchVipsStream = Messages<v1::WatchVipsResponse>;
    async fn watch_vips(
        &self,
        request: Request<v1::WatchVipsRequest>,
    ) -> Result<Response<Self::WatchVipsStream>, Status> {
        let mut script = self.script();
        script.watched_after.push(request.into_inner().after_revision);
        let next = script.changes.pop_front();
        let changes = next.unwrap_or_else(|| Err(Status::internal("no more changes")))?;
        let broken = Err(Status::unavailable("shutting down"));
        let stream = stream::iter(changes.into_iter().map(Ok).chain([broken]));
        Ok(Response::new(Box::pin(stream)))
    }
}

#[tonic::async_trait]
impl ClusterService for Fake {
    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let mut script = self.script();
        if request.into_inner().consistency() == Consistency::Local {
            let local = script.local.clone();
            return local.map(Response::new).ok_or_else(|| Status::unavailable("starting"));
        }
        let next = script.linearizable.pop_front();
        next.unwrap_or_else(|| Err(Status::unavailable("no leader is known"))).map(Response::new)
    }
    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let after = request.into_inner().after_number;
        let script = self.script();
        let later = script.events.iter().filter(|event| event.number > after);
        // Short pages, so that there are several.
        Ok(Response::new(v1::ListEventsResponse { events: later.take(2).cloned().collect() }))
    }
    async fn step_down(
        &self,
        _: Request<v1::StepDownRequest>,
    ) -> Result<Response<v1::StepDownResponse>, Status> {
        let next = self.script().step_downs.pop_front();
        next.unwrap_or_else(|| Err(Status::internal("once too often"))).map(Response::new)
    }
    async fn pause(
        &self,
        request: Request<v1::PauseRequest>,
    ) -> Result<Response<v1::PauseResponse>, Status> {
        let request = request.into_inner();
        let of = request.scope.and_then(|scope| scope.of);
        let lasts = request.lasts.map_or(0, |lasts| lasts.seconds);
        self.script().hands.push(format!("pause {of:?} {lasts} {:?}", request.reason));
        let until = (lasts > 0).then(|| super::at(0));
        Ok(Response::new(v1::PauseResponse {
            pause: Some(v1::Pause { until, ..Default::default() }),
        }))
    }
    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::ResumeResponse>, Status> {
        let of = request.into_inner().scope.and_then(|scope| scope.of);
        self.script().hands.push(format!("resume {of:?}"));
        Ok(Response::new(v1::ResumeResponse {}))
    }
    async fn diagnose(
        &self,
        request: Request<v1::DiagnoseRequest>,
    ) -> Result<Response<v1::DiagnoseResponse>, Status> {
        let mut script = self.script();
        if request.into_inner().reach.is_empty() {
            return Ok(Response::new(script.diagnosis.clone()));
        }
        let next = script.reaches.pop_front();
        next.map(Response::new).ok_or_else(|| Status::internal("asked once too often"))
    }
}

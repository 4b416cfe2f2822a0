//! A node's gRPC API, for plain functions: each call makes its connection and waits for the answer.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use vipfence_proto::v1::cluster_service_client::ClusterServiceClient;
use vipfence_proto::v1::vip_service_client::VipServiceClient;
use vipfence_proto::v1::{
    Consistency, CreateVipRequest, DeleteVipRequest, DisableVipRequest, EnableVipRequest, Event,
    GetMoveRequest, GetStatusRequest, GetStatusResponse, GetVipRequest, ListEventsRequest,
    ListMovesRequest, ListVipsRequest, ListVipsResponse, Move, MoveVipRequest, StepDownRequest,
    UpdateVipRequest, Vip, WatchMoveRequest, WatchVipsRequest, WatchVipsResponse,
};

use crate::block_on;

const CONNECT: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(5);

/// The API of one node.
#[derive(Clone, Debug)]
pub struct Api {
    address: String,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $client:ident($request:ty) -> $answer:ty;)*) => {
        impl Api {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// What the node answers, or that it does not.
                pub fn $name(&self, request: $request) -> Result<$answer, Status> {
                    block_on(async {
                        let mut client = $client::new(self.connect().await?);
                        within(client.$name(request)).await
                    })
                }
            )*
        }
    };
}

calls! {
    /// All VIPs.
    list_vips: VipServiceClient(ListVipsRequest) -> ListVipsResponse;
    /// One VIP.
    get_vip: VipServiceClient(GetVipRequest) -> Vip;
    /// Defines a VIP.
    create_vip: VipServiceClient(CreateVipRequest) -> Vip;
    /// Changes a VIP.
    update_vip: VipServiceClient(UpdateVipRequest) -> Vip;
    /// Deletes a VIP.
    delete_vip: VipServiceClient(DeleteVipRequest) -> Move;
    /// Enables a VIP.
    enable_vip: VipServiceClient(EnableVipRequest) -> Move;
    /// Disables a VIP.
    disable_vip: VipServiceClient(DisableVipRequest) -> Move;
    /// Moves a VIP.
    move_vip: VipServiceClient(MoveVipRequest) -> Move;
    /// One move.
    get_move: VipServiceClient(GetMoveRequest) -> Move;
    /// The status.
    get_status: ClusterServiceClient(GetStatusRequest) -> GetStatusResponse;
}

impl Api {
    /// The API at an address such as `127.0.0.1:7600`.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    /// The status: linearizable, or what the node has.
    ///
    /// # Errors
    /// What the node answers, or that it does not.
    pub fn status(&self, consistency: Consistency) -> Result<GetStatusResponse, Status> {
        self.get_status(GetStatusRequest { consistency: consistency.into() })
    }

    /// A VIP by name.
    ///
    /// # Errors
    /// What the node answers, or that it does not.
    pub fn vip(&self, name: &str) -> Result<Vip, Status> {
        self.get_vip(GetVipRequest { name: name.to_owned(), ..GetVipRequest::default() })
    }

    /// A move by id.
    ///
    /// # Errors
    /// What the node answers, or that it does not.
    pub fn find_move(&self, id: &str) -> Result<Move, Status> {
        self.get_move(GetMoveRequest { id: id.to_owned(), ..GetMoveRequest::default() })
    }

    /// The last moves of a VIP, newest first.
    ///
    /// # Errors
    /// What the node answers, or that it does not.
    pub fn moves(&self, vip: &str) -> Result<Vec<Move>, Status> {
        let request = ListMovesRequest {
            vip: vip.to_owned(),
            page_size: 1_000,
            ..ListMovesRequest::default()
        };
        block_on(async {
            let mut client = VipServiceClient::new(self.connect().await?);
            Ok(within(client.list_moves(request)).await?.moves)
        })
    }

    /// The events that are kept, oldest first.
    ///
    /// # Errors
    /// What the node answers, or that it does not.
    pub fn events(&self) -> Result<Vec<Event>, Status> {
        block_on(async {
            let mut client = ClusterServiceClient::new(self.connect().await?);
            Ok(within(client.list_events(ListEventsRequest::default())).await?.events)
        })
    }

    /// Makes the leader stop leading; returns the new one, if that is known.
    ///
    /// # Errors
    /// What the node answers, or that it does not.
    pub fn step_down(&self) -> Result<String, Status> {
        block_on(async {
            let mut client = ClusterServiceClient::new(self.connect().await?);
            Ok(within(client.step_down(StepDownRequest {})).await?.leader)
        })
    }

    /// A move, again at every change.
    ///
    /// # Errors
    /// What the node answers, or that it does not.
    pub fn watch_move(&self, id: &str) -> Result<Watch<Move>, Status> {
        block_on(async {
            let mut client = VipServiceClient::new(self.connect().await?);
            let request = WatchMoveRequest { id: id.to_owned() };
            Ok(Watch { stream: within(client.watch_move(request)).await? })
        })
    }

    /// The VIPs, then every change.
    ///
    /// # Errors
    /// What the node answers, or that it does not.
    pub fn watch_vips(&self, after_revision: u64) -> Result<Watch<WatchVipsResponse>, Status> {
        block_on(async {
            let mut client = VipServiceClient::new(self.connect().await?);
            let request = WatchVipsRequest { after_revision };
            Ok(Watch { stream: within(client.watch_vips(request)).await? })
        })
    }

    async fn connect(&self) -> Result<Channel, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        let endpoint = endpoint.expect("an address and a port").connect_timeout(CONNECT);
        endpoint.connect().await.map_err(|error| Status::unavailable(format!("{error:?}")))
    }
}

async fn within<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    let answer = tokio::time::timeout(ANSWER, call).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("no answer within 5 s"))?;
    Ok(answer?.into_inner())
}

/// A stream of messages.
#[derive(Debug)]
pub struct Watch<T> {
    stream: Streaming<T>,
}

impl<T> Watch<T> {
    /// The next message; none = the stream has ended.
    ///
    /// # Errors
    /// What the node answers, or that nothing came within the time.
    pub fn next(&mut self, limit: Duration) -> Result<Option<T>, Status> {
        block_on(async {
            let message = tokio::time::timeout(limit, self.stream.message()).await;
            message.map_err(|_| Status::deadline_exceeded(format!("nothing within {limit:?}")))?
        })
    }
}

//! The operator: calls the real API over the simulated network, from a host of its own. Each call has
//! a request id; without an answer it is repeated at another node.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use vipfence_proto::v1::{self, vip_service_client::VipServiceClient};
use vipfence_types::{MoveId, NodeId, VipName};

use super::net::Net;
use super::plan::{Ask, NODES};
use super::process::Ended;
use super::stage::Shared;
use super::wire;

/// The index of its host: behind the nodes.
pub(super) const HOST: usize = NODES;

/// How often a call is tried, each time so long.
const TRIES: usize = 8;
const PATIENCE: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_millis(250);

/// The name of a VIP.
pub(super) fn vip_name(index: usize) -> VipName {
    VipName::new(&format!("v{}", index + 1)).expect("a valid name")
}

fn address(index: usize) -> IpAddr {
    let last = u8::try_from(110 + index).expect("few VIPs");
    IpAddr::from(Ipv4Addr::new(10, 5, 0, last))
}

/// Works for as long as it is asked for things. Calls go on at the same time.
pub(super) async fn operate(
    stage: Shared,
    net: Net,
    nodes: Vec<NodeId>,
    mut asks: mpsc::UnboundedReceiver<Ask>,
) -> Ended {
    let dial = wire::dial(&net, HOST, &nodes);
    let mut channels = Vec::new();
    for node in &nodes {
        let endpoint = Endpoint::from_shared(format!("http://{node}:{}", wire::PORT))?
            .connect_timeout(Duration::from_millis(500))
            .http2_keep_alive_interval(Duration::from_millis(500))
            .keep_alive_timeout(Duration::from_millis(500));
        channels.push(dial(endpoint));
    }
    let mut number = 0;
    while let Some(ask) = asks.recv().await {
        number += 1;
        let call = call(stage.clone(), channels.clone(), nodes.clone(), ask, number);
        tokio::spawn(call);
    }
    std::future::pending().await
}

async fn call(stage: Shared, channels: Vec<Channel>, nodes: Vec<NodeId>, ask: Ask, number: usize) {
    let request_id = format!("r{number}");
    for attempt in 0..TRIES {
        let channel = channels[(number + attempt) % channels.len()].clone();
        let tried = timeout(PATIENCE, try_once(channel, &nodes, &ask, &request_id)).await;
        match tried {
            Ok(Ok(Some(begun))) => {
                let id = MoveId::parse(&begun.id).expect("the API writes ids as it reads them");
                let mut stage = stage.enter();
                stage.saw("an ask was acknowledged");
                stage.note(|| format!("operator: {ask:?} is {id}"));
                if let Ok(vip) = VipName::new(&begun.vip) {
                    stage.acknowledged.push((id, vip));
                }
                break;
            }
            Ok(Ok(None)) => break,
            Ok(Err(status)) if may_pass(&ask, &status) => {}
            Ok(Err(status)) => {
                let mut stage = stage.enter();
                stage.saw("an ask was refused");
                stage.note(|| format!("operator: {ask:?} is refused: {}", status.message()));
                break;
            }
            Err(_elapsed) => stage.enter().saw("an ask had no answer in time"),
        }
        tokio::time::sleep(PACE).await;
    }
    stage.enter().calls_open -= 1;
}

fn may_pass(ask: &Ask, status: &Status) -> bool {
    // While the cluster is being born no node has reported its NIC yet.
    if matches!(ask, Ask::Create(_)) && status.code() == Code::FailedPrecondition {
        return true;
    }
    let passing =
        [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown, Code::Internal];
    passing.contains(&status.code())
}

/// One attempt; returns the move that it started, if it is told.
async fn try_once(
    channel: Channel,
    nodes: &[NodeId],
    ask: &Ask,
    request_id: &str,
) -> Result<Option<v1::Move>, Status> {
    let mut client = VipServiceClient::new(channel);
    let request_id = request_id.to_owned();
    let name = |vip: usize| vip_name(vip).to_string();
    match *ask {
        Ask::Create(vip) => {
            let spec = v1::VipSpec {
                addresses: vec![v1::VipAddress {
                    address: address(vip).to_string(),
                    ..v1::VipAddress::default()
                }],
                ..v1::VipSpec::default()
            };
            let request = v1::CreateVipRequest {
                name: name(vip),
                spec: Some(spec),
                request_id,
                ..v1::CreateVipRequest::default()
            };
            client.create_vip(request).await.map(|_| None)
        }
        Ask::Move(vip, to) => {
            let request = v1::MoveVipRequest {
                vip: name(vip),
                target_node: to.map_or(String::new(), |to| nodes[to].to_string()),
                request_id,
                ..v1::MoveVipRequest::default()
            };
            client.move_vip(request).await.map(|begun| Some(begun.into_inner()))
        }
        Ask::Disable(vip) => {
            let request = v1::DisableVipRequest { name: name(vip), request_id };
            client.disable_vip(request).await.map(|begun| Some(begun.into_inner()))
        }
        Ask::Enable(vip) => {
            let request = v1::EnableVipRequest { name: name(vip), request_id };
            client.enable_vip(request).await.map(|begun| Some(begun.into_inner()))
        }
    }
}

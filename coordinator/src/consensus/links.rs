//! One pooled HTTP/2 channel to every node, for Raft, heartbeats and forwarded calls alike.
//!
//! A channel connects when it is first used and again whenever its connection is gone: the next
//! call dials at once, there is no pause between attempts. A connection that no longer answers is
//! given up after two keepalive periods, and a connection attempt after `connect_timeout`, so that
//! a healed link is not left waiting for TCP's own (doubling) retransmission timers.
//! Time-outs of calls are the callers' business.
//!
//! What lies below a channel is given from outside ([`Dial`]): TCP in the product, a simulated
//! network in tests.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tonic::transport::{Channel, Endpoint};
use vipfence_types::{NodeId, Timing};

use super::{
    config::{Peer, Roster},
    error::StartError,
};

/// Makes a channel of an endpoint that has all its settings. Must not connect before the channel is
/// used.
pub type Dial = Arc<dyn Fn(Endpoint) -> Channel + Send + Sync>;

/// The product's way: TCP.
pub(super) fn by_tcp() -> Dial {
    Arc::new(|endpoint| endpoint.connect_lazy())
}

/// The channels to all nodes, this one included.
pub(super) struct Links {
    channels: BTreeMap<NodeId, Channel>,
}

impl Links {
    /// Prepares the channels; nothing is dialled yet. Needs a tokio runtime.
    pub(super) fn new(roster: &Roster, timing: &Timing, dial: &Dial) -> Result<Self, StartError> {
        let channels = roster
            .peers()
            .map(|(_, peer)| {
                let endpoint = endpoint(peer, timing).ok_or_else(|| StartError::Address {
                    node: peer.name.clone(),
                    address: peer.address.clone(),
                })?;
                Ok((peer.name.clone(), dial(endpoint)))
            })
            .collect::<Result<_, StartError>>()?;
        Ok(Self { channels })
    }

    /// The channel to a node.
    pub(super) fn channel(&self, node: &NodeId) -> Option<Channel> {
        self.channels.get(node).cloned()
    }
}

fn endpoint(peer: &Peer, timing: &Timing) -> Option<Endpoint> {
    let (host, port) = peer.address.rsplit_once(':')?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return None;
    }
    // Four time-outs of a call without a sign of life, then four more for the answer to a ping.
    let patience = Duration::from_millis(4 * timing.rpc_timeout_ms());
    // Shorter than TCP's first retransmission of a SYN (1 s): a new attempt comes sooner.
    let connect = Duration::from_millis((3 * timing.rpc_timeout_ms()).clamp(200, 900));
    let endpoint = Endpoint::from_shared(format!("http://{}", peer.address)).ok()?;
    Some(
        endpoint
            .connect_timeout(connect)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(5)))
            .http2_keep_alive_interval(patience)
            .keep_alive_timeout(patience)
            .keep_alive_while_idle(true),
    )
}

//! One pooled HTTP/2 channel to every node, for Raft, heartbeats and forwarded calls alike.
//!
//! A channel connects when it is first used and again whenever its connection is gone: the next
//! call dials at once, there is no pause between attempts. A connection on which something sent is
//! not acknowledged is given up by the kernel (`TCP_USER_TIMEOUT`), one that no longer answers after
//! a keepalive period and the wait for its answer, and a connection attempt after `connect_timeout`,
//! so that a healed link is not left waiting for TCP's own (doubling) retransmission timers.
//! Time-outs of calls are the callers' business.
//!
//! What lies below a channel is TCP, or what is given from outside ([`Dial`]): a simulated network
//! in tests.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hyper_util::client::legacy::connect::HttpConnector;
use tonic::transport::{Channel, Endpoint};
use vipfence_types::{NodeId, Timing};

use super::{
    config::{Peer, Roster},
    error::StartError,
};

/// Makes a channel of an endpoint that has all its settings. Must not connect before the channel is
/// used.
pub type Dial = Arc<dyn Fn(Endpoint) -> Channel + Send + Sync>;

/// The channels to all nodes, this one included.
pub(super) struct Links {
    channels: BTreeMap<NodeId, Channel>,
}

impl Links {
    /// Prepares the channels; nothing is dialled yet. Needs a tokio runtime.
    pub(super) fn new(
        roster: &Roster,
        timing: &Timing,
        dial: Option<&Dial>,
    ) -> Result<Self, StartError> {
        let channels = roster
            .peers()
            .map(|(_, peer)| {
                let endpoint = endpoint(peer, timing).ok_or_else(|| StartError::Address {
                    node: peer.name.clone(),
                    address: peer.address.clone(),
                })?;
                let channel = match dial {
                    Some(dial) => dial(endpoint),
                    None => endpoint.connect_with_connector_lazy(tcp(timing)),
                };
                Ok((peer.name.clone(), channel))
            })
            .collect::<Result<_, StartError>>()?;
        Ok(Self { channels })
    }

    /// The channel to a node.
    pub(super) fn channel(&self, node: &NodeId) -> Option<Channel> {
        self.channels.get(node).cloned()
    }
}

/// How long a peer may take for a sign of life: four time-outs of a call.
fn patience(timing: &Timing) -> Duration {
    Duration::from_millis(4 * timing.rpc_timeout_ms())
}

fn tcp(timing: &Timing) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(5)));
    // As long as an idle connection waits for a sign of life and then for the answer to a ping.
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(2 * patience(timing)));
    tcp
}

fn endpoint(peer: &Peer, timing: &Timing) -> Option<Endpoint> {
    let (host, port) = peer.address.rsplit_once(':')?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return None;
    }
    // Where nodes beat every heartbeat nothing is idle for longer: no ping is ever sent.
    let idle = patience(timing).max(timing.agent_heartbeat().mul_f64(1.5));
    // Shorter than TCP's first retransmission of a SYN (1 s): a new attempt comes sooner.
    let connect = Duration::from_millis((3 * timing.rpc_timeout_ms()).clamp(200, 900));
    let endpoint = Endpoint::from_shared(format!("http://{}", peer.address)).ok()?;
    Some(
        endpoint
            .connect_timeout(connect)
            .http2_keep_alive_interval(idle)
            .keep_alive_timeout(patience(timing))
            .keep_alive_while_idle(true),
    )
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::Read as _,
        net::TcpListener,
        os::fd::{AsFd as _, OwnedFd, RawFd},
    };

    use rustix::{
        net::{getpeername, sockopt},
        process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
    };
    use vipfence_proto::v1::{NudgeRequest, agent_service_client::AgentServiceClient};
    use vipfence_types::{ClusterName, Profile, Role};

    use super::{
        super::config::{ConsensusConfig, SnapshotLimits},
        *,
    };

    /// This process's sockets that are connected to an address.
    fn connected_to(address: std::net::SocketAddr) -> Vec<OwnedFd> {
        let me = pidfd_open(getpid(), PidfdFlags::empty()).expect("this process");
        let numbers = std::fs::read_dir("/proc/self/fd").expect("its files");
        let number = |entry: std::io::Result<std::fs::DirEntry>| -> Option<RawFd> {
            entry.ok()?.file_name().to_str()?.parse().ok()
        };
        let file = |number| pidfd_getfd(me.as_fd(), number, PidfdGetfdFlags::empty()).ok();
        let is_there = |file: &OwnedFd| {
            let peer = getpeername(file).ok().flatten();
            peer.and_then(|peer| peer.try_into().ok()) == Some(address)
        };
        numbers.filter_map(number).filter_map(file).filter(is_there).collect()
    }

    #[tokio::test]
    async fn the_kernel_gives_up_a_connection_to_a_peer_that_acknowledges_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let node = NodeId::new("a").expect("valid");
        let peer = Peer { name: node.clone(), address: address.to_string(), role: Role::Member };
        let config = ConsensusConfig {
            cluster: ClusterName::new("test").expect("valid"),
            node: node.clone(),
            peers: vec![peer],
            data_dir: std::path::PathBuf::new(),
            timing: Timing::of(Profile::Standard),
            snapshot: SnapshotLimits::default(),
        };
        let roster = Roster::new(&config).expect("valid");
        let links = Links::new(&roster, &config.timing, None).expect("an address");
        let channel = links.channel(&node).expect("a peer");
        let call = async move {
            let _ = AgentServiceClient::new(channel).nudge(NudgeRequest::default()).await;
        };
        // Nobody answers at the other end: the call hangs, and its connection stands.
        let call = tokio::spawn(call);
        let accepted = tokio::task::spawn_blocking(move || {
            let (mut theirs, _) = listener.accept()?;
            // Accepting may be faster than the caller's side of connecting; its first byte is not.
            theirs.read_exact(&mut [0])?;
            std::io::Result::Ok(theirs)
        });
        let _theirs = accepted.await.expect("no panic").expect("a connection that is used");
        let ours = connected_to(address);
        assert_eq!(ours.len(), 1);
        let limit = sockopt::tcp_user_timeout(&ours[0]).expect("a TCP socket");
        assert_eq!(limit, 800, "eight RPC time-outs of the standard profile, in milliseconds");
        assert!(sockopt::tcp_nodelay(&ours[0]).expect("a TCP socket"));
        assert!(sockopt::socket_keepalive(&ours[0]).expect("a socket"));
        call.abort();
    }
}

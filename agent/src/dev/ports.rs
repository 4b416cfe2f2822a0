//! The ports of a `vipfence dev`: which ones, and whether they are free.
//!
//! All are bound before anything is started, so that a port that is taken is a message here and
//! not a dead child later. All but the VIP's are then left to the children. The VIP's is kept to
//! the end: with `--base-port 0` it marks the whole block as taken for another `dev`.

mod user;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Of the VIP's port, the last of the block.
const LAST_OFFSET: u16 = 401;
/// With `--base-port 0`, blocks begin at multiples of this, from `FIRST_BLOCK` on.
const BLOCK: u16 = 500;
const FIRST_BLOCK: u16 = 10_000;
/// From here on the kernel takes ports for outgoing connections (Linux's default): a node that
/// restarts could find its port taken.
const EPHEMERAL: u16 = 32_768;

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodePorts {
    pub(super) grpc: u16,
    pub(super) http: u16,
    pub(super) responder: u16,
    pub(super) imds: u16,
}

/// All ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) nodes: Vec<NodePorts>,
    pub(super) arm: u16,
    pub(super) vip: u16,
}

/// A port that somebody has.
#[derive(Debug)]
pub(super) struct Taken {
    port: u16,
    /// What it was to be for.
    purpose: String,
    /// Who has it, if that can be told.
    user: Option<String>,
    source: std::io::Error,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, purpose, user, source } = self;
        match user {
            Some(user) => write!(f, "  {port} (for {purpose}): {user} listens there"),
            None if source.kind() == std::io::ErrorKind::AddrInUse => {
                write!(f, "  {port} (for {purpose}): in use, probably by another vipfence")
            }
            None => write!(f, "  {port} (for {purpose}): {source}"),
        }
    }
}

/// Why the ports cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum PortsError {
    /// Somebody has some of them.
    #[error("these ports of 127.0.0.1 cannot be had:\n{}\n{remedy}", lines(.taken))]
    Taken {
        /// Which.
        taken: Vec<Taken>,
        /// What to do.
        remedy: &'static str,
    },
    /// The block does not fit.
    #[error(
        "--base-port {base} is too high: {LAST_OFFSET} more ports follow; use at most {}, or 0 for \
         any free ones",
        u16::MAX - LAST_OFFSET
    )]
    TooHigh {
        /// What was asked for.
        base: u16,
    },
    /// All blocks are in use.
    #[error(
        "no free block of ports from {FIRST_BLOCK} to {EPHEMERAL}: end some of the programs that \
         listen there (`ss -ltnp` shows them), or choose ports with --base-port"
    )]
    NoneFree,
}

fn lines(taken: &[Taken]) -> String {
    taken.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const REMEDY: &str = "end what listens there, or take any free ports: --base-port 0";
const REMEDY_KEPT: &str =
    "the nodes of a kept cluster stay where they are: end what listens there, or leave --keep out";

/// Ports that are ours, and the VIP's listener.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) ports: Ports,
    pub(super) vip: TcpListener,
}

impl Ports {
    /// The block that begins at `base`.
    pub(super) fn at(base: u16, nodes: u16) -> Result<Self, PortsError> {
        if base > u16::MAX - LAST_OFFSET {
            return Err(PortsError::TooHigh { base });
        }
        let node = |i| NodePorts {
            grpc: base + i,
            http: base + 100 + i,
            responder: base + 200 + i,
            imds: base + 300 + i,
        };
        Ok(Self { nodes: (0..nodes).map(node).collect(), arm: base + 400, vip: base + LAST_OFFSET })
    }

    fn with_purpose(&self) -> Vec<(u16, String)> {
        let mut all = Vec::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let name = super::plan::node_name(i);
            all.push((node.grpc, format!("gRPC of {name}")));
            all.push((node.http, format!("HTTP of {name}")));
            all.push((node.responder, format!("the responder of {name}")));
            all.push((node.imds, format!("the IMDS of {name}")));
        }
        all.push((self.arm, "the simulated ARM".to_owned()));
        all
    }

    /// Binds all; keeps the VIP's.
    fn bind(self) -> Result<Claimed, Vec<(u16, String, std::io::Error)>> {
        let vip = listen(self.vip);
        let mut held = Vec::new();
        let mut refused = Vec::new();
        for (port, purpose) in self.with_purpose() {
            match listen(port) {
                Ok(listener) => held.push(listener),
                Err(source) => refused.push((port, purpose, source)),
            }
        }
        match vip {
            Ok(vip) if refused.is_empty() => Ok(Claimed { ports: self, vip }),
            Ok(_) => Err(refused),
            Err(source) => {
                refused.push((self.vip, "the VIP".to_owned(), source));
                Err(refused)
            }
        }
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(local(port))
}

/// The port on this machine.
pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Takes the ports from `base` on; 0 takes a free block.
pub(super) async fn take(base: u16, nodes: u16) -> Result<Claimed, PortsError> {
    if base == 0 { take_any(nodes) } else { patiently(&Ports::at(base, nodes)?, REMEDY).await }
}

/// Takes the ports of an earlier run.
pub(super) async fn take_kept(ports: &Ports) -> Result<Claimed, PortsError> {
    patiently(ports, REMEDY_KEPT).await
}

/// The children of a `dev` that was killed a moment ago may still be dying.
async fn patiently(ports: &Ports, remedy: &'static str) -> Result<Claimed, PortsError> {
    let mut tries_left = 5_u8;
    loop {
        let refused = match ports.clone().bind() {
            Ok(claimed) => return Ok(claimed),
            Err(refused) => refused,
        };
        if tries_left == 0 {
            let taken = refused.into_iter().map(|(port, purpose, source)| Taken {
                user: user::of(port),
                port,
                purpose,
                source,
            });
            return Err(PortsError::Taken { taken: taken.collect(), remedy });
        }
        tries_left -= 1;
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
}

fn take_any(nodes: u16) -> Result<Claimed, PortsError> {
    let blocks = (EPHEMERAL - FIRST_BLOCK) / BLOCK;
    // Several that start at once begin at different places; the VIP's port decides.
    let first = u16::try_from(std::process::id() % u32::from(blocks)).unwrap_or_default();
    for step in 0..blocks {
        let base = FIRST_BLOCK + (first + step) % blocks * BLOCK;
        let ports = Ports::at(base, nodes)?;
        // The block of another `dev` is left alone: a child of that one may be about to listen.
        if listen(ports.vip).is_ok()
            && let Ok(claimed) = ports.bind()
        {
            return Ok(claimed);
        }
    }
    Err(PortsError::NoneFree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let ports = Ports::at(7600, 3).unwrap();
        let third = NodePorts { grpc: 7602, http: 7702, responder: 7802, imds: 7902 };
        assert_eq!(ports.nodes.last(), Some(&third));
        assert_eq!((ports.nodes.len(), ports.arm, ports.vip), (3, 8000, 8001));
        assert!(Ports::at(65_134, 9).is_ok());
        let text = Ports::at(65_135, 1).unwrap_err().to_string();
        assert!(text.contains("use at most 65134"), "{text}");
    }

    #[tokio::test]
    async fn ports_that_are_taken_are_all_named_with_purpose_user_and_remedy() {
        let claimed = take(0, 2).await.unwrap();
        let base = claimed.ports.nodes[0].grpc;
        let _arm = listen(claimed.ports.arm).unwrap();
        let _http = listen(claimed.ports.nodes[1].http).unwrap();
        let text = take(base, 2).await.unwrap_err().to_string();
        for line in [
            format!("{} (for HTTP of n2)", base + 101),
            format!("{} (for the simulated ARM)", base + 400),
            format!("{} (for the VIP)", base + 401),
            "--base-port 0".to_owned(),
        ] {
            assert!(text.contains(&line), "no {line} in {text}");
        }
        assert!(!text.contains("gRPC"), "{text}");
        if cfg!(target_os = "linux") {
            let me = format!("(process {}) listens there", std::process::id());
            assert!(text.contains(&me), "no {me} in {text}");
        }
    }

    #[tokio::test]
    async fn two_that_take_any_ports_get_different_blocks() {
        let first = take(0, 3).await.unwrap();
        let second = take(0, 3).await.unwrap();
        assert_ne!(first.ports.arm, second.ports.arm);
        // What is left to the children can be had.
        listen(first.ports.nodes[2].imds).unwrap();
    }
}

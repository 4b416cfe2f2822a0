//! What can be wrong with the network, as rules of nft. A packet that is cut off is dropped without
//! a word, as in Azure: nobody gets a reset. What is wrong with a node is wrong with all its NICs.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::host::nics_of;
use super::network::{ARM, CLIENT};
use super::slow::PROXY;

/// The agents' gRPC port.
const GRPC: u16 = 7600;

/// Something that is wrong, until it is healed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing gets to the node or from it, metadata service and Azure included.
    Cut(String),
    /// Nothing that the node sends gets anywhere.
    Mute(String),
    /// Nothing that is sent to the node gets there.
    Deaf(String),
    /// Nothing gets from the first node to the second.
    OneWay(String, String),
    /// The node does not reach Azure Resource Manager; all else works.
    WithoutAzure(String),
    /// So many of a hundred packets from and to the node are lost.
    Lossy(String, u8),
    /// What the node and its peers say to each other takes so much longer, each way. Of several such
    /// links the slowest counts for all.
    Slow(String, Duration),
}

/// The packets that a host sends, by any of its NICs, for nft.
fn from(host: &str) -> String {
    format!("iifname {}", nics_of(host))
}

/// Those that are sent to it.
fn to(host: &str) -> String {
    format!("oifname {}", nics_of(host))
}

impl Fault {
    /// Nothing gets from either of two nodes to the other.
    #[must_use]
    pub fn between(one: &str, other: &str) -> [Self; 2] {
        [
            Self::OneWay(one.to_owned(), other.to_owned()),
            Self::OneWay(other.to_owned(), one.to_owned()),
        ]
    }

    /// Whether the node cannot be talked to while it holds.
    #[must_use]
    pub fn isolates(&self, node: &str) -> bool {
        matches!(self, Self::Cut(cut) | Self::Mute(cut) | Self::Deaf(cut) if cut == node)
    }

    pub(super) fn rules(&self) -> Vec<String> {
        let (host, port) = ARM.split_once(':').expect("an address and a port");
        match self {
            Self::Cut(node) => vec![from(node) + " drop", to(node) + " drop"],
            Self::Mute(node) => vec![from(node) + " drop"],
            Self::Deaf(node) => vec![to(node) + " drop"],
            Self::OneWay(one, other) => vec![format!("{} {} drop", from(one), to(other))],
            Self::WithoutAzure(node) => {
                vec![format!("{} ip daddr {host} tcp dport {port} drop", from(node))]
            }
            Self::Lossy(node, percent) => [from(node), to(node)]
                .map(|packets| format!("{packets} numgen random mod 100 < {percent} drop"))
                .to_vec(),
            // Connections of before, which do not go through the proxy.
            Self::Slow(node, _) => {
                let client = nics_of(CLIENT);
                [
                    format!("{} oifname != {client}", from(node)),
                    format!("{} iifname != {client}", to(node)),
                ]
                .map(|packets| format!("{packets} tcp dport {GRPC} reject with tcp reset"))
                .to_vec()
            }
        }
    }

    /// Where connections are led that it slows down.
    pub(super) fn detours(&self, address_of: impl Fn(&str) -> Ipv4Addr) -> Vec<String> {
        match self {
            Self::Slow(node, _) => [
                format!("{} tcp dport {GRPC} dnat ip to {PROXY}", from(node)),
                format!("ip daddr {} tcp dport {GRPC} dnat ip to {PROXY}", address_of(node)),
            ]
            .to_vec(),
            _ => Vec::new(),
        }
    }

    pub(super) fn delay(&self) -> Duration {
        match self {
            Self::Slow(_, delay) => *delay,
            _ => Duration::ZERO,
        }
    }
}

//! `DIR/dev.json`. A field that is missing or unknown is an error: the file is a contract
//! (design.md §9).

use serde::Deserialize;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The VIP.
    pub vip: ManifestVip,
    /// The simulated Azure.
    pub arm: ManifestArm,
    /// The nodes.
    pub nodes: Vec<ManifestNode>,
}

/// The VIP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestVip {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Where it is served on this machine.
    pub url: String,
}

/// The simulated Azure.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestArm {
    /// ARM.
    pub endpoint: String,
    /// The simulator's own interface.
    pub admin: String,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ManifestNode {
    /// Its name.
    pub name: String,
    /// The process that was started last.
    pub pid: u32,
    /// gRPC: address and port.
    pub grpc: String,
    /// HTTP port: a URL.
    pub http: String,
    /// Responder: a URL.
    pub responder: String,
    /// Metadata service: a URL.
    pub imds: String,
    /// The NIC's ARM id.
    pub nic_id: String,
}

//! The node's configuration file (design.md §4): who this node is, where it listens, where it keeps
//! its data, the peers that a new cluster is born from, its NICs, and how it reaches Azure.
//!
//! Everything is checked before anything starts, and all problems are reported at once, each
//! pointing at its place in the file with what to do about it. What is replicated (VIPs,
//! candidates, policies, timers of a running cluster) is deliberately not here: VIPs are made
//! through the API, and `profile` only gives a *new* cluster its timers. `[vips.NAME]` says what
//! *runs* around a VIP on this node; whoever may call the API must not be able to say that (ADR 9).
//!
//! `toml`'s parsed table is walked by hand (`reader`) instead of deserialised: serde stops at the
//! first error and knows no place for keys that it rejects.

mod check;
#[cfg(test)]
mod foreign;
mod problem;
mod reader;
mod sections;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vip_tests;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use vipfence_agent_core::OnStop;
use vipfence_coordinator::azure::Identity;
use vipfence_types::{ClusterName, NicRecord, NodeId, Profile, Role, Timing, VipName};

use crate::{config::reader::Reader, duty::VipSetup, os::Interface};
pub(crate) use problem::{ConfigError, Problem, Report, Severity};

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeConfig {
    /// The cluster that the node belongs to.
    pub(crate) cluster: ClusterName,
    /// The timers of a cluster that is new; a running one has its own.
    pub(crate) profile: Profile,
    /// This node.
    pub(crate) node: NodeId,
    /// The state directory. A relative path counts from the folder of the configuration file.
    pub(crate) data_dir: PathBuf,
    /// What becomes of this node's VIPs when its agent is stopped.
    pub(crate) on_stop: OnStop,
    /// A device that resets this machine unless it is fed.
    pub(crate) watchdog: Option<PathBuf>,
    /// Where it listens.
    pub(crate) listen: Listen,
    /// The nodes of a new cluster, this one included, as written in the file. Used only where the
    /// log is empty.
    pub(crate) peers: Vec<Peer>,
    /// This node's NICs; the first carries what names no NIC. Empty only at a witness.
    pub(crate) nics: Vec<NicRecord>,
    /// How Azure is reached.
    pub(crate) azure: AzureConfig,
    /// What adds and drops addresses.
    pub(crate) os: OsDriver,
    /// What runs around VIPs on this node, by their names.
    pub(crate) vips: BTreeMap<VipName, VipSetup>,
}

impl NodeConfig {
    /// The timers that a new cluster begins with.
    pub(crate) fn timing(&self) -> Timing {
        Timing::of(self.profile)
    }
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    /// The gRPC API and the traffic between nodes.
    pub(crate) grpc: SocketAddr,
    /// Health checks and metrics.
    pub(crate) http: SocketAddr,
    /// The operator accepts unencrypted listeners and endpoints beyond loopback.
    pub(crate) insecure: bool,
}

/// A node of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its name.
    pub(crate) node: NodeId,
    /// Where its gRPC API is reached: `host:port`, with brackets around an IPv6 address.
    pub(crate) address: String,
    /// What it is in the cluster.
    pub(crate) role: Role,
}

/// How Azure is reached. URLs have no slash at the end, but for `audience`, which is a name and is
/// kept as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AzureConfig {
    /// ARM.
    pub(crate) arm: String,
    /// The instance metadata service of this VM.
    pub(crate) imds: String,
    /// The sign-in service.
    pub(crate) authority: String,
    /// What tokens are asked for.
    pub(crate) audience: String,
    /// The version of `Microsoft.Network` to speak.
    pub(crate) api_version: String,
    /// Certificates to trust for ARM in place of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether ARM is relied on to refuse a NIC write with an old `If-Match`.
    pub(crate) trust_if_match: bool,
    /// Whether NICs may get a tag of ours, by which older writes are made harmless.
    pub(crate) epoch_tag: bool,
    /// Who this node is for Azure.
    pub(crate) identity: Identity,
}

/// What adds and drops addresses on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OsDriver {
    /// Kernel addresses on Linux.
    Linux {
        /// The interface of each of the node's NICs, in their order.
        interfaces: Vec<Interface>,
    },
    /// No kernel address: a responder that checks its lease at every answer. For trying out.
    Userspace {
        /// Where the responder listens.
        responder: SocketAddr,
    },
}

/// A configuration and what is odd about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration.
    pub(crate) config: NodeConfig,
    /// What is allowed but probably not meant.
    pub(crate) warnings: Report,
}

/// Reads and checks a configuration file.
///
/// # Errors
/// The file cannot be read, or names every problem in it with its place.
pub(crate) fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
    parse(&path.display().to_string(), &text, folder_of(path))
}

/// Checks the text of a configuration file. `file` is the name to show, `folder` what relative
/// paths count from.
///
/// # Errors
/// Names every problem with its place.
pub(crate) fn parse(file: &str, text: &str, folder: &Path) -> Result<Loaded, ConfigError> {
    let (config, problems) = read(text, folder);
    let (errors, warnings) =
        problems.into_iter().partition::<Vec<_>, _>(|problem| problem.severity == Severity::Error);
    match config {
        Some(config) if errors.is_empty() => {
            Ok(Loaded { config, warnings: Report::new(file, text, warnings) })
        }
        // A section that gave no value has said why.
        _ => Err(ConfigError::Invalid(Report::new(file, text, [errors, warnings].concat()))),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn read(text: &str, folder: &Path) -> (Option<NodeConfig>, Vec<Problem>) {
    match toml::de::DeTable::parse(text) {
        Ok(table) => {
            let mut reader = Reader::default();
            let config = sections::read(&mut reader, &table, folder);
            (config, reader.into_problems())
        }
        Err(error) => {
            let problem = Problem::error("this is not valid TOML", error.message())
                .at(error.span().unwrap_or(0..0))
                .help("see https://toml.io for the syntax; strings stand in double quotes");
            (None, vec![problem])
        }
    }
}

//! What `doctor` finds: plain words that nodes carry to each other.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{NicId, NodeId, VipName};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something could not be looked at, or is only worth knowing.
    Notice,
    /// A failover works, but may surprise.
    Warning,
    /// A failover would fail, or an invariant rests on sand.
    Error,
}

/// One finding with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which check found it, such as `NIC_NOT_FOUND`: a stable word for programs.
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// The VIP that it concerns; none = all, or none in particular.
    pub vip: Option<VipName>,
    /// What it is about: a NIC, a file, a peer.
    pub subject: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a node found out about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// The node.
    pub node: NodeId,
    /// The version that it runs.
    pub version: String,
    /// Its time of day, in Unix milliseconds.
    pub wall_ms: u64,
    /// What it found.
    pub findings: Vec<Finding>,
    /// The virtual networks of its NICs.
    pub networks: BTreeSet<String>,
    /// Its NICs, as its file names them.
    pub nics: Vec<NicId>,
    /// The peers of its file: `name=address role`.
    pub peers: BTreeSet<String>,
}

//! What a node and the leader say to each other about grants (design.md §6).
//!
//! The node counts a lease from the moment it first *sent* the heartbeat that the grant answers,
//! so neither message carries a time.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{BootId, ClusterName, Epoch, NicRecord, NodeId, Probe, Term, VipAddress, VipName};

/// A VIP at an epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VipEpoch {
    /// The VIP.
    pub vip: VipName,
    /// The epoch.
    pub epoch: Epoch,
}

/// A TCP connection to a VIP, as its holder's kernel had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Connection {
    /// The other end.
    pub client: SocketAddr,
    /// The VIP's end.
    pub vip: SocketAddr,
}

/// The connections that a node has cut when it let go of a VIP, for the next holder to tell the other
/// ends. Of no weight: what is missing costs a client a longer wait, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The VIP, at the epoch whose release is confirmed.
    pub at: VipEpoch,
    /// The connections: at most [`Connection::PER_VIP`].
    pub connections: Vec<Connection>,
}

impl Connection {
    /// So many are carried of one VIP.
    pub const PER_VIP: usize = 1_024;
    /// So many are carried in one message, of all VIPs together: about half of the bytes that a
    /// heartbeat may have.
    pub const PER_MESSAGE: usize = 4 * Self::PER_VIP;
}

/// How a node is, beside being alive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// The node is stopping cleanly: move its VIPs without waiting for silence.
    pub stopping: bool,
    /// The node reaches Azure's API; none = it has not tried yet.
    pub arm_ok: Option<bool>,
    /// What is wrong, for people.
    pub detail: String,
}

/// What a node says of one VIP that it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipReport {
    /// The VIP and epoch.
    pub at: VipEpoch,
    /// The address was read from the kernel and is there under this epoch.
    pub added: bool,
    /// What hinders the node, for people; empty = nothing.
    pub problem: String,
    /// Why this node does not take the VIP at this epoch although it was granted (a `pre_acquire`
    /// that failed): another candidate is to have it. Empty = it does.
    pub unfit: String,
}

/// A VIP whose service is not well on a node, whether or not the node holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipFailing {
    /// The VIP.
    pub vip: VipName,
    /// Which health check fails and how, for people.
    pub reason: String,
}

/// A heartbeat: from an agent to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The cluster that the node belongs to.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeId,
    /// This start of the agent.
    pub boot: BootId,
    /// The boots that this one replaces, known from the locked state directory: the last few, since
    /// the leader may not have heard of every one.
    pub replaces: Vec<BootId>,
    /// Counts the heartbeats of this boot, from 1. A retry is a new heartbeat.
    pub seq: u64,
    /// The VIPs that the node holds, or is about to.
    pub held: Vec<VipReport>,
    /// Confirmations: spent on disk, and the kernel was read back without the address.
    pub released: Vec<VipEpoch>,
    /// Beside confirmations: what connections those releases have cut.
    pub cut: Vec<Cut>,
    /// Grants that the node cannot take because their epoch is spent here.
    pub refused: Vec<VipEpoch>,
    /// The highest epoch that the node has ever seen.
    pub highest_epoch: Epoch,
    /// The node's NICs, as its configuration names them.
    pub nics: Vec<NicRecord>,
    /// How the node is.
    pub health: NodeHealth,
    /// The VIPs whose health checks fail here; those that are not mentioned are well, or unchecked.
    pub failing: Vec<VipFailing>,
    /// Of what the leader wants reached: what this node has had an answer from, while that epoch's
    /// holder had it.
    pub reached: Vec<VipEpoch>,
    /// The version of the agent.
    pub version: String,
}

/// A grant in an answer: the node may hold this VIP, at this epoch, until `lease_ttl_ms` after it
/// first sent the heartbeat that is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The VIP and epoch.
    pub at: VipEpoch,
    /// The lease, in milliseconds.
    pub lease_ttl_ms: u64,
    /// The addresses to add.
    pub addresses: Vec<VipAddress>,
    /// Keep serving without a quorum (`on_quorum_loss = hold`).
    pub hold_without_quorum: bool,
    /// The load balancer's health probe that only the holder answers.
    pub probe: Option<Probe>,
    /// Connections that earlier holders have cut: their other ends are to be told.
    pub cut: Vec<Connection>,
}

/// Why a heartbeat was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// This node does not lead; ask the one that does.
    #[error("this node is not the leader")]
    NotLeader {
        /// Who leads, as far as known.
        leader: Option<NodeId>,
    },
    /// The quorum round failed: nothing can be promised.
    #[error("the leader could not reach a majority")]
    NoQuorum,
    /// The node belongs to another cluster.
    #[error("this is cluster {cluster}; check `cluster` in the node's configuration")]
    WrongCluster {
        /// The leader's cluster.
        cluster: ClusterName,
    },
    /// The cluster has no such node.
    #[error("the cluster has no node of this name; check `name` and `peers` in its configuration")]
    UnknownNode,
    /// Another start of this node is alive.
    #[error(
        "another agent runs under this node's name (boot {boot}); stop it, or give this one a name \
         of its own"
    )]
    SecondBoot {
        /// The boot that the leader knows.
        boot: BootId,
    },
}

/// The leader's answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The heartbeat that is answered.
    pub seq: u64,
    /// The term in which a quorum round was made for it.
    pub term: Term,
    /// What the node may hold. In neither list: drop at once.
    pub grants: Vec<Grant>,
    /// What the node must release: run its hooks, drop, confirm. With a grant beside it, it may
    /// keep the address until the hooks have run.
    pub releasing: Vec<VipEpoch>,
    /// To a node that is stopping: what it holds and nobody can take over. It need not wait.
    pub nowhere: Vec<Nowhere>,
    /// VIPs that others hold and that this node is to reach (the data-path check).
    pub reach: Vec<Reach>,
}

/// A VIP that another node holds and that is to be reached over the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The VIP and epoch.
    pub at: VipEpoch,
    /// Where a TCP connection is tried. One that is refused is an answer as well: it comes from
    /// whoever has the address.
    pub target: SocketAddr,
}

/// A VIP of a stopping node that has no other node to go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nowhere {
    /// The VIP.
    pub vip: VipName,
    /// Why, for people.
    pub reason: String,
}

//! What can go wrong, one enum per operation. The question that callers have is always the same:
//! is it certain that nothing was committed?

use std::path::PathBuf;

use vipfence_types::NodeId;

use super::store::StoreError;

/// Why consensus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Two peers of one name.
    #[error("node \"{0}\" is listed twice among the peers")]
    DuplicatePeer(NodeId),
    /// This node is not among the peers.
    #[error("this node, \"{0}\", is not listed among the peers")]
    NotAPeer(NodeId),
    /// Only learners.
    #[error("none of the peers has a vote: at least one member is needed")]
    NoVoters,
    /// An address that cannot be dialled.
    #[error("the address \"{address}\" of node \"{node}\" is not of the form host:port")]
    Address {
        /// The node.
        node: NodeId,
        /// What was given.
        address: String,
    },
    /// The folder belongs to another node or cluster.
    #[error(
        "{} belongs to node \"{stored_node}\" of cluster \"{stored_cluster}\", not to node \
         \"{node}\" of cluster \"{cluster}\"", .path.display()
    )]
    AnotherNode {
        /// The file.
        path: PathBuf,
        /// The node that it belongs to.
        stored_node: String,
        /// The cluster that it belongs to.
        stored_cluster: String,
        /// This node.
        node: String,
        /// This cluster.
        cluster: String,
    },
    /// The peers are not those of the cluster's birth.
    #[error(
        "the peers are {given:?}, but this cluster was born with {stored:?}: the list may not \
         change after birth"
    )]
    PeersChanged {
        /// The names at birth.
        stored: Vec<String>,
        /// The names now.
        given: Vec<String>,
    },
    /// The timers do not fit openraft.
    #[error("the Raft timers are not usable: {0}")]
    Timers(String),
    /// The disk, or what is on it.
    #[error("cannot use {}", .path.display())]
    Store {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// openraft refused what it found on the disk.
    #[error("Raft did not start: {0}")]
    Raft(String),
}

/// Why a proposal has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed: another node leads, or none, or this one is about to stop leading.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// Not proposed: this leader has not heard from a majority for longer than an election takes.
    #[error("no majority of the voters answers")]
    NoQuorum,
    /// Not proposed: an entry of this size could not be sent to the other nodes.
    #[error("the command has {bytes} bytes; {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest.
        limit: usize,
    },
    /// It may be committed, now or later, or never: leadership was lost or nobody answered in time.
    #[error("it is not known whether the command was committed")]
    Unknown {
        /// Who leads now, as far as is known.
        leader: Option<NodeId>,
    },
    /// Raft has stopped on this node, perhaps with the command in its log.
    #[error("consensus has stopped on this node")]
    Stopped,
}

impl ProposeError {
    /// Whether it is certain that the command is not, and will never be, committed by this call.
    #[must_use]
    pub fn certainly_not_proposed(&self) -> bool {
        match self {
            Self::NotLeader { .. } | Self::NoQuorum | Self::TooLarge { .. } => true,
            Self::Unknown { .. } | Self::Stopped => false,
        }
    }
}

/// Why a quorum round did not confirm this node as the leader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoundError {
    /// Another node leads, or none.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// No majority answered within the time-out of a round.
    #[error("no majority of the voters answers")]
    NoQuorum,
    /// Raft has stopped on this node.
    #[error("consensus has stopped on this node")]
    Stopped,
}

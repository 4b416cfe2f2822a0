//! What a node's configuration file says of consensus, and what follows from it: the numbers that
//! openraft knows the nodes by.
//!
//! Numbers follow from names alone, so that all nodes count alike. They are kept on disk at birth
//! (`store`): a list that changed later is refused instead of being counted anew.

use std::{collections::BTreeMap, path::PathBuf};

use vipfence_types::{ClusterName, NodeId, Role, Timing};

use super::{error::StartError, types::RaftId};

/// Everything that consensus needs to start.
#[derive(Clone, Debug)]
pub struct ConsensusConfig {
    /// The cluster; frames of another one are refused.
    pub cluster: ClusterName,
    /// This node; one of `peers`.
    pub node: NodeId,
    /// All nodes at birth, this one included; the same list on every node, in any order.
    pub peers: Vec<Peer>,
    /// The folder of `raft.redb`. Only one process may use it.
    pub data_dir: PathBuf,
    /// The timers; only those of Raft are used here.
    pub timing: Timing,
    /// When the log is cut.
    pub snapshot: SnapshotLimits,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: NodeId,
    /// Its gRPC endpoint, `host:port`.
    pub address: String,
    /// Members and witnesses vote, learners do not.
    pub role: Role,
}

/// How long the log may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// A snapshot is taken after so many entries.
    pub entries_between: u64,
    /// So many entries of those in the snapshot are kept, for followers that lag a little.
    pub entries_kept: u64,
}

impl Default for SnapshotLimits {
    fn default() -> Self {
        Self { entries_between: 2_000, entries_kept: 500 }
    }
}

/// Who is who: names to openraft's numbers and back.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    peers: BTreeMap<NodeId, (RaftId, Peer)>,
}

impl Roster {
    /// Numbers the peers.
    pub(super) fn new(config: &ConsensusConfig) -> Result<Self, StartError> {
        let mut sorted: BTreeMap<NodeId, Peer> = BTreeMap::new();
        for peer in &config.peers {
            if sorted.insert(peer.name.clone(), peer.clone()).is_some() {
                return Err(StartError::DuplicatePeer(peer.name.clone()));
            }
        }
        let peers: BTreeMap<_, _> =
            (1..).zip(sorted).map(|(id, (name, peer))| (name, (id, peer))).collect();
        let roster = Self { peers };
        if !roster.peers.contains_key(&config.node) {
            return Err(StartError::NotAPeer(config.node.clone()));
        }
        if roster.voters().next().is_none() {
            return Err(StartError::NoVoters);
        }
        Ok(roster)
    }

    /// All peers in the order of their numbers.
    pub(super) fn peers(&self) -> impl Iterator<Item = (RaftId, &Peer)> {
        self.peers.values().map(|(id, peer)| (*id, peer))
    }

    /// Those with a vote.
    pub(super) fn voters(&self) -> impl Iterator<Item = (RaftId, &Peer)> {
        self.peers().filter(|(_, peer)| peer.role.votes())
    }

    pub(super) fn id(&self, name: &NodeId) -> Option<RaftId> {
        self.peers.get(name).map(|(id, _)| *id)
    }

    pub(super) fn name(&self, id: RaftId) -> Option<&NodeId> {
        self.peers().find(|(known, _)| *known == id).map(|(_, peer)| &peer.name)
    }

    pub(super) fn peer(&self, name: &NodeId) -> Option<&Peer> {
        self.peers.get(name).map(|(_, peer)| peer)
    }
}

#[cfg(test)]
mod tests {
    use vipfence_types::Profile;

    use super::*;

    fn config(peers: &[(&str, Role)]) -> ConsensusConfig {
        ConsensusConfig {
            cluster: ClusterName::new("test").expect("valid"),
            node: NodeId::new(peers[0].0).expect("valid"),
            peers: peers
                .iter()
                .map(|(name, role)| Peer {
                    name: NodeId::new(name).expect("valid"),
                    address: "127.0.0.1:1".to_owned(),
                    role: *role,
                })
                .collect(),
            data_dir: PathBuf::new(),
            timing: Timing::of(Profile::Fast),
            snapshot: SnapshotLimits::default(),
        }
    }

    #[test]
    fn numbers_follow_the_names_and_not_the_order_of_the_list() {
        let roster = Roster::new(&config(&[("c", Role::Member), ("a", Role::Member)]));
        let roster = roster.expect("valid");
        assert_eq!(roster.id(&NodeId::new("a").expect("valid")), Some(1));
        assert_eq!(roster.id(&NodeId::new("C").expect("valid")), Some(2));
    }

    #[test]
    fn a_list_that_cannot_work_is_refused() {
        let twice = Roster::new(&config(&[("a", Role::Member), ("A", Role::Member)]));
        assert!(matches!(twice, Err(StartError::DuplicatePeer(_))));
        let voteless = Roster::new(&config(&[("a", Role::Learner)]));
        assert!(matches!(voteless, Err(StartError::NoVoters)));
        let mut stranger = config(&[("a", Role::Member)]);
        stranger.node = NodeId::new("z").expect("valid");
        assert!(matches!(Roster::new(&stranger), Err(StartError::NotAPeer(_))));
    }
}

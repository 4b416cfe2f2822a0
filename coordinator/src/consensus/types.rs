//! The types that openraft is instantiated with. They do not leave this module.

use openraft::{StoredMembership, declare_raft_types};
use serde::{Deserialize, Serialize};
use vipfence_coordinator_core::{Applied, Command};

/// A node as the replicated membership names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RaftPeer {
    /// Its name.
    pub(super) name: String,
    /// Where it was at birth. The address that is dialled comes from the configuration.
    pub(super) address: String,
}

declare_raft_types!(
    /// Commands in, answers out; `None` answers the entries that are openraft's own.
    pub(super) TypeConfig:
        D = Command,
        R = Option<Applied>,
        Node = RaftPeer,
        SnapshotData = std::io::Cursor<Vec<u8>>,
);

pub(super) type Raft = openraft::Raft<TypeConfig>;
pub(super) type RaftId = u64;
pub(super) type LogId = openraft::LogId<RaftId>;
pub(super) type Vote = openraft::Vote<RaftId>;
pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type Membership = openraft::Membership<RaftId, RaftPeer>;
pub(super) type StoredMembers = StoredMembership<RaftId, RaftPeer>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<RaftId, RaftPeer>;
pub(super) type Metrics = openraft::RaftMetrics<RaftId, RaftPeer>;
pub(super) type StorageError = openraft::StorageError<RaftId>;
pub(super) type StorageIoError = openraft::StorageIOError<RaftId>;

#[cfg(test)]
mod tests {
    use openraft::LeaderId;

    /// openraft's default lets two nodes lead one after the other in the *same* term (its leader
    /// id is the pair of term and node). Every rule of ours that names a term (I7, the base of a
    /// lease wait) needs one leader per term: the cargo feature `single-term-leader`.
    #[test]
    fn a_term_has_at_most_one_leader() {
        let (one, two) = (LeaderId::<u64>::new(7, 1), LeaderId::<u64>::new(7, 2));
        assert_eq!(
            one.partial_cmp(&two),
            None,
            "openraft must be built with the feature `single-term-leader`"
        );
    }
}

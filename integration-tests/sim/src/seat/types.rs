//! The types that openraft is instantiated with in the world: ours in production, but for the
//! runtime and the name of a node.

use openraft::{BasicNode, declare_raft_types};
use vipfence_coordinator_core::{Applied, Command};

use super::runtime::SimRuntime;

declare_raft_types!(
    /// Commands in, answers out; `None` answers the entries that are openraft's own.
    pub(crate) TypeConfig:
        D = Command,
        R = Option<Applied>,
        Node = BasicNode,
        SnapshotData = std::io::Cursor<Vec<u8>>,
        AsyncRuntime = SimRuntime,
);

pub(super) type RaftId = u64;
pub(super) type Raft = openraft::Raft<TypeConfig>;
pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type LogId = openraft::LogId<RaftId>;
pub(super) type Vote = openraft::Vote<RaftId>;
pub(super) type Membership = openraft::Membership<RaftId, BasicNode>;
pub(super) type StoredMembers = openraft::StoredMembership<RaftId, BasicNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<RaftId, BasicNode>;
pub(super) type Metrics = openraft::RaftMetrics<RaftId, BasicNode>;
pub(super) type StorageError = openraft::StorageError<RaftId>;

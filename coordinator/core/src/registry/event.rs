//! Events: what happened, in the words of the API. They are part of the replicated state, so that every
//! node tells the same story.

use serde::{Deserialize, Serialize};
use vipfence_types::{Epoch, NodeId, Term, VipName};

/// Something that happened. Logs, metrics, history and watches derive from these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts the events.
    pub number: u64,
    /// When, by the proposer's wall clock.
    pub at_ms: u64,
    /// In which term it was committed.
    pub term: Term,
    /// What.
    pub kind: EventKind,
    /// The VIP.
    pub vip: Option<VipName>,
    /// The node.
    pub node: Option<NodeId>,
    /// The epoch; 0 = none in particular.
    pub epoch: Epoch,
    /// One sentence.
    pub message: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventKind {
    /// The cluster was founded.
    ClusterFounded,
    /// A node leads.
    LeaderElected,
    /// A node reported other NICs.
    NodeChanged,
    /// The timers changed.
    TimingChanged,
    /// A VIP was defined.
    VipCreated,
    /// A VIP's candidates or policies changed.
    VipUpdated,
    /// A VIP is gone.
    VipDeleted,
    /// Azure disagrees with what is committed.
    DriftFound,
    /// Azure agrees again.
    DriftGone,
    /// A move began.
    MoveStarted,
    /// A later move took a move's place.
    MoveSuperseded,
    /// A move is done.
    MoveDone,
    /// A holder is asked to let go.
    Releasing,
    /// A grant is left to run out.
    Expiring,
    /// A grant is over.
    GrantOver,
    /// A node is entitled.
    Granted,
    /// Azure is asked to detach.
    Detaching,
    /// Azure is asked to attach.
    Attaching,
    /// A VIP is held.
    Held,
    /// Another node had an answer from a VIP at its new holder.
    Reached,
    /// A VIP is held by nobody, as asked for.
    Detached,
    /// Automatic moves are paused.
    Paused,
    /// Automatic moves go on.
    Resumed,
    /// A VIP stays where it is although its holder should lose it.
    Withheld,
    /// What was wrong with the holder is gone.
    WithheldOver,
    /// The health of a VIP has moved it too often: it stays.
    FlapBudgetSpent,
    /// A failover waits for somebody's word.
    FailoverWaits,
    /// A failover that waited goes ahead.
    FailoverConfirmed,
    /// A failover that waited is not wanted.
    FailoverDeclined,
}

impl EventKind {
    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterFounded => "CLUSTER_FOUNDED",
            Self::LeaderElected => "LEADER_ELECTED",
            Self::NodeChanged => "NODE_CHANGED",
            Self::TimingChanged => "TIMING_CHANGED",
            Self::VipCreated => "VIP_CREATED",
            Self::VipUpdated => "VIP_UPDATED",
            Self::VipDeleted => "VIP_DELETED",
            Self::DriftFound => "DRIFT_FOUND",
            Self::DriftGone => "DRIFT_GONE",
            Self::MoveStarted => "MOVE_STARTED",
            Self::MoveSuperseded => "MOVE_SUPERSEDED",
            Self::MoveDone => "MOVE_DONE",
            Self::Releasing => "RELEASING",
            Self::Expiring => "EXPIRING",
            Self::GrantOver => "GRANT_OVER",
            Self::Granted => "GRANTED",
            Self::Detaching => "DETACHING",
            Self::Attaching => "ATTACHING",
            Self::Held => "HELD",
            Self::Reached => "REACHED",
            Self::Detached => "DETACHED",
            Self::Paused => "PAUSED",
            Self::Resumed => "RESUMED",
            Self::Withheld => "WITHHELD",
            Self::WithheldOver => "WITHHELD_OVER",
            Self::FlapBudgetSpent => "FLAP_BUDGET_SPENT",
            Self::FailoverWaits => "FAILOVER_WAITS",
            Self::FailoverConfirmed => "FAILOVER_CONFIRMED",
            Self::FailoverDeclined => "FAILOVER_DECLINED",
        }
    }
}

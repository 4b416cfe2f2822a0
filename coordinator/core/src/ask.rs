//! What callers can ask of the leader, and the answers.

use core::{net::IpAddr, time::Duration};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vipfence_types::{NicId, NodeId, VipName, VipSpec};

use crate::{
    mover::NodeView,
    registry::{Applied, Expect, Intent, OperationKind, Phase, Refused, Request, Scope},
};

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Define a VIP.
    CreateVip {
        /// Its name.
        vip: VipName,
        /// Its definition.
        spec: VipSpec,
        /// Whether to place it.
        enabled: bool,
        /// Where to place it first; none = the best eligible candidate.
        to: Option<NodeId>,
        /// Who asks.
        request: Request,
    },
    /// Change candidates and policies.
    UpdateVip {
        /// The VIP.
        vip: VipName,
        /// The new definition.
        spec: VipSpec,
        /// Who asks.
        request: Request,
    },
    /// Enable, disable or delete a VIP.
    SetIntent {
        /// The VIP.
        vip: VipName,
        /// What is to be.
        intent: Intent,
        /// Who asks.
        request: Request,
    },
    /// Move a VIP. The same request once more is answered with the same move. That outlives the
    /// VIP, as long as its log does: until `MAX_REMOVED` (64) more are gone. Then the VIP is not
    /// found.
    MoveVip {
        /// The VIP.
        vip: VipName,
        /// Where to; none = the best eligible candidate other than the holder.
        to: Option<NodeId>,
        /// What must hold.
        expect: Expect,
        /// Only say what would be done.
        dry_run: bool,
        /// Skip eligibility.
        force: bool,
        /// Who asks.
        request: Request,
    },
    /// Pause automatic moves. Asked again it replaces the pause.
    Pause {
        /// Of what.
        scope: Scope,
        /// For how long; none = until somebody resumes.
        lasts: Option<Duration>,
        /// What for.
        reason: String,
        /// Who asks.
        by: String,
    },
    /// Go on with automatic moves.
    Resume {
        /// Of what.
        scope: Scope,
        /// Who asks.
        by: String,
    },
    /// Answer a failover that waits for somebody's word.
    Confirm {
        /// The VIP.
        vip: VipName,
        /// It is to move.
        go: bool,
        /// Who asks.
        by: String,
    },
    /// How the leader sees the nodes.
    View,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Applied at this index of the log (or refused there: see `Applied`).
    Applied {
        /// The index.
        index: u64,
        /// What became of it.
        applied: Applied,
    },
    /// A plan.
    Plan(MovePlan),
    /// How the leader sees the nodes.
    View(BTreeMap<NodeId, NodeView>),
}

/// What a move would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MovePlan {
    /// Where from.
    pub from_node: Option<NodeId>,
    /// Where to.
    pub to_node: NodeId,
    /// The phases that it would go through.
    pub phases: Vec<Phase>,
    /// The NIC writes that it would make.
    pub writes: Vec<PlannedWrite>,
    /// How long it will probably take.
    pub expected: Estimate,
}

/// How long a move will probably take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// So long.
    pub takes: Duration,
    /// Of how many completed moves of the same kind it is the median; 0 = there are none.
    pub moves: usize,
    /// How it is known, for people.
    pub basis: String,
}

/// One NIC write of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedWrite {
    /// The NIC.
    pub nic: NicId,
    /// What for.
    pub kind: OperationKind,
    /// What would change in its document, as a JSON patch (RFC 6902).
    pub patch: Value,
}

/// Why the leader did not do what was asked. Nothing was changed, except where it says that the
/// outcome is unknown.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AskError {
    /// This node does not lead.
    #[error("this node is not the leader")]
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// This node has only just been elected.
    #[error("the leader has only just been elected; try again")]
    NotReady,
    /// Leadership was lost before the outcome was known.
    #[error("leadership was lost before the outcome was known; repeat with the same request id")]
    OutcomeUnknown,
    /// The Registry refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No such target, or it cannot take the VIP now.
    #[error("{}", not_eligible(.vip, .reasons))]
    NotEligible {
        /// The VIP.
        vip: VipName,
        /// Why each node in question is not eligible.
        reasons: Vec<(NodeId, String)>,
    },
    /// The address cannot be used.
    #[error("{field}: {problem}")]
    InvalidAddress {
        /// Path of the field.
        field: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Something else has the address.
    #[error("{address} is held by {holder}; remove it there or use another address")]
    AddressElsewhere {
        /// The address.
        address: IpAddr,
        /// What has it.
        holder: String,
    },
    /// No node that may hold the VIP has reported its NICs.
    #[error(
        "no node that may hold this VIP has reported a NIC for it yet; start the agents, check `nics`"
    )]
    NoNics,
    /// Azure could not be asked.
    #[error("Azure could not be asked whether the address can be used: {problem}")]
    AzureUnreachable {
        /// What went wrong.
        problem: String,
    },
}

fn not_eligible(vip: &VipName, reasons: &[(NodeId, String)]) -> String {
    if reasons.is_empty() {
        return format!("VIP \"{vip}\" has no other candidate");
    }
    let told: Vec<&str> = reasons.iter().map(|(_, reason)| reason.as_str()).collect();
    format!("no eligible target for VIP \"{vip}\": {}", told.join("; "))
}

//! What can be asked of the Registry, and what it answers.
//!
//! Every command is one log entry. `at_ms` is the proposer's wall clock: it is shown in the history
//! and decides nothing about who may hold a VIP (`restraint` counts by it). A body that this version does not know is kept as `Unknown` and refused, so
//! that nodes of mixed versions never disagree by panicking.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use vipfence_types::{
    ClusterName, Epoch, InvalidSpec, MoveId, NicId, NicRecord, NodeId, RequestId, Revision, Role,
    Timing, VipName, VipSpec,
};

use super::{
    record::{AzureOperation, Cause, Intent, Place},
    restraint::{Pending, Scope, Withheld},
};

/// The format that this version writes.
pub const COMMAND_FORMAT: u16 = 1;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Version of the encoding.
    pub format: u16,
    /// The proposer's wall clock, in milliseconds since 1970: for the history only.
    pub at_ms: u64,
    /// The node that proposed it.
    pub by: NodeId,
    /// What is asked.
    #[serde(deserialize_with = "body_or_unknown")]
    pub body: Body,
}

/// By way of a value: what is passed on is what was understood, also where a key stood twice.
fn body_or_unknown<'de, D: Deserializer<'de>>(from: D) -> Result<Body, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(Body::deserialize(&value).unwrap_or(Body::Unknown(value)))
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Names the cluster and its nodes: the first entry ever.
    Found {
        /// The cluster's name.
        cluster: ClusterName,
        /// The timers to begin with.
        timing: Timing,
        /// The nodes to begin with.
        nodes: Vec<Founder>,
    },
    /// A new leader's first entry. Re-commits every open step in its term (I7).
    Lead,
    /// A node's NICs changed.
    ReportNics {
        /// The node.
        node: NodeId,
        /// All its NICs.
        nics: Vec<NicRecord>,
    },
    /// Defines a VIP.
    CreateVip {
        /// Its name.
        vip: VipName,
        /// Its definition.
        spec: VipSpec,
        /// Whether to place it.
        enabled: bool,
        /// Where to place it; none = decided later.
        to: Option<NodeId>,
        /// Who asked.
        request: Request,
    },
    /// Changes a VIP's candidates and policies.
    UpdateVip {
        /// The VIP.
        vip: VipName,
        /// The new definition.
        spec: VipSpec,
        /// Who asked.
        request: Request,
    },
    /// Enables, disables or deletes a VIP.
    SetIntent {
        /// The VIP.
        vip: VipName,
        /// What is to be.
        intent: Intent,
        /// Where to place it, when enabled; none = decided later.
        to: Option<NodeId>,
        /// Who asked.
        request: Request,
    },
    /// Starts a move.
    StartMove {
        /// The VIP.
        vip: VipName,
        /// The target; none = no candidate is eligible yet.
        to: Option<NodeId>,
        /// Why.
        cause: Cause,
        /// What must hold for the move to start.
        expect: Expect,
        /// Skip eligibility, take the address from a foreign secondary ipConfiguration.
        force: bool,
        /// Who asked.
        request: Request,
    },
    /// A step of an open move.
    Step {
        /// The VIP.
        vip: VipName,
        /// The phase revision on which the step was decided; refused when it has changed.
        phase: Revision,
        /// The step.
        step: Step,
    },
    /// Something to show about a VIP; changes no phase.
    Note {
        /// The VIP.
        vip: VipName,
        /// The move that it is about.
        id: MoveId,
        /// What to show.
        note: Note,
    },
    /// What a leader read in Azure disagrees with a VIP at rest, or agrees again; changes no phase.
    Drift {
        /// The VIP.
        vip: VipName,
        /// The phase revision with which it was compared; refused when it has changed.
        phase: Revision,
        /// What was read; none = Azure agrees.
        what: Option<String>,
    },
    /// Another node has reached a VIP at its holder; changes no phase.
    Reached {
        /// The VIP.
        vip: VipName,
        /// The epoch of the holder; refused when it has changed.
        epoch: Epoch,
        /// Who reached it.
        by: NodeId,
    },
    /// Changes the timers. Grants keep the longer lease until `LowerLease`.
    SetTiming {
        /// The new timers.
        timing: Timing,
    },
    /// The longer lease of an earlier profile can no longer be alive.
    LowerLease {
        /// The VIP.
        vip: VipName,
        /// The epoch of the grant.
        epoch: Epoch,
        /// The entry that set the timers on which this was decided.
        timing: Revision,
    },
    /// Pauses automatic moves.
    Pause {
        /// Of what.
        scope: Scope,
        /// Until when, in milliseconds since 1970; none = until somebody resumes.
        until_ms: Option<u64>,
        /// What for, for people.
        reason: String,
        /// Who asked.
        by: String,
    },
    /// Ends a pause. For a VIP it also clears what counts against its flap budget.
    Resume {
        /// Of what.
        scope: Scope,
        /// Only the pause that began then, whose time is over; none = somebody asked.
        over: Option<u64>,
        /// Who asked.
        by: String,
    },
    /// What the leader found to keep a VIP at rest where it is; changes no phase.
    Restrain {
        /// The VIP.
        vip: VipName,
        /// The phase revision on which it was decided; refused when it has changed.
        phase: Revision,
        /// A failover that waits for somebody's word.
        pending: Option<Pending>,
        /// Why it stays although its holder should lose it.
        withheld: Option<Withheld>,
    },
    /// Somebody's word to a failover that waits for it.
    Confirm {
        /// The VIP.
        vip: VipName,
        /// It is to move.
        go: bool,
        /// Who said so.
        by: String,
    },
    /// A body of a later version. It is written as it was read: the next node that is sent this
    /// entry, or this one after an update, may know it.
    #[serde(untagged)]
    Unknown(Value),
}

/// A node of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    /// Its name.
    pub node: NodeId,
    /// What it may do.
    pub role: Role,
    /// Where its gRPC API listens.
    pub address: String,
}

/// Who asked, and under which name, so that a repetition is executed once (I4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The caller's name for the request; none = the cluster itself decided.
    pub id: Option<RequestId>,
    /// The request's content in a canonical form: the same id with another content is refused.
    pub content: String,
    /// Who asked, for people.
    pub caller: String,
}

/// What must hold for a move to start; compared inside `apply`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// This node holds the VIP.
    pub holder: Option<NodeId>,
    /// The VIP is at this epoch.
    pub epoch: Option<Epoch>,
    /// The VIP's phase has not changed since the decision.
    pub phase: Option<Revision>,
}

/// A step of a move (design.md §5). Each is committed before its effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Gives an open move without a target one.
    Target {
        /// The target.
        node: NodeId,
    },
    /// Azure is to take the addresses off these places. Also the way back from `Attaching`.
    BeginDetach {
        /// Where they are.
        from: BTreeSet<Place>,
        /// What belongs to the ipConfigurations and must survive the move.
        found: BTreeMap<IpAddr, Value>,
        /// NICs that this leader counts as cleared.
        cleared: BTreeSet<NicId>,
    },
    /// Azure has accepted every detach (or nothing was to be detached): put the addresses on.
    BeginAttach {
        /// The target.
        node: NodeId,
        /// Where each address goes.
        to: BTreeSet<Place>,
        /// What belongs to ipConfigurations that stand at the target already.
        found: BTreeMap<IpAddr, Value>,
    },
    /// The attach was read back.
    Attached,
    /// The detach was read back, and nothing is to be attached (disabled, deleted).
    Detached,
    /// Asks the holder to let go.
    Release {
        /// The epoch of its grant.
        epoch: Epoch,
    },
    /// Lets the grant run out.
    Expire {
        /// The epoch of the grant.
        epoch: Epoch,
    },
    /// The grant is over.
    Over {
        /// The epoch of the grant.
        epoch: Epoch,
        /// Confirmed by the node (true), or waited for (false).
        confirmed: bool,
    },
    /// Entitles the target, at a new epoch.
    Grant {
        /// The target.
        node: NodeId,
        /// The highest epoch that any node has reported: the new one is above it.
        floor: Epoch,
    },
    /// Both tracks have arrived: the move is done.
    Held {
        /// The epoch.
        epoch: Epoch,
        /// NICs that this leader counts as cleared.
        cleared: BTreeSet<NicId>,
    },
    /// Grant over and address detached, as asked for: the move is done. A deleted VIP goes.
    Ended {
        /// NICs that this leader counts as cleared: all that were exposed.
        cleared: BTreeSet<NicId>,
    },
}

/// Something to show about a move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// A write to Azure, or news of one.
    Operation(AzureOperation),
    /// Why the move does not proceed; empty = it does.
    Blocked {
        /// The reason.
        reason: String,
        /// When it is tried again, in milliseconds since 1970.
        next_attempt_ms: Option<u64>,
    },
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// Done; nothing to say.
    Done,
    /// The move that answers the request.
    Move(MoveId),
    /// Nothing was changed.
    Refused(Refused),
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// A command of a later version.
    #[error("this version does not know the command")]
    UnknownCommand,
    /// The cluster has been founded before.
    #[error("the cluster exists already")]
    AlreadyFounded,
    /// The cluster has not been founded.
    #[error("the cluster has not been founded yet")]
    NotFounded,
    /// No such VIP.
    #[error("there is no VIP \"{0}\"")]
    VipNotFound(VipName),
    /// The VIP is on its way out.
    #[error("VIP \"{0}\" is being deleted")]
    VipDeleting(VipName),
    /// The VIP is disabled.
    #[error("VIP \"{0}\" is disabled; enable it first")]
    VipDisabled(VipName),
    /// The name is taken.
    #[error("there is a VIP \"{0}\" already")]
    VipExists(VipName),
    /// Too many VIPs.
    #[error("a cluster has at most {0} VIPs")]
    TooManyVips(usize),
    /// No such node.
    #[error("there is no node \"{0}\" in this cluster")]
    NodeNotFound(NodeId),
    /// The node's role forbids it.
    #[error("node \"{0}\" is a witness: it never holds a VIP")]
    NodeIsWitness(NodeId),
    /// The node is not among the VIP's candidates.
    #[error("node \"{node}\" is not a candidate of VIP \"{vip}\"")]
    NotACandidate {
        /// The node.
        node: NodeId,
        /// The VIP.
        vip: VipName,
    },
    /// The definition is not acceptable.
    #[error(transparent)]
    InvalidSpec(InvalidSpec),
    /// The address belongs to another VIP.
    #[error("{address} belongs to VIP \"{vip}\"")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// The VIP that has it.
        vip: VipName,
    },
    /// Another node holds it.
    #[error("VIP \"{vip}\" is held by {}", .actual.as_ref().map_or("no node".to_owned(), |n| format!("\"{n}\"")))]
    HolderMismatch {
        /// The VIP.
        vip: VipName,
        /// Who holds it.
        actual: Option<NodeId>,
    },
    /// The VIP is at another epoch.
    #[error("VIP \"{vip}\" is at epoch {actual}")]
    EpochMismatch {
        /// The VIP.
        vip: VipName,
        /// Its epoch.
        actual: Epoch,
    },
    /// No failover of the VIP waits for anybody's word.
    #[error(
        "no failover of VIP \"{0}\" waits for a confirmation; `vipfence move {0}` moves it all the same"
    )]
    NothingPending(VipName),
    /// The request id was used for something else.
    #[error("request id \"{0}\" was used for another request; use a new one")]
    RequestIdReused(RequestId),
    /// The timers do not hold together.
    #[error("{0}")]
    InvalidTiming(String),
    /// The VIP has changed since this was decided.
    #[error("the VIP has changed since this was decided")]
    Stale,
    /// The step does not fit the tracks.
    #[error("the step does not fit: {0}")]
    Misfit(String),
}

//! The records of the replicated state: nodes, VIPs with their two tracks, moves.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vipfence_types::{
    Epoch, MoveId, NicId, NicRecord, NodeId, RequestId, Revision, Role, VipName, VipSpec,
};

use super::restraint::{Hold, Restraint};

/// The format of records that this version writes.
pub const RECORD_FORMAT: u16 = 1;

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Version of the encoding.
    pub format: u16,
    /// What it may do.
    pub role: Role,
    /// Where its gRPC API listens.
    pub address: String,
    /// Its NICs, as it last reported them.
    pub nics: Vec<NicRecord>,
    /// Hands off: what it holds is not moved by itself, and nothing comes to it by itself.
    #[serde(default)]
    pub hold: Option<Hold>,
}

impl NodeRecord {
    /// The NIC that carries an address with this selector.
    #[must_use]
    pub fn nic(&self, selector: Option<&str>) -> Option<&NicId> {
        match selector {
            None => self.nics.first().map(|nic| &nic.id),
            Some(name) => self.nics.iter().find(|nic| nic.name == name).map(|nic| &nic.id),
        }
    }

    /// Where the addresses of a VIP go on this node's NICs in Azure; fails with the name of a NIC it
    /// lacks. Empty for a load balancer's VIP: no NIC carries its address.
    ///
    /// # Errors
    /// The selector that no NIC of the node answers to.
    pub fn places(&self, spec: &VipSpec) -> Result<BTreeSet<Place>, String> {
        let place = |entry: &vipfence_types::VipAddress| {
            let nic = self.nic(entry.nic.as_deref());
            let missing = || entry.nic.clone().unwrap_or_else(|| "(first)".to_owned());
            Ok(Place { nic: nic.ok_or_else(missing)?.clone(), address: entry.address })
        };
        spec.on_nics().iter().map(place).collect()
    }
}

/// An address on a NIC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The NIC.
    pub nic: NicId,
    /// The address.
    pub address: IpAddr,
}

/// What is to be of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// A node holds it.
    Held,
    /// Nobody holds it; it stays defined.
    Disabled,
    /// Nobody holds it, and then it goes.
    Deleted,
}

/// The grant track: who is entitled.
///
/// ```text
/// Granted{from, e} -> Releasing{from, e} -> Expiring{from, e} -> Over -> Granted{to, e'}
///        |                    \----- confirmed -------------------^
///        \-- failover ----------------------^  (silent, or release_timeout)
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantTrack {
    /// Nobody is entitled, and no earlier grant can be alive anywhere.
    #[default]
    Over,
    /// The node is entitled.
    Granted(Granted),
    /// The node is entitled and asked to let go.
    Releasing(Granted),
    /// The grant is renewed no more; it may still be alive until confirmed or waited for.
    Expiring(Granted),
}

/// A grant as committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The node.
    pub node: NodeId,
    /// The epoch.
    pub epoch: Epoch,
    /// The largest lease it may have been given under.
    pub lease_ttl_ms: u64,
}

impl GrantTrack {
    /// The grant that is, or may be, alive.
    #[must_use]
    pub fn grant(&self) -> Option<&Granted> {
        match self {
            Self::Over => None,
            Self::Granted(grant) | Self::Releasing(grant) | Self::Expiring(grant) => Some(grant),
        }
    }

    pub(crate) fn grant_mut(&mut self) -> Option<&mut Granted> {
        match self {
            Self::Over => None,
            Self::Granted(grant) | Self::Releasing(grant) | Self::Expiring(grant) => Some(grant),
        }
    }

    /// The grant, if heartbeats are answered with it.
    #[must_use]
    pub fn renewed(&self) -> Option<&Granted> {
        match self {
            Self::Granted(grant) | Self::Releasing(grant) => Some(grant),
            Self::Over | Self::Expiring(_) => None,
        }
    }
}

/// The Azure track: where the address is attached.
///
/// ```text
/// Attached{from} -> Detaching -> Attaching{to} -> Attached{to}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AzureTrack {
    /// On no NIC that we put it on. Before the first attach it is not known where it is.
    #[default]
    Detached,
    /// Azure is asked to take it off these places.
    Detaching {
        /// Where it may be.
        from: BTreeSet<Place>,
    },
    /// Every detach was accepted; Azure is asked to put it on these places.
    Attaching {
        /// The target.
        node: NodeId,
        /// Where it goes.
        to: BTreeSet<Place>,
        /// Where it was: if a detach fails after all, the way back.
        from: BTreeSet<Place>,
    },
    /// The attach was read back.
    Attached {
        /// The node.
        node: NodeId,
        /// Where it is.
        at: BTreeSet<Place>,
    },
}

impl AzureTrack {
    /// Every place that the track names: where the address may be.
    #[must_use]
    pub fn places(&self) -> BTreeSet<Place> {
        match self {
            Self::Detached => BTreeSet::new(),
            Self::Detaching { from } => from.clone(),
            Self::Attaching { to, from, .. } => to.union(from).cloned().collect(),
            Self::Attached { at, .. } => at.clone(),
        }
    }

    /// The node that Azure routes to, as far as committed.
    #[must_use]
    pub fn attached_to(&self) -> Option<&NodeId> {
        match self {
            Self::Attached { node, .. } => Some(node),
            Self::Detached | Self::Detaching { .. } | Self::Attaching { .. } => None,
        }
    }
}

/// A VIP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VipRecord {
    /// Version of the encoding.
    pub format: u16,
    /// Its name.
    pub name: VipName,
    /// Its definition.
    pub spec: VipSpec,
    /// What is to be.
    pub intent: Intent,
    /// Revision of the last change to this record.
    pub revision: Revision,
    /// Revision of the last change of phase: what a decision is bound to.
    pub phase: Revision,
    /// Revision of the last change of what is asked of Azure: what a write is bound to (I7). The
    /// grant track goes on beside it without voiding a write.
    pub azure_phase: Revision,
    /// Who is entitled.
    pub grant: GrantTrack,
    /// Where it is attached.
    pub azure: AzureTrack,
    /// Where the open move goes, or where it is held. None = nowhere (yet).
    pub target: Option<NodeId>,
    /// The open move.
    pub open: Option<MoveId>,
    /// NICs that may still be hit by a write of unknown outcome, as far as is committed. What a
    /// leader has cleared since stays until an entry takes it out: one that reports Held, begins a
    /// detach or ends the VIP. So it may say too much, also at rest, and never too little.
    pub exposed: BTreeSet<NicId>,
    /// What belongs to our ipConfigurations and moves along (public IP, pools, ...).
    pub found: BTreeMap<IpAddr, Value>,
    /// When it was last reported as held, in milliseconds since 1970.
    pub held_since_ms: Option<u64>,
    /// How Azure disagrees with the tracks, as a leader read it.
    #[serde(default)]
    pub drift: Option<DriftRecord>,
    /// When another node first reached the VIP, and at which epoch.
    #[serde(default)]
    pub reached: Option<Reached>,
    /// What keeps the leader from moving it by itself.
    #[serde(default)]
    pub restraint: Restraint,
}

/// Another node had an answer from the VIP's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The epoch of the holder.
    pub epoch: Epoch,
    /// Who reached it.
    pub by: NodeId,
    /// When that was committed, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Azure disagrees with the committed state of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftRecord {
    /// What was read, for people.
    pub what: String,
    /// When it was committed, in milliseconds since 1970.
    pub since_ms: u64,
}

impl VipRecord {
    /// The node that is entitled, or may still be.
    #[must_use]
    pub fn holder(&self) -> Option<&NodeId> {
        self.grant.grant().map(|grant| &grant.node)
    }

    /// The epoch of that entitlement.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.grant.grant().map_or(Epoch(0), |grant| grant.epoch)
    }

    /// Whether a node holds it and no move is open.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.open.is_none()
            && matches!(
                (&self.grant, &self.azure),
                (GrantTrack::Granted(_), AzureTrack::Attached { .. })
            )
    }

    /// The name of our ipConfiguration for one of its addresses.
    #[must_use]
    pub fn config_name(&self, address: IpAddr) -> String {
        let at = self.spec.addresses.iter().position(|entry| entry.address == address);
        match at {
            None | Some(0) => format!("vipfence-{}", self.name),
            Some(at) => format!("vipfence-{}-{}", self.name, at + 1),
        }
    }

    /// The one phase that is shown, derived from both tracks.
    #[must_use]
    pub fn shown_phase(&self) -> Phase {
        match (&self.azure, &self.grant) {
            (AzureTrack::Detaching { .. }, _) => Phase::Detaching,
            (AzureTrack::Attaching { .. }, _) => Phase::Attaching,
            (_, GrantTrack::Releasing(_)) => Phase::Releasing,
            (_, GrantTrack::Expiring(_)) => Phase::Expiring,
            (AzureTrack::Attached { .. }, _) if self.open.is_none() => Phase::Held,
            (AzureTrack::Attached { node, .. }, _) if Some(node) == self.target.as_ref() => {
                Phase::Granting
            }
            (AzureTrack::Attached { .. }, _) => Phase::Planned,
            (AzureTrack::Detached, _) if self.open.is_some() => Phase::Planned,
            (AzureTrack::Detached, _) => Phase::Detached,
        }
    }
}

/// The one phase that is shown of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The target is being looked at; nothing has been touched.
    Planned,
    /// The old holder is asked to let go.
    Releasing,
    /// The old holder's grant runs out.
    Expiring,
    /// Azure takes the address off.
    Detaching,
    /// Azure puts the address on.
    Attaching,
    /// Azure is done; the new holder has yet to add the address.
    Granting,
    /// Held.
    Held,
    /// Nobody holds it, as asked for.
    Detached,
}

/// Why a move was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A caller asked.
    Request,
    /// The VIP was created.
    Created,
    /// The holder was silent for `failover_after`.
    HolderSilent,
    /// The holder is stopping.
    HolderStopping,
    /// The VIP was enabled.
    Enabled,
    /// The VIP was disabled.
    Disabled,
    /// The VIP is being deleted.
    Deleted,
    /// The target turned out not to be able to take it.
    TargetFailed,
    /// Azure or an OS disagreed.
    Drift,
    /// The holder cannot use its epoch.
    EpochRefused,
    /// The VIP's health check fails on its holder, or the holder cannot serve it.
    HolderUnhealthy,
    /// A candidate of higher priority is well again.
    Failback,
}

/// How a move ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It did what it was to do.
    Done,
    /// A later move took its place.
    Superseded(MoveId),
    /// Nothing was to be done.
    AlreadyHeld,
}

/// What was asked of Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationKind {
    /// Take the address off.
    Detach,
    /// Put the address on.
    Attach,
    /// Change the ETag.
    Seal,
}

/// One write to a NIC, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AzureOperation {
    /// The NIC.
    pub nic: NicId,
    /// What was asked.
    pub kind: OperationKind,
    /// The operation's URL; empty = none.
    pub url: String,
    /// ARM's word for where it stands.
    pub status: String,
    /// When it was accepted, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it was seen to have ended.
    pub ended_ms: Option<u64>,
}

/// One phase of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseSpan {
    /// The phase.
    pub phase: Phase,
    /// When it began.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
}

/// One committed intent to change a VIP's holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Version of the encoding.
    pub format: u16,
    /// Its id.
    pub id: MoveId,
    /// The VIP.
    pub vip: VipName,
    /// The epoch of the new entitlement; 0 = not granted by this move yet.
    pub epoch: Epoch,
    /// The holder when it began.
    pub from_node: Option<NodeId>,
    /// The target.
    pub to_node: Option<NodeId>,
    /// Why.
    pub cause: Cause,
    /// Who asked.
    pub caller: String,
    /// The request that it executes.
    pub request_id: Option<RequestId>,
    /// Take the address from a foreign secondary ipConfiguration.
    pub force: bool,
    /// The phases so far; the last is the present one.
    pub phases: Vec<PhaseSpan>,
    /// Why it does not proceed; empty = it does.
    pub blocked_reason: String,
    /// When it is tried again.
    pub next_attempt_ms: Option<u64>,
    /// The writes to Azure so far.
    pub operations: Vec<AzureOperation>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When it was committed.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Revision of its last change.
    pub revision: Revision,
}

impl AzureOperation {
    /// An operation is known again by its NIC, kind and start.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.nic == other.nic && self.kind == other.kind && self.started_ms == other.started_ms
    }
}

impl Move {
    /// The most phases and operations that are kept of one move.
    pub const MAX_SPANS: usize = 64;

    /// Whether it has begun this operation.
    pub(crate) fn knows(&self, operation: &AzureOperation) -> bool {
        self.operations.iter().any(|known| known.is_same(operation))
    }
}

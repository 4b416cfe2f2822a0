//! The replicated state: which node holds each VIP, where it is attached, and what was asked for.
//!
//! `Registry::apply` is the only way to change it. It is total (an unknown command is a refused
//! entry), sees no clock (expiry is a command that the leader proposes) and no randomness, and gives
//! the same result on every node. It compares: a step is refused unless it names the phase revision
//! on which it was decided. It does not decide what should happen next; that is the Mover.
//!
//! Keeps I5 (epochs from one counter that is never reset; an address in at most one VIP record),
//! rule 1 and rule 2 of a move (I1, I8: a grant only when the old one is over, Held only when both
//! tracks have arrived), I4 (request ids, superseding) and the sets of exposed NICs (I2).

mod command;
mod event;
mod history;
mod intents;
mod record;
mod restraint;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use vipfence_types::{
    ClusterName, Epoch, MoveId, Mutation, NodeId, Profile, Revision, Term, Timing, VipName, VipSpec,
};

pub use command::{
    Applied, Body, COMMAND_FORMAT, Command, Expect, Founder, Note, Refused, Request, Step,
};
pub use event::{Event, EventKind};
pub use record::{
    AzureOperation, AzureTrack, Cause, DriftRecord, GrantTrack, Granted, Intent, Move, NodeRecord,
    OperationKind, Outcome, Phase, PhaseSpan, Place, RECORD_FORMAT, Reached, VipRecord,
};
pub use restraint::{Hold, Pending, Restraint, Scope, Withheld, WithheldWhy, Word};

pub use history::VipLog;

/// The most VIPs of a cluster.
pub const MAX_VIPS: usize = 1_000;

/// The replicated state. A clone is cheap: records are shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registry {
    /// Version of the encoding.
    pub format: u16,
    /// The cluster's name; none = not founded yet.
    pub cluster: Option<ClusterName>,
    /// Counts the entries applied.
    pub revision: Revision,
    /// The highest epoch handed out. Never reset (I5).
    pub epoch: Epoch,
    /// The last move's id.
    pub last_move: MoveId,
    /// The term whose leader last committed `Lead`: only that leader may act on the open steps (I7).
    pub term: Term,
    /// That leader.
    pub leader: Option<NodeId>,
    /// The timers in force.
    pub timing: Timing,
    /// Revision of the entry that set them.
    pub timing_since: Revision,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, Arc<NodeRecord>>,
    /// The VIPs, those being deleted included.
    pub vips: BTreeMap<VipName, Arc<VipRecord>>,
    /// Moves and request ids of each VIP, also of some that are gone.
    pub logs: BTreeMap<VipName, Arc<VipLog>>,
    /// Hands off: nothing is moved by itself.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// The last events.
    pub events: Arc<VecDeque<Arc<Event>>>,
    /// How many events there have been.
    pub last_event: u64,
    /// The last VIPs that went, with the revision at which they did.
    pub removed: VecDeque<(Revision, VipName)>,
    /// A watch can be resumed after this revision or a later one.
    pub watch_floor: Revision,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            format: RECORD_FORMAT,
            cluster: None,
            revision: Revision(0),
            epoch: Epoch(0),
            last_move: MoveId(0),
            term: Term(0),
            leader: None,
            timing: Timing::of(Profile::Standard),
            timing_since: Revision(0),
            nodes: BTreeMap::new(),
            vips: BTreeMap::new(),
            logs: BTreeMap::new(),
            hold: None,
            events: Arc::default(),
            last_event: 0,
            removed: VecDeque::new(),
            watch_floor: Revision(0),
        }
    }
}

/// What every handler needs of the entry that it applies.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) term: Term,
    pub(crate) at_ms: u64,
    pub(crate) by: &'a NodeId,
    pub(crate) revision: Revision,
}

impl Registry {
    /// Applies one entry of the log. Either the whole command takes effect, or it is refused and
    /// nothing but the revision has changed.
    pub fn apply(&mut self, term: Term, command: &Command) -> Applied {
        self.revision = self.revision.next();
        let entry = Entry { term, at_ms: command.at_ms, by: &command.by, revision: self.revision };
        if command.format > COMMAND_FORMAT {
            return Applied::Refused(Refused::UnknownCommand);
        }
        self.dispatch(entry, &command.body).unwrap_or_else(Applied::Refused)
    }

    fn dispatch(&mut self, entry: Entry<'_>, body: &Body) -> Result<Applied, Refused> {
        if self.cluster.is_none() && !matches!(body, Body::Found { .. }) {
            return Err(Refused::NotFounded);
        }
        match body {
            Body::Found { cluster, timing, nodes } => self.found(entry, cluster, *timing, nodes),
            Body::Lead => Ok(self.lead(entry)),
            Body::ReportNics { node, nics } => self.report_nics(entry, node, nics),
            Body::CreateVip { vip, spec, enabled, to, request } => {
                self.create_vip(entry, vip, spec, *enabled, to.as_ref(), request)
            }
            Body::UpdateVip { vip, spec, request } => self.update_vip(entry, vip, spec, request),
            Body::SetIntent { vip, intent, to, request } => {
                self.set_intent(entry, vip, *intent, to.as_ref(), request)
            }
            Body::StartMove { vip, to, cause, expect, force, request } => {
                let ask = intents::MoveAsk { to: to.clone(), cause: *cause, force: *force };
                self.start_move(entry, vip, &ask, expect, request)
            }
            Body::Step { vip, phase, step } => self.step(entry, vip, *phase, step),
            Body::Note { vip, id, note } => self.note(entry, vip, *id, note),
            Body::Drift { vip, phase, what } => self.drift(entry, vip, *phase, what.as_deref()),
            Body::Reached { vip, epoch, by } => self.reached(entry, vip, *epoch, by),
            Body::SetTiming { timing } => self.set_timing(entry, *timing),
            Body::LowerLease { vip, epoch, timing } => {
                self.lower_lease(entry, vip, *epoch, *timing)
            }
            Body::Pause { scope, until_ms, reason, by } => {
                self.pause(entry, scope, *until_ms, reason, by)
            }
            Body::Resume { scope, over, by } => self.resume(entry, scope, *over, by),
            Body::Restrain { vip, phase, pending, withheld } => {
                self.restrain(entry, vip, *phase, pending.as_ref(), withheld.as_ref())
            }
            Body::Confirm { vip, go, by } => self.confirm(entry, vip, *go, by),
            Body::Unknown(_) => Err(Refused::UnknownCommand),
        }
    }

    fn found(
        &mut self,
        entry: Entry<'_>,
        cluster: &ClusterName,
        timing: Timing,
        nodes: &[Founder],
    ) -> Result<Applied, Refused> {
        if self.cluster.is_some() {
            return Err(Refused::AlreadyFounded);
        }
        timing.check().map_err(|error| Refused::InvalidTiming(error.to_string()))?;
        self.cluster = Some(cluster.clone());
        self.timing = timing;
        self.nodes = nodes
            .iter()
            .map(|founder| {
                let record = NodeRecord {
                    format: RECORD_FORMAT,
                    role: founder.role,
                    address: founder.address.clone(),
                    nics: Vec::new(),
                    hold: None,
                };
                (founder.node.clone(), Arc::new(record))
            })
            .collect();
        let message = format!("cluster {cluster} founded with {} nodes", nodes.len());
        self.record(entry, EventKind::ClusterFounded, None, None, Epoch(0), message);
        Ok(Applied::Done)
    }

    /// A new leader re-commits every open step in its term, in one entry: each phase revision
    /// changes, so that nothing decided under an earlier leader can be applied or sent any more.
    fn lead(&mut self, entry: Entry<'_>) -> Applied {
        let again = self.term == entry.term && self.leader.as_ref() == Some(entry.by);
        self.term = entry.term;
        self.leader = Some(entry.by.clone());
        for record in self.vips.values_mut() {
            let record = Arc::make_mut(record);
            record.phase = entry.revision;
            record.azure_phase = entry.revision;
            record.revision = entry.revision;
        }
        if !again {
            let message = format!("{} leads in term {}", entry.by, entry.term);
            let node = Some(entry.by.clone());
            self.record(entry, EventKind::LeaderElected, None, node, Epoch(0), message);
        }
        Applied::Done
    }

    fn report_nics(
        &mut self,
        entry: Entry<'_>,
        node: &NodeId,
        nics: &[vipfence_types::NicRecord],
    ) -> Result<Applied, Refused> {
        let record = self.nodes.get_mut(node).ok_or_else(|| Refused::NodeNotFound(node.clone()))?;
        if record.nics == nics {
            return Ok(Applied::Done);
        }
        Arc::make_mut(record).nics = nics.to_vec();
        let names: Vec<&str> = nics.iter().map(|nic| nic.id.name()).collect();
        let message = format!("{node} has the NICs {}", names.join(", "));
        self.record(entry, EventKind::NodeChanged, None, Some(node.clone()), Epoch(0), message);
        Ok(Applied::Done)
    }

    /// A longer lease is in force from this entry on; a shorter one takes effect per grant, by
    /// `LowerLease` (design.md §5: V4).
    fn set_timing(&mut self, entry: Entry<'_>, timing: Timing) -> Result<Applied, Refused> {
        timing.check().map_err(|error| Refused::InvalidTiming(error.to_string()))?;
        self.timing = timing;
        self.timing_since = entry.revision;
        for record in self.vips.values_mut() {
            let lease = record.grant.grant().map(|grant| grant.lease_ttl_ms);
            let lowered = Mutation::LeaseLoweredAtOnce.is_on();
            if lease.is_some_and(|lease| lease < timing.lease_ttl_ms || lowered) {
                let record = Arc::make_mut(record);
                record.revision = entry.revision;
                if let Some(grant) = record.grant.grant_mut() {
                    grant.lease_ttl_ms = timing.lease_ttl_ms;
                }
            }
        }
        let message = format!("timers of profile {} are in force", timing.profile);
        self.record(entry, EventKind::TimingChanged, None, None, Epoch(0), message);
        Ok(Applied::Done)
    }

    fn lower_lease(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        epoch: Epoch,
        timing: Revision,
    ) -> Result<Applied, Refused> {
        let (lease_ttl_ms, set_at) = (self.timing.lease_ttl_ms, self.timing_since);
        let record = self.vips.get_mut(vip).ok_or_else(|| Refused::VipNotFound(vip.clone()))?;
        let fits = record.grant.grant().is_some_and(|grant| grant.epoch == epoch);
        // The timers may have been lengthened, and shortened again, since this was proposed.
        if !fits || timing != set_at {
            return Err(Refused::Stale);
        }
        let record = Arc::make_mut(record);
        record.revision = entry.revision;
        if let Some(grant) = record.grant.grant_mut() {
            grant.lease_ttl_ms = lease_ttl_ms;
        }
        Ok(Applied::Done)
    }

    /// A VIP by name.
    #[must_use]
    pub fn vip(&self, name: &VipName) -> Option<&VipRecord> {
        self.vips.get(name).map(Arc::as_ref)
    }

    /// The nodes that may hold a VIP by its definition, best first: greater priority, then name.
    #[must_use]
    pub fn candidates<'a>(&'a self, spec: &'a VipSpec) -> Vec<&'a NodeId> {
        let mut nodes: Vec<&NodeId> = self
            .nodes
            .iter()
            .filter(|(node, record)| record.role.may_hold() && spec.is_candidate(node))
            .map(|(node, _)| node)
            .collect();
        nodes.sort_by_key(|node| (core::cmp::Reverse(spec.priority(node)), (*node).clone()));
        nodes
    }
}

//! The plan of one VIP: from what is committed, reported and read back, the one next step, and what
//! the NICs should look like now.
//!
//! `plan` is a function of its arguments. The grant track is looked at first, then the Azure track,
//! then whether both have arrived; the first step that is due is taken, since every step changes
//! the phase on which the others would be decided.

mod arrival;
mod azure;
mod grant;
mod holder;
mod redirect;
mod rest;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use vipfence_types::{Clocks, Mutation, NicId, NodeId, Release};

use super::{Check, Lead, Mover};
use crate::{
    nic::{NicWriter, Presence, Want},
    registry::{AzureTrack, Body, Intent, Move, Place, Registry, Step, VipRecord},
};

/// What is to be done about one VIP.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decision {
    /// The next committed step.
    pub(crate) step: Option<Body>,
    /// What NICs should look like, by the committed phase.
    pub(crate) wants: Vec<(Place, Want)>,
    /// NICs to be sealed.
    pub(crate) seals: BTreeSet<NicId>,
    /// NICs whose documents must be read after this moment.
    pub(crate) reads: BTreeMap<NicId, Clocks>,
    /// Why nothing proceeds; empty = it does, or nothing is to be done.
    pub(crate) blocked: String,
    /// When it is tried again.
    pub(crate) next_attempt: Option<Clocks>,
    /// NICs that will be written for this VIP as soon as what is under way is committed or read.
    pub(crate) coming: BTreeSet<NicId>,
    /// Attaches that are tried while Azure may still have the address elsewhere.
    pub(crate) not_freed: Vec<Place>,
    /// Refused attaches that are worth trying at once.
    pub(crate) kicks: Vec<Place>,
    /// A target that turned out not to be able to take the VIP.
    pub(crate) failed: Option<(NodeId, String)>,
}

impl Decision {
    fn step(&mut self, record: &VipRecord, step: Step) {
        let (vip, phase) = (record.name.clone(), record.phase);
        self.step.get_or_insert(Body::Step { vip, phase, step });
    }

    fn wait(&mut self, reason: impl Into<String>, next: Option<Clocks>) {
        if self.blocked.is_empty() {
            self.blocked = reason.into();
            self.next_attempt = next;
        }
    }
}

/// What a plan is made from.
pub(crate) struct Facts<'a> {
    pub(crate) mover: &'a Mover,
    pub(crate) lead: &'a Lead,
    pub(crate) now: Clocks,
    pub(crate) state: &'a Registry,
    pub(crate) nics: &'a BTreeMap<NicId, NicWriter>,
}

impl Mover {
    /// The plan of one VIP. Only for the leader whose `Lead` entry of this term is applied.
    pub(crate) fn plan(
        &self,
        now: Clocks,
        state: &Registry,
        record: &VipRecord,
        nics: &BTreeMap<NicId, NicWriter>,
    ) -> Decision {
        let mut decision = Decision::default();
        let Some(lead) = &self.lead else { return decision };
        let facts = Facts { mover: self, lead, now, state, nics };
        match state.open_move(&record.name) {
            None => facts.at_rest(record, &mut decision),
            Some(open) => facts.moving(record, open, &mut decision),
        }
        decision
    }
}

impl Facts<'_> {
    fn seal_exposed(&self, record: &VipRecord, decision: &mut Decision) {
        let exposed = record.exposed.iter().filter(|nic| !self.is_cleared(nic));
        decision.seals.extend(exposed.cloned());
    }

    fn is_cleared(&self, nic: &NicId) -> bool {
        if Mutation::NoSeal.is_on() {
            return true;
        }
        self.nics.get(nic).is_some_and(|writer| writer.is_cleared(self.now))
    }

    fn cleared(&self, record: &VipRecord) -> BTreeSet<NicId> {
        let mut nics: BTreeSet<NicId> = record.exposed.clone();
        nics.extend(record.azure.places().into_iter().map(|place| place.nic));
        nics.retain(|nic| self.is_cleared(nic));
        nics
    }

    fn moving(&self, record: &VipRecord, open: &Move, decision: &mut Decision) {
        let key = (record.name.clone(), open.id);
        let since = self.lead.open_since.get(&key).copied().unwrap_or(self.now);
        self.wants(record, decision);
        match record.intent {
            Intent::Held => {
                let Some(target) = &record.target else {
                    return self.find_target(record, decision);
                };
                let checked = self.checked(record, target, since, decision);
                if self.redirect(record, open, target, &checked, decision) {
                    return;
                }
                self.grant_track(record, open, &checked, decision);
                // What Azure waits for is told apart from what the grant waits for.
                let said = (core::mem::take(&mut decision.blocked), decision.next_attempt.take());
                self.azure_track(record, open, target, &checked, since, decision);
                self.foresee(record, target, decision);
                if !said.0.is_empty() {
                    (decision.blocked, decision.next_attempt) = said;
                }
                self.arrival(record, open, target, decision);
            }
            Intent::Disabled | Intent::Deleted => {
                self.grant_track(
                    record,
                    open,
                    &Check::Wait { reason: String::new(), next: None },
                    decision,
                );
                self.taken_down(record, decision);
            }
        }
    }

    /// Which NICs a move that nothing hinders is about to want written.
    fn foresee(&self, record: &VipRecord, target: &NodeId, decision: &mut Decision) {
        if !decision.blocked.is_empty() {
            return;
        }
        let places = self.state.nodes.get(target).map(|node| node.places(&record.spec));
        let Some(Ok(to)) = places else { return };
        let nics = |places: &BTreeSet<Place>| -> BTreeSet<NicId> {
            places.iter().map(|place| place.nic.clone()).collect()
        };
        match &record.azure {
            // Services that stop first may take their time.
            AzureTrack::Attached { node, .. }
                if record.spec.release == Release::Early
                    && node != target
                    && record.grant.renewed().is_some() => {}
            AzureTrack::Attached { at, .. } => {
                decision.coming = nics(&at.difference(&to).cloned().collect());
            }
            AzureTrack::Detached => decision.coming = nics(&to),
            AzureTrack::Detaching { from } => {
                if from.difference(&to).all(|place| self.detach_accepted(record, place)) {
                    decision.coming = nics(&to);
                }
            }
            AzureTrack::Attaching { to, from, .. } => {
                let unread = |place: &&Place| {
                    let same = |other: &&Place| other.address == place.address;
                    from.iter().filter(same).any(|other| self.lists(other) != Some(false))
                };
                decision.not_freed = to.iter().filter(unread).cloned().collect();
            }
        }
    }

    /// What the committed Azure track asks of the NICs (I7: nothing else ever does). What a later
    /// move has taken back is asked no more: no attach at a node that is not the target, no detach
    /// where the address is to stay.
    fn wants(&self, record: &VipRecord, decision: &mut Decision) {
        let (present, mut absent) = match &record.azure {
            AzureTrack::Detached | AzureTrack::Attached { .. } => return,
            AzureTrack::Detaching { from } => (BTreeSet::new(), from.clone()),
            AzureTrack::Attaching { node, to, from } if record.target.as_ref() == Some(node) => {
                (to.clone(), from.clone())
            }
            AzureTrack::Attaching { from, .. } => (BTreeSet::new(), from.clone()),
        };
        let target = record.target.as_ref().and_then(|node| self.state.nodes.get(node));
        if let Some(Ok(stays)) = target.map(|node| node.places(&record.spec)) {
            absent.retain(|place| !stays.contains(place));
        }
        let want =
            |presence| Want { vip: record.name.clone(), phase: record.azure_phase, presence };
        decision.wants.extend(absent.into_iter().map(|place| (place, want(Presence::Absent))));
        decision.wants.extend(present.into_iter().map(|place| {
            let name = record.config_name(place.address);
            let found = record.found.get(&place.address).cloned().unwrap_or_else(|| json!({}));
            (place, want(Presence::Present { name, found }))
        }));
    }

    // ---- what the NICs say -----------------------------------------------------------------

    fn lists(&self, place: &Place) -> Option<bool> {
        self.nics.get(&place.nic)?.lists(place.address)
    }

    fn attach_accepted(&self, record: &VipRecord, place: &Place) -> bool {
        let Some(writer) = self.nics.get(&place.nic) else { return false };
        let name = record.config_name(place.address);
        let found = record.found.get(&place.address).cloned().unwrap_or_else(|| json!({}));
        let presence = Presence::Present { name, found };
        writer.is_accepted(
            place.address,
            &Want { vip: record.name.clone(), phase: record.azure_phase, presence },
        )
    }

    fn detach_accepted(&self, record: &VipRecord, place: &Place) -> bool {
        let Some(writer) = self.nics.get(&place.nic) else { return false };
        let want = Want {
            vip: record.name.clone(),
            phase: record.azure_phase,
            presence: Presence::Absent,
        };
        writer.is_accepted(place.address, &want)
    }
}

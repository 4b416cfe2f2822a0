//! The Azure track: `Attached -> Detaching -> Attaching -> Attached` (I3, I8).

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vipfence_types::{Clocks, Mutation, NicId, NodeId, Release};

use super::{Decision, Facts};
use crate::{
    mover::Check,
    nic::{NicWriter, ProblemKind, Provisioning},
    registry::{AzureTrack, Move, Place, Step, VipRecord},
};

impl Facts<'_> {
    pub(super) fn azure_track(
        &self,
        record: &VipRecord,
        open: &Move,
        target: &NodeId,
        checked: &Check,
        since: Clocks,
        decision: &mut Decision,
    ) {
        let (to, found) = match checked {
            Check::Ready { to, found } => (to, found),
            Check::Wait { reason, next } => return decision.wait(reason.clone(), *next),
            Check::Failed { reason } => return decision.wait(reason.clone(), None),
        };
        match &record.azure {
            AzureTrack::Detached => self.begin(record, target, to, since, decision),
            AzureTrack::Attached { node, at } if node == target && at == to => {}
            AzureTrack::Attached { node, at } => {
                // Only services that stop first make Azure wait, and only for a grant that is not
                // the target's already.
                let early = record.spec.release == Release::Early;
                let serving = record.grant.renewed().is_some_and(|grant| grant.node != *target);
                if !early || !serving || node == target {
                    let from = at.difference(to).cloned().collect();
                    self.detach(record, from, since, true, decision);
                }
            }
            AzureTrack::Detaching { from } => {
                let elsewhere = from.difference(to);
                let blocked = elsewhere.clone().find(|p| !self.detach_accepted(record, p));
                match blocked.filter(|_| !Mutation::AttachBeforeDetach.is_on()) {
                    None => {
                        let (node, to, found) = (target.clone(), to.clone(), found.clone());
                        decision.step(record, Step::BeginAttach { node, to, found });
                    }
                    Some(place) => self.say_problem(place, decision),
                }
            }
            AzureTrack::Attaching { node, to: before, from } => {
                if node != target || before != to {
                    let all: BTreeSet<Place> = before.union(from).cloned().collect();
                    let from = all.difference(to).cloned().collect();
                    self.detach(record, from, since, false, decision);
                } else {
                    self.attaching(record, open, to, from, since, decision);
                }
            }
        }
    }

    /// Before the first attach, and after an outsider's hand, it is not known where the address is:
    /// every NIC of the cluster is read, and the address taken off where it is found.
    pub(super) fn begin(
        &self,
        record: &VipRecord,
        target: &NodeId,
        to: &BTreeSet<Place>,
        since: Clocks,
        decision: &mut Decision,
    ) {
        let mut members: BTreeSet<&NicId> = BTreeSet::new();
        if !record.spec.on_nics().is_empty() {
            members
                .extend(self.state.nodes.values().flat_map(|node| &node.nics).map(|nic| &nic.id));
        }
        self.read(members.iter().copied(), since, decision);
        if !self.sealed(record, decision) {
            return;
        }
        let mut from = BTreeSet::new();
        for nic in members {
            let Some(writer) = self.nics.get(nic) else { return };
            let Some(document) = writer.document_since(since) else {
                // A NIC that cannot be read does not stop the attach: Azure refuses an address
                // that stands elsewhere, and says where.
                if writer.is_gone() || writer.nic_problem().is_some() {
                    continue;
                }
                return;
            };
            for entry in record.spec.on_nics() {
                let place = Place { nic: nic.clone(), address: entry.address };
                match document.find(entry.address) {
                    Some(config) if config.primary => {
                        let nic = nic.name();
                        let reason = format!("{} is the primary address of {nic}", entry.address);
                        return decision.wait(reason, None);
                    }
                    Some(_) if !to.contains(&place) => {
                        from.insert(place);
                    }
                    Some(_) | None => {}
                }
            }
        }
        if from.is_empty() {
            let (node, to) = (target.clone(), to.clone());
            let found = self.found_at(&to);
            decision.step(record, Step::BeginAttach { node, to, found });
        } else {
            self.detach(record, from, since, true, decision);
        }
    }

    pub(super) fn found_at(&self, places: &BTreeSet<Place>) -> BTreeMap<IpAddr, Value> {
        places
            .iter()
            .filter_map(|place| {
                let found = self.nics.get(&place.nic)?.document()?.found(place.address)?;
                Some((place.address, found))
            })
            .collect()
    }

    /// Begins a detach. What belongs to the ipConfigurations is read before and committed with it;
    /// coming from a VIP that was held, whatever is still exposed is sealed first.
    pub(super) fn detach(
        &self,
        record: &VipRecord,
        from: BTreeSet<Place>,
        since: Clocks,
        from_rest: bool,
        decision: &mut Decision,
    ) {
        if from_rest && !self.sealed(record, decision) {
            return;
        }
        self.read(from.iter().map(|place| &place.nic), since, decision);
        for place in &from {
            let Some(writer) = self.nics.get(&place.nic) else { return };
            if !writer.is_gone() && writer.document_since(since).is_none() && from_rest {
                return self.say_problem(place, decision);
            }
        }
        let found = self.found_at(&from);
        let cleared = self.cleared(record);
        decision.step(record, Step::BeginDetach { from, found, cleared });
    }

    /// Whether nothing is exposed any more; else it is sealed, before a detach or an attach of a VIP
    /// at rest (V6, V7).
    pub(super) fn sealed(&self, record: &VipRecord, decision: &mut Decision) -> bool {
        self.seal_exposed(record, decision);
        if Mutation::SealsPutOff.is_on() {
            return true;
        }
        let Some(nic) = decision.seals.first().cloned() else { return true };
        self.say_exposed(&nic, decision);
        false
    }

    /// Why a NIC that an older write may still hit is not ready.
    pub(super) fn say_exposed(&self, nic: &NicId, decision: &mut Decision) {
        match self.nics.get(nic).and_then(NicWriter::clears_at) {
            None => decision.wait(format!("sealing NIC {} first", nic.name()), None),
            Some(at) => {
                let nic = nic.name();
                let reason =
                    format!("waiting until no earlier write can change NIC {nic} any more");
                decision.wait(reason, Some(at));
            }
        }
    }

    fn attaching(
        &self,
        record: &VipRecord,
        open: &Move,
        to: &BTreeSet<Place>,
        from: &BTreeSet<Place>,
        since: Clocks,
        decision: &mut Decision,
    ) {
        for place in to {
            let Some(writer) = self.nics.get(&place.nic) else { continue };
            if self.attach_accepted(record, place) {
                continue;
            }
            let problem = writer.problem(place.address);
            let Some(ProblemKind::AddressInUse { holder }) = problem.map(|known| &known.kind)
            else {
                self.say_problem(place, decision);
                continue;
            };
            let same = |p: &&Place| p.address == place.address;
            // The detach failed after all: back to it.
            if from.iter().filter(same).any(|p| self.lists(p) == Some(true)) {
                let from = from.clone();
                return self.detach(record, from, since, false, decision);
            }
            let kept = from.iter().filter(same).find(|p| self.lists(p) != Some(false));
            if let Some(kept) = kept {
                // The pipelined attach: Azure has not let go of it yet. Where the detach failed, that
                // is what the move waits for.
                self.say_problem(kept, decision);
                continue;
            }
            // Azure has seen it somewhere: what was read before that proves nothing (a write of
            // unknown outcome may have put it back).
            let refused_at = writer.refused_at(place.address).unwrap_or(since);
            let looked = |p: &Place| {
                let writer = self.nics.get(&p.nic);
                writer.is_some_and(|w| w.is_gone() || w.document_since(refused_at).is_some())
            };
            self.read(from.iter().filter(same).map(|p| &p.nic), refused_at, decision);
            if !from.iter().filter(same).all(looked) {
                continue;
            }
            let kick = (record.name.clone(), record.azure_phase, place.clone());
            if !self.lead.kicked.contains(&kick) && !from.is_empty() {
                decision.kicks.push(place.clone());
            }
            self.in_the_way(record, open, place, holder.as_ref(), refused_at, decision);
        }
    }

    /// The address stands on a NIC that we did not know of. On a NIC of a member it is ours to take
    /// off; anywhere else only `force` takes it, and never a primary (I3).
    fn in_the_way(
        &self,
        record: &VipRecord,
        open: &Move,
        place: &Place,
        holder: Option<&NicId>,
        since: Clocks,
        decision: &mut Decision,
    ) {
        let Some(holder) = holder.filter(|holder| **holder != place.nic) else {
            return self.say_problem(place, decision);
        };
        self.read(core::iter::once(holder), since, decision);
        let member = self.state.nodes.values().any(|n| n.nics.iter().any(|nic| nic.id == *holder));
        let document = self.nics.get(holder).and_then(|writer| writer.document_since(since));
        let config = document.and_then(|document| document.find(place.address));
        // A failed detach may have left it allocated, though the document shows the goal.
        let kept = document.is_some_and(|d| d.provisioning() == Provisioning::Failed);
        if config.is_none() && !(kept && member) {
            return self.say_problem(place, decision);
        }
        if config.is_some_and(|config| config.primary) {
            let reason = format!("{} is the primary address of {}", place.address, holder.name());
            return decision.wait(reason, None);
        }
        if member || open.force || Mutation::ForeignDetached.is_on() {
            let from = BTreeSet::from([Place { nic: holder.clone(), address: place.address }]);
            return self.detach(record, from, since, false, decision);
        }
        let reason = format!(
            "{} is held by NIC {}, which is of no member of this cluster; remove it there, or move \
             with force",
            place.address,
            holder.name()
        );
        decision.wait(reason, None);
    }

    pub(super) fn say_problem(&self, place: &Place, decision: &mut Decision) {
        let Some(writer) = self.nics.get(&place.nic) else { return };
        if let Some(problem) = writer.problem(place.address) {
            let reason = format!("NIC {}: {problem}", place.nic.name());
            decision.wait(reason, writer.next_attempt(place.address));
        } else if writer.is_changed_by_others() {
            let nic = place.nic.name();
            decision.wait(format!("NIC {nic} is being changed by another operation"), None);
        }
    }
}

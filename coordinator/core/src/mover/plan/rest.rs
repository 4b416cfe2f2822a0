//! A VIP at rest: what is still exposed, and drift. Whether its holder should lose it: `holder`.
//!
//! Drift is what somebody else did in Azure: an address of the VIP is not on its holder's NIC, or a
//! VIP that nobody is to hold is on one. Only a NIC that was *read back* (design.md §5) tells: a
//! document that is `Updating` proves nothing. What is found is committed before it is put right, so
//! that every node shows it. Whether an OS has the address is not looked at here: the holder's
//! heartbeat says so.

use vipfence_types::{DriftPolicy, Mutation, NodeId};

use super::{Decision, Facts};
use crate::{
    nic::{NicDocument, NicWriter, Provisioning},
    registry::{AzureTrack, Body, Cause, Expect, Place, Request, VipRecord},
};

/// How Azure disagrees with a VIP at rest.
struct Drift {
    what: String,
    /// The holder's NIC is no more: no write to it helps.
    nic_is_gone: bool,
}

impl Facts<'_> {
    /// A VIP that is held, or held by nobody as asked for.
    pub(super) fn at_rest(&self, record: &VipRecord, decision: &mut Decision) {
        self.seal_exposed(record, decision);
        self.look_for_holder(record, decision);
        self.look_for_traffic(record, decision);
        self.look_for_drift(record, decision);
    }

    pub(super) fn start(
        &self,
        record: &VipRecord,
        to: Option<NodeId>,
        cause: Cause,
        decision: &mut Decision,
    ) {
        if to.is_some() && to.as_ref() != record.holder() {
            decision.coming = record.azure.places().into_iter().map(|place| place.nic).collect();
        }
        let caller = format!("leader {}", self.mover.me);
        decision.step.get_or_insert(Body::StartMove {
            vip: record.name.clone(),
            to,
            cause,
            expect: Expect { phase: Some(record.phase), ..Expect::default() },
            force: false,
            request: Request { id: None, content: String::new(), caller },
        });
    }

    // ---- drift --------------------------------------------------------------------------------

    /// Compares what was read last with what is committed, and has it read again now and then.
    fn look_for_drift(&self, record: &VipRecord, decision: &mut Decision) {
        if Mutation::DriftIgnored.is_on() {
            return;
        }
        let places = self.watched(record);
        self.read(places.iter().map(|place| &place.nic), self.lead.watch_since, decision);
        let found = match &record.azure {
            AzureTrack::Attached { .. } => {
                let drifts = places.iter().map(|place| self.drift_of_held(place));
                match drifts.collect::<Option<Vec<_>>>() {
                    // Not everything can be told now: what is known stands.
                    None => return,
                    Some(drifts) => drifts.into_iter().flatten().next(),
                }
            }
            AzureTrack::Detached => {
                let shown = places.iter().find_map(|place| self.drift_of_detached(place));
                if shown.is_none() && places.iter().any(|place| self.stands_on(place).is_none()) {
                    return;
                }
                shown
            }
            AzureTrack::Detaching { .. } | AzureTrack::Attaching { .. } => return,
        };
        let known = record.drift.as_ref().map(|drift| drift.what.as_str());
        let what = found.as_ref().map(|drift| drift.what.clone());
        if known != what.as_deref() {
            let (vip, phase) = (record.name.clone(), record.phase);
            decision.step.get_or_insert(Body::Drift { vip, phase, what });
            return;
        }
        if let (Some(drift), DriftPolicy::Repair) = (found, record.spec.drift)
            && self.is_ours_to_repair(record)
            && self.state.hold_on(record).is_none()
        {
            self.repair(record, &drift, decision);
        }
    }

    /// A VIP that was defined but never placed may still be served by what it is to replace.
    fn is_ours_to_repair(&self, record: &VipRecord) -> bool {
        let moves = self.state.logs.get(&record.name).map(|log| &log.moves);
        record.is_held() || moves.is_some_and(|moves| !moves.is_empty())
    }

    /// The places that tell whether a VIP is where it should be.
    fn watched(&self, record: &VipRecord) -> Vec<Place> {
        match &record.azure {
            AzureTrack::Attached { at, .. } => at.iter().cloned().collect(),
            AzureTrack::Detached => self.places_of_members(record),
            AzureTrack::Detaching { .. } | AzureTrack::Attaching { .. } => vec![],
        }
    }

    /// Every place that the VIP could have on a NIC of this cluster.
    pub(super) fn places_of_members(&self, record: &VipRecord) -> Vec<Place> {
        let nics = self.state.nodes.values().flat_map(|node| &node.nics);
        nics.flat_map(|nic| {
            let addresses = record.spec.on_nics().iter().map(|entry| entry.address);
            addresses.map(|address| Place { nic: nic.id.clone(), address })
        })
        .collect()
    }

    /// None = cannot be told now; `Some(None)` = it is where it should be.
    fn drift_of_held(&self, place: &Place) -> Option<Option<Drift>> {
        let writer = self.nics.get(&place.nic)?;
        let (nic, address) = (place.nic.name(), place.address);
        if writer.is_gone() {
            let what = format!("NIC {nic} does not exist");
            return Some(Some(Drift { what, nic_is_gone: true }));
        }
        let what = match writer.lists(address) {
            Some(true) => return Some(None),
            Some(false) => match self.seen_elsewhere(place) {
                Some(other) => format!("{address} is on NIC {other} in place of {nic}"),
                None => format!("NIC {nic} lacks {address}"),
            },
            None => {
                self.failed_document(place)?;
                format!("NIC {nic} is in state Failed")
            }
        };
        Some(Some(Drift { what, nic_is_gone: false }))
    }

    /// On a NIC that nobody is to hold it on.
    fn drift_of_detached(&self, place: &Place) -> Option<Drift> {
        let shown = self.stands_on(place) == Some(true);
        let what = || format!("{} is on NIC {}", place.address, place.nic.name());
        shown.then(|| Drift { what: what(), nic_is_gone: false })
    }

    /// Whether an address that nobody is to hold is on a NIC: read back as such, or shown as the
    /// goal of a write that failed, which whoever writes the NIC next asks for again.
    pub(super) fn stands_on(&self, place: &Place) -> Option<bool> {
        self.lists(place).or_else(|| {
            let config = self.failed_document(place)?.find(place.address)?;
            (!config.primary).then_some(true)
        })
    }

    /// What the watch read last, where the NIC's last write has failed.
    fn failed_document(&self, place: &Place) -> Option<&NicDocument> {
        let document = self.nics.get(&place.nic)?.document_since(self.lead.watch_since)?;
        (document.provisioning() == Provisioning::Failed).then_some(document)
    }

    /// A NIC that was last read with the address on it.
    fn seen_elsewhere(&self, place: &Place) -> Option<&str> {
        let shows = |writer: &NicWriter| {
            writer.document().is_some_and(|document| document.find(place.address).is_some())
        };
        self.nics
            .iter()
            .find(|(nic, writer)| **nic != place.nic && shows(writer))
            .map(|(nic, _)| nic.name())
    }

    /// To the present holder, who serves on meanwhile: epoch and grant stay. Where its NIC is gone
    /// nothing can be attached to it.
    fn repair(&self, record: &VipRecord, drift: &Drift, decision: &mut Decision) {
        match (record.holder(), drift.nic_is_gone) {
            (Some(holder), true) => {
                if let Some(to) = self.best_but(record, holder) {
                    self.start(record, Some(to), Cause::TargetFailed, decision);
                }
            }
            (holder, _) => self.start(record, holder.cloned(), Cause::Drift, decision),
        }
    }
}

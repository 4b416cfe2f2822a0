//! Where the tracks meet: Held (rule 2), and the end of a VIP that is to be held by nobody.

use std::collections::BTreeSet;

use vipfence_types::{Clocks, DataPath, Mutation, NicId, NodeId, VipEpoch};

use super::{Decision, Facts};
use crate::{
    nic::{NicWriter, Provisioning},
    registry::{AzureTrack, Body, Cause, GrantTrack, Move, Place, Step, VipRecord},
};

impl Facts<'_> {
    /// Rule 2: Held is reported when the attach was read back, the NIC is not exposed, and the
    /// target's kernel has the address under this epoch.
    pub(super) fn arrival(
        &self,
        record: &VipRecord,
        open: &Move,
        target: &NodeId,
        decision: &mut Decision,
    ) {
        let (node, to, known) = match &record.azure {
            AzureTrack::Attaching { node, to, .. } => (node, to, false),
            AzureTrack::Attached { node, at } => (node, at, true),
            AzureTrack::Detached | AzureTrack::Detaching { .. } => return,
        };
        if node != target {
            return;
        }
        if known {
            // Committed by this leader or an earlier one: look again before it is reported.
            let key = (record.name.clone(), open.id);
            let since = self.lead.open_since.get(&key).copied().unwrap_or(self.now);
            self.read(to.iter().map(|place| &place.nic), since, decision);
            let fresh = |place: &Place| {
                self.nics.get(&place.nic).is_some_and(|w| w.document_since(since).is_some())
            };
            if !to.iter().all(fresh) {
                return;
            }
        }
        if !to.iter().all(|place| self.lists(place) == Some(true)) {
            if known {
                self.attach_again(record, target, to, decision);
            }
            return;
        }
        let exposed: BTreeSet<NicId> =
            to.iter().map(|place| place.nic.clone()).filter(|nic| !self.is_cleared(nic)).collect();
        if let Some(nic) = exposed.first() {
            self.say_exposed(nic, decision);
            decision.seals.extend(exposed);
            return;
        }
        let GrantTrack::Granted(grant) = &record.grant else {
            if !known {
                decision.step(record, Step::Attached);
            }
            return;
        };
        let at = VipEpoch { vip: record.name.clone(), epoch: grant.epoch };
        let entered = grant.epoch == open.epoch || open.cause == Cause::Drift;
        let added = self.lead.peers.has_added(target, &at) || Mutation::HeldBeforeAdd.is_on();
        self.look_for_traffic(record, decision);
        let required = record.spec.data_path == DataPath::Required;
        let flows =
            !required || record.unreached().is_none() || Mutation::HeldBeforeReached.is_on();
        if grant.node == *target && entered && added && !flows {
            decision.wait(format!("no other node has reached it at {target} yet"), None);
        } else if grant.node == *target && entered && added {
            let cleared = self.cleared(record);
            decision.step(record, Step::Held { epoch: grant.epoch, cleared });
        } else if !known {
            decision.step(record, Step::Attached);
        } else if grant.node == *target {
            let report = self.lead.peers.latest(target).and_then(|beat| {
                beat.held.iter().find(|report| report.at == at).map(|report| &report.problem)
            });
            let why = report.filter(|problem| !problem.is_empty());
            let why = why.map_or(String::new(), |problem| format!(": {problem}"));
            decision.wait(format!("{target} has not added the address yet{why}"), None);
        }
    }

    /// Commits that another node has reached the VIP at its holder.
    pub(super) fn look_for_traffic(&self, record: &VipRecord, decision: &mut Decision) {
        if let (Some(by), Some(at)) = (self.lead.newly_reached(record), record.unreached()) {
            let (vip, epoch, by) = (at.vip, at.epoch, by.clone());
            decision.step.get_or_insert(Body::Reached { vip, epoch, by });
        }
    }

    /// Attached is committed, and yet the NIC does not show it (an outside hand, a failed
    /// operation of somebody else): the attach begins anew, by looking where the address is.
    fn attach_again(
        &self,
        record: &VipRecord,
        target: &NodeId,
        to: &BTreeSet<Place>,
        decision: &mut Decision,
    ) {
        let settled = |place: &Place| {
            let document = self.nics.get(&place.nic).and_then(|writer| writer.document());
            document.is_some_and(|d| d.provisioning() != Provisioning::Updating)
        };
        if !to.iter().all(settled) {
            return;
        }
        let key = (record.name.clone(), record.open.unwrap_or_default());
        let since = self.lead.open_since.get(&key).copied().unwrap_or(self.now);
        self.begin(record, target, to, since, decision);
    }

    /// End the grant, detach, and then the record changes.
    pub(super) fn taken_down(&self, record: &VipRecord, decision: &mut Decision) {
        if record.grant != GrantTrack::Over {
            return;
        }
        let key = (record.name.clone(), record.open.unwrap_or_default());
        let since = self.lead.open_since.get(&key).copied().unwrap_or(self.now);
        match &record.azure {
            AzureTrack::Attached { at, .. } => {
                self.detach(record, at.clone(), since, true, decision);
            }
            AzureTrack::Attaching { .. } => {
                self.detach(record, record.azure.places(), since, false, decision);
            }
            AzureTrack::Detaching { from } => {
                match from.iter().find(|place| self.lists(place) != Some(false)) {
                    None => decision.step(record, Step::Detached),
                    Some(place) => self.say_problem(place, decision),
                }
            }
            AzureTrack::Detached => self.ended(record, since, decision),
        }
    }

    /// Nobody is to hold it, so nobody waits: first no old write may hit any more, and what one has
    /// put back is taken off again.
    fn ended(&self, record: &VipRecord, since: Clocks, decision: &mut Decision) {
        if !self.sealed(record, decision) {
            return;
        }
        // What somebody else has put on a member's NIC goes as well.
        let attached = |place: &Place| self.stands_on(place) == Some(true);
        let mut back: BTreeSet<Place> =
            self.places_of_members(record).into_iter().filter(attached).collect();
        for nic in &record.exposed {
            let readable =
                |writer: &&NicWriter| !writer.is_gone() && writer.nic_problem().is_none();
            let Some(writer) = self.nics.get(nic).filter(readable) else { continue };
            // A seal may have left it so. What it shows proves nothing, and is written again.
            let failed =
                writer.document().is_some_and(|d| d.provisioning() == Provisioning::Failed);
            for entry in record.spec.on_nics() {
                let place = Place { nic: nic.clone(), address: entry.address };
                match self.lists(&place) {
                    Some(true) => drop(back.insert(place)),
                    Some(false) => {}
                    None if failed => drop(back.insert(place)),
                    None => return self.read([nic].into_iter(), since, decision),
                }
            }
        }
        if back.is_empty() {
            let cleared = self.cleared(record);
            decision.step(record, Step::Ended { cleared });
        } else {
            self.detach(record, back, since, false, decision);
        }
    }
}

//! Where the VIP goes: finding a target, looking at its NICs, and superseding a move whose target
//! cannot take the VIP, towards the next eligible candidate (L6).

use std::collections::BTreeMap;

use vipfence_types::{Clocks, NicId, NodeId, VipEpoch};

use super::{Decision, Facts};
use crate::{
    mover::{
        Check,
        target::{check, no_candidate},
    },
    nic::{NicWriter, ProblemKind, Remedy},
    registry::{AzureTrack, Cause, Move, Step, VipRecord},
};

impl Facts<'_> {
    pub(super) fn find_target(&self, record: &VipRecord, decision: &mut Decision) {
        // A silent holder loses its grant whether or not somebody can take over.
        if let Some(grant) = record.grant.grant() {
            self.end_grant_of_silent(record, grant, decision);
        }
        match self.lead.best(self.now, self.state, record, None) {
            Ok(node) => decision.step(record, Step::Target { node }),
            Err(reasons) => decision.wait(no_candidate(&reasons), None),
        }
    }

    /// The target's NICs, as read since the move was first seen; needed until the attach begins.
    pub(super) fn checked(
        &self,
        record: &VipRecord,
        target: &NodeId,
        since: Clocks,
        decision: &mut Decision,
    ) -> Check {
        let settled = match &record.azure {
            AzureTrack::Attaching { node, to, .. } if node == target => Some(to),
            AzureTrack::Attached { node, at } if node == target => Some(at),
            AzureTrack::Detached
            | AzureTrack::Detaching { .. }
            | AzureTrack::Attaching { .. }
            | AzureTrack::Attached { .. } => None,
        };
        if let Some(to) = settled {
            return Check::Ready { to: to.clone(), found: BTreeMap::new() };
        }
        // The NICs that it will be taken off are read at the same time.
        let places = record.azure.places();
        self.read(places.iter().map(|place| &place.nic), since, decision);
        if let Some(Ok(to)) = self.state.nodes.get(target).map(|known| known.places(&record.spec)) {
            self.read(to.iter().map(|place| &place.nic), since, decision);
        }
        check(self.state, record, target, self.nics, since)
    }

    pub(super) fn read<'a>(
        &self,
        nics: impl Iterator<Item = &'a NicId>,
        since: Clocks,
        decision: &mut Decision,
    ) {
        decision.reads.extend(nics.map(|nic| (nic.clone(), since)));
    }

    /// Supersedes a move whose target cannot take the VIP. Returns whether it did.
    pub(super) fn redirect(
        &self,
        record: &VipRecord,
        open: &Move,
        target: &NodeId,
        checked: &Check,
        decision: &mut Decision,
    ) -> bool {
        let failed = match checked {
            Check::Failed { reason } => Some(reason.clone()),
            Check::Ready { .. } | Check::Wait { .. } => self.attach_refused(record),
        };
        let (cause, reason) = if let Some(reason) = failed {
            if !self.is_targets_own(record, open, target) {
                decision.wait(reason, None);
                return false;
            }
            decision.failed = Some((target.clone(), reason.clone()));
            (Cause::TargetFailed, reason)
        } else if self.lead.is_silent(self.now, self.state, target) {
            let reason = format!("{target} is silent");
            if self.may_still_appear(record, open) {
                decision.wait(reason, None);
                return false;
            }
            (Cause::HolderSilent, reason)
        } else if let Some(reason) = self.unfit(record, target) {
            // Hands off: it is said, and tried again here.
            if let Some(paused) = self.state.paused(record) {
                decision.wait(format!("{reason}; {paused}"), None);
                return false;
            }
            decision.failed = Some((target.clone(), reason.clone()));
            (Cause::TargetFailed, reason)
        } else {
            return false;
        };
        match self.lead.best(self.now, self.state, record, Some(target)) {
            Ok(node) => {
                self.start(record, Some(node), cause, decision);
                true
            }
            Err(others) => {
                // Nobody else: go on trying here, and say why.
                let reason = if others.is_empty() {
                    reason
                } else {
                    format!("{reason}; {}", no_candidate(&others))
                };
                decision.wait(reason, None);
                if let (Cause::HolderSilent, Some(grant)) = (cause, record.grant.grant()) {
                    self.end_grant_of_silent(record, grant, decision);
                }
                false
            }
        }
    }

    /// Why the target does not take the VIP that it was granted.
    fn unfit(&self, record: &VipRecord, target: &NodeId) -> Option<String> {
        let grant = record.grant.grant().filter(|grant| grant.node == *target)?;
        let at = VipEpoch { vip: record.name.clone(), epoch: grant.epoch };
        self.lead.peers.unfit(target, &at)
    }

    /// Whether a failure tells something of the target. Where Azure refuses this leader at the NIC
    /// that the VIP comes from as well, or has not said yet, the leader's own rights are in question.
    /// What it said of the target before it let us read the other NIC tells nothing: rights that come
    /// back do so for both, and one of them is read first.
    fn is_targets_own(&self, record: &VipRecord, open: &Move, target: &NodeId) -> bool {
        let key = (record.name.clone(), open.id);
        let since = self.lead.open_since.get(&key).copied().unwrap_or(self.now);
        let own = self.state.nodes.get(target).map(|node| &node.nics);
        let elsewhere = |nic: &NicId| own.is_none_or(|nics| nics.iter().all(|own| own.id != *nic));
        let places = record.azure.places();
        let mut others =
            places.iter().map(|place| &place.nic).filter(|nic| elsewhere(nic)).peekable();
        let refused = own.into_iter().flatten().filter_map(|nic| self.nics.get(&nic.id));
        let refused = refused.filter_map(NicWriter::forbidden_at).next();
        let said_since = |read: Clocks| refused.is_none_or(|refused| refused.later_than(read));
        let readable = |nic: &NicId| {
            let writer = self.nics.get(nic);
            writer.is_some_and(|writer| {
                let read = writer.document_since(since).and_then(|_| writer.asked_at());
                writer.is_gone()
                    || read.is_some_and(said_since)
                    || writer.nic_problem().is_some_and(|p| p.kind.remedy() != Remedy::Human)
            })
        };
        others.peek().is_none() || others.any(readable)
    }

    /// `force` skips eligibility: a target that was silent when it was asked for by force has
    /// `failover_after` to appear, as if it had been heard when the move began. It is granted
    /// nothing before it is heard.
    fn may_still_appear(&self, record: &VipRecord, open: &Move) -> bool {
        let key = (record.name.clone(), open.id);
        let since = self.lead.open_since.get(&key).copied().unwrap_or(self.now);
        open.force && self.now.mono_since(since) < self.state.timing.failover_after()
    }

    /// An attach that Azure refuses for good, as far as can be told (L6).
    fn attach_refused(&self, record: &VipRecord) -> Option<String> {
        let AzureTrack::Attaching { to, .. } = &record.azure else { return None };
        to.iter().find_map(|place| {
            let writer = self.nics.get(&place.nic)?;
            if writer.is_gone() {
                return Some(format!("NIC {} does not exist", place.nic.name()));
            }
            let problem = writer.problem(place.address)?;
            match problem.kind {
                ProblemKind::Refused | ProblemKind::Forbidden | ProblemKind::Barred => {
                    Some(format!("NIC {} refuses the address: {problem}", place.nic.name()))
                }
                ProblemKind::Later
                | ProblemKind::Changed
                | ProblemKind::AddressInUse { .. }
                | ProblemKind::AddressCleaning
                | ProblemKind::Unauthorized
                | ProblemKind::Gone
                | ProblemKind::Unknown => None,
            }
        })
    }
}

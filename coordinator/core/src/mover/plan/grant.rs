//! The grant track: `Granted -> Releasing -> Expiring -> over -> Granted` (I1, rule 1).

use vipfence_types::{Epoch, Mutation, NodeId, Release, VipEpoch};

use super::{Decision, Facts};
use crate::{
    mover::Check,
    registry::{AzureTrack, Cause, GrantTrack, Granted, Intent, Move, Place, Step, VipRecord},
};

impl Facts<'_> {
    pub(super) fn grant_track(
        &self,
        record: &VipRecord,
        open: &Move,
        checked: &Check,
        decision: &mut Decision,
    ) {
        let target = match record.intent {
            Intent::Held => record.target.as_ref(),
            Intent::Disabled | Intent::Deleted => None,
        };
        let ready = matches!(checked, Check::Ready { .. });
        let to_keep =
            |grant: &Granted| target == Some(&grant.node) && !self.is_silent_node(&grant.node);
        match &record.grant {
            GrantTrack::Over => {
                // The target is granted as soon as Azure is being worked on, or needs no work. A
                // silent one would lose it at once, again and again.
                let begun = !matches!(record.azure, AzureTrack::Detached);
                let may_take = |node: &&NodeId| ready && begun && !self.is_silent_node(node);
                if let Some(node) = target.filter(may_take) {
                    self.grant(record, node, decision);
                }
            }
            // Still the entitled node: no wait, only a new epoch for a new entry.
            GrantTrack::Granted(grant) if to_keep(grant) => {
                let entered = open.epoch == grant.epoch || open.cause == Cause::Drift;
                // A new leader may have granted before it had heard what is spent there (L4).
                let at = VipEpoch { vip: record.name.clone(), epoch: grant.epoch };
                if !entered
                    || self.lead.peers.refuses(&grant.node, &at)
                    || self.lead.is_worth_another_try(self.now, &at)
                {
                    self.grant(record, &grant.node, decision);
                }
            }
            GrantTrack::Releasing(grant) | GrantTrack::Expiring(grant) if to_keep(grant) => {
                self.grant(record, &grant.node, decision);
            }
            GrantTrack::Granted(grant) => {
                self.end_grant_of_silent(record, grant, decision);
                if self.may_release(record, target, ready) {
                    decision.step(record, Step::Release { epoch: grant.epoch });
                }
            }
            GrantTrack::Releasing(grant) => {
                self.over_if_confirmed(record, grant, decision);
                self.end_grant_of_silent(record, grant, decision);
                let key = (record.name.clone(), grant.epoch);
                let asked = self.mover.releasing.get(&key).copied().unwrap_or(self.now);
                if self.now.mono_since(asked) >= record.spec.release_timeout() {
                    decision.step(record, Step::Expire { epoch: grant.epoch });
                }
            }
            GrantTrack::Expiring(grant) => {
                self.over_if_confirmed(record, grant, decision);
                let left = self.mover.wait_left(self.lead, self.now, record, grant);
                if left.is_zero() {
                    let (epoch, confirmed) = (grant.epoch, false);
                    decision.step(record, Step::Over { epoch, confirmed });
                } else {
                    let reason = format!("waiting for the lease of {} to end", grant.node);
                    decision.wait(reason, Some(self.now.plus(left)));
                }
            }
        }
    }

    fn is_silent_node(&self, node: &NodeId) -> bool {
        self.lead.is_silent(self.now, self.state, node)
    }

    fn grant(&self, record: &VipRecord, node: &NodeId, decision: &mut Decision) {
        let mut floor = self.lead.peers.highest_epoch();
        if Mutation::HighestEpochIgnored.is_on() {
            floor = Epoch(0);
        }
        decision.step(record, Step::Grant { node: node.clone(), floor });
    }

    fn over_if_confirmed(&self, record: &VipRecord, grant: &Granted, decision: &mut Decision) {
        let at = VipEpoch { vip: record.name.clone(), epoch: grant.epoch };
        if self.lead.peers.confirms(&grant.node, &at) {
            decision.step(record, Step::Over { epoch: grant.epoch, confirmed: true });
        }
    }

    /// Silence for `failover_after` leads to Expiring in every grant state.
    pub(super) fn end_grant_of_silent(
        &self,
        record: &VipRecord,
        grant: &Granted,
        decision: &mut Decision,
    ) {
        let renewed = record.grant.renewed().is_some();
        if renewed && self.is_silent_node(&grant.node) {
            decision.step(record, Step::Expire { epoch: grant.epoch });
        }
    }

    /// When the old holder of a planned move is asked to let go.
    fn may_release(&self, record: &VipRecord, target: Option<&NodeId>, ready: bool) -> bool {
        if target.is_none() {
            return record.intent != Intent::Held;
        }
        match record.spec.release {
            Release::Early => ready,
            // Late: the detach is done, or an attach was accepted.
            Release::Late => match &record.azure {
                AzureTrack::Detached => ready,
                AzureTrack::Attached { node, .. } => target == Some(node),
                AzureTrack::Detaching { .. } => false,
                AzureTrack::Attaching { to, from, .. } => {
                    let gone = |place: &Place| self.lists(place) == Some(false);
                    from.iter().all(gone)
                        || to.iter().any(|place| self.attach_accepted(record, place))
                }
            },
        }
    }
}

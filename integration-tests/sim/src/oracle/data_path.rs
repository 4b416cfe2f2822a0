//! The data-path check: who says that a VIP is reached has reached its present holder (I8).

use std::{collections::BTreeMap, net::IpAddr};

use vipfence_coordinator_core::{Applied, Body, Step, VipRecord};
use vipfence_types::{DataPath, Epoch, NodeId, VipName};

use super::{
    Truth, Verdict,
    log::{Log, News},
    violated,
};
use crate::{net::Tried, sometimes::Sometimes, time::At};

/// See the module.
#[derive(Default)]
pub(crate) struct Paths {
    /// When each epoch was given.
    given: BTreeMap<Epoch, At>,
    /// The last answer that a node has had from an address.
    had: BTreeMap<(NodeId, IpAddr), Tried>,
}

impl Paths {
    /// A node has had an answer from an address, in time.
    pub(crate) fn answered(
        &mut self,
        log: &Log,
        node: &NodeId,
        tried: Tried,
        sometimes: &mut Sometimes,
    ) {
        sometimes.saw("a node reaches a VIP");
        let of = |record: &&std::sync::Arc<VipRecord>| {
            record.spec.addresses.iter().any(|entry| entry.address == tried.address)
        };
        let epoch = log.registry.vips.values().find(of).map(|record| record.epoch());
        if epoch.and_then(|epoch| self.given.get(&epoch)).is_some_and(|given| tried.at < *given) {
            sometimes.saw("an answer of an earlier holder comes late");
        }
        let last = self.had.entry((node.clone(), tried.address)).or_insert_with(|| tried.clone());
        if tried.at > last.at {
            *last = tried;
        }
    }

    pub(crate) fn entry(
        &mut self,
        truth: &Truth<'_>,
        log: &Log,
        news: &News,
        sometimes: &mut Sometimes,
    ) -> Verdict {
        if news.applied != Applied::Done {
            return Ok(());
        }
        match &news.command.body {
            Body::Step { vip, step, .. } => {
                let Some(record) = log.registry.vip(vip) else { return Ok(()) };
                self.given.entry(record.epoch()).or_insert(truth.now);
                match step {
                    Step::Held { .. } => held(record, sometimes),
                    _ => Ok(()),
                }
            }
            Body::Reached { vip, epoch, by } => {
                if log.registry.vip(vip).is_some_and(|record| record.is_held()) {
                    sometimes.saw("a VIP was said to be held before anybody had reached it");
                }
                self.was_reached(log, vip, *epoch, by)
            }
            _ => Ok(()),
        }
    }

    /// What is committed as reached was: by this node, at the holder of this epoch, since it was given.
    fn was_reached(&self, log: &Log, vip: &VipName, epoch: Epoch, by: &NodeId) -> Verdict {
        let Some(record) = log.registry.vip(vip) else { return Ok(()) };
        let before = log.before.vip(vip);
        if before.is_some_and(|before| before.held_since_ms != record.held_since_ms) {
            let what = format!("{vip} is held since another time now that {by} has reached it");
            return violated("I8", what);
        }
        let first = record.spec.addresses.first().map(|entry| entry.address);
        let had = first.and_then(|first| self.had.get(&(by.clone(), first)));
        let given = self.given.get(&epoch).copied().unwrap_or_default();
        // An address that counts for nothing (§11) may answer for the holder's.
        let its =
            |had: &&Tried| had.at >= given && (!had.counts || record.holder() == Some(&had.by));
        if had.is_none_or(|had| !its(&had)) {
            let what = format!(
                "{by} is said to have reached {vip} at {epoch}, given at {given}; its last answer \
                 was {had:?}"
            );
            return violated("I8", what);
        }
        Ok(())
    }
}

/// A VIP that has to be reached is held only then.
fn held(record: &VipRecord, sometimes: &mut Sometimes) -> Verdict {
    if record.spec.data_path != DataPath::Required {
        return Ok(());
    }
    sometimes.saw("a VIP is held once another node has reached it");
    if reached(record) {
        return Ok(());
    }
    let what = format!("{} is held at {} and nobody has reached it", record.name, record.epoch());
    violated("I8", what)
}

/// Whether it is known that another node has reached the present holder.
pub(super) fn reached(record: &VipRecord) -> bool {
    record.reached.as_ref().is_some_and(|reached| reached.epoch == record.epoch())
}

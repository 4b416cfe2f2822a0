//! I5: epochs.

use std::{collections::BTreeMap, net::IpAddr};

use vipfence_coordinator_core::{Applied, Body, Step};
use vipfence_types::{Epoch, NodeId, VipName};

use super::{
    Truth, Verdict,
    log::{Log, News},
    violated,
};

/// See the module.
#[derive(Default)]
pub(crate) struct Epochs {
    granted: BTreeMap<Epoch, (VipName, NodeId)>,
    /// The epochs under which a node has set an address.
    added: BTreeMap<Epoch, NodeId>,
}

impl Epochs {
    /// I5: "Epochs strictly increase and each belongs to one node and one VIP. […] An address is in
    /// at most one VIP record, those being deleted included."
    pub(crate) fn entry(&mut self, truth: &Truth<'_>, log: &Log, news: &News) -> Verdict {
        if let Body::Step { vip, step: Step::Grant { .. }, .. } = &news.command.body
            && news.applied == Applied::Done
        {
            self.granted_anew(truth, log, vip)?;
        }
        let highest = self.granted.last_key_value().map_or(Epoch(0), |(epoch, _)| *epoch);
        for record in log.registry.vips.values() {
            let Some(grant) = record.grant.grant() else { continue };
            let owner = (record.name.clone(), grant.node.clone());
            match self.granted.get(&grant.epoch) {
                Some(known) if *known == owner => {}
                Some(known) => {
                    let what = format!("epoch {} is {known:?}'s and {owner:?}'s", grant.epoch);
                    return violated("I5", what);
                }
                None if grant.epoch <= highest => {
                    let what = format!("epoch {} comes after {highest}", grant.epoch);
                    return violated("I5", what);
                }
                None => {
                    self.granted.insert(grant.epoch, owner);
                }
            }
        }
        one_record_an_address(log)
    }

    /// "epoch: a new one for every *entry* of a node into entitlement", and one that the node can
    /// take.
    fn granted_anew(&self, truth: &Truth<'_>, log: &Log, vip: &VipName) -> Verdict {
        let record = log.registry.vip(vip);
        let Some(grant) = record.and_then(|record| record.grant.grant()) else { return Ok(()) };
        if self.granted.contains_key(&grant.epoch) {
            return violated("I5", format!("{vip} is granted at epoch {} again", grant.epoch));
        }
        let node = truth.nodes().find(|node| *node.name() == grant.node);
        if node.and_then(|node| node.has_spent_by_name(vip, grant.epoch)) == Some(true) {
            let what =
                format!("{vip} is granted at epoch {}, spent at {}", grant.epoch, grant.node);
            return violated("I5", what);
        }
        Ok(())
    }

    /// "Before a node sends `released(vip, e)` it has e as spent on disk."
    pub(crate) fn released(
        &self,
        truth: &Truth<'_>,
        node: usize,
        vip: &VipName,
        epoch: Epoch,
    ) -> Verdict {
        let node = truth.machines.node(node);
        if node.has_spent_by_name(vip, epoch) == Some(false) {
            let what = format!("{} confirms {vip} at epoch {epoch}, not on its disk", node.name());
            return violated("I5", what);
        }
        Ok(())
    }

    /// I5: "A node refuses, for an address, every epoch at or below the highest that it has spent
    /// for it." And no node adds under an epoch that is not its own.
    pub(crate) fn address_set(
        &mut self,
        truth: &Truth<'_>,
        node: usize,
        vip: &VipName,
        epoch: Epoch,
        address: IpAddr,
    ) -> Verdict {
        let (machine, name) = (truth.machines.node(node), truth.machines.node(node).name());
        if machine.has_spent(vip, address, epoch) {
            let what = format!("{name} adds {address} at epoch {epoch}, spent there");
            return violated("I5", what);
        }
        match self.granted.get(&epoch) {
            Some((_, owner)) if owner == name => {
                self.added.insert(epoch, owner.clone());
                Ok(())
            }
            other => {
                let what = format!("{name} adds {address} at epoch {epoch}, which is {other:?}'s");
                violated("I5", what)
            }
        }
    }

    /// No node answers a load balancer's probe under an epoch that is not its own.
    pub(crate) fn probe_answered(&self, name: &NodeId, vip: &VipName, epoch: Epoch) -> Verdict {
        match self.granted.get(&epoch) {
            Some((of, owner)) if (of, owner) == (vip, name) => Ok(()),
            other => {
                let what =
                    format!("{name} answers the probe of {vip} at {epoch}, which is {other:?}'s");
                violated("I5", what)
            }
        }
    }

    /// Whether the address was on the holder's OS at this epoch, at some time.
    pub(crate) fn was_added(&self, epoch: Epoch) -> bool {
        self.added.contains_key(&epoch)
    }
}

fn one_record_an_address(log: &Log) -> Verdict {
    let mut seen: BTreeMap<IpAddr, &VipName> = BTreeMap::new();
    for record in log.registry.vips.values() {
        for entry in &record.spec.addresses {
            if let Some(other) = seen.insert(entry.address, &record.name) {
                let what = format!("{} is in {other} and in {}", entry.address, record.name);
                return violated("I5", what);
            }
        }
    }
    Ok(())
}

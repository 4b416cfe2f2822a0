//! I1: one holder. And of I8: who adds.

use std::{collections::BTreeSet, net::IpAddr};

use vipfence_coordinator_core::{Applied, Body, Step, VipRecord};
use vipfence_types::{Epoch, VipName};

use super::{
    Truth, Verdict,
    log::{Log, News},
    violated,
};

/// See the module.
#[derive(Default)]
pub(crate) struct Holders {
    /// Something has changed on a kernel since the last check.
    changed: bool,
}

impl Holders {
    pub(crate) fn changed(&mut self) {
        self.changed = true;
    }

    /// I1: "At no instant do two nodes both have a VIP's address on their OS", nor would both answer
    /// the probe of its load balancer.
    pub(crate) fn one_holder(&mut self, truth: &Truth<'_>, log: &Log) -> Verdict {
        if !core::mem::take(&mut self.changed) {
            return Ok(());
        }
        for record in log.registry.vips.values() {
            for entry in &record.spec.addresses {
                let holders = holders(truth, entry.address);
                if holders.len() > 1 {
                    let (vip, address) = (&record.name, entry.address);
                    let what = format!("{address} of {vip} is on {}", holders.join(" and "));
                    return violated("I1", what);
                }
            }
            let answer = answering(truth, record);
            if answer.len() > 1 {
                let what =
                    format!("the probe of {} is answered by {}", record.name, answer.join(" and "));
                return violated("I1", what);
            }
        }
        Ok(())
    }

    /// What is committed as over is over: nobody has the address, or believes that it may have it.
    pub(crate) fn entry(&self, truth: &Truth<'_>, log: &Log, news: &News) -> Verdict {
        let Body::Step { vip, step: Step::Over { epoch, .. }, .. } = &news.command.body else {
            return Ok(());
        };
        let over = log.before.vip(vip).filter(|_| news.applied == Applied::Done);
        let Some(record) = over else { return Ok(()) };
        for entry in &record.spec.addresses {
            let holders = holders(truth, entry.address);
            if !holders.is_empty() {
                let (address, on) = (entry.address, holders.join(" and "));
                return violated("I8", format!("{vip} is over at {epoch}, {address} is on {on}"));
            }
        }
        let answer = answering(truth, record);
        if !answer.is_empty() {
            let on = answer.join(" and ");
            return violated("I8", format!("{vip} is over at {epoch}, {on} answers its probe"));
        }
        self.nobody_else_is_entitled(truth, None, vip, *epoch)
    }

    /// I8: "No node adds while a grant of the address to another node is not over": nobody else
    /// may believe at this moment that it is entitled.
    pub(crate) fn address_set(
        &self,
        truth: &Truth<'_>,
        node: usize,
        vip: &VipName,
        epoch: Epoch,
    ) -> Verdict {
        if truth.machines.node(node).is_excused() {
            return Ok(());
        }
        self.nobody_else_is_entitled(truth, Some(node), vip, epoch)
    }

    /// Clients are told by nobody but the one that may hold the VIP, and of its own addresses.
    pub(crate) fn told(
        &self,
        truth: &Truth<'_>,
        log: &Log,
        node: usize,
        vip: &VipName,
        addresses: &BTreeSet<IpAddr>,
    ) -> Verdict {
        let (machine, name) = (truth.machines.node(node), truth.machines.node(node).name());
        if machine.is_excused() {
            return Ok(());
        }
        for (other, machine) in truth.nodes().enumerate().filter(|(other, _)| *other != node) {
            let entitled = machine.entitled(truth.now).iter().any(|held| held.vip == *vip);
            let has = addresses.iter().any(|address| machine.counts_as_having(*address));
            if (entitled || has) && !machine.is_excused() {
                let other = truth.machines.node(other).name();
                return violated(
                    "Told",
                    format!("{name} tells clients of {vip}, {other} holds it"),
                );
            }
        }
        let ours = |address: &IpAddr| {
            let record = log.registry.vip(vip);
            record.is_none_or(|record| {
                record.spec.addresses.iter().any(|one| one.address == *address)
            })
        };
        match addresses.iter().find(|address| !ours(address)) {
            Some(other) => violated("Told", format!("{name} tells clients of {vip} from {other}")),
            None => Ok(()),
        }
    }

    fn nobody_else_is_entitled(
        &self,
        truth: &Truth<'_>,
        node: Option<usize>,
        vip: &VipName,
        epoch: Epoch,
    ) -> Verdict {
        for (other, machine) in truth.nodes().enumerate() {
            if Some(other) == node || machine.is_excused() {
                continue;
            }
            if let Some(held) = machine.entitled(truth.now).iter().find(|held| held.vip == *vip) {
                let does = node.map_or("nobody".to_owned(), |node| {
                    truth.machines.node(node).name().to_string()
                });
                let what = format!(
                    "{does} has {vip} at epoch {epoch} while {} is entitled at epoch {} for {:?}",
                    machine.name(),
                    held.epoch,
                    held.lease_left
                );
                return violated("I8", what);
            }
        }
        Ok(())
    }
}

/// The nodes that answer the probe of a VIP's load balancer.
pub(crate) fn answering<'a>(truth: &Truth<'a>, record: &VipRecord) -> Vec<&'a str> {
    let Some(probe) = &record.spec.probe else { return Vec::new() };
    let answers = truth.nodes().filter(|machine| machine.answers_probe(truth.now, probe.port));
    answers.map(|machine| machine.name().as_str()).collect()
}

/// The nodes that have an address on their OS.
pub(crate) fn holders<'a>(truth: &Truth<'a>, address: IpAddr) -> Vec<&'a str> {
    let has = truth.nodes().filter(|machine| machine.counts_as_having(address));
    has.map(|machine| machine.name().as_str()).collect()
}

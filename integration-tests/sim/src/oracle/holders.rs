//! I1: one holder. And of I8: who adds.

use std::net::IpAddr;

use vipfence_types::{Epoch, VipName};

use super::{Truth, Verdict, log::Log, violated};
use crate::machine::ExcuseEnds;

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

    /// I1: "At no instant do two nodes both have a VIP's address on their OS."
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
        }
        Ok(())
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
        if truth.machines[node].excuse_ends != ExcuseEnds::Never {
            return Ok(());
        }
        for (other, machine) in truth.machines.iter().enumerate() {
            let Some(process) = &machine.process else { continue };
            let stands_still = machine.paused.is_some() || machine.off;
            if other == node || stands_still || machine.excuse_ends != ExcuseEnds::Never {
                continue;
            }
            let view = process.holder().view(machine.read(truth.now));
            if let Some(held) = view.held.iter().find(|held| held.vip == *vip) {
                let adds = &truth.machines[node].name;
                let what = format!(
                    "{adds} adds {vip} at epoch {epoch} while {} is entitled at epoch {} for {:?}",
                    machine.name, held.epoch, held.lease_left
                );
                return violated("I8", what);
            }
        }
        Ok(())
    }
}

/// The nodes that have an address on their OS.
pub(crate) fn holders<'a>(truth: &Truth<'a>, address: IpAddr) -> Vec<&'a str> {
    let has = truth.machines.iter().filter(|machine| machine.counts_as_having(address));
    has.map(|machine| machine.name.as_str()).collect()
}

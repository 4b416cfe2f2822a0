//! What this node has let go of for good (I5).
//!
//! An epoch is spent before its release is confirmed, on disk, so that no answer, however late,
//! and no restart bring it back (attacks H1, V2). It is kept per address, since grants belong to
//! addresses (attack H9), and beside that per VIP name: a node that is asked to release a VIP of
//! which it has no memory does not know the addresses.

use core::net::IpAddr;
use std::collections::BTreeMap;

use serde::Serialize;
use vipfence_types::{Epoch, VipName};

/// The highest spent epoch of each address and of each VIP name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// By address.
    pub addresses: BTreeMap<IpAddr, Epoch>,
    /// By name.
    pub vips: BTreeMap<VipName, Epoch>,
}

impl Spent {
    /// Whether a grant of this VIP and these addresses at this epoch must be refused.
    #[must_use]
    pub fn forbids(&self, vip: &VipName, addresses: &[IpAddr], epoch: Epoch) -> bool {
        let of = |spent: Option<&Epoch>| spent.is_some_and(|spent| epoch <= *spent);
        of(self.vips.get(vip)) || addresses.iter().any(|one| of(self.addresses.get(one)))
    }

    /// Whether all of it is spent already, so that there is nothing to write.
    #[must_use]
    pub fn has(&self, vip: &VipName, addresses: &[IpAddr], epoch: Epoch) -> bool {
        let of = |spent: Option<&Epoch>| spent.is_some_and(|spent| epoch <= *spent);
        of(self.vips.get(vip)) && addresses.iter().all(|one| of(self.addresses.get(one)))
    }

    /// Marks an epoch and all below it as spent. Never lowers anything.
    pub fn spend(&mut self, vip: &VipName, addresses: &[IpAddr], epoch: Epoch) {
        let raise = |entry: &mut Epoch| *entry = epoch.max(*entry);
        raise(self.vips.entry(vip.clone()).or_default());
        for address in addresses {
            raise(self.addresses.entry(*address).or_default());
        }
    }

    /// The highest of all.
    #[must_use]
    pub fn highest(&self) -> Epoch {
        let all = self.addresses.values().chain(self.vips.values());
        all.copied().max().unwrap_or_default()
    }
}

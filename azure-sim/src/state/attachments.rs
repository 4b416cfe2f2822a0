//! The *effective attachments*: to which NIC the data plane sends each address.
//!
//! This is neither a NIC's document (that shows the goal) nor the allocation (that decides who may
//! ask for an address): it changes when an operation has taken effect, plus a lag.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Changes that may wait for the data plane at once; one more makes the oldest take effect.
const MAX_WAITING: usize = 1_024;

/// What the data plane does, with a version that grows with each change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attachments {
    /// Number of changes so far.
    pub version: u64,
    /// Address to NIC id, over all virtual networks.
    pub attachments: BTreeMap<IpAddr, String>,
}

/// One address that goes elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentChange {
    /// The address.
    pub address: IpAddr,
    /// The NIC that gets its traffic from now on.
    pub nic: Option<String>,
}

/// The data plane with the changes on their way to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DataPlane {
    version: u64,
    /// By network, then address.
    effective: BTreeMap<(String, IpAddr), String>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Clone)]
struct Waiting {
    due: Duration,
    network: String,
    nic: String,
    addresses: BTreeSet<IpAddr>,
}

impl DataPlane {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn published(&self) -> Attachments {
        let attachments = self.effective.iter().map(|((_, a), nic)| (*a, nic.clone())).collect();
        Attachments { version: self.version, attachments }
    }

    /// The addresses that reach this NIC.
    pub(crate) fn of(&self, nic: &str) -> impl Iterator<Item = IpAddr> {
        self.effective.iter().filter(move |(_, n)| *n == nic).map(|((_, address), _)| *address)
    }

    /// From `due` on exactly these addresses reach the NIC. Changes take effect in the order in
    /// which they were decided: one that is due earlier waits for those before it.
    pub(crate) fn change_at(
        &mut self,
        due: Duration,
        network: &str,
        nic: &str,
        addresses: BTreeSet<IpAddr>,
    ) -> Vec<AttachmentChange> {
        let due = self.waiting.back().map_or(due, |last| last.due.max(due));
        let (network, nic) = (network.to_owned(), nic.to_owned());
        self.waiting.push_back(Waiting { due, network, nic, addresses });
        if self.waiting.len() > MAX_WAITING { self.take_oldest() } else { Vec::new() }
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.waiting.front().map(|waiting| waiting.due)
    }

    /// Lets the oldest change take effect if it is due; `None` if none is.
    pub(crate) fn advance(&mut self, now: Duration) -> Option<Vec<AttachmentChange>> {
        self.next_due().filter(|due| *due <= now).map(|_| self.take_oldest())
    }

    fn take_oldest(&mut self) -> Vec<AttachmentChange> {
        let Some(Waiting { network, nic, addresses, .. }) = self.waiting.pop_front() else {
            return Vec::new();
        };
        let gone: Vec<IpAddr> = self.of(&nic).filter(|a| !addresses.contains(a)).collect();
        let mut changes = Vec::new();
        for address in gone {
            self.effective.remove(&(network.clone(), address));
            changes.push(AttachmentChange { address, nic: None });
        }
        for address in addresses {
            let before = self.effective.insert((network.clone(), address), nic.clone());
            if before.as_ref() != Some(&nic) {
                changes.push(AttachmentChange { address, nic: Some(nic.clone()) });
            }
        }
        if !changes.is_empty() {
            self.version += 1;
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_went_elsewhere_is_not_taken_away_by_its_old_nic() {
        let address = IpAddr::from([10, 5, 0, 110]);
        let mut plane = DataPlane::default();
        let now = Duration::ZERO;
        for (nic, addresses) in [("a", vec![address]), ("b", vec![address]), ("a", vec![])] {
            plane.change_at(now, "vnet", nic, addresses.into_iter().collect());
            plane.advance(now);
        }
        assert_eq!(plane.published().attachments[&address], "b");
        assert_eq!(plane.version(), 2);
    }

    #[test]
    fn a_shorter_lag_does_not_let_a_later_change_overtake() {
        let address = IpAddr::from([10, 5, 0, 110]);
        let mut plane = DataPlane::default();
        plane.change_at(Duration::from_secs(5), "vnet", "a", BTreeSet::from([address]));
        plane.change_at(Duration::from_secs(1), "vnet", "b", BTreeSet::from([address]));
        assert_eq!(plane.next_due(), Some(Duration::from_secs(5)));
        while plane.advance(Duration::from_secs(5)).is_some() {}
        assert_eq!(plane.published().attachments[&address], "b");
    }
}

//! The kernel of a machine: addresses with lifetimes, which run out whatever the agent does.
//!
//! Measured on Linux 6.18, HZ 250 (design.md §6): for lifetimes up to 10 s the address goes between
//! 0.02 s before and 1.35 s after its end; from 16 s on up to 2.3 s late. Lifetimes follow the
//! monotonic clock: they stand still while the machine is paused.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use vipfence_agent_core::Found;

use crate::{
    chance::Chance,
    gate::Gate,
    time::{ms, us},
};

/// From this lifetime on the kernel's timer wheel is coarser.
const COARSE_FROM: Duration = Duration::from_secs(16);

/// An address on the OS.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When its lifetime ends, by the monotonic clock; none = it stays for ever.
    ends: Option<u64>,
    /// When the kernel gets round to taking it off.
    goes: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    addresses: BTreeMap<IpAddr, Entry>,
    /// What is before the ports of probes.
    pub(crate) gate: Gate,
    /// Every address goes as late as one may.
    pub(crate) always_late: bool,
}

impl Kernel {
    /// Sets an address with a lifetime, or its lifetime anew.
    pub fn set(&mut self, mono: u64, address: IpAddr, life: Duration, chance: &mut Chance) {
        let ends = mono + us(life);
        let late = if life >= COARSE_FROM { 2_300 } else { 1_350 };
        let goes = if self.always_late {
            ends + ms(late)
        } else if chance.one_in(10) {
            ends.saturating_sub(chance.within(0, ms(20)))
        } else {
            ends + chance.within(0, ms(late))
        };
        self.addresses.insert(address, Entry { ends: Some(ends), goes: Some(goes) });
    }

    /// Somebody sets an address that stays for ever.
    pub fn set_for_ever(&mut self, address: IpAddr) {
        self.addresses.insert(address, Entry { ends: None, goes: None });
    }

    /// Takes an address off.
    pub fn drop(&mut self, address: IpAddr) -> bool {
        self.addresses.remove(&address).is_some()
    }

    /// Takes off what has run out; returns it.
    pub fn expire(&mut self, mono: u64) -> Vec<IpAddr> {
        let gone: Vec<IpAddr> = self
            .addresses
            .iter()
            .filter(|(_, entry)| entry.goes.is_some_and(|goes| goes <= mono))
            .map(|(address, _)| *address)
            .collect();
        for address in &gone {
            self.addresses.remove(address);
        }
        gone
    }

    /// When the next address goes by itself, by the monotonic clock.
    pub fn next(&self) -> Option<u64> {
        self.addresses.values().filter_map(|entry| entry.goes).min()
    }

    /// Whether an address is on the OS.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// All addresses on the OS.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.keys().copied()
    }

    /// What a starting agent finds.
    pub fn found(&self, mono: u64) -> Vec<Found> {
        let left = |entry: &Entry| {
            entry.ends.map(|ends| Duration::from_micros(ends.saturating_sub(mono).max(1)))
        };
        let found = |(address, entry): (&IpAddr, &Entry)| Found {
            address: *address,
            lifetime_left: left(entry),
        };
        self.addresses.iter().map(found).collect()
    }

    /// The machine boots: nothing is left.
    pub fn clear(&mut self) {
        self.addresses.clear();
        self.gate = Gate::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::secs;

    #[test]
    fn an_address_goes_within_the_measured_bounds() {
        let address = IpAddr::from([10, 5, 0, 110]);
        let mut chance = Chance::of(1, 1);
        for _ in 0..1_000 {
            let mut kernel = Kernel::default();
            kernel.set(secs(100), address, Duration::from_secs(4), &mut chance);
            let goes = kernel.next().expect("a lifetime");
            assert!(goes >= secs(104) - ms(20) && goes <= secs(104) + ms(1_350), "{goes}");
            assert!(kernel.expire(goes - 1).is_empty());
            assert_eq!(kernel.expire(goes), [address]);
        }
    }
}

//! What is done about an address that something else changed: cloud-init and its kind, which add
//! what Azure's metadata lists; an administrator; an interface that went and came back.
//!
//! What this node holds is put back, what it does not hold is taken off (I1, exception of
//! design.md §11). Both go the ways that every add and every sweep goes. Deliberately not here: any
//! entitlement. Nothing that is seen on an OS gives one.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use serde::Serialize;
use vipfence_types::{Clocks, Mutation};

use super::Holder;
use crate::lease::Timer;
use crate::record::Record;
use crate::{Effect, Event, Sighting};

/// How long the last time that something else changed an address is shown.
const SHOWN_FOR: Duration = Duration::from_secs(600);

/// What something else did to addresses of VIPs on this node since the agent has started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Meddling {
    /// The last address.
    pub(crate) address: IpAddr,
    pub(crate) times: u32,
    pub(crate) shown: Timer,
}

impl Holder {
    pub(super) fn managed_are(&mut self, addresses: BTreeSet<IpAddr>) {
        if addresses.iter().any(|one| !self.managed.contains(one)) {
            // It may have been on the OS before it became a VIP's.
            self.sweep.wanted = true;
        }
        self.managed = addresses;
    }

    pub(super) fn sighted(&mut self, now: Clocks, sighting: Sighting, fx: &mut Vec<Effect>) {
        match sighting {
            Sighting::Foreign(address) => {
                // What the start found there, with a lifetime of ours, is there no more.
                self.sweep.spare.remove(&address);
                if !self.disturbed(now, address, fx) && self.managed.contains(&address) {
                    fx.push(Effect::Event(Event::Stray { address }));
                    self.meddled(now, address);
                    self.sweep.wanted |= !Mutation::StraysStay.is_on();
                }
            }
            Sighting::Gone(address) => {
                self.sweep.spare.remove(&address);
                self.disturbed(now, address, fx);
            }
            Sighting::Unknown => {
                for record in self.records.values_mut() {
                    if let Record::Holding(holding) = record {
                        holding.disturb(now);
                    }
                }
                self.sweep.wanted = true;
            }
        }
    }

    /// Whether the address is one that this node holds. Inside the last second of a lease the
    /// kernel takes it off by itself, and nothing is put back.
    fn disturbed(&mut self, now: Clocks, address: IpAddr, fx: &mut Vec<Effect>) -> bool {
        for (vip, record) in &mut self.records {
            let Record::Holding(holding) = record else {
                continue;
            };
            if !holding.addresses.iter().any(|one| one.address == address) {
                continue;
            }
            let by_others =
                holding.kernel.set.is_some() && holding.lease.kernel_lifetime(now).is_some();
            holding.disturb(now);
            if by_others {
                let (vip, epoch) = (vip.clone(), holding.epoch);
                fx.push(Effect::Event(Event::Disturbed { vip, epoch, address }));
                self.meddled(now, address);
            }
            return true;
        }
        false
    }

    fn meddled(&mut self, now: Clocks, address: IpAddr) {
        let times = self.meddling.map_or(0, |last| last.times).saturating_add(1);
        let shown = Timer::new(now, SHOWN_FOR);
        self.meddling = Some(Meddling { address, times, shown });
    }
}

//! What the tasks around VIPs ([`Service`]) are told, and what they hold up.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use vipfence_types::{Clocks, Epoch, KERNEL_LIFETIME_CAP, VipEpoch, VipFailing, VipName};

use super::Holder;
use crate::lease::Timer;
use crate::pulse::Contact;
use crate::record::{Dropping, Leaving, Record, bare};
use crate::service::{Service, Standing};
use crate::{Call, Duties, Effect, EndCause, Start};

/// What there is to do around VIPs. An address of an earlier start may still be there for as long as
/// its lifetime runs: until then a leader may say that this node still holds the VIP.
pub(super) fn services(
    now: Clocks,
    start: &Start,
    fx: &mut Vec<Effect>,
) -> BTreeMap<VipName, Service> {
    let left = start.found.iter().filter_map(|found| found.lifetime_left).max();
    let patience = Timer::new(now, left.unwrap_or_default().min(KERNEL_LIFETIME_CAP));
    for vip in start.serving.keys().filter(|vip| !start.duties.contains_key(*vip)) {
        fx.push(Effect::NoteServing { vip: vip.clone(), serving: None });
    }
    let of = |(vip, duties): (&VipName, &Duties)| {
        let serving = start.serving.get(vip).copied();
        (vip.clone(), Service::start(vip.clone(), duties.clone(), serving, patience))
    };
    start.duties.iter().map(of).collect()
}

impl Holder {
    pub(super) fn ran(&mut self, call: Call, outcome: &Result<(), String>, fx: &mut Vec<Effect>) {
        for service in self.services.values_mut() {
            if service.ran(call, outcome.clone(), fx) {
                self.pulse.hurry();
            }
        }
    }

    /// A verdict of the health checks that changed is told at once.
    pub(super) fn checked(&mut self, vip: VipName, failing: Option<String>) {
        if self.failing.contains_key(&vip) != failing.is_some() {
            self.pulse.hurry();
        }
        match failing {
            Some(reason) => self.failing.insert(vip, reason),
            None => self.failing.remove(&vip),
        };
    }

    /// The VIPs that are not well here: their checks fail, or what was to make them work.
    pub(super) fn failing(&self) -> Vec<VipFailing> {
        let mut all = self.failing.clone();
        for (vip, service) in &self.services {
            if let Some(reason) = service.failing() {
                all.insert(vip.clone(), reason);
            }
        }
        all.into_iter().map(|(vip, reason)| VipFailing { vip, reason }).collect()
    }

    pub(super) fn unfit(&self, vip: &VipName, epoch: Epoch) -> String {
        let service = self.services.get(vip);
        service.and_then(|service| service.unfit(epoch)).unwrap_or_default()
    }

    /// Whether the tasks of this epoch have run, and must not run again.
    pub(super) fn has_served(&self, vip: &VipName, epoch: Epoch) -> bool {
        self.services.get(vip).is_some_and(|service| service.forbids(epoch))
    }

    /// Whether an entitlement has tasks that come before a planned release.
    pub(super) fn serves(&self, vip: &VipName, epoch: Epoch) -> bool {
        self.services.get(vip).is_some_and(|service| service.serves(epoch))
    }

    /// Whether a task comes before what this record does next.
    pub(super) fn is_held_up(&self, vip: &VipName, record: &Record) -> bool {
        self.services.get(vip).is_some_and(|service| holds_up(service, record))
    }

    /// Where an entitlement ended through a clock step alone, or this agent will be back, the tasks
    /// are left as they are.
    pub(super) fn tasks_hear_of_end(
        &mut self,
        now: Clocks,
        vip: &VipName,
        epoch: Epoch,
        cause: EndCause,
    ) {
        let may_come_back = match cause {
            EndCause::LeaseEnded => {
                matches!(self.pulse.contact, Contact::Answered(_)) && !self.moves_away()
            }
            EndCause::Stopping => self.keeps(),
            EndCause::NotGranted | EndCause::Released => false,
        };
        let hope = may_come_back.then(|| Timer::new(now, Duration::ZERO));
        if let Some(service) = self.services.get_mut(vip) {
            service.ended(epoch, hope);
        }
    }

    /// A leader has said everything that it grants.
    pub(super) fn tasks_hear_of_grants(&mut self, granted: &BTreeSet<VipEpoch>) {
        for (vip, service) in &mut self.services {
            let epoch = granted.iter().find(|at| at.vip == *vip).map(|at| at.epoch);
            service.heard(epoch);
        }
    }

    /// What the tasks make of the present state, before anything is dropped: which of them have had
    /// their time, and whether a planned release may go on.
    pub(super) fn settle_tasks(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let away = self.moves_away();
        let silent = matches!(self.pulse.contact, Contact::Silent(_) | Contact::TurnedAway(_));
        for (vip, service) in &mut self.services {
            if service.give_up(now, fx) {
                self.pulse.hurry();
            }
            if silent {
                service.unheard(now);
            }
            if away {
                service.despair();
            }
            service.follow(Standing::of(self.records.get(vip), now));
        }
        let names: Vec<VipName> = self.services.keys().cloned().collect();
        for vip in names {
            if let Some(Record::Holding(holding)) = self.records.get(&vip)
                && let Some(Leaving { owed, cause }) = holding.leaving
                && self.services.get(&vip).is_none_or(|service| service.is_clear(holding.epoch))
            {
                let epoch = holding.epoch;
                let dropping = Dropping::new(Some(bare(&holding.addresses)), Some(owed));
                self.records.insert(vip.clone(), Record::Dropping(dropping));
                self.announce_end(now, &vip, epoch, cause, fx);
            }
        }
    }

    /// After everything was dropped that is to go: no task may come before that.
    pub(super) fn plan_tasks(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let keeps = self.keeps();
        for (vip, service) in &mut self.services {
            let standing = Standing::of(self.records.get(vip), now);
            service.plan(now, standing, keeps, &mut self.last_call, fx);
        }
    }
}

/// Whether a task comes before what this record does next.
pub(super) fn holds_up(service: &Service, record: &Record) -> bool {
    match record {
        Record::Holding(holding) => !service.may_add(holding.epoch),
        Record::Spending(_) => service.may_run_units(),
        Record::Dropping(_) | Record::Confirming(_) => false,
    }
}

//! What time and the present state ask for: the same after every input, so that no rule depends
//! on which input came. What takes away comes before what gives.

use vipfence_types::{Clocks, VipName};

use super::outcome::ADD_WITHIN;
use super::tasks::holds_up;
use super::{Holder, Writing};
use crate::pulse::Contact;
use crate::record::{Dropping, Early, OutstandingAdd, Record, bare};
use crate::{Effect, EndCause, Event};

impl Holder {
    pub(super) fn settle(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        self.give_up_beat(now, fx);
        self.keep_without_quorum(now, fx);
        self.end_leases(now, fx);
        self.let_go_before_stop(now, fx);
        self.settle_tasks(now, fx);
        self.plan_sweep(now, fx);
        self.plan_drops(now, fx);
        self.plan_tasks(now, fx);
        self.plan_spending(now, fx);
        self.plan_adds(now, fx);
        self.tells.plan(now, &self.records, fx);
        self.forget_cuts();
        self.reaches.plan(now, &mut self.last_call, fx);
        self.finish_stop(now, fx);
        self.beat(now, fx);
    }

    fn give_up_beat(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        if let Some(seq) = self.pulse.overdue(now) {
            let waited = self.pulse.give_up_after().as_millis();
            let problem = format!("no answer within {waited} ms");
            self.beat_failed(now, seq, Contact::Silent(problem), fx);
        }
    }

    /// `on_quorum_loss = hold`: renewed by this node itself, but only while the lease still runs:
    /// after a pause it must be granted anew.
    fn keep_without_quorum(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        if !self.is_silent() {
            return;
        }
        for (vip, record) in &mut self.records {
            let Record::Holding(holding) = record else {
                continue;
            };
            let lease = &mut holding.lease;
            if lease.hold && !lease.left(now).is_zero() && lease.half_left(now).is_zero() {
                if !lease.local {
                    fx.push(Effect::Event(Event::HeldWithoutQuorum {
                        vip: vip.clone(),
                        epoch: holding.epoch,
                    }));
                }
                lease.renew_locally(now);
            }
        }
    }

    fn end_leases(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let mut ended = Vec::new();
        for (vip, record) in &mut self.records {
            if let Record::Holding(holding) = record
                && holding.is_over(now)
            {
                ended.push((vip.clone(), holding.epoch));
                let dropping = Dropping::new(Some(bare(&holding.addresses)), None);
                *record = Record::Dropping(dropping);
            }
        }
        for (vip, epoch) in ended {
            self.announce_end(now, &vip, epoch, EndCause::LeaseEnded, fx);
        }
    }

    /// One sweep serves all who need one. It supersedes a sweep under way.
    fn plan_sweep(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let asks = |record: &Record| matches!(record, Record::Dropping(d) if d.addresses.is_none() && d.is_due(now));
        if !self.sweep.is_due(now) && !self.records.values().any(asks) {
            return;
        }
        let call = self.call();
        let superseded = self.sweep.begins(now, call);
        for record in self.records.values_mut() {
            if let Record::Dropping(dropping) = record
                && dropping.addresses.is_none()
                && (dropping.is_due(now) || dropping.call == superseded)
            {
                dropping.begins(now, call);
            }
        }
        let mut keep = self.held_addresses();
        keep.extend(&self.sweep.spare);
        let managed = self.managed.difference(&keep).copied().collect();
        fx.push(Effect::Sweep { call, managed, keep });
    }

    fn plan_drops(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        if !self.records.values().any(|record| matches!(record, Record::Dropping(_))) {
            return;
        }
        let held = self.held_addresses();
        for (vip, record) in &mut self.records {
            let Record::Dropping(dropping) = record else {
                continue;
            };
            let Some(mut addresses) = dropping.addresses.clone().filter(|_| dropping.is_due(now))
            else {
                continue;
            };
            if dropping.owed.is_none() {
                // An address that has meanwhile gone to another VIP of this node.
                addresses.retain(|one| !held.contains(one));
            }
            self.last_call += 1;
            let call = crate::Call(self.last_call);
            dropping.begins(now, call);
            fx.push(Effect::Drop { call, vip: vip.clone(), addresses });
        }
    }

    fn plan_spending(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        for (vip, record) in &mut self.records {
            let held_up = self.services.get(vip).is_some_and(|service| holds_up(service, record));
            let Record::Spending(spending) = record else {
                continue;
            };
            if held_up || !spending.is_due(now) {
                continue;
            }
            self.last_call += 1;
            let call = crate::Call(self.last_call);
            spending.call = Some(call);
            let writing = Writing {
                vip: vip.clone(),
                addresses: spending.addresses.clone(),
                epoch: spending.epoch,
            };
            self.spent.spend(vip, &writing.addresses, writing.epoch);
            self.writing.insert(call, writing.clone());
            fx.push(Effect::PersistSpent {
                call,
                vip: writing.vip,
                addresses: writing.addresses,
                epoch: writing.epoch,
            });
        }
    }

    fn plan_adds(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let due = |(vip, record): (&VipName, &Record)| match record {
            Record::Holding(holding) => {
                holding.add_due(now, Early::No).is_some() && !self.is_held_up(vip, record)
            }
            Record::Dropping(_) | Record::Spending(_) | Record::Confirming(_) => false,
        };
        let early = match self.course.renews_since() {
            Some(since) => Early::Since(since),
            None if self.records.iter().any(due) => Early::Along,
            None => Early::No,
        };
        for (vip, record) in &mut self.records {
            if self.services.get(vip).is_some_and(|service| holds_up(service, record)) {
                continue;
            }
            let Record::Holding(holding) = record else {
                continue;
            };
            let Some(lifetime) = holding.add_due(now, early) else {
                continue;
            };
            self.last_call += 1;
            let call = crate::Call(self.last_call);
            holding.kernel.out =
                Some(OutstandingAdd { outdated: false, call, computed_at: now, lifetime });
            fx.push(Effect::Add {
                call,
                vip: vip.clone(),
                epoch: holding.epoch,
                addresses: holding.addresses.clone(),
                lifetime,
                computed_at: now,
                start_within: ADD_WITHIN,
                probe: holding.probe.clone(),
            });
        }
    }

    /// What was confirmed, and what is held again, has been told as far as it ever will be.
    fn forget_cuts(&mut self) {
        let records = &self.records;
        self.cuts.retain(|vip, _| match records.get(vip) {
            Some(Record::Dropping(_) | Record::Spending(_) | Record::Confirming(_)) => true,
            Some(Record::Holding(_)) | None => false,
        });
    }

    fn beat(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        if self.pulse.is_due(now) && self.may_beat() {
            let heartbeat = Box::new(self.heartbeat(now));
            let seq = self.pulse.send(now);
            debug_assert_eq!(heartbeat.seq, seq, "numbered as sent");
            fx.push(Effect::Send { heartbeat, give_up_after: self.pulse.give_up_after() });
        }
    }
}

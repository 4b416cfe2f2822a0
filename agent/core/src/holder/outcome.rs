//! What the outcomes of calls change: of the OS, of the disk, of heartbeats that failed.

use core::time::Duration;

use vipfence_types::{Clocks, Connection, Mutation, VipName};

use super::Holder;
use crate::lease::Timer;
use crate::pulse::Contact;
use crate::record::{Dropping, Holding, Record, Spending};
use crate::service::Service;
use crate::{Call, Effect, Event};

/// An add that ends later than so long after its lifetime was computed is repeated, or the
/// address dropped: the lifetime is relative and began late (attack H16 b).
pub(super) const ADD_WITHIN: Duration = Duration::from_millis(100);
/// The pause before a call to the OS, or to the disk, that failed is repeated.
const RETRY: Duration = Duration::from_millis(250);

impl Holder {
    pub(super) fn beat_failed(
        &mut self,
        now: Clocks,
        seq: u64,
        contact: Contact,
        fx: &mut Vec<Effect>,
    ) {
        let before = self.pulse.contact.clone();
        if !self.pulse.failed(now, seq, contact) {
            return;
        }
        self.heard_at(now, seq, false);
        match (&before, &self.pulse.contact) {
            // Said once, although the words of each failure may differ.
            (Contact::Silent(_), Contact::Silent(_)) => {}
            (_, Contact::Silent(problem)) => {
                let problem = problem.clone();
                fx.push(Effect::Event(Event::LeaderSilent { problem }));
            }
            (_, Contact::TurnedAway(refusal)) if before != self.pulse.contact => {
                let refusal = refusal.clone();
                fx.push(Effect::Event(Event::TurnedAway { refusal }));
            }
            (_, Contact::TurnedAway(_) | Contact::NotYet | Contact::Answered(_)) => {}
        }
    }

    pub(super) fn added(&mut self, call: Call, at: Clocks, fx: &mut Vec<Effect>) {
        let Some((vip, holding)) = self.adding(call) else {
            return;
        };
        let Some(out) = holding.kernel.out.take() else {
            return;
        };
        let late = at.longest_since(out.computed_at) > ADD_WITHIN;
        if late && !Mutation::LateAddKept.is_on() {
            holding.kernel.unsure = true;
            holding.kernel.set = None;
            return;
        }
        holding.kernel.unsure = false;
        if out.outdated {
            // The lifetime was set in time, but whether the address is still there is not known.
            return;
        }
        holding.kernel.set = Some(Timer::new(out.computed_at, out.lifetime));
        holding.kernel.retry = None;
        let healed = !core::mem::take(&mut holding.kernel.problem).is_empty();
        let first = !core::mem::replace(&mut holding.kernel.told, true);
        let epoch = holding.epoch;
        if first {
            fx.push(Effect::Event(Event::Added { vip, epoch }));
        }
        if first || healed {
            self.pulse.hurry();
        }
    }

    pub(super) fn add_failed(
        &mut self,
        now: Clocks,
        call: Call,
        problem: String,
        fx: &mut Vec<Effect>,
    ) {
        let Some((vip, holding)) = self.adding(call) else {
            return;
        };
        holding.kernel.out = None;
        holding.kernel.unsure = true;
        holding.kernel.set = None;
        holding.kernel.retry = Some(Timer::new(now, RETRY));
        if holding.kernel.problem != problem {
            holding.kernel.problem.clone_from(&problem);
            let epoch = holding.epoch;
            fx.push(Effect::Event(Event::AddFailed { vip, epoch, problem }));
            self.pulse.hurry();
        }
    }

    fn adding(&mut self, call: Call) -> Option<(VipName, &mut Holding)> {
        self.records.iter_mut().find_map(|(vip, record)| match record {
            Record::Holding(holding) => {
                let mine = holding.kernel.out.is_some_and(|out| out.call == call);
                mine.then(|| (vip.clone(), holding))
            }
            Record::Dropping(_) | Record::Spending(_) | Record::Confirming(_) => None,
        })
    }

    fn dropping(&self, call: Call) -> Vec<VipName> {
        let mut names = Vec::new();
        for (vip, record) in &self.records {
            if let Record::Dropping(dropping) = record
                && dropping.call == Some(call)
            {
                names.push(vip.clone());
            }
        }
        names
    }

    /// What was cut is kept, as much of it as is carried, until the release was confirmed.
    pub(super) fn cut(&mut self, call: Call, connections: &[Connection]) {
        for vip in self.dropping(call) {
            let cut = self.cuts.entry(vip).or_default();
            let room = Connection::PER_VIP.saturating_sub(cut.len());
            cut.extend(connections.iter().take(room));
        }
    }

    /// The kernel was read back without what this call was to take off.
    pub(super) fn dropped(&mut self, call: Call, fx: &mut Vec<Effect>) {
        if self.sweep.call == Some(call) {
            self.sweep.is_done();
        }
        for vip in self.dropping(call) {
            let Some(Record::Dropping(dropping)) = self.records.remove(&vip) else {
                continue;
            };
            fx.push(Effect::Event(Event::Dropped { vip: vip.clone() }));
            match self.after_read_back(&vip, dropping, fx) {
                // The confirmation follows the flush at once: no heartbeat may be in its way.
                Some(Record::Spending(spending)) => {
                    self.records.insert(vip, Record::Spending(spending));
                }
                next => {
                    self.pulse.hurry();
                    self.records.extend(next.map(|next| (vip, next)));
                }
            }
        }
    }

    fn after_read_back(
        &self,
        vip: &VipName,
        dropping: Dropping,
        fx: &mut Vec<Effect>,
    ) -> Option<Record> {
        let epoch = dropping.owed?;
        let addresses = dropping.addresses.unwrap_or_default();
        let units_may_run = self.services.get(vip).is_some_and(Service::may_run_units);
        if units_may_run || !self.durable.has(vip, &addresses, epoch) {
            return Some(Record::Spending(Spending::new(epoch, addresses)));
        }
        let vip = vip.clone();
        fx.push(Effect::Event(Event::Released { vip, epoch }));
        Some(Record::Confirming(epoch))
    }

    pub(super) fn drop_failed(
        &mut self,
        now: Clocks,
        call: Call,
        problem: &str,
        fx: &mut Vec<Effect>,
    ) {
        let retry = Some(Timer::new(now, RETRY));
        if self.sweep.call == Some(call) {
            self.sweep.call = None;
            if self.sweep.problem != problem {
                problem.clone_into(&mut self.sweep.problem);
                fx.push(drop_failed_event(None, problem));
            }
            self.sweep.wanted = true;
            self.sweep.retry = retry;
        }
        for vip in self.dropping(call) {
            if let Some(Record::Dropping(dropping)) = self.records.get_mut(&vip) {
                dropping.call = None;
                dropping.retry = retry;
                if dropping.problem != problem {
                    problem.clone_into(&mut dropping.problem);
                    fx.push(drop_failed_event(Some(vip), problem));
                    self.pulse.hurry();
                }
            }
        }
    }

    /// Only now may it be confirmed.
    pub(super) fn persisted(&mut self, call: Call, fx: &mut Vec<Effect>) {
        let Some(written) = self.writing.remove(&call) else {
            return;
        };
        self.spent.spend(&written.vip, &written.addresses, written.epoch);
        let vip = written.vip;
        if let Some(Record::Spending(spending)) = self.records.get(&vip)
            && spending.call == Some(call)
        {
            let epoch = spending.epoch;
            self.records.insert(vip.clone(), Record::Confirming(epoch));
            self.pulse.hurry();
            fx.push(Effect::Event(Event::Released { vip, epoch }));
        }
    }

    pub(super) fn persist_failed(
        &mut self,
        now: Clocks,
        call: Call,
        problem: String,
        fx: &mut Vec<Effect>,
    ) {
        let Some(written) = self.writing.remove(&call) else {
            return;
        };
        if let Some(Record::Spending(spending)) = self.records.get_mut(&written.vip)
            && spending.call == Some(call)
        {
            if spending.retry.is_none() {
                let vip = written.vip;
                fx.push(Effect::Event(Event::PersistFailed { vip, problem }));
            }
            spending.call = None;
            spending.retry = Some(Timer::new(now, RETRY));
        }
    }
}

fn drop_failed_event(vip: Option<VipName>, problem: &str) -> Effect {
    let problem = problem.to_owned();
    Effect::Event(Event::DropFailed { vip, problem })
}

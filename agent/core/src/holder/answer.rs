//! What an answer of the leader changes.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use vipfence_types::{Answer, Clocks, Epoch, Grant, Mutation, VipEpoch, VipName};

use super::Holder;
use crate::lease::Lease;
use crate::pulse::Contact;
use crate::record::{Dropping, Holding, Kernel, Leaving, Record, bare};
use crate::{Effect, EndCause, Event};

/// What an answer says of one VIP.
enum Word {
    Grant(Grant),
    /// With the grant that stands beside it, if any.
    Release(Epoch, Option<Grant>),
}

impl Word {
    fn epoch(&self) -> Epoch {
        match self {
            Self::Grant(grant) => grant.at.epoch,
            Self::Release(epoch, _) => *epoch,
        }
    }
}

impl Holder {
    pub(super) fn answered(&mut self, now: Clocks, mut answer: Answer, fx: &mut Vec<Effect>) {
        let Some(mut sent) = self.pulse.answered(answer.seq) else {
            return;
        };
        if Mutation::LeaseFromReceipt.is_on() {
            sent = now;
        }
        if !matches!(self.pulse.contact, Contact::Answered(term) if term == answer.term) {
            fx.push(Effect::Event(Event::LeaderAnswers { term: answer.term }));
        }
        self.pulse.contact = Contact::Answered(answer.term);
        self.joined = true;
        self.lapsed.clear();
        self.heard_at(now, answer.seq, true);
        let before = core::mem::take(&mut self.refused);

        let nowhere = core::mem::take(&mut answer.nowhere);
        let reach = core::mem::take(&mut answer.reach);
        let granted = answer.grants.iter().map(|grant| grant.at.clone()).collect();
        let words = words_of(answer);
        self.see_epochs(&words, fx);
        // What ends comes before what begins: an address may go from one VIP to another.
        self.end_unmentioned(now, &words, fx);
        let mut grants = Vec::new();
        for (vip, word) in words {
            match word {
                Word::Release(epoch, beside) => {
                    let beside = beside.map(|grant| (lease_of(sent, &grant), grant));
                    self.release(now, &vip, epoch, beside, fx);
                }
                Word::Grant(grant) => grants.push(grant),
            }
        }
        for grant in grants {
            self.granted(now, sent, grant, &before, fx);
        }
        self.tasks_hear_of_grants(&granted);
        self.go_nowhere(now, nowhere, fx);
        self.reaches.asked(reach);
        if !self.sweep.spare.is_empty() {
            // Whatever of an earlier start is not granted again goes.
            self.sweep.spare.clear();
            self.sweep.wanted = true;
        }
    }

    fn see_epochs(&mut self, words: &BTreeMap<VipName, Word>, fx: &mut Vec<Effect>) {
        let seen = words.values().map(Word::epoch).max().unwrap_or_default();
        if seen > self.highest_epoch {
            self.highest_epoch = seen;
            fx.push(Effect::PersistHighest { epoch: seen });
        }
    }

    /// In neither list: dropped at once, nothing owed. What was confirmed is confirmed.
    fn end_unmentioned(
        &mut self,
        now: Clocks,
        words: &BTreeMap<VipName, Word>,
        fx: &mut Vec<Effect>,
    ) {
        let names: Vec<VipName> = self.records.keys().cloned().collect();
        for vip in names {
            let mentioned = words.get(&vip).map(Word::epoch);
            match self.records.get_mut(&vip) {
                Some(Record::Holding(_)) if mentioned.is_none() => {
                    self.end_holding(now, &vip, fx);
                }
                Some(Record::Dropping(dropping)) if mentioned.is_none() => dropping.owed = None,
                Some(Record::Confirming(epoch)) if mentioned != Some(*epoch) => {
                    self.records.remove(&vip);
                }
                Some(
                    Record::Holding(_)
                    | Record::Dropping(_)
                    | Record::Spending(_)
                    | Record::Confirming(_),
                )
                | None => {}
            }
        }
    }

    /// The leader wants this VIP back, confirmed at this epoch. Beside a grant it leaves time for
    /// the tasks that come before the drop, and renews the lease meanwhile.
    fn release(
        &mut self,
        now: Clocks,
        vip: &VipName,
        epoch: Epoch,
        beside: Option<(Lease, Grant)>,
        fx: &mut Vec<Effect>,
    ) {
        let addresses = beside.as_ref().map(|(_, grant)| bare(&grant.addresses));
        let record = match self.records.remove(vip) {
            Some(Record::Holding(holding)) => {
                self.release_held(now, vip, holding, epoch, beside.as_ref(), fx)
            }
            Some(Record::Dropping(dropping)) if dropping.owed.is_none() => {
                // Dropped anew: a drop that owes nothing leaves out what another VIP has.
                Record::Dropping(Dropping::new(dropping.addresses, Some(epoch)))
            }
            Some(Record::Dropping(mut dropping)) => {
                dropping.owed = Some(epoch);
                Record::Dropping(dropping)
            }
            Some(Record::Spending(spending)) if spending.epoch == epoch => {
                Record::Spending(spending)
            }
            Some(Record::Confirming(confirmed)) if confirmed == epoch => {
                Record::Confirming(confirmed)
            }
            // No memory of it, or of another epoch: the kernel is read back all the same.
            Some(Record::Spending(_) | Record::Confirming(_)) | None => {
                Record::Dropping(Dropping::new(addresses, Some(epoch)))
            }
        };
        self.records.insert(vip.clone(), record);
    }

    fn release_held(
        &mut self,
        now: Clocks,
        vip: &VipName,
        holding: Holding,
        owed: Epoch,
        beside: Option<&(Lease, Grant)>,
        fx: &mut Vec<Effect>,
    ) -> Record {
        let renewed = beside.filter(|(lease, grant)| {
            let same = grant.at.epoch == holding.epoch && grant.addresses == holding.addresses;
            same && !lease.left(now).is_zero()
        });
        if let Some((lease, _)) = renewed
            && self.serves(vip, holding.epoch)
        {
            let leaving = Some(Leaving { owed, cause: EndCause::Released });
            return Record::Holding(Holding { lease: *lease, leaving, ..holding });
        }
        self.announce_end(now, vip, holding.epoch, EndCause::Released, fx);
        Record::Dropping(Dropping::new(Some(bare(&holding.addresses)), Some(owed)))
    }

    fn granted(
        &mut self,
        now: Clocks,
        sent: Clocks,
        grant: Grant,
        refused_before: &BTreeSet<VipEpoch>,
        fx: &mut Vec<Effect>,
    ) {
        let granted = grant.at.clone();
        let spent = self.spent.forbids(&granted.vip, &bare(&grant.addresses), granted.epoch)
            && !Mutation::SpentAccepted.is_on()
            || self.has_served(&granted.vip, granted.epoch);
        // Below the epoch held: a registry that was restored. It has to come up with a higher
        // epoch; until then the lease that this node has runs on, and ends.
        let below = matches!(
            self.records.get(&granted.vip),
            Some(Record::Holding(holding)) if granted.epoch < holding.epoch
        );
        if !spent && !below {
            self.take(now, sent, grant, fx);
            return;
        }
        if spent {
            self.end_holding(now, &granted.vip, fx);
        }
        // A stopping node that let go unasked wants no new epoch in its place.
        if !self.is_stopping() {
            if !refused_before.contains(&granted) {
                self.pulse.hurry();
                fx.push(Effect::Event(Event::GrantRefused {
                    vip: granted.vip.clone(),
                    epoch: granted.epoch,
                }));
            }
            self.refused.insert(granted);
        }
    }

    /// A grant that may be taken. Whether it is depends on what this node is doing.
    fn take(&mut self, now: Clocks, sent: Clocks, grant: Grant, fx: &mut Vec<Effect>) {
        let lease = lease_of(sent, &grant);
        let (vip, epoch) = (grant.at.vip, grant.at.epoch);
        let stopping = self.is_stopping();
        match self.records.get_mut(&vip) {
            Some(Record::Holding(holding)) if holding.addresses != grant.addresses => {
                // The old addresses go first; the next answer brings the new ones.
                self.end_holding(now, &vip, fx);
                return;
            }
            // It is on its way out, whatever the epoch.
            Some(Record::Holding(holding))
                if stopping && holding.leaving.is_some() && epoch != holding.epoch =>
            {
                return;
            }
            Some(Record::Holding(holding)) => {
                holding.lease = lease;
                self.tells.hear(now, &vip, grant.cut);
                if epoch > holding.epoch {
                    // A new entry: the address stays, and is read back anew.
                    holding.epoch = epoch;
                    holding.kernel = Kernel::default();
                    holding.leaving = None;
                    fx.push(entitled(&vip, epoch));
                }
                return;
            }
            // What is being released does not come back under the same epoch.
            Some(Record::Dropping(dropping)) if dropping.owed.is_some_and(|owed| epoch <= owed) => {
                return;
            }
            Some(Record::Dropping(dropping)) if !dropping.is_within(&bare(&grant.addresses)) => {
                dropping.owed = None;
                return;
            }
            Some(Record::Dropping(_) | Record::Spending(_) | Record::Confirming(_)) | None => {}
        }
        // A grant that came too late is worth nothing, and a stopping node takes nothing new.
        if !lease.left(now).is_zero() && !self.is_stopping() {
            fx.push(entitled(&vip, epoch));
            let holding = Holding::new(epoch, grant.addresses, lease, grant.probe);
            self.tells.hear(now, &vip, grant.cut);
            self.records.insert(vip, Record::Holding(holding));
        }
    }

    /// Ends an entitlement that the leader does not renew.
    fn end_holding(&mut self, now: Clocks, vip: &VipName, fx: &mut Vec<Effect>) {
        if let Some(Record::Holding(holding)) = self.records.get(vip) {
            let epoch = holding.epoch;
            let dropping = Dropping::new(Some(bare(&holding.addresses)), None);
            self.records.insert(vip.clone(), Record::Dropping(dropping));
            self.announce_end(now, vip, epoch, EndCause::NotGranted, fx);
        }
    }
}

fn lease_of(sent: Clocks, grant: &Grant) -> Lease {
    Lease::new(sent, Duration::from_millis(grant.lease_ttl_ms), grant.hold_without_quorum)
}

fn entitled(vip: &VipName, epoch: Epoch) -> Effect {
    Effect::Event(Event::Entitled { vip: vip.clone(), epoch })
}

/// One word per VIP. A release weighs more than a grant of the same or a lower epoch beside it;
/// of two grants of one VIP, which no leader gives, the higher counts.
fn words_of(answer: Answer) -> BTreeMap<VipName, Word> {
    let mut words: BTreeMap<VipName, Word> = BTreeMap::new();
    for grant in answer.grants {
        let known = words.get(&grant.at.vip).map(Word::epoch);
        if known.is_none_or(|known| known < grant.at.epoch) {
            words.insert(grant.at.vip.clone(), Word::Grant(grant));
        }
    }
    for releasing in answer.releasing {
        let beside = match words.get(&releasing.vip) {
            Some(word) if word.epoch() > releasing.epoch => continue,
            Some(Word::Grant(grant) | Word::Release(_, Some(grant))) => Some(grant.clone()),
            Some(Word::Release(_, None)) | None => None,
        };
        words.insert(releasing.vip, Word::Release(releasing.epoch, beside));
    }
    words
}

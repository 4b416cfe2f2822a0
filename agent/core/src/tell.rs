//! Telling clients that their connections are over (what CTDB calls tickle ACKs).
//!
//! With late release Azure has detached the address before the old holder cuts its connections, so
//! that its resets reach nobody. The new holder is handed those connections and sends each other end
//! one bare ACK, from the VIP: it is answered with the true sequence numbers, to which the kernel,
//! which knows no such connection, replies with a reset that counts.
//!
//! Told only while the address is held and was read back: what is sent has it as its source.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::Serialize;
use vipfence_types::{Clocks, Connection, VipAddress, VipName};

use crate::Effect;
use crate::lease::Timer;
use crate::record::{Holding, Record};

/// When it is said, counted from the leader's word: at once, since the address is attached by then;
/// and again, since a datagram may be lost, a kernel answers twice a second at most, and packets may
/// follow Azure's word only a little later.
const AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// One that begins later than so long after its moment is left out.
const WITHIN: Duration = Duration::from_millis(100);

/// What this node has to tell, of VIPs that it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Tells(BTreeMap<VipName, Telling>);

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Telling {
    /// As the leader gave them, so that they are known again.
    given: Vec<Connection>,
    since: Clocks,
    said: usize,
}

impl Tells {
    /// The leader's word of a VIP that is held: nothing, the same again, or something new.
    pub(crate) fn hear(&mut self, now: Clocks, vip: &VipName, given: Vec<Connection>) {
        if !given.is_empty() && self.0.get(vip).is_none_or(|known| known.given != given) {
            self.0.insert(vip.clone(), Telling { given, since: now, said: 0 });
        }
    }

    /// Says what is due, where the address is in the kernel and for as long as the lease lasts; what is
    /// held no more is forgotten.
    pub(crate) fn plan(
        &mut self,
        now: Clocks,
        records: &BTreeMap<VipName, Record>,
        fx: &mut Vec<Effect>,
    ) {
        self.0.retain(|vip, _| matches!(records.get(vip), Some(Record::Holding(_))));
        for (vip, telling) in &mut self.0 {
            let Some(holding) = added(now, records, vip) else {
                continue;
            };
            let connections = telling.say(now, &holding.addresses);
            if !connections.is_empty() {
                let (vip, start_within) = (vip.clone(), WITHIN.min(holding.lease.left(now)));
                fx.push(Effect::Tell { vip, connections, computed_at: now, start_within });
            }
        }
    }

    /// How long until time alone asks for something.
    pub(crate) fn wait(&self, now: Clocks, records: &BTreeMap<VipName, Record>) -> Duration {
        let able = self.0.iter().filter(|(vip, _)| added(now, records, vip).is_some());
        able.filter_map(|(_, telling)| telling.wait(now)).min().unwrap_or(Duration::MAX)
    }
}

fn added<'a>(
    now: Clocks,
    records: &'a BTreeMap<VipName, Record>,
    vip: &VipName,
) -> Option<&'a Holding> {
    match records.get(vip) {
        Some(Record::Holding(holding)) if holding.is_added(now) => Some(holding),
        Some(
            Record::Holding(_) | Record::Dropping(_) | Record::Spending(_) | Record::Confirming(_),
        )
        | None => None,
    }
}

impl Telling {
    /// How long until it is said the next time; none = it was said often enough.
    fn wait(&self, now: Clocks) -> Option<Duration> {
        let after = AFTER.get(self.said)?;
        Some(Timer::new(self.since, *after).left(now))
    }

    /// What is to be said now, of connections to these addresses and no others.
    fn say(&mut self, now: Clocks, held: &[VipAddress]) -> Vec<Connection> {
        if self.wait(now).is_none_or(|wait| !wait.is_zero()) {
            return vec![];
        }
        // After a pause once is enough.
        while self.wait(now).is_some_and(|wait| wait.is_zero()) {
            self.said += 1;
        }
        let ours = |one: &&Connection| held.iter().any(|held| held.address == one.vip.ip());
        self.given.iter().filter(ours).copied().collect()
    }
}

//! Whether this node reaches VIPs that others hold: the data-path check.
//!
//! The leader asks, this node tries until it has an answer, and its heartbeats say so for as long as
//! the leader asks. Nothing here entitles anybody to anything.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use serde::Serialize;
use vipfence_types::{Clocks, Epoch, Mutation, Reach, VipEpoch, VipName};

use crate::lease::Timer;
use crate::{Call, Effect};

/// The pause after an attempt without an answer.
const RETRY: Duration = Duration::from_millis(250);
/// How long an attempt may take.
const WITHIN: Duration = Duration::from_secs(1);

/// What this node is asked to reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Reaches(BTreeMap<VipName, Reaching>);

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Reaching {
    epoch: Epoch,
    target: SocketAddr,
    call: Option<Call>,
    retry: Option<Timer>,
    reached: bool,
}

impl Reaches {
    /// The leader asks for these, and for nothing else.
    pub(crate) fn asked(&mut self, asked: Vec<Reach>) {
        let mut before = core::mem::take(&mut self.0);
        for Reach { at, target } in asked {
            let known = before.remove(&at.vip);
            let any = Mutation::AttemptKept.is_on();
            let same = known
                .filter(|known| (any || known.epoch == at.epoch) && known.target == target)
                .map(|known| Reaching { epoch: at.epoch, ..known });
            let new =
                || Reaching { epoch: at.epoch, target, call: None, retry: None, reached: false };
            self.0.insert(at.vip, same.unwrap_or_else(new));
        }
    }

    pub(crate) fn plan(&mut self, now: Clocks, last_call: &mut u64, fx: &mut Vec<Effect>) {
        for reaching in self.0.values_mut() {
            let waits = reaching.retry.is_some_and(|retry| !retry.is_over(now));
            if reaching.reached || reaching.call.is_some() || waits {
                continue;
            }
            *last_call += 1;
            let call = Call(*last_call);
            reaching.call = Some(call);
            fx.push(Effect::Reach { call, target: reaching.target, within: WITHIN });
        }
    }

    /// How an attempt ended. Returns whether there is news for the leader.
    pub(crate) fn tried(&mut self, now: Clocks, call: Call, reached: bool) -> bool {
        let Some(reaching) = self.0.values_mut().find(|one| one.call == Some(call)) else {
            return false;
        };
        reaching.call = None;
        reaching.reached = reached;
        reaching.retry = Some(Timer::new(now, RETRY));
        reached
    }

    pub(crate) fn wait(&self, now: Clocks) -> Duration {
        let open = self.0.values().filter(|one| !one.reached && one.call.is_none());
        let waits = open.map(|one| one.retry.map_or(Duration::ZERO, |retry| retry.left(now)));
        waits.min().unwrap_or(Duration::MAX)
    }

    pub(crate) fn reached(&self) -> Vec<VipEpoch> {
        let reached = self.0.iter().filter(|(_, one)| one.reached);
        reached.map(|(vip, one)| VipEpoch { vip: vip.clone(), epoch: one.epoch }).collect()
    }
}

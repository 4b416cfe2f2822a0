//! Asks the services behind VIPs whether they are well, and tells the node.
//!
//! ```text
//!   one task per check: probe -> Check (counts) --+
//!   one task per check: probe -> Check (counts) --+--> one verdict per VIP --> node
//! ```
//!
//! A check probes at its interval, one probe at a time, each with an end. A check of the holder runs
//! while the VIP is served here, and knows nothing when it begins. A VIP is failing as long as one of
//! its checks is.
//!
//! Deliberately not here: how many probes make a verdict (`vipfence_agent_core::Check`), and what
//! follows from one (the leader's).

mod probe;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use tracing::{info, warn};
use vipfence_agent_core::{Check, CheckRules, Verdict};
use vipfence_types::VipName;

pub(crate) use probe::{HttpProbe, Probe, Prober};

/// How many verdicts may wait.
const VERDICTS_KEPT: usize = 64;

/// A check, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckSetup {
    /// Its name, for people.
    pub(crate) name: String,
    /// What is asked.
    pub(crate) probe: Probe,
    /// Where.
    pub(crate) on: CheckOn,
    /// From the beginning of a probe to that of the next.
    pub(crate) interval: Duration,
    /// How long a probe may take.
    pub(crate) timeout: Duration,
    /// How many of them count.
    pub(crate) rules: CheckRules,
}

/// Where a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckOn {
    /// On every node that has it in its file.
    Any,
    /// Only where the VIP is served, once all is done that its acquisition asks for.
    Holder,
}

/// The VIPs that this node serves.
pub(crate) type Served = watch::Receiver<BTreeSet<VipName>>;

/// Who is told that a VIP is failing, and why; or that it is not any more.
pub(crate) type Told = dyn Fn(VipName, Option<String>) -> BoxFuture<'static, ()> + Send + Sync;

/// The number of a check, and why it is failing.
type Found = (usize, Option<String>);

/// Follows the checks of one VIP until nobody can be told of them.
pub(crate) async fn follow(
    vip: VipName,
    checks: Vec<CheckSetup>,
    prober: Arc<Prober>,
    served: Served,
    told: Box<Told>,
) {
    let (found, mut verdicts) = mpsc::channel::<Found>(VERDICTS_KEPT);
    // They end with this task.
    let mut tasks = tokio::task::JoinSet::new();
    for (at, setup) in checks.into_iter().enumerate() {
        let one = OneCheck { vip: vip.clone(), at, setup, found: found.clone() };
        tasks.spawn(one.run(Arc::clone(&prober), served.clone()));
    }
    drop(found);
    let mut failing = BTreeMap::new();
    while let Some((at, problem)) = verdicts.recv().await {
        let before: Vec<String> = failing.values().cloned().collect();
        match problem {
            Some(problem) => failing.insert(at, problem),
            None => failing.remove(&at),
        };
        let now: Vec<String> = failing.values().cloned().collect();
        if now == before {
            continue;
        }
        let reason = (!now.is_empty()).then(|| now.join("; "));
        match &reason {
            Some(reason) => warn!(%vip, "the service is not well on this node: {reason}"),
            None => info!(%vip, "the service is well on this node"),
        }
        told(vip.clone(), reason).await;
    }
}

struct OneCheck {
    vip: VipName,
    at: usize,
    setup: CheckSetup,
    found: mpsc::Sender<Found>,
}

impl OneCheck {
    async fn run(self, prober: Arc<Prober>, mut served: Served) {
        match self.setup.on {
            CheckOn::Any => self.probe_on(&prober).await,
            CheckOn::Holder => {
                while served.wait_for(|served| served.contains(&self.vip)).await.is_ok() {
                    tokio::select! {
                        () = self.probe_on(&prober) => return,
                        gone = served.wait_for(|served| !served.contains(&self.vip)) => {
                            if gone.is_err() { return }
                        }
                    }
                    // Who does not serve is not failing by it.
                    if self.found.send((self.at, None)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Probes until nobody wants to know.
    async fn probe_on(&self, prober: &Prober) {
        let mut check = Check::new(self.setup.rules);
        let mut ticks = tokio::time::interval(self.setup.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let probe = prober.ask(&self.vip, &self.setup.probe);
            let answer = tokio::time::timeout(self.setup.timeout, probe).await;
            let answer = answer.unwrap_or_else(|_| {
                Err(format!("no answer within {} ms", self.setup.timeout.as_millis()))
            });
            if !check.probed(answer.is_ok()) {
                continue;
            }
            let failing = answer.err().filter(|_| check.verdict() == Verdict::Failing);
            let failing = failing.map(|problem| format!("{}: {problem}", self.setup.name));
            if self.found.send((self.at, failing)).await.is_err() {
                return;
            }
        }
    }
}

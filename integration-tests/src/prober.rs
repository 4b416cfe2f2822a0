//! A client of the VIP that asks every 20 ms and remembers what it got.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::{http, runtime, wait_until};

const EVERY: Duration = Duration::from_millis(20);
/// A request without an answer by then is lost.
const WITHIN: Duration = Duration::from_secs(1);

/// What the VIP answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Served {
    /// The node that answered.
    pub node: String,
    /// The VIP.
    pub vip: String,
    /// The epoch under which it had it.
    pub epoch: u64,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Probe {
    /// When it was sent.
    pub sent: Instant,
    /// When it was answered or given up.
    pub ended: Instant,
    /// The answer.
    pub result: Result<Served, String>,
}

/// Asks until it is dropped. Each request has a connection of its own and waits for no other one,
/// so that a request that hangs does not hide what the others would have seen.
#[derive(Debug)]
pub struct Prober {
    probes: Arc<Mutex<Vec<Probe>>>,
    asking: JoinHandle<()>,
}

impl Prober {
    /// Starts asking, and returns when the first answer is there.
    ///
    /// # Panics
    /// If there is none within 5 s.
    #[must_use]
    pub fn start(url: &str) -> Self {
        let probes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&probes);
        let url = url.to_owned();
        let asking = runtime::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let (url, into) = (url.clone(), Arc::clone(&into));
                tokio::spawn(async move {
                    let probe = probe(&url).await;
                    into.lock().unwrap_or_else(PoisonError::into_inner).push(probe);
                });
            }
        });
        let prober = Self { probes, asking };
        wait_until("the VIP answers", Duration::from_secs(5), || {
            prober.so_far().last_good().map(|_| ()).ok_or("no answer yet")
        });
        prober
    }

    /// What there is until now, by the time of the end.
    #[must_use]
    pub fn so_far(&self) -> Probes {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        probes.sort_by_key(|probe| probe.ended);
        Probes(probes)
    }

    /// Waits for an answer to a request that was sent after `after`, from a node that `accept`s.
    ///
    /// # Panics
    /// If there is none within `limit`.
    #[must_use]
    pub fn answer(&self, after: Instant, limit: Duration, accept: impl Fn(&str) -> bool) -> Probe {
        wait_until("the VIP answers as expected", limit, || {
            let probes = self.so_far();
            let fits = |probe: &&Probe| {
                probe.sent >= after && probe.result.as_ref().is_ok_and(|got| accept(&got.node))
            };
            let found = probes.0.iter().find(fits).cloned();
            found.ok_or_else(|| format!("{:?}", probes.0.last().map(|probe| &probe.result)))
        })
    }

    /// Stops asking. Requests under way are given up.
    #[must_use]
    pub fn stop(self) -> Probes {
        self.asking.abort();
        self.so_far()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

async fn probe(url: &str) -> Probe {
    let sent = Instant::now();
    let answer = http::ask("GET", url, "", WITHIN).await;
    let result = match answer {
        Ok(answer) if answer.status == 200 => {
            serde_json::from_str(&answer.body).map_err(|error| format!("{error}: {}", answer.body))
        }
        Ok(answer) => Err(format!("{}: {}", answer.status, answer.body)),
        Err(error) => Err(error.to_string()),
    };
    Probe { sent, ended: Instant::now(), result }
}

/// What a prober saw, by the time of the end.
#[derive(Clone, Debug)]
pub struct Probes(pub Vec<Probe>);

impl Probes {
    fn good(&self) -> impl Iterator<Item = &Probe> {
        self.0.iter().filter(|probe| probe.result.is_ok())
    }

    fn last_good(&self) -> Option<&Probe> {
        self.good().last()
    }

    /// The longest time between two good answers that follow each other: what a client calls the
    /// outage.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let ends: Vec<Instant> = self.good().map(|probe| probe.ended).collect();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::MAX)
    }

    /// What was asked and not answered.
    #[must_use]
    pub fn lost(&self) -> Vec<&Probe> {
        self.0.iter().filter(|probe| probe.result.is_err()).collect()
    }
}

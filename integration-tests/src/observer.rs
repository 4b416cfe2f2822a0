//! Watches the responders of all nodes, and tells whether two of them ever had the VIP at once (I1).
//!
//! A good answer to a request that was sent at `s` and received at `t` proves that its node had the
//! VIP, under the epoch in the answer, at *some* moment in `[s, t]`; two answers whose windows
//! overlap prove nothing by themselves. But an epoch belongs to one node (I5), and epochs are given
//! one after the other, each after the one before is over. So:
//!
//! 1. an epoch is answered by one node only;
//! 2. once an answer with epoch `e` was received, no request that is *sent* afterwards is answered
//!    with a lower epoch.
//!
//! These two are all that can be said, and nothing is lost: where they hold, the moment between the
//! last `s` of all epochs up to `e` and the first `t` of those above it parts their holders, so that
//! a history without two holders explains everything that was seen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::http::{Connection, split};
use crate::prober::Served;
use crate::{HttpAnswer, ManifestNode, runtime};

const EVERY: Duration = Duration::from_millis(10);
/// Where an answer does not come, the next request is sent after so long all the same: a process
/// that goes on after a stop finds one that is not older.
const PATIENCE: Duration = Duration::from_millis(50);
const CONNECT: Duration = Duration::from_millis(100);

/// A good answer of a responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The node that was asked, and answered.
    pub node: String,
    /// The epoch that it named.
    pub epoch: u64,
    /// When the request was sent.
    pub sent: Instant,
    /// When the answer was there.
    pub received: Instant,
}

/// What the tasks write down.
#[derive(Clone, Debug, Default)]
struct Notes {
    seen: Arc<Mutex<Vec<Sighting>>>,
    /// Good answers that are not what a responder may say.
    wrong: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicU64>,
}

/// Asks every responder every 10 ms, each on its own connection, until it is dropped.
#[derive(Debug)]
pub struct Observer {
    notes: Notes,
    asking: Vec<JoinHandle<()>>,
}

impl Observer {
    /// Starts asking for a VIP.
    #[must_use]
    pub fn start(nodes: &[ManifestNode], vip: &str) -> Self {
        let notes = Notes::default();
        let follow = |node: &ManifestNode| {
            let url = format!("{}/{vip}", node.responder);
            runtime::spawn(watch(node.name.clone(), url, notes.clone()))
        };
        let asking = nodes.iter().map(follow).collect();
        Self { notes, asking }
    }

    /// Stops asking.
    #[must_use]
    pub fn stop(self) -> Sightings {
        let mut seen = lock(&self.notes.seen).clone();
        seen.sort_by_key(|sighting| sighting.received);
        let wrong = lock(&self.notes.wrong).clone();
        Sightings { seen, wrong, asked: self.notes.asked.load(Ordering::Relaxed) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Observer {
    fn drop(&mut self) {
        for task in &self.asking {
            task.abort();
        }
    }
}

async fn watch(node: String, url: String, notes: Notes) {
    let (address, path) = split(&url);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        notes.asked.fetch_add(1, Ordering::Relaxed);
        // A connection that a stopped process has not accepted would come late when it goes on;
        // one that it has accepted is kept over the stop.
        let Ok(Ok(connection)) = timeout(CONNECT, Connection::open(address)).await else {
            continue;
        };
        let (mut requests, mut answers) = connection.into_split();
        let (send, mut receive) = mpsc::unbounded_channel();
        let reading = tokio::spawn(async move {
            while let Ok(answer) = answers.next().await {
                if send.send((answer, Instant::now())).is_err() {
                    return;
                }
            }
        });
        let mut under_way: VecDeque<Instant> = VecDeque::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if under_way.back().is_some_and(|last| last.elapsed() < PATIENCE) {
                        continue;
                    }
                    under_way.push_back(Instant::now());
                    notes.asked.fetch_add(1, Ordering::Relaxed);
                    if requests.send("GET", &path, "").await.is_err() {
                        break;
                    }
                }
                answer = receive.recv() => {
                    let (Some((answer, received)), Some(sent)) = (answer, under_way.pop_front())
                    else {
                        break;
                    };
                    notes.take(&node, &answer, sent, received);
                }
            }
        }
        reading.abort();
    }
}

impl Notes {
    fn take(&self, node: &str, answer: &HttpAnswer, sent: Instant, received: Instant) {
        if answer.status != 200 {
            return;
        }
        match serde_json::from_str::<Served>(&answer.body) {
            Ok(served) if served.node == node => {
                let (node, epoch) = (served.node, served.epoch);
                lock(&self.seen).push(Sighting { node, epoch, sent, received });
            }
            Ok(_) | Err(_) => lock(&self.wrong).push(format!("{node} said {}", answer.body)),
        }
    }
}

/// What an observer saw, in the order of the answers.
#[derive(Clone, Debug)]
pub struct Sightings {
    /// The good answers.
    pub seen: Vec<Sighting>,
    /// Answers that are not what the responder may say.
    pub wrong: Vec<String>,
    /// How many requests were made.
    pub asked: u64,
}

impl Sightings {
    /// The nodes that had the VIP, by epoch.
    ///
    /// # Errors
    /// Two nodes had it at once; the text says which, and how that was seen. Or a responder spoke
    /// nonsense.
    pub fn holders(&self) -> Result<BTreeMap<u64, String>, String> {
        if let Some(wrong) = self.wrong.first() {
            return Err(wrong.clone());
        }
        let mut holders: BTreeMap<u64, &Sighting> = BTreeMap::new();
        for sighting in &self.seen {
            let first = holders.entry(sighting.epoch).or_insert(sighting);
            if first.node != sighting.node {
                return Err(format!("one epoch, two nodes: {first:?} and {sighting:?}"));
            }
        }
        // In the order of sending, with the highest epoch that had been received by then.
        let mut by_sending: Vec<&Sighting> = self.seen.iter().collect();
        by_sending.sort_by_key(|sighting| sighting.sent);
        let mut received = self.seen.iter().peekable();
        let mut highest: Option<&Sighting> = None;
        for sighting in by_sending {
            while let Some(before) = received.next_if(|other| other.received <= sighting.sent) {
                if highest.is_none_or(|known| known.epoch < before.epoch) {
                    highest = Some(before);
                }
            }
            if let Some(highest) = highest.filter(|known| known.epoch > sighting.epoch) {
                return Err(format!("a lower epoch after a higher one: {highest:?}, {sighting:?}"));
            }
        }
        Ok(holders.into_iter().map(|(epoch, first)| (epoch, first.node.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(list: &[(&str, u64, u64, u64)]) -> Sightings {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let sighting = |(node, epoch, sent, received): &(&str, u64, u64, u64)| Sighting {
            node: (*node).to_owned(),
            epoch: *epoch,
            sent: at(*sent),
            received: at(*received),
        };
        let mut seen: Vec<Sighting> = list.iter().map(sighting).collect();
        seen.sort_by_key(|sighting| sighting.received);
        Sightings { seen, wrong: Vec::new(), asked: 0 }
    }

    #[test]
    fn windows_that_overlap_prove_nothing() {
        let history = seen(&[("n1", 1, 0, 10), ("n2", 2, 4, 6), ("n2", 2, 20, 21)]);
        let holders = history.holders().expect("a possible history");
        assert_eq!(holders.into_values().collect::<Vec<_>>(), ["n1", "n2"]);
    }

    #[test]
    fn an_epoch_of_two_nodes_is_noticed() {
        let error = seen(&[("n1", 1, 0, 1), ("n2", 1, 50, 51)]).holders().unwrap_err();
        assert!(error.starts_with("one epoch, two nodes"), "{error}");
    }

    #[test]
    fn a_lower_epoch_after_a_higher_one_is_noticed() {
        let history = [("n1", 1, 0, 1), ("n2", 2, 2, 5), ("n1", 1, 6, 7), ("n2", 2, 8, 9)];
        let error = seen(&history).holders().unwrap_err();
        assert!(error.starts_with("a lower epoch after a higher one"), "{error}");
        // Sent while the higher one was still on its way: it may have been answered before.
        let history = [("n1", 1, 0, 1), ("n2", 2, 2, 5), ("n1", 1, 4, 7), ("n2", 2, 8, 9)];
        seen(&history).holders().expect("a possible history");
    }
}

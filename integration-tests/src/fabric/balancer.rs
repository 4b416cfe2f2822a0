//! Azure's internal load balancer, as far as a VIP behind it can tell: one frontend with floating IP,
//! and a health probe that opens a connection to each node every 5 s. Two failures take a node out,
//! one answer brings it back. A packet for the frontend goes to a node that answers, unchanged, or
//! nowhere; flows that were there do not keep their node, which is harder on clients than Azure.
//!
//! [`ProbeWatch`] asks the same port of all nodes many times a second, for who answers at all.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::network::{Network, PROBE_SOURCE};

const INTERVAL: Duration = Duration::from_secs(5);
const FAILURES: u32 = 2;
/// How often who watches asks.
const WATCHED_EVERY: Duration = Duration::from_millis(20);

/// Whether the node's kernel completes a connection from Azure's probe to the port.
fn answers(node: Ipv4Addr, port: u16, within: Duration) -> bool {
    let ask = || -> rustix::io::Result<()> {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(within))?;
        bind(&socket, &SocketAddr::from((PROBE_SOURCE, 0)))?;
        connect(&socket, &SocketAddr::from((node, port)))
    };
    ask().is_ok()
}

/// Which nodes answer, and where packets go.
#[derive(Debug, Default)]
struct Backends {
    /// The failures of each since its last answer; none = it never answered.
    failures: BTreeMap<String, u32>,
    chosen: Option<String>,
}

impl Backends {
    fn probed(&mut self, node: &str, answered: bool) {
        if answered {
            self.failures.insert(node.to_owned(), 0);
        } else if let Some(failures) = self.failures.get_mut(node) {
            *failures += 1;
        }
        self.failures.retain(|_, failures| *failures < FAILURES);
        let stays = self.chosen.as_ref().is_some_and(|node| self.failures.contains_key(node));
        if !stays {
            self.chosen = self.failures.keys().next().cloned();
        }
    }
}

/// Threads that end when it is dropped.
#[derive(Debug, Default)]
struct Threads {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    fn repeat(&mut self, every: Duration, mut act: impl FnMut() + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let next = Instant::now() + every;
                act();
                while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                    let left = next.saturating_duration_since(Instant::now());
                    thread::sleep(left.min(Duration::from_millis(20)));
                }
            }
        }));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The load balancer, until it is dropped.
#[derive(Debug)]
pub struct LoadBalancer {
    _threads: Threads,
}

impl LoadBalancer {
    pub(super) fn start(network: &Arc<Network>, frontend: Ipv4Addr, port: u16) -> Self {
        let backends = Arc::new(Mutex::new(Backends::default()));
        let mut threads = Threads::default();
        for node in &network.nodes {
            let (name, address) = (node.name.clone(), node.first_nic().address);
            let (network, backends) = (Arc::clone(network), Arc::clone(&backends));
            threads.repeat(INTERVAL, move || {
                let answered = answers(address, port, INTERVAL);
                let mut backends = lock(&backends);
                let before = backends.chosen.clone();
                backends.probed(&name, answered);
                if backends.chosen != before {
                    network.balance(frontend.into(), backends.chosen.as_deref());
                }
            });
        }
        Self { _threads: threads }
    }
}

/// Who answers the probe, asked all the time, until it is dropped.
#[derive(Debug)]
pub struct ProbeWatch {
    /// The nodes that answered, each as often as it did, in the order of the answers.
    answered: Arc<Mutex<Vec<String>>>,
    _threads: Threads,
}

impl ProbeWatch {
    pub(super) fn start(network: &Arc<Network>, port: u16) -> Self {
        let answered = Arc::<Mutex<Vec<String>>>::default();
        let mut threads = Threads::default();
        for node in &network.nodes {
            let (name, address) = (node.name.clone(), node.first_nic().address);
            let answered = Arc::clone(&answered);
            threads.repeat(WATCHED_EVERY, move || {
                if answers(address, port, WATCHED_EVERY) {
                    lock(&answered).push(name.clone());
                }
            });
        }
        Self { answered, _threads: threads }
    }

    /// The nodes that have answered, without repetitions: `[a, b]` says that `a` never answered again
    /// after `b` had begun to.
    #[must_use]
    pub fn passed_through(&self) -> Vec<String> {
        let mut nodes = lock(&self.answered).clone();
        nodes.dedup();
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_failures_take_a_node_out_and_one_answer_brings_it_back() {
        let mut backends = Backends::default();
        backends.probed("b", true);
        backends.probed("a", true);
        assert_eq!(backends.chosen.as_deref(), Some("b"), "nothing moves while it answers");
        backends.probed("b", false);
        assert_eq!(backends.chosen.as_deref(), Some("b"));
        backends.probed("b", false);
        assert_eq!(backends.chosen.as_deref(), Some("a"));
        backends.probed("a", false);
        backends.probed("a", false);
        assert_eq!(backends.chosen, None);
        backends.probed("b", false);
        backends.probed("b", true);
        assert_eq!(backends.chosen.as_deref(), Some("b"));
    }
}

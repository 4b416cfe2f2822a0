//! Lets the network follow Azure: what the simulator calls effectively attached is where packets go.
//!
//! A long poll of `/admin/attachments`, answered as soon as something changes; then one transaction
//! of nft. How long that takes is measured, and belongs to every outage that is seen here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::network::Network;
use crate::get;

/// How long the simulator may keep a poll: less than a request may take.
const POLL_MS: u64 = 1_000;

#[derive(Deserialize)]
struct Attachments {
    version: u64,
    attachments: BTreeMap<String, String>,
}

/// A change of the network.
#[derive(Clone, Debug)]
pub struct Rerouted {
    /// When it was in force.
    pub at: Instant,
    /// How long before that the simulator's answer was there.
    pub took: Duration,
    /// The NICs that addresses are at.
    pub attached: BTreeMap<IpAddr, String>,
}

/// Follows until it is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    changes: Arc<Mutex<Vec<Rerouted>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(super) fn start(admin: String, network: Arc<Network>) -> Self {
        let (changes, stop) = (Arc::<Mutex<Vec<Rerouted>>>::default(), Arc::default());
        let (into, stopped) = (Arc::clone(&changes), Arc::clone(&stop));
        let thread = thread::spawn(move || follow(&admin, &network, &into, &stopped));
        Self { changes, stop, thread: Some(thread) }
    }

    pub(super) fn changes(&self) -> Vec<Rerouted> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(admin: &str, network: &Network, into: &Mutex<Vec<Rerouted>>, stop: &AtomicBool) {
    let mut url = format!("{admin}/attachments");
    while !stop.load(Ordering::Relaxed) {
        let Ok(answer) = get(&url) else {
            // The simulator has gone: its last word counts.
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let asked = Instant::now();
        let news: Attachments = serde_json::from_str(&answer.body).expect("attachments");
        url = format!("{admin}/attachments?after={}&wait_ms={POLL_MS}", news.version);
        let mut changes = into.lock().unwrap_or_else(PoisonError::into_inner);
        let attached = of_vips(network, &news.attachments);
        if changes.last().is_none_or(|last| last.attached != attached) {
            network.attach(&attached);
            let at = Instant::now();
            changes.push(Rerouted { at, took: at - asked, attached });
        }
    }
}

/// The addresses that are at a node's NIC without being its own.
fn of_vips(network: &Network, found: &BTreeMap<String, String>) -> BTreeMap<IpAddr, String> {
    let mut attached = BTreeMap::new();
    for (address, id) in found {
        let address: IpAddr = address.parse().expect("an address");
        let nic = id.rsplit('/').next().and_then(|name| network.nic(name));
        if let Some((_, nic)) = nic.filter(|(_, nic)| !nic.addresses().contains(&address)) {
            attached.insert(address, nic.name.clone());
        }
    }
    attached
}

//! Metrics of a node. Counters derive from the replicated events; gauges are read when scraped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use vipfence_agent_core::HeldVip;
use vipfence_coordinator::consensus::{Consensus, Leadership};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVip {
    vip: String,
}

/// The metrics of this process.
pub(crate) struct Metrics {
    registry: Registry,
    events: Family<OfKind, Counter>,
    leader: Gauge,
    term: Gauge<u64, AtomicU64>,
    revision: Gauge<u64, AtomicU64>,
    held: Family<OfVip, Gauge>,
    epoch: Family<OfVip, Gauge<u64, AtomicU64>>,
    lease: Family<OfVip, Gauge<f64, AtomicU64>>,
    seen: AtomicU64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("vipfence"),
            events: Family::default(),
            leader: Gauge::default(),
            term: Gauge::default(),
            revision: Gauge::default(),
            held: Family::default(),
            epoch: Family::default(),
            lease: Family::default(),
            seen: AtomicU64::new(0),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "events",
            "What the cluster agreed on since this process started, by kind",
            metrics.events.clone(),
        );
        registry.register("leader", "1 if this node leads", metrics.leader.clone());
        registry.register("term", "The Raft term", metrics.term.clone());
        registry.register("revision", "Revision of the state applied", metrics.revision.clone());
        registry.register("vip_held", "1 if this node has the VIP", metrics.held.clone());
        registry.register("vip_epoch", "The epoch under which it has it", metrics.epoch.clone());
        registry.register(
            "vip_lease_left_seconds",
            "What is left of its lease",
            metrics.lease.clone(),
        );
        metrics
    }

    /// Counts events as they are applied.
    pub(crate) async fn follow(metrics: Arc<Self>, consensus: Consensus) {
        let mut applied = consensus.applied();
        let mut last = applied.borrow().state.last_event;
        while applied.changed().await.is_ok() {
            let state = Arc::clone(&applied.borrow_and_update().state);
            metrics.seen.store(state.revision.0, Ordering::Relaxed);
            for event in state.events.iter().filter(|event| event.number > last) {
                let kind = event.kind.as_str().to_lowercase();
                metrics.events.get_or_create(&OfKind { kind }).inc();
            }
            last = last.max(state.last_event);
        }
    }

    pub(crate) fn scrape(&self, leadership: &Leadership, held: &[HeldVip]) -> String {
        self.leader.set(i64::from(leadership.leading));
        self.term.set(leadership.term.0);
        self.revision.set(self.seen.load(Ordering::Relaxed));
        self.held.clear();
        self.epoch.clear();
        self.lease.clear();
        for vip in held {
            let of = OfVip { vip: vip.vip.to_string() };
            self.held.get_or_create(&of).set(1);
            self.epoch.get_or_create(&of).set(vip.epoch.0);
            self.lease.get_or_create(&of).set(vip.lease_left.as_secs_f64());
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}

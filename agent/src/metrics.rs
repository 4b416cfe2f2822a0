//! Metrics of a node. Counters derive from the replicated events, and from what goes to and fro between
//! this process and Azure; gauges are read when scraped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use vipfence_agent_core::{EndCause, Event, HeldVip};
use vipfence_coordinator::{
    Tally,
    consensus::{Consensus, Leadership},
};
use vipfence_coordinator_core::{Method, ProblemKind, Registry as State, Withheld, WithheldWhy};

use crate::node::NodeTally;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVip {
    vip: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfProblem {
    kind: &'static str,
    needs_human: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAddressEvent {
    kind: &'static str,
}

/// The metrics of this process.
pub(crate) struct Metrics {
    registry: Registry,
    events: Family<OfKind, Counter>,
    requests: Family<OfRequest, Counter>,
    problems: Family<OfProblem, Counter>,
    addresses: Family<OfAddressEvent, Counter>,
    drifted: Gauge,
    blocked: Gauge,
    withheld: Gauge,
    flapping: Family<OfVip, Gauge>,
    pending: Gauge,
    paused: Gauge,
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
            requests: Family::default(),
            problems: Family::default(),
            addresses: Family::default(),
            drifted: Gauge::default(),
            blocked: Gauge::default(),
            withheld: Gauge::default(),
            flapping: Family::default(),
            pending: Gauge::default(),
            paused: Gauge::default(),
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
        registry.register(
            "azure_requests",
            "Requests of this process to Azure Resource Manager that have ended, by method and \
             outcome (ok, not_sent, or the kind of problem that the answer means)",
            metrics.requests.clone(),
        );
        registry.register(
            "azure_problems",
            "Problems with Azure that this process met while it led, by kind; needs_human=true: \
             it lasts until somebody changes something in Azure",
            metrics.problems.clone(),
        );
        registry.register(
            "address_events",
            "What happened to addresses of VIPs on this node since its agent started: added, \
             dropped, add_failed, drop_failed, lease_ended; disturbed and stray were done by \
             something else on this machine",
            metrics.addresses.clone(),
        );
        registry.register(
            "vips_drifted",
            "VIPs of which Azure disagrees with the committed state, as applied on this node",
            metrics.drifted.clone(),
        );
        registry.register(
            "moves_blocked",
            "Open moves that say why they do not proceed, as applied on this node",
            metrics.blocked.clone(),
        );
        metrics.register_restraints();
        let registry = &mut metrics.registry;
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

    fn register_restraints(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "vips_withheld",
            "VIPs that stay at a holder that should lose them, as applied on this node: no candidate \
             is eligible, the flap budget is spent, or moves are paused",
            self.withheld.clone(),
        );
        registry.register(
            "vip_flap_budget_spent",
            "1 if the health of the VIP has moved it too often: it stays",
            self.flapping.clone(),
        );
        registry.register(
            "failovers_pending",
            "Failovers that wait for somebody's word, as applied on this node",
            self.pending.clone(),
        );
        registry.register(
            "pauses",
            "Pauses of automatic moves, of VIPs, nodes and the cluster, as applied on this node",
            self.paused.clone(),
        );
    }

    fn scrape_restraints(&self, state: &State) {
        let restraints = || state.vips.values().map(|record| (&record.name, &record.restraint));
        self.withheld.set(count(restraints().filter_map(|(_, one)| one.withheld.as_ref())));
        self.flapping.clear();
        let is_spent = |one: &Withheld| one.why == WithheldWhy::FlapBudgetSpent;
        for (vip, one) in restraints() {
            let spent = i64::from(one.withheld.as_ref().is_some_and(is_spent));
            self.flapping.get_or_create(&OfVip { vip: vip.to_string() }).set(spent);
        }
        let pending = restraints().filter_map(|(_, one)| one.pending.as_ref());
        self.pending.set(count(pending.filter(|pending| pending.answer.is_none())));
        self.paused.set(count(state.holds().into_iter()));
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

    pub(crate) fn scrape(
        &self,
        leadership: &Leadership,
        state: &State,
        held: &[HeldVip],
    ) -> String {
        self.drifted.set(count(state.vips.values().filter(|record| record.drift.is_some())));
        let open = state.vips.keys().filter_map(|vip| state.open_move(vip));
        self.blocked.set(count(open.filter(|open| !open.blocked_reason.is_empty())));
        self.scrape_restraints(state);
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

fn count<T>(all: impl Iterator<Item = T>) -> i64 {
    i64::try_from(all.count()).unwrap_or(i64::MAX)
}

impl NodeTally for Metrics {
    fn event(&self, event: &Event) {
        let kind = match event {
            Event::Added { .. } => "added",
            Event::Dropped { .. } => "dropped",
            Event::AddFailed { .. } => "add_failed",
            Event::DropFailed { .. } => "drop_failed",
            Event::NotEntitled { cause: EndCause::LeaseEnded, .. } => "lease_ended",
            Event::Disturbed { .. } => "disturbed",
            Event::Stray { .. } => "stray",
            _ => return,
        };
        self.addresses.get_or_create(&OfAddressEvent { kind }).inc();
    }
}

impl Tally for Metrics {
    fn request(&self, method: Method, outcome: &'static str) {
        let method = match method {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
        };
        self.requests.get_or_create(&OfRequest { method, outcome }).inc();
    }

    fn problem(&self, kind: &ProblemKind) {
        let needs_human = if kind.needs_human() { "true" } else { "false" };
        self.problems.get_or_create(&OfProblem { kind: kind.name(), needs_human }).inc();
    }
}

#[cfg(test)]
mod tests {
    use vipfence_types::Term;

    use super::*;

    #[test]
    fn what_something_else_does_to_an_address_is_counted() {
        let metrics = Metrics::new();
        for _ in 0..2 {
            metrics.event(&Event::Stray { address: [10, 5, 0, 110].into() });
        }
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        assert!(text.contains("vipfence_address_events_total{kind=\"stray\"} 2"), "{text}");
    }

    #[test]
    fn requests_and_problems_are_counted_by_what_became_of_them() {
        let metrics = Metrics::new();
        metrics.request(Method::Get, "ok");
        metrics.request(Method::Put, "forbidden");
        metrics.request(Method::Put, "forbidden");
        metrics.problem(&ProblemKind::Forbidden);
        metrics.problem(&ProblemKind::Later);
        let leadership = Leadership { term: Term(3), leader: None, leading: false };
        let text = metrics.scrape(&leadership, &State::default(), &[]);
        for line in [
            "vipfence_azure_requests_total{method=\"GET\",outcome=\"ok\"} 1",
            "vipfence_azure_requests_total{method=\"PUT\",outcome=\"forbidden\"} 2",
            "vipfence_azure_problems_total{kind=\"forbidden\",needs_human=\"true\"} 1",
            "vipfence_azure_problems_total{kind=\"later\",needs_human=\"false\"} 1",
            "vipfence_vips_drifted 0",
            "vipfence_moves_blocked 0",
            "vipfence_vips_withheld 0",
            "vipfence_failovers_pending 0",
            "vipfence_pauses 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in:\n{text}");
        }
    }
}

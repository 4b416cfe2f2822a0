//! A service that dies while its node lives.

use std::time::Duration;

use integration_tests::{Blow, ClusterOptions, FabricCluster, Outcome, failover, in_enclosure};

use super::{LIMIT, tell, within_twice};

/// Three failures of a check every 0.5 s.
const DETECTION: Duration = Duration::from_millis(1_500);
/// `1.1 * two operations + 0.5 s`, operations of 2 s.
const MOVED: Duration = Duration::from_millis(4_900);
const TWO_PROBES: Duration = Duration::from_secs(10);
const PROBE_PORT: u16 = 63_001;

fn service_dies(probe_port: Option<u16>) -> Outcome {
    let options = ClusterOptions { checked: true, probe_port, ..ClusterOptions::default() };
    let cluster = FabricCluster::start(&options);
    let (leader, holder) = cluster.leader_apart();
    let before = cluster.history().passed_through().len();
    let outcome = failover(&cluster, &holder, Blow::KillService);
    tell(&outcome);
    let vip = cluster.vip();
    assert!(vip.holder != holder, "{holder} and {leader}: {vip:?}");
    assert_eq!(vip.budgeted_moves.len(), 1);
    assert_eq!(cluster.proves_one_holder().passed_through().len(), before + 1, "it moved once");
    outcome
}

#[test]
fn a_service_that_dies_is_replaced_without_waiting_for_a_lease() {
    in_enclosure(LIMIT, || {
        let outcome = service_dies(None);
        within_twice("outage of a dead service", outcome.outage, DETECTION + MOVED);
    });
}

#[test]
fn a_service_that_dies_behind_a_load_balancer_is_replaced_by_two_probes() {
    in_enclosure(LIMIT, || {
        let outcome = service_dies(Some(PROBE_PORT));
        let promised = DETECTION + TWO_PROBES;
        within_twice("outage of a dead service, behind a load balancer", outcome.outage, promised);
    });
}

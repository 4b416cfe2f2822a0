//! VIPs behind a load balancer: who answers its probe, and how long clients wait.

use std::time::{Duration, Instant};

use integration_tests::{
    Blow, ClusterOptions, FabricCluster, failover, in_enclosure, planned_move,
};

use super::{LIMIT, tell, within_twice};

const PROBE_PORT: u16 = 63_001;
const TWO_PROBES: Duration = Duration::from_secs(10);
/// The longer of `lease_wait` (5.6 s) and `failover_after` (3 s) of the fast profile.
const LEASE_WAIT: Duration = Duration::from_millis(5_612);

fn cluster() -> FabricCluster {
    let probe_port = Some(PROBE_PORT);
    FabricCluster::start(&ClusterOptions { probe_port, ..ClusterOptions::default() })
}

#[test]
fn only_the_holder_answers_the_probe_and_clients_follow_it() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let journal = cluster.fabric.simulator().last_entry();
        let (_, first) = cluster.leader_apart();
        let watch = cluster.fabric.watch_probes(PROBE_PORT);
        let second = cluster.another(&[&first]);
        let outcome = planned_move(&cluster, &second);
        tell(&outcome);
        within_twice("planned, behind a load balancer", outcome.outage, TWO_PROBES);
        // A backend of a load balancer cannot reach itself through it: it has the address.
        let own = cluster.fabric.pinger_of(&second, cluster.vip_address());
        own.answer(Instant::now(), Duration::from_secs(5), |node| node == second);
        assert_eq!(cluster.fabric.simulator().writes_after(journal), [], "no NIC is written");
        assert_eq!(watch.passed_through(), [first, second]);
        cluster.proves_one_holder();
    });
}

#[test]
fn a_holder_that_is_killed_stops_or_is_cut_off_answers_no_probe_when_another_does() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        for blow in [Blow::FreezeNode, Blow::KillAgent, Blow::CutLink] {
            let (_, holder) = cluster.leader_apart();
            let watch = cluster.fabric.watch_probes(PROBE_PORT);
            let outcome = failover(&cluster, &holder, blow);
            tell(&outcome);
            let promised = LEASE_WAIT + TWO_PROBES;
            within_twice(&format!("{blow:?}, behind a load balancer"), outcome.outage, promised);
            let seen = watch.passed_through();
            assert_eq!(seen.len(), 2, "each in its turn: {seen:?}");
            assert_eq!(seen.first(), Some(&holder));
        }
        cluster.proves_one_holder();
    });
}

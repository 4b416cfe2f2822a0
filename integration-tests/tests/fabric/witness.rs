//! Two members and a witness: what a third vote without a NIC of its own is good for, and what it
//! never does.

use std::time::{Duration, Instant};

use integration_tests::{Blow, ClusterOptions, FabricCluster, failover, in_enclosure, leader_dies};

use super::{FAILOVER, LIMIT, tell, within_twice};

const WITNESS: &str = "w3";
/// One election more, and a lease that a new leader counts from its election.
const ELECTION: Duration = Duration::from_millis(1_500);

fn cluster() -> FabricCluster {
    let nodes = &["n1", "n2", WITNESS];
    FabricCluster::start(&ClusterOptions { nodes, ..ClusterOptions::default() })
}

/// Hits the holder. The other member serves in time, and nobody else has had the address.
fn the_other_member_takes_over(cluster: &FabricCluster, blow: Blow, promised: Duration) {
    let holder = cluster.settled().vips[0].holder.clone();
    let (other, struck) = (cluster.another(&[&holder]), Instant::now());
    let outcome = failover(cluster, &holder, blow);
    tell(&outcome);
    within_twice(&format!("{blow:?}: the other member serves"), outcome.replaced_after, promised);
    let history = cluster.history();
    let (lost, got) = (history.lost(&holder, struck), history.got(&other, struck));
    assert!(lost.zip(got).is_some_and(|(lost, got)| lost <= got), "{lost:?} {got:?}");
}

fn only_members_had_it(cluster: FabricCluster) {
    let history = cluster.proves_one_holder();
    assert!(!history.passed_through().contains(&WITNESS), "{:?}", history.passed_through());
}

#[test]
fn a_witness_that_leads_gives_the_vip_of_a_lost_holder_to_the_other_member() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let refused = cluster.command(&["move", "demo", "--to", WITNESS]);
        assert_eq!(refused.exit, 3, "{}", refused.output);
        for blow in [Blow::KillAgent, Blow::CutLink] {
            // A member that was cut off has stood for election all the while, and its later term
            // may end a term of the witness when it is back.
            cluster.lead(WITNESS);
            the_other_member_takes_over(&cluster, blow, FAILOVER);
        }
        // A leader that never holds: its death costs nobody anything.
        cluster.lead(WITNESS);
        let before = cluster.vip();
        let outcome = leader_dies(&cluster, WITNESS, Duration::from_secs(4));
        tell(&outcome);
        assert_eq!(outcome.lost, 0);
        let after = cluster.vip();
        assert_eq!((after.holder, after.epoch), (before.holder, before.epoch));
        only_members_had_it(cluster);
    });
}

#[test]
fn one_member_and_the_witness_are_enough_when_the_holder_that_led_is_lost() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        cluster.lead(&cluster.vip().holder);
        the_other_member_takes_over(&cluster, Blow::CutLink, FAILOVER + ELECTION);
        only_members_had_it(cluster);
    });
}

//! Holders that die in every way, and who is entitled in between.

use std::time::{Duration, Instant};

use integration_tests::{Blow, FabricCluster, failover, in_enclosure};

use super::{FAILOVER, LEASE, LIMIT, cluster, tell, within_twice};

/// Hits the holder; another serves in time, and had the address only after the kernel of the first
/// had dropped it by itself.
fn replaced_in_time(cluster: &FabricCluster, holder: &str, blow: Blow, promised: Duration) {
    let before = Instant::now();
    let outcome = failover(cluster, holder, blow);
    tell(&outcome);
    within_twice(&format!("{blow:?}: answered by another"), outcome.replaced_after, promised);
    let history = cluster.history();
    let dropped = history.lost(holder, before).expect("the old kernel dropped it");
    let others = history.0.iter().filter(|seen| seen.node != holder && seen.is_there);
    let added = others.map(|seen| seen.at).find(|at| *at >= before).expect("another added it");
    println!("the old kernel was rid of it {:?} before the new one had it", added - dropped);
    assert!(dropped <= added);
}

#[test]
fn a_killed_agent_loses_the_address_by_the_kernel_alone_before_another_adds_it() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let (_, holder) = cluster.leader_apart();
        replaced_in_time(&cluster, &holder, Blow::KillAgent, FAILOVER);
        let (_, holder) = cluster.leader_apart();
        replaced_in_time(&cluster, &holder, Blow::KillNode, FAILOVER);
        cluster.proves_one_holder();
    });
}

#[test]
fn a_holder_whose_link_is_cut_is_replaced_in_time_and_comes_back_quietly() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let (_, holder) = cluster.leader_apart();
        replaced_in_time(&cluster, &holder, Blow::CutLink, FAILOVER);
        cluster.proves_one_holder();
    });
}

#[test]
fn a_node_that_stands_still_loses_the_address_by_the_kernel_alone_before_another_adds_it() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let (_, holder) = cluster.leader_apart();
        replaced_in_time(&cluster, &holder, Blow::FreezeNode, FAILOVER);
        cluster.proves_one_holder();
    });
}

#[test]
fn a_holder_that_leads_is_replaced_in_time_however_it_dies() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        for blow in [Blow::KillAgent, Blow::CutLink] {
            let both = cluster.leader_holds();
            // One election more, and a lease that a new leader counts from its election.
            replaced_in_time(&cluster, &both, blow, FAILOVER + Duration::from_millis(1_500));
        }
        cluster.proves_one_holder();
    });
}

#[test]
fn a_partition_where_all_reach_azure_never_makes_two_holders_and_heals_without_a_word() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let holder = cluster.leader_holds();
        let outcome = integration_tests::partition(&cluster, &holder, Duration::from_secs(25));
        tell(&outcome);
        within_twice("partition: answered by another", outcome.replaced_after, FAILOVER + LEASE);
        let (vip, moved) = (cluster.vip(), cluster.history().passed_through().len());
        assert_ne!(vip.holder, holder);
        // Nothing flaps: for two leases every packet is answered by the same node.
        let (pinger, healed) = (cluster.pinger(), Instant::now());
        pinger.answer(healed + 2 * LEASE, 4 * LEASE, |_| true);
        let pings = pinger.stop();
        assert_eq!(pings.lost(), 0);
        assert_eq!(pings.answered_by().into_keys().collect::<Vec<_>>(), [vip.holder]);
        assert_eq!(cluster.proves_one_holder().passed_through().len(), moved);
    });
}

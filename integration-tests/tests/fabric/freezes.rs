//! Processes that stand still for shorter and for longer than a lease, and go on as if nothing were.

use std::time::Instant;

use integration_tests::{FabricCluster, in_enclosure};

use super::{LEASE, LIMIT, cluster};

/// Freezes, thaws after so long, and lets the cluster settle. Returns whether the holder changed.
fn freeze(
    cluster: &FabricCluster,
    who: &str,
    tenths_of_a_lease: u32,
    freeze: impl Fn(&str) -> Instant,
) -> bool {
    let before = cluster.vip();
    let pinger = cluster.pinger();
    let frozen = freeze(who);
    let length = LEASE * tenths_of_a_lease / 10;
    integration_tests::eventually("it was long enough", 2 * length, || frozen.elapsed() >= length);
    cluster.thaw(who);
    let thawed = Instant::now();
    cluster.settled();
    pinger.answer(thawed, LEASE * 4, |_| true);
    let pings = pinger.stop();
    let after = cluster.vip();
    println!(
        "{who} for {length:?}: {} (epoch {}) -> {} (epoch {}), outage {:.2?}, lost {}",
        before.holder,
        before.epoch,
        after.holder,
        after.epoch,
        pings.longest_outage(),
        pings.lost()
    );
    after.holder != before.holder
}

#[test]
fn an_agent_that_stands_still_keeps_the_vip_for_half_a_lease_and_loses_it_for_three() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        for (tenths, moves) in [(5, false), (15, true), (30, true)] {
            let (_, holder) = cluster.leader_apart();
            let moved = freeze(&cluster, &holder, tenths, |node| cluster.freeze_agent(node));
            assert_eq!(moved, moves, "{tenths} tenths of a lease");
        }
        cluster.proves_one_holder();
    });
}

#[test]
fn a_leader_that_stands_still_moves_no_vip_of_another_node() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        for tenths in [5, 15, 30] {
            let (leader, _) = cluster.leader_apart();
            let moved = freeze(&cluster, &leader, tenths, |node| cluster.freeze_agent(node));
            assert!(!moved, "{tenths} tenths of a lease");
        }
        cluster.proves_one_holder();
    });
}

#[test]
fn leader_and_holder_that_stand_still_at_once_come_back_to_one_holder() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        for tenths in [5, 12, 30] {
            let both = cluster.leader_holds();
            freeze(&cluster, &both, tenths, |node| cluster.freeze_agent(node));
        }
        // Two nodes, so that nobody is left to decide anything.
        let (leader, holder) = cluster.leader_apart();
        let since = cluster.freeze_agent(&leader);
        let _ = cluster.freeze_agent(&holder);
        integration_tests::eventually("two leases", LEASE * 4, || since.elapsed() >= LEASE * 2);
        assert!(cluster.history().lost(&holder, since).is_some(), "its kernel dropped it");
        cluster.thaw(&leader);
        cluster.thaw(&holder);
        cluster.settled();
        cluster.proves_one_holder();
    });
}

#[test]
fn a_whole_node_that_stands_still_for_up_to_three_leases_never_makes_two_holders() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        for (tenths, moves) in [(5, false), (30, true)] {
            let holder = cluster.vip().holder;
            let moved = freeze(&cluster, &holder, tenths, |node| cluster.freeze_node(node));
            assert_eq!(moved, moves, "{tenths} tenths of a lease");
        }
        cluster.proves_one_holder();
    });
}

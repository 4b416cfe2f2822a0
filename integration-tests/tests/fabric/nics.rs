//! Nodes with two NICs: each address of a VIP at the interface of its NIC, and all of them as one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use integration_tests::{
    Blow, ClusterOptions, FabricCluster, History, VIP_OF_SECOND_NIC, VIPS, failover, in_enclosure,
    planned_move,
};

use super::{FAILOVER, LIMIT, PLANNED, tell, within_twice};

const BOTH: [Ipv4Addr; 2] = [VIPS[0], VIP_OF_SECOND_NIC];

fn cluster(addresses: &'static [&'static str]) -> FabricCluster {
    FabricCluster::start(&ClusterOptions { nics: 2, addresses, ..ClusterOptions::default() })
}

/// I1; and no address was ever at another interface than that of its NIC.
fn proves_one_holder_by_the_right_nic(cluster: FabricCluster) -> History {
    let history = cluster.proves_one_holder();
    for seen in &history.0 {
        let of_second = seen.address == IpAddr::V4(VIP_OF_SECOND_NIC);
        assert_eq!(seen.interface, if of_second { "eth1" } else { "eth0" }, "{seen:?}");
    }
    history
}

#[test]
fn a_vip_of_the_second_nic_is_served_moved_and_failed_over_there() {
    in_enclosure(LIMIT, || {
        let cluster = cluster(&["10.5.2.110@nic1"]);
        let (_, holder) = cluster.leader_apart();
        let outcome = planned_move(&cluster, &cluster.another(&[&holder]));
        tell(&outcome);
        within_twice("outage of a planned move, second NIC", outcome.outage, PLANNED);
        let (_, holder) = cluster.leader_apart();
        let killed = Instant::now();
        let outcome = failover(&cluster, &holder, Blow::KillAgent);
        tell(&outcome);
        within_twice("killed agent, second NIC", outcome.replaced_after, FAILOVER);
        let history = proves_one_holder_by_the_right_nic(cluster);
        assert!(history.lost(&holder, killed).is_some(), "its kernel dropped it");
    });
}

#[test]
fn a_vip_with_an_address_on_each_nic_moves_and_fails_over_as_one() {
    in_enclosure(LIMIT, || {
        let cluster = cluster(&["10.5.0.110", "10.5.2.110@nic1"]);
        let (_, holder) = cluster.leader_apart();
        let second = cluster.fabric.pinger(VIP_OF_SECOND_NIC);
        second.answer(Instant::now(), LIMIT, |node| node == holder);
        let to = cluster.another(&[&holder]);
        let outcome = planned_move(&cluster, &to);
        tell(&outcome);
        within_twice("outage of a planned move, two NICs", outcome.outage, PLANNED);
        second.answer(Instant::now(), LIMIT, |node| node == to);
        within_twice("the same, second NIC", second.so_far().longest_outage(), PLANNED);
        // Both cables.
        let (_, holder) = cluster.leader_apart();
        let cut = Instant::now();
        let outcome = failover(&cluster, &holder, Blow::CutLink);
        tell(&outcome);
        within_twice("both NICs cut: answered by another", outcome.replaced_after, FAILOVER);
        let by_second = second.answer(cut, LIMIT, |node| node != holder);
        within_twice("the same, second NIC", by_second - cut, FAILOVER);
        let history = proves_one_holder_by_the_right_nic(cluster);
        let [first, second] = BOTH.map(|address| history.of(address));
        assert_eq!(first.passed_through(), second.passed_through());
        for of_one in [first, second] {
            assert!(of_one.lost(&holder, cut).is_some(), "its kernel dropped both");
        }
    });
}

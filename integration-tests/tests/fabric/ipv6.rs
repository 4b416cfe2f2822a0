//! A VIP of both families: one grant, one move, and each address as its family wants it.

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::time::Instant;

use integration_tests::{
    Blow, ClusterOptions, FabricCluster, VIP_V6, VIPS, failover, in_enclosure, planned_move,
};

use super::{FAILOVER, LIMIT, PLANNED, tell, within_twice};

const CLIENT: &str = "fd00:5:1::4";

/// From where the kernel sends, if nobody, or somebody, says which address it is to be.
fn source(cluster: &FabricCluster, node: &str, asked_for: Option<IpAddr>) -> IpAddr {
    let any = asked_for.unwrap_or_else(|| "::".parse().unwrap());
    cluster.fabric.namespace(node).run(move || {
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect((CLIENT, 9)).unwrap();
        socket.local_addr().unwrap().ip()
    })
}

/// Usable at once, chosen for nothing else, and its neighbours know.
fn stands_as_it_should(cluster: &FabricCluster, holder: &str) {
    let mut ip = Command::new("ip");
    ip.args(["-n", holder, "-6", "-o", "address", "show", "to", &format!("{VIP_V6}/128")]);
    let shown = String::from_utf8(ip.output().unwrap().stdout).unwrap();
    assert!(shown.contains("nodad") && shown.contains("deprecated"), "{shown}");
    assert!(!shown.contains("tentative") && !shown.contains("dadfailed"), "{shown}");
    let vip = IpAddr::V6(VIP_V6);
    assert_eq!(source(cluster, holder, None), IpAddr::V6(cluster.fabric.address_v6(holder)));
    assert_eq!(source(cluster, holder, Some(vip)), vip);
}

#[test]
fn a_vip_of_both_families_is_served_moved_and_failed_over_as_one() {
    in_enclosure(LIMIT, || {
        let addresses = &["fd00:5::6e", "10.5.0.110"];
        let cluster = FabricCluster::start(&ClusterOptions { addresses, ..Default::default() });
        let (_, holder) = cluster.leader_apart();
        let to = cluster.another(&[&holder]);
        let (both, told) = (cluster.fabric.pinger(VIPS[0]), cluster.fabric.advertised());
        let outcome = planned_move(&cluster, &to);
        tell(&outcome);
        within_twice("outage of a planned move, IPv6", outcome.outage, PLANNED);
        assert_eq!(cluster.fabric.advertised(), told + 1, "neighbours are told once");
        stands_as_it_should(&cluster, &to);
        let (_, holder) = cluster.leader_apart();
        let killed = Instant::now();
        let outcome = failover(&cluster, &holder, Blow::KillAgent);
        tell(&outcome);
        within_twice("killed agent: answered by another, IPv6", outcome.replaced_after, FAILOVER);
        let by_v4 = both.answer(killed, LIMIT, |node| node != holder);
        within_twice("the same, IPv4 beside it", by_v4 - killed, FAILOVER);
        stands_as_it_should(&cluster, &cluster.vip().holder);
        let history = cluster.proves_one_holder();
        for address in [IpAddr::V6(VIP_V6), IpAddr::V4(VIPS[0])] {
            let gone = |seen: &&integration_tests::Seen| {
                seen.address == address && seen.node == holder && seen.at >= killed
            };
            let first = history.0.iter().find(gone);
            assert!(first.is_some_and(|seen| !seen.is_there), "its kernel dropped {address}");
        }
    });
}

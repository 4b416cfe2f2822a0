//! Cables and links: what goes without a word, and what comes back.

use std::time::{Duration, Instant};

use integration_tests::{Fault, in_enclosure};

use super::{FAILOVER, LEASE, LIMIT, cluster, within_twice};

#[test]
fn a_leader_that_vanishes_without_a_reset_costs_the_holder_nothing() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let (leader, holder) = cluster.leader_apart();
        let (before, pinger, kept) = (cluster.vip(), cluster.pinger(), cluster.connect());
        let gone = cluster.cut(&leader);
        // Connections to it hang: nothing says that it is gone. A dead one would do so for minutes.
        let status = cluster.settled_without(&[&leader]);
        assert_ne!(status.leader, leader);
        pinger.answer(gone + 2 * LEASE, 4 * LEASE, |node| node == holder);
        let (pings, kept) = (pinger.stop(), kept.so_far());
        assert_eq!(pings.lost(), 0, "outage {:?}", pings.longest_outage());
        assert!(kept.broken.is_none(), "{kept:?}");
        assert_eq!(cluster.vip().epoch, before.epoch);
        cluster.fabric.heal();
        cluster.settled();
        cluster.proves_one_holder();
    });
}

#[test]
fn a_holder_whose_cable_is_pulled_and_put_back_is_neither_doubled_nor_orphaned() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        // Out for long: another takes over, and the old one comes back without the address.
        let (_, holder) = cluster.leader_apart();
        let pinger = cluster.pinger();
        let pulled = Instant::now();
        cluster.fabric.pull_cable(&holder);
        let answered = pinger.answer(pulled, LIMIT, |node| node != holder);
        within_twice("cable pulled: answered by another", answered - pulled, FAILOVER);
        cluster.settled_without(&[&holder]);
        cluster.fabric.put_cable_back(&holder);
        let status = cluster.settled();
        assert_ne!(status.vips[0].holder, holder);
        // Out for a moment, and down inside the node: whoever holds it, it is served again.
        let holder = cluster.vip().holder;
        cluster.fabric.pull_cable(&holder);
        cluster.fabric.put_cable_back(&holder);
        cluster.fabric.bounce_interface(&holder);
        let back = Instant::now();
        cluster.settled();
        pinger.answer(back, LIMIT, |_| true);
        cluster.proves_one_holder();
    });
}

#[test]
fn links_that_fail_one_way_lose_packets_or_are_slow_never_make_two_holders() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let faults: [fn(String) -> Fault; 5] = [
            Fault::Mute,
            Fault::Deaf,
            Fault::WithoutAzure,
            |node| Fault::Lossy(node, 30),
            |node| Fault::Slow(node, Duration::from_millis(20)),
        ];
        for fault in faults {
            let holder = cluster.leader_holds();
            let fault = fault(holder.clone());
            let (pinger, since) = (cluster.pinger(), Instant::now());
            cluster.fabric.suffer([fault.clone()]);
            let lasting = Duration::from_secs(10);
            integration_tests::eventually("its time", 2 * lasting, || since.elapsed() >= lasting);
            cluster.fabric.heal();
            let healed = Instant::now();
            cluster.settled();
            pinger.answer(healed, LIMIT, |_| true);
            let pings = pinger.stop();
            println!("{fault:?}: outage {:.2?}, lost {}", pings.longest_outage(), pings.lost());
        }
        cluster.proves_one_holder();
    });
}

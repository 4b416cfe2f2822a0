//! How long clients wait when a node dies, and when a VIP is moved.

use std::time::{Duration, Instant};

use integration_tests::{Dev, DevOptions, Turn, eventually, is_alive};
use rustix::process::Signal;

/// The holder is killed; the VIP answers from another node within twice the promise.
fn the_holder_dies(dev: &Dev, holder: &str, promised: Duration) {
    let (observer, prober) = (dev.observer(), dev.prober());
    let before = dev.vip();
    let killed = dev.kill(holder);
    let answer = prober.answer(killed, promised * 3, |node| node != holder);
    let took = answer.ended - killed;
    println!("answered by another node after {took:?} (promised: {promised:?})");
    assert!(took <= promised * 2, "{took:?}");
    let status = dev.settled_without(&[holder]);
    let after = &status.vips[0];
    assert_ne!(after.holder, holder);
    assert!(after.epoch > before.epoch, "{} is not above {}", after.epoch, before.epoch);
    let served = answer.result.expect("a good answer");
    assert_eq!((served.node, served.epoch), (after.holder.clone(), after.epoch));
    let sightings = observer.stop();
    let holders = sightings.holders().unwrap_or_else(|two| panic!("{two}"));
    assert_eq!(holders.get(&after.epoch), Some(&after.holder), "{holders:?}");
}

#[test]
fn a_killed_holder_is_replaced_in_time() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::default());
    let (leader, holder) = dev.leader_apart();
    the_holder_dies(&dev, &holder, Duration::from_secs(7));
    assert_eq!(dev.leader(), leader, "the leader has nothing to do with it");
}

#[test]
fn a_killed_node_that_held_and_led_is_replaced_in_time() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::default());
    let node = dev.leader_holds();
    the_holder_dies(&dev, &node, Duration::from_secs(8));
}

#[test]
fn a_killed_leader_that_holds_nothing_costs_no_request() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::default());
    let (leader, holder) = dev.leader_apart();
    let before = dev.vip();
    let journal = dev.simulator().last_entry();
    let prober = dev.prober();
    let killed = dev.kill(&leader);
    let status = dev.settled_without(&[&leader]);
    assert_ne!(status.leader, leader);
    // Longer than a lease and than the silence after which a holder is replaced.
    let _ = prober.answer(killed + Duration::from_secs(6), Duration::from_secs(10), |_| true);
    let probes = prober.stop();
    assert!(probes.0.len() > 200, "{} requests were made", probes.0.len());
    assert!(probes.lost().is_empty(), "lost: {:?}", probes.lost());
    println!("{} requests, none lost; longest gap {:?}", probes.0.len(), probes.longest_gap());
    let after = dev.vip();
    assert_eq!((after.holder, after.epoch), (holder, before.epoch));
    assert_eq!(dev.simulator().writes_after(journal), [], "nothing is written to a NIC");
}

#[test]
fn a_planned_move_costs_about_one_operation() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::default());
    dev.settled();
    let (observer, prober) = (dev.observer(), dev.prober());
    let holder = dev.holder();
    for target in dev.names_but(&[&holder]) {
        dev.move_to(&target);
        let _ = prober.answer(Instant::now(), Duration::from_secs(5), |node| node == target);
        dev.settled();
    }
    let outage = prober.stop().longest_gap();
    println!("longest outage of two planned moves: {outage:?} (promised: 1.3 s)");
    assert!(outage <= Duration::from_millis(2_600), "{outage:?}");
    observer.stop().holders().unwrap_or_else(|two| panic!("{two}"));
}

#[test]
fn a_node_that_is_told_to_stop_hands_over_first() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::default());
    let holder = dev.leader_holds();
    let (observer, prober) = (dev.observer(), dev.prober());
    let pid = dev.pid(&holder);
    dev.signal(&holder, Signal::TERM);
    eventually("the node has stopped", Duration::from_secs(20), || !is_alive(pid));
    dev.settled_without(&[&holder]);
    let _ = prober.answer(Instant::now(), Duration::from_secs(5), |node| node != holder);
    let outage = prober.stop().longest_gap();
    println!("outage when the holder and leader stops: {outage:?}");
    assert!(outage <= Duration::from_millis(2_600), "as a planned move: {outage:?}");
    observer.stop().holders().unwrap_or_else(|two| panic!("{two}"));
}

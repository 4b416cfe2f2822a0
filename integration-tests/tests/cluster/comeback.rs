//! Nodes that die and come back, alone and together.

use std::time::Duration;

use integration_tests::v1::{Consistency, NodeState};
use integration_tests::{Dev, DevOptions, Turn, eventually, wait_until};

/// The node is killed and started again at once; nothing moves.
fn comes_back_and_nothing_moves(dev: &Dev, node: &str) {
    let before = dev.vip();
    let journal = dev.simulator().last_entry();
    let observer = dev.observer();
    dev.kill(node);
    dev.start_node(node);
    // Also after the times at which a mistaken failover would have begun.
    let joined = wait_until("the node is back and heard", Duration::from_secs(20), || {
        let status = dev.status();
        let known = status.nodes.iter().find(|known| known.name == node).expect("a member");
        let has_beaten = known.state() == NodeState::Alive && known.last_heard.is_some();
        let local = dev.api(node).status(Consistency::Local).map_err(|error| error.to_string())?;
        let follows = local.revision >= status.revision && local.leader == status.leader;
        if has_beaten && follows { Ok(status) } else { Err(format!("{known:?} {local:?}")) }
    });
    assert!(joined.quorum);
    eventually("the VIP is served", Duration::from_secs(10), || {
        dev.responder(&before.holder).is_ok_and(|answer| answer.status == 200)
    });
    let status = dev.settled();
    let after = &status.vips[0];
    assert_eq!((&after.holder, after.epoch), (&before.holder, before.epoch), "nothing moves");
    assert_eq!(dev.simulator().writes_after(journal), [], "nothing is written to a NIC");
    observer.stop().holders().unwrap_or_else(|two| panic!("{two}"));
}

#[test]
fn a_killed_node_comes_back_and_nothing_moves() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::quick());
    let (leader, holder) = dev.leader_apart();
    let third = dev.names_but(&[&leader, &holder]).remove(0);
    comes_back_and_nothing_moves(&dev, &third);
}

#[test]
fn a_killed_holder_comes_back_within_its_lease_and_nothing_moves() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::quick());
    let (_, holder) = dev.leader_apart();
    comes_back_and_nothing_moves(&dev, &holder);
}

#[test]
fn a_killed_leader_comes_back_and_nothing_moves() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::quick());
    let (leader, _) = dev.leader_apart();
    comes_back_and_nothing_moves(&dev, &leader);
}

#[test]
fn without_a_quorum_the_vip_is_released_and_comes_back_by_itself() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::quick());
    dev.settled();
    let holder = dev.holder();
    let others = dev.names_but(&[&holder]);
    let observer = dev.observer();
    for node in &others {
        dev.kill(node);
    }
    // The lease of the fast profile is 4 s.
    eventually("the last node lets go", Duration::from_secs(8), || {
        dev.responder(&holder).is_ok_and(|answer| answer.status == 503)
    });
    let view = wait_until("the node says why it holds nothing", Duration::from_secs(5), || {
        let local = dev.api(&holder).status(Consistency::Local).map_err(|it| it.to_string())?;
        let view = local.local.clone().expect("what the node knows of itself");
        let says_why = view.detail.contains("no quorum: the lease of demo ended");
        if !local.quorum && says_why { Ok(view) } else { Err(format!("{local:?}")) }
    });
    assert_eq!((view.node.as_str(), view.held.len()), (holder.as_str(), 0));
    println!("{holder} says: {}", view.detail);

    let status = dev.cli().run(["status"]);
    assert_eq!(status.exit, 4, "{}", status.output);
    for word in ["NO QUORUM", &format!("{holder} itself has no VIP; no quorum")] {
        assert!(status.output.contains(word), "{word:?} is missing: {}", status.output);
    }
    let order = dev.cli().run(["move", "demo", "--to", &holder, "--timeout", "2s"]);
    assert_eq!(order.exit, 4, "{}", order.output);
    let ready = integration_tests::get(&format!("{}/readyz", dev.node(&holder).http));
    assert_eq!(ready.expect("it answers").status, 503);

    for node in &others {
        dev.start_node(node);
    }
    let status = dev.settled();
    let served = dev.prober().stop();
    assert!(served.0.iter().any(|probe| probe.result.is_ok()), "the VIP answers again");
    println!("held again by {} (before: {holder})", status.vips[0].holder);
    observer.stop().holders().unwrap_or_else(|two| panic!("{two}"));
}

#[test]
fn all_nodes_killed_at_once_come_back_by_themselves() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::quick());
    dev.settled();
    let before = dev.vip();
    let observer = dev.observer();
    for node in dev.names() {
        dev.kill(&node);
    }
    for node in dev.names() {
        dev.start_node(&node);
    }
    let status = dev.settled();
    let _ = dev.prober().stop();
    let after = &status.vips[0];
    assert_eq!(after.spec, before.spec, "the definition is there");
    if after.holder == before.holder {
        println!("same holder, epoch {} then {}", before.epoch, after.epoch);
    } else {
        assert!(after.epoch > before.epoch, "{} is not above {}", after.epoch, before.epoch);
    }
    observer.stop().holders().unwrap_or_else(|two| panic!("{two}"));
}

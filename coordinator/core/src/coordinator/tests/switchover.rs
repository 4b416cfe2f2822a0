//! Planned moves: the order of things, and the size of the outage.

use core::net::IpAddr;
use std::time::Duration;

use vipfence_types::{BootId, Candidate, Epoch, Release, VipAddress, VipSpec};

use super::{
    arm::{Fault, Rule},
    bench::{Bench, Old, address, demo, nic_of, node, secs},
};
use crate::{
    nic::Method,
    registry::{AzureTrack, Intent},
};

#[test]
fn a_planned_move_with_late_release_serves_until_the_detach_was_read_back() {
    let mut bench = Bench::held_by_a();
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    let order = [
        "move to b",
        "begin detach",
        "Put a-nic 200",
        "begin attach b",
        "Put b-nic 400",
        "release 1",
        "a drops",
        "confirmed 1",
        "grant b",
        "b adds",
        "held 2",
    ];
    let times: Vec<Duration> = order.iter().map(|what| bench.when(what)).collect();
    assert!(times.is_sorted(), "{}", bench.story());
    let operation = bench.when("release 1") - bench.when("Put a-nic 200");
    assert!(operation >= secs(1), "released before the detach was done\n{}", bench.story());
    let outage = bench.when("held 2") - bench.when("a drops");
    assert!(outage < Duration::from_millis(1_600), "{outage:?} {}", bench.story());
    let whole = bench.when("held 2") - bench.when("move to b");
    assert!(whole < Duration::from_millis(2_800), "{whole:?} {}", bench.story());
}

#[test]
fn each_nic_attaches_as_soon_as_its_own_detach_was_read_back() {
    let second = IpAddr::from([10, 5, 0, 111]);
    let addresses = vec![
        VipAddress::host(address()),
        VipAddress { nic: Some("eth1".into()), ..VipAddress::host(second) },
    ];
    let mut bench = Bench::with_two_nics(VipSpec { addresses, ..VipSpec::host(address()) });
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    assert_eq!(bench.arm.attached(second), ["b-nic2"]);
    // The refused attempts wait for longer each time: what is not tried at once comes much later.
    for (from, to) in [("a-nic", "b-nic"), ("a-nic2", "b-nic2")] {
        let detached = bench.when(&format!("Put {from} 200"));
        let attached = bench.when(&format!("Put {to} 200"));
        let waited = attached - detached;
        assert!(waited < Duration::from_millis(1_200), "{to}: {waited:?} {}", bench.story());
    }
}

#[test]
fn with_early_release_the_holder_lets_go_before_anything_is_detached() {
    let spec = VipSpec { release: Release::Early, ..VipSpec::host(address()) };
    let mut bench = Bench::with(spec);
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    let order =
        ["move to b", "release 1", "a drops", "confirmed 1", "begin detach", "Put a-nic 200"];
    let times: Vec<Duration> = order.iter().map(|what| bench.when(what)).collect();
    assert!(times.is_sorted(), "{}", bench.story());
}

#[test]
fn nothing_is_released_or_detached_before_the_target_was_read() {
    let mut bench = Bench::held_by_a();
    let fault = Fault::Answer(500, "InternalServerError");
    bench.arm.rules.push(Rule { nic: "b-nic", method: Some(Method::Get), fault, left: 6 });
    bench.move_to("b");
    bench.run(secs(3));
    assert!(!bench.saw("begin detach") && !bench.saw("release"), "{}", bench.story());
    assert!(bench.blocked().contains("cannot be read"), "{}", bench.story());
    assert!(bench.run_until(secs(60), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn moving_back_to_the_node_that_still_has_the_grant_needs_an_epoch_and_no_wait() {
    for what in ["begin detach", "begin attach", "release 1"] {
        let mut bench = Bench::held_by_a();
        bench.move_to("b");
        assert!(bench.run_until(secs(5), |b| b.saw(what)), "{}", bench.story());
        bench.move_to("a");
        assert!(bench.run_until(secs(20), |b| b.is_held_by("a")), "{}", bench.story());
        assert_eq!(bench.vip().epoch(), Epoch(2), "{what}: {}", bench.story());
        assert!(!bench.saw("expire") && !bench.saw("over"), "{what}: {}", bench.story());
    }
}

#[test]
fn a_hanging_release_hook_costs_the_release_time_out_and_then_the_lease() {
    let spec = VipSpec { release_timeout_ms: 2_000, ..VipSpec::host(address()) };
    let mut bench = Bench::with(spec);
    bench.agent("a").hangs = true;
    bench.move_to("b");
    assert!(bench.run_until(secs(30), |b| b.is_held_by("b")), "{}", bench.story());
    let asked = bench.when("expire 1") - bench.when("release 1");
    assert!(asked >= secs(2) && asked < Duration::from_millis(2_200), "{asked:?}");
    let waited = bench.when("over 1") - bench.when("expire 1");
    assert!(waited > secs(5) && waited < secs(6), "{waited:?} {}", bench.story());
}

#[test]
fn an_expiring_grant_that_is_confirmed_after_all_is_over_at_once() {
    let spec = VipSpec { release_timeout_ms: 2_000, ..VipSpec::host(address()) };
    let mut bench = Bench::with(spec);
    bench.agent("a").hangs = true;
    bench.move_to("b");
    assert!(bench.run_until(secs(30), |b| b.saw("expire 1")), "{}", bench.story());
    bench.agent("a").hangs = false;
    assert!(bench.run_until(secs(30), |b| b.is_held_by("b")), "{}", bench.story());
    assert!(bench.when("confirmed 1") - bench.when("expire 1") < secs(1), "{}", bench.story());
}

#[test]
fn a_stopping_node_hands_its_vip_over_without_a_lease_wait() {
    let mut bench = Bench::held_by_a();
    bench.agent("a").stopping = true;
    assert!(bench.run_until(secs(10), |b| b.is_held_by("b")), "{}", bench.story());
    assert!(bench.saw("move to b: HolderStopping") && bench.saw("confirmed 1"));
}

/// What the leader last told `a` of its VIPs that have nowhere to go.
fn nowhere_for_a(bench: &Bench) -> Vec<vipfence_types::Nowhere> {
    let mut answers = bench.answers.iter().rev().filter(|(_, to, _)| *to == node("a"));
    let (_, _, answer) = answers.next().expect("an answer");
    answer.clone().expect("a grant").nowhere
}

#[test]
fn a_stopping_node_learns_what_no_other_node_can_take_over() {
    let mut bench = Bench::held_by_a();
    for other in ["b", "c"] {
        bench.agent(other).connected = false;
    }
    // Silent for a moment: it may still appear.
    bench.run(secs(2));
    bench.agent("a").stopping = true;
    bench.run(Duration::from_millis(600));
    assert_eq!(nowhere_for_a(&bench), [], "{}", bench.story());
    bench.run(secs(15));
    let [nowhere] = &nowhere_for_a(&bench)[..] else {
        panic!("{}", bench.story());
    };
    assert_eq!(nowhere.vip, demo());
    assert!(nowhere.reason.contains("no candidate is eligible: b is silent; c is silent"));
    assert!(!bench.saw("HolderStopping"));
    // One is heard again: the VIP moves after all.
    bench.agent("b").connected = true;
    assert!(bench.run_until(secs(15), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn a_node_that_goes_on_is_told_nothing_about_stopping() {
    let mut bench = Bench::held_by_a();
    for other in ["b", "c"] {
        bench.agent(other).connected = false;
    }
    bench.run(secs(15));
    assert_eq!(nowhere_for_a(&bench), []);
}

#[test]
fn disabling_ends_the_grant_then_detaches_and_enabling_places_it_again() {
    let mut bench = Bench::held_by_a();
    bench.intend(Intent::Disabled);
    assert!(bench.run_until(secs(20), |b| b.saw("ended")), "{}", bench.story());
    let order = ["release 1", "a drops", "confirmed 1", "begin detach", "detached", "ended"];
    let times: Vec<Duration> = order.iter().map(|what| bench.when(what)).collect();
    assert!(times.is_sorted(), "{}", bench.story());
    assert!(bench.holders().is_empty() && bench.arm.attached(address()).is_empty());
    assert_eq!(bench.vip().azure, AzureTrack::Detached);
    bench.intend(Intent::Held);
    assert!(bench.run_until(secs(20), |b| b.is_held_by("a")), "{}", bench.story());
    assert_eq!(bench.vip().epoch(), Epoch(2), "epochs are not reset");
}

/// Nothing else has the address then, so Azure itself would not refuse the late attach.
#[test]
fn a_late_attach_does_not_bring_back_a_vip_that_nobody_is_to_hold() {
    for intent in [Intent::Disabled, Intent::Deleted] {
        let mut bench = Bench::held_by_a();
        bench.move_to("b");
        let begun = |b: &Bench| b.saw("begin attach b");
        assert!(bench.run_until(secs(10), begun), "{}", bench.story());
        bench.run(Duration::from_millis(5));
        bench.replace_leader(Old::Lands(secs(15)), &node("c"));
        for method in [Method::Put, Method::Patch] {
            let fault = Fault::Answer(429, "RetryableError");
            let busy = Rule { nic: "b-nic", method: Some(method), fault, left: usize::MAX };
            bench.arm.rules.push(busy);
        }
        bench.run(secs(1));
        bench.intend(intent);
        assert!(bench.run_until(secs(10), |b| b.saw("detached")), "{}", bench.story());
        bench.arm.rules.retain(|rule| rule.method == Some(Method::Patch));
        assert!(bench.run_until(secs(20), |b| b.saw("Put b-nic 200")), "{}", bench.story());
        bench.arm.rules.clear();
        assert!(bench.run_until(secs(60), |b| b.saw("ended")), "{}", bench.story());
        bench.run(secs(20));
        assert!(bench.arm.attached(address()).is_empty(), "{}", bench.story());
    }
}

#[test]
fn a_vip_whose_holder_is_silent_can_be_deleted_after_its_lease() {
    let mut bench = Bench::held_by_a();
    bench.kill("a");
    bench.intend(Intent::Deleted);
    let gone = |b: &Bench| b.log.vip(&demo()).is_none();
    assert!(bench.run_until(secs(30), gone), "{}", bench.story());
    let order = ["expire 1", "over 1", "begin detach", "detached", "ended"];
    let times: Vec<Duration> = order.iter().map(|what| bench.when(what)).collect();
    assert!(times.is_sorted(), "{}", bench.story());
    assert!(bench.arm.attached(address()).is_empty());
}

/// Held by `c`, while `b` may still be hit by a write of unknown outcome; seals are refused.
fn exposed_b() -> Bench {
    let mut bench = Bench::held_by_a();
    let busy = Fault::Answer(429, "RetryableError");
    let rule = Rule { nic: "b-nic", method: Some(Method::Patch), fault: busy, left: usize::MAX };
    bench.arm.rules.push(rule);
    // Its operation fails, and the repetition is never answered (V6).
    let fails = Rule { nic: "b-nic", method: Some(Method::Put), fault: Fault::Lost, left: 1 };
    bench.arm.rules.push(fails);
    bench.move_to("b");
    bench.run_until(secs(5), |b| b.saw("begin attach b"));
    bench.run(Duration::from_millis(15));
    bench.move_to("c");
    assert!(bench.run_until(secs(30), |b| b.is_held_by("c")), "{}", bench.story());
    assert!(bench.vip().exposed.contains(&nic_of("b")), "{}", bench.story());
    bench
}

#[test]
fn an_exposed_nic_is_sealed_in_the_background() {
    let mut bench = exposed_b();
    assert_eq!(bench.arm.tag("b-nic"), None);
    bench.arm.rules.clear();
    bench.run(secs(40));
    assert!(bench.arm.tag("b-nic").is_some(), "{}", bench.story());
    assert!(bench.is_held_by("c"));
}

#[test]
fn an_exposed_nic_is_sealed_before_the_next_detach() {
    let mut bench = exposed_b();
    bench.sights.clear();
    bench.move_to("a");
    bench.run(secs(10));
    assert!(!bench.saw("begin detach"), "{}", bench.story());
    assert_eq!(bench.blocked(), "sealing NIC b-nic first");
    bench.arm.rules.clear();
    assert!(bench.run_until(secs(60), |b| b.is_held_by("a")), "{}", bench.story());
    assert!(bench.when("Patch b-nic 200") < bench.when("begin detach"));
}

#[test]
fn a_deleted_vip_goes_only_when_nothing_of_it_is_exposed() {
    let mut bench = exposed_b();
    bench.intend(Intent::Deleted);
    bench.run(secs(20));
    assert!(bench.log.vip(&demo()).is_some(), "{}", bench.story());
    bench.arm.rules.clear();
    let gone = |b: &Bench| b.log.vip(&demo()).is_none();
    assert!(bench.run_until(secs(60), gone), "{}", bench.story());
    assert!(bench.arm.tag("b-nic").is_some(), "{}", bench.story());
}

#[test]
fn a_seal_that_leaves_the_etag_alone_is_made_by_a_whole_put() {
    let mut bench = exposed_b();
    bench.arm.patch_changes_etag = false;
    bench.arm.rules.clear();
    bench.arm.writes.clear();
    bench.run(secs(40));
    let methods: Vec<Method> = bench.arm.writes.iter().map(|write| write.method).collect();
    assert_eq!(methods, [Method::Patch, Method::Put], "{}", bench.story());
}

#[test]
fn a_spent_epoch_is_replaced_by_a_new_one() {
    let mut bench = Bench::held_by_a();
    bench.agent("a").spent.insert(demo(), Epoch(40));
    assert!(bench.run_until(secs(10), |b| b.saw("move to a: EpochRefused")), "{}", bench.story());
    assert!(bench.run_until(secs(20), |b| b.is_held_by("a")), "{}", bench.story());
    assert_eq!(bench.vip().epoch(), Epoch(41));
}

#[test]
fn a_spent_epoch_is_replaced_within_an_open_move_too() {
    let mut bench = Bench::held_by_a();
    bench.move_to("b");
    assert!(bench.run_until(secs(10), |b| b.saw("confirmed 1")), "{}", bench.story());
    // A restored registry: the leader has not heard yet what is spent there.
    bench.agent("b").spent.insert(demo(), Epoch(40));
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    assert_eq!(bench.vip().epoch(), Epoch(41));
}

#[test]
fn a_holder_that_is_no_candidate_any_more_is_not_asked_to_stay() {
    let mut bench = Bench::held_by_a();
    let candidates = [(node("b"), Candidate { priority: 1 })].into();
    let spec = VipSpec { candidates, ..VipSpec::host(address()) };
    let request = crate::registry::Request::default();
    bench.ask(crate::ask::Ask::UpdateVip { vip: demo(), spec, request });
    bench.run(secs(5));
    assert!(bench.is_held_by("a"), "an update alone moves nothing");
    bench.agent("a").spent.insert(demo(), Epoch(40));
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn an_exposed_nic_is_sealed_before_the_next_attach_too() {
    let candidates =
        [("a", 1), ("b", 5)].map(|(name, priority)| (node(name), Candidate { priority }));
    let spec = VipSpec { candidates: candidates.into(), ..VipSpec::host(address()) };
    let mut bench = Bench::with(spec);
    let fault = Fault::Answer(429, "RetryableError");
    let patch = Rule { nic: "a-nic", method: Some(Method::Patch), fault, left: usize::MAX };
    bench.arm.rules.push(patch);
    bench.move_to("b");
    assert!(bench.run_until(secs(10), |b| b.saw("begin attach b")), "{}", bench.story());
    // The new leader has nothing to write to a.
    bench.replace_leader(Old::Crashes, &node("b"));
    bench.run(secs(2));
    bench.intend(Intent::Disabled);
    bench.run(secs(30));
    assert!(bench.saw("detached") && !bench.saw("ended"), "{}", bench.story());
    assert!(bench.vip().exposed.contains(&nic_of("a")), "{}", bench.story());
    bench.sights.clear();
    bench.intend(Intent::Held);
    bench.run(secs(5));
    assert_eq!(bench.blocked(), "sealing NIC a-nic first");
    bench.arm.rules.clear();
    assert!(bench.run_until(secs(60), |b| b.vip().is_held()), "{}", bench.story());
    assert!(bench.when("Patch a-nic 200") < bench.when("begin attach"), "{}", bench.story());
}

#[test]
fn a_move_that_is_taken_back_before_azure_took_it_detaches_nothing() {
    let mut bench = Bench::held_by_a();
    let fault = Fault::Answer(429, "RetryableError");
    bench.arm.rules.push(Rule { nic: "a-nic", method: Some(Method::Put), fault, left: 1 });
    bench.move_to("b");
    assert!(bench.run_until(secs(10), |b| b.saw("begin detach")), "{}", bench.story());
    bench.run(Duration::from_millis(30));
    let fault = Fault::Answer(429, "RetryableError");
    bench.arm.rules.push(Rule { nic: "a-nic", method: Some(Method::Get), fault, left: 3 });
    bench.move_to("a");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("a")), "{}", bench.story());
    assert!(!bench.saw("Put a-nic 200") && !bench.saw("a drops"), "{}", bench.story());
}

#[test]
fn a_silent_node_that_is_asked_for_by_force_has_failover_after_to_appear() {
    let silent = || {
        let mut bench = Bench::held_by_a();
        bench.kill("b");
        bench.run(secs(10));
        bench.move_with(Some("b"), true);
        bench.run(secs(2));
        assert_eq!(bench.vip().target, Some(node("b")), "{}", bench.story());
        assert_eq!(bench.blocked(), "b is silent");
        bench
    };
    let mut bench = silent();
    bench.restart("b", vec![BootId::from("b1")]);
    assert!(bench.run_until(secs(30), |b| b.is_held_by("b")), "{}", bench.story());
    // It stays silent: the next best gets it (I6).
    let mut bench = silent();
    bench.run(secs(2));
    assert!(bench.run_until(secs(30), |b| b.vip().is_held()), "{}", bench.story());
    assert!(!bench.saw("grant b") && !bench.is_held_by("b"), "{}", bench.story());
}

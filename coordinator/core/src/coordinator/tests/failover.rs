//! The holder is gone: leases, silence, and who takes over.

use std::time::Duration;

use vipfence_types::{BootId, Candidate, Profile, Refusal, Timing, VipSpec, lease_wait};

use super::{
    arm::{Fault, Rule},
    bench::{Bench, address, demo, node, secs},
};
use crate::{
    nic::Method,
    registry::{GrantTrack, Intent},
};

#[test]
fn a_failover_works_on_azure_while_it_waits_for_the_lease() {
    let mut bench = Bench::held_by_a();
    bench.run(secs(1));
    bench.kill("a");
    let died = bench.now;
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    let silent = bench.when("move to b: HolderSilent");
    assert!(bench.when("expire 1") - silent < Duration::from_millis(10), "{}", bench.story());
    assert!(bench.when("Put b-nic 200") < bench.when("over 1"), "{}", bench.story());
    // Received one millisecond after it was sent, answered three after.
    let (answered, ..) =
        *bench.answers.iter().rfind(|(at, n, _)| *n == node("a") && *at <= died).expect("answered");
    let receipt = answered - Duration::from_millis(3);
    // The leader, at rest until then, wakes for it and for nothing else.
    let noticed = silent - receipt;
    let limit = Timing::of(Profile::Fast).failover_after();
    assert!(noticed >= limit && noticed < limit + Duration::from_millis(10), "{noticed:?}");
    let waited = bench.when("over 1") - receipt;
    let wait = lease_wait(secs(4));
    assert!(waited >= wait && waited < wait + Duration::from_millis(100), "{waited:?} {wait:?}");
    assert!(bench.when("grant b") >= bench.when("over 1"));
    assert!(bench.when("held 2") - bench.when("over 1") < Duration::from_millis(100));
}

#[test]
fn the_silence_of_the_old_holder_leads_on_in_every_state_of_a_move() {
    for state in ["move to b", "begin detach", "begin attach", "release 1", "confirmed 1"] {
        let mut bench = Bench::held_by_a();
        bench.agent("a").hangs = state == "release 1";
        bench.move_to("b");
        assert!(bench.run_until(secs(10), |b| b.saw(state)), "{}", bench.story());
        bench.kill("a");
        assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{state}: {}", bench.story());
    }
}

#[test]
fn the_silence_of_the_new_holder_leads_on_to_another_in_every_state_of_a_move() {
    let states =
        ["move to b", "begin detach", "begin attach", "release 1", "confirmed 1", "grant b"];
    for state in states {
        let mut bench = Bench::held_by_a();
        bench.move_to("b");
        assert!(bench.run_until(secs(10), |b| b.saw(state)), "{}", bench.story());
        bench.kill("b");
        let elsewhere = |b: &Bench| b.is_held_by("a") || b.is_held_by("c");
        assert!(bench.run_until(secs(40), elsewhere), "{state}: {}", bench.story());
    }
}

#[test]
fn a_holder_that_is_only_cut_off_gives_up_before_another_is_granted() {
    let mut bench = Bench::held_by_a();
    bench.agent("a").connected = false;
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    bench.agent("a").connected = true;
    bench.run(secs(20));
    assert!(bench.is_held_by("b"), "{}", bench.story());
}

#[test]
fn a_silent_holder_loses_its_grant_though_nobody_can_take_over() {
    let mut bench = Bench::held_by_a();
    for name in ["a", "b", "c"] {
        bench.agent(name).connected = false;
    }
    bench.run(secs(20));
    assert!(matches!(bench.vip().grant, GrantTrack::Expiring(_)), "{}", bench.story());
    assert!(bench.blocked().contains("no candidate is eligible"), "{}", bench.blocked());
    bench.agent("c").connected = true;
    assert!(bench.run_until(secs(20), |b| b.is_held_by("c")), "{}", bench.story());
}

#[test]
fn priorities_decide_and_a_witness_never_holds() {
    let candidates =
        [("a", 1), ("b", 5), ("c", 9)].map(|(name, priority)| (node(name), Candidate { priority }));
    let spec = VipSpec { candidates: candidates.into(), ..VipSpec::host(address()) };
    let mut bench = Bench::with(spec);
    bench.kill("a");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("c")), "{}", bench.story());
    bench.kill("c");
    assert!(bench.run_until(secs(30), |b| b.is_held_by("b")), "{}", bench.story());
    bench.kill("b");
    bench.run(secs(30));
    assert_eq!(bench.vip().target, None, "{}", bench.story());
    assert!(bench.holders().is_empty());
}

#[test]
fn a_target_that_azure_refuses_for_good_is_superseded_towards_the_next() {
    let mut bench = Bench::held_by_a();
    let fault = Fault::Answer(403, "LinkedAuthorizationFailed");
    bench.arm.rules.push(Rule { nic: "b-nic", method: Some(Method::Put), fault, left: usize::MAX });
    bench.kill("a");
    assert!(bench.run_until(secs(30), |b| b.is_held_by("c")), "{}", bench.story());
    assert!(bench.saw("move to c: TargetFailed"));
}

#[test]
fn the_old_holder_takes_back_what_its_only_successor_cannot_take() {
    let candidates = ["a", "b"].map(|name| (node(name), Candidate { priority: 0 }));
    let spec = VipSpec { candidates: candidates.into(), ..VipSpec::host(address()) };
    let mut bench = Bench::with(spec);
    bench.arm.remove_nic("b-nic");
    bench.move_to("b");
    assert!(bench.run_until(secs(30), |b| b.saw("move to a: TargetFailed")), "{}", bench.story());
    assert!(bench.run_until(secs(30), |b| b.is_held_by("a")), "{}", bench.story());
    assert!(!bench.saw("begin detach") && !bench.saw("a drops"), "{}", bench.story());
}

#[test]
fn a_nic_that_is_gone_lists_nothing_and_blocks_nothing() {
    let mut bench = Bench::held_by_a();
    bench.kill("a");
    bench.arm.remove_nic("a-nic");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    bench.move_to("c");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("c")), "{}", bench.story());
}

#[test]
fn a_restarted_agent_that_names_the_boot_it_replaces_is_heard_at_once() {
    let mut bench = Bench::held_by_a();
    bench.kill("a");
    bench.run(secs(1));
    // Two boots ago is named as well: the last one may never have been heard.
    bench.restart("a", vec![BootId::from("a0"), BootId::from("a1")]);
    bench.run(secs(1));
    assert_eq!(bench.agent("a").refusal, None);
    assert!(bench.is_held_by("a"), "{}", bench.story());
    assert!(!bench.saw("move"), "{}", bench.story());
}

#[test]
fn a_second_boot_is_refused_while_the_known_one_may_have_its_lease() {
    let mut bench = Bench::held_by_a();
    bench.kill("a");
    bench.restart("a", vec![]);
    bench.run(secs(1));
    let boot = BootId::from("a1");
    assert_eq!(bench.agent("a").refusal, Some(Refusal::SecondBoot { boot }));
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    bench.run(secs(10));
    assert_eq!(bench.agent("a").refusal, None);
}

#[test]
fn a_vip_that_is_enabled_while_nobody_can_hold_it_waits_for_somebody() {
    let mut bench = Bench::held_by_a();
    bench.intend(Intent::Disabled);
    assert!(bench.run_until(secs(20), |b| b.saw("ended")), "{}", bench.story());
    for name in ["a", "b", "c"] {
        bench.agent(name).connected = false;
    }
    bench.run(secs(5));
    bench.intend(Intent::Held);
    bench.run(secs(5));
    assert!(bench.blocked().contains("no candidate"), "{}", bench.story());
    bench.agent("b").connected = true;
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn while_no_majority_answers_nothing_is_granted_and_afterwards_all_is_well() {
    let mut bench = Bench::held_by_a();
    bench.no_quorum = true;
    bench.run(secs(10));
    assert!(bench.holders().is_empty(), "{}", bench.story());
    let refused = bench.answers.iter().any(|(_, _, a)| *a == Err(Refusal::NoQuorum));
    assert!(refused);
    bench.no_quorum = false;
    assert!(bench.run_until(secs(20), |b| b.is_held_by("a")), "{}", bench.story());
    assert!(bench.log.vip(&demo()).is_some());
}

//! Outside hands and a moody Azure.

use std::time::Duration;

use serde_json::json;
use vipfence_types::VipSpec;

use super::{
    arm::{Fault, Rule},
    bench::{Bench, Old, address, node, secs},
};
use crate::{
    nic::Method,
    registry::{Body, Command, Note},
};

fn put(nic: &'static str, fault: Fault, left: usize) -> Rule {
    Rule { nic, method: Some(Method::Put), fault, left }
}

#[test]
fn an_address_found_on_another_member_is_detached_there_first_and_keeps_what_belongs_to_it() {
    let mut bench = Bench::new();
    bench.arm.outsider_attaches("c-nic", address(), "old-script");
    bench.create(VipSpec::host(address()), Some("a"));
    assert!(bench.run_until(secs(20), |b| b.is_held_by("a")), "{}", bench.story());
    let kept = bench.arm.properties("a-nic", address());
    assert_eq!(kept, Some(json!({"publicIPAddress": {"id": "/pip"}})));
    assert!(bench.when("Put c-nic 200") < bench.when("Put a-nic"), "{}", bench.story());
}

#[test]
fn what_belongs_to_the_address_survives_a_leader_that_crashes_between_the_two_puts() {
    let mut bench = Bench::new();
    bench.arm.outsider_attaches("c-nic", address(), "old-script");
    bench.create(VipSpec::host(address()), Some("b"));
    assert!(bench.run_until(secs(20), |b| b.saw("Put c-nic 200")), "{}", bench.story());
    bench.replace_leader(Old::Crashes, &node("b"));
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    let kept = bench.arm.properties("b-nic", address());
    assert_eq!(kept, Some(json!({"publicIPAddress": {"id": "/pip"}})));
}

/// The VIP on its way from `a` to `b`, when a stranger takes the address.
fn taken_by_a_stranger() -> Bench {
    let mut bench = Bench::held_by_a();
    bench.arm.add_nic("stranger-nic", [10, 5, 0, 50].into());
    bench.arm.outsider_detaches("a-nic", address());
    bench.arm.outsider_attaches("stranger-nic", address(), "theirs");
    bench.move_to("b");
    bench.run(secs(5));
    bench
}

#[test]
fn an_address_of_a_stranger_blocks_with_a_reason_and_force_takes_it() {
    let mut bench = taken_by_a_stranger();
    let reason = bench.blocked();
    assert!(reason.contains("stranger-nic") && reason.contains("force"), "{reason}");
    assert_eq!(bench.arm.attached(address()), ["stranger-nic"]);
    let id = bench.move_with(Some("c"), true);
    assert!(bench.reply(id).is_ok());
    assert!(bench.run_until(secs(20), |b| b.is_held_by("c")), "{}", bench.story());
}

#[test]
fn even_force_never_takes_a_primary() {
    let mut bench = Bench::held_by_a();
    bench.arm.outsider_detaches("a-nic", address());
    bench.arm.add_nic("stranger-nic", address());
    bench.move_with(Some("b"), true);
    bench.run(secs(60));
    assert!(bench.blocked().contains("primary"), "{}", bench.story());
    assert_eq!(bench.arm.attached(address()), ["stranger-nic"]);
    let stranger = bench.arm.writes.iter().any(|write| write.nic == "stranger-nic");
    assert!(!stranger, "{}", bench.story());
}

#[test]
fn an_attach_operation_that_fails_is_put_again_before_held() {
    let mut bench = Bench::held_by_a();
    bench.arm.rules.push(put("b-nic", Fault::Answer(429, "RetryableError"), 1));
    bench.arm.rules.push(put("b-nic", Fault::OperationFails, 2));
    bench.kill("a");
    assert!(bench.run_until(secs(60), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn a_detach_operation_that_fails_costs_no_outage_and_goes_back_to_detaching() {
    let mut bench = Bench::held_by_a();
    bench.arm.rules.push(put("a-nic", Fault::OperationFails, 1));
    bench.move_to("b");
    assert!(bench.run_until(secs(60), |b| b.is_held_by("b")), "{}", bench.story());
    let accepted = bench.sights.iter().filter(|s| s.what == "Put a-nic 200").nth(1);
    let again = accepted.unwrap_or_else(|| panic!("{}", bench.story())).at;
    assert!(bench.when("release 1") >= again + secs(1), "{}", bench.story());
}

#[test]
fn a_write_of_unknown_outcome_leads_to_a_read_back() {
    for nic in ["a-nic", "b-nic"] {
        for left in 1..4 {
            let mut bench = Bench::held_by_a();
            bench.arm.rules.push(put(nic, Fault::Lost, left));
            bench.move_to("b");
            let done = bench.run_until(secs(60), |b| b.is_held_by("b"));
            assert!(done, "{nic} {left}: {}", bench.story());
        }
    }
}

#[test]
fn every_passing_trouble_of_azure_only_delays_a_move() {
    for (status, code) in [
        (500, "InternalServerError"),
        (503, "ServerBusy"),
        (429, "TooManyRequests"),
        (409, "AnotherOperationInProgress"),
        (412, "PreconditionFailed"),
        (401, "ExpiredAuthenticationToken"),
        (400, "PrivateIPAddressIsBeingCleanedUp"),
    ] {
        let mut bench = Bench::held_by_a();
        for method in [Method::Get, Method::Put, Method::Patch] {
            let fault = Fault::Answer(status, code);
            bench.arm.rules.push(Rule { nic: "", method: Some(method), fault, left: 3 });
        }
        bench.move_to("b");
        let done = bench.run_until(secs(120), |b| b.is_held_by("b"));
        assert!(done, "{status} {code}: {}", bench.story());
    }
}

#[test]
fn an_attach_that_an_outsider_undoes_before_held_is_made_again() {
    let mut bench = Bench::held_by_a();
    bench.agent("a").hangs = true;
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.saw("attached")), "{}", bench.story());
    bench.arm.outsider_detaches("b-nic", address());
    // A new leader reads the NIC afresh.
    bench.replace_leader(Old::Crashes, &node("c"));
    bench.run(secs(2));
    bench.agent("a").hangs = false;
    assert!(bench.run_until(secs(40), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn a_slow_azure_slows_the_move_and_not_the_answers_to_heartbeats() {
    let mut bench = Bench::held_by_a();
    bench.arm.takes = secs(60);
    bench.move_to("b");
    bench.run(secs(50));
    assert_eq!(bench.holders(), [node("a")], "{}", bench.story());
    assert!(bench.run_until(secs(120), |b| b.is_held_by("b")), "{}", bench.story());
    let outage = bench.when("held 2") - bench.when("a drops");
    assert!(outage < secs(70), "{outage:?}");
    assert!(outage > Duration::from_secs(59), "it is about one operation");
}

#[test]
fn why_a_move_is_stuck_is_told_in_every_phase() {
    let mut bench = Bench::held_by_a();
    bench.arm.remove_nic("b-nic");
    bench.arm.remove_nic("c-nic");
    bench.kill("a");
    bench.run(secs(30));
    assert!(bench.saw("over 1"), "{}", bench.story());
    assert!(bench.blocked().contains("does not exist"), "{}", bench.story());
}

#[test]
fn a_new_leader_neither_repeats_nor_loses_why_a_move_is_stuck() {
    let mut bench = Bench::held_by_a();
    for name in ["a", "b", "c"] {
        bench.kill(name);
    }
    bench.run(secs(10));
    bench.replace_leader(Old::Crashes, &node("c"));
    bench.run(secs(10));
    let reason = bench.blocked();
    assert!(reason.contains("no candidate is eligible"), "{}", bench.story());
    bench.proposals.clear();
    // The next leader has the same to say.
    bench.replace_leader(Old::Crashes, &node("b"));
    bench.run(secs(60));
    let blocked =
        |command: &&Command| matches!(command.body, Body::Note { note: Note::Blocked { .. }, .. });
    assert_eq!(bench.proposals.iter().find(blocked), None);
    assert_eq!(bench.blocked(), reason, "{}", bench.story());
}

/// Every request is refused from now on.
fn held_by_a_whom_azure_refuses() -> Bench {
    let mut bench = Bench::held_by_a();
    bench.arm.rules.push(Rule {
        nic: "",
        method: None,
        fault: Fault::Answer(403, "AuthorizationFailed"),
        left: usize::MAX,
    });
    bench
}

#[test]
fn a_leader_that_azure_refuses_makes_way_while_a_move_waits_and_not_before() {
    let mut bench = held_by_a_whom_azure_refuses();
    bench.run(secs(30));
    assert!(!bench.saw("a steps down"), "nothing waits\n{}", bench.story());
    bench.move_to("b");
    let moved_at = bench.now;
    assert!(bench.run_until(secs(30), |b| b.saw("a steps down")), "{}", bench.story());
    assert!(bench.when("a steps down") - moved_at >= secs(6), "{}", bench.story());
    // Nobody took over: it goes on trying, and makes way again after a minute.
    bench.run(secs(50));
    let count = |b: &Bench| b.sights.iter().filter(|s| s.what == "a steps down").count();
    assert_eq!(count(&bench), 1, "{}", bench.story());
    bench.run(secs(30));
    assert_eq!(count(&bench), 2, "{}", bench.story());
}

#[test]
fn a_leader_that_has_long_been_refused_by_azure_makes_way_as_soon_as_a_move_waits() {
    let mut bench = held_by_a_whom_azure_refuses();
    // The look at what is at rest has failed for a while.
    bench.run(secs(90));
    assert!(!bench.saw("a steps down"), "nothing waits\n{}", bench.story());
    bench.move_to("b");
    assert!(bench.run_until(secs(1), |b| b.saw("a steps down")), "{}", bench.story());
}

#[test]
fn a_leader_that_azure_refuses_stays_where_no_other_voter_would_do_better() {
    let mut bench = Bench::held_by_a();
    for name in ["b", "c", "w"] {
        bench.agent(name).alive = false;
    }
    bench.arm.rules.push(Rule {
        nic: "",
        method: None,
        fault: Fault::Answer(403, "AuthorizationFailed"),
        left: usize::MAX,
    });
    bench.move_with(Some("b"), true);
    bench.run(secs(60));
    assert!(!bench.saw("a steps down"), "{}", bench.story());
}

#[test]
fn an_attach_that_lands_late_on_a_nic_that_was_read_before_is_found_and_taken_off() {
    let mut bench = Bench::held_by_a();
    bench.move_to("b");
    let begun = |b: &Bench| b.saw("begin attach b");
    assert!(bench.run_until(secs(10), begun), "{}", bench.story());
    bench.run(Duration::from_millis(5));
    bench.replace_leader(Old::Lands(secs(15)), &node("c"));
    for nic in ["b-nic", "c-nic"] {
        bench.arm.rules.push(put(nic, Fault::Answer(429, "RetryableError"), usize::MAX));
    }
    bench.run(secs(1));
    bench.move_to("c");
    assert!(bench.run_until(secs(10), |b| b.saw("begin attach c")), "{}", bench.story());
    bench.arm.rules.retain(|rule| rule.nic == "c-nic");
    assert!(bench.run_until(secs(20), |b| b.saw("Put b-nic 200")), "{}", bench.story());
    bench.arm.rules.clear();
    assert!(bench.run_until(secs(60), |b| b.is_held_by("c")), "{}", bench.story());
}

#[test]
fn the_rights_that_a_leader_lacks_are_not_held_against_the_target() {
    let mut bench = Bench::held_by_a();
    for nic in ["a-nic", "b-nic"] {
        let fault = Fault::Answer(403, "AuthorizationFailed");
        bench.arm.rules.push(Rule { nic, method: None, fault, left: usize::MAX });
    }
    bench.move_to("b");
    assert!(bench.run_until(secs(30), |b| b.saw("a steps down")), "{}", bench.story());
    assert!(!bench.saw("move to a: TargetFailed"), "{}", bench.story());
    bench.replace_leader(Old::Crashes, &node("c"));
    bench.arm.rules.clear();
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn a_leader_that_may_only_read_makes_way_too() {
    let mut bench = Bench::held_by_a();
    for method in [Method::Put, Method::Patch] {
        let fault = Fault::Answer(403, "AuthorizationFailed");
        bench.arm.rules.push(Rule { nic: "", method: Some(method), fault, left: usize::MAX });
    }
    bench.move_to("b");
    assert!(bench.run_until(secs(60), |b| b.saw("a steps down")), "{}", bench.story());
}

#[test]
fn an_address_that_a_failed_detach_has_left_allocated_is_taken_off_again() {
    let mut bench = Bench::new();
    bench.arm.detach_failed("c-nic", address());
    bench.create(VipSpec::host(address()), Some("a"));
    assert!(bench.run_until(secs(20), |b| b.is_held_by("a")), "{}", bench.story());
    assert!(bench.when("Put a-nic 400") < bench.when("Put c-nic 200"), "{}", bench.story());
}

#[test]
fn without_if_match_a_move_of_known_outcomes_waits_for_nothing_and_seals_nothing() {
    let mut bench = Bench::without_if_match();
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    assert!(!bench.saw("Patch"), "{}", bench.story());
}

#[test]
fn without_if_match_held_waits_until_no_earlier_write_can_hit() {
    let mut bench = Bench::without_if_match();
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.saw("Put b-nic")), "{}", bench.story());
    bench.run(Duration::from_millis(216));
    bench.replace_leader(Old::Lands(secs(200)), &node("c"));
    let replaced = bench.now;
    assert!(bench.run_until(secs(20), |b| b.holders() == [node("b")]), "{}", bench.story());
    bench.run(secs(60));
    assert_eq!(bench.arm.attached(address()), ["b-nic"], "{}", bench.story());
    let reason = bench.blocked();
    assert!(reason.contains("no earlier write can change NIC b-nic"), "{}", bench.story());
    assert!(bench.run_until(secs(400), |b| b.is_held_by("b")), "{}", bench.story());
    assert!(bench.now - replaced >= secs(301), "{}", bench.story());
    assert!(!bench.saw("Patch"), "{}", bench.story());
}

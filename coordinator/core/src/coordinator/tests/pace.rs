//! Nothing that is stuck runs hot: effects over 60 simulated seconds are bounded.

use std::time::Duration;

use vipfence_types::Epoch;

use super::{
    arm::{Fault, Rule},
    bench::{Bench, address, demo, secs},
};
use crate::{nic::Method, registry::Body};

fn rule(nic: &'static str, method: Option<Method>, fault: Fault) -> Rule {
    Rule { nic, method, fault, left: usize::MAX }
}

/// Runs a minute of a stuck situation; at most so many proposals, requests and ticks.
fn is_calm(bench: &mut Bench, proposals: usize, requests: usize) {
    bench.run(secs(30));
    bench.proposals.clear();
    (bench.arm.requests, bench.ticks) = (0, 0);
    bench.run(secs(60));
    let (made, sent) = (bench.proposals.len(), bench.arm.requests);
    let kinds: Vec<String> = bench
        .proposals
        .iter()
        .map(|command| match &command.body {
            Body::Note { note, .. } => format!("{note:?}"),
            body => format!("{body:?}").chars().take(60).collect(),
        })
        .take(20)
        .collect();
    assert!(made <= proposals, "{made} proposals: {kinds:#?}\n{}", bench.story());
    assert!(sent <= requests, "{sent} requests\n{}", bench.story());
    // 20 a second are for silence and leases; operations and retries add a few.
    assert!(bench.ticks <= 60 * 25, "{} ticks\n{}", bench.ticks, bench.story());
}

#[test]
fn a_steady_cluster_proposes_nothing_and_reads_a_nic_once_a_minute() {
    let mut bench = Bench::held_by_a();
    is_calm(&mut bench, 0, 1);
    assert!(bench.ticks <= 5, "nothing is due but what heartbeats bring: {} ticks", bench.ticks);
    assert!(bench.is_held_by("a"));
}

#[test]
fn an_address_that_a_stranger_holds_is_tried_again_at_a_bounded_pace() {
    let mut bench = Bench::new();
    bench.arm.add_nic("stranger-nic", [10, 5, 0, 50].into());
    bench.create(vipfence_types::VipSpec::host(address()), Some("a"));
    bench.run(Duration::from_millis(60));
    bench.arm.outsider_attaches("stranger-nic", address(), "theirs");
    is_calm(&mut bench, 40, 80);
    assert!(bench.blocked().contains("stranger-nic"), "{}", bench.story());
}

#[test]
fn an_arm_that_refuses_every_write_is_tried_again_at_a_bounded_pace() {
    for (status, code) in [
        (500, "InternalServerError"),
        (403, "AuthorizationFailed"),
        (429, "TooManyRequests"),
        (401, "ExpiredAuthenticationToken"),
        (400, "SomethingNew"),
        (409, "AnotherOperationInProgress"),
    ] {
        for method in [Method::Put, Method::Patch] {
            let mut bench = Bench::held_by_a();
            bench.arm.rules.push(rule("", Some(method), Fault::Answer(status, code)));
            bench.move_to("b");
            bench.run(secs(1));
            if method == Method::Patch {
                bench.move_to("c");
            }
            is_calm(&mut bench, 40, 60);
        }
    }
}

#[test]
fn an_arm_that_cannot_be_read_is_tried_again_at_a_bounded_pace() {
    for (status, code) in
        [(500, "InternalServerError"), (403, "AuthorizationFailed"), (404, "ResourceNotFound")]
    {
        let mut bench = Bench::held_by_a();
        bench.arm.rules.push(rule("", Some(Method::Get), Fault::Answer(status, code)));
        bench.move_to("b");
        is_calm(&mut bench, 40, 60);
    }
}

#[test]
fn two_targets_that_refuse_for_good_are_not_tried_in_turns_without_end() {
    let mut bench = Bench::held_by_a();
    for nic in ["b-nic", "c-nic"] {
        bench.arm.rules.push(rule(nic, Some(Method::Put), Fault::Answer(400, "SomethingNew")));
    }
    bench.kill("a");
    bench.run(secs(120));
    is_calm(&mut bench, 60, 60);
}

#[test]
fn operations_that_fail_for_ever_are_repeated_at_a_bounded_pace() {
    let mut bench = Bench::held_by_a();
    bench.arm.rules.push(rule("b-nic", Some(Method::Put), Fault::OperationFails));
    bench.kill("a");
    is_calm(&mut bench, 120, 250);
}

#[test]
fn a_silent_target_is_not_granted_over_and_over() {
    let mut bench = Bench::held_by_a();
    bench.move_to("b");
    assert!(bench.run_until(secs(10), |b| b.saw("begin detach")), "{}", bench.story());
    for name in ["a", "b", "c"] {
        bench.kill(name);
    }
    is_calm(&mut bench, 5, 20);
    assert!(!bench.saw("grant b"), "{}", bench.story());
}

#[test]
fn a_step_that_is_refused_is_proposed_again_at_a_bounded_pace() {
    let mut bench = Bench::held_by_a();
    // No epoch is above this one: every grant is refused.
    bench.agent("c").spent.insert(demo(), Epoch(u64::MAX));
    bench.move_to("b");
    is_calm(&mut bench, 60 * 11, 40);
}

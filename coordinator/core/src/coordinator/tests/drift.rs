//! What outsiders do to a VIP at rest: noticed, shown, and put right, or not.

use vipfence_types::{DriftPolicy, VipSpec};

use super::bench::{Bench, Old, address, node, secs};
use crate::registry::{Cause, EventKind, Intent};

/// What is at rest is read once a minute.
const WATCH: u64 = 60;

impl Bench {
    fn drift(&self) -> Option<String> {
        self.vip().drift.as_ref().map(|drift| drift.what.clone())
    }
}

#[test]
fn an_address_that_somebody_takes_off_is_put_back_and_its_holder_serves_on() {
    let mut bench = Bench::held_by_a();
    let epoch = bench.vip().epoch();
    bench.arm.outsider_detaches("a-nic", address());
    assert!(bench.run_until(secs(WATCH + 1), |b| b.drift().is_some()), "{}", bench.story());
    assert_eq!(bench.drift().as_deref(), Some("NIC a-nic lacks 10.5.0.110"));
    assert!(bench.run_until(secs(10), |b| b.is_held_by("a")), "{}", bench.story());
    assert_eq!(bench.vip().epoch(), epoch);
    assert_eq!(bench.last_cause(), Some(Cause::Drift));
    assert!(!bench.saw("a drops") && !bench.saw("a adds"), "{}", bench.story());
    assert_eq!(bench.drift(), None);
    assert_eq!((bench.events(EventKind::DriftFound), bench.events(EventKind::DriftGone)), (1, 1));
    bench.run(secs(3 * WATCH));
    assert_eq!(bench.events(EventKind::DriftFound), 1, "{}", bench.story());
}

#[test]
fn an_address_that_somebody_moves_to_another_member_is_taken_off_there_and_put_back() {
    let mut bench = Bench::held_by_a();
    bench.arm.outsider_detaches("a-nic", address());
    bench.arm.outsider_attaches("b-nic", address(), "by-hand");
    assert!(bench.run_until(secs(WATCH + 1), |b| b.drift().is_some()), "{}", bench.story());
    assert!(bench.run_until(secs(20), |b| b.is_held_by("a")), "{}", bench.story());
    assert!(bench.when("Put b-nic 200") < bench.when("Put a-nic 200"), "{}", bench.story());
}

#[test]
fn an_address_that_a_stranger_takes_is_named_and_left_to_people() {
    let mut bench = Bench::held_by_a();
    bench.arm.add_nic("stranger-nic", [10, 5, 0, 50].into());
    bench.arm.outsider_detaches("a-nic", address());
    bench.arm.outsider_attaches("stranger-nic", address(), "theirs");
    bench.run(secs(WATCH + 10));
    let reason = bench.blocked();
    assert!(reason.contains("stranger-nic") && reason.contains("force"), "{reason}");
    assert_eq!(bench.arm.attached(address()), ["stranger-nic"]);
    bench.arm.outsider_detaches("stranger-nic", address());
    assert!(bench.run_until(secs(40), |b| b.is_held_by("a")), "{}", bench.story());
}

#[test]
fn drift_that_is_to_be_reported_only_is_shown_until_somebody_puts_it_right() {
    let spec = VipSpec { drift: DriftPolicy::Report, ..VipSpec::host(address()) };
    let mut bench = Bench::with(spec);
    bench.arm.outsider_detaches("a-nic", address());
    bench.run(secs(3 * WATCH));
    assert!(bench.drift().is_some(), "{}", bench.story());
    assert_eq!(bench.events(EventKind::DriftFound), 1, "told once");
    assert!(bench.arm.writes.is_empty(), "{}", bench.story());
    bench.arm.outsider_attaches("a-nic", address(), "by-hand");
    bench.run(secs(WATCH + 1));
    assert_eq!((bench.drift(), bench.events(EventKind::DriftGone)), (None, 1));
    assert!(bench.is_held_by("a") && bench.arm.writes.is_empty(), "{}", bench.story());
}

#[test]
fn an_address_that_somebody_attaches_of_a_disabled_vip_is_taken_off() {
    let mut bench = Bench::held_by_a();
    bench.intend(Intent::Disabled);
    assert!(bench.run_until(secs(20), |b| b.saw("ended")), "{}", bench.story());
    bench.arm.outsider_attaches("c-nic", address(), "by-hand");
    assert!(bench.run_until(secs(WATCH + 1), |b| b.drift().is_some()), "{}", bench.story());
    assert_eq!(bench.drift().as_deref(), Some("10.5.0.110 is on NIC c-nic"));
    let ended = |b: &Bench| b.vip().open.is_none() && b.drift().is_none();
    assert!(bench.run_until(secs(20), ended), "{}", bench.story());
    assert!(bench.arm.attached(address()).is_empty(), "{}", bench.story());
}

#[test]
fn what_a_failed_write_of_somebody_leaves_of_a_disabled_vip_is_taken_off() {
    let mut bench = Bench::held_by_a();
    bench.intend(Intent::Disabled);
    assert!(bench.run_until(secs(20), |b| b.saw("ended")), "{}", bench.story());
    bench.arm.outsider_attaches("c-nic", address(), "by-hand");
    bench.arm.fails("c-nic");
    assert!(bench.run_until(secs(WATCH + 1), |b| b.drift().is_some()), "{}", bench.story());
    assert_eq!(bench.drift().as_deref(), Some("10.5.0.110 is on NIC c-nic"));
    let ended = |b: &Bench| b.vip().open.is_none() && b.drift().is_none();
    assert!(bench.run_until(secs(20), ended), "{}", bench.story());
    assert!(bench.arm.attached(address()).is_empty(), "{}", bench.story());
    assert_eq!(bench.arm.writes.len(), 2, "one to disable it, one to tidy up: {}", bench.story());
}

#[test]
fn what_a_vip_that_was_never_placed_is_to_replace_is_shown_and_left_alone() {
    let mut bench = Bench::new();
    bench.arm.outsider_attaches("c-nic", address(), "old-script");
    bench.define_disabled();
    bench.run(secs(2 * WATCH));
    assert_eq!(bench.drift().as_deref(), Some("10.5.0.110 is on NIC c-nic"));
    assert_eq!(bench.arm.attached(address()), ["c-nic"]);
}

#[test]
fn a_nic_that_failed_is_written_again() {
    let mut bench = Bench::held_by_a();
    bench.arm.fails("a-nic");
    assert!(bench.run_until(secs(WATCH + 1), |b| b.drift().is_some()), "{}", bench.story());
    assert_eq!(bench.drift().as_deref(), Some("NIC a-nic is in state Failed"));
    let right = |b: &Bench| b.is_held_by("a") && b.drift().is_none();
    assert!(bench.run_until(secs(10), right), "{}", bench.story());
}

#[test]
fn a_holder_whose_nic_is_gone_gives_way() {
    let mut bench = Bench::held_by_a();
    bench.arm.remove_nic("a-nic");
    assert!(bench.run_until(secs(WATCH + 30), |b| b.is_held_by("b")), "{}", bench.story());
    assert_eq!((bench.drift(), bench.last_cause()), (None, Some(Cause::TargetFailed)));
}

#[test]
fn a_repair_survives_a_leader_that_crashes_and_gives_way_to_a_failover() {
    let mut bench = Bench::held_by_a();
    bench.arm.outsider_detaches("a-nic", address());
    assert!(bench.run_until(secs(WATCH + 1), |b| b.saw("Put a-nic 200")), "{}", bench.story());
    bench.kill("a");
    bench.replace_leader(Old::Crashes, &node("b"));
    assert!(bench.run_until(secs(40), |b| b.is_held_by("b")), "{}", bench.story());
}

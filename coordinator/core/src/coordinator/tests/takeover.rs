//! A new leader, or a new order, after every single effect of a move. The bench checks after every
//! event that there is one holder, and that no write from before Held moves the address after it.

use std::time::Duration;

use super::{
    arm::{Fault, Rule},
    bench::{Bench, Old, demo, nic_of, node, secs},
};
use crate::{nic::Method, registry::OperationKind};

/// A generous bound: two elections, a lease wait, several operations, the background seals.
const LONG: Duration = Duration::from_secs(60);

/// How many effects a move has, counted from its beginning.
fn effects_of(begin: impl Fn(&mut Bench), done: impl Fn(&Bench) -> bool) -> usize {
    let mut bench = Bench::held_by_a();
    begin(&mut bench);
    assert!(bench.run_until(LONG, done), "{}", bench.story());
    bench.effects
}

fn replaced_everywhere(begin: impl Fn(&mut Bench), by: &str, old: Old) {
    let effects = effects_of(&begin, |b| b.is_held_by("b"));
    for at in 1..=effects {
        let mut bench = Bench::held_by_a();
        begin(&mut bench);
        bench.replace_at = Some((at, old, node(by)));
        let done = bench.run_until(LONG, |b| b.replace_at.is_none() && b.is_held_by("b"));
        assert!(done, "leader replaced after effect {at} of {effects}\n{}", bench.story());
        // Late writes of the old leader come in here; then a move away, which seals what is left.
        bench.run(match old {
            Old::Lands(late) => late + secs(5),
            Old::Crashes | Old::Unaware => secs(5),
        });
        assert!(bench.is_held_by("b"), "effect {at}: it did not stay\n{}", bench.story());
        bench.move_to("c");
        let done = bench.run_until(LONG, |b| b.is_held_by("c"));
        assert!(done, "effect {at}: the next move hangs\n{}", bench.story());
    }
}

fn planned(bench: &mut Bench) {
    let id = bench.move_to("b");
    assert!(bench.reply(id).is_ok());
    bench.effects = 0;
}

fn holder_dies(bench: &mut Bench) {
    bench.kill("a");
    let opened = |b: &Bench| b.log.open_move(&demo()).is_some();
    assert!(bench.run_until(LONG, opened));
    bench.effects = 0;
}

#[test]
fn a_planned_move_survives_a_leader_that_crashes_after_any_effect() {
    replaced_everywhere(planned, "c", Old::Crashes);
}

#[test]
fn a_planned_move_survives_a_leader_whose_last_effects_arrive() {
    replaced_everywhere(planned, "b", Old::Lands(Duration::ZERO));
}

#[test]
fn a_planned_move_survives_writes_of_a_dead_leader_that_arrive_late() {
    for late in [Duration::from_millis(700), secs(3), secs(30)] {
        replaced_everywhere(planned, "c", Old::Lands(late));
    }
}

#[test]
fn a_planned_move_survives_a_leader_that_does_not_know_it_was_replaced() {
    replaced_everywhere(planned, "c", Old::Unaware);
}

#[test]
fn a_failover_survives_a_new_leader_after_any_effect() {
    for old in [Old::Crashes, Old::Lands(Duration::ZERO), Old::Lands(secs(3)), Old::Unaware] {
        replaced_everywhere(holder_dies, "b", old);
    }
}

#[test]
fn a_late_write_of_a_dead_leader_cannot_steal_a_vip_that_has_moved_on() {
    let effects = effects_of(planned, |b| b.is_held_by("b"));
    for at in 1..=effects {
        let mut bench = Bench::held_by_a();
        planned(&mut bench);
        // Whatever it sent to b arrives while the VIP is on no NIC (H6).
        bench.replace_at = Some((at, Old::Lands(Duration::from_millis(4_500)), node("c")));
        bench.run_until(LONG, |b| b.replace_at.is_none());
        bench.run(Duration::from_millis(550));
        // By force: c has not been heard by the new leader yet.
        bench.move_with(Some("c"), true);
        let done = bench.run_until(LONG, |b| b.is_held_by("c"));
        assert!(done, "effect {at}: {}", bench.story());
        let fault = Fault::Answer(429, "RetryableError");
        let rule = Rule { nic: "a-nic", method: Some(Method::Put), fault, left: 4 };
        bench.arm.rules.push(rule);
        bench.move_to("a");
        let done = bench.run_until(LONG, |b| b.is_held_by("a"));
        assert!(done, "effect {at}: {}", bench.story());
    }
}

fn superseded_everywhere(to: &str, begin: impl Fn(&mut Bench)) {
    let effects = effects_of(&begin, |b| b.is_held_by("b"));
    for at in 1..=effects {
        let mut bench = Bench::held_by_a();
        begin(&mut bench);
        bench.run_until(LONG, |b| b.effects >= at);
        bench.move_to(to);
        let done = bench.run_until(LONG, |b| b.is_held_by(to));
        assert!(done, "superseded after effect {at} of {effects}\n{}", bench.story());
        bench.run(secs(10));
        assert!(bench.is_held_by(to), "effect {at}: it did not stay\n{}", bench.story());
    }
}

#[test]
fn a_planned_move_can_be_superseded_towards_a_third_node_after_any_effect() {
    superseded_everywhere("c", planned);
}

#[test]
fn a_planned_move_can_be_taken_back_after_any_effect() {
    superseded_everywhere("a", planned);
}

#[test]
fn a_failover_can_be_superseded_after_any_effect() {
    superseded_everywhere("c", holder_dies);
}

#[test]
fn an_operation_is_followed_across_a_superseding_move_and_a_new_leader() {
    let mut bench = Bench::held_by_a();
    bench.arm.takes = secs(10);
    bench.move_to("b");
    assert!(bench.run_until(secs(10), |b| b.saw("Put a-nic")), "{}", bench.story());
    bench.run(secs(1));
    bench.move_to("c");
    bench.run(secs(1));
    bench.replace_leader(Old::Crashes, &node("b"));
    assert!(bench.run_until(LONG, |b| b.is_held_by("c")), "{}", bench.story());
    let log = bench.log.logs.get(&demo()).expect("a log");
    let detaches: Vec<_> = log
        .moves
        .iter()
        .flat_map(|known| {
            known.operations.iter().map(|operation| (known.to_node.clone(), operation))
        })
        .filter(|(_, operation)| {
            operation.nic == nic_of("a") && operation.kind == OperationKind::Detach
        })
        .collect();
    let [(to, detach)] = detaches.as_slice() else { panic!("{detaches:#?}") };
    assert_eq!((to.clone(), detach.status.as_str()), (Some(node("b")), "Succeeded"));
    let took = detach.ended_ms.map(|end| end.saturating_sub(detach.started_ms));
    assert!(took.is_some_and(|took| (10_000..11_500).contains(&took)), "{took:?} ms");
}

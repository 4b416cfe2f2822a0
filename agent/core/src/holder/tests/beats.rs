//! When a node beats, and what it says.

use vipfence_types::{Answer, BootId, Refusal, Term};

use super::bench::*;
use crate::{Effect, Event, Input, Start};

#[test]
fn the_first_heartbeat_goes_out_at_once_and_names_the_boot_that_it_replaces() {
    let (_, effects) = Bench::from(Start { replaces: vec![BootId::from("boot-0")], ..start() });
    let [Effect::Send { heartbeat, give_up_after }] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(*give_up_after, secs(2));
    assert_eq!(heartbeat.seq, 1);
    assert_eq!(heartbeat.boot, BootId::from("boot-1"));
    assert_eq!(heartbeat.replaces, [BootId::from("boot-0")]);
}

#[test]
fn a_node_beats_once_per_interval_counted_from_sending() {
    let mut bench = Bench::new();
    bench.now = bench.now.plus(ms(200));
    bench.answer(&[], &[]);
    assert_eq!(bench.holder.next_deadline(bench.now), Some(ms(800)));
    assert!(bench.pass(ms(799)).is_empty());
    assert_eq!(beats(&bench.pass(ms(1))).len(), 1);
    bench.answer(&[], &[]);
    bench.step(Input::HeartbeatEvery { interval: ms(500) });
    assert_eq!(bench.holder.next_deadline(bench.now), Some(ms(500)));
}

#[test]
fn nudges_are_one_heartbeat_and_wait_for_the_one_in_flight() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        assert!(bench.step(Input::Nudged).is_empty());
    }
    let effects = bench.answer(&[], &[]);
    assert_eq!(beats(&effects).len(), 1);
    assert!(beats(&bench.answer(&[], &[])).is_empty());
}

#[test]
fn a_heartbeat_without_an_answer_is_repeated_soon_but_at_a_bounded_pace() {
    let mut bench = Bench::new();
    let mut pauses = Vec::new();
    for _ in 0..4 {
        bench.refuse(Refusal::NoQuorum);
        let wait = bench.holder.next_deadline(bench.now).unwrap();
        pauses.push(wait);
        let effects = bench.pass(wait);
        assert_eq!(beats(&effects).len(), 1);
    }
    assert_eq!(pauses, [ms(50), ms(100), ms(200), ms(200)]);
    bench.answer(&[], &[]);
    bench.pass(secs(1));
    bench.refuse(Refusal::NotLeader { leader: None });
    assert_eq!(bench.holder.next_deadline(bench.now), Some(ms(50)));
}

#[test]
fn a_nudge_cuts_the_pause_short() {
    let mut bench = Bench::new();
    bench.refuse(Refusal::NoQuorum);
    assert_eq!(beats(&bench.step(Input::Nudged)).len(), 1);
}

#[test]
fn a_heartbeat_that_nobody_reports_back_on_is_given_up() {
    let mut bench = Bench::new();
    let first = bench.seq;
    let effects = bench.pass(secs(2));
    let problem = "no answer within 2000 ms".to_owned();
    assert_eq!(
        effects,
        [Effect::Event(Event::LeaderSilent { problem })],
        "and repeated after a pause"
    );
    assert_eq!(beats(&bench.pass(ms(50))).len(), 1);
    // The shell's own report comes too late to count against the second one.
    bench.step(Input::Unreachable {
        boot: BootId::from("boot-1"),
        seq: first,
        problem: "timed out".into(),
    });
    assert_eq!(bench.holder.next_deadline(bench.now), Some(secs(2)));
}

fn nothing_for(bench: &mut Bench, boot: &str, seq: u64) -> Vec<Effect> {
    bench.step(Input::Answered {
        boot: BootId::from(boot),
        answer: Answer {
            seq,
            term: Term(3),
            grants: vec![],
            releasing: vec![],
            nowhere: vec![],
            reach: vec![],
        },
    })
}

#[test]
fn answers_of_another_boot_and_to_nothing_that_was_asked_are_ignored() {
    let mut bench = Bench::holding();
    bench.pass(secs(1));
    let (before, in_flight) = (bench.holder.clone(), bench.seq);
    assert_eq!(nothing_for(&mut bench, "boot-0", in_flight), []);
    assert_eq!(nothing_for(&mut bench, "boot-1", 77), []);
    // Answered already.
    assert_eq!(nothing_for(&mut bench, "boot-1", in_flight - 1), []);
    assert_eq!(bench.holder, before);
}

#[test]
fn an_older_answer_than_the_newest_is_ignored() {
    let mut bench = Bench::new();
    let late = bench.seq;
    bench.run(ms(2_050));
    assert_eq!(bench.seq, late + 1);
    bench.answer(&[grant("demo", 5)], &[]);
    assert_eq!(nothing_for(&mut bench, "boot-1", late), []);
    assert_eq!(bench.held(), [("demo".to_owned(), 5, false)]);
}

#[test]
fn a_node_that_is_turned_away_keeps_what_its_lease_covers_and_says_why() {
    let mut bench = Bench::holding();
    bench.pass(secs(1));
    let refusal = Refusal::SecondBoot { boot: BootId::from("boot-2") };
    let effects = bench.refuse(refusal.clone());
    assert_eq!(effects, [Effect::Event(Event::TurnedAway { refusal: refusal.clone() })]);
    assert_eq!(bench.held(), [("demo".to_owned(), 5, true)]);
    assert!(bench.detail().starts_with("another agent runs under"));
    assert_eq!(bench.holder.next_deadline(bench.now), Some(secs(1)), "no hurry");
    let effects = bench.pass(secs(1));
    assert_eq!(beats(&effects).len(), 1);
    assert_eq!(bench.refuse(refusal), [], "said once");
}

#[test]
fn health_is_said_when_it_changes() {
    let mut bench = Bench::holding();
    let health = Input::Health { arm_ok: Some(true), detail: "disk nearly full".into() };
    let effects = bench.step(health.clone());
    assert_eq!(beats(&effects)[0].health.arm_ok, Some(true));
    bench.answer(&[grant("demo", 5)], &[]);
    assert_eq!(bench.step(health), []);
    assert_eq!(bench.detail(), "disk nearly full");
}

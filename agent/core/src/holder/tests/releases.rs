//! Letting go: dropped, read back, spent, confirmed, in this order.

use vipfence_types::Epoch;

use super::bench::*;
use crate::{Effect, EndCause, Event, Input};

/// Up to Confirming.
fn released(bench: &mut Bench) -> Vec<Effect> {
    let effects = bench.beat_and_answer(&[grant("demo", 5)], &[at("demo", 5)]);
    let effects = bench.step(Input::Dropped { call: drop_call(&effects) });
    bench.step(Input::Persisted { call: persist_call(&effects) })
}

#[test]
fn a_release_is_dropped_read_back_spent_and_then_confirmed_at_once() {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[grant("demo", 5)], &[at("demo", 5)]);
    let drop = drop_call(&effects);
    assert_eq!(acts(&effects), [ended(5, EndCause::Released), drop_of(drop)]);

    let effects = bench.step(Input::Dropped { call: drop });
    let spend = persist_call(&effects);
    assert_eq!(
        acts(&effects),
        [
            Effect::Event(Event::Dropped { vip: name("demo") }),
            Effect::PersistSpent {
                call: spend,
                vip: name("demo"),
                addresses: vec![address("demo")],
                epoch: Epoch(5),
            }
        ]
    );
    let effects = bench.pass(secs(1));
    assert_eq!(beats(&effects)[0].released, [], "not on disk yet");
    bench.answer(&[grant("demo", 5)], &[at("demo", 5)]);

    let effects = bench.step(Input::Persisted { call: spend });
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
}

#[test]
fn a_confirmation_is_repeated_until_the_leader_mentions_the_epoch_no_more() {
    let mut bench = Bench::holding();
    let effects = released(&mut bench);
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
    let effects = bench.answer(&[grant("demo", 5)], &[at("demo", 5)]);
    assert_eq!(effects, [], "neither refused nor added");
    let effects = bench.beat_and_answer(&[], &[at("demo", 5)]);
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
    let effects = bench.beat_and_answer(&[], &[]);
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
    let effects = bench.pass(secs(1));
    assert_eq!(beats(&effects)[0].released, []);
}

#[test]
fn in_neither_list_is_dropped_at_once_and_nothing_is_owed() {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[], &[]);
    let drop = drop_call(&effects);
    let acted = acts(&effects);
    assert_eq!(acted, [ended(5, EndCause::NotGranted), drop_of(drop)]);
    let effects = bench.step(Input::Dropped { call: drop });
    let dropped = Effect::Event(Event::Dropped { vip: name("demo") });
    assert_eq!(acts(&effects), [dropped]);
}

#[test]
fn a_release_without_a_memory_reads_the_whole_kernel_back_and_spends_the_name() {
    let mut bench = Bench::new();
    let effects = bench.answer(&[grant("other", 6)], &[at("demo", 5)]);
    let sweep = drop_call(&effects);
    let keep = [address("other")].into();
    assert!(effects.contains(&Effect::Sweep { call: sweep, managed: [].into(), keep }));
    let effects = bench.step(Input::Dropped { call: sweep });
    let spend = persist_call(&effects);
    let effects = bench.step(Input::Persisted { call: spend });
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
}

#[test]
fn a_release_without_a_memory_but_with_a_grant_beside_it_knows_the_addresses() {
    let mut bench = Bench::new();
    let effects = bench.answer(&[grant("demo", 5)], &[at("demo", 5)]);
    let drop = drop_call(&effects);
    assert!(effects.contains(&drop_of(drop)));
    assert!(adds(&effects).is_empty());
}

#[test]
fn a_drop_that_failed_is_repeated_and_never_confirmed() {
    let mut bench = Bench::holding();
    let mut effects = bench.beat_and_answer(&[], &[at("demo", 5)]);
    for _ in 0..5 {
        bench.step(Input::DropFailed {
            call: drop_call(&effects),
            problem: "netlink: EPERM".into(),
        });
        bench.answer(&[], &[at("demo", 5)]);
        effects = bench.run(ms(250));
        assert!(beats(&effects).iter().all(|b| b.released.is_empty()));
    }
    assert_eq!(bench.detail(), "demo: netlink: EPERM");
    let effects = bench.step(Input::Dropped { call: drop_call(&effects) });
    persist_call(&effects);
}

#[test]
fn a_flush_that_failed_is_repeated_and_never_confirmed() {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[], &[at("demo", 5)]);
    let effects = bench.step(Input::Dropped { call: drop_call(&effects) });
    bench.answer(&[], &[at("demo", 5)]);
    let effects = bench
        .step(Input::PersistFailed { call: persist_call(&effects), problem: "disk full".into() });
    assert!(effects.iter().any(|e| matches!(
        e,
        Effect::Event(Event::PersistFailed { problem, .. }) if problem == "disk full"
    )));
    let effects = bench.run(ms(250));
    let call = persist_call(&effects);
    assert!(beats(&effects).iter().all(|b| b.released.is_empty()));
    bench.step(Input::Persisted { call });
    bench.answer(&[], &[at("demo", 5)]);
    let effects = bench.pass(secs(1));
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
}

#[test]
fn a_new_epoch_ends_a_release_under_way_at_every_step_of_it() {
    // While dropping: the add comes after the drop.
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[], &[at("demo", 5)]);
    let drop = drop_call(&effects);
    let effects = bench.answer(&[grant("demo", 7)], &[]);
    assert_eq!(adds(&effects)[0].1, 7);
    assert_eq!(acts(&bench.step(Input::Dropped { call: drop })), []);

    // While spending.
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[], &[at("demo", 5)]);
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    let spend = persist_call(&effects);
    let granted = bench.answer(&[grant("demo", 7)], &[]);
    assert_eq!(adds(&granted)[0].1, 7);
    bench.step(Input::Persisted { call: spend });
    bench.answer(&[grant("demo", 7)], &[]);
    let effects = bench.pass(secs(1));
    assert_eq!(beats(&effects)[0].released, []);

    // While confirming.
    let mut bench = Bench::holding();
    released(&mut bench);
    let effects = bench.answer(&[grant("demo", 7)], &[]);
    assert_eq!(adds(&effects)[0].1, 7);
}

#[test]
fn an_address_that_goes_to_another_vip_is_not_dropped_behind_its_back() {
    let mut bench = Bench::holding();
    let mut other = grant("other", 8);
    other.addresses = grant("demo", 5).addresses;
    let effects = bench.beat_and_answer(&[other], &[]);
    let acts = acts(&effects);
    let add = acts.iter().position(|e| matches!(e, Effect::Add { .. }));
    let drop = acts.iter().position(|e| match e {
        Effect::Drop { addresses, .. } => addresses.is_empty(),
        _ => false,
    });
    assert!(drop.is_some() && drop < add, "{acts:?}");
}

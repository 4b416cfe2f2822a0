//! The attacks of attacks.md that concern the node, with the fence in place.

use vipfence_types::{Epoch, Refusal};

use super::bench::*;
use crate::{EndCause, Holder, Input, Spent, Start};

#[test]
fn h01_a_delayed_answer_cannot_revive_a_released_grant() {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[], &[at("demo", 5)]);
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    let call = persist_call(&effects);
    bench.step(Input::Persisted { call });
    bench.answer(&[], &[]);
    // Not stopped by the order of answers: this one is the newest.
    bench.pass(secs(1));
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert!(adds(&effects).is_empty());
    assert_eq!(beats(&effects)[0].refused, [at("demo", 5)]);
    // Nor does a lower epoch of another VIP bring the address back: it is spent by address.
    let mut renamed = grant("other", 4);
    renamed.addresses = grant("demo", 5).addresses;
    let effects = bench.answer(&[renamed], &[]);
    assert!(adds(&effects).is_empty());
    assert_eq!(beats(&effects)[0].refused, [at("other", 4)]);
}

#[test]
fn h02_a_confirmation_is_of_one_epoch_and_a_new_one_takes_it_back() {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[], &[at("demo", 5)]);
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    let call = persist_call(&effects);
    bench.step(Input::Persisted { call });
    bench.answer(&[], &[at("demo", 5)]);
    let effects = bench.beat_and_answer(&[grant("demo", 6)], &[]);
    bench.added(add_call(&effects));
    bench.answer(&[grant("demo", 6)], &[]);
    let effects = bench.pass(secs(1));
    assert_eq!(beats(&effects)[0].released, []);
    // Asked again, it confirms the epoch in the way, after another read back.
    let effects = bench.answer(&[], &[at("demo", 6)]);
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    let call = persist_call(&effects);
    bench.answer(&[], &[at("demo", 6)]);
    let effects = bench.step(Input::Persisted { call });
    assert_eq!(beats(&effects)[0].released, [at("demo", 6)]);
}

#[test]
fn h03_nothing_is_added_or_renewed_with_less_than_a_second_left() {
    let mut bench = Bench::new();
    let mut long = grant("demo", 5);
    long.lease_ttl_ms = 14_700;
    let effects = bench.answer(&[long], &[]);
    let mut gone = ms(0);
    let mut set = Vec::new();
    let mut effects = effects;
    while gone < ms(14_699) {
        for (call, _, lifetime) in adds(&effects) {
            assert!(lifetime >= secs(1) && gone + lifetime <= ms(14_700));
            bench.added(call);
            set.push((gone.as_millis(), lifetime.as_secs()));
        }
        effects = bench.run(ms(1));
        gone += ms(1);
    }
    assert_eq!(set, [(0, 12), (6_000, 8), (10_550, 4)]);
    assert_eq!(bench.held(), [("demo".to_owned(), 5, false)], "its last 0.7 s");
    // A late answer does not either: 0.1 s are left of what it grants.
    bench.step(Input::Nudged);
    bench.refuse(Refusal::NoQuorum);
    bench.step(Input::Nudged);
    let seq = bench.seq;
    bench.now = bench.now.plus(secs(20));
    bench.step(Input::Tick);
    let mut short = grant("demo", 5);
    short.lease_ttl_ms = 20_999;
    let effects = bench.answer_to(seq, &[short], &[]);
    assert!(adds(&effects).is_empty(), "{effects:?}");
}

#[test]
fn h16_a_pause_that_a_clock_shows_ends_the_lease() {
    let clocks: [fn(&mut vipfence_types::Clocks); 4] = [
        |now| now.wall_us += 10_000_000,
        |now| now.boot_us += 10_000_000,
        |now| now.mono_us += 10_000_000,
        |now| now.raw_us += 10_000_000,
    ];
    for show in clocks {
        let mut bench = Bench::holding();
        show(&mut bench.now);
        assert_eq!(bench.held(), []);
        let effects = bench.step(Input::Tick);
        assert!(effects.contains(&ended(5, EndCause::LeaseEnded)));
    }
}

#[test]
fn h16_a_pause_between_computing_and_setting_a_lifetime_is_seen_afterwards() {
    let mut bench = Bench::new();
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    let call = add_call(&effects);
    bench.now = bench.now.plus(secs(9)).plus(ms(500));
    let now = bench.now;
    let effects = bench.step(Input::Added { call, at: now });
    assert!(adds(&effects).is_empty());
    drop_call(&effects);
    assert_eq!(bench.held(), []);
}

#[test]
fn v02_a_restart_does_not_forget_what_is_spent() {
    let mut spent = Spent::default();
    spent.spend(&name("demo"), &[address("demo")], Epoch(5));
    let (mut bench, _) = Bench::from(Start { spent, ..start() });
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert!(adds(&effects).is_empty());
    let said = beats(&effects)[0];
    assert_eq!(said.refused, [at("demo", 5)]);
    assert_eq!(said.highest_epoch, Epoch(5));
    let effects = bench.answer(&[grant("demo", 6)], &[]);
    assert_eq!(adds(&effects)[0].1, 6);
}

#[test]
fn v02_a_restart_between_the_drop_and_the_flush_has_confirmed_nothing() {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[], &[at("demo", 5)]);
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    assert!(beats(&effects).iter().all(|b| b.released.is_empty()));
    // The next boot is asked again, and confirms after a read back and a flush of its own.
    let (holder, _) = Holder::start(bench.now, start());
    bench.holder = holder;
    let effects = bench.answer_to(1, &[], &[at("demo", 5)]);
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    persist_call(&effects);
}

#[test]
fn v02_a_restart_after_the_flush_confirms_without_another_but_not_without_a_read_back() {
    let mut spent = Spent::default();
    spent.spend(&name("demo"), &[address("demo")], Epoch(5));
    let (mut bench, _) = Bench::from(Start { spent, ..start() });
    let effects = bench.answer(&[], &[at("demo", 5)]);
    let call = drop_call(&effects);
    assert!(beats(&effects).is_empty());
    let effects = bench.step(Input::Dropped { call });
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
}

#[test]
fn l04_a_restored_registry_hears_the_highest_epoch_and_what_is_refused() {
    let mut spent = Spent::default();
    spent.spend(&name("demo"), &[address("demo")], Epoch(50));
    let (mut bench, _) = Bench::from(Start { spent, ..start() });
    let effects = bench.answer(&[grant("demo", 40)], &[]);
    let said = beats(&effects)[0];
    assert_eq!(said.refused, [at("demo", 40)]);
    assert_eq!(said.highest_epoch, Epoch(50));
    // Said in each heartbeat as long as it is granted, but not in a hurry.
    assert_eq!(bench.answer(&[grant("demo", 40)], &[]), []);
    assert!(bench.detail().contains("is done with that epoch"));
    let effects = bench.pass(secs(1));
    assert_eq!(beats(&effects)[0].refused, [at("demo", 40)]);
    bench.answer(&[], &[]);
    let effects = bench.pass(secs(1));
    assert_eq!(beats(&effects)[0].refused, []);
}

#[test]
fn l09_expiring_is_dropped_at_once_and_confirmed() {
    let mut bench = Bench::holding();
    // In `releasing` only.
    let effects = bench.beat_and_answer(&[], &[at("demo", 5)]);
    let call = drop_call(&effects);
    assert_eq!(bench.held(), []);
    let effects = bench.step(Input::Dropped { call });
    let call = persist_call(&effects);
    bench.answer(&[], &[at("demo", 5)]);
    let effects = bench.step(Input::Persisted { call });
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
}

#[test]
fn h19_a_healthy_holder_rides_out_an_election_without_losing_the_address() {
    let mut bench = Bench::holding();
    for _ in 0..40 {
        let effects = bench.run(ms(100));
        for (call, ..) in adds(&effects) {
            bench.added(call);
        }
        if !beats(&effects).is_empty() {
            bench.refuse(Refusal::NotLeader { leader: None });
        }
        assert_eq!(bench.held(), [("demo".to_owned(), 5, true)]);
    }
}

#[test]
fn an_epoch_whose_flush_is_under_way_is_as_good_as_spent() {
    // Found by the random test: a release of 5 that overtakes the flush of 6 must not let a grant
    // of 6 back in, which the disk is about to forbid.
    let mut bench = Bench::new();
    let effects = bench.answer(&[grant("demo", 6)], &[at("demo", 6)]);
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    persist_call(&effects);
    bench.answer(&[], &[at("demo", 5)]);
    let effects = bench.answer(&[grant("demo", 6)], &[]);
    assert!(adds(&effects).is_empty());
    assert_eq!(beats(&effects)[0].refused, [at("demo", 6)]);
}

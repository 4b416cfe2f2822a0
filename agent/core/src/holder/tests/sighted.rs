//! What something else does to an address on the OS.

use vipfence_types::VipAddress;

use super::bench::*;
use crate::{Effect, Event, Found, Input, Sighting, Start};

fn disturbed(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Event(Event::Disturbed { .. })))
}

#[test]
fn what_is_held_and_was_taken_off_or_changed_is_put_back_at_once_and_then_at_a_bounded_pace() {
    let mut bench = Bench::holding();
    let effects = bench.step(Input::Sighted(Sighting::Gone(address("demo"))));
    assert!(disturbed(&effects) && adds(&effects).len() == 1, "{effects:?}");
    bench.added(add_call(&effects));
    let effects = bench.step(Input::Sighted(Sighting::Foreign(address("demo"))));
    assert!(disturbed(&effects) && adds(&effects).is_empty(), "again: later; {effects:?}");
    assert!(!bench.holder.view(bench.now).held[0].added, "it is not sure to be there");
    let effects = bench.pass(ms(250));
    assert_eq!(adds(&effects).len(), 1, "{effects:?}");
}

#[test]
fn an_add_under_way_when_the_address_was_changed_proves_nothing_and_is_repeated() {
    let mut bench = Bench::holding();
    let gone = Input::Sighted(Sighting::Gone(address("demo")));
    let first = bench.step(gone.clone());
    // It went again before the outcome of the first came.
    bench.pass(ms(50));
    bench.step(gone);
    bench.added(add_call(&first));
    assert!(!bench.holder.view(bench.now).held[0].added);
    assert_eq!(adds(&bench.pass(ms(250))).len(), 1);
}

#[test]
fn what_is_not_held_is_swept_if_it_is_a_vips_and_only_then() {
    let mut bench = Bench::new();
    let stray = Sighting::Foreign(address("demo"));
    assert!(acts(&bench.step(Input::Sighted(stray))).is_empty(), "not a VIP's: not our business");
    let managed = [address("demo")];
    let sweep = |call: u64| {
        let call = crate::Call(call);
        Effect::Sweep { call, managed: managed.into(), keep: [].into() }
    };
    // It may have been there before it became a VIP's.
    let effects = bench.step(Input::Managed { addresses: managed.into() });
    assert_eq!(acts(&effects), [sweep(1)]);
    bench.step(Input::Dropped { call: crate::Call(1) });
    assert!(acts(&bench.step(Input::Managed { addresses: managed.into() })).is_empty());
    let effects = bench.step(Input::Sighted(stray));
    let told = Effect::Event(Event::Stray { address: address("demo") });
    assert_eq!(acts(&effects), [told, sweep(2)]);
    assert!(bench.detail().contains("started: 1; last: 10.5.0.110"));
    // Gone by itself, such as after our own drop: nothing to do.
    bench.step(Input::Dropped { call: crate::Call(2) });
    assert!(acts(&bench.step(Input::Sighted(Sighting::Gone(address("demo"))))).is_empty());
    bench.pass(secs(601));
    assert!(!bench.detail().contains("something else"), "{}", bench.detail());
}

#[test]
fn lost_events_lead_to_a_look_at_everything() {
    let mut bench = Bench::holding();
    let effects = bench.step(Input::Sighted(Sighting::Unknown));
    let sweeps = effects.iter().any(|effect| matches!(effect, Effect::Sweep { .. }));
    assert!(sweeps && adds(&effects).len() == 1, "{effects:?}");
}

#[test]
fn nothing_is_put_back_inside_the_last_second_of_a_lease() {
    let mut bench = Bench::holding();
    bench.pass(ms(TTL - 900));
    let effects = bench.step(Input::Sighted(Sighting::Gone(address("demo"))));
    assert!(!disturbed(&effects) && adds(&effects).is_empty(), "the kernel's own: {effects:?}");
}

#[test]
fn many_vips_are_renewed_together() {
    let mut bench = Bench::new();
    let mut other = grant("other", 6);
    other.addresses = vec![VipAddress::host(address("other"))];
    bench.answer(&[grant("demo", 5)], &[]);
    let both = [grant("demo", 5), other];
    let first = bench.beat_and_answer(&both, &[]);
    assert_eq!(adds(&first).len(), 1, "the second begins a second later");
    let mut renewals = Vec::new();
    for _ in 0..40 {
        let effects = bench.beat_and_answer(&both, &[]);
        let calls = adds(&effects);
        renewals.extend((!calls.is_empty()).then_some(calls.len()));
        for (call, ..) in calls {
            bench.added(call);
        }
    }
    assert!(renewals.iter().rev().take(3).all(|count| *count == 2), "{renewals:?}");
}

/// Found by the deterministic world: the node had not been answered since its start, so the address
/// was still among those that a start leaves to their lifetimes.
#[test]
fn what_a_start_left_to_its_lifetime_is_not_spared_when_somebody_else_puts_it_there_again() {
    let managed = [address("demo")];
    let found = vec![Found { address: address("demo"), lifetime_left: Some(secs(3)) }];
    let (mut bench, _) = Bench::from(Start { found, managed: managed.into(), ..start() });
    let effects = bench.step(Input::Sighted(Sighting::Foreign(address("demo"))));
    let call = drop_call(&effects);
    assert!(effects.contains(&Effect::Sweep { call, managed: managed.into(), keep: [].into() }));
}

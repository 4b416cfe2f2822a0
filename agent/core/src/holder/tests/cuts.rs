//! Connections that are cut: what a node says of them when it lets go, and whom it tells when another
//! has.

use core::time::Duration;

use vipfence_types::{Connection, Cut, Grant};

use super::bench::*;
use crate::{Call, Effect, Input};

fn cut(bench: &mut Bench, call: Call, ports: core::ops::Range<u16>) {
    let connections = ports.map(|port| connection("demo", port)).collect();
    assert_eq!(bench.step(Input::Cut { call, connections }), []);
}

/// The leader has the VIP back, up to the call that drops it.
fn asked_to_release() -> (Bench, Call) {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[grant("demo", 5)], &[at("demo", 5)]);
    let call = drop_call(&effects);
    (bench, call)
}

fn reported(effects: &[Effect]) -> Vec<Vec<Cut>> {
    beats(effects).iter().map(|beat| beat.cut.clone()).collect()
}

fn telling(epoch: u64, vip: &str, ports: core::ops::Range<u16>) -> Grant {
    let cut = ports.map(|port| connection(vip, port)).collect();
    Grant { cut, ..grant("demo", epoch) }
}

/// How many are told, and within which time.
fn told(effects: &[Effect]) -> Vec<(usize, Duration)> {
    let of = |effect: &Effect| match effect {
        Effect::Tell { vip, connections, start_within, .. } => {
            assert_eq!(*vip, name("demo"));
            Some((connections.len(), *start_within))
        }
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

#[test]
fn what_was_cut_goes_with_the_confirmation_for_as_long_as_that_is_said() {
    let (mut bench, call) = asked_to_release();
    cut(&mut bench, call, 1..3);
    let effects = bench.step(Input::Dropped { call });
    assert_eq!(reported(&bench.pass(secs(1))), [vec![]], "not before it is confirmed");
    bench.answer(&[grant("demo", 5)], &[at("demo", 5)]);
    let effects = bench.step(Input::Persisted { call: persist_call(&effects) });
    let connections = vec![connection("demo", 1), connection("demo", 2)];
    let both = vec![Cut { at: at("demo", 5), connections }];
    assert_eq!(reported(&effects), std::slice::from_ref(&both));
    // No answer, or one of a leader that has not heard it: again.
    bench.answer(&[], &[at("demo", 5)]);
    assert_eq!(reported(&bench.pass(secs(1))), [both]);
    bench.answer(&[], &[]);
    assert_eq!(reported(&bench.pass(secs(1))), [vec![]], "it was taken");
    assert_eq!(bench.holder.cuts, [].into(), "and is forgotten");
}

#[test]
fn a_drop_that_is_tried_again_loses_nothing_of_what_the_first_has_cut() {
    let (mut bench, call) = asked_to_release();
    cut(&mut bench, call, 1..3);
    bench.step(Input::DropFailed { call, problem: "busy".into() });
    let again = drop_call(&bench.pass(ms(250)));
    cut(&mut bench, call, 7..9);
    cut(&mut bench, again, 3..5_000);
    let effects = bench.step(Input::Dropped { call: again });
    bench.answer(&[grant("demo", 5)], &[at("demo", 5)]);
    let effects = bench.step(Input::Persisted { call: persist_call(&effects) });
    let all = &reported(&effects)[0][0].connections;
    assert_eq!(all.len(), Connection::PER_VIP, "and no more than are carried");
    assert_eq!(all[..3], [1, 2, 3].map(|port| connection("demo", port)), "of its own calls only");
}

#[test]
fn a_lease_that_ends_by_itself_tells_nobody_what_it_has_cut() {
    let mut bench = Bench::holding();
    let effects = bench.pass(secs(12));
    let call = drop_call(&effects);
    cut(&mut bench, call, 1..3);
    bench.step(Input::Dropped { call });
    assert_eq!(bench.holder.cuts, [].into());
    assert_eq!(bench.holder.heartbeat(bench.now).cut, []);
}

#[test]
fn clients_are_told_at_once_and_three_times_more_once_the_address_is_here() {
    let mut bench = Bench::new();
    let effects = bench.answer(&[telling(5, "demo", 1..3)], &[]);
    assert_eq!(told(&effects), [], "the address is not here yet");
    bench.pass(ms(50));
    let effects = bench.added(add_call(&effects));
    assert_eq!(told(&effects), [(2, ms(100))]);
    let mut moments = Vec::new();
    let begun = bench.now;
    for _ in 0..40 {
        let effects = bench.pass(ms(100));
        let in_flight = beats(&effects).len();
        moments.extend(told(&effects).iter().map(|_| bench.now.mono_since(begun).as_millis()));
        if in_flight > 0 {
            // The leader repeats itself.
            assert_eq!(told(&bench.answer(&[telling(5, "demo", 1..3)], &[])), []);
        }
    }
    assert_eq!(moments, [200, 1_000, 3_000]);
}

#[test]
fn a_holder_whose_address_is_not_in_the_kernel_tells_nobody() {
    let mut bench = Bench::holding();
    bench.answer(&[grant("demo", 5)], &[]);
    bench.step(Input::Sighted(crate::Sighting::Gone(address("demo"))));
    let effects = bench.answer(&[telling(5, "demo", 1..3)], &[]);
    assert_eq!(told(&effects), []);
}

#[test]
fn nobody_is_told_anything_by_a_node_that_is_not_entitled_any_more() {
    // The leader takes it back, or the lease ends, before the second time.
    for taken_back in [true, false] {
        let mut bench = Bench::holding();
        let effects = bench.beat_and_answer(&[telling(5, "demo", 1..3)], &[]);
        assert_eq!(told(&effects), [(2, ms(100))]);
        let effects = match taken_back {
            true => bench.answer(&[], &[]),
            false => bench.pass(secs(11)),
        };
        assert_eq!(told(&effects), [], "taken back: {taken_back}");
        assert_eq!(told(&bench.run(secs(10))), [], "taken back: {taken_back}");
    }
}

#[test]
fn a_lease_with_less_time_than_that_bounds_when_clients_may_be_told() {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[telling(5, "demo", 1..3)], &[]);
    assert_eq!(told(&effects), [(2, ms(100))]);
    bench.pass(ms(1_000));
    let short = Grant { lease_ttl_ms: 3_050, ..telling(5, "demo", 5..6) };
    assert_eq!(told(&bench.answer(&[short], &[])), [(1, ms(100))], "what is new is told as well");
    let later = [200, 800, 2_000].map(|span| told(&bench.pass(ms(span))));
    assert_eq!(later, [[(1, ms(100))], [(1, ms(100))], [(1, ms(50))]]);
}

#[test]
fn connections_to_an_address_that_is_not_held_are_nobody_s_to_tell() {
    let mut bench = Bench::holding();
    let mixed =
        Grant { cut: vec![connection("other", 1), connection("demo", 2)], ..grant("demo", 5) };
    let effects = bench.beat_and_answer(&[mixed], &[]);
    let connections = vec![connection("demo", 2)];
    let computed_at = bench.now;
    assert!(effects.contains(&Effect::Tell {
        vip: name("demo"),
        connections,
        computed_at,
        start_within: ms(100),
    }));
}

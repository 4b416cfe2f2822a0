//! The clean stop.

use vipfence_types::Refusal;

use super::bench::*;
use crate::{Effect, EndCause, Input};

const STOP: Input = Input::Stop { within: std::time::Duration::from_secs(30) };

#[test]
fn a_node_that_holds_nothing_stops_once_it_has_said_so() {
    let mut bench = Bench::new();
    bench.answer(&[], &[]);
    let effects = bench.step(STOP);
    assert!(beats(&effects)[0].health.stopping);
    assert_eq!(bench.answer(&[], &[]), [Effect::Stopped]);
    assert_eq!(bench.holder.next_deadline(bench.now), None);
    assert_eq!(bench.pass(secs(100)), []);
}

#[test]
fn a_node_that_reaches_nobody_and_holds_nothing_does_not_wait() {
    let mut bench = Bench::new();
    bench.refuse(Refusal::NoQuorum);
    bench.step(STOP);
    let effects = bench.pass(ms(50));
    assert!(beats(&effects)[0].health.stopping);
    assert!(bench.refuse(Refusal::NoQuorum).contains(&Effect::Stopped));
}

#[test]
fn a_stopping_holder_serves_until_the_leader_has_moved_its_vips() {
    let mut bench = Bench::holding();
    bench.step(STOP);
    assert_eq!(bench.answer(&[grant("demo", 5)], &[]), []);
    bench.beat_and_answer(&[grant("demo", 5)], &[]);
    assert_eq!(bench.held(), [("demo".to_owned(), 5, true)]);
    let effects = bench.beat_and_answer(&[grant("demo", 5)], &[at("demo", 5)]);
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    bench.answer(&[], &[at("demo", 5)]);
    let call = persist_call(&effects);
    let effects = bench.step(Input::Persisted { call });
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
    assert_eq!(bench.answer(&[], &[]), [Effect::Stopped]);
}

#[test]
fn a_stopping_node_takes_nothing_new() {
    let mut bench = Bench::holding();
    bench.step(STOP);
    let effects = bench.answer(&[grant("demo", 5), grant("other", 6)], &[]);
    assert!(adds(&effects).is_empty());
    assert_eq!(bench.held().len(), 1);
}

#[test]
fn what_nobody_took_over_in_time_is_let_go_and_confirmed_unasked() {
    let mut bench = Bench::holding();
    bench.step(Input::Stop { within: secs(1) });
    bench.answer(&[grant("demo", 5)], &[]);
    let effects = bench.beat_and_answer(&[grant("demo", 5)], &[]);
    assert!(effects.contains(&ended(5, EndCause::Stopping)));
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    let call = persist_call(&effects);
    bench.answer(&[grant("demo", 5)], &[]);
    let effects = bench.step(Input::Persisted { call });
    bench.answer(&[grant("demo", 5)], &[]);
    let later = bench.pass(secs(1));
    let said: Vec<_> = [beats(&effects), beats(&later)].concat();
    assert!(said.iter().any(|b| b.released == [at("demo", 5)]));
    let effects = bench.run(secs(2));
    assert!(effects.is_empty() || effects.contains(&Effect::Stopped));
}

#[test]
fn a_stop_ends_even_if_nothing_works_any_more() {
    let mut bench = Bench::holding();
    bench.step(Input::Stop { within: secs(1) });
    let mut effects = bench.pass(secs(1));
    effects.extend(bench.pass(secs(2)));
    assert_eq!(effects.last(), Some(&Effect::Stopped));
}

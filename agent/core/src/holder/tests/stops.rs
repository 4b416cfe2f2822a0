//! The clean stop.

use vipfence_types::{Nowhere, Refusal};

use super::bench::*;
use crate::{Effect, EndCause, Event, Input, OnStop};

const STOP: Input =
    Input::Stop { on_stop: OnStop::Move, within: std::time::Duration::from_secs(30) };
const KEEP: Input =
    Input::Stop { on_stop: OnStop::Keep, within: std::time::Duration::from_secs(1) };

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
    bench.step(Input::Stop { on_stop: OnStop::Move, within: secs(1) });
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
    bench.step(Input::Stop { on_stop: OnStop::Move, within: secs(1) });
    let mut effects = bench.pass(secs(1));
    effects.extend(bench.pass(secs(2)));
    assert_eq!(effects.last(), Some(&Effect::Stopped));
}

fn nowhere(vip: &str) -> Nowhere {
    Nowhere { vip: name(vip), reason: "no candidate is eligible: n2 is silent".to_owned() }
}

#[test]
fn what_has_nowhere_to_go_is_let_go_and_the_node_stops_as_soon_as_the_leader_knows() {
    let mut bench = Bench::holding();
    bench.step(STOP);
    bench.nowhere = vec![nowhere("demo")];
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert!(effects.contains(&ended(5, EndCause::Stopping)));
    let Nowhere { vip, reason } = nowhere("demo");
    assert!(effects.contains(&Effect::Event(Event::Nowhere { vip, reason })), "{effects:?}");
    let call = drop_call(&effects);
    let effects = bench.step(Input::Dropped { call });
    let effects = bench.step(Input::Persisted { call: persist_call(&effects) });
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
    // The leader still mentions it: nobody takes it over.
    assert_eq!(bench.answer(&[grant("demo", 5)], &[]), [Effect::Stopped]);
    let view = bench.holder.view(bench.now);
    assert_eq!(view.nowhere, [(name("demo"), nowhere("demo").reason)]);
    assert!(view.detail.contains("demo has nowhere to go: no candidate is eligible"));
}

#[test]
fn what_can_move_goes_on_moving_beside_what_has_nowhere_to_go() {
    let mut bench = Bench::new();
    bench.answer(&[grant("demo", 5), grant("other", 6)], &[]);
    bench.step(STOP);
    bench.nowhere = vec![nowhere("demo")];
    let both = [grant("demo", 5), grant("other", 6)];
    let effects = bench.answer(&both, &[]);
    assert!(drop_call(&effects) > crate::Call(0));
    assert_eq!(bench.held(), [("other".to_owned(), 6, false)]);
    let effects = bench.step(Input::Dropped { call: drop_call(&effects) });
    bench.step(Input::Persisted { call: persist_call(&effects) });
    bench.beat_and_answer(&both, &[]);
    let effects = bench.beat_and_answer(&both, &[]);
    assert!(!effects.contains(&Effect::Stopped), "it waits for the other");
}

#[test]
fn a_node_that_goes_on_is_not_moved_by_a_word_about_stopping() {
    let mut bench = Bench::holding();
    bench.nowhere = vec![nowhere("demo")];
    bench.beat_and_answer(&[grant("demo", 5)], &[]);
    assert_eq!(bench.held(), [("demo".to_owned(), 5, true)]);
}

#[test]
fn a_node_that_keeps_its_vips_beats_once_more_renews_and_ends() {
    let mut bench = Bench::holding();
    bench.now = bench.now.plus(ms(400));
    let effects = bench.step(KEEP);
    let [Effect::Send { heartbeat, .. }] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert!(!heartbeat.health.stopping, "nobody is to move them");
    assert_eq!(heartbeat.health.detail, "stopping; it keeps what it holds", "answered at once");
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert_eq!(adds(&effects).len(), 1, "although half of its lifetime is not gone: {effects:?}");
    assert_eq!(adds(&effects)[0].2, secs(10), "all of the lease");
    assert_eq!(bench.added(add_call(&effects)), [Effect::Stopped]);
    assert!(bench.holder.view(bench.now).nowhere.is_empty());
}

#[test]
fn a_keeping_node_that_hears_nobody_renews_what_its_lease_still_covers() {
    let mut bench = Bench::holding();
    bench.beat_and_answer(&[grant("demo", 5)], &[]);
    bench.now = bench.now.plus(ms(500));
    bench.step(KEEP);
    let effects = bench.refuse(Refusal::NoQuorum);
    assert!(!effects.contains(&Effect::Stopped), "an answer may still come");
    let effects = bench.run(secs(1));
    assert_eq!(adds(&effects).iter().map(|add| add.2).collect::<Vec<_>>(), [secs(8)]);
    assert_eq!(bench.added(add_call(&effects)), [Effect::Stopped]);
}

#[test]
fn a_keeping_node_takes_nothing_new_and_lets_go_of_what_it_is_asked_for() {
    let mut bench = Bench::holding();
    bench.step(KEEP);
    let effects = bench.answer(&[grant("other", 6)], &[at("demo", 5)]);
    assert!(adds(&effects).is_empty() && !effects.contains(&Effect::Stopped), "{effects:?}");
    let effects = bench.step(Input::Dropped { call: drop_call(&effects) });
    let effects = bench.step(Input::Persisted { call: persist_call(&effects) });
    assert_eq!(effects.last(), Some(&Effect::Stopped), "{effects:?}");
}

#[test]
fn a_keeping_node_leaves_no_lifetime_that_may_outlive_its_lease() {
    let mut bench = Bench::holding();
    bench.now = bench.now.plus(ms(400));
    bench.step(KEEP);
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    let problem = "no memory".to_owned();
    bench.step(Input::AddFailed { call: add_call(&effects), problem: problem.clone() });
    // Tried again until the second is over; then dropped.
    let mut all = Vec::new();
    for _ in 0..4 {
        let effects = bench.pass(ms(250));
        if let Some((call, ..)) = adds(&effects).first() {
            all.extend(bench.step(Input::AddFailed { call: *call, problem: problem.clone() }));
        }
        all.extend(effects);
    }
    assert!(all.contains(&ended(5, EndCause::Stopping)), "{all:?}");
    let effects = bench.step(Input::Dropped { call: drop_call(&all) });
    assert_eq!(effects.last(), Some(&Effect::Stopped), "{effects:?}");
}

#[test]
fn a_keeping_node_ends_within_two_seconds_even_if_nothing_works_any_more() {
    let mut bench = Bench::holding();
    bench.step(KEEP);
    let mut effects = bench.pass(secs(1));
    effects.extend(bench.pass(secs(1)));
    assert_eq!(effects.last(), Some(&Effect::Stopped));
}

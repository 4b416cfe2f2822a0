//! The data-path check: this node tries to reach what others hold.

use vipfence_types::Reach;

use super::bench::*;
use crate::{Call, Effect, Input};

fn target() -> core::net::SocketAddr {
    core::net::SocketAddr::from(([10, 5, 0, 110], 7600))
}

fn asks(effects: &[Effect]) -> Vec<Call> {
    let call = |effect: &Effect| match effect {
        Effect::Reach { call, target: at, .. } if *at == target() => Some(*call),
        _ => None,
    };
    effects.iter().filter_map(call).collect()
}

fn asked(epoch: u64) -> (Bench, Call) {
    let mut bench = Bench::new();
    bench.reach = vec![Reach { at: at("demo", epoch), target: target() }];
    let effects = bench.answer(&[], &[]);
    let [call] = asks(&effects)[..] else { panic!("{effects:?}") };
    (bench, call)
}

#[test]
fn what_the_leader_asks_for_is_tried_until_it_answers_and_then_told() {
    let (mut bench, call) = asked(7);
    let effects = bench.step(Input::Reached { call, answered: false });
    assert_eq!(asks(&effects), [], "not at once again");
    let [again] = asks(&bench.pass(ms(250)))[..] else { panic!("not tried again") };
    bench.step(Input::Reached { call: again, answered: true });
    assert_eq!(bench.holder.heartbeat(bench.now).reached, [at("demo", 7)]);
    assert_eq!(asks(&bench.answer(&[], &[])), [], "once is enough");
}

#[test]
fn an_answer_to_an_earlier_epoch_tells_nothing_of_a_later_one() {
    let (mut bench, call) = asked(7);
    bench.reach = vec![Reach { at: at("demo", 8), target: target() }];
    assert_eq!(asks(&bench.answer(&[], &[])).len(), 1);
    bench.step(Input::Reached { call, answered: true });
    assert_eq!(bench.holder.heartbeat(bench.now).reached, []);
}

#[test]
fn what_the_leader_asks_for_no_more_is_forgotten() {
    let (mut bench, call) = asked(7);
    bench.step(Input::Reached { call, answered: true });
    bench.reach.clear();
    bench.answer(&[], &[]);
    assert_eq!(bench.holder.heartbeat(bench.now).reached, []);
}

//! What the next holder is told of the connections that the old one has cut.

use std::time::Duration;

use vipfence_types::{Connection, Release, VipSpec};

use super::bench::{Bench, Old, address, node, secs};
use crate::registry::Intent;

fn connection(port: u16) -> Connection {
    Connection { client: ([10, 5, 0, 9], port).into(), vip: (address(), 5_432).into() }
}

fn of(release: Release) -> Bench {
    let mut bench = Bench::with(VipSpec { release, ..VipSpec::host(address()) });
    bench.agent("a").cuts = vec![connection(1)];
    bench
}

/// Every word to a node of cut connections: when, and how many.
fn told(bench: &Bench, name: &str) -> Vec<(Duration, usize)> {
    let answers = bench.answers.iter().filter(|(_, to, _)| *to == node(name));
    let grants = answers.flat_map(|(at, _, answer)| {
        answer.iter().flat_map(|answer| &answer.grants).map(|grant| (*at, grant.cut.len()))
    });
    grants.filter(|(_, connections)| *connections > 0).collect()
}

#[test]
fn the_next_holder_hears_of_cut_connections_as_soon_as_the_address_is_attached_there() {
    for release in [Release::Late, Release::Early] {
        let mut bench = of(release);
        bench.move_to("b");
        assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
        bench.run(secs(20));
        let told_b = told(&bench, "b");
        let (first, last) = (told_b[0].0, told_b[told_b.len() - 1].0);
        let held = bench.when("held");
        assert!(first > held, "{release:?}: told before it arrives");
        assert!(first < held + Duration::from_millis(20), "{release:?}: not at once");
        assert!(last < held + secs(6), "{release:?}: for ever");
        assert!(told_b.len() > 3, "{release:?}: an answer may be lost");
        assert_eq!(told(&bench, "a"), [], "{release:?}");
    }
}

#[test]
fn what_is_not_confirmed_is_told_to_nobody() {
    let mut bench = of(Release::Late);
    bench.agent("a").hangs = true;
    bench.agent("a").connected = false;
    assert!(bench.run_until(secs(60), |b| b.is_held_by("b")), "{}", bench.story());
    // It is back, and says late what it has cut.
    bench.agent("a").hangs = false;
    bench.agent("a").connected = true;
    bench.run(secs(10));
    assert_eq!(told(&bench, "b"), []);
}

#[test]
fn a_leader_that_is_elected_before_the_grant_is_over_hears_what_was_cut_and_a_later_one_does_not() {
    for (step, hears) in [("release", true), ("confirmed", false)] {
        let mut bench = of(Release::Late);
        bench.move_to("b");
        assert!(bench.run_until(secs(20), |b| b.saw(step)), "{}", bench.story());
        bench.replace_leader(Old::Crashes, &node("c"));
        assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
        bench.run(secs(3));
        assert_eq!(!told(&bench, "b").is_empty(), hears, "{step}: {}", bench.story());
    }
}

#[test]
fn a_move_that_is_superseded_takes_what_was_cut_along() {
    let mut bench = of(Release::Late);
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.saw("confirmed")), "{}", bench.story());
    bench.move_to("c");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("c")), "{}", bench.story());
    bench.run(secs(3));
    assert_eq!(told(&bench, "b"), [], "{}", bench.story());
    assert!(!told(&bench, "c").is_empty(), "{}", bench.story());
}

#[test]
fn a_vip_that_nobody_is_to_hold_leaves_nothing_to_tell() {
    let mut bench = of(Release::Late);
    bench.intend(Intent::Disabled);
    assert!(bench.run_until(secs(20), |b| b.saw("ended")), "{}", bench.story());
    bench.intend(Intent::Held);
    let held = |b: &Bench| ["a", "b", "c"].iter().any(|name| b.is_held_by(name));
    assert!(bench.run_until(secs(20), held), "{}", bench.story());
    bench.run(secs(3));
    for name in ["a", "b", "c"] {
        assert_eq!(told(&bench, name), [], "{}", bench.story());
    }
}

#[test]
fn more_connections_than_are_carried_of_a_vip_are_left_out() {
    let mut bench = of(Release::Late);
    bench.agent("a").cuts = (1..3_000).map(connection).collect();
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    bench.run(secs(1));
    assert_eq!(told(&bench, "b")[0].1, Connection::PER_VIP);
}

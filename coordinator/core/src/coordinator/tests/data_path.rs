//! Whether other nodes reach a VIP at its new holder, and what waits for it.

use vipfence_types::{DataPath, VipSpec};

use super::bench::{Bench, address, node, secs};
use crate::registry::EventKind;

fn looked_at(data_path: DataPath) -> Bench {
    let mut bench = Bench::new();
    bench.create(VipSpec { data_path, ..VipSpec::host(address()) }, Some("a"));
    bench
}

#[test]
fn a_vip_that_must_be_reached_is_held_only_when_another_node_has() {
    let mut bench = looked_at(DataPath::Required);
    // The holder itself proves nothing.
    bench.agent("a").reaches = true;
    assert!(!bench.run_until(secs(30), |b| b.is_held_by("a")), "{}", bench.story());
    assert_eq!(bench.blocked(), "no other node has reached it at a yet");
    bench.agent("c").reaches = true;
    assert!(bench.run_until(secs(5), |b| b.is_held_by("a")), "{}", bench.story());
    let reached = bench.vip().reached.clone().expect("it was");
    assert_eq!((reached.by, reached.epoch), (node("c"), bench.vip().epoch()));
}

#[test]
fn a_vip_that_is_only_looked_at_waits_for_nobody_and_each_holder_is_reached_anew() {
    let mut bench = looked_at(DataPath::Report);
    assert!(bench.run_until(secs(30), |b| b.is_held_by("a")), "{}", bench.story());
    assert_eq!(bench.vip().reached, None);
    for name in ["a", "b", "c"] {
        bench.agent(name).reaches = true;
    }
    let known = |b: &Bench| b.vip().reached.as_ref().map(|reached| reached.epoch);
    assert!(bench.run_until(secs(5), |b| known(b).is_some()), "{}", bench.story());
    bench.run(secs(5));
    assert_eq!(bench.events(EventKind::Reached), 1, "it is written down once");
    bench.move_to("b");
    assert!(bench.run_until(secs(30), |b| b.is_held_by("b")), "{}", bench.story());
    assert!(bench.run_until(secs(5), |b| known(b) == Some(b.vip().epoch())), "{}", bench.story());
    assert_eq!(bench.events(EventKind::Reached), 2);
}

#[test]
fn nobody_is_asked_about_a_vip_that_nobody_wants_looked_at() {
    let mut bench = Bench::held_by_a();
    for name in ["a", "b", "c"] {
        bench.agent(name).reaches = true;
    }
    bench.run(secs(5));
    assert_eq!(bench.vip().reached, None);
}

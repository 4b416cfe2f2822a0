//! The way back to a preferred candidate.

use vipfence_types::{Candidate, Failback, VipSpec};

use super::bench::{Bench, address, demo, node, secs};
use crate::registry::{Cause, Scope};

/// `a` is preferred to `b`, and `b` to `c`.
fn ranked(failback: Failback) -> VipSpec {
    let candidates =
        [("a", 9), ("b", 5), ("c", 1)].map(|(name, priority)| (node(name), Candidate { priority }));
    VipSpec { candidates: candidates.into(), failback, ..VipSpec::host(address()) }
}

/// `a` was dead and is back; `b` holds.
fn back(failback: Failback) -> Bench {
    let mut bench = Bench::with(ranked(failback));
    bench.kill("a");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    bench.restart("a", vec![]);
    bench.sights.clear();
    bench
}

#[test]
fn without_a_word_a_vip_stays_where_it_went() {
    let mut bench = back(Failback::Manual);
    bench.run(secs(300));
    assert!(bench.is_held_by("b") && !bench.saw("move"), "{}", bench.story());
}

#[test]
fn a_vip_goes_back_when_the_preferred_candidate_has_been_well_for_the_time() {
    for (failback, wait) in
        [(Failback::Prefer, Failback::SETTLED), (Failback::After { ms: 90_000 }, secs(90))]
    {
        let mut bench = back(failback);
        let returned = bench.now;
        assert!(bench.run_until(secs(120), |b| b.is_held_by("a")), "{}", bench.story());
        assert_eq!(bench.last_cause(), Some(Cause::Failback));
        let waited = bench.when("move to a: Failback") - returned;
        assert!(waited >= wait && waited < wait + secs(5), "{waited:?} {}", bench.story());
        // Up to two seconds of it are the lease of the boot before: the node is not heard sooner.
        assert!(!bench.saw("expire"), "{}", bench.story());
    }
}

#[test]
fn a_preferred_candidate_that_comes_and_goes_is_not_followed() {
    let mut bench = back(Failback::Prefer);
    for _ in 0..20 {
        bench.agent("a").failing = None;
        bench.run(secs(8));
        bench.agent("a").failing = Some("HTTP 503");
        bench.run(secs(2));
    }
    assert!(bench.is_held_by("b") && !bench.saw("move"), "{}", bench.story());
}

#[test]
fn the_way_back_counts_against_the_flap_budget() {
    let mut bench = back(Failback::Prefer);
    for _ in 0..6 {
        bench.run(secs(20));
        bench.agent("a").failing = Some("HTTP 503");
        bench.run(secs(20));
        bench.agent("a").failing = None;
        bench.run(secs(60));
    }
    let automatic = |cause: &str| {
        bench.sights.iter().filter(|sight| sight.what.contains(&format!("{cause} Move"))).count()
    };
    let (back, away) = (automatic("Failback"), automatic("HolderUnhealthy"));
    assert_eq!(back + away, 3, "{}", bench.story());
    assert!(back > 0 && away > 0, "{}", bench.story());
}

#[test]
fn a_paused_vip_does_not_go_back() {
    let mut bench = back(Failback::Prefer);
    bench.pause(Scope::Vip(demo()), Some(secs(60)));
    bench.run(secs(59));
    assert!(bench.is_held_by("b"), "{}", bench.story());
    assert!(bench.run_until(secs(6), |b| b.is_held_by("a")), "{}", bench.story());
}

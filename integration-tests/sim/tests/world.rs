//! The deterministic world itself: that it is deterministic, that every invariant holds in it, and
//! that what failed once does not fail again. CI runs many more seeds by `cargo xtask sim`.

use vipfence_sim::{Length, run_seed, search};

/// Seeds that violated something once, with what they found: `docs/track-record.md`. A seed means a
/// schedule only as long as nothing changes in how schedules are drawn, so each of these bugs has a
/// test of its own beside the code, too.
const REGRESSIONS: &[(u64, Length)] = &[
    (214, Length::Short),
    (20, Length::Short),
    (1_424, Length::Short),
    (1_795_249_775_423, Length::Long),
    (1_795_250_723_958, Length::Long),
    (1_795_250_723_879, Length::Long),
    (1_795_252_947_705, Length::Long),
    (1_795_255_922_323, Length::Long),
    (2_100_000_001_791, Length::Long),
    (2_000_000_086_841, Length::Brief),
    (2_200_000_000_020, Length::Long),
    (2_200_000_000_084, Length::Long),
    (2_200_000_100_532, Length::Brief),
    (1_795_279_801_251, Length::Long),
    (1_795_279_801_996, Length::Long),
];

#[test]
fn a_seed_gives_the_same_run_byte_for_byte() {
    for seed in 1..=3 {
        let (one, other) =
            (run_seed(seed, Length::Short, true), run_seed(seed, Length::Short, true));
        assert!(one.timeline.len() > 50, "seed {seed}: a run has something to tell");
        assert_eq!(one.timeline, other.timeline, "seed {seed}");
        assert_eq!((one.fingerprint, one.events), (other.fingerprint, other.events));
    }
    let differs =
        run_seed(4, Length::Short, true).timeline != run_seed(5, Length::Short, true).timeline;
    assert!(differs, "two seeds are two runs");
}

#[test]
fn every_invariant_holds() {
    let tally = search(1_000, Length::Short, 2, |seed, _| seed < 1_060);
    let told: Vec<String> = tally
        .failures
        .iter()
        .map(|f| format!("cargo xtask sim --seed {} --short: {}", f.seed, f.violation))
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    assert!(tally.seeds >= 60 && tally.events > 100_000, "{tally:?}");
}

#[test]
fn what_failed_once_does_not_fail_again() {
    for (seed, length) in REGRESSIONS {
        let report = run_seed(*seed, *length, false);
        assert_eq!(report.violation, None, "seed {seed}");
    }
}

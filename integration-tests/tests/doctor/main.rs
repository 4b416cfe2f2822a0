//! `vipfence doctor` in front of prepared set-ups: of a good one it says nothing; each mistake gives
//! the finding that names it, and no other.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests: they say what they saw, and fail by panicking"
)]

mod cases;
mod cluster;
mod setup;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cases::{CASES, Case};
use setup::Setup;

#[test]
fn of_a_good_set_up_nothing_is_said() {
    let mut balanced = Setup::good();
    balanced.behind_a_load_balancer();
    for good in [Setup::good(), balanced] {
        let seen = good.diagnose();
        assert_eq!((seen.checks, seen.exit), (vec![], 0), "{}", seen.output);
    }
}

#[test]
fn each_broken_set_up_gives_the_finding_that_names_it() {
    assert!(CASES.len() >= 25, "asked for by the issue");
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = CASES.get(next.fetch_add(1, Ordering::SeqCst)) {
            if let Some(difference) = differs(case) {
                wrong.lock().unwrap().push(difference);
            }
        }
    };
    // Some wait for what does not answer.
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

fn differs(case: &Case) -> Option<String> {
    let mut setup = Setup::good();
    (case.breaks)(&mut setup);
    let seen = setup.diagnose();
    let exit = if case.is_an_error { 1 } else { 0 };
    let same = seen.checks == case.checks && seen.exit == exit;
    (!same).then(|| {
        let (name, checks) = (case.name, case.checks);
        format!(
            "{name}: expected {checks:?} and exit code {exit}, saw {:?} and {}\n{}",
            seen.checks, seen.exit, seen.output
        )
    })
}

//! Searches: many seeds on several threads, what they add up to, and how a failing schedule shrinks.

use std::{
    collections::BTreeMap,
    panic::catch_unwind,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    oracle::Violation,
    run::{Report, run_schedule, run_seed},
    schedule::{Length, Schedule, Strike},
    sometimes::Sometimes,
    time::At,
};

/// A seed that violates an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// When, in simulated microseconds.
    pub at: At,
    /// What.
    pub violation: Violation,
}

/// What runs add up to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many seeds.
    pub seeds: u64,
    /// How many events.
    pub events: u64,
    /// How long in all, in simulated microseconds.
    pub simulated: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What really happened.
    pub sometimes: Sometimes,
    /// The operator's calls that ended ok, failed and unknown.
    pub calls: [usize; 3],
    /// The longest time that a cluster took to converge, in simulated microseconds.
    pub slowest: u64,
    /// The seeds that failed.
    pub failures: Vec<Failure>,
}

impl Tally {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.simulated += report.simulated;
        for (kind, count) in report.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.sometimes.add(&report.sometimes);
        for (sum, calls) in self.calls.iter_mut().zip(report.calls) {
            *sum += calls;
        }
        self.slowest = self.slowest.max(report.converged_after.unwrap_or(0));
        if let Some((at, violation)) = report.violation {
            self.failures.push(Failure { seed: report.seed, at, violation });
        }
    }
}

/// Runs seeds from `first` on, on so many threads, as long as `more` says so of the next seed and
/// what there is so far.
pub fn search(
    first: u64,
    length: Length,
    threads: usize,
    more: impl Fn(u64, &Tally) -> bool + Sync,
) -> Tally {
    let tally = Mutex::new(Tally::default());
    let (next, done) = (AtomicU64::new(first), AtomicBool::new(false));
    let lock = || tally.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !more(seed, &lock()) {
                        done.store(true, Ordering::Relaxed);
                        return;
                    }
                    match catch_unwind(|| run_seed(seed, length, false)) {
                        Ok(report) => lock().add(report),
                        // What it said stands above, by the panic hook.
                        Err(_) => {
                            let (invariant, what) = ("no panic", "a part panicked".to_owned());
                            let violation = Violation { invariant, what };
                            lock().failures.push(Failure { seed, at: 0, violation });
                        }
                    }
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.failures.sort_by_key(|failure| failure.seed);
    tally
}

/// Leaves out what a violation does not need: what is left of the schedule still violates the same
/// invariant. Tries at most so many runs.
#[must_use]
pub fn shrink(seed: u64, schedule: &Schedule, invariant: &str, runs: usize) -> Schedule {
    let mut best = schedule.clone();
    let mut left = runs;
    let mut chunk = best.strikes.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < best.strikes.len() && left > 0 {
            let smaller = without(&best, from, chunk);
            left -= 1;
            let report = run_schedule(seed, &smaller, false);
            if report.violation.is_some_and(|(_, violation)| violation.invariant == invariant) {
                best = smaller;
            } else {
                from += chunk;
            }
        }
        if chunk == 1 || left == 0 {
            return best;
        }
        chunk = chunk.div_ceil(2);
    }
}

fn without(schedule: &Schedule, from: usize, count: usize) -> Schedule {
    let kept =
        |(at, strike): (usize, &Strike)| (at < from || at >= from + count).then(|| strike.clone());
    let strikes = schedule.strikes.iter().enumerate().filter_map(kept).collect();
    Schedule { strikes, ..schedule.clone() }
}

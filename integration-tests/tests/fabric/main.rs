//! Real binaries, real kernels, real addresses: each node a network namespace.
//!
//! Where there can be no namespaces the tests are skipped with a line that says how to get them; in
//! CI they are required. Each test runs in a process and an enclosure of its own, so that two may run
//! at once; I1 is proved in each, from before the first address to the end.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests: they measure real time, say what they saw, and fail by panicking"
)]

mod balancer;
mod chaos;
mod connections;
mod data_path;
mod failover;
mod freezes;
mod health;
mod ipv6;
mod itself;
mod leftovers;
mod links;
mod moves;
mod nics;
mod witness;

use std::time::Duration;

use integration_tests::{ClusterOptions, FabricCluster, Outcome};

/// The lease of the fast profile.
const LEASE: Duration = Duration::from_secs(4);
/// `max(lease_wait, failover_after + 1.1 * two operations) + 0.5 s`, fast profile, operations of 2 s.
const FAILOVER: Duration = Duration::from_millis(7_900);
/// `1.1 * one operation + 0.2 s`
const PLANNED: Duration = Duration::from_millis(2_400);
const LIMIT: Duration = Duration::from_secs(200);

fn cluster() -> FabricCluster {
    FabricCluster::start(&ClusterOptions::default())
}

/// The bench holds the promises themselves, on a quiet machine and in release builds; this only
/// keeps them from being forgotten.
fn within_twice(what: &str, measured: Duration, promised: Duration) {
    println!("{what}: {measured:.2?} (promised: {promised:?})");
    assert!(measured <= promised * 2, "{what}: {measured:?}, promised {promised:?}");
}

fn tell(outcome: &Outcome) {
    println!("{outcome:.2?}");
}

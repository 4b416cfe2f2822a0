//! The real shells under stress: openraft, tonic and our own shells of three nodes, as production has
//! them, on a simulated network (turmoil), in simulated time, held against the oracle of the
//! deterministic world.
//!
//! ```text
//!   operator --gRPC--> three hosts, each: Consensus, Driver, gRPC server, NodeRunner
//!                        |            |                     |
//!            turmoil's network   Arm: the simulator   AddressDriver: a simulated kernel
//!                        `------------+---------------------'
//!                                     v
//!                        Stage: the truth, and the oracle
//! ```
//!
//! Real here and not in the deterministic world: consensus with its network, links, silence and redb
//! files; the driver; heartbeats, nudges, forwarding and the API over HTTP/2; the node's loop with its
//! queues and its state directory. Simulated: the network, the clocks (with drift and jumps), the
//! kernels, Azure, and the way to it. A process is killed by dropping its runtime; what was flushed
//! stays, and so do its machine's addresses.
//!
//! Of the oracle everything runs, at the moment at which something happens: I1 at each change of a
//! kernel; I2, I3 and I8 by Azure's journal, the log and the writes; I4; I5; I6 after the faults; of I7
//! who leads which term, who writes, and the window, but not the quorum rounds, which nobody can see
//! here. What is *spent* is what a node has confirmed to a leader: it must never be added again, and
//! must be on the disk after a restart.
//!
//! Not here: processes that are stopped and machines that are paused (one thread runs all hosts), lost
//! unsynced writes (the disk is real), TLS, the HTTP client and the token keeper (tests of their own).
//!
//! It is stress and not replay: a seed gives the same faults, not the same run byte for byte. Disks
//! take real time, and tokio's own choices would need `--cfg tokio_unstable` to be repeatable. More:
//!
//! ```text
//! VIPFENCE_STRESS_SEEDS=100    cargo test -p vipfence --bins stress -- --nocapture     seeds 1 to 100
//! VIPFENCE_STRESS_SEEDS=17..18 cargo test -p vipfence --bins stress -- --nocapture     seed 17, in words
//! ```

mod arm;
mod host;
mod kernel;
mod operator;
mod plan;
mod run;
mod stage;
mod wire;

/// How many seeds an ordinary test run has time for.
const FEW: u64 = 6;

/// The seeds that are asked for: `100` = 1 to 100, `17..18` = 17 alone.
fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("VIPFENCE_STRESS_SEEDS").unwrap_or_default();
    let number = |text: &str| text.trim().parse::<u64>().expect("a number, or FROM..TO");
    match asked.split_once("..") {
        _ if asked.is_empty() => 1..1 + FEW,
        Some((from, to)) => number(from)..number(to),
        None => 1..1 + number(&asked),
    }
}

#[test]
fn a_few_seeds_of_the_real_shells_keep_every_invariant() {
    let seeds = seeds();
    let in_words = seeds.end - seeds.start == 1;
    let mut happened = std::collections::BTreeMap::<&str, u64>::new();
    let mut broken = Vec::new();
    for seed in seeds {
        let report = run::run(seed, in_words);
        eprintln!("{report}");
        for (what, times) in &report.happened {
            *happened.entry(what).or_default() += times;
        }
        if let Some(problem) = report.problem {
            broken.push(format!("seed {seed}: {problem}"));
        }
    }
    eprintln!("{happened:#?}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

//! The real shells under stress: openraft, tonic and our own shells of three nodes, as production has
//! them, on a simulated network, in simulated time, held against the oracle of the deterministic
//! world.
//!
//! ```text
//!   operator --gRPC--> three hosts, each a Process: Consensus, Driver, gRPC server, NodeRunner
//!                        |                            |                     |
//!            Net: connections      Arm: the simulator   AddressDriver: a simulated kernel
//!                        `----------------------------+---------------------'
//!                                                     v
//!                                     Stage: the truth, and the oracle
//! ```
//!
//! Real here and not in the deterministic world: consensus with its network, links, silence and redb
//! files; the driver; heartbeats, nudges, forwarding and the API over HTTP/2; the node's loop with its
//! queues and its state directory. Simulated: the network, the clocks (with drift and jumps), the
//! kernels, Azure, and the way to it. A process is killed by dropping its runtime; what was flushed
//! stays, and so do its machine's addresses.
//!
//! A process that is stopped (SIGSTOP) is not polled and none of its timers goes off, while kernel and
//! clocks of its machine go on; when it goes on, all timers that were due go off at once. A machine
//! that is paused stands still with its kernel: address lifetimes, timers and the monotonic clocks
//! find no time passed, the boot and the wall clock show it. What reaches either waits. Then I1 makes
//! the exception of ADR 6, for two seconds, and for the kernel's lifetimes where the agent has died. Not
//! here: pauses that no clock shows, and a stop between two instructions. A process stands still where
//! it waits for something: for a timer, a message, a disk, for its turn on the way to Azure. What it
//! has handed to its kernel the kernel does; a stop between the agent's last look at its clocks and the
//! call that adds an address could leave that address there, after the stop, until the next look.
//!
//! Of the oracle everything runs, at the moment at which something happens: I1 at each change of a
//! kernel; I2, I3 and I8 by Azure's journal, the log and the writes; I4; I5; I6 after the faults; I7 by
//! the leaders, the writes, their windows and the quorum rounds as consensus made them. Consensus is
//! not believed alone: a round is also held against the terms in which the nodes were when it began.
//! What is *spent* is what a node has confirmed to a leader: it must never be added again, and must be
//! on the disk after a restart.
//!
//! Not here: lost unsynced writes (the disk is real), TLS, the HTTP client and the token keeper (tests
//! of their own).
//!
//! It is stress and not replay: a seed gives the same faults, not the same run byte for byte. Disks
//! take real time, and tokio's own choices would need `--cfg tokio_unstable` to be repeatable. More:
//!
//! ```text
//! VIPFENCE_STRESS_SEEDS=100    cargo test -p vipfence --bins stress -- --nocapture     seeds 1 to 100
//! VIPFENCE_STRESS_SEEDS=17..18 cargo test -p vipfence --bins stress -- --nocapture     seed 17, in words
//! VIPFENCE_STRESS_SEEDS=4 VIPFENCE_STRESS_RULES=NoSeal,NoRecommit \
//!     cargo test -p vipfence --bins which_of_all -- --ignored --nocapture    rules that are broken
//! ```

mod arm;
mod host;
mod kernel;
mod net;
mod operator;
mod plan;
mod process;
mod run;
mod stage;
mod wire;

use vipfence_types::Mutation;

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
#[ignore = "an hour: which of all broken rules the stress notices, and in how many seeds"]
fn which_of_all_broken_rules_are_noticed() {
    let seeds = seeds();
    let asked = std::env::var("VIPFENCE_STRESS_RULES").unwrap_or_default();
    let asked: Vec<&str> = asked.split(',').filter(|name| !name.is_empty()).collect();
    let is_asked = |rule: &&Mutation| asked.is_empty() || asked.contains(&&*format!("{rule:?}"));
    for rule in Mutation::ALL.iter().filter(is_asked) {
        let mut noticed = seeds.clone().filter_map(|seed| Some((seed, run::broken(seed, *rule)?)));
        eprintln!("{rule:?}: {:?}", noticed.next());
    }
}

/// Rules that are broken on purpose, each of them another fence.
const BROKEN: &[Mutation] = &[
    Mutation::NoRoundBeforeWrite,
    Mutation::NoRoundBeforeAnswer,
    Mutation::WaitSkippedAfterElection,
    Mutation::HeldBeforeAdd,
    Mutation::AttachBeforeDetach,
];

/// Within so many seeds each must be noticed. It takes three on average, the worst of them; since a
/// seed does not give the same run twice, there is room.
const SEEDS_TO_NOTICE: u64 = 16;

#[test]
fn the_rules_that_are_broken_on_purpose_are_noticed() {
    let mut missed = Vec::new();
    for rule in BROKEN {
        let noticed =
            (1..=SEEDS_TO_NOTICE).find_map(|seed| Some((seed, run::broken(seed, *rule)?)));
        match noticed {
            Some((seed, violation)) => eprintln!("{rule:?}: seed {seed}: {violation}"),
            None => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
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

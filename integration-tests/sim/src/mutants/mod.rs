//! Mutants: each rule is broken in turn, and the oracle has to notice.
//!
//! A rule that nothing misses is not known to be there. For each [`Mutation`] there is a small drama
//! that aims at its rule: a few nodes, one VIP, and the one fault that the rule is for. It is played
//! from several seeds with the rule broken, until the oracle names a violation; and with the rule
//! in place, where nothing may be violated.
//!
//! What no drama can show stands in [`SHOWN_BY_NOTHING`], with the reason.

mod azure;
mod grants;
mod leases;
mod paths;
mod probes;
mod stage;
mod tasks;

use core::fmt;
use std::{
    fmt::Write as _,
    sync::Mutex,
    time::{Duration, Instant},
};

use vipfence_types::Mutation;

use crate::{Violation, world::World};

/// From how many seeds a drama is played.
const SEEDS: u64 = 24;

/// Mutations that no run can show, and why.
pub const SHOWN_BY_NOTHING: &[(Mutation, &str)] = &[
    (
        Mutation::StateBeforeReadIndex,
        "the driver lags behind its own Raft by less than a message takes, and openraft acknowledges \
         no round before it has flushed what came earlier; by itself a longer lag would be covered by \
         spent epochs and by the lease wait. Shown by a test of the rounds: \
         `a_result_waits_until_its_read_index_is_applied`",
    ),
    (
        Mutation::SecondBootAccepted,
        "the world has no two machines of one name: a second boot is always on the same kernel. Shown \
         by the tests of the Mover",
    ),
];

/// Mutations that only the broken contract shows, and why nothing comes of them.
pub const COVERED: &[(Mutation, &str)] = &[
    (
        Mutation::OverWithoutRevision,
        "what came between the decision and the entry is a superseding move, which leaves the grant \
         as it was; `apply` still compares the epoch, and the log keeps what one leader proposed in \
         its order",
    ),
    (
        Mutation::SpentInMemory,
        "an answer counts for the boot that asked only, and in an answer `releasing` outweighs the \
         grant beside it; a node that takes both lists at their word would be granted what it has \
         released (V2)",
    ),
    (
        Mutation::AcksForEver,
        "only a node that says nothing new is confirmed so, which it does while its lease runs; a \
         leader that no majority hears falls silent, and the heartbeat after one that was not \
         confirmed asks at once. That is over before the lease wait of the next leader is",
    ),
];

/// What came of a mutation.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub mutation: Mutation,
    /// What was noticed.
    pub violation: Option<Violation>,
    /// From how many seeds the drama was played.
    pub seeds: u64,
    /// What is noticed if the oracle says nothing about broken contracts, as far as the drama goes:
    /// some are covered by another rule for so long.
    pub consequence: Option<Violation>,
    /// How long that took.
    pub took: Duration,
}

impl Found {
    /// Why nothing can show it, if that is so.
    #[must_use]
    pub fn excuse(&self) -> Option<&'static str> {
        let known = SHOWN_BY_NOTHING.iter().find(|(mutation, _)| *mutation == self.mutation);
        known.map(|(_, why)| *why)
    }

    /// The invariant that is violated in the end.
    fn end(&self) -> &'static str {
        self.consequence.as_ref().map_or("nothing", |violation| violation.invariant)
    }

    /// Nothing was noticed, and there is no reason for that.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        self.violation.is_none() && self.excuse().is_none()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mutation, seeds, took, .. } = self;
        let (number, ms, end) = (mutation.number(), took.as_millis(), self.end());
        write!(f, "M{number} {mutation:?} (expected {}): ", mutation.invariant())?;
        match &self.violation {
            Some(violation) => write!(f, "{violation}; in the end {end} [{seeds} seeds, {ms} ms]"),
            None => write!(f, "NOTHING in {seeds} seeds [{ms} ms]"),
        }
    }
}

/// What a drama is played from.
#[derive(Clone, Copy, Debug)]
struct Seed {
    number: u64,
    /// The oracle lets pass that a contract is broken, and waits for what comes of it.
    only_consequences: bool,
}

/// A drama: what is played from a seed.
type Drama = fn(Seed) -> World;

fn drama(mutation: Mutation) -> Option<Drama> {
    leases::drama(mutation)
        .or_else(|| grants::drama(mutation))
        .or_else(|| azure::drama(mutation))
        .or_else(|| tasks::drama(mutation))
        .or_else(|| probes::drama(mutation))
        .or_else(|| paths::drama(mutation))
}

/// Breaks a rule on this thread until it goes out of scope, also when something panics.
#[must_use]
#[derive(Debug)]
pub struct Broken;

impl Broken {
    /// Breaks this one.
    pub fn rule(mutation: Mutation) -> Self {
        Mutation::switch(Some(mutation));
        Self
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        Mutation::switch(None);
    }
}

/// Plays the drama of a mutation with the rule broken, until something is violated.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "says how long a hunt took; nothing depends on it")]
pub fn hunt(mutation: Mutation) -> Found {
    let began = Instant::now();
    let (violation, consequence, took) = (None, None, Duration::ZERO);
    let mut found = Found { mutation, violation, seeds: 0, consequence, took };
    let Some(play) = drama(mutation) else { return found };
    let _broken = Broken::rule(mutation);
    while found.violation.is_none() && found.seeds < SEEDS {
        found.seeds += 1;
        let seed = Seed { number: found.seeds, only_consequences: false };
        found.violation = play(seed).violation().cloned();
    }
    found.consequence = (1..=SEEDS).find_map(|number| {
        let seed = Seed { number, only_consequences: true };
        play(seed).violation().cloned()
    });
    found.took = began.elapsed();
    found
}

/// Plays the drama of a mutation with the rule in place: what is violated then is no proof.
#[must_use]
pub fn control(mutation: Mutation, seed: u64) -> Option<Violation> {
    let seed = Seed { number: seed, only_consequences: false };
    drama(mutation)?(seed).violation().cloned()
}

/// What happens in the drama of a mutation while the rule is broken.
#[must_use]
pub fn timeline(mutation: Mutation, seed: u64) -> Vec<String> {
    let _broken = Broken::rule(mutation);
    let Some(play) = drama(mutation) else { return Vec::new() };
    play(Seed { number: seed, only_consequences: false }).timeline.lines().collect()
}

/// Hunts them all, on two threads; `tell` hears of each.
#[must_use]
pub fn run_all(mutations: &[Mutation], tell: impl Fn(&Found) + Sync) -> Vec<Found> {
    run_each(mutations, |mutation| {
        let found = hunt(mutation);
        tell(&found);
        found
    })
}

/// Does something for each mutation, on two threads: the switch belongs to a thread.
#[must_use]
pub fn run_each<T: Send>(mutations: &[Mutation], run: impl Fn(Mutation) -> T + Sync) -> Vec<T> {
    let (next, done) = (Mutex::new(mutations.iter().copied().enumerate()), Mutex::new(Vec::new()));
    let work = || {
        let take = || next.lock().expect("no worker panics with it").next();
        while let Some((at, mutation)) = take() {
            let result = run(mutation);
            done.lock().expect("no worker panics with it").push((at, result));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let mut done = done.into_inner().expect("the workers have ended");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The page `docs/mutations.md`.
#[must_use]
pub fn page(found: &[Found]) -> String {
    let mut page = String::from(
        "# Mutations: every rule, broken\n\n\
         Each line is a rule of the design that was taken away, and what the deterministic world \
         noticed. *Expected* is the invariant that the rule is for, *seen* the first one that the \
         oracle named: often a contract that holds an invariant up, such as \"what is committed as \
         over is over\" (I8). *In the end* is what comes of it when the oracle keeps silent about \
         contracts; \"nothing\" means that other rules cover it as far as the drama goes. Each was found by a small drama that aims at the rule, played from so many \
         seeds; the same drama violates nothing while the rule is in place.\n\n\
         Written by `cargo run -p vipfence-sim -- mutants --write docs/mutations.md`.\n\n\
         | | rule | what is done wrong | expected | seen | in the end | seeds |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for one in found {
        let (number, what) = (one.mutation.number(), one.mutation.what());
        let seen = match (&one.violation, one.excuse()) {
            (Some(violation), _) => violation.invariant,
            (None, Some(_)) => "nothing: see below",
            (None, None) => "**missed**",
        };
        let (rule, expected, seeds) = (one.mutation, one.mutation.invariant(), one.seeds);
        let end = one.end();
        let _ = writeln!(
            page,
            "| M{number} | `{rule:?}` | {what} | {expected} | {seen} | {end} | {seeds} |"
        );
    }
    for (title, list) in
        [("Shown by the contract only", COVERED), ("Shown by nothing", SHOWN_BY_NOTHING)]
    {
        let _ = writeln!(page, "\n## {title}\n");
        for (mutation, why) in list {
            let _ = writeln!(page, "- M{} `{mutation:?}`: {why}.", mutation.number());
        }
    }
    page
}

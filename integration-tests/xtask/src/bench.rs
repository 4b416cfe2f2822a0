//! `cargo xtask bench`: what is promised, measured on this machine with release builds.
//!
//! It sees the cluster as the tests do: from outside. Nothing else should run meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::{Binaries, Dev, DevOptions, Profile};

use crate::workspace::{Workspace, cargo};

mod azure;
mod fabric;
mod idle;
mod journal;
mod keepalived;
mod leader;
mod usage;

/// What the world must reach.
const EVENTS_PER_SECOND: u64 = 40_000;

/// What is measured.
#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// `vipfence dev`: three nodes, fast profile, operations of 1 s
    Dev(DevArgs),
    /// The deterministic world: events a second on one core
    Sim(SimArgs),
    /// Moves of one VIP and of 250, over what the Azure operations themselves take
    Azure(azure::AzureArgs),
    /// Real kernel addresses in network namespaces: what clients see of moves and failovers
    Fabric(fabric::FabricArgs),
    /// Memory and CPU of a leader and holder that has nothing to do, beside etcd's
    Idle(idle::IdleArgs),
    /// `kill -9` of the leader until the next acknowledged write, beside etcd's
    Leader(leader::LeaderArgs),
}

/// How the deterministic world is measured.
#[derive(clap::Args)]
pub(crate) struct SimArgs {
    /// How many seeds of five simulated minutes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,
}

/// How `vipfence dev` is measured.
#[derive(clap::Args)]
pub(crate) struct DevArgs {
    /// How often; the worst counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Leave out of the result what is over its promise: only print it
    #[arg(long)]
    no_fail: bool,
}

/// One promise (issue 2, design.md §9), and what was measured.
struct Promise {
    what: &'static str,
    limit: Duration,
    measured: Vec<Duration>,
}

impl Promise {
    fn new(what: &'static str, limit_ms: u64) -> Self {
        Self { what, limit: Duration::from_millis(limit_ms), measured: Vec::new() }
    }

    fn worst(&self) -> Duration {
        self.measured.iter().copied().max().unwrap_or_default()
    }

    fn median(&self) -> Duration {
        let mut sorted = self.measured.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    fn is_kept(&self) -> bool {
        self.worst() <= self.limit
    }

    fn print(&self) {
        println!(
            "{:<58} {:>7.2} s {:>7.2} s {:>7.2} s {:>6.2}  {}",
            self.what,
            self.limit.as_secs_f64(),
            self.median().as_secs_f64(),
            self.worst().as_secs_f64(),
            self.worst().as_secs_f64() / self.limit.as_secs_f64(),
            if self.is_kept() { "kept" } else { "NOT KEPT" }
        );
    }
}

/// All that is measured.
struct Figures {
    ready: Promise,
    planned: Promise,
    holder: Promise,
    both: Promise,
    /// Longest gap between answers while a leader that holds nothing dies; nothing is promised
    /// but that no request is lost.
    leader_gap: Vec<Duration>,
    requests: usize,
    lost: usize,
}

/// Measures.
pub(crate) fn run(workspace: &Workspace, what: &What) -> Result<()> {
    match what {
        What::Dev(args) => dev(args),
        What::Sim(args) => sim(workspace, args),
        What::Azure(args) => azure::run(args),
        What::Fabric(args) => fabric::run(args),
        What::Idle(args) => idle::run(args),
        What::Leader(args) => leader::run(args),
    }
}

/// How busy the machine is; a figure is worth little without it.
fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// Events a second of the deterministic world, beside the promise.
fn sim(workspace: &Workspace, args: &SimArgs) -> Result<()> {
    let mut build = workspace.command(cargo());
    build.args(["build", "--quiet", "--release", "--package", "vipfence-sim", "--locked"]);
    ensure!(build.status()?.success(), "the world does not build");
    let seeds = format!("1..{}", args.seeds + 1);
    let run = ["run", "--quiet", "--release", "--package", "vipfence-sim", "--locked", "--"];
    let output =
        workspace.cargo_output(&[&run[..], &["--threads", "1", "--seeds", &seeds]].concat())?;
    let figures = output.lines().find(|line| line.ends_with("events a second"));
    let figures = figures.context("the world prints its figures")?;
    println!("{figures} (promised: {EVENTS_PER_SECOND} on one core)");
    let rate = figures.split(' ').rev().nth(3).and_then(|number| number.parse::<u64>().ok());
    ensure!(rate >= Some(EVENTS_PER_SECOND), "the world is slower than promised");
    Ok(())
}

fn dev(args: &DevArgs) -> Result<()> {
    // The first to ask decides which build it is.
    let built = Binaries::of(Profile::Release);
    println!("measuring {}", built.vipfence.display());
    let mut figures = Figures {
        ready: Promise::new("vipfence dev is ready", 3_000),
        planned: Promise::new("planned move: outage for a client that asks every 20 ms", 1_300),
        holder: Promise::new("kill -9 of the holder: answered by another node", 7_000),
        both: Promise::new("kill -9 of holder and leader in one: the same", 8_000),
        leader_gap: Vec::new(),
        requests: 0,
        lost: 0,
    };
    for round in 1..=args.rounds {
        println!("round {round} of {}", args.rounds);
        figures.round();
    }
    let kept = figures.print();
    ensure!(kept || args.no_fail, "not all promises are kept on this machine");
    Ok(())
}

impl Figures {
    fn round(&mut self) {
        let dev = Dev::start(DevOptions::default());
        self.ready.measured.push(dev.ready_after());
        dev.settled();
        self.planned_moves(&dev);
        self.leader_dies(&dev);
        let (_, holder) = dev.leader_apart();
        self.holder.measured.push(holder_dies(&dev, &holder));
        let both = dev.leader_holds();
        self.both.measured.push(holder_dies(&dev, &both));
    }

    fn planned_moves(&mut self, dev: &Dev) {
        let holder = dev.holder();
        for target in dev.names_but(&[&holder]) {
            let prober = dev.prober();
            dev.move_to(&target);
            let limit = Duration::from_secs(10);
            let _ = prober.answer(Instant::now(), limit, |node| node == target);
            dev.settled();
            self.planned.measured.push(prober.stop().longest_gap());
        }
    }

    fn leader_dies(&mut self, dev: &Dev) {
        let (leader, _) = dev.leader_apart();
        let prober = dev.prober();
        let killed = dev.kill(&leader);
        let after = killed + Duration::from_secs(6);
        let _ = prober.answer(after, Duration::from_secs(20), |_| true);
        let probes = prober.stop();
        self.leader_gap.push(probes.longest_gap());
        self.requests += probes.0.len();
        self.lost += probes.lost().len();
        dev.start_node(&leader);
        dev.settled();
    }

    /// Whether all promises are kept.
    fn print(&self) -> bool {
        let promises = [&self.ready, &self.planned, &self.holder, &self.both];
        println!(
            "\n{:<58} {:>9} {:>9} {:>9} {:>6}",
            "promise", "asked", "median", "worst", "ratio"
        );
        for promise in promises {
            promise.print();
        }
        let gap = self.leader_gap.iter().max().copied().unwrap_or_default();
        println!(
            "{:<58} {:>7} 0 {:>9} {:>9}         {}",
            "kill -9 of a leader that holds nothing: requests lost",
            "",
            "",
            self.lost,
            if self.lost == 0 { "kept" } else { "NOT KEPT" }
        );
        println!("    of {} requests; longest gap between answers {gap:.2?}", self.requests);
        self.lost == 0 && promises.iter().all(|promise| promise.is_kept())
    }
}

/// How long until another node answers. The dead one is then started again.
fn holder_dies(dev: &Dev, holder: &str) -> Duration {
    dev.settled();
    let prober = dev.prober();
    let killed = dev.kill(holder);
    let answer = prober.answer(killed, Duration::from_secs(30), |node| node != holder);
    dev.settled_without(&[holder]);
    dev.start_node(holder);
    dev.settled();
    answer.ended - killed
}

//! Runs seeds of the deterministic world; `cargo xtask sim` calls it with the same arguments.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool for the terminal that times its runs"
)]

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use vipfence_sim::{
    Length, Report, Schedule, Tally, WAITING_FAULTS, run_schedule, run_seed, search, shrink,
};

/// How many runs a schedule may take to shrink.
const SHRINKING: usize = 300;

/// Runs seeds of the deterministic world: whole clusters in simulated time, every fault that we know
/// of, every invariant checked after every event.
#[derive(Parser)]
#[command(name = "cargo xtask sim", disable_help_subcommand = true)]
struct Args {
    /// Replay one seed: run it twice, compare, print what happened, shrink what failed
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "until_failure", "fresh"])]
    seed: Option<u64>,
    /// Run a range of seeds
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Go on until a seed fails; from where --seeds begins, or from fresh seeds
    #[arg(long)]
    until_failure: bool,
    /// Run seeds that nobody has run before
    #[arg(long)]
    fresh: bool,
    /// Stop after so many minutes, but not before --at-least
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<f64>,
    /// Run at least so many seeds, whatever --minutes says
    #[arg(long, value_name = "SEEDS", default_value_t = 0)]
    at_least: u64,
    /// Fail if something that is to happen sometimes never did
    #[arg(long)]
    sometimes: bool,
    /// Forty simulated seconds instead of five minutes
    #[arg(long)]
    short: bool,
    /// Fifteen simulated seconds
    #[arg(long, conflicts_with = "short")]
    brief: bool,
    /// Threads
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.ok_or_else(|| format!("\"{text}\" is no range; write it like 1..500"))
}

impl Args {
    fn length(&self) -> Length {
        match (self.short, self.brief) {
            (_, true) => Length::Brief,
            (true, false) => Length::Short,
            (false, false) => Length::Long,
        }
    }

    fn flag(&self) -> &'static str {
        match self.length() {
            Length::Brief => " --brief",
            Length::Short => " --short",
            Length::Long => "",
        }
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().is_some_and(|first| first == "mutants") {
        return vipfence_sim::cli::mutants(args);
    }
    let args = Args::parse();
    match args.seed {
        Some(seed) => replay(seed, &args),
        None => run_many(&args),
    }
}

/// One seed, in words.
fn replay(seed: u64, args: &Args) -> ExitCode {
    let length = args.length();
    let report = run_seed(seed, length, true);
    for line in &report.timeline {
        println!("{line}");
    }
    let again = run_seed(seed, length, true);
    if again.timeline != report.timeline || again.fingerprint != report.fingerprint {
        println!("\nTHE SECOND RUN DIFFERS: the world is not deterministic");
        return ExitCode::FAILURE;
    }
    println!("\nseed {seed}: {} events, twice the same", report.events);
    let Some((_, violation)) = &report.violation else {
        println!("every invariant holds");
        return ExitCode::SUCCESS;
    };
    println!("{violation}");
    let smaller = shrink(seed, &Schedule::draw(seed, length), violation.invariant, SHRINKING);
    print_shrunk(&run_schedule(seed, &smaller, true), &smaller);
    ExitCode::FAILURE
}

fn print_shrunk(report: &Report, smaller: &Schedule) {
    println!("\nThe same violation with {} faults and calls:", smaller.strikes.len());
    for strike in &smaller.strikes {
        println!("  {}", strike.kind);
    }
    println!();
    for line in &report.timeline {
        println!("{line}");
    }
}

fn run_many(args: &Args) -> ExitCode {
    let first = args.seeds.map_or_else(fresh, |(from, _)| from);
    let end = match args.seeds {
        Some((_, to)) if !args.until_failure => to,
        _ => u64::MAX,
    };
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let limit = args.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    if args.seeds.is_none() && limit.is_none() && !args.until_failure && args.at_least == 0 {
        println!("error: say which seeds: --seed N, --seeds A..B, or --fresh with --minutes M");
        return ExitCode::from(2);
    }
    println!("seeds from {first} on, {threads} threads");
    let began = Instant::now();
    let tally = search(first, args.length(), threads, |seed, so_far| {
        let in_time = limit.is_none_or(|limit| began.elapsed() < limit);
        let few = so_far.seeds < args.at_least;
        let clean = so_far.failures.is_empty() || !args.until_failure;
        let wanted = limit.is_some() || args.at_least == 0;
        seed < end && clean && (few || (in_time && wanted))
    });
    print_tally(&tally, began.elapsed(), args);
    let missing = tally.sometimes.missing();
    if !tally.failures.is_empty() || (args.sometimes && !missing.is_empty()) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A place to begin at that no run has had.
fn fresh() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(0)
}

fn print_tally(tally: &Tally, took: Duration, args: &Args) {
    let hours = Duration::from_micros(tally.simulated).as_secs_f64() / 3_600.0;
    let rate = |events: u64| {
        let tenths = u128::from(events) * 1_000 / took.as_millis().max(1);
        u64::try_from(tenths).unwrap_or(u64::MAX)
    };
    println!(
        "{} seeds, {} events, {hours:.1} simulated hours in {:.0} s: {} events a second",
        tally.seeds,
        tally.events,
        took.as_secs_f64(),
        rate(tally.events)
    );
    let [ok, failed, unknown] = tally.calls;
    println!("the operator's calls: {ok} ok, {failed} refused, {unknown} of unknown outcome");
    let slowest = Duration::from_micros(tally.slowest).as_secs_f64();
    println!("the slowest convergence after the last fault: {slowest:.1} s");
    println!("\nfaults by kind");
    for (kind, count) in &tally.faults {
        println!("{count:>10}  {kind}");
    }
    println!("waiting for a later feature: {}", WAITING_FAULTS.join(", "));
    println!("\nwhat happened, and how often");
    for (what, count) in tally.sometimes.iter() {
        println!("{count:>10}  {what}");
    }
    for what in tally.sometimes.missing() {
        println!("     NEVER  {what}");
    }
    println!();
    for failure in &tally.failures {
        let seconds = Duration::from_micros(failure.at).as_secs_f64();
        println!("seed {} at {seconds:.3} s: {}", failure.seed, failure.violation);
        println!("    cargo xtask sim --seed {}{}", failure.seed, args.flag());
    }
    println!("{} of {} seeds failed", tally.failures.len(), tally.seeds);
}

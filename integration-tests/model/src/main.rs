//! Runs the models at bounds that take too long for a test, and prints what was seen.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command: it talks to whoever runs it"
)]

use std::process::ExitCode;
use std::time::Duration;

use vipfence_model::lease::{self, Lease};
use vipfence_model::writes::{self, Writes};
use vipfence_model::{Limits, Report, Rules, check};

const USAGE: &str = "\
Runs the models of vipfence and prints what was seen; see docs/model.md.

    cargo run --release -p vipfence-model -- [--bounds small|large] [--only TEXT]
                                             [--threads N] [--seconds S] [--transitions MILLIONS]
    cargo run --release -p vipfence-model -- --rules [--only TEXT]

--bounds       all rules are kept; small (the default) takes seconds, large minutes and 1.3 GB
--rules        each rule is dropped in turn; prints the schedule that breaks an invariant
--only         only the runs whose name contains TEXT
--threads      threads that search (1)
--seconds      time after which a run is cut off (1800)
--transitions  millions of transitions after which a run is cut off (1000)

The exit code is 1 if a run with all rules is broken or cut off, or if the loss of a rule is missed.";

struct Options {
    large: bool,
    rules: bool,
    only: String,
    limits: Limits,
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let fine = if options.rules { without_each_rule(&options) } else { with_all_rules(&options) };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let time = Duration::from_secs(1800);
    let limits = Limits { transitions: 1_000_000_000, time, threads: 1 };
    let mut options = Options { large: false, rules: false, only: String::new(), limits };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bounds" => options.large = matches!(args.next()?.as_str(), "large"),
            "--rules" => options.rules = true,
            "--only" => options.only = args.next()?,
            "--threads" => options.limits.threads = args.next()?.parse().ok()?,
            "--seconds" => options.limits.time = Duration::from_secs(args.next()?.parse().ok()?),
            "--transitions" => {
                let millions: usize = args.next()?.parse().ok()?;
                options.limits.transitions = millions.checked_mul(1_000_000)?;
            }
            _ => return None,
        }
    }
    Some(options)
}

/// Whether every run saw all states, and nothing broken.
fn with_all_rules(options: &Options) -> bool {
    let mut fine = true;
    let leases = if options.large { lease::LARGE } else { lease::SMALL };
    for (name, bounds) in leases {
        let model = Lease { rules: Rules::full(), bounds: *bounds, only: None };
        fine &= run(options, name, |limits| check(model, limits), |report| report.exhausted);
    }
    let writes = if options.large { writes::LARGE } else { writes::SMALL };
    for (name, bounds) in writes {
        let model = Writes { rules: Rules::full(), bounds: *bounds, only: None };
        fine &= run(options, name, |limits| check(model, limits), |report| report.exhausted);
    }
    fine
}

/// Whether the loss of every rule was noticed.
fn without_each_rule(options: &Options) -> bool {
    let mut fine = true;
    for (rule, property, bounds) in lease::LOAD_BEARING {
        let rules = Rules::without(&[*rule]);
        let model = Lease { rules, bounds: *bounds, only: Some(property) };
        let name = format!("lease without {rule:?}");
        fine &= run(options, &name, |limits| check(model, limits), is_broken);
    }
    for (name, bounds) in writes::NOT_PROMISED {
        let model = Writes { rules: Rules::full(), bounds: *bounds, only: Some(writes::I2) };
        let name = format!("not promised, {name}");
        fine &= run(options, &name, |limits| check(model, limits), is_broken);
    }
    for (rule, property, bounds) in writes::LOAD_BEARING {
        let rules = Rules::without(&[*rule]);
        let model = Writes { rules, bounds: *bounds, only: Some(property) };
        let name = format!("writes without {rule:?}");
        fine &= run(options, &name, |limits| check(model, limits), is_broken);
    }
    fine
}

fn is_broken(report: &Report) -> bool {
    report.broken.is_some()
}

/// Searches if the name is wanted, shows what was seen, and says whether it was as it should be.
fn run(
    options: &Options,
    name: &str,
    search: impl FnOnce(Limits) -> Report,
    as_it_should: fn(&Report) -> bool,
) -> bool {
    if !name.contains(&options.only) {
        return true;
    }
    let report = search(options.limits);
    show(name, &report);
    as_it_should(&report)
}

fn show(name: &str, report: &Report) {
    println!("{name}: {report}");
    let schedule = report.broken.iter().flat_map(|broken| &broken.schedule);
    for (number, step) in schedule.enumerate() {
        println!("  {:>2} {step}", number + 1);
    }
}

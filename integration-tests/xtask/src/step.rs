//! A named step of a longer run: it is announced, timed, and listed in a table at the end.
//!
//! A failed step does not stop the ones after it: one run tells everything that is wrong.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::workspace::{Workspace, cargo};

/// One step.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
}

/// What a step does.
pub(crate) enum Work {
    /// `cargo <args>` with these environment variables on top; its output goes to the terminal.
    Cargo { env: &'static [(&'static str, &'static str)], args: &'static [&'static str] },
    /// A check of our own: its complaints, one a line. None means that it passed.
    Check(fn(&Workspace) -> Result<Vec<String>>),
    /// As `Cargo`, for a subcommand that a machine may lack.
    OptionalCargo { args: &'static [&'static str], how_to_get_it: &'static str },
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Absent,
}

/// Runs the steps in order, prints the table, and says whether none failed.
pub(crate) fn run_all<'a>(
    workspace: &Workspace,
    steps: impl IntoIterator<Item = &'a Step>,
    again: fn(&Step) -> String,
) -> bool {
    let mut rows = Vec::new();
    for step in steps {
        println!("\n== {}", step.name);
        let start = Instant::now();
        let outcome = run(workspace, &step.work);
        let took = start.elapsed();
        println!("== {}: {} after {}", step.name, label(outcome), seconds(took));
        rows.push((step, outcome, took));
    }

    println!("\n{:<24} {:>8}  result", "step", "time");
    for (step, outcome, took) in &rows {
        let hint = match outcome {
            Outcome::Failed => format!("; again with: {}", again(step)),
            Outcome::Passed | Outcome::Absent => String::new(),
        };
        println!("{:<24} {:>8}  {}{hint}", step.name, seconds(*took), label(*outcome));
    }
    rows.iter().all(|(_, outcome, _)| *outcome != Outcome::Failed)
}

fn run(workspace: &Workspace, work: &Work) -> Outcome {
    match work {
        Work::Cargo { env, args } => run_cargo(workspace, env, args),
        Work::OptionalCargo { args, how_to_get_it } => {
            if subcommand_exists(args[0]) {
                run_cargo(workspace, &[], args)
            } else {
                println!("cargo-{} is not on this machine; {how_to_get_it}", args[0]);
                Outcome::Absent
            }
        }
        Work::Check(check) => match check(workspace) {
            Ok(complaints) if complaints.is_empty() => Outcome::Passed,
            Ok(complaints) => {
                for complaint in complaints {
                    println!("{complaint}");
                }
                Outcome::Failed
            }
            Err(error) => {
                println!("{error:#}");
                Outcome::Failed
            }
        },
    }
}

fn run_cargo(workspace: &Workspace, env: &[(&str, &str)], args: &[&str]) -> Outcome {
    println!("{}", command_line(env, args));
    let status = workspace.command(cargo()).args(args).envs(env.iter().copied()).status();
    match status {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(_) => Outcome::Failed,
        Err(error) => {
            println!("cargo does not start: {error}");
            Outcome::Failed
        }
    }
}

/// What to type to run the same by hand.
pub(crate) fn command_line(env: &[(&str, &str)], args: &[&str]) -> String {
    let variables = env.iter().map(|(name, value)| format!("{name}=\"{value}\" "));
    format!("{}cargo {}", variables.collect::<String>(), args.join(" "))
}

/// Whether `cargo <name>` would find a `cargo-<name>` on the PATH.
fn subcommand_exists(name: &str) -> bool {
    let file = format!("cargo-{name}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(&file).is_file())
}

fn label(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
        Outcome::Absent => "not run: the tool is absent",
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

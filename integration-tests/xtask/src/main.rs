//! The project's own commands: `cargo xtask <command>`.
//!
//! `verify` only reads and is what CI runs; `fix` writes. Neither runs the tests: those are
//! plain `cargo test`, as the README says. `fuzz` runs some of them for long. `bench` measures.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool for the terminal that times its steps; nothing here decides anything"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod claims;
mod dependencies;
mod fix;
mod fuzz;
mod licence;
mod links;
mod sim;
mod step;
mod verify;
mod walls;
mod workspace;

use workspace::Workspace;

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check everything but the tests; change nothing. This is what CI runs
    Verify(verify::Args),
    /// Format the code and apply what clippy can repair by itself
    Fix,
    /// Run the tests of everything that reads foreign bytes for long, with new seeds
    Fuzz(fuzz::Args),
    /// Run seeds of the deterministic world: replay, search, shrink (see --help behind it)
    #[command(disable_help_flag = true)]
    Sim {
        /// What the world is asked
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure what is promised, with release builds, and print it beside the promise
    #[command(subcommand)]
    Bench(bench::What),
}

fn main() -> ExitCode {
    let outcome = Workspace::find().and_then(|workspace| match Cli::parse().command {
        Command::Verify(args) => verify::run(&workspace, &args),
        Command::Fix => fix::run(&workspace),
        Command::Fuzz(args) => fuzz::run(&workspace, &args),
        Command::Sim { args } => sim::run(&workspace, &args),
        Command::Bench(what) => bench::run(&workspace, &what),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

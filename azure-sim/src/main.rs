//! `azure-sim`: the simulator as a program, and the hand of whoever tests against it.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli::admin::Admin;
use cli::serve::Serve;

/// A simulator of the corner of Azure that moves private addresses between NICs.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve ARM, /admin and one IMDS per VM until interrupted.
    ///
    /// As soon as it answers, one line of JSON on standard output tells where.
    Serve(Box<Serve>),
    /// Look into a running simulator, or change what it does.
    ///
    /// Answers are JSON on standard output.
    Admin(Admin),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(serve) => cli::serve::run(&serve).await,
        Command::Admin(admin) => cli::admin::run(admin).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when this fails.
            let _ = writeln!(std::io::stderr(), "azure-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}

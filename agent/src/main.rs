//! The `vipfence` binary: the node agent, the command line, and `vipfence dev`.

mod agent;
mod cli;
mod clock;
mod config;
#[cfg(test)]
mod deploy;
#[cfg(feature = "dev")]
mod dev;
mod doctor;
mod duty;
mod health;
mod http;
mod journal;
mod lock;
mod metrics;
mod node;
mod os;
mod output;
mod program;
mod spawner;
#[cfg(all(test, feature = "dev"))]
mod stress;
mod supervisor;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

/// openraft logs every lost RPC as an error; what matters of it is said by our own events.
const DEFAULT_LOG: &str = "info,openraft=off";

fn main() -> ExitCode {
    // First, and on the main thread: what `dev` started is tied to it.
    #[cfg(feature = "dev")]
    if let Some(exit) = dev::as_child() {
        return exit;
    }
    #[cfg(not(feature = "dev"))]
    if std::env::args_os().nth(1).is_some_and(|command| command == "dev") {
        output::complain(
            "error: this vipfence was built without the feature `dev`: packages leave the \
             simulator out. In the source tree, `cargo run --release -- dev` has it",
        );
        return ExitCode::from(2);
    }
    // One TLS provider for the whole process, installed before anything asks for it.
    let _already_there = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli::Cli { options, command } = cli::Cli::parse();
    // One thread for all tasks: several would wake each other for the little that there is to do. What
    // takes long, disks and systemd and the kernel, has threads of its own.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(options, command)),
        Err(error) => {
            output::complain(&format!("error: cannot start the runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: cli::ClientOptions, command: cli::Command) -> ExitCode {
    match command {
        cli::Command::Agent(args) => {
            start_log();
            Box::pin(agent::run(&args)).await
        }
        #[cfg(feature = "dev")]
        cli::Command::Dev(args) => Box::pin(dev::run(args)).await,
        cli::Command::Client(command) => Box::pin(cli::run(command, options)).await,
    }
}

fn start_log() {
    let filter =
        EnvFilter::try_from_env("VIPFENCE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

//! The `vipfence` binary: the node agent, the command line, and `vipfence dev`.

mod agent;
mod cli;
mod clock;
mod config;
mod http;
mod journal;
mod metrics;
mod node;
mod os;
mod output;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

/// openraft logs every lost RPC as an error; what matters of it is said by our own events.
const DEFAULT_LOG: &str = "info,openraft=off";

fn main() -> ExitCode {
    let cli::Cli { options, command } = cli::Cli::parse();
    // One TLS provider for the whole process, installed before anything asks for it.
    let _already_there = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match command {
        cli::Command::Agent(args) => {
            start_log();
            run(agent::run(&args))
        }
        #[cfg(feature = "dev")]
        cli::Command::Dev(_) => ExitCode::FAILURE,
        cli::Command::Client(command) => run(cli::run(command, options)),
    }
}

fn run(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            output::complain(&format!("error: cannot start the runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn start_log() {
    let filter =
        EnvFilter::try_from_env("VIPFENCE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

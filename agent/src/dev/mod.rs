//! `vipfence dev`: a cluster on this machine, with a simulated Azure (design.md §9).
//!
//! One process starts the others and watches them: the simulator and N plain
//! `vipfence agent --config DIR/n1/agent.toml`, with generated files. It makes the VIP `demo`
//! through the API, as anybody would, forwards TCP to the node that the simulated data plane
//! sends the address to, and tells what happens.
//!
//! ```text
//!   vipfence dev ──starts──> vipfence dev-simulator      (ARM, IMDS of each node, /admin)
//!        │       ──starts──> vipfence agent  n1 n2 n3    (know nothing of dev)
//!        └─ forwarder: VIP port ──> responder of the node that /admin/attachments names
//! ```
//!
//! Deliberately not here: anything that decides about a VIP. There is no path from here into an
//! agent but its configuration file, its API and its death. Only this folder names the simulator.

mod agent_file;
mod attachments;
mod banner;
mod children;
mod cluster;
mod error;
mod folder;
mod forwarder;
mod logs;
mod manifest;
mod narrate;
mod parent;
mod plan;
mod ports;
mod run;
mod simulator;
mod startup;
mod story;

use std::process::ExitCode;

pub(crate) use run::run;

/// To be called first, on the main thread: if this process was started by `vipfence dev`, ties its
/// life to that process; if it is to be the simulator, serves until it is ended.
///
/// `Some` is the exit code with which the process is to end.
pub(crate) fn as_child() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next()?;
    // Others may inherit the variable (a hook that calls `vipfence status`): they are no
    // children of `dev`.
    if command != simulator::SUBCOMMAND && command != "agent" {
        return None;
    }
    if let Err(orphan) = parent::die_with_parent() {
        narrate::failure(&orphan);
        return Some(ExitCode::FAILURE);
    }
    if command != simulator::SUBCOMMAND {
        return None;
    }
    match simulator::run(arguments.next()) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            narrate::failure(&error);
            Some(ExitCode::FAILURE)
        }
    }
}

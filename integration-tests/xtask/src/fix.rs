//! `cargo xtask fix`: the repairs that need no thought. Look at the diff before a commit.

use anyhow::{Result, ensure};

use crate::step::{Step, Work, command_line, run_all};
use crate::workspace::Workspace;

/// Clippy first: what it rewrites is not formatted.
const STEPS: &[Step] = &[
    Step {
        name: "clippy --fix",
        work: Work::Cargo {
            env: &[],
            args: &[
                "clippy",
                "--fix",
                "--allow-dirty",
                "--allow-staged",
                "--workspace",
                "--all-targets",
                "--locked",
            ],
        },
    },
    Step { name: "format", work: Work::Cargo { env: &[], args: &["fmt", "--all"] } },
];

/// Runs all repairs.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let again = |step: &Step| match &step.work {
        Work::Cargo { env, args } => command_line(env, args),
        Work::Check(_) | Work::OptionalCargo { .. } => "cargo xtask fix".to_owned(),
    };
    ensure!(run_all(workspace, STEPS, again), "some repairs failed");
    Ok(())
}

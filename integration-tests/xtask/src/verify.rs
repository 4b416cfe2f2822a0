//! `cargo xtask verify`: everything that can be said about the code without running it.
//!
//! It changes no file outside `target`, and every step runs even where an earlier one failed.
//! The tests are not among the steps: they are `cargo test`, and take their own time.

use anyhow::{Result, bail, ensure};

use crate::step::{Step, Work, command_line, run_all};
use crate::workspace::Workspace;
use crate::{claims, dependencies, links, walls};

/// Quick ones first.
const STEPS: &[Step] = &[
    Step { name: "format", work: Work::Cargo { env: &[], args: &["fmt", "--all", "--check"] } },
    Step { name: "links", work: Work::Check(links::check) },
    Step { name: "claims", work: Work::Check(claims::check) },
    Step { name: "walls", work: Work::Check(walls::check) },
    Step { name: "dependencies", work: Work::Check(dependencies::check) },
    Step {
        // A second opinion: `dependencies` holds the same file by itself. That is why a machine
        // without the tool passes, in CI too; building it takes minutes.
        name: "cargo-deny",
        work: Work::OptionalCargo {
            args: &["deny", "--locked", "check", "bans", "licenses", "sources"],
            how_to_get_it: "get it with `cargo install cargo-deny --locked` (some minutes)",
        },
    },
    Step {
        name: "clippy",
        work: Work::Cargo {
            env: &[],
            args: &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        },
    },
    Step {
        // What the packages ship: no simulator inside.
        name: "clippy-without-dev",
        work: Work::Cargo {
            env: &[],
            args: &[
                "clippy",
                "--package",
                "vipfence",
                "--no-default-features",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        },
    },
    Step {
        name: "doc",
        work: Work::Cargo {
            env: &[("RUSTDOCFLAGS", "-D warnings")],
            args: &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"],
        },
    },
];

/// What `verify` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only this step; may be given several times
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
}

/// Runs the steps.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    for name in &args.only {
        if !STEPS.iter().any(|step| step.name == name) {
            let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            bail!("no step is called `{name}`; the steps are {}", names.join(", "));
        }
    }
    let chosen = STEPS
        .iter()
        .filter(|step| args.only.is_empty() || args.only.iter().any(|name| name == step.name));
    let again = |step: &Step| match &step.work {
        Work::Cargo { env, args } => command_line(env, args),
        Work::OptionalCargo { args, .. } => command_line(&[], args),
        Work::Check(_) => format!("cargo xtask verify --only {}", step.name),
    };
    ensure!(run_all(workspace, chosen, again), "verify failed");
    Ok(())
}

//! `cargo xtask sim`: the deterministic world, from its own program.
//!
//! The development build: what the world runs is optimised there too, and CI has built it.

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, cargo};

/// Passes everything on.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let mut command = workspace.command(cargo());
    command.args(["run", "--quiet", "--package", "vipfence-sim", "--locked", "--"]).args(args);
    let status = command.status().context("cargo does not start")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(2) => bail!("see `cargo xtask sim --help`"),
        _ => bail!("the world found something, or did not finish"),
    }
}

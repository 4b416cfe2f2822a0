//! `cargo xtask fuzz`: the tests of everything that reads foreign bytes, for as long as one likes.
//!
//! They are the property tests in files named `foreign.rs`; CI runs each with a few cases. Here
//! they run again and again, with many more cases and new seeds, until the time is up or one
//! fails. A failing case is shrunk and printed, and its seed is kept below the crate's
//! `proptest-regressions/`: plain `cargo test` fails too until the bug is fixed. The seeds are not
//! committed: the bug gets a test of its own, and a row in `docs/track-record.md`.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::workspace::{Workspace, cargo};

/// How many times the cases of CI make one round: some ten seconds for each file.
const TIMES: u32 = 10;
/// What `foreign_bytes::cases` listens to.
const TIMES_VARIABLE: &str = "FOREIGN_BYTES_TIMES";

/// How long, and what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long in all; every file runs once, however short that is
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Only the files with this in their path, such as `nic`; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// One file of tests.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    file: String,
    package: String,
    /// The path of its module, by which the test harness is told to run it alone.
    module: String,
}

/// Runs until the time is up or something fails.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let targets = chosen(targets(workspace)?, &args.only)?;
    let start = Instant::now();
    let limit = Duration::from_secs(60 * args.minutes);
    let mut runs = 0;
    for target in targets.iter().cycle() {
        if runs >= targets.len() && start.elapsed() >= limit {
            break;
        }
        println!("== {} ({} s)", target.file, start.elapsed().as_secs());
        once(workspace, target)?;
        runs += 1;
    }
    println!("{runs} runs of {} files, {TIMES} times the cases of CI each", targets.len());
    Ok(())
}

fn chosen(targets: Vec<Target>, only: &[String]) -> Result<Vec<Target>> {
    for name in only {
        if !targets.iter().any(|target| target.file.contains(name.as_str())) {
            let files: Vec<&str> = targets.iter().map(|target| target.file.as_str()).collect();
            bail!("no file has `{name}` in its path; there are {}", files.join(", "));
        }
    }
    let wanted = |target: &Target| {
        only.is_empty() || only.iter().any(|name| target.file.contains(name.as_str()))
    };
    Ok(targets.into_iter().filter(wanted).collect())
}

/// All files named `foreign.rs` below a `src` folder.
fn targets(workspace: &Workspace) -> Result<Vec<Target>> {
    let files = workspace.files("", "rs")?;
    let foreign = files.iter().filter(|path| path.ends_with("foreign.rs"));
    foreign.map(|path| target(workspace, path)).collect()
}

fn target(workspace: &Workspace, path: &Path) -> Result<Target> {
    let file = workspace.name(path).to_string();
    let (folder, inner) = file.split_once("/src/").with_context(|| format!("{file}: no src"))?;
    let package = package(workspace, folder)?;
    let module = module(inner);
    Ok(Target { package, module, file })
}

fn package(workspace: &Workspace, folder: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let path = workspace.path(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(toml::from_str::<Manifest>(&text).context("a manifest")?.package.name)
}

/// `nic/foreign.rs` is `nic::foreign::`.
fn module(inner: &str) -> String {
    format!("{}::", inner.trim_end_matches(".rs").replace('/', "::"))
}

fn once(workspace: &Workspace, target: &Target) -> Result<()> {
    let args = ["test", "--quiet", "--locked", "--package", &target.package, "--", &target.module];
    let status = workspace
        .command(cargo())
        .args(args)
        .env(TIMES_VARIABLE, TIMES.to_string())
        .status()
        .context("cargo does not start")?;
    ensure!(
        status.success(),
        "{} failed; its seed is kept, so this fails as well: cargo test --package {} -- {}",
        target.file,
        target.package,
        target.module
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(file: &str) -> Target {
        Target { file: file.to_owned(), package: String::new(), module: String::new() }
    }

    #[test]
    fn a_file_is_run_by_the_path_of_its_module() {
        assert_eq!(module("nic/writer_tests/foreign.rs"), "nic::writer_tests::foreign::");
    }

    #[test]
    fn files_are_chosen_by_a_piece_of_their_path_and_nothing_is_never_chosen() {
        let all = || vec![named("a/src/nic/foreign.rs"), named("a/src/api/foreign.rs")];
        assert_eq!(chosen(all(), &["nic".into()]).ok(), Some(vec![named("a/src/nic/foreign.rs")]));
        assert_eq!(chosen(all(), &[]).ok(), Some(all()));
        let error = chosen(all(), &["x".into()]).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("a/src/api/foreign.rs")));
    }

    #[test]
    fn every_reader_of_foreign_bytes_has_its_file() {
        let workspace = Workspace::find().expect("we are in it");
        let files: Vec<String> =
            targets(&workspace).expect("readable").into_iter().map(|t| t.file).collect();
        for reader in ["nic", "survey", "registry", "azure", "api", "consensus", "config", "state"]
        {
            assert!(files.iter().any(|file| file.contains(reader)), "{reader}: {files:?}");
        }
    }
}

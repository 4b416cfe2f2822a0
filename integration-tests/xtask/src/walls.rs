//! The walls between the crates: what each may depend on, and what the pure ones may name.
//!
//! A crate of this workspace exists to forbid a dependency; here is the list of what is
//! forbidden. The look into the sources is a search for words, not a proof: it keeps an honest
//! hand from slipping.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::workspace::Workspace;

/// serde and thiserror with all that they bring.
const PLAIN: &[&str] = &[
    "proc-macro2",
    "quote",
    "serde",
    "serde_core",
    "serde_derive",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
];
/// serde_json and what it brings on top.
const JSON: &[&str] = &["itoa", "memchr", "serde_json", "zmij"];

/// Each pure crate, its folder, and everything it may reach besides itself.
const PURE: &[(&str, &str, &[&[&str]])] = &[
    ("vipfence-types", "coordinator/types", &[PLAIN]),
    ("vipfence-coordinator-core", "coordinator/core", &[PLAIN, JSON, &["vipfence-types"]]),
    ("vipfence-agent-core", "agent/core", &[PLAIN, &["vipfence-types"]]),
];

/// What a pure crate does not name outside its tests, and why.
const IMPURE: &[(&str, &str)] = &[
    ("std::env", "a pure crate is told what it needs"),
    ("std::fs", "a pure crate touches no disk"),
    ("std::io", "a pure crate touches no disk"),
    ("std::process", "a pure crate starts nothing"),
    ("std::thread", "a pure crate starts nothing"),
    ("TcpListener", "a pure crate touches no network"),
    ("TcpStream", "a pure crate touches no network"),
    ("UdpSocket", "a pure crate touches no network"),
    ("std::time::Instant", "time comes in as `now`"),
    ("SystemTime", "time comes in as `now`"),
    ("HashMap", "its order differs from run to run: BTreeMap"),
    ("HashSet", "its order differs from run to run: BTreeSet"),
];

/// The crate that knows nothing of us, the one of the product that may use it, behind a feature,
/// and the deterministic world. The product's tests hold its shells against that world's oracle, on
/// the same simulator (`agent/src/stress`, compiled for tests only).
const SIMULATOR: &str = "azure-sim";
const SIMULATOR_USER: &str = "vipfence";
const WORLD: &str = "vipfence-sim";
/// Where they name it.
const SIMULATOR_USER_FILES: &[&str] =
    &["agent/src/dev", "agent/src/dev.rs", "agent/src/stress", "integration-tests/sim"];

/// All complaints about the walls.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (name, folder, allowed) in PURE {
        pure_dependencies(workspace, name, allowed, &mut complaints)?;
        pure_sources(workspace, folder, &mut complaints)?;
    }
    simulator_manifests(workspace, &mut complaints)?;
    simulator_sources(workspace, &mut complaints)?;
    mutations_stay_out(workspace, &mut complaints)?;
    Ok(complaints)
}

fn pure_dependencies(
    workspace: &Workspace,
    name: &str,
    allowed: &[&[&str]],
    complaints: &mut Vec<String>,
) -> Result<()> {
    let tree = workspace.cargo_output(&[
        "tree",
        "--package",
        name,
        "--edges",
        "normal,build",
        "--all-features",
        "--target",
        "all",
        "--prefix",
        "none",
        "--no-dedupe",
        "--locked",
    ])?;
    let mut reached: Vec<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
    reached.sort_unstable();
    reached.dedup();
    reached.retain(|dependency| {
        let listed = allowed.iter().any(|list| list.contains(dependency));
        !listed && *dependency != name && !dependency.is_empty()
    });
    if !reached.is_empty() {
        complaints.push(format!(
            "{name} reaches {}: not on its list in {}; see: \
             cargo tree --package {name} --edges normal,build --all-features --target all",
            reached.join(", "),
            file!()
        ));
    }
    Ok(())
}

fn pure_sources(workspace: &Workspace, folder: &str, complaints: &mut Vec<String>) -> Result<()> {
    for path in workspace.files(&format!("{folder}/src"), "rs")? {
        if is_test_file(&path) {
            continue;
        }
        let text = read(&path)?;
        for (number, line) in production_lines(&text) {
            for (word, why) in IMPURE {
                if line.contains(word) {
                    complaints
                        .push(format!("{}:{number}: names {word}: {why}", workspace.name(&path)));
                }
            }
        }
    }
    Ok(())
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// The numbered lines of a source file without comments, up to its `mod tests {`.
fn production_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .take_while(|(_, line)| !line.starts_with("mod tests {"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Only crates of this workspace have one.
    path: Option<String>,
    optional: bool,
}

/// Dependencies of all kinds count here, those of tests and build scripts too.
fn simulator_manifests(workspace: &Workspace, complaints: &mut Vec<String>) -> Result<()> {
    let json =
        workspace.cargo_output(&["metadata", "--no-deps", "--format-version", "1", "--locked"])?;
    let metadata: Metadata = serde_json::from_str(&json).context("what cargo metadata prints")?;
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            let (from, to) = (&package.name, &dependency.name);
            if from == SIMULATOR {
                complaints.push(format!("{from} depends on {to}: it depends on nothing of ours"));
            }
            if to == SIMULATOR && from == WORLD {
                continue;
            }
            if to == SIMULATOR && from != SIMULATOR_USER {
                complaints.push(format!("{from} depends on {to}: only {SIMULATOR_USER} may"));
            }
            if to == SIMULATOR && !dependency.optional {
                complaints.push(format!("{from} depends on {to} always: packages leave it out"));
            }
        }
    }
    Ok(())
}

fn simulator_sources(workspace: &Workspace, complaints: &mut Vec<String>) -> Result<()> {
    let word = SIMULATOR.replace('-', "_");
    let (path_of, import_of) = (format!("{word}::"), format!("use {word}"));
    for path in workspace.files("", "rs")? {
        let allowed = path.starts_with(workspace.path(SIMULATOR))
            || SIMULATOR_USER_FILES.iter().any(|file| path.starts_with(workspace.path(file)));
        if allowed {
            continue;
        }
        for (index, line) in read(&path)?.lines().enumerate() {
            let names = line.contains(&path_of) || line.contains(&import_of);
            if names && !line.trim_start().starts_with("//") {
                complaints.push(format!(
                    "{}:{}: names {word}: only agent/src/dev, agent/src/stress and the world may",
                    workspace.name(&path),
                    index + 1
                ));
            }
        }
    }
    Ok(())
}

/// The program that is shipped has no switch for deliberate faults.
fn mutations_stay_out(workspace: &Workspace, complaints: &mut Vec<String>) -> Result<()> {
    let tree = workspace.cargo_output(&[
        "tree",
        "--package",
        SIMULATOR_USER,
        "--edges",
        "normal,build,features",
        "--prefix",
        "none",
        "--locked",
    ])?;
    if tree.lines().any(|line| line.contains("mutations")) {
        complaints.push(format!(
            "{SIMULATOR_USER} is built with the feature `mutations` of vipfence-types: only the \
             deterministic world may ask for it"
        ));
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_the_tests_below_do_not_count_as_production() {
        let text = "use a;\n    // std::fs\n/// std::fs\nfn f() {}\n#[cfg(test)]\nmod tests {\nstd";
        let lines: Vec<_> = production_lines(text).collect();
        assert_eq!(lines, [(1, "use a;"), (4, "fn f() {}"), (5, "#[cfg(test)]")]);
    }
}

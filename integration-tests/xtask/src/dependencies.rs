//! The foreign crates we build: which are banned, under which licences they come, from where.
//!
//! The rules are in `deny.toml`, which is cargo-deny's file; this is the part of it that we hold
//! by ourselves, because building cargo-deny takes minutes that a bare machine need not spend.
//! Not looked at: known vulnerabilities, licence texts that differ from what a crate declares.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::licence;
use crate::workspace::Workspace;

#[derive(Deserialize)]
struct Rules {
    bans: Bans,
    licenses: Licences,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

/// Fields that we do not know are refused: such a ban would be held by cargo-deny only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: Option<String>,
    #[serde(default)]
    deny_multiple_versions: bool,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

/// One crate as built: name, version, what it says about its licence.
type Built<'a> = (&'a str, &'a str, &'a str);

/// All complaints about foreign crates.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace.path("deny.toml")).context("deny.toml")?;
    let rules: Rules = toml::from_str(&text).context("deny.toml")?;
    // The lock file also names crates that no feature turns on, so the tree is asked.
    let tree = workspace.cargo_output(&[
        "tree",
        "--workspace",
        "--all-features",
        "--edges",
        "normal,build,dev",
        "--target",
        "all",
        "--prefix",
        "none",
        "--no-dedupe",
        "--locked",
        "--format",
        "{p}|{l}",
    ])?;
    let built: BTreeSet<Built> = tree.lines().filter_map(parse).collect();
    let mut complaints = bans(&rules.bans.deny, &built);
    complaints.extend(licences(&rules.licenses.allow, &built));
    let lock = fs::read_to_string(workspace.path("Cargo.lock")).context("Cargo.lock")?;
    complaints.extend(sources(&lock)?);
    Ok(complaints)
}

/// `serde v1.0.229 (proc-macro)|MIT` and the like; blank lines part the workspace's members.
fn parse(line: &str) -> Option<Built<'_>> {
    let (package, licence) = line.split_once('|')?;
    let mut words = package.split(' ');
    Some((words.next()?, words.next()?, licence))
}

fn bans(bans: &[Ban], built: &BTreeSet<Built>) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version, _) in built {
        versions.entry(name).or_default().push(version);
    }
    let mut complaints = Vec::new();
    for ban in bans {
        let found = versions.get(ban.name.as_str()).map_or(&[][..], Vec::as_slice);
        let limit = usize::from(ban.deny_multiple_versions);
        if found.len() > limit {
            let reason = ban.reason.as_deref().unwrap_or("one version of it is enough");
            complaints.push(format!(
                "{} {}: {reason}; see: cargo tree --target all --all-features --invert {}",
                ban.name,
                found.join(", "),
                ban.name
            ));
        }
    }
    complaints
}

fn licences(allow: &BTreeSet<String>, built: &BTreeSet<Built>) -> Vec<String> {
    let refused = built
        .iter()
        .filter(|(_, _, licence)| !licence::permits(licence, &|term| allow.contains(term)));
    refused
        .map(|(name, version, licence)| {
            format!("{name} {version}: its licence `{licence}` is not met by the list in deny.toml")
        })
        .collect()
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    /// Absent for the crates of this workspace.
    source: Option<String>,
}

/// All foreign crates come from one and the same registry: none from git, none from elsewhere.
fn sources(lock: &str) -> Result<Vec<String>> {
    let lock: Lock = toml::from_str(lock).context("Cargo.lock")?;
    let mut by_source: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &lock.package {
        if let Some(source) = &package.source {
            by_source.entry(source).or_default().push(&package.name);
        }
    }
    let usual = by_source
        .iter()
        .filter(|(source, _)| source.starts_with("registry+"))
        .max_by_key(|(_, names)| names.len())
        .map(|(source, _)| *source);
    let odd = by_source.iter().filter(|(source, _)| Some(**source) != usual);
    Ok(odd.map(|(source, names)| format!("{} from {source}", names.join(", "))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(name: &str, deny_multiple_versions: bool) -> Ban {
        Ban { name: name.to_owned(), reason: None, deny_multiple_versions }
    }

    #[test]
    fn a_banned_crate_and_a_second_version_are_both_found() {
        let built = BTreeSet::from([
            ("ring", "v0.17.0", "ISC"),
            ("rustls", "v0.22.0", "MIT"),
            ("rustls", "v0.23.0", "MIT"),
            ("tokio", "v1.0.0", "MIT"),
        ]);
        let rules = [ban("ring", false), ban("rustls", true), ban("tokio", true), ban("x", false)];
        let complaints = bans(&rules, &built);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].starts_with("ring v0.17.0: "));
        assert!(complaints[1].starts_with("rustls v0.22.0, v0.23.0: "));
    }

    #[test]
    fn a_crate_without_a_licence_is_refused() {
        let built = BTreeSet::from([("a", "v1.0.0", ""), ("b", "v1.0.0", "MIT OR GPL-3.0-only")]);
        let complaints = licences(&BTreeSet::from(["MIT".to_owned()]), &built);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with("a v1.0.0: "));
    }

    #[test]
    fn a_crate_from_git_is_refused() {
        let complaints = sources(
            r#"
            package = [
                { name = "ours" },
                { name = "serde", source = "registry+https://example.org/index" },
                { name = "forked", source = "git+https://example.org/forked#0" },
            ]
            "#,
        );
        assert_eq!(complaints.unwrap(), ["forked from git+https://example.org/forked#0"]);
    }

    #[test]
    fn the_lines_of_cargo_tree_are_read() {
        assert_eq!(
            parse("serde_derive v1.0.0 (proc-macro)|MIT OR Apache-2.0"),
            Some(("serde_derive", "v1.0.0", "MIT OR Apache-2.0"))
        );
        assert_eq!(parse(""), None);
    }
}

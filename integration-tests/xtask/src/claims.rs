//! What `docs/bites.md` and `docs/track-record.md` claim: each row of their tables names tests that
//! there are, or says what it waits for.
//!
//! A test is named as a link whose text is its name, as code, and whose target is its file:
//! `` [`name`](../path/file.rs) ``. Whether it shows what the row says is for people to judge.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

const FILES: &[&str] = &["docs/bites.md", "docs/track-record.md"];
/// In place of a test: what has to be built first.
const WAITING: &str = "waiting: ";

/// All claims that nothing bears out.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let tests = tests(workspace)?;
    let mut complaints = Vec::new();
    for name in FILES {
        let path = workspace.path(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        complaints.extend(complaints_about(name, &text, &tests));
    }
    Ok(complaints)
}

/// A test and the file that it is in, relative to the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    name: String,
    file: String,
}

fn tests(workspace: &Workspace) -> Result<Vec<Test>> {
    let mut found = Vec::new();
    for path in workspace.files("", "rs")? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let file = workspace.name(&path).to_string();
        found.extend(test_names(&text).into_iter().map(|name| Test { name, file: file.clone() }));
    }
    Ok(found)
}

/// The functions that an attribute makes a test, those within `proptest!` included.
fn test_names(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = function(line) {
            if is_test {
                found.push(name.to_owned());
            }
            is_test = false;
        }
    }
    found
}

fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

fn complaints_about(document: &str, text: &str, tests: &[Test]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, row) in rows(text) {
        let named = named_tests(row);
        for (name, target) in &named {
            let file = from_root(document, target);
            let there = |test: &&Test| test.name == *name;
            if tests.iter().filter(there).any(|test| test.file == file) {
                continue;
            }
            let remedy = match tests.iter().find(there) {
                Some(test) => format!("it is in {}", test.file),
                None => format!("name a test that shows it, or write `{WAITING}FEATURE`"),
            };
            complaints.push(format!("{document}:{number}: {file} has no test `{name}`; {remedy}"));
        }
        if named.is_empty() && !waits(row) {
            complaints.push(format!(
                "{document}:{number}: the row names no test; name one as [`name`](file), or write \
                 `{WAITING}FEATURE`"
            ));
        }
    }
    complaints
}

/// Whether the row says what it waits for.
fn waits(row: &str) -> bool {
    row.split(WAITING).nth(1).is_some_and(|rest| rest.starts_with(char::is_alphanumeric))
}

/// The rows of all tables with their line numbers, without their heads.
fn rows(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_body = false;
    for (index, line) in text.lines().enumerate() {
        let is_row = line.starts_with('|');
        if is_row && in_body {
            found.push((index + 1, line));
        }
        in_body = is_row && (in_body || line.starts_with("|-") || line.starts_with("| -"));
    }
    found
}

/// Links whose text is code: `` [`name`](target) ``.
fn named_tests(row: &str) -> Vec<(&str, &str)> {
    let links = row.split("[`").skip(1);
    links
        .filter_map(|link| {
            let (name, rest) = link.split_once("`](")?;
            Some((name, rest.split_once(')')?.0))
        })
        .collect()
}

/// A link of a document, from the root.
fn from_root(document: &str, target: &str) -> String {
    let folder = Path::new(document).parent().unwrap_or(Path::new(""));
    match target.strip_prefix("../") {
        Some(rest) => folder.parent().unwrap_or(Path::new("")).join(rest),
        None => folder.join(target),
    }
    .display()
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Title\n\n| bite | shown by |\n|---|---|\n";

    fn complaints(row: &str) -> Vec<String> {
        let test = |name: &str, file: &str| Test { name: name.into(), file: file.into() };
        let tests = [test("it_holds", "core/src/a.rs"), test("it_moves", "core/src/b.rs")];
        complaints_about("docs/bites.md", &format!("{HEAD}{row}\n"), &tests)
    }

    #[test]
    fn a_row_with_a_test_that_there_is_or_with_a_reason_to_wait_is_fine() {
        assert_eq!(complaints("| x | [`it_holds`](../core/src/a.rs) |"), [""; 0]);
        assert_eq!(complaints("| x | waiting: health checks |"), [""; 0]);
    }

    #[test]
    fn a_test_that_is_missing_is_reported_with_its_row_and_the_remedy() {
        let complaints = complaints("| x | [`it_hold`](../core/src/a.rs) |");
        let expected = "docs/bites.md:5: core/src/a.rs has no test `it_hold`; name a test that \
                        shows it, or write `waiting: FEATURE`";
        assert_eq!(complaints, [expected]);
    }

    #[test]
    fn a_test_that_is_elsewhere_is_reported_with_its_file() {
        let complaints = complaints("| x | [`it_moves`](../core/src/a.rs) waiting: more |");
        let expected =
            "docs/bites.md:5: core/src/a.rs has no test `it_moves`; it is in core/src/b.rs";
        assert_eq!(complaints, [expected]);
    }

    #[test]
    fn a_row_that_claims_nothing_is_reported() {
        for row in ["| x | by design |", "| x | waiting: |"] {
            let complaints = complaints(row);
            assert_eq!(complaints.len(), 1, "{complaints:?}");
            assert!(complaints[0].starts_with("docs/bites.md:5: the row names no test;"));
        }
    }

    #[test]
    fn only_functions_with_the_attribute_are_tests() {
        let text = "fn helper() {}\n#[test]\n#[ignore]\nfn one() {}\n#[tokio::test(x)]\nasync fn \
                    two() {}\nproptest! {\n    #[test]\n    /// Words.\n    fn three(\n        a in b,\n    ) {}\n}\nfn four() {}";
        assert_eq!(test_names(text), ["one", "two", "three"]);
    }
}

//! Every relative link in a `.md` file leads to a file or a folder of this repository.
//!
//! Not looked at: links to other hosts, fragments, and links to Rust items in files that rustdoc
//! includes (rustdoc checks those itself).

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// All links that lead nowhere.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let root = workspace.path("");
    let mut complaints = Vec::new();
    for path in workspace.files("", "md")? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (number, target) in targets(&text) {
            let folder = path.parent().unwrap_or(&root);
            let there = tidy(&folder.join(target));
            let name = workspace.name(&path);
            if !there.starts_with(&root) {
                complaints.push(format!("{name}:{number}: {target} leaves the repository"));
            } else if !there.exists() {
                complaints.push(format!("{name}:{number}: {target} does not exist"));
            }
        }
    }
    Ok(complaints)
}

/// The relative targets of a markdown text with their line numbers: `[text](target)` and
/// `[label]: target`, outside of code.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line_targets(line).into_iter().map(|target| (index + 1, target)));
        }
    }
    found
}

fn line_targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // Every second piece between backticks is code.
    for piece in line.split('`').step_by(2) {
        for (start, _) in piece.match_indices("](") {
            found.extend(piece[start + 2..].split(')').next());
        }
    }
    // A link whose text is code: `[`name`](target)` leaves "](target)" in a piece, so that is
    // covered above. Definitions stand at the start of a line.
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        found.push(target);
    }
    found.into_iter().filter_map(relative).collect()
}

/// The file part of a link, where it is one of ours.
fn relative(target: &str) -> Option<&str> {
    // A title may follow: `(file.md "title")`.
    let target = target.split_whitespace().next()?;
    let target = target.trim_start_matches('<').trim_end_matches('>');
    let target = target.split(['#', '?']).next()?;
    let elsewhere = target.contains("://") || target.starts_with("mailto:");
    (!target.is_empty() && !elsewhere && !target.contains("::")).then_some(target)
}

/// Without `.` and `..`. The links are judged as written; nothing is asked of the disk.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                tidy.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => tidy.push(part),
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_code_is_not() {
        let text = "\
See [a](docs/a.md#part), [`b`](b.rs \"title\") and [web](https://example.org/c).
`[code](not-a-link.md)` and [here](#below) and [item](crate::Thing).
```
[fenced](neither.md)
```
[label]: ../d.md
[mail](mailto:someone@example.org)
";
        assert_eq!(targets(text), [(1, "docs/a.md"), (1, "b.rs"), (6, "../d.md")]);
    }

    #[test]
    fn dots_are_resolved() {
        assert_eq!(tidy(Path::new("/r/docs/./adr/../../LICENSE")), Path::new("/r/LICENSE"));
        assert_eq!(tidy(Path::new("/r/../x")), Path::new("/x"));
    }
}

//! The workspace on disk: where it lies, its files, and how cargo is asked about it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The root folder of the workspace.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub(crate) fn find() -> Result<Workspace> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).context("xtask lies two folders below the root")?;
        ensure!(root.join("Cargo.lock").is_file(), "no Cargo.lock in {}", root.display());
        Ok(Workspace { root: root.to_path_buf() })
    }

    /// A path below the root.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// How a path is named to people: relative to the root.
    pub(crate) fn name<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// `program`, to be run in the root.
    ///
    /// What `cargo run` told this program about its own package is taken out: build scripts of
    /// other crates look at such variables, and would run again each time we call cargo.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// What `cargo <args>` prints.
    pub(crate) fn cargo_output(&self, args: &[&str]) -> Result<String> {
        let output = self.command(cargo()).args(args).output().context("cargo does not start")?;
        ensure!(
            output.status.success(),
            "`cargo {}` failed:\n{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).context("cargo prints UTF-8")
    }

    /// All files below `folder` whose name ends in `.extension`, sorted; build output and git's
    /// own folder are left out. A folder that does not exist has no files.
    pub(crate) fn files(&self, folder: &str, extension: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.join(folder)];
        while let Some(folder) = folders.pop() {
            if !folder.is_dir() {
                continue;
            }
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    if entry.file_name() != "target" && entry.file_name() != ".git" {
                        folders.push(path);
                    }
                } else if path.extension() == Some(OsStr::new(extension)) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// The cargo that runs us, so that all steps use the one toolchain.
pub(crate) fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

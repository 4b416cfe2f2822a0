//! The folder of `vipfence dev`: one `dev` at a time has it, and what is in it that `dev` has not
//! made stays.
//!
//! ```text
//! DIR/dev.lock     locked while a dev runs; holds its process id. Also the mark that DIR is ours
//! DIR/dev.json     the endpoints, once the cluster is ready
//! DIR/ports.json   the ports, for --keep
//! DIR/azure/       simulator.json, simulator.log, attachments.json (for --keep)
//! DIR/n1/          agent.toml, agent.log, data/
//! ```

use std::{
    fs::{self, DirBuilder},
    io,
    path::{Path, PathBuf},
};

use super::plan::{MAX_NODES, node_name};
use crate::lock::{FileLock, LockError};

const LOCK: &str = "dev.lock";
const MANIFEST: &str = "dev.json";
const PORTS: &str = "ports.json";
const AZURE: &str = "azure";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    /// Somebody else's files.
    #[error(
        "{0} is not empty and was not made by `vipfence dev` (it has no {LOCK}): nothing was \
         touched; give --dir a new or empty folder"
    )]
    Foreign(PathBuf),
    /// Another dev has it.
    #[error(
        "another `vipfence dev` (process {pid}) uses the folder {dir}: end that one (Ctrl-C, or \
         `kill {pid}`), or give this one another --dir and `--base-port 0`"
    )]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Who has it; "unknown" if it did not say.
        pid: String,
    },
    /// The system refuses.
    #[error("cannot use the folder {dir}; --dir names another one")]
    Io {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A folder that this process has for itself.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// It was made by this process, and goes with it.
    temporary: bool,
    /// Released by the kernel, however this process ends.
    _lock: FileLock,
}

impl Folder {
    /// Takes a folder; `None` makes a temporary one. Without `keep`, what an earlier `dev` left in
    /// it is removed.
    pub(super) fn take(dir: Option<&Path>, keep: bool) -> Result<Self, FolderError> {
        let temporary = dir.is_none();
        let path = match dir {
            Some(dir) => std::path::absolute(dir).map_err(fail(dir))?,
            None => temporary_path(),
        };
        make(&path, temporary).map_err(fail(&path))?;
        if !may_take(&path).map_err(fail(&path))? {
            return Err(FolderError::Foreign(path));
        }
        let lock = lock(&path)?;
        let folder = Self { path, temporary, _lock: lock };
        // A cluster that is being started is not ready.
        remove_file(&folder.manifest()).map_err(fail(&folder.path))?;
        if !keep {
            folder.wipe().map_err(fail(&folder.path))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `dev.json`
    pub(super) fn manifest(&self) -> PathBuf {
        self.path.join(MANIFEST)
    }

    /// `ports.json`
    pub(super) fn ports(&self) -> PathBuf {
        self.path.join(PORTS)
    }

    /// The simulator's folder.
    pub(super) fn azure(&self) -> PathBuf {
        self.path.join(AZURE)
    }

    /// A node's folder.
    pub(super) fn node(&self, index: usize) -> PathBuf {
        self.path.join(node_name(index))
    }

    /// Ends the use of the folder. A temporary one is removed, unless somebody is to look at it.
    pub(super) fn leave(self, look: bool) -> io::Result<()> {
        if self.temporary && !look {
            return fs::remove_dir_all(&self.path);
        }
        // Nothing is served any more.
        remove_file(&self.manifest())
    }

    /// Removes what a `dev` makes, by name, and nothing else.
    fn wipe(&self) -> io::Result<()> {
        for file in [self.manifest(), self.ports(), self.path.join("dev.json.new")] {
            remove_file(&file)?;
        }
        let azure = self.azure();
        let azure_files =
            ["simulator.json", "simulator.log", "simulator.log.1", "attachments.json"];
        remove_known(&azure, &azure_files, &[])?;
        for index in 0..MAX_NODES {
            remove_known(
                &self.node(index),
                &["agent.toml", "agent.log", "agent.log.1"],
                &["data"],
            )?;
        }
        Ok(())
    }
}

fn fail(dir: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let dir = dir.to_path_buf();
    move |source| FolderError::Io { dir, source }
}

fn temporary_path() -> PathBuf {
    let name = uuid::Uuid::new_v4().simple().to_string();
    let short: String = name.chars().take(8).collect();
    std::env::temp_dir().join(format!("vipfence-dev-{short}"))
}

fn make(path: &Path, temporary: bool) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    if temporary {
        // Others on this machine have no business in it.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // It must be new.
        return builder.create(path);
    }
    builder.recursive(true).create(path)
}

/// Empty, or with the mark of an earlier `dev`.
fn may_take(path: &Path) -> io::Result<bool> {
    let mut empty = true;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name == LOCK || name == MANIFEST {
            return Ok(true);
        }
        empty = false;
    }
    Ok(empty)
}

fn lock(path: &Path) -> Result<FileLock, FolderError> {
    FileLock::take(&path.join(LOCK)).map_err(|error| match error {
        LockError::Held(pid) => FolderError::InUse { dir: path.to_path_buf(), pid },
        LockError::File(source) => fail(path)(source),
    })
}

/// Removes these files and folders, and then the folder itself if nothing else is in it.
fn remove_known(folder: &Path, files: &[&str], folders: &[&str]) -> io::Result<()> {
    // A link in its place is not ours.
    if !fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    for file in files {
        remove_file(&folder.join(file))?;
    }
    for inner in folders {
        remove_all(&folder.join(inner))?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}

/// A folder with all that is in it, or whatever stands in its place.
fn remove_all(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => absent_is_fine(Err(error)),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_file(path))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn a_second_dev_is_told_the_folder_and_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::take(Some(dir.path()), false).unwrap();
        let text = Folder::take(Some(dir.path()), false).unwrap_err().to_string();
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        drop(first);
        Folder::take(Some(dir.path()), true).unwrap();
    }

    #[test]
    fn a_folder_with_other_files_is_refused_and_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("thesis.txt"));
        put(&dir.path().join("n1/agent.toml"));
        let error = Folder::take(Some(dir.path()), false).unwrap_err();
        assert!(matches!(error, FolderError::Foreign(_)), "{error}");
        assert!(dir.path().join("thesis.txt").exists());
        assert!(dir.path().join("n1/agent.toml").exists());
        assert!(!dir.path().join(LOCK).exists());
    }

    #[test]
    fn a_fresh_start_removes_what_dev_made_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let ours =
            ["dev.json", "ports.json", "azure/simulator.json", "n1/agent.toml", "n2/data/log"];
        let theirs = ["notes.txt", "n1/notes.txt", "n10/agent.toml"];
        put(&dir.path().join(LOCK));
        for file in ours.iter().chain(&theirs) {
            put(&dir.path().join(file));
        }
        Folder::take(Some(dir.path()), false).unwrap();
        for file in ours {
            assert!(!dir.path().join(file).exists(), "{file}");
        }
        for file in theirs {
            assert!(dir.path().join(file).exists(), "{file}");
        }
        assert!(!dir.path().join("n2").exists() && !dir.path().join("azure").exists());
    }

    #[test]
    fn keep_keeps_all_but_the_word_that_the_cluster_is_ready() {
        let dir = tempfile::tempdir().unwrap();
        for file in [LOCK, MANIFEST, "n1/data/log"] {
            put(&dir.path().join(file));
        }
        Folder::take(Some(dir.path()), true).unwrap();
        assert!(dir.path().join("n1/data/log").exists());
        assert!(!dir.path().join(MANIFEST).exists());
    }

    #[test]
    fn a_temporary_folder_goes_unless_it_is_to_be_looked_at() {
        let folder = Folder::take(None, false).unwrap();
        let path = folder.path().to_path_buf();
        assert!(path.exists());
        folder.leave(false).unwrap();
        assert!(!path.exists());
        let folder = Folder::take(None, false).unwrap();
        let path = folder.path().to_path_buf();
        folder.leave(true).unwrap();
        assert!(path.exists());
        fs::remove_dir_all(path).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Folder::take(Some(dir.path()), false).unwrap().leave(false).unwrap();
        assert!(dir.path().join(LOCK).exists());
    }
}

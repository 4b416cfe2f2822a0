//! A file that one process at a time has locked. It says which one, for whoever finds it locked.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

/// The lock; it ends with this value, or with the process.
#[derive(Debug)]
pub(crate) struct FileLock(File);

/// Why a lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it: its number, or "unknown".
    Held(String),
    /// The file cannot be opened, locked or written.
    File(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl FileLock {
    /// Takes the lock of this file, which is made if need be.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only for the message: whoever has the lock may not have written it yet.
                let said = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                return Err(LockError::Held(if said { pid.trim() } else { "unknown" }.to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut lock = Self(file);
        lock.0.set_len(0)?;
        lock.0.rewind()?;
        writeln!(lock.0, "{}", std::process::id())?;
        Ok(lock)
    }
}

/// Given back by name: a child that is just being started has a copy of the file until it runs its
/// program, and would keep the lock.
impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the file gives it back as well, if perhaps a moment later.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_free_again_although_a_child_still_has_a_copy_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = FileLock::take(&path).unwrap();
        let _copy = lock.0.try_clone().unwrap();
        let own = std::process::id().to_string();
        let taken = FileLock::take(&path).unwrap_err();
        assert!(matches!(&taken, LockError::Held(pid) if *pid == own), "{taken:?}");
        drop(lock);
        FileLock::take(&path).unwrap();
    }
}

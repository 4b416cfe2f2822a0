//! `DIR/tokens/VIP`: the epoch under which this node may hold a VIP, for applications that hand it to
//! their own storage as a fencing token. The file is there only while the node may, as far as a live
//! agent can see to that; one of a killed agent stays until the next start.
//!
//! Nothing is read from here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vipfence_types::{Epoch, VipName};

/// The folder.
#[derive(Debug)]
pub(super) struct Tokens(PathBuf);

impl Tokens {
    /// Makes the folder, and takes what an earlier start has left out of it: a starting agent is
    /// entitled to nothing.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let folder = dir.join("tokens");
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(Self(folder))
    }

    /// Writes a token: a reader sees the old one or the new one, and never half of it.
    pub(super) fn write(&self, vip: &VipName, epoch: Epoch) -> io::Result<()> {
        // No VIP has a dot in its name.
        let draft = self.0.join(format!("{vip}.new"));
        fs::write(&draft, format!("{epoch}\n"))?;
        fs::rename(draft, self.0.join(vip.as_str()))
    }

    /// Takes it away.
    pub(super) fn remove(&self, vip: &VipName) -> io::Result<()> {
        match fs::remove_file(self.0.join(vip.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_epoch_and_does_not_outlive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let vip = VipName::new("demo").unwrap();
        let file = dir.path().join("tokens/demo");
        let tokens = Tokens::open(dir.path()).unwrap();
        tokens.write(&vip, Epoch(7)).unwrap();
        tokens.write(&vip, Epoch(9)).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "9\n");
        tokens.remove(&vip).unwrap();
        tokens.remove(&vip).unwrap();
        assert!(!file.exists());
        tokens.write(&vip, Epoch(9)).unwrap();
        Tokens::open(dir.path()).unwrap();
        assert!(!file.exists());
    }
}

//! The file that says which addresses this program may have put on the OS: written, and flushed,
//! before each first add. Kernels before 5.18 give an IPv6 address no mark of whose it is, and an
//! IPv4 label can be changed by anyone; after a kill, the file is what a starting agent knows them by.
//!
//! It says "may have", never "has": what is there is read from the kernel. An address leaves it only
//! when the kernel was read back without it, so that it can be given to something else.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const FILE: &str = "addresses.json";
const FORMAT: u16 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    addresses: BTreeSet<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct Page {
    format: u16,
    addresses: BTreeSet<IpAddr>,
}

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub(crate) struct RecordError {
    path: PathBuf,
    problem: String,
}

impl Record {
    /// Reads what earlier starts have left in a folder.
    ///
    /// # Errors
    /// There is a file that cannot be read. It is not passed over: an address that it names could
    /// stay on the OS without anybody knowing.
    pub(super) fn open(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(FILE);
        let wrong = |problem: String| RecordError { path: path.clone(), problem };
        let addresses = match fs::read(&path) {
            Ok(bytes) => {
                let page: Page = serde_json::from_slice(&bytes).map_err(|error| {
                    wrong(format!(
                        "this is not the list of addresses that an agent writes ({error}); take \
                         this node's VIPs off its interfaces by hand, then remove the file"
                    ))
                })?;
                if page.format != FORMAT {
                    let format = page.format;
                    return Err(wrong(format!(
                        "format {format} is of another version of vipfence; start that one, and \
                         stop it cleanly"
                    )));
                }
                page.addresses
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(wrong(error.to_string())),
        };
        Ok(Self { path, addresses })
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    pub(super) fn has_all(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        addresses.is_subset(&self.addresses)
    }

    /// Writes down what is about to be added.
    pub(super) fn note(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), RecordError> {
        let all = self.addresses.union(addresses).copied().collect();
        self.write(&all)?;
        self.addresses = all;
        Ok(())
    }

    /// The kernel was read without these.
    pub(super) fn forget(&mut self, addresses: &[IpAddr]) -> Result<(), RecordError> {
        self.keep(|one| !addresses.contains(&one))
    }

    /// Keeps only some.
    pub(super) fn keep(&mut self, kept: impl Fn(IpAddr) -> bool) -> Result<(), RecordError> {
        let all: BTreeSet<IpAddr> =
            self.addresses.iter().copied().filter(|one| kept(*one)).collect();
        if all != self.addresses {
            self.write(&all)?;
            self.addresses = all;
        }
        Ok(())
    }

    fn write(&self, addresses: &BTreeSet<IpAddr>) -> Result<(), RecordError> {
        let page = Page { format: FORMAT, addresses: addresses.clone() };
        let whole = || -> io::Result<()> {
            let new = self.path.with_extension("new");
            let mut file = File::create(&new)?;
            serde_json::to_writer(&mut file, &page)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            if let Some(folder) = self.path.parent() {
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        whole().map_err(|error| RecordError {
            path: self.path.clone(),
            problem: format!("cannot be written: {error}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|one| one.parse().unwrap()).collect()
    }

    #[test]
    fn what_was_noted_is_known_after_a_restart_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(dir.path()).unwrap();
        record.note(&set(&["10.5.0.110", "fd00::110"])).unwrap();
        record.note(&set(&["10.5.0.110"])).unwrap();
        let mut again = Record::open(dir.path()).unwrap();
        assert_eq!(again.addresses, set(&["10.5.0.110", "fd00::110"]));
        again.forget(&["fd00::110".parse().unwrap()]).unwrap();
        let last = Record::open(dir.path()).unwrap();
        assert!(last.has("10.5.0.110".parse().unwrap()) && !last.has("fd00::110".parse().unwrap()));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", "[]", "{\"format\":2,\"addresses\":[]}"] {
            fs::write(dir.path().join(FILE), bad).unwrap();
            let error = Record::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(FILE), "{error}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_written_down_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(dir.path()).unwrap();
        // A folder in the file's place: root may write everywhere else.
        fs::create_dir(dir.path().join("addresses.new")).unwrap();
        record.note(&set(&["10.5.0.110"])).unwrap_err();
        assert!(!record.has("10.5.0.110".parse().unwrap()));
    }
}

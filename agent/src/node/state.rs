//! The node's own memory: `DIR/lock` and `DIR/holder.redb`; and `DIR/tokens`, for others to read.
//!
//! One agent at a time has a state directory, so the boot that is written there is the one that
//! this start replaces (design.md §6). What is spent is flushed before it is confirmed (I5, attack
//! V2): every write here returns after the flush. A process that is killed at any moment leaves
//! either the state before a write, or the one after it.
//!
//! Deliberately not here: leases, grants, anything that a restart must forget.

#[cfg(test)]
mod foreign;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use vipfence_agent_core::{Serving, Spent};
use vipfence_types::{BootId, Epoch, VipName, brief};

use super::tokens::Tokens;
use crate::lock::{FileLock, LockError};

/// The version of the records. A newer one is not touched.
const FORMAT: u64 = 1;

const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const WORDS: TableDefinition<'_, &str, &str> = TableDefinition::new("words");
const SPENT_ADDRESSES: TableDefinition<'_, &str, u64> = TableDefinition::new("spent_addresses");
const SPENT_VIPS: TableDefinition<'_, &str, u64> = TableDefinition::new("spent_vips");
/// What is done around a VIP: the epoch, and whether it is complete.
const SERVING: TableDefinition<'_, &str, (u64, bool)> = TableDefinition::new("serving");

const FORMAT_KEY: &str = "format";
const HIGHEST_EPOCH_KEY: &str = "highest_epoch";
const BOOT_KEY: &str = "boots";
/// Which boot of the machine the agent last ran in.
const MACHINE_BOOT_KEY: &str = "machine_boot";
/// The kernel's own name for it; where it has none, boots are not told apart.
const MACHINE_BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// How many starts are remembered: a leader that has not heard of the last ones knows an earlier.
const BOOTS_KEPT: usize = 8;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// Another process has it.
    #[error(
        "another agent (process {pid}) uses the state directory {dir}; stop it, or give this one a \
         directory of its own"
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who has it; "unknown" if it did not say.
        pid: String,
    },
    /// The directory or the lock file cannot be made.
    #[error("cannot use the state directory {dir}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database cannot be read or written.
    #[error("cannot use {file}: {problem}")]
    Database {
        /// The file.
        file: PathBuf,
        /// Why, in the database's words.
        problem: String,
    },
    /// A newer version of the program has written it.
    #[error("{file} has format {found}, and this version knows {FORMAT}: use the newer version")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u64,
    },
    /// What was written is not what this program writes.
    #[error("{file} is damaged: {what}; move it away if this node has released all its VIPs")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found.
        what: String,
    },
}

/// What an agent finds when it starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remembered {
    /// The start before this one.
    pub(crate) replaces: Vec<BootId>,
    /// What is spent.
    pub(crate) spent: Spent,
    /// The highest epoch ever seen.
    pub(crate) highest_epoch: Epoch,
    /// What was begun around VIPs.
    pub(crate) serving: BTreeMap<VipName, Serving>,
    /// The boot of the machine in which all this was written.
    machine_boot: String,
}

/// A state directory that this process has for itself.
#[derive(Debug)]
pub(crate) struct NodeState {
    file: PathBuf,
    database: Database,
    tokens: Tokens,
    /// Nobody else has the directory meanwhile.
    _lock: FileLock,
}

impl NodeState {
    /// Takes the directory, makes it if need be, and writes down that `boot` has it now.
    ///
    /// # Errors
    /// Another agent has it, or it cannot be read or written.
    pub(crate) fn open(dir: &Path, boot: &BootId) -> Result<(Self, Remembered), StateError> {
        let lock = take_lock(dir)?;
        let file = dir.join("holder.redb");
        let fail = |source: redb::Error| StateError::Database {
            file: file.clone(),
            problem: source.to_string(),
        };
        // redb panics at some pages that are damaged.
        let damaged =
            || StateError::Damaged { file: file.clone(), what: "a page of it is not whole".into() };
        let opened = std::panic::catch_unwind(|| open_whole(&file));
        let opened = opened.map_err(|_| damaged())?.map_err(fail)?;
        let database = opened.ok_or_else(damaged)?;
        let tokens = Tokens::open(dir)
            .map_err(|source| StateError::Directory { dir: dir.join("tokens"), source })?;
        sync_directory(dir)?;
        let state = Self { file: file.clone(), database, tokens, _lock: lock };
        let found = state.begin().map_err(fail)?;
        if found > FORMAT {
            return Err(StateError::Newer { file, found });
        }
        let mut remembered = state.read()?;
        let machine = std::fs::read_to_string(MACHINE_BOOT).unwrap_or_default();
        if remembered.machine_boot != machine.trim() {
            // Nothing that was begun around a VIP has outlived the machine.
            remembered.serving.values_mut().for_each(|serving| serving.complete = false);
        }
        state.write_boots(boot, &remembered.replaces, machine.trim()).map_err(fail)?;
        Ok((state, remembered))
    }

    /// Writes that an epoch and all below it are spent. On disk when it returns.
    ///
    /// # Errors
    /// The database cannot be written; it may have been all the same.
    pub(crate) fn spend(
        &self,
        vip: &VipName,
        addresses: &[IpAddr],
        epoch: Epoch,
    ) -> Result<(), StateError> {
        self.write(|transaction| {
            raise(&mut transaction.open_table(SPENT_VIPS)?, vip.as_str(), epoch)?;
            let mut table = transaction.open_table(SPENT_ADDRESSES)?;
            for address in addresses {
                raise(&mut table, &address.to_string(), epoch)?;
            }
            Ok(())
        })
    }

    /// Writes the highest epoch seen. On disk when it returns.
    ///
    /// # Errors
    /// The database cannot be written.
    pub(crate) fn see(&self, epoch: Epoch) -> Result<(), StateError> {
        self.write(|transaction| {
            raise(&mut transaction.open_table(NUMBERS)?, HIGHEST_EPOCH_KEY, epoch)
        })
    }

    /// Writes what is done around a VIP; none = nothing any more. On disk when it returns.
    ///
    /// # Errors
    /// The database cannot be written; it may have been all the same.
    pub(crate) fn serve(&self, vip: &VipName, serving: Option<Serving>) -> Result<(), StateError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(SERVING)?;
            match serving {
                Some(Serving { epoch, complete }) => {
                    table.insert(vip.as_str(), (epoch.0, complete))?;
                }
                None => {
                    table.remove(vip.as_str())?;
                }
            }
            Ok(())
        })
    }

    /// Lets applications see the epoch under which this node may hold a VIP; none = it may not.
    ///
    /// # Errors
    /// The file cannot be written, or taken away.
    pub(crate) fn token(&self, vip: &VipName, epoch: Option<Epoch>) -> Result<(), StateError> {
        let written = match epoch {
            Some(epoch) => self.tokens.write(vip, epoch),
            None => self.tokens.remove(vip),
        };
        let dir = || self.file.with_file_name("tokens");
        written.map_err(|source| StateError::Directory { dir: dir(), source })
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StateError> {
        let written = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            change(&transaction)?;
            // Durability::Immediate, redb's default: flushed when it returns.
            Ok(transaction.commit()?)
        };
        written().map_err(|source| StateError::Database {
            file: self.file.clone(),
            problem: source.to_string(),
        })
    }

    /// Makes the tables, unless a newer version was here; returns the format.
    fn begin(&self) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_write()?;
        let found = {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let found = numbers.get(FORMAT_KEY)?.map(|value| value.value());
            if found.is_none() {
                numbers.insert(FORMAT_KEY, FORMAT)?;
            }
            found.unwrap_or(FORMAT)
        };
        if found > FORMAT {
            transaction.abort()?;
            return Ok(found);
        }
        transaction.open_table(WORDS)?;
        transaction.open_table(SPENT_ADDRESSES)?;
        transaction.open_table(SPENT_VIPS)?;
        transaction.open_table(SERVING)?;
        transaction.commit()?;
        Ok(found)
    }

    /// This boot and the last few before it, newest first.
    fn write_boots(
        &self,
        boot: &BootId,
        before: &[BootId],
        machine: &str,
    ) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let boots = std::iter::once(boot).chain(before).take(BOOTS_KEPT);
        let boots: Vec<&str> = boots.map(BootId::as_str).collect();
        {
            let mut words = transaction.open_table(WORDS)?;
            words.insert(BOOT_KEY, boots.join(" ").as_str())?;
            words.insert(MACHINE_BOOT_KEY, machine)?;
        }
        Ok(transaction.commit()?)
    }

    fn read(&self) -> Result<Remembered, StateError> {
        let raw = self.read_raw().map_err(|source| StateError::Database {
            file: self.file.clone(),
            problem: source.to_string(),
        })?;
        let damaged =
            |what: String| StateError::Damaged { file: self.file.clone(), what: brief(&what) };
        let mut spent = Spent::default();
        for (address, epoch) in raw.addresses {
            let parsed: IpAddr =
                address.parse().map_err(|_| damaged(format!("\"{address}\" is no address")))?;
            spent.addresses.insert(parsed, Epoch(epoch));
        }
        for (vip, epoch) in raw.vips {
            let vip = VipName::new(&vip).map_err(|error| damaged(error.to_string()))?;
            spent.vips.insert(vip, Epoch(epoch));
        }
        let mut serving = BTreeMap::new();
        for (vip, (epoch, complete)) in raw.serving {
            let vip = VipName::new(&vip).map_err(|error| damaged(error.to_string()))?;
            serving.insert(vip, Serving { epoch: Epoch(epoch), complete });
        }
        Ok(Remembered {
            replaces: raw.boots.split_whitespace().map(BootId::from).collect(),
            highest_epoch: Epoch(raw.highest_epoch).max(spent.highest()),
            spent,
            serving,
            machine_boot: raw.machine_boot,
        })
    }

    fn read_raw(&self) -> Result<Raw, redb::Error> {
        let transaction = self.database.begin_read()?;
        let numbers = transaction.open_table(NUMBERS)?;
        let highest = numbers.get(HIGHEST_EPOCH_KEY)?;
        let words = transaction.open_table(WORDS)?;
        let word = |key| -> Result<String, redb::Error> {
            Ok(words.get(key)?.map(|value| value.value().to_owned()).unwrap_or_default())
        };
        Ok(Raw {
            highest_epoch: highest.map_or(0, |value| value.value()),
            boots: word(BOOT_KEY)?,
            machine_boot: word(MACHINE_BOOT_KEY)?,
            addresses: entries(&transaction.open_table(SPENT_ADDRESSES)?)?,
            vips: entries(&transaction.open_table(SPENT_VIPS)?)?,
            serving: entries(&transaction.open_table(SERVING)?)?,
        })
    }
}

/// The tables as they are, before they are believed.
struct Raw {
    highest_epoch: u64,
    boots: String,
    machine_boot: String,
    addresses: Vec<(String, u64)>,
    vips: Vec<(String, u64)>,
    serving: Vec<(String, (u64, bool))>,
}

fn entries<V>(table: &impl ReadableTable<&'static str, V>) -> Result<Vec<(String, V)>, redb::Error>
where
    V: for<'a> redb::Value<SelfType<'a> = V> + 'static,
{
    let mut all = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        all.push((key.value().to_owned(), value.value()));
    }
    Ok(all)
}

/// Opens the file only if every page is as it was written: what is spent is never guessed (I5).
fn open_whole(file: &Path) -> Result<Option<Database>, redb::Error> {
    let mut database = Database::create(file)?;
    // Not whole, and mended from an earlier state: what is spent may be missing.
    let whole = database.check_integrity()?;
    Ok(whole.then_some(database))
}

/// Writes the greater of the two: what is on disk never goes back.
fn raise(
    table: &mut redb::Table<'_, &'static str, u64>,
    key: &str,
    epoch: Epoch,
) -> Result<(), redb::Error> {
    let before = table.get(key)?.map_or(0, |value| value.value());
    if epoch.0 > before {
        table.insert(key, epoch.0)?;
    }
    Ok(())
}

fn take_lock(dir: &Path) -> Result<FileLock, StateError> {
    let fail = |source| StateError::Directory { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(fail)?;
    FileLock::take(&dir.join("lock")).map_err(|error| match error {
        LockError::Held(pid) => StateError::Locked { dir: dir.to_owned(), pid },
        LockError::File(source) => fail(source),
    })
}

/// A file that was just made survives a crash only once its directory is flushed, too.
fn sync_directory(dir: &Path) -> Result<(), StateError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| StateError::Directory { dir: dir.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip() -> VipName {
        VipName::new("demo").unwrap()
    }

    fn address() -> IpAddr {
        IpAddr::from([10, 5, 0, 110])
    }

    #[test]
    fn a_new_directory_remembers_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        let (_state, remembered) = NodeState::open(&deep, &BootId::from("b1")).unwrap();
        let nothing = Remembered {
            replaces: vec![],
            spent: Spent::default(),
            highest_epoch: Epoch(0),
            serving: BTreeMap::new(),
            machine_boot: String::new(),
        };
        assert_eq!(remembered, nothing);
    }

    #[test]
    fn what_is_spent_and_seen_and_who_was_here_survives_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = NodeState::open(dir.path(), &BootId::from("b1")).unwrap();
        state.spend(&vip(), &[address()], Epoch(7)).unwrap();
        state.spend(&vip(), &[address()], Epoch(5)).unwrap();
        state.see(Epoch(9)).unwrap();
        state.see(Epoch(8)).unwrap();
        drop(state);
        let (_state, remembered) = NodeState::open(dir.path(), &BootId::from("b2")).unwrap();
        assert_eq!(remembered.replaces, [BootId::from("b1")]);
        assert_eq!(remembered.highest_epoch, Epoch(9));
        let mut spent = Spent::default();
        spent.spend(&vip(), &[address()], Epoch(7));
        assert_eq!(remembered.spent, spent);
    }

    #[test]
    fn what_was_begun_around_a_vip_survives_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = NodeState::open(dir.path(), &BootId::from("b1")).unwrap();
        let (begun, done) = (
            Serving { epoch: Epoch(7), complete: false },
            Serving { epoch: Epoch(7), complete: true },
        );
        let web = VipName::new("web").unwrap();
        state.serve(&vip(), Some(begun)).unwrap();
        state.serve(&web, Some(begun)).unwrap();
        state.serve(&vip(), Some(done)).unwrap();
        drop(state);
        let (state, remembered) = NodeState::open(dir.path(), &BootId::from("b2")).unwrap();
        assert_eq!(remembered.serving, BTreeMap::from([(vip(), done), (web.clone(), begun)]));
        state.serve(&vip(), None).unwrap();
        drop(state);
        let (_state, remembered) = NodeState::open(dir.path(), &BootId::from("b3")).unwrap();
        assert_eq!(remembered.serving, BTreeMap::from([(web, begun)]));
    }

    #[test]
    fn nothing_that_was_complete_is_so_after_the_machine_has_booted() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = NodeState::open(dir.path(), &BootId::from("b1")).unwrap();
        state.serve(&vip(), Some(Serving { epoch: Epoch(7), complete: true })).unwrap();
        state.write_boots(&BootId::from("b1"), &[], "an earlier boot").unwrap();
        drop(state);
        let (_state, remembered) = NodeState::open(dir.path(), &BootId::from("b2")).unwrap();
        let begun = Serving { epoch: Epoch(7), complete: false };
        assert_eq!(remembered.serving, BTreeMap::from([(vip(), begun)]));
    }

    #[test]
    fn a_copy_of_the_file_made_right_after_a_write_has_it() {
        // What a kill -9 leaves behind: the file as it is, never closed.
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = NodeState::open(dir.path(), &BootId::from("b1")).unwrap();
        state.spend(&vip(), &[address()], Epoch(7)).unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("holder.redb"), other.path().join("holder.redb")).unwrap();
        let (_state, remembered) = NodeState::open(other.path(), &BootId::from("b2")).unwrap();
        assert!(remembered.spent.forbids(&vip(), &[address()], Epoch(7)));
        assert_eq!(remembered.replaces, [BootId::from("b1")]);
        drop(state);
    }

    #[test]
    fn a_second_agent_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = NodeState::open(dir.path(), &BootId::from("b1")).unwrap();
        let error = NodeState::open(dir.path(), &BootId::from("b2")).unwrap_err();
        let text = error.to_string();
        let process = format!("(process {})", std::process::id());
        assert!(text.contains(&process), "{text}");
        drop(state);
        NodeState::open(dir.path(), &BootId::from("b3")).unwrap();
    }

    #[test]
    fn a_newer_format_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = NodeState::open(dir.path(), &BootId::from("b1")).unwrap();
        state
            .write(|transaction| {
                transaction.open_table(NUMBERS)?.insert(FORMAT_KEY, FORMAT + 1)?;
                Ok(())
            })
            .unwrap();
        drop(state);
        for _ in 0..2 {
            let error = NodeState::open(dir.path(), &BootId::from("b2")).unwrap_err();
            assert!(error.to_string().contains("use the newer version"));
        }
    }
}

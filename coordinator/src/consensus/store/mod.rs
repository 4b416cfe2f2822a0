//! The disk: one redb file with the log, the vote, the last snapshot and who this node is.
//!
//! One thread writes, in the order in which it was asked; what is answered is durable, except for
//! the commit index, which is only a hint (a node restarted without a quorum shows from it what it
//! knew last). Reads use redb's own read transactions and wait for nobody.
//!
//! Kept here: an acknowledged entry and a given vote survive `kill -9` and power loss (Raft's own
//! contract; I4 and I7 rest on it). Not kept: anything about a disk that lies about flushes.

mod birth;
mod log;
mod machine;

use std::{
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use redb::{Database, Durability, ReadableDatabase as _, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{oneshot, watch};

pub(super) use birth::Identity;
pub(super) use log::LogStore;
pub(super) use machine::StateMachine;

use super::record;

/// The entries, by index.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Single values, by the names below.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The last snapshot: "meta" and "data".
const SNAPSHOT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("snapshot");

/// Who this file belongs to.
const IDENTITY: &str = "identity";
/// The vote.
const VOTE: &str = "vote";
/// The last commit index that was written; may lag.
const COMMITTED: &str = "committed";
/// The last entry that was cut off the front of the log.
const PURGED: &str = "purged";

/// redb's page cache; the whole file is a few MiB.
const CACHE_BYTES: usize = 16 << 20;

/// What can go wrong with the disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// redb, or the file below it.
    #[error("database: {0}")]
    Database(Box<redb::Error>),
    /// The folder.
    #[error("cannot create the folder")]
    Folder(#[source] std::io::Error),
    /// A record of another version.
    #[error(
        "{what} has format {found}, this version knows only 1; it was written by a later version"
    )]
    Format {
        /// Which record.
        what: &'static str,
        /// Its format.
        found: u16,
    },
    /// A record that cannot be read or written.
    #[error("{what} is not readable")]
    Record {
        /// Which record.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<serde_json::Error>,
    },
    /// The file is not one that redb has written like that.
    #[error(
        "the database is damaged; stop the agent and move the file away: the leader then fills \
         this node anew"
    )]
    Damaged,
    /// The writer has stopped.
    #[error("the database is closed")]
    Closed,
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

type Job = Box<dyn FnOnce(&Database) + Send>;

/// A handle to the file; cheap to clone. The file is closed when the last one is dropped.
#[derive(Clone)]
pub(super) struct Store {
    file: Arc<File>,
    jobs: mpsc::Sender<Job>,
}

struct File {
    database: Database,
    path: PathBuf,
    /// Dropped after the database: `Closing` waits for it.
    _open: watch::Sender<()>,
}

/// Waits until the file is closed.
pub(super) struct Closing(watch::Receiver<()>);

impl Closing {
    /// Returns when no handle is left and the file is unlocked, or after `limit`.
    pub(super) async fn wait(mut self, limit: Duration) {
        let closed = async { while self.0.changed().await.is_ok() {} };
        if tokio::time::timeout(limit, closed).await.is_err() {
            tracing::warn!("the Raft database is still in use after {limit:?}");
        }
    }
}

impl Store {
    /// Opens or creates `raft.redb` in the folder. Blocks.
    pub(super) fn open(folder: &Path) -> Result<(Self, Closing), StoreError> {
        std::fs::create_dir_all(folder).map_err(StoreError::Folder)?;
        let path = folder.join("raft.redb");
        // redb panics at some pages that are damaged.
        let opened = catch_unwind(|| open_whole(&path));
        let database = opened.unwrap_or(Err(StoreError::Damaged))?;
        let tables = database.begin_write()?;
        tables.open_table(LOG)?;
        tables.open_table(META)?;
        tables.open_table(SNAPSHOT)?;
        tables.commit()?;

        let (open, closing) = watch::channel(());
        let file = Arc::new(File { database, path, _open: open });
        let (jobs, queue) = mpsc::channel::<Job>();
        let written = Arc::clone(&file);
        std::thread::Builder::new()
            .name("raft-writer".to_owned())
            .spawn(move || {
                for job in queue {
                    job(&written.database);
                }
            })
            .map_err(StoreError::Folder)?;
        Ok((Self { file, jobs }, Closing(closing)))
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// Runs a transaction on the writer thread, after all that were asked for before. With
    /// `Immediate` its effect is on the disk when this returns. A caller that stops waiting does
    /// not stop the transaction.
    async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |database| {
            // Nobody waits any more: the transaction counts all the same.
            let _ = answer.send(transact(database, durability, work));
        });
        self.jobs.send(job).map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Writes one single value.
    async fn write_meta<T: Serialize>(
        &self,
        durability: Durability,
        key: &'static str,
        value: &T,
    ) -> Result<(), StoreError> {
        let bytes = record::encode(key, value)?;
        self.write(durability, move |tx| put(tx, key, &bytes)).await
    }

    /// Reads one single value.
    fn read_meta<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, StoreError> {
        let table = self.file.database.begin_read()?.open_table(META)?;
        let Some(bytes) = table.get(key)? else {
            return Ok(None);
        };
        record::decode(key, bytes.value()).map(Some)
    }
}

/// Opens the file only if every page is as it was written: an entry that changed on the disk must
/// not be applied, and is nothing that can be repaired here.
fn open_whole(path: &Path) -> Result<Database, StoreError> {
    let mut database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    // Not whole, and mended from an earlier state: what was acknowledged may be missing.
    if database.check_integrity()? { Ok(database) } else { Err(StoreError::Damaged) }
}

fn transact<T>(
    database: &Database,
    durability: Durability,
    work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut tx = database.begin_write()?;
    tx.set_durability(durability)?;
    let done = work(&tx)?;
    tx.commit()?;
    Ok(done)
}

fn put(tx: &WriteTransaction, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
    tx.open_table(META)?.insert(key, bytes)?;
    Ok(())
}

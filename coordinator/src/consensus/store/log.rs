//! The log and the vote, as openraft asks for them.

use std::{fmt::Debug, ops::RangeBounds};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{LogFlushed, RaftLogStorage},
};
use redb::{Durability, ReadableDatabase as _, ReadableTable as _};

use super::{
    super::types::{Entry, LogId, StorageError, StorageIoError, TypeConfig, Vote},
    COMMITTED, LOG, PURGED, Store, StoreError, VOTE, put, record,
};

/// Entries of one message: with what surrounds them they stay below the limit of a frame, since a
/// command is limited as well.
const BATCH_BYTES: usize = 4 << 20;

/// The log and the vote on disk.
#[derive(Clone)]
pub(in super::super) struct LogStore {
    store: Store,
}

impl LogStore {
    /// Uses an open file.
    pub(in super::super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Entries of the range, in order; stops after the entry that reaches `bytes_limit`.
    fn read<R: RangeBounds<u64>>(
        &self,
        range: R,
        bytes_limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let table = self.store.file.database.begin_read()?.open_table(LOG)?;
        let mut entries = Vec::new();
        let mut bytes_read = 0;
        for row in table.range((range.start_bound().cloned(), range.end_bound().cloned()))? {
            let bytes = row?.1;
            entries.push(record::decode("a log entry", bytes.value())?);
            bytes_read += bytes.value().len();
            if bytes_read >= bytes_limit {
                break;
            }
        }
        Ok(entries)
    }

    fn state(&self) -> Result<LogState<TypeConfig>, StoreError> {
        let last_purged_log_id: Option<LogId> = self.store.read_meta(PURGED)?;
        let table = self.store.file.database.begin_read()?.open_table(LOG)?;
        let last_log_id = match table.last()? {
            Some((_, bytes)) => Some(record::decode::<Entry>("a log entry", bytes.value())?.log_id),
            None => last_purged_log_id,
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn insert(&self, rows: Vec<(u64, Vec<u8>)>) -> Result<(), StoreError> {
        let work = move |tx: &redb::WriteTransaction| {
            let mut table = tx.open_table(LOG)?;
            for (index, bytes) in rows {
                table.insert(index, bytes.as_slice())?;
            }
            Ok(())
        };
        self.store.write(Durability::Immediate, work).await
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read(range, usize::MAX).map_err(|e| StorageIoError::read_logs(&e).into())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let read = self.read(start..end, BATCH_BYTES);
        let entries = read.map_err(|e| StorageError::from(StorageIoError::read_logs(&e)))?;
        // openraft may ask for what was cut off meanwhile, when a slow follower's message timed
        // out, and would send what is left as if it followed: a hole in the follower's log. With
        // nothing it sends a heartbeat, and then the snapshot.
        let cut = entries.first().is_some_and(|first| first.log_id.index != start);
        Ok(if cut { Vec::new() } else { entries })
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        self.state().map_err(|e| StorageIoError::read_logs(&e).into())
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.store
            .write_meta(Durability::Immediate, VOTE, vote)
            .await
            .map_err(|e| StorageIoError::write_vote(&e).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.store.read_meta(VOTE).map_err(|e| StorageIoError::read_vote(&e).into())
    }

    /// Not durable: it reaches the disk with the next append. Since writes keep their order, it
    /// never names an entry that the disk does not have.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.store
            .write_meta(Durability::None, COMMITTED, &committed)
            .await
            .map_err(|e| StorageIoError::write(&e).into())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        self.store
            .read_meta(COMMITTED)
            .map(Option::flatten)
            .map_err(|e| StorageIoError::read(&e).into())
    }

    /// Returns when the entries are durable. (Returning earlier would gain nothing: openraft 0.9
    /// waits for the callback in any case.)
    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let rows = entries
            .into_iter()
            .map(|entry| Ok((entry.log_id.index, record::encode("a log entry", &entry)?)))
            .collect::<Result<_, StoreError>>();
        let done = match rows {
            Ok(rows) => self.insert(rows).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => Err(StorageIoError::write_logs(&error).into()),
        }
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let work = move |tx: &redb::WriteTransaction| {
            tx.open_table(LOG)?.retain_in(log_id.index.., |_, _| false)?;
            Ok(())
        };
        self.store
            .write(Durability::Immediate, work)
            .await
            .map_err(|e| StorageIoError::write_logs(&e).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let purged = record::encode(PURGED, &log_id).map_err(|e| StorageIoError::write_logs(&e))?;
        let work = move |tx: &redb::WriteTransaction| {
            tx.open_table(LOG)?.retain_in(..=log_id.index, |_, _| false)?;
            put(tx, PURGED, &purged)
        };
        self.store
            .write(Durability::Immediate, work)
            .await
            .map_err(|e| StorageIoError::write_logs(&e).into())
    }
}

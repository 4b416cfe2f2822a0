//! The replicated state: in memory, and as a snapshot on disk.
//!
//! Applying decides nothing: `Registry::apply` does, from the entry and its term alone. Each batch
//! is published as one immutable value, the one found on disk at the start included.

use std::{io::Cursor, sync::Arc};

use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, storage::RaftStateMachine,
};
use redb::{Durability, ReadableDatabase as _, ReadableTable as _};
use tokio::sync::watch;
use vipfence_coordinator_core::{Applied, RECORD_FORMAT, Registry};
use vipfence_types::Term;

use super::{
    super::{
        AppliedState, Entered, Witness,
        types::{
            Entry, LogId, RaftId, SnapshotMeta, StorageError, StorageIoError, StoredMembers,
            TypeConfig,
        },
    },
    SNAPSHOT, Store, StoreError, record,
};

/// The state machine that openraft drives.
pub(in super::super) struct StateMachine {
    me: RaftId,
    store: Store,
    now: Position,
    published: watch::Sender<AppliedState>,
    witness: Option<Witness>,
}

/// The state after an entry.
#[derive(Clone, Default)]
struct Position {
    applied: Option<LogId>,
    membership: StoredMembers,
    registry: Registry,
}

impl StateMachine {
    /// Starts from the snapshot on disk. The receiver follows every batch.
    pub(in super::super) fn open(
        store: Store,
        me: RaftId,
    ) -> Result<(Self, watch::Receiver<AppliedState>), StoreError> {
        let now = match store.read_snapshot()? {
            Some((meta, data)) => Position::from_snapshot(&meta, &data)?,
            None => Position::default(),
        };
        let (published, applied) = watch::channel(now.publication());
        let machine = Self { me, store, now, published, witness: None };
        Ok((machine, applied))
    }

    /// From now on somebody sees each entry.
    pub(in super::super) fn seen_by(self, witness: Option<Witness>) -> Self {
        Self { witness, ..self }
    }

    fn take(&mut self, entry: Entry) -> Option<Applied> {
        let Some(witness) = &self.witness else { return self.now.apply(entry) };
        let (index, term) = (entry.log_id.index, Term(entry.log_id.leader_id.term));
        let command = match &entry.payload {
            EntryPayload::Normal(command) => Some(command.clone()),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        let applied = self.now.apply(entry);
        witness(Entered { index, term, command, applied: applied.clone() });
        applied
    }

    fn publish(&self) {
        self.published.send_replace(self.now.publication());
    }
}

impl Position {
    fn from_snapshot(meta: &SnapshotMeta, data: &[u8]) -> Result<Self, StoreError> {
        let what = "the snapshot";
        let registry: Registry = record::decode(what, data)?;
        // What a later version added would be lost silently.
        if registry.format > RECORD_FORMAT {
            return Err(StoreError::Format { what, found: registry.format });
        }
        Ok(Self { applied: meta.last_log_id, membership: meta.last_membership.clone(), registry })
    }

    fn publication(&self) -> AppliedState {
        AppliedState {
            index: self.applied.map_or(0, |id| id.index),
            state: Arc::new(self.registry.clone()),
        }
    }

    fn apply(&mut self, entry: Entry) -> Option<Applied> {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(command) => {
                let term = Term(entry.log_id.leader_id.term);
                Some(self.registry.apply(term, &command))
            }
            EntryPayload::Membership(members) => {
                self.membership = StoredMembers::new(Some(entry.log_id), members);
                None
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembers), StorageError> {
        Ok((self.now.applied, self.now.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<Applied>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let answers = entries.into_iter().map(|entry| self.take(entry)).collect();
        self.publish();
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { me: self.me, store: self.store.clone(), position: self.now.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let failed = |e: StoreError| StorageIoError::write_snapshot(Some(meta.signature()), &e);
        let data = snapshot.into_inner();
        let position = Position::from_snapshot(meta, &data).map_err(failed)?;
        self.store.write_snapshot(meta.clone(), data).await.map_err(failed)?;
        self.now = position;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let found =
            self.store.read_snapshot().map_err(|e| StorageIoError::read_snapshot(None, &e))?;
        Ok(found.map(|(meta, data)| Snapshot { meta, snapshot: Box::new(Cursor::new(data)) }))
    }
}

/// Writes the state at one position, while the machine goes on.
pub(in super::super) struct Builder {
    me: RaftId,
    store: Store,
    position: Position,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let at = self.position.applied;
        let meta = SnapshotMeta {
            last_log_id: at,
            last_membership: self.position.membership.clone(),
            // The node is in the id: two versions may encode one state differently, and a receiver
            // must not join parts of both.
            snapshot_id: format!("{}-n{}", at.map_or(0, |id| id.index), self.me),
        };
        let failed = |e: StoreError| StorageIoError::write_snapshot(Some(meta.signature()), &e);
        let data = record::encode("the snapshot", &self.position.registry).map_err(failed)?;
        self.store.write_snapshot(meta.clone(), data.clone()).await.map_err(failed)?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}

impl Store {
    /// Replaces the snapshot, unless the one there is later: a builder may finish after a later
    /// snapshot was installed.
    async fn write_snapshot(&self, meta: SnapshotMeta, data: Vec<u8>) -> Result<(), StoreError> {
        let work = move |tx: &redb::WriteTransaction| {
            let mut table = tx.open_table(SNAPSHOT)?;
            let found = match table.get("meta")? {
                Some(bytes) => Some(record::decode::<SnapshotMeta>(
                    "the snapshot's description",
                    bytes.value(),
                )?),
                None => None,
            };
            if found.is_some_and(|found| found.last_log_id > meta.last_log_id) {
                return Ok(());
            }
            let described = record::encode("the snapshot's description", &meta)?;
            table.insert("meta", described.as_slice())?;
            table.insert("data", data.as_slice())?;
            Ok(())
        };
        self.write(Durability::Immediate, work).await
    }

    fn read_snapshot(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
        let table = self.file.database.begin_read()?.open_table(SNAPSHOT)?;
        let (Some(meta), Some(data)) = (table.get("meta")?, table.get("data")?) else {
            return Ok(None);
        };
        let meta = record::decode("the snapshot's description", meta.value())?;
        Ok(Some((meta, data.value().to_vec())))
    }
}

//! The Raft disk of a node, and the store that openraft sees: what is written waits for its flush,
//! and what was not flushed is lost when the process ends, from some write on.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Cursor,
    ops::RangeBounds,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openraft::{
    AsyncRuntime, EntryPayload, LogState, OptionalSend, RaftLogReader, RaftSnapshotBuilder,
    Snapshot, StorageIOError,
    storage::{LogFlushed, RaftLogStorage, RaftStateMachine},
};
use vipfence_coordinator_core::{Applied, Registry, log_is_lost};
use vipfence_types::{Mutation, Term};

use super::{
    Outbox, Outgoing, SeatCommit,
    runtime::SimRuntime,
    types::{
        Entry, LogId, Membership, RaftId, SnapshotMeta, StorageError, StoredMembers, TypeConfig,
        Vote,
    },
};
use crate::chance::Chance;

/// What is on the platter.
#[derive(Clone, Debug, Default)]
struct Platter {
    log: BTreeMap<u64, Entry>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    snapshot: Option<(SnapshotMeta, Vec<u8>)>,
}

/// One write.
#[derive(Clone, Debug)]
enum Write {
    Append(Vec<Entry>),
    Vote(Vote),
    Committed(Option<LogId>),
    Truncate(u64),
    Purge(LogId),
    Snapshot(SnapshotMeta, Vec<u8>),
}

impl Platter {
    fn take(&mut self, write: Write) {
        match write {
            Write::Append(entries) => {
                self.log.extend(entries.into_iter().map(|entry| (entry.log_id.index, entry)));
            }
            Write::Vote(vote) => self.vote = Some(vote),
            Write::Committed(committed) => self.committed = committed,
            Write::Truncate(from) => {
                self.log.split_off(&from);
            }
            Write::Purge(upto) => {
                self.log = self.log.split_off(&(upto.index + 1));
                self.purged = Some(upto);
            }
            Write::Snapshot(meta, data) => {
                let known = self.snapshot.as_ref().and_then(|(known, _)| known.last_log_id);
                if known <= meta.last_log_id {
                    self.snapshot = Some((meta, data));
                }
            }
        }
    }
}

/// How a disk is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskHealth {
    /// A flush takes so much longer.
    pub(crate) slow_by: Duration,
    /// Nothing can be written.
    pub(crate) full: bool,
}

/// The Raft disk of a node; it outlives processes.
#[derive(Debug)]
pub(crate) struct RaftDisk {
    platter: Platter,
    /// Written and not flushed, oldest first.
    pending: VecDeque<(u64, Write)>,
    next: u64,
    chance: Chance,
    pub(crate) health: DiskHealth,
}

pub(super) type SharedDisk = Arc<Mutex<RaftDisk>>;

pub(super) fn lock(disk: &Mutex<RaftDisk>) -> MutexGuard<'_, RaftDisk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RaftDisk {
    /// An empty disk.
    pub(crate) fn new(chance: Chance) -> Self {
        let (platter, pending) = (Platter::default(), VecDeque::new());
        Self { platter, pending, next: 0, chance, health: DiskHealth::default() }
    }

    /// Every node writes the same first entry by itself, as in production.
    pub(super) fn be_born(&mut self, membership: Membership) {
        let covered = self.platter.snapshot.as_ref().and_then(|(meta, _)| meta.last_log_id);
        if log_is_lost(self.platter.purged, covered) {
            self.platter.log.clear();
            (self.platter.purged, self.platter.committed) = (None, None);
        }
        if self.platter.log.is_empty() && self.platter.purged.is_none() {
            let payload = EntryPayload::Membership(membership);
            self.platter.log.insert(0, Entry { log_id: LogId::default(), payload });
        }
    }

    /// A leader that restarts is an ordinary voter of its term: see
    /// `Store::give_up_leadership` of the consensus shell.
    pub(super) fn give_up_leadership(&mut self, me: RaftId) {
        if let Some(vote) = &mut self.platter.vote
            && vote.leader_id().voted_for() == Some(me)
            && !Mutation::TermResumed.is_on()
        {
            vote.committed = false;
        }
    }

    /// The process ends: of what was not flushed, the first few writes made it.
    pub(crate) fn crash(&mut self) {
        let made_it = self.chance.index(self.pending.len() + 1);
        let pending = core::mem::take(&mut self.pending);
        for (_, write) in pending.into_iter().take(made_it) {
            self.platter.take(write);
        }
    }

    /// The disk is replaced by an empty one.
    pub(crate) fn wipe(&mut self) {
        self.platter = Platter::default();
        self.pending.clear();
    }

    fn flush_time(&mut self) -> Duration {
        Duration::from_micros(self.chance.within(100, 1_500)) + self.health.slow_by
    }
}

/// openraft's view of the disk.
#[derive(Clone)]
pub(super) struct LogStore(pub(super) SharedDisk);

impl LogStore {
    /// Returns when it is flushed.
    async fn write(&self, write: Write) -> Result<(), std::io::Error> {
        let (number, takes) = {
            let mut disk = lock(&self.0);
            if disk.health.full {
                return Err(std::io::Error::other("no space left on device"));
            }
            disk.next += 1;
            let number = disk.next;
            disk.pending.push_back((number, write));
            (number, disk.flush_time())
        };
        SimRuntime::sleep(takes).await;
        let mut disk = lock(&self.0);
        while disk.pending.front().is_some_and(|(waiting, _)| *waiting <= number) {
            if let Some((_, write)) = disk.pending.pop_front() {
                disk.platter.take(write);
            }
        }
        Ok(())
    }

    fn read<R: RangeBounds<u64>>(&self, range: R) -> Vec<Entry> {
        lock(&self.0).platter.log.range(range).map(|(_, entry)| entry.clone()).collect()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + core::fmt::Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.read(range))
    }

    /// As in the product: nothing rather than a part whose beginning was cut off.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let entries = self.read(start..end);
        let cut = entries.first().is_some_and(|first| first.log_id.index != start);
        Ok(if cut { Vec::new() } else { entries })
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let disk = lock(&self.0);
        let last_purged_log_id = disk.platter.purged;
        let last = disk.platter.log.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.write(Write::Vote(*vote)).await.map_err(|e| StorageIOError::write_vote(&e).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(lock(&self.0).platter.vote)
    }

    /// Not flushed by itself, as in production: it reaches the platter with the next write.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let mut disk = lock(&self.0);
        let number = disk.next;
        disk.pending.push_back((number, Write::Committed(committed)));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(lock(&self.0).platter.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect();
        match self.write(Write::Append(entries)).await {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => Err(StorageIOError::write_logs(&error).into()),
        }
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let write = Write::Truncate(log_id.index);
        self.write(write).await.map_err(|e| StorageIOError::write_logs(&e).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let write = Write::Purge(log_id);
        self.write(write).await.map_err(|e| StorageIOError::write_logs(&e).into())
    }
}

/// The replicated state that openraft drives.
pub(super) struct StateMachine {
    me: RaftId,
    store: LogStore,
    now: Position,
    outbox: Outbox,
}

/// The state after an entry.
#[derive(Clone, Default)]
struct Position {
    applied: Option<LogId>,
    membership: StoredMembers,
    registry: Arc<Registry>,
}

impl StateMachine {
    /// Starts from the snapshot on the disk, and says so.
    pub(super) fn open(disk: SharedDisk, me: RaftId, outbox: Outbox) -> Self {
        let found = lock(&disk).platter.snapshot.clone();
        let now = found.map(|(meta, data)| Position::of(&meta, &data)).unwrap_or_default();
        let machine = Self { me, store: LogStore(disk), now, outbox };
        machine.publish();
        machine
    }

    fn publish(&self) {
        let index = self.now.applied.map_or(0, |id| id.index);
        self.outbox.push(Outgoing::Applied { index, state: Arc::clone(&self.now.registry) });
    }

    fn apply(&mut self, entry: Entry) -> Option<Applied> {
        self.now.applied = Some(entry.log_id);
        let term = Term(entry.log_id.leader_id.term);
        let (command, applied) = match entry.payload {
            EntryPayload::Blank => (None, None),
            EntryPayload::Membership(members) => {
                self.now.membership = StoredMembers::new(Some(entry.log_id), members);
                (None, None)
            }
            EntryPayload::Normal(command) => {
                let applied = Arc::make_mut(&mut self.now.registry).apply(term, &command);
                (Some(Box::new(command)), Some(applied))
            }
        };
        let commit =
            SeatCommit { index: entry.log_id.index, term, command, applied: applied.clone() };
        self.outbox.push(Outgoing::Committed(commit));
        applied
    }
}

impl Position {
    fn of(meta: &SnapshotMeta, data: &[u8]) -> Self {
        Self {
            applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
            registry: serde_json::from_slice(data).expect("a snapshot that this world wrote"),
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
        let answers = entries.into_iter().map(|entry| StateMachine::apply(self, entry)).collect();
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
        let data = snapshot.into_inner();
        let position = Position::of(meta, &data);
        let write = Write::Snapshot(meta.clone(), data);
        let written = self.store.write(write).await;
        written.map_err(|e| StorageIOError::write_snapshot(Some(meta.signature()), &e))?;
        self.now = position;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let found = lock(&self.store.0).platter.snapshot.clone();
        Ok(found.map(|(meta, data)| Snapshot { meta, snapshot: Box::new(Cursor::new(data)) }))
    }
}

/// Writes the state at one position, while the machine goes on.
pub(super) struct Builder {
    me: RaftId,
    store: LogStore,
    position: Position,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let at = self.position.applied;
        let meta = SnapshotMeta {
            last_log_id: at,
            last_membership: self.position.membership.clone(),
            snapshot_id: format!("{}-n{}", at.map_or(0, |id| id.index), self.me),
        };
        let data = serde_json::to_vec(&*self.position.registry).expect("the state is plain data");
        let written = self.store.write(Write::Snapshot(meta.clone(), data.clone())).await;
        written.map_err(|e| StorageIOError::write_snapshot(Some(meta.signature()), &e))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}

//! Bytes on the disk and from other nodes: what was written reads back, what is of a later format
//! is named, everything else is refused.

use std::collections::BTreeMap;

use foreign_bytes::{bytes, cases, json_bytes, word};
use openraft::{
    CommittedLeaderId, EntryPayload,
    raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest},
};
use proptest::prelude::*;
use redb::{Database, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tempfile::TempDir;
use vipfence_coordinator_core::{Body, COMMAND_FORMAT, Command};
use vipfence_proto::v1::RaftFrame;
use vipfence_types::{ClusterName, NodeId};

use super::{
    frame, record,
    store::{Identity, StateMachine, Store, StoreError},
    types::{Entry, LogId, Membership, RaftPeer, SnapshotMeta, StoredMembers, TypeConfig, Vote},
};
use vipfence_coordinator_core::Registry;

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(3, 1), index)
}

fn members() -> Membership {
    let peer = |name: &str| RaftPeer { name: name.into(), address: "127.0.0.1:1".into() };
    Membership::new(vec![[1, 2].into()], BTreeMap::from([(1, peer("a")), (2, peer("b"))]))
}

fn entries() -> Vec<Entry> {
    let by = NodeId::new("a").expect("a name");
    let command = Command { format: COMMAND_FORMAT, at_ms: 1, by, body: Body::Lead };
    let entry = |index, payload| Entry { log_id: log_id(index), payload };
    vec![
        entry(0, EntryPayload::Membership(members())),
        entry(1, EntryPayload::Blank),
        entry(2, EntryPayload::Normal(command)),
    ]
}

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(7)),
        last_membership: StoredMembers::new(Some(log_id(0)), members()),
        snapshot_id: "7-n1".to_owned(),
    }
}

fn vote() -> Vote {
    Vote::new_committed(3, 1)
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).expect("plain")
}

/// Everything that the file holds, as values.
fn stored() -> Vec<Value> {
    let identity =
        Identity { cluster: "c".into(), node: "a".into(), peers: vec!["a".into(), "b".into()] };
    let mut all: Vec<Value> = entries().iter().map(value).collect();
    all.extend([value(&vote()), value(&log_id(5)), value(&meta()), value(&identity)]);
    all.push(value(&Registry::default()));
    all
}

/// Everything that other nodes send.
fn messages() -> Vec<Value> {
    let append = AppendEntriesRequest::<TypeConfig> {
        vote: vote(),
        prev_log_id: Some(log_id(1)),
        entries: entries(),
        leader_commit: Some(log_id(1)),
    };
    let install = InstallSnapshotRequest::<TypeConfig> {
        vote: vote(),
        meta: meta(),
        offset: 0,
        data: vec![1, 2, 3],
        done: true,
    };
    vec![value(&append), value(&install), value(&VoteRequest::new(vote(), Some(log_id(7))))]
}

/// A record as it lies on the disk: mostly of our format, mostly JSON.
fn records() -> BoxedStrategy<Vec<u8>> {
    let format = prop_oneof![8 => Just(1_u8), 2 => any::<u8>()];
    let framed =
        (format, json_bytes(stored())).prop_map(|(format, json)| [&[format][..], &json].concat());
    prop_oneof![9 => framed, 1 => foreign_bytes::noise().prop_map(|raw| raw.0)].boxed()
}

/// Reads a record as a type; what is read can be written, and reads back.
fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    match record::decode::<T>("it", bytes) {
        Ok(read) => {
            let again = record::encode("it", &read).expect("what was read is plain");
            let once_more = record::decode::<T>("it", &again).expect("it reads back");
            assert_eq!(value(&read), value(&once_more));
        }
        Err(StoreError::Format { found, .. }) => assert_ne!(Some(&found), Some(&1)),
        Err(error) => assert_eq!(bytes.first(), Some(&1), "{error}"),
    }
}

fn unpack<T: DeserializeOwned>(frame: &RaftFrame) -> bool {
    let ours = ClusterName::new("ours").expect("a name");
    let unpacked = frame::unpack::<T>(&ours, frame);
    let error = unpacked.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert!(error.len() <= 2_000, "told in {} bytes", error.len());
    unpacked.is_ok()
}

/// A folder with a file that has these rows in its tables.
fn folder_with(log: &[Vec<u8>], vote: &[u8], snapshot: &[u8]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let (store, _) = Store::open(folder.path()).expect("a new file");
    let path = store.path().to_owned();
    drop(store);
    let open = || Database::open(&path).ok();
    // The writer's thread lets go of the file a moment later.
    let database = std::iter::repeat_with(open).take(100_000).flatten().next();
    let tx = database.as_ref().expect("the file is free").begin_write().expect("a transaction");
    {
        let table: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
        let mut table = tx.open_table(table).expect("the table");
        for (index, row) in (0..).zip(log) {
            table.insert(index, row.as_slice()).expect("a row");
        }
        for (name, key, row) in [
            ("meta", "vote", vote),
            ("snapshot", "meta", &encoded(&meta())),
            ("snapshot", "data", snapshot),
        ] {
            let table: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(name);
            tx.open_table(table).expect("the table").insert(key, row).expect("a row");
        }
    }
    tx.commit().expect("a commit");
    folder
}

fn encoded(of: &impl Serialize) -> Vec<u8> {
    record::encode("it", of).expect("plain")
}

#[test]
fn a_snapshot_of_a_later_version_is_refused_by_name() {
    let later = Registry { format: 2, ..Registry::default() };
    let folder = folder_with(&[], &encoded(&vote()), &encoded(&later));
    let (store, _) = Store::open(folder.path()).expect("the file is whole");
    let error = StateMachine::open(store, 1).err().expect("not ours to read");
    assert!(error.to_string().contains("has format 2"), "{error}");
}

#[test]
fn a_file_with_a_damaged_page_is_never_believed() {
    let logged: Vec<Vec<u8>> = entries().iter().map(encoded).collect();
    let folder = folder_with(&logged, &encoded(&vote()), &encoded(&Registry::default()));
    let path = folder.path().join("raft.redb");
    let whole = std::fs::read(&path).expect("it is there");
    assert!(Store::open(folder.path()).is_ok());
    // One byte of a committed entry, which still is JSON.
    let entry = b"\"at_ms\":1";
    let at = whole.windows(entry.len()).position(|piece| piece == entry).expect("it is logged");
    let mut damaged = whole;
    damaged[at + entry.len() - 1] = b'2';
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("raft.redb"), damaged).expect("a file");
    assert!(Store::open(folder.path()).is_err());
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_stored_record_is_read_or_refused(bytes in records()) {
        read::<Entry>(&bytes);
        read::<Vote>(&bytes);
        read::<Option<LogId>>(&bytes);
        read::<SnapshotMeta>(&bytes);
        read::<Identity>(&bytes);
        read::<Registry>(&bytes);
    }

    #[test]
    fn any_raft_frame_is_read_or_refused(
        body in json_bytes(messages()),
        format in prop_oneof![8 => Just(1_u32), 2 => any::<u32>()],
        cluster in prop_oneof![8 => Just("ours".to_owned()), 2 => word()],
    ) {
        let frame = RaftFrame { format, body: body.0, cluster };
        let read = [
            unpack::<AppendEntriesRequest<TypeConfig>>(&frame),
            unpack::<InstallSnapshotRequest<TypeConfig>>(&frame),
            unpack::<VoteRequest<u64>>(&frame),
        ];
        let ours = frame.format == 1 && frame.cluster == "ours";
        prop_assert!(ours || read == [false; 3]);
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn a_file_with_any_records_is_opened_or_refused(
        log in prop::collection::vec(records(), 0..3),
        vote in records(),
        snapshot in records(),
    ) {
        let folder = folder_with(&log, &vote, &snapshot);
        let (store, _) = Store::open(folder.path()).expect("redb finds it whole");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _ = runtime.block_on(store.give_up_leadership(1));
        let opened = StateMachine::open(store, 1).map(|_| ());
        let whole = record::decode::<Registry>("it", &snapshot);
        prop_assert!(whole.is_ok() || opened.is_err());
    }

    #[test]
    fn a_file_of_any_bytes_is_refused_without_a_panic(file in whole_files()) {
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("raft.redb"), &file.0).expect("a file");
        let Ok((store, _)) = Store::open(folder.path()) else { return Ok(()) };
        let _ = StateMachine::open(store, 1).map(|_| ());
    }
}

/// A file as redb leaves it, with damage.
fn whole_files() -> BoxedStrategy<foreign_bytes::Raw> {
    let logged: Vec<Vec<u8>> = entries().iter().map(encoded).collect();
    let folder = folder_with(&logged, &encoded(&vote()), &encoded(&Registry::default()));
    let file = std::fs::read(folder.path().join("raft.redb")).expect("it is there");
    bytes(vec![file])
}

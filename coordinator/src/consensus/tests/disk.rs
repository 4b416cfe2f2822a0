//! The file: openraft's own suite, and files that must be refused.

use std::path::Path;

use openraft::{
    RaftLogReader as _,
    storage::{RaftLogStorage as _, RaftLogStorageExt as _},
    testing::{StoreBuilder, Suite},
};
use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};

use super::*;
use crate::consensus::{
    StoreError,
    store::{LogStore, StateMachine, Store},
    types::{StorageError, StorageIoError, TypeConfig},
};

struct Disks;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Disks {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let disk = TempDir::new().map_err(|e| StorageIoError::write(&e))?;
        let (store, _) = Store::open(disk.path()).map_err(|e| StorageIoError::write(&e))?;
        let machine = StateMachine::open(store.clone(), 1);
        let (machine, _) = machine.map_err(|e| StorageIoError::read(&e))?;
        Ok((disk, LogStore::new(store), machine))
    }
}

#[test]
fn the_store_passes_the_suite_of_openraft() {
    Suite::test_all(Disks).expect("every test of the suite");
}

/// What is left of a range would be taken for the whole: openraft checks that in debug builds only.
#[tokio::test]
async fn a_range_whose_beginning_was_cut_off_is_not_read_in_part() {
    let (_disk, mut log, _machine) = Disks.build().await.expect("a store");
    let id = |index| openraft::testing::log_id::<u64>(1, 1, index);
    let entries = (1..10).map(|index| openraft::testing::blank_ent::<TypeConfig>(1, 1, index));
    log.blocking_append(entries).await.expect("written");
    log.purge(id(5)).await.expect("cut");
    assert_eq!(log.limited_get_log_entries(3, 10).await.expect("read"), []);
    assert_eq!(log.limited_get_log_entries(6, 10).await.expect("read").len(), 4);
}

#[tokio::test]
async fn a_data_folder_serves_one_process_at_a_time() {
    let cluster = Cluster::start(&[Role::Member], Profile::Fast).await;
    let error = refused(cluster.config(0)).await;
    let StartError::Store { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(source.to_string().contains("already open"), "{error}: {source}");
    cluster.node(0).shutdown().await;
    let consensus = Consensus::start(cluster.config(0)).await;
    consensus.expect("it is free again").shutdown().await;
}

#[tokio::test]
async fn a_data_folder_of_another_node_or_cluster_is_refused() {
    let mut cluster = Cluster::start(&[Role::Member, Role::Member], Profile::Fast).await;
    cluster.kill(0).await;
    let mut config = cluster.config(0);
    config.node = name(1);
    let error = refused(config).await;
    assert!(error.to_string().contains("belongs to node \"n1\""), "{error}");

    let mut config = cluster.config(0);
    config.cluster = ClusterName::new("other").expect("a valid name");
    let error = refused(config).await;
    assert!(error.to_string().contains("of cluster \"test\""), "{error}");
}

#[tokio::test]
async fn peers_that_changed_after_birth_are_refused_but_addresses_may_change() {
    let mut cluster = Cluster::start(&[Role::Member, Role::Member], Profile::Fast).await;
    cluster.kill(0).await;
    let mut config = cluster.config(0);
    config.peers.pop();
    let error = refused(config).await;
    assert!(matches!(error, StartError::PeersChanged { .. }), "{error}");

    let mut config = cluster.config(0);
    config.peers[1].address = "127.0.0.1:9".to_owned();
    let consensus = Consensus::start(config).await.expect("only an address");
    assert_eq!(consensus.peer_address(&name(1)).as_deref(), Some("127.0.0.1:9"));
    consensus.shutdown().await;
}

#[tokio::test]
async fn a_record_of_a_later_version_is_named_when_it_stops_the_start() {
    let mut cluster = Cluster::start(&[Role::Member], Profile::Fast).await;
    cluster.commit(1).await;
    cluster.kill(0).await;
    let file = cluster.slots[0].disk.path().join("raft.redb");
    let database = Database::open(file).expect("nobody uses it");
    let tx = database.begin_write().expect("a transaction");
    {
        let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
        let mut table = tx.open_table(meta).expect("the table");
        table.insert("vote", &b"\x02{}"[..]).expect("a row");
    }
    tx.commit().expect("a commit");
    drop(database);
    let error = refused(cluster.config(0)).await;
    let StartError::Store { source, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(source, StoreError::Format { what: "vote", found: 2 }), "{source}");
}

async fn refused(config: ConsensusConfig) -> StartError {
    match Consensus::start(config).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

/// How many entries the file holds.
pub(super) fn log_rows(folder: &Path) -> u64 {
    let database = Database::open(folder.join("raft.redb")).expect("nobody uses it");
    let log: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
    let tx = database.begin_read().expect("a transaction");
    let table = tx.open_table(log).expect("the table");
    table.len().expect("a count")
}

//! The first transaction of a node's life: who it is, and the first log entry, which is the
//! membership of the static list.
//!
//! Every node writes the same first entry by itself (openraft's `initialize` does the same, but
//! cannot name learners and makes all nodes stand for election at one instant). A file that has an
//! identity is never born again.

use openraft::EntryPayload;
use redb::{Durability, ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};
use vipfence_coordinator_core::log_is_lost;

use super::{
    super::types::{Entry, LogId, Membership, RaftId, RaftPeer, SnapshotMeta, Vote},
    COMMITTED, IDENTITY, LOG, META, PURGED, SNAPSHOT, Store, StoreError, VOTE, put, record,
};
use crate::consensus::config::{ConsensusConfig, Roster};

/// Whose file it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Identity {
    /// The cluster.
    pub(in super::super) cluster: String,
    /// The node.
    pub(in super::super) node: String,
    /// The names of all nodes at birth, sorted: their positions are their numbers.
    pub(in super::super) peers: Vec<String>,
}

impl Identity {
    /// What the configuration says.
    pub(in super::super) fn of(config: &ConsensusConfig, roster: &Roster) -> Self {
        Self {
            cluster: config.cluster.to_string(),
            node: config.node.to_string(),
            peers: roster.peers().map(|(_, peer)| peer.name.to_string()).collect(),
        }
    }
}

impl Store {
    /// The identity in the file; a file that has none gets the given one, and its first entry, in
    /// one transaction.
    pub(in super::super) async fn be_born(
        &self,
        identity: &Identity,
        roster: &Roster,
    ) -> Result<Identity, StoreError> {
        let newborn = identity.clone();
        let bytes = record::encode(IDENTITY, identity)?;
        let first = record::encode("the first entry", &first_entry(roster))?;
        self.write(Durability::Immediate, move |tx| {
            let meta = tx.open_table(META)?;
            let found = match meta.get(IDENTITY)? {
                Some(found) => Some(record::decode(IDENTITY, found.value())?),
                None => None,
            };
            drop(meta);
            if let Some(found) = found {
                if is_lost(tx)? {
                    tx.open_table(LOG)?.retain(|_, _| false)?;
                    tx.open_table(LOG)?.insert(0, first.as_slice())?;
                    let mut meta = tx.open_table(META)?;
                    meta.remove(PURGED)?;
                    meta.remove(COMMITTED)?;
                }
                return Ok(found);
            }
            put(tx, IDENTITY, &bytes)?;
            tx.open_table(LOG)?.insert(0, first.as_slice())?;
            Ok(newborn)
        })
        .await
    }

    /// Makes a leader that restarts an ordinary voter of its term.
    ///
    /// openraft would resume leading in the same term at once. But what a leader keeps in memory
    /// (when it was elected, which writes to Azure it has under way) died with the process, so a
    /// term must never be led by two processes (I2, I7). The vote is kept, only the record that it
    /// won is given up: that is what a restarted leader is in Raft itself.
    pub(in super::super) async fn give_up_leadership(&self, me: RaftId) -> Result<(), StoreError> {
        let Some(mut vote) = self.read_meta::<Vote>(VOTE)? else {
            return Ok(());
        };
        if vote.committed && vote.leader_id().voted_for() == Some(me) {
            vote.committed = false;
            self.write_meta(Durability::Immediate, VOTE, &vote).await?;
        }
        Ok(())
    }
}

/// Whether a file that has an identity has lost its log, by the core's rule.
fn is_lost(tx: &WriteTransaction) -> Result<bool, StoreError> {
    let purged: Option<LogId> = match tx.open_table(META)?.get(PURGED)? {
        Some(bytes) => record::decode(PURGED, bytes.value())?,
        None => None,
    };
    let covered = match tx.open_table(SNAPSHOT)?.get("meta")? {
        Some(bytes) => {
            record::decode::<SnapshotMeta>("the snapshot's description", bytes.value())?.last_log_id
        }
        None => None,
    };
    Ok(log_is_lost(purged, covered))
}

fn first_entry(roster: &Roster) -> Entry {
    let voters = roster.voters().map(|(id, _)| id).collect();
    let nodes: std::collections::BTreeMap<RaftId, RaftPeer> = roster
        .peers()
        .map(|(id, peer)| {
            let (name, address) = (peer.name.to_string(), peer.address.clone());
            (id, RaftPeer { name, address })
        })
        .collect();
    Entry {
        log_id: LogId::default(),
        payload: EntryPayload::Membership(Membership::new(vec![voters], nodes)),
    }
}

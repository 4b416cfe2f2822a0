//! Puts the parts together.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use openraft::{Config, SnapshotPolicy};
use tokio::sync::{Mutex, watch};
use vipfence_coordinator_core::{Acks, Candidacy};

use super::{
    Consensus, Leadership, Node, Surroundings, Witness,
    clocked::Clocked,
    config::{ConsensusConfig, Roster},
    error::StartError,
    followers::Followers,
    links::Links,
    network::Network,
    quiet::Voice,
    store::{Identity, LogStore, StateMachine, Store, StoreError},
    types::{Raft, RaftId},
    watcher::Watcher,
};

/// How long the file may take to close.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Entries in one message at most.
const BATCH_ENTRIES: u64 = 256;
/// Bytes of a snapshot in one message. JSON makes up to four bytes of one.
const SNAPSHOT_PART_BYTES: u64 = 512 << 10;
/// How long a follower may take to write a snapshot to its disk.
const SNAPSHOT_TIMEOUT_MS: u64 = 5_000;

/// See `Consensus::start`.
pub(super) async fn start(
    config: ConsensusConfig,
    around: Surroundings,
) -> Result<Consensus, StartError> {
    let roster = Arc::new(Roster::new(&config)?);
    let raft_config = raft_config(&config)?;
    let links = Arc::new(Links::new(&roster, &config.timing, around.dial.as_ref())?);

    let folder = config.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
    let (store, closing) = opened
        .unwrap_or(Err(StoreError::Closed))
        .map_err(|source| store_error(&config.data_dir, source))?;
    match Box::pin(join(config, raft_config, roster, links, (store, around.witness))).await {
        Ok(node) => {
            let closing = Mutex::new(Some(closing));
            let node = Node { closing, rounds: around.rounds, ..node };
            Ok(Consensus { node: Arc::new(node) })
        }
        Err(error) => {
            closing.wait(CLOSE_LIMIT).await;
            Err(error)
        }
    }
}

/// Everything after the file is open.
async fn join(
    config: ConsensusConfig,
    raft_config: Config,
    roster: Arc<Roster>,
    links: Arc<Links>,
    (store, witness): (Store, Option<Witness>),
) -> Result<Node, StartError> {
    let me = roster.id(&config.node).expect("Roster::new found this node among the peers");
    claim(&config, &roster, me, &store).await?;
    let (machine, applied) = StateMachine::open(store.clone(), me)
        .map_err(|source| store_error(store.path(), source))?;
    let machine = machine.seen_by(witness);
    let voice = Arc::new(Voice::new(&config.timing));
    let nodes = roster.peers().map(|(_, peer)| (&peer.name, peer.role));
    let candidacy = Candidacy::new(&config.timing, &config.node, nodes, Duration::ZERO);
    let candidacy = Arc::new(Clocked::new(candidacy));
    let acks = Acks::new(me, roster.voters().map(|(id, _)| id));
    let followers = Arc::new(Followers::new(acks));
    let network = Network {
        cluster: config.cluster.clone(),
        me,
        links: Arc::clone(&links),
        voice: Arc::clone(&voice),
        candidacy: Arc::clone(&candidacy),
        followers: Arc::clone(&followers),
        pause: Duration::from_millis(config.timing.rpc_timeout_ms().min(150)),
    };
    let log = LogStore::new(store);
    let raft = Raft::new(me, Arc::new(raft_config), network, log, machine)
        .await
        .map_err(|error| StartError::Raft(error.to_string()))?;

    let (leadership, follow_leadership) = watch::channel(Leadership::default());
    let (ended, follow_ended) = watch::channel(None);
    let watcher = Watcher {
        raft: raft.clone(),
        node: config.node.clone(),
        roster: Arc::clone(&roster),
        voice: Arc::clone(&voice),
        candidacy: Arc::clone(&candidacy),
        leadership,
        ended,
    };
    tokio::spawn(watcher.run());
    Ok(Node {
        config,
        roster,
        links,
        voice,
        candidacy,
        followers,
        raft,
        applied,
        leadership: follow_leadership,
        ended: follow_ended,
        closing: Mutex::default(),
        rounds: None,
        stepping_down: AtomicUsize::new(0),
    })
}

fn store_error(path: &Path, source: StoreError) -> StartError {
    StartError::Store { path: path.to_owned(), source }
}

/// Makes sure that the file is this node's; a new one becomes so.
async fn claim(
    config: &ConsensusConfig,
    roster: &Roster,
    me: RaftId,
    store: &Store,
) -> Result<(), StartError> {
    let failed = |source| store_error(store.path(), source);
    let given = Identity::of(config, roster);
    let stored = store.be_born(&given, roster).await.map_err(failed)?;
    if (&stored.cluster, &stored.node) != (&given.cluster, &given.node) {
        return Err(StartError::AnotherNode {
            path: store.path().to_owned(),
            stored_node: stored.node,
            stored_cluster: stored.cluster,
            node: given.node,
            cluster: given.cluster,
        });
    }
    if stored.peers != given.peers {
        return Err(StartError::PeersChanged { stored: stored.peers, given: given.peers });
    }
    store.give_up_leadership(me).await.map_err(failed)
}

/// openraft's settings. Its tick is one and a half heartbeats, so that is how often a leader
/// beats; its RPC time-out is one heartbeat.
fn raft_config(config: &ConsensusConfig) -> Result<Config, StartError> {
    let timing = &config.timing;
    let vote_guard = timing.vote_guard_ms();
    let limits = config.snapshot;
    Config {
        cluster_name: config.cluster.to_string(),
        heartbeat_interval: timing.raft_heartbeat_ms,
        // The watcher says when to stand for election. What is left of these is the time after a
        // leader's word in which a voter votes for nobody.
        enable_elect: false,
        election_timeout_min: vote_guard - 1,
        election_timeout_max: vote_guard,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        max_payload_entries: BATCH_ENTRIES,
        // A follower that lags by more than the log holds needs the snapshot in any case.
        replication_lag_threshold: limits.entries_between + limits.entries_kept,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(limits.entries_between.max(1)),
        snapshot_max_chunk_size: SNAPSHOT_PART_BYTES,
        max_in_snapshot_log_to_keep: limits.entries_kept,
        // Cutting the log costs a flush: not for every entry.
        purge_batch_size: (limits.entries_between / 4).max(1),
        ..Config::default()
    }
    .validate()
    .map_err(|error| StartError::Timers(error.to_string()))
}

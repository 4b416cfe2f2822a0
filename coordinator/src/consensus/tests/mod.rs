//! Real nodes in one process: real tonic servers on loopback, real files, real time-outs. Every
//! node has a runtime of its own, so that it can be killed at once, connections included.

mod disk;
mod durability;
mod elections;
mod quorum;

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use futures_util::future::select_all;
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::Instant};
use tonic::transport::{Server, server::TcpIncoming};
use vipfence_coordinator_core::{Body, COMMAND_FORMAT, Command};
use vipfence_types::{ClusterName, NodeId, Profile, Role, Timing};

use super::{
    Committed, Consensus, ConsensusConfig, Peer, SnapshotLimits, StartError, clocked::now,
};

/// Longer than anything that works takes, on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(30);

/// A cluster whose nodes are named n1, n2, …
struct Cluster {
    timing: Timing,
    snapshot: SnapshotLimits,
    peers: Vec<Peer>,
    slots: Vec<Slot>,
}

/// A place for a node: its address and its disk outlive it.
struct Slot {
    address: SocketAddr,
    listener: Option<TcpListener>,
    disk: TempDir,
    running: Option<Running>,
}

/// A node that runs; dropping it kills it.
struct Running {
    runtime: Option<Runtime>,
    consensus: Consensus,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn name(index: usize) -> NodeId {
    NodeId::new(&format!("n{}", index + 1)).expect("a valid name")
}

fn command(number: u64) -> Command {
    Command { format: COMMAND_FORMAT, at_ms: number, by: name(0), body: Body::Lead }
}

impl Cluster {
    /// Prepares a cluster; no node runs yet.
    fn new(roles: &[Role], profile: Profile) -> Self {
        let slots: Vec<Slot> = roles
            .iter()
            .map(|_| {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
                Slot {
                    address: listener.local_addr().expect("it is bound"),
                    listener: Some(listener),
                    disk: TempDir::new().expect("a temporary folder"),
                    running: None,
                }
            })
            .collect();
        let peers = roles
            .iter()
            .zip(&slots)
            .enumerate()
            .map(|(index, (role, slot))| Peer {
                name: name(index),
                address: slot.address.to_string(),
                role: *role,
            })
            .collect();
        Self { timing: Timing::of(profile), snapshot: SnapshotLimits::default(), peers, slots }
    }

    /// A cluster that runs.
    async fn start(roles: &[Role], profile: Profile) -> Self {
        let mut cluster = Self::new(roles, profile);
        for index in 0..roles.len() {
            cluster.run(index).await;
        }
        cluster
    }

    /// Three members that run.
    async fn of_three() -> Self {
        Self::start(&[Role::Member; 3], Profile::Standard).await
    }

    fn config(&self, index: usize) -> ConsensusConfig {
        ConsensusConfig {
            cluster: ClusterName::new("test").expect("a valid name"),
            node: name(index),
            peers: self.peers.clone(),
            data_dir: self.slots[index].disk.path().to_owned(),
            timing: self.timing,
            snapshot: self.snapshot,
        }
    }

    /// Starts a node.
    async fn run(&mut self, index: usize) {
        let config = self.config(index);
        let slot = &mut self.slots[index];
        assert!(slot.running.is_none(), "it runs already");
        let listener = match slot.listener.take() {
            Some(listener) => listener,
            None => TcpListener::bind(slot.address).expect("its port is free again"),
        };
        slot.running = Some(serve(config, listener).await.expect("it starts"));
    }

    /// Kills a node: no goodbye, no flush; its connections break.
    async fn kill(&mut self, index: usize) {
        let running = self.slots[index].running.take().expect("it runs");
        let closing = running.consensus.node.closing.lock().await.take();
        drop(running);
        closing.expect("nobody else took it").wait(LONG).await;
    }

    fn node(&self, index: usize) -> &Consensus {
        let running = self.slots[index].running.as_ref();
        &running.expect("it runs").consensus
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.slots.len()).filter(|index| self.slots[*index].running.is_some())
    }

    /// Waits until a node says that it leads; of several, the one in the latest term.
    async fn leader(&self) -> usize {
        let mut watches: Vec<_> =
            self.running().map(|index| (index, self.node(index).leadership())).collect();
        let found = async {
            loop {
                let leader = watches
                    .iter_mut()
                    .map(|(index, watch)| (*index, watch.borrow_and_update().clone()))
                    .filter(|(_, seen)| seen.leading)
                    .max_by_key(|(_, seen)| seen.term);
                if let Some((index, _)) = leader {
                    return index;
                }
                let changes = watches.iter_mut().map(|(_, watch)| Box::pin(watch.changed()));
                let (changed, ..) = select_all(changes).await;
                changed.expect("a node that runs goes on telling");
            }
        };
        tokio::time::timeout(LONG, found).await.expect("a leader")
    }

    /// Commits a command through whoever leads, again if that changes meanwhile.
    async fn commit(&self, number: u64) -> (usize, Committed) {
        let end = now() + LONG;
        loop {
            let leader = self.leader().await;
            match self.node(leader).propose(command(number)).await {
                Ok(committed) => return (leader, committed),
                Err(error) => assert!(now() < end, "no leader commits: {error}"),
            }
            // A leader that did not commit: wait until something changes, or try it again.
            let mut leadership = self.node(leader).leadership();
            leadership.mark_unchanged();
            let _ = tokio::time::timeout(Duration::from_millis(50), leadership.changed()).await;
        }
    }

    /// Waits until a node has applied an entry.
    async fn applied(&self, index: usize, entry: u64) {
        let mut applied = self.node(index).applied();
        let reached = applied.wait_for(|applied| applied.index >= entry);
        tokio::time::timeout(LONG, reached)
            .await
            .unwrap_or_else(|_| panic!("n{} does not reach entry {entry}", index + 1))
            .expect("it runs");
    }
}

/// Starts a node in a runtime of its own and serves it.
async fn serve(config: ConsensusConfig, listener: TcpListener) -> Result<Running, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let started = runtime.spawn(Consensus::start(config)).await;
    let consensus = match started.expect("it does not panic") {
        Ok(consensus) => consensus,
        Err(error) => {
            runtime.shutdown_background();
            return Err(error);
        }
    };
    let service = consensus.service();
    runtime.spawn(async move {
        listener.set_nonblocking(true).expect("a socket option");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
            .await
            .expect("it serves until it is killed");
    });
    Ok(Running { runtime: Some(runtime), consensus })
}

/// How long something took, for the report of a test.
fn since(start: Instant) -> Duration {
    now() - start
}

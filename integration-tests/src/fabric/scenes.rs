//! What is done to a cluster to see how long its clients wait: the tests hold these figures against
//! generous bounds, `cargo xtask bench fabric` against the promises.

use std::time::{Duration, Instant};

use super::{FabricCluster, Fault, Pings};

/// A failover with all its seals, many times over.
const PATIENCE: Duration = Duration::from_secs(40);

/// How a node is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// `kill -9` of the agent. The service behind the VIP runs on.
    KillAgent,
    /// `kill -9` of every process of the node. Its kernel runs on.
    KillNode,
    /// Nothing gets to the node or from it, without a word.
    CutLink,
    /// SIGSTOP of every process of the node. Its kernel runs on.
    FreezeNode,
    /// `kill -9` of the service behind the VIP. The agent runs on.
    KillService,
}

/// What clients saw of a move or a failover.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the blow to the first answer of another node.
    pub replaced_after: Duration,
    /// The longest time between two answers.
    pub outage: Duration,
    /// Probes that were not answered.
    pub lost: usize,
}

impl Blow {
    /// Hits a node. Returns the moment before.
    #[must_use]
    pub fn strike(self, cluster: &FabricCluster, node: &str) -> Instant {
        match self {
            Self::KillAgent => cluster.kill_agent(node),
            Self::KillNode => cluster.kill_node(node),
            Self::CutLink => cluster.cut(node),
            Self::FreezeNode => cluster.freeze_node(node),
            Self::KillService => cluster.kill_service(node),
        }
    }

    /// Makes it good again.
    pub fn mend(self, cluster: &FabricCluster, node: &str) {
        match self {
            Self::KillAgent => cluster.start_agent(node),
            Self::KillNode => cluster.start_node(node),
            Self::CutLink => cluster.fabric.heal_if(|fault| *fault == Fault::Cut(node.to_owned())),
            Self::FreezeNode => cluster.thaw(node),
            Self::KillService => cluster.start_service(node),
        }
    }
}

impl Outcome {
    fn of(pings: &Pings, replaced_after: Duration) -> Self {
        Self { replaced_after, outage: pings.longest_outage(), lost: pings.lost() }
    }
}

/// Hits the holder of the VIP, waits until another node serves it, and makes the node good again.
///
/// # Panics
/// If the VIP does not come back, or the cluster does not settle.
pub fn failover(cluster: &FabricCluster, holder: &str, blow: Blow) -> Outcome {
    cluster.settled();
    let pinger = cluster.pinger();
    let struck = blow.strike(cluster, holder);
    let answered = pinger.answer(struck, PATIENCE, |node| node != holder);
    cluster.settled_without(&[holder]);
    let pings = pinger.stop();
    blow.mend(cluster, holder);
    cluster.settled();
    Outcome::of(&pings, answered - struck)
}

/// Moves the VIP to another node.
///
/// # Panics
/// If that fails.
pub fn planned_move(cluster: &FabricCluster, to: &str) -> Outcome {
    cluster.settled();
    let pinger = cluster.pinger();
    let asked = Instant::now();
    cluster.move_to(to);
    let answered = pinger.answer(asked, PATIENCE, |node| node == to);
    cluster.settled();
    Outcome::of(&pinger.stop(), answered - asked)
}

/// Kills the agent of a leader that holds nothing, and watches the VIP for `watched`.
///
/// # Panics
/// If the cluster does not settle.
pub fn leader_dies(cluster: &FabricCluster, leader: &str, watched: Duration) -> Outcome {
    cluster.settled();
    let (pinger, kept) = (cluster.pinger(), cluster.connect());
    let killed = cluster.kill_agent(leader);
    pinger.answer(killed + watched, watched + PATIENCE, |_| true);
    let pings = pinger.stop();
    let kept = kept.so_far();
    assert!(kept.broken.is_none(), "the connection broke: {kept:?}");
    cluster.start_agent(leader);
    cluster.settled();
    Outcome::of(&pings, Duration::ZERO)
}

/// Parts a node from its peers for `length`; everyone still reaches Azure and clients.
///
/// # Panics
/// If the VIP does not come back on the other side, or the cluster does not settle afterwards.
pub fn partition(cluster: &FabricCluster, holder: &str, length: Duration) -> Outcome {
    cluster.settled();
    let pinger = cluster.pinger();
    let parted = Instant::now();
    for peer in cluster.fabric.names() {
        if peer != holder {
            cluster.fabric.suffer(Fault::between(holder, &peer));
        }
    }
    let answered = pinger.answer(parted, PATIENCE, |node| node != holder);
    pinger.answer(parted + length, length + PATIENCE, |_| true);
    cluster.fabric.heal();
    cluster.settled();
    Outcome::of(&pinger.stop(), answered - parted)
}

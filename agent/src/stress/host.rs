//! A node's process: the product's own parts, put together as `agent.rs` does it, on the stage.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use vipfence_coordinator::DriverParts;
use vipfence_coordinator::api::{self, Api, LeaderLink};
use vipfence_coordinator::consensus::{
    Confirmed, Consensus, ConsensusConfig, Entered, Peer, SnapshotLimits, StartError, Surroundings,
};
use vipfence_coordinator_core::{Founder, Setup};
use vipfence_sim::{Happening, Who};
use vipfence_types::{Answer, BootId, ClusterName, Heartbeat, NicRecord, NodeId, Role, Timing};

use super::arm::Road;
use super::kernel::StageKernel;
use super::net::Net;
use super::plan::Moment;
use super::process::Ended;
use super::stage::{Running, Shared};
use super::wire;
use crate::agent::{self, ToLeader};
use crate::clock::ClockSource;
use crate::duty::Attendant;
use crate::node::state::{NodeState, Remembered, StateError};
use crate::node::{self, BeatError, BeatTransport, NodeHandle, NodeParts, NodeRunner};
use crate::supervisor::Supervisor;

/// How long a node that stops cleanly waits until its VIPs have been moved elsewhere.
const STOP_WITHIN: Duration = Duration::from_secs(8);

/// How often a start is tried: the files of the last process close a moment after its end.
const TRIES: u32 = 2_000;

/// What a host is made of.
pub(super) struct Blueprint {
    pub(super) stage: Shared,
    pub(super) net: Net,
    pub(super) index: usize,
    pub(super) node: NodeId,
    pub(super) peers: Vec<NodeId>,
    pub(super) dir: PathBuf,
    pub(super) timing: Timing,
    pub(super) nic: NicRecord,
    pub(super) snapshot: SnapshotLimits,
}

/// The process of a host, from its start to its end. An error is something that no fault explains.
pub(super) async fn process(host: Arc<Blueprint>) -> Ended {
    let who = host.stage.enter().begins(host.index);
    let clocks = host.stage.enter().nodes[host.index].clocks.clone();
    let boot = BootId::from(format!("{}-{}", host.node, who.process));
    let (state, remembered) = open_state(&host, &boot)?;
    host.stage.enter().remembers(who, &remembered);
    let incoming = host.net.listen(host.index);
    let consensus = Box::pin(host.consensus(who)).await?;
    tokio::spawn(follow_leadership(host.stage.clone(), who, consensus.clone()));
    let driver = host.driver(who, &consensus, Arc::new(clocks.clone()));

    let parts = NodeParts {
        driver: Arc::new(StageKernel { stage: host.stage.clone(), who }),
        transport: Arc::new(Overheard {
            inner: ToLeader(LeaderLink::new(consensus.clone(), driver.clone())),
            stage: host.stage.clone(),
            who,
        }),
        clocks: Arc::new(clocks),
        state,
        remembered,
        supervisor: Supervisor::default(),
        tally: Arc::new(()),
        attendant: Arc::new(Attendant::idle()),
    };
    let node = NodeRunner::spawn(host.node_config(boot), parts).await?;
    let told = Arc::new(Notify::new());
    let running = Running { who, handle: node.clone(), stop: Arc::clone(&told) };
    host.stage.enter().nodes[host.index].process = Some(running);

    let (stop, stopped) = oneshot::channel::<()>();
    let api = Api::new(consensus.clone(), driver, agent::local(&node), agent::nudged(&node));
    let serving = tokio::spawn(api::serve_incoming(api, incoming, stopped.map(|_| ())));
    tokio::spawn(follow_arm(host.stage.clone(), host.index, node.clone()));
    tokio::spawn(agent::follow_timing(consensus.clone(), node.clone()));
    tokio::spawn(crate::journal::follow(consensus.clone()));
    tokio::select! {
        () = told.notified() => {
            node.stop(vipfence_agent_core::OnStop::Move, STOP_WITHIN).await;
            let _ = tokio::time::timeout(agent::GOODBYE, consensus.step_down()).await;
        }
        () = node.ended() => return Err("the node's loop has ended".into()),
        why = consensus.ended() => return Err(format!("consensus has ended: {why}").into()),
        served = serving => return Err(format!("the listener has ended: {served:?}").into()),
    }
    drop(stop);
    let _ = tokio::time::timeout(agent::GOODBYE, consensus.shutdown()).await;
    host.stage.enter().nodes[host.index].ended = true;
    // The run takes it away, as the system does with a process that has ended.
    std::future::pending().await
}

/// Real time: the last process may still be closing its files.
fn wait_for_the_disk() {
    std::thread::sleep(Duration::from_millis(1));
}

fn open_state(host: &Blueprint, boot: &BootId) -> Result<(NodeState, Remembered), StateError> {
    for _ in 0..TRIES {
        match NodeState::open(&host.dir, boot) {
            Err(StateError::Locked { .. } | StateError::Database { .. }) => wait_for_the_disk(),
            opened => return opened,
        }
    }
    NodeState::open(&host.dir, boot)
}

impl Blueprint {
    async fn consensus(&self, who: Who) -> Result<Consensus, StartError> {
        for _ in 0..TRIES {
            match Box::pin(self.try_consensus(who)).await {
                Err(StartError::Store { .. }) => wait_for_the_disk(),
                started => return started,
            }
        }
        Box::pin(self.try_consensus(who)).await
    }

    async fn try_consensus(&self, who: Who) -> Result<Consensus, StartError> {
        let peers = self.peers.iter().map(|name| Peer {
            name: name.clone(),
            address: format!("{name}:{}", wire::PORT),
            role: Role::Member,
        });
        let config = ConsensusConfig {
            cluster: cluster(),
            node: self.node.clone(),
            peers: peers.collect(),
            data_dir: self.dir.clone(),
            timing: self.timing,
            snapshot: self.snapshot,
        };
        let stage = self.stage.clone();
        let witness = move |entered: Entered| {
            let Entered { index, term, command, applied } = entered;
            stage.enter().learn(who, Happening::Applied { index, term, command, applied });
        };
        let stage = self.stage.clone();
        let clocks = stage.enter().nodes[self.index].clocks.clone();
        let rounds = move || {
            let (stage, began) = (stage.clone(), (stage.enter().now(), clocks.now()));
            let confirmed = move |round: Confirmed| {
                let Confirmed { term, read_index } = round;
                let round = vipfence_coordinator_core::Confirmed { term, read_index };
                stage.enter().rounded(who, began, round);
            };
            Box::new(confirmed) as Box<dyn FnOnce(Confirmed) + Send>
        };
        let around = Surroundings {
            dial: Some(wire::dial(&self.net, self.index, &self.peers)),
            witness: Some(Arc::new(witness)),
            rounds: Some(Arc::new(rounds)),
        };
        Consensus::start_in(config, around).await
    }

    fn driver(
        &self,
        who: Who,
        consensus: &Consensus,
        clocks: Arc<dyn ClockSource>,
    ) -> vipfence_coordinator::DriverHandle {
        let founder = |node: &NodeId| Founder {
            node: node.clone(),
            role: Role::Member,
            address: format!("{node}:{}", wire::PORT),
        };
        vipfence_coordinator::start(DriverParts {
            setup: Setup {
                node: self.node.clone(),
                cluster: cluster(),
                timing: self.timing,
                founders: self.peers.iter().map(founder).collect(),
                api_version: "2024-05-01".to_owned(),
                trust_if_match: true,
                epoch_tag: true,
            },
            consensus: consensus.clone(),
            azure: Arc::new(Road { stage: self.stage.clone(), who, consensus: consensus.clone() }),
            clocks: Arc::new(move || clocks.now()),
            nudge: api::nudges(consensus.clone()),
            tally: Arc::new(()),
        })
    }

    fn node_config(&self, boot: BootId) -> node::NodeConfig {
        node::NodeConfig {
            cluster: cluster(),
            node: self.node.clone(),
            boot,
            nics: vec![self.nic.clone()],
            version: "stress".to_owned(),
            heartbeat: self.timing.agent_heartbeat(),
            managed: std::collections::BTreeSet::new(),
        }
    }
}

fn cluster() -> ClusterName {
    ClusterName::new("stress").expect("a valid name")
}

/// The product's way to the leader; what is confirmed on it must be spent for ever.
struct Overheard {
    inner: ToLeader,
    stage: Shared,
    who: Who,
}

impl BeatTransport for Overheard {
    fn beat(&self, heartbeat: Heartbeat) -> BoxFuture<'_, Result<Answer, BeatError>> {
        self.stage.enter().confirms(self.who, &heartbeat.released);
        self.inner.beat(heartbeat)
    }
}

async fn follow_leadership(stage: Shared, who: Who, consensus: Consensus) {
    let mut leadership = consensus.leadership();
    leadership.mark_changed();
    while leadership.changed().await.is_ok() {
        let seen = leadership.borrow_and_update().clone();
        let mut stage = stage.enter();
        stage.knows_term(who.node, seen.term);
        if seen.leading {
            stage.saw("a leader was elected");
            stage.happens(Moment::Elected);
            stage.learn(who, Happening::Leads { term: seen.term });
        }
    }
}

/// What the product's HTTP client notices by itself.
async fn follow_arm(stage: Shared, index: usize, node: NodeHandle) {
    loop {
        let cut = stage.enter().nodes[index].arm_cut;
        let detail = if cut { "ARM is not reached" } else { "" };
        node.health(Some(!cut), detail.to_owned()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

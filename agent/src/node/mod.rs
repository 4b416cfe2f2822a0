//! The node agent's shell: it owns a [`Holder`], executes what it asks for in order, and tells it
//! what came of that.
//!
//! ```text
//!            nudge, health, stop            +--------+  heartbeats   BeatTransport
//!   handle ------------------------------> |        | ------------> (to the leader)
//!          <------------------------------ |  loop  |  OS calls      AddressDriver
//!            view, changes                  |        | ------------> (in order)
//!                                           +--------+  flushes       NodeState
//!                                             owns the Holder ------> (in order)
//!                                                         tasks        Attendant
//!                                                           --------> (hooks, units)
//! ```
//!
//! **Architecture Invariant:** nothing here compares an epoch or decides about a lease; that is
//! what `vipfence_agent_core` is for (I1, I5, I8). When this loop hangs or dies, the addresses go
//! by themselves.

mod calls;
mod journal;
mod runner;
pub(crate) mod state;
mod tasks;
mod tokens;
mod transport;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use vipfence_agent_core::{Holder, Input, LocalView, OnStop, Start};
use vipfence_types::{BootId, ClusterName, NicRecord, NodeId, VipName};

pub(crate) use self::journal::NodeTally;
pub(crate) use self::transport::{BeatError, BeatTransport};

use self::runner::Runner;
use self::state::{NodeState, Remembered};
use crate::clock::ClockSource;
use crate::duty::Attendant;
use crate::health::Served;
use crate::os::{AddressDriver, OsError};
use crate::supervisor::Supervisor;

/// How many inputs may wait. Whoever sends more waits.
const INPUTS_KEPT: usize = 256;

/// Who this node is.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    /// The cluster.
    pub(crate) cluster: ClusterName,
    /// The node.
    pub(crate) node: NodeId,
    /// This start: random, the one that the state directory was opened with.
    pub(crate) boot: BootId,
    /// The node's NICs.
    pub(crate) nics: Vec<NicRecord>,
    /// The version of the agent.
    pub(crate) version: String,
    /// How often to beat.
    pub(crate) heartbeat: Duration,
    /// Every address of a VIP of the cluster, as far as this node's disk tells.
    pub(crate) managed: BTreeSet<IpAddr>,
}

/// What a node works with.
pub(crate) struct NodeParts {
    /// The OS.
    pub(crate) driver: Arc<dyn AddressDriver>,
    /// The way to the leader.
    pub(crate) transport: Arc<dyn BeatTransport>,
    /// The clocks.
    pub(crate) clocks: Arc<dyn ClockSource>,
    /// The locked state directory; given back to the system when the node has ended.
    pub(crate) state: NodeState,
    /// What was in it.
    pub(crate) remembered: Remembered,
    /// Who watches over the loop from outside.
    pub(crate) supervisor: Supervisor,
    /// Who counts what happens.
    pub(crate) tally: Arc<dyn NodeTally>,
    /// Who does what is to be done around VIPs.
    pub(crate) attendant: Arc<Attendant>,
}

/// A running node, to look at and to steer. A clone is the same node.
#[derive(Clone)]
pub(crate) struct NodeHandle {
    holder: Arc<Mutex<Holder>>,
    clocks: Arc<dyn ClockSource>,
    inputs: mpsc::Sender<Input>,
    nudged: Arc<Notify>,
    changes: watch::Receiver<LocalView>,
    served: Served,
}

/// Starts nodes.
pub(crate) struct NodeRunner;

impl NodeRunner {
    /// Starts a node on the present runtime. It is entitled to nothing until a leader answers.
    ///
    /// # Errors
    /// The OS cannot be asked which addresses it has.
    pub(crate) async fn spawn(config: NodeConfig, parts: NodeParts) -> Result<NodeHandle, OsError> {
        let serving = parts.attendant.still_serving(parts.remembered.serving).await;
        let start = Start {
            cluster: config.cluster,
            node: config.node,
            boot: config.boot.clone(),
            replaces: parts.remembered.replaces,
            nics: config.nics,
            version: config.version,
            heartbeat: config.heartbeat,
            spent: parts.remembered.spent,
            highest_epoch: parts.remembered.highest_epoch,
            found: parts.driver.found(&config.managed).await?,
            managed: config.managed,
            duties: parts.attendant.duties(),
            serving: serving.clone(),
        };
        let now = parts.clocks.now();
        let (holder, effects) = Holder::start(now, start);
        let (inputs, outcomes) = mpsc::channel(INPUTS_KEPT);
        let (published, changes) = watch::channel(holder.view(now));
        let (serves, served) = watch::channel(BTreeSet::new());
        let handle = NodeHandle {
            holder: Arc::new(Mutex::new(holder)),
            clocks: Arc::clone(&parts.clocks),
            inputs,
            nudged: Arc::default(),
            changes,
            served,
        };
        let workings = runner::Workings {
            boot: config.boot,
            driver: parts.driver,
            transport: parts.transport,
            state: parts.state,
            published,
            served: serves,
            supervisor: parts.supervisor,
            tally: parts.tally,
            attendant: parts.attendant,
            complete: serving.into_iter().map(|(vip, serving)| (vip, serving.complete)).collect(),
        };
        let runner = Runner::new(handle.clone(), workings);
        tokio::spawn(runner.run(effects, outcomes));
        Ok(handle)
    }
}

impl NodeHandle {
    /// What the node is entitled to at this moment, by the clock and not by the last step.
    pub(crate) fn view(&self) -> LocalView {
        let now = self.clocks.now();
        self.holder().view(now)
    }

    /// The view whenever it changes by more than the time that is left.
    #[cfg(test)]
    pub(crate) fn changes(&self) -> watch::Receiver<LocalView> {
        self.changes.clone()
    }

    /// The leader has news: beat at once. Never waits, and many are one.
    pub(crate) fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// How the node is.
    pub(crate) async fn health(&self, arm_ok: Option<bool>, detail: String) {
        self.tell(Input::Health { arm_ok, detail }).await;
    }

    /// How the service behind a VIP is on this node: why it is not well.
    pub(crate) async fn checked(&self, vip: VipName, failing: Option<String>) {
        self.tell(Input::Checked { vip, failing }).await;
    }

    /// The VIPs whose addresses are here, with all done that their acquisition asks for.
    pub(crate) fn served(&self) -> Served {
        self.served.clone()
    }

    /// The cluster's VIPs have these addresses now.
    pub(crate) async fn managed_are(&self, addresses: BTreeSet<IpAddr>) {
        self.tell(Input::Managed { addresses }).await;
    }

    /// The timers changed.
    pub(crate) async fn heartbeat_every(&self, interval: Duration) {
        self.tell(Input::HeartbeatEvery { interval }).await;
    }

    /// Stops cleanly. To move the VIPs away: serves until the leader has moved them, lets go of the
    /// rest after `within`. To keep them: has them renewed once more, within that time. Returns when
    /// the node has ended, a little later at most.
    pub(crate) async fn stop(&self, on_stop: OnStop, within: Duration) {
        self.tell(Input::Stop { on_stop, within }).await;
        self.ended().await;
    }

    /// Waits until the node has ended, for whatever reason: without it the process has no reason
    /// to stay.
    pub(crate) async fn ended(&self) {
        let mut changes = self.changes.clone();
        while changes.changed().await.is_ok() {}
    }

    async fn tell(&self, input: Input) {
        // A node that has ended needs to hear nothing.
        let _ended = self.inputs.send(input).await;
    }

    fn holder(&self) -> MutexGuard<'_, Holder> {
        // A step that panicked has ended the loop; looking at what it left does no harm.
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

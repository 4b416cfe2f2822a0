//! `vipfence doctor`: says before the first failover what would go wrong in it.
//!
//! ```text
//!   look (ARM, IMDS, files, peers)  ->  facts  ->  rules  ->  findings with remedies
//!                                                               |
//!   each node its own, over the API  ->  compare  -------------+
//! ```
//!
//! `look` reads and judges nothing; `rules` are pure functions of what was seen. It never writes,
//! neither to Azure nor to this machine: what only a write would show (a policy, a NIC that fails)
//! is shown by a rehearsal. It takes no part in leases and epochs.

mod check;
mod facts;
mod look;
mod rules;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::Mutex;
use vipfence_coordinator::{
    api::{Examine, Examiner},
    azure::Azure,
};
use vipfence_coordinator_core::{Intent, Registry};
use vipfence_types::{Examined, Finding, NodeId, VipName};

use crate::{
    clock::ClockSource,
    config::{NodeConfig, Peer},
};
use check::Check;
use facts::{Facts, Reach};
use look::Looking;
use rules::Roster;

/// The doctor of one node.
pub(crate) struct Doctor {
    config: NodeConfig,
    azure: Azure,
    clocks: Arc<dyn ClockSource>,
    root: PathBuf,
    /// One look at a time: each costs Azure some dozens of reads.
    turn: Mutex<()>,
}

impl Doctor {
    /// `root` is where the guest's files are: `/`, or the folder of an image.
    pub(crate) fn new(
        config: NodeConfig,
        azure: Azure,
        clocks: Arc<dyn ClockSource>,
        root: PathBuf,
    ) -> Self {
        Self { config, azure, clocks, root, turn: Mutex::new(()) }
    }

    pub(crate) async fn examine(&self, ask: &Examine) -> Examined {
        let _turn = self.turn.lock().await;
        let now = self.clocks.now();
        let looking =
            Looking { config: &self.config, azure: self.azure.clone(), root: &self.root, now, ask };
        let facts = Box::pin(looking.look()).await;
        Examined {
            node: self.config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wall_ms: now.wall_us / 1_000,
            findings: rules::judge(&facts),
            networks: networks(&facts),
            nics: self.config.nics.iter().map(|nic| nic.id.clone()).collect(),
            peers: self.config.peers.iter().map(told).collect(),
        }
    }
}

/// The networks of the NICs that were read.
fn networks(facts: &Facts) -> std::collections::BTreeSet<String> {
    facts.networks.keys().cloned().collect()
}

fn told(peer: &Peer) -> String {
    let role = match peer.role {
        vipfence_types::Role::Member => "member",
        vipfence_types::Role::Witness => "witness",
        vipfence_types::Role::Learner => "learner",
    };
    format!("{}={} {role}", peer.node, peer.address)
}

impl Examiner for Doctor {
    fn examine(&self, ask: Examine) -> BoxFuture<'_, Examined> {
        async move { Self::examine(self, &ask).await }.boxed()
    }

    fn reach(&self, address: String) -> BoxFuture<'_, Option<Finding>> {
        async move {
            let why = match look::reach(&address).await {
                Reach::Connected => return None,
                Reach::Refused => "the connection is refused".to_owned(),
                Reach::TimedOut => "there is no answer".to_owned(),
                Reach::NoSuchName(why) | Reach::Failed(why) => why,
            };
            let message = format!("{address} is not reached from {}: {why}", self.config.node);
            let remedy = "let the service listen there, and open the port between the nodes";
            Some(Check::Unreachable.finds(&address, message, remedy))
        }
        .boxed()
    }

    fn compare(
        &self,
        state: &Registry,
        vips: &[VipName],
        examined: &[Examined],
        silent: &BTreeMap<NodeId, String>,
    ) -> Vec<Finding> {
        let held = state
            .vips
            .values()
            .filter(|record| record.intent == Intent::Held && vips.contains(&record.name));
        let roster = Roster {
            voters: state.nodes.values().filter(|node| node.role.votes()).count(),
            candidates: held
                .map(|record| (record.name.clone(), state.candidates(&record.spec).len()))
                .collect(),
        };
        rules::compare(&roster, examined, silent)
    }
}

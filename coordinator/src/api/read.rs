//! Reads: linearizable at the leader after a quorum round, or local.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tonic::Status;
use vipfence_coordinator_core::{Ask, NodeView, Registry, Reply};
use vipfence_proto::v1;
use vipfence_types::NodeId;

use super::{Api, convert, errors};
use crate::consensus::RoundError;

/// How the leader sees the nodes.
pub(super) type View = BTreeMap<NodeId, NodeView>;

impl Api {
    /// What this node has applied.
    pub(super) fn applied_here(&self) -> Arc<Registry> {
        Arc::clone(&self.consensus.applied().borrow().state)
    }

    /// What the leader has applied after a quorum round: every acknowledged write is in it.
    pub(super) async fn applied_at_leader(&self) -> Result<Arc<Registry>, Status> {
        match self.consensus.confirm_leadership().await {
            Ok(_) => Ok(self.applied_here()),
            Err(RoundError::NoQuorum) => Err(errors::not_enough_votes()),
            Err(_) => Err(errors::no_leader()),
        }
    }

    /// Waits until the machine of this node has applied up to `index`.
    pub(super) async fn applied_up_to(&self, index: u64) -> Arc<Registry> {
        let mut applied = self.consensus.applied();
        match applied.wait_for(|seen| seen.index >= index).await {
            Ok(seen) => Arc::clone(&seen.state),
            Err(_) => self.applied_here(),
        }
    }

    /// How the leader sees the nodes. Only at the leader.
    pub(super) async fn view(&self) -> Result<View, Status> {
        match self.driver.ask(Ask::View).await {
            Ok(Reply::View(view)) => Ok(view),
            Ok(Reply::Applied { .. } | Reply::Plan(_)) => Err(Status::internal("not a view")),
            Err(error) => Err(errors::from_ask(&error, None)),
        }
    }

    /// The status as this node can tell it; `view` is there at the leader only.
    pub(super) fn status(&self, state: &Registry, view: Option<&View>) -> v1::GetStatusResponse {
        let leadership = self.consensus.leadership().borrow().clone();
        let nodes = state.nodes.iter().map(|(name, record)| {
            let seen = view.and_then(|view| view.get(name));
            let nics = record.nics.iter();
            v1::Node {
                name: name.to_string(),
                role: convert::role_message(record.role).into(),
                state: seen
                    .map_or(v1::NodeState::Unspecified, |seen| convert::state_message(seen.state))
                    .into(),
                address: record.address.clone(),
                nics: nics
                    .map(|nic| v1::Nic { name: nic.name.clone(), id: nic.id.to_string() })
                    .collect(),
                last_heard: seen.and_then(|seen| seen.last_heard).map(convert::duration),
                version: seen.map_or(String::new(), |seen| seen.version.clone()),
                arm_ok: seen.and_then(|seen| seen.arm_ok),
                detail: seen.map_or(String::new(), |seen| seen.detail.clone()),
                pause: record.hold.as_ref().map(convert::pause_message),
            }
        });
        let vips = state.vips.values().map(|record| v1::Vip {
            health: view.map(|view| convert::health(view, &record.name)).unwrap_or_default(),
            ..convert::vip_message(state, record)
        });
        let local = (self.local)();
        let held = local.held.iter().map(|(vip, epoch, left)| v1::HeldVip {
            vip: vip.to_string(),
            epoch: epoch.0,
            lease_left: Some(convert::duration(*left)),
        });
        let lease_wait = vipfence_types::lease_wait(state.timing.lease_ttl());
        v1::GetStatusResponse {
            cluster: state.cluster.as_ref().map_or(String::new(), ToString::to_string),
            answered_by: self.node.to_string(),
            leader: leadership.leader.map_or(String::new(), |leader| leader.to_string()),
            term: leadership.term.0,
            quorum: view.is_some(),
            revision: state.revision.0,
            profile: state.timing.profile.to_string(),
            nodes: nodes.collect(),
            vips: vips.collect(),
            local: Some(v1::LocalView {
                node: self.node.to_string(),
                held: held.collect(),
                detail: local.detail,
            }),
            version: super::VERSION.to_owned(),
            lease_wait: Some(convert::duration(lease_wait)),
            failover_after: Some(convert::duration(state.timing.failover_after())),
            pause: state.hold.as_ref().map(convert::pause_message),
        }
    }

    /// Waits a moment for a state in which `find` finds something: what the leader has committed
    /// may reach this node a little later.
    pub(super) async fn find_soon<T>(&self, find: impl Fn(&Registry) -> Option<T>) -> Option<T> {
        let search = async {
            loop {
                if let Some(found) = find(&self.applied_here()) {
                    return found;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(2), search).await.ok()
    }
}

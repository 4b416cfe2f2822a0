//! Which node a VIP can go to: eligibility by what nodes say, and the check of the target's NICs
//! before anything is written ("never detach what cannot be attached").

use core::{net::IpAddr, time::Duration};
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vipfence_types::{Clocks, Heartbeat, NicId, NodeId, Nowhere};

use super::{Lead, peers::NodeState};
use crate::{
    nic::{NicDocument, NicWriter, ProblemKind, Provisioning},
    registry::{Place, Registry, VipRecord},
};

/// What the target's NICs say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Check {
    /// They can take the VIP.
    Ready {
        /// Where it goes.
        to: BTreeSet<Place>,
        /// What belongs to ipConfigurations of it that stand there already.
        found: BTreeMap<IpAddr, Value>,
    },
    /// Not known yet, or not now. The reason is empty while nothing is wrong.
    Wait { reason: String, next: Option<Clocks> },
    /// They cannot.
    Failed { reason: String },
}

impl Lead {
    /// Why a node is not eligible to take a VIP now; none = it is.
    pub(crate) fn ineligible(
        &self,
        now: Clocks,
        state: &Registry,
        record: &VipRecord,
        node: &NodeId,
    ) -> Option<String> {
        if let Err(refused) = state.check_may_hold(record, node) {
            return Some(refused.to_string());
        }
        let failed = self.failed.get(&(record.name.clone(), node.clone()));
        if let Some((reason, _)) = failed.filter(|(_, until)| until.later_than(now)) {
            return Some(reason.clone());
        }
        let hold = state.nodes.get(node).and_then(|known| known.hold.as_ref());
        if hold.is_some() && record.holder() != Some(node) {
            return Some(format!("automatic moves to {node} are paused"));
        }
        self.unwell(now, state, record, node)
    }

    /// Why a node cannot take a VIP as far as its heartbeats tell; none = it can.
    pub(crate) fn unwell(
        &self,
        now: Clocks,
        state: &Registry,
        record: &VipRecord,
        node: &NodeId,
    ) -> Option<String> {
        let places = state.nodes.get(node)?.places(&record.spec);
        if let Err(missing) = places {
            return Some(format!("{node} has not reported a NIC \"{missing}\""));
        }
        let view = self.peers.view(now, &state.timing, self.elected_at, node);
        match view.state {
            NodeState::Alive => self.peers.failing(node, &record.name),
            NodeState::Stopping => Some(format!("{node} is stopping")),
            NodeState::Suspect | NodeState::Silent => Some(match view.last_heard {
                None => format!("{node} has not been heard since the leader was elected"),
                Some(_) => format!("{node} is silent"),
            }),
        }
    }

    /// The best eligible candidate but one; or why each is not.
    pub(crate) fn best(
        &self,
        now: Clocks,
        state: &Registry,
        record: &VipRecord,
        but: Option<&NodeId>,
    ) -> Result<NodeId, Vec<(NodeId, String)>> {
        let mut reasons = Vec::new();
        for node in state.candidates(&record.spec) {
            if Some(node) == but {
                continue;
            }
            match self.ineligible(now, state, record, node) {
                None => return Ok(node.clone()),
                Some(reason) => reasons.push((node.clone(), reason)),
            }
        }
        Err(reasons)
    }

    /// The eligible candidates whose priority is higher than that of the holder, best first.
    pub(crate) fn preferred_to_holder<'a>(
        &'a self,
        now: Clocks,
        state: &'a Registry,
        record: &'a VipRecord,
    ) -> impl Iterator<Item = &'a NodeId> {
        let own = record.holder().map(|holder| record.spec.priority(holder));
        let candidates = state.candidates(&record.spec).into_iter();
        candidates
            .filter(move |node| own.is_some_and(|own| record.spec.priority(node) > own))
            .filter(move |node| self.ineligible(now, state, record, node).is_none())
    }

    /// What a stopping node holds and nobody can take over, or is to take over by itself. A candidate that this leader has not
    /// heard yet, or not for a moment, may still appear; a move that is open goes on.
    pub(crate) fn nowhere(
        &self,
        now: Clocks,
        state: &Registry,
        heartbeat: &Heartbeat,
    ) -> Vec<Nowhere> {
        if !heartbeat.health.stopping {
            return Vec::new();
        }
        let (holder, mut nowhere) = (&heartbeat.node, Vec::new());
        for record in state.vips.values() {
            let held = record.grant.renewed().is_some_and(|grant| grant.node == *holder);
            if !held || record.open.is_some() {
                continue;
            }
            // In maintenance the agent is soon back, and gets a new epoch.
            if let Some(reason) = state.paused(record) {
                nowhere.push(Nowhere { vip: record.name.clone(), reason });
                continue;
            }
            if let Err(others) = self.best(now, state, record, Some(holder))
                && !others.iter().any(|(node, _)| self.may_appear(now, state, node))
            {
                let (vip, reason) = (record.name.clone(), no_candidate(&others));
                nowhere.push(Nowhere { vip, reason });
            }
        }
        nowhere
    }

    fn may_appear(&self, now: Clocks, state: &Registry, node: &NodeId) -> bool {
        let view = self.peers.view(now, &state.timing, self.elected_at, node);
        let unheard = view.last_heard.is_none() && !self.is_silent(now, state, node);
        view.state == NodeState::Suspect || unheard
    }

    /// Whether a node has been silent for `failover_after`.
    pub(crate) fn is_silent(&self, now: Clocks, state: &Registry, node: &NodeId) -> bool {
        self.peers.silence(now, self.elected_at, node) >= state.timing.failover_after()
    }

    /// How long until the next node has been silent for `failover_after`, if none is heard again;
    /// none = all have been already.
    pub(crate) fn falls_silent_in(&self, now: Clocks, state: &Registry) -> Option<Duration> {
        let left = state.nodes.keys().map(|node| {
            let silence = self.peers.silence(now, self.elected_at, node);
            state.timing.failover_after().saturating_sub(silence)
        });
        left.filter(|left| !left.is_zero()).min()
    }
}

/// Why nobody is eligible, for people.
pub(crate) fn no_candidate(reasons: &[(NodeId, String)]) -> String {
    if reasons.is_empty() {
        return "no candidate is eligible".to_owned();
    }
    let told: Vec<&str> = reasons.iter().map(|(_, reason)| reason.as_str()).collect();
    format!("no candidate is eligible: {}", told.join("; "))
}

/// Looks at the target's NICs, as read after `since`.
pub(crate) fn check(
    state: &Registry,
    record: &VipRecord,
    node: &NodeId,
    nics: &BTreeMap<NicId, NicWriter>,
    since: Clocks,
) -> Check {
    let to = match state.nodes.get(node).map(|known| known.places(&record.spec)) {
        Some(Ok(to)) => to,
        Some(Err(missing)) => {
            return Check::Failed { reason: format!("{node} has no NIC \"{missing}\"") };
        }
        None => return Check::Failed { reason: format!("there is no node \"{node}\"") },
    };
    let mut found = BTreeMap::new();
    for place in &to {
        let Some(writer) = nics.get(&place.nic) else {
            return Check::Wait { reason: String::new(), next: None };
        };
        match check_place(record, place, writer, since) {
            Ok(Some(kept)) => {
                found.insert(place.address, kept);
            }
            Ok(None) => {}
            Err(other) => return other,
        }
    }
    Check::Ready { to, found }
}

fn check_place(
    record: &VipRecord,
    place: &Place,
    writer: &NicWriter,
    since: Clocks,
) -> Result<Option<Value>, Check> {
    let nic = place.nic.name();
    if writer.is_gone() {
        return Err(Check::Failed { reason: format!("NIC {nic} does not exist") });
    }
    let Some(document) = writer.document_since(since) else {
        let Some(problem) = writer.nic_problem() else {
            return Err(Check::Wait { reason: String::new(), next: None });
        };
        let reason = format!("NIC {nic} cannot be read: {problem}");
        return Err(match problem.kind {
            ProblemKind::Forbidden => Check::Failed { reason },
            _ => Check::Wait { reason, next: writer.next_attempt(place.address) },
        });
    };
    if document.provisioning() == Provisioning::Updating {
        let reason = format!("NIC {nic} is being changed by another operation");
        return Err(Check::Wait { reason, next: None });
    }
    suits(record, place, document).map_err(|reason| Check::Failed { reason })
}

/// Whether the address can be put on the NIC, as far as its document tells.
fn suits(
    record: &VipRecord,
    place: &Place,
    document: &NicDocument,
) -> Result<Option<Value>, String> {
    match document.could_attach(place.address, &record.config_name(place.address)) {
        Ok(()) => Ok(document.found(place.address)),
        Err(refused) => Err(format!("NIC {}: {refused}", place.nic.name())),
    }
}

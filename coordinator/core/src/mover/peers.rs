//! What the leader knows of the nodes from their heartbeats in this term.

use core::{net::IpAddr, time::Duration};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vipfence_types::{
    BootId, Clocks, Heartbeat, Mutation, NodeId, Refusal, Timing, VipEpoch, VipName, brief,
};

/// How the leader sees a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Beats.
    Alive,
    /// Silent for `suspect_after`.
    Suspect,
    /// Silent for `failover_after`, or never heard by this leader.
    Silent,
    /// Said that it is stopping.
    Stopping,
}

/// A node as the leader sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// How it is.
    pub state: NodeState,
    /// How long ago it was heard; none = not in this term.
    pub last_heard: Option<Duration>,
    /// The version that it runs.
    pub version: String,
    /// Whether it reaches Azure.
    pub arm_ok: Option<bool>,
    /// What is wrong with it; empty = nothing known.
    pub detail: String,
    /// The VIPs that are not well there, and why.
    pub failing: BTreeMap<VipName, String>,
}

/// What a heartbeat brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The node says what it said last, and was answered.
    Nothing,
    /// Anything else.
    Something,
}

#[derive(Debug)]
struct Peer {
    boot: BootId,
    heard: Clocks,
    beat: Heartbeat,
    /// The last of its heartbeats that was answered.
    answered_seq: Option<u64>,
}

impl Peer {
    fn beats(&mut self, now: Clocks, heartbeat: &Heartbeat) -> News {
        self.heard = now;
        let was_answered = self.answered_seq == Some(self.beat.seq);
        if heartbeat.seq < self.beat.seq {
            return News::Something;
        }
        self.beat.seq = heartbeat.seq;
        if self.beat == *heartbeat && was_answered {
            return News::Nothing;
        }
        self.beat = heartbeat.clone();
        News::Something
    }
}

/// The nodes that were heard in this term.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    heard: BTreeMap<NodeId, Peer>,
    /// Per node and address: the latest receipt of a heartbeat that was answered with a grant of
    /// the address, at any epoch.
    answered: BTreeMap<(NodeId, IpAddr), Clocks>,
}

impl Peers {
    /// Takes a heartbeat, unless another boot of the node is alive.
    pub(crate) fn beat(
        &mut self,
        now: Clocks,
        lease_wait: Duration,
        heartbeat: &Heartbeat,
    ) -> Result<News, Refusal> {
        if let Some(known) = self.heard.get_mut(&heartbeat.node) {
            if known.boot == heartbeat.boot {
                return Ok(known.beats(now, heartbeat));
            }
            let replaces = heartbeat.replaces.contains(&known.boot);
            let live = now.shortest_since(known.heard) < lease_wait;
            if !replaces && live && !Mutation::SecondBootAccepted.is_on() {
                return Err(Refusal::SecondBoot { boot: known.boot.clone() });
            }
        }
        let (boot, beat) = (heartbeat.boot.clone(), heartbeat.clone());
        let peer = Peer { boot, heard: now, beat, answered_seq: None };
        self.heard.insert(heartbeat.node.clone(), peer);
        Ok(News::Something)
    }

    /// A heartbeat is answered.
    pub(crate) fn answers(&mut self, heartbeat: &Heartbeat) {
        let peer = self.heard.get_mut(&heartbeat.node);
        if let Some(peer) = peer.filter(|peer| peer.boot == heartbeat.boot) {
            peer.answered_seq = Some(heartbeat.seq);
        }
    }

    /// Records that a heartbeat was answered with a grant of the address. A late answer to an
    /// earlier heartbeat never moves the record back (V1b).
    pub(crate) fn answered(&mut self, node: &NodeId, address: IpAddr, received: Clocks) {
        let key = (node.clone(), address);
        let latest = self.answered.entry(key).or_insert(received);
        if received.later_than(*latest) || Mutation::ReceiptMovesBack.is_on() {
            *latest = received;
        }
    }

    /// A fault: see `Mover::forget_earlier_epochs`.
    pub(crate) fn forget_answered(&mut self, addresses: impl Iterator<Item = IpAddr>) {
        for address in addresses {
            self.answered.retain(|(_, known), _| *known != address);
        }
    }

    /// The latest of those records over the addresses of a VIP.
    pub(crate) fn last_answered(
        &self,
        node: &NodeId,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Option<Clocks> {
        addresses
            .filter_map(|address| self.answered.get(&(node.clone(), address)).copied())
            .reduce(|a, b| if b.later_than(a) { b } else { a })
    }

    /// How long a node has been silent: since it was heard, or else since the election.
    pub(crate) fn silence(&self, now: Clocks, elected_at: Clocks, node: &NodeId) -> Duration {
        let since = self.heard.get(node).map_or(elected_at, |peer| peer.heard);
        now.mono_since(since)
    }

    /// The latest heartbeat of the node's present boot.
    pub(crate) fn latest(&self, node: &NodeId) -> Option<&Heartbeat> {
        self.heard.get(node).map(|peer| &peer.beat)
    }

    /// Whether the node's present boot confirms that it has released this epoch.
    pub(crate) fn confirms(&self, node: &NodeId, at: &VipEpoch) -> bool {
        if Mutation::ConfirmationWithoutEpoch.is_on() {
            let any = |beat: &Heartbeat| beat.released.iter().any(|one| one.vip == at.vip);
            return self.latest(node).is_some_and(any);
        }
        self.latest(node).is_some_and(|beat| beat.released.contains(at))
    }

    /// Whether the node's kernel has the address under this epoch.
    pub(crate) fn has_added(&self, node: &NodeId, at: &VipEpoch) -> bool {
        self.latest(node)
            .is_some_and(|beat| beat.held.iter().any(|report| report.added && report.at == *at))
    }

    /// A node, other than the holder, that has reached the VIP at this epoch.
    pub(crate) fn who_reached(&self, holder: &NodeId, at: &VipEpoch) -> Option<&NodeId> {
        let others = self.heard.iter().filter(|(node, _)| *node != holder);
        let any = Mutation::ReachedAtAnyEpoch.is_on();
        let same = |one: &VipEpoch| one == at || any && one.vip == at.vip;
        others.filter(|(_, peer)| peer.beat.reached.iter().any(same)).map(|(node, _)| node).next()
    }

    /// Whether the node cannot take this epoch because it is spent there.
    pub(crate) fn refuses(&self, node: &NodeId, at: &VipEpoch) -> bool {
        self.latest(node).is_some_and(|beat| beat.refused.contains(at))
    }

    /// Why the VIP's health check fails on the node; none = it does not, as far as it has said.
    pub(crate) fn failing(&self, node: &NodeId, vip: &VipName) -> Option<String> {
        let failing = &self.latest(node)?.failing;
        let one = failing.iter().find(|one| one.vip == *vip)?;
        Some(format!("its health check fails on {node}{}", why(&one.reason)))
    }

    /// Why the node does not take the VIP that it was granted at this epoch; none = it does.
    pub(crate) fn unfit(&self, node: &NodeId, at: &VipEpoch) -> Option<String> {
        let held = &self.latest(node)?.held;
        // Asked for each VIP of a node: names are compared last.
        let report = held.iter().find(|report| !report.unfit.is_empty() && report.at == *at)?;
        Some(format!("{node} does not take it{}", why(&report.unfit)))
    }

    /// Every grant that a node does not take.
    pub(crate) fn all_unfit(&self) -> impl Iterator<Item = &VipEpoch> {
        let reports = self.heard.values().flat_map(|peer| &peer.beat.held);
        reports.filter(|report| !report.unfit.is_empty()).map(|report| &report.at)
    }

    /// The highest epoch that any node has reported (H18).
    pub(crate) fn highest_epoch(&self) -> vipfence_types::Epoch {
        let reported = self.heard.values().map(|peer| peer.beat.highest_epoch);
        reported.max().unwrap_or_default()
    }

    pub(crate) fn view(
        &self,
        now: Clocks,
        timing: &Timing,
        elected_at: Clocks,
        node: &NodeId,
    ) -> NodeView {
        let silence = self.silence(now, elected_at, node);
        let Some(peer) = self.heard.get(node) else {
            return NodeView {
                state: NodeState::Silent,
                last_heard: None,
                version: String::new(),
                arm_ok: None,
                detail: "not heard since the leader was elected".to_owned(),
                failing: BTreeMap::new(),
            };
        };
        let health = &peer.beat.health;
        let state = if silence >= timing.failover_after() {
            NodeState::Silent
        } else if health.stopping {
            NodeState::Stopping
        } else if silence >= timing.suspect_after() {
            NodeState::Suspect
        } else {
            NodeState::Alive
        };
        NodeView {
            state,
            last_heard: Some(silence),
            version: peer.beat.version.clone(),
            arm_ok: health.arm_ok,
            detail: health.detail.clone(),
            failing: not_well(&peer.beat),
        }
    }
}

fn why(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({})", brief(reason)) }
}

fn not_well(beat: &Heartbeat) -> BTreeMap<VipName, String> {
    let unfit = beat.held.iter().filter(|report| !report.unfit.is_empty());
    let unfit = unfit.map(|report| (report.at.vip.clone(), brief(&report.unfit)));
    let failing = beat.failing.iter().map(|one| (one.vip.clone(), brief(&one.reason)));
    unfit.chain(failing).collect()
}

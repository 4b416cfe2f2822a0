//! Mover: decides, on the leader, which committed step comes next for every VIP, and who is entitled.
//!
//! It knows three things: the applied state, what nodes said in their heartbeats, and what the
//! NicWriters read back. From these it *plans* (`plan`): at most one next step per VIP, and what
//! each NIC should look like now. It never scripts: after a crash or a change of leader the same
//! plan follows from the same facts. It never touches Azure or a node itself.
//!
//! Keeps I1 (a grant is over only when confirmed, or after `lease_wait`; answers carry a grant only
//! while the applied state has it), I4 and I6 (no step gives up; every open move leads somewhere),
//! I8 (the order of the two tracks). Everything it remembers besides the state dies with the term,
//! except when this process first had an Expiring grant in its applied state.

mod cuts;
mod data_path;
mod peers;
mod plan;
mod target;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use vipfence_types::{
    Answer, Clocks, Connection, Epoch, Grant, Heartbeat, MoveId, Mutation, NodeId, Refusal,
    Revision, Term, VipEpoch, VipName, lease_wait,
};

use crate::registry::{GrantTrack, Granted, Place, Registry, VipRecord};

pub(crate) use peers::News;
pub use peers::{NodeState, NodeView};
pub(crate) use plan::Decision;
pub(crate) use target::Check;

use cuts::Cuts;
use peers::Peers;

/// How often what is at rest in Azure is read, to notice what others did there.
const WATCH_EVERY: Duration = Duration::from_secs(60);
/// For so long a target that failed is not chosen again by itself.
const FAILED_FOR: Duration = Duration::from_secs(60);

/// What a leader of one term knows. Dies with the term.
#[derive(Debug)]
pub(crate) struct Mover {
    me: NodeId,
    /// When this process first had a grant as Expiring (or Releasing) in its applied state. Kept
    /// over terms, never over a restart.
    expiring: BTreeMap<(VipName, Epoch), Clocks>,
    releasing: BTreeMap<(VipName, Epoch), Clocks>,
    lead: Option<Lead>,
}

/// One term of leadership.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) term: Term,
    /// When this process observed itself as the elected leader of this term.
    pub(crate) elected_at: Clocks,
    peers: Peers,
    /// What clients are to be told by the next holders of VIPs.
    cuts: Cuts,
    /// What is at rest is read again when it was last read before this.
    watch_since: Clocks,
    /// When this leader first saw each open move.
    open_since: BTreeMap<(VipName, MoveId), Clocks>,
    /// Targets that turned out not to be able to take a VIP.
    failed: BTreeMap<(VipName, NodeId), (String, Clocks)>,
    /// Refused attaches that were retried at once because the detach is done: each once in its phase.
    kicked: BTreeSet<(VipName, Revision, Place)>,
    /// Since when a node has said that it does not take a grant.
    unfit: BTreeMap<VipEpoch, Clocks>,
    /// Since when a candidate of higher priority than the holder's has been eligible.
    preferred: BTreeMap<(VipName, NodeId), Clocks>,
    /// When this leader first had the present timers applied with a longer lease in a grant.
    lowering: BTreeMap<(VipName, Epoch, u64), Clocks>,
    /// The timers that `lowering` counts from.
    lowering_for: Revision,
}

impl Mover {
    pub(crate) fn new(me: NodeId) -> Self {
        Self { me, expiring: BTreeMap::new(), releasing: BTreeMap::new(), lead: None }
    }

    pub(crate) fn lead(&self) -> Option<&Lead> {
        self.lead.as_ref()
    }

    /// This process is now the leader of a term.
    pub(crate) fn elected(&mut self, now: Clocks, term: Term) {
        self.lead = Some(Lead {
            term,
            elected_at: now,
            peers: Peers::default(),
            cuts: Cuts::default(),
            watch_since: now,
            open_since: BTreeMap::new(),
            failed: BTreeMap::new(),
            kicked: BTreeSet::new(),
            unfit: BTreeMap::new(),
            preferred: BTreeMap::new(),
            lowering: BTreeMap::new(),
            lowering_for: Revision(0),
        });
    }

    /// Has everything in Azure read again, now and then.
    pub(crate) fn watch(&mut self, now: Clocks) {
        if let Some(lead) = &mut self.lead
            && now.mono_since(lead.watch_since) >= WATCH_EVERY
        {
            lead.watch_since = now;
        }
    }

    /// Takes note of what lasts: before each plan.
    pub(crate) fn observe(&mut self, now: Clocks, state: &Registry) {
        if let Some(lead) = &mut self.lead {
            lead.observe(now, state);
        }
    }

    /// This process leads no more.
    pub(crate) fn deposed(&mut self) {
        self.lead = None;
    }

    /// Takes note of a newly applied state: when a grant first was Expiring here.
    pub(crate) fn applied(&mut self, now: Clocks, state: &Registry) {
        let mut expiring = BTreeMap::new();
        let mut releasing = BTreeMap::new();
        for record in state.vips.values() {
            match &record.grant {
                GrantTrack::Expiring(grant) => {
                    let key = (record.name.clone(), grant.epoch);
                    let since = self.expiring.get(&key).copied().unwrap_or(now);
                    expiring.insert(key, since);
                }
                GrantTrack::Releasing(grant) => {
                    let key = (record.name.clone(), grant.epoch);
                    let since = self.releasing.get(&key).copied().unwrap_or(now);
                    releasing.insert(key, since);
                }
                GrantTrack::Over | GrantTrack::Granted(_) => {}
            }
        }
        self.expiring = expiring;
        self.releasing = releasing;
        if let Some(lead) = &mut self.lead {
            lead.applied(now, state);
        }
    }

    /// Takes note of a heartbeat when it is received, before its quorum round begins.
    pub(crate) fn beat(
        &mut self,
        now: Clocks,
        state: &Registry,
        heartbeat: &Heartbeat,
    ) -> Result<News, Refusal> {
        // Until the cluster is founded nobody leads anything, and no node is known.
        let Some(lead) = self.lead.as_mut().filter(|_| state.cluster.is_some()) else {
            return Err(Refusal::NotLeader { leader: state.leader.clone() });
        };
        let other = state.cluster.as_ref().filter(|cluster| **cluster != heartbeat.cluster);
        if let Some(cluster) = other.cloned() {
            return Err(Refusal::WrongCluster { cluster });
        }
        if !state.nodes.contains_key(&heartbeat.node) {
            return Err(Refusal::UnknownNode);
        }
        let news = lead.peers.beat(now, lease_wait(state.timing.lease_ttl()), heartbeat)?;
        lead.cuts.heard(state, heartbeat);
        Ok(news)
    }

    /// Answers a heartbeat, received at `received`, after a quorum round of this term that began
    /// after that, from state applied at least up to the round's read index.
    ///
    /// Deciding what stands in the answer and recording that it was answered is this one step (H11).
    pub(crate) fn answer(
        &mut self,
        now: Clocks,
        state: &Registry,
        heartbeat: &Heartbeat,
        received: Clocks,
    ) -> Option<Answer> {
        let lead = self.lead.as_mut()?;
        lead.peers.answers(heartbeat);
        let mut answer = Answer {
            seq: heartbeat.seq,
            term: lead.term,
            grants: vec![],
            releasing: vec![],
            nowhere: lead.nowhere(now, state, heartbeat),
            reach: lead.to_reach(state, &heartbeat.node),
        };
        let mut room = Connection::PER_MESSAGE;
        for record in state.vips.values() {
            let Some(grant) = record.grant.grant().filter(|g| g.node == heartbeat.node) else {
                continue;
            };
            let at = VipEpoch { vip: record.name.clone(), epoch: grant.epoch };
            let revived = Mutation::GrantWhileExpiring.is_on();
            if record.grant.renewed().is_some() || revived {
                for entry in &record.spec.addresses {
                    lead.peers.answered(&heartbeat.node, entry.address, received);
                }
                answer.grants.push(Grant {
                    at: at.clone(),
                    lease_ttl_ms: state.timing.lease_ttl_ms.min(grant.lease_ttl_ms),
                    addresses: record.spec.addresses.clone(),
                    hold_without_quorum: record.spec.on_quorum_loss
                        == vipfence_types::QuorumLoss::Hold,
                    probe: record.spec.probe.clone(),
                    cut: lead.cuts.give(now, record, &heartbeat.node, &mut room),
                });
            }
            match record.grant {
                GrantTrack::Expiring(_) if revived => {}
                GrantTrack::Releasing(_) | GrantTrack::Expiring(_) => answer.releasing.push(at),
                GrantTrack::Over | GrantTrack::Granted(_) => {}
            }
        }
        Some(answer)
    }

    /// How long until a grant that is Expiring is over without a confirmation; zero = it is.
    ///
    /// `lease_wait` after the earlier of (i) the latest receipt of any heartbeat of that node that
    /// this leader answered in this term with a grant of one of the addresses, or else its own
    /// election, and (ii) the moment this process first had Expiring of this epoch in its applied
    /// state.
    fn wait_left(&self, lead: &Lead, now: Clocks, record: &VipRecord, grant: &Granted) -> Duration {
        let wait = lease_wait(Duration::from_millis(grant.lease_ttl_ms));
        let addresses = record.spec.addresses.iter().map(|entry| entry.address);
        let answered = lead.peers.last_answered(&grant.node, addresses);
        if Mutation::WaitSkippedAfterElection.is_on() && answered.is_none() {
            return Duration::ZERO;
        }
        let first = answered.unwrap_or(lead.elected_at);
        let mut passed = now.shortest_since(first);
        if Mutation::WaitByWallClock.is_on() {
            passed = Duration::from_micros(now.wall_us.saturating_sub(first.wall_us));
        }
        if let Some(since) = self.expiring.get(&(record.name.clone(), grant.epoch)) {
            passed = passed.max(now.shortest_since(*since));
        }
        wait.saturating_sub(passed)
    }

    /// A fault: forgets when an address was answered as soon as it is granted at another epoch.
    pub(crate) fn forget_earlier_epochs(&mut self, before: &Registry, after: &Registry) {
        let Some(lead) = &mut self.lead else { return };
        for record in after.vips.values() {
            let known = before.vip(&record.name).map(VipRecord::epoch);
            if known != Some(record.epoch()) {
                lead.peers.forget_answered(record.spec.addresses.iter().map(|one| one.address));
            }
        }
    }

    /// What the leader sees of a node.
    pub(crate) fn view(&self, now: Clocks, state: &Registry) -> BTreeMap<NodeId, NodeView> {
        let Some(lead) = &self.lead else { return BTreeMap::new() };
        let view = |node: &NodeId| lead.peers.view(now, &state.timing, lead.elected_at, node);
        state.nodes.keys().map(|node| (node.clone(), view(node))).collect()
    }

    /// Whether a VIP's holder has something new to tell clients.
    pub(crate) fn has_news_for_holder(&self, record: &VipRecord) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.cuts.has_news(record))
    }

    /// Marks a target as not able to take a VIP for a while.
    pub(crate) fn target_failed(
        &mut self,
        now: Clocks,
        vip: &VipName,
        node: &NodeId,
        reason: &str,
    ) {
        if let Some(lead) = &mut self.lead {
            // As long as it goes on failing, and a while longer: or two targets that refuse for
            // good would take turns.
            let entry = (reason.to_owned(), now.plus(FAILED_FOR));
            lead.failed.insert((vip.clone(), node.clone()), entry);
        }
    }

    /// Remembers that a refused attach of this phase was retried at once.
    pub(crate) fn kicked(&mut self, vip: &VipName, phase: Revision, place: &Place) {
        if let Some(lead) = &mut self.lead {
            lead.kicked.insert((vip.clone(), phase, place.clone()));
        }
    }

    /// Forgets why targets failed: somebody asked for them by name.
    pub(crate) fn forgive(&mut self, vip: &VipName, node: &NodeId) {
        if let Some(lead) = &mut self.lead {
            lead.failed.remove(&(vip.clone(), node.clone()));
        }
    }
}

impl Lead {
    fn applied(&mut self, now: Clocks, state: &Registry) {
        self.cuts.applied(state);
        let open = state.vips.values().filter_map(|r| Some((r.name.clone(), r.open?)));
        let open: BTreeMap<_, _> = open
            .map(|key| {
                let since = self.open_since.get(&key).copied().unwrap_or(now);
                (key, since)
            })
            .collect();
        self.open_since = open;
        self.kicked
            .retain(|(vip, phase, _)| state.vip(vip).is_some_and(|r| r.azure_phase == *phase));
        if self.lowering_for != state.timing_since {
            // Other timers were in force meanwhile: everything is counted anew.
            self.lowering_for = state.timing_since;
            self.lowering.clear();
        }
        let current = state.timing.lease_ttl_ms;
        let long = state.vips.values().filter_map(|record| {
            let grant = record.grant.grant()?;
            (grant.lease_ttl_ms > current)
                .then(|| (record.name.clone(), grant.epoch, grant.lease_ttl_ms))
        });
        self.lowering = long
            .map(|key| {
                let since = self.lowering.get(&key).copied().unwrap_or(now);
                (key, since)
            })
            .collect();
    }

    fn observe(&mut self, now: Clocks, state: &Registry) {
        let unfit = self
            .peers
            .all_unfit()
            .map(|at| (at.clone(), self.unfit.get(at).copied().unwrap_or(now)));
        self.unfit = unfit.collect();
        let mut preferred = BTreeMap::new();
        for record in state.vips.values().filter(|record| record.spec.failback.wait().is_some()) {
            for node in self.preferred_to_holder(now, state, record) {
                let key = (record.name.clone(), node.clone());
                let since = self.preferred.get(&key).copied().unwrap_or(now);
                preferred.insert(key, since);
            }
        }
        self.preferred = preferred;
    }

    /// Whether a node has not taken a grant for so long that a new epoch is worth a try.
    fn is_worth_another_try(&self, now: Clocks, at: &VipEpoch) -> bool {
        self.unfit.get(at).is_some_and(|since| now.mono_since(*since) >= FAILED_FOR)
    }

    /// Whether a grant still has a longer lease of an earlier profile.
    pub(crate) fn is_lowering(&self) -> bool {
        !self.lowering.is_empty()
    }

    /// Grants whose longer lease of an earlier profile can no longer be alive: one old `lease_wait`
    /// after this leader first had the shorter timers applied.
    pub(crate) fn lowered(&self, now: Clocks) -> Vec<(VipName, Epoch)> {
        let over = |(_, _, ttl): &(VipName, Epoch, u64), since: Clocks| {
            now.shortest_since(since) >= lease_wait(Duration::from_millis(*ttl))
        };
        self.lowering
            .iter()
            .filter(|(key, since)| over(key, **since))
            .map(|((vip, epoch, _), _)| (vip.clone(), *epoch))
            .collect()
    }
}

//! Upkeep: after every input, what each VIP and each NIC needs next.

use core::net::IpAddr;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use vipfence_types::{Clocks, Mutation, NicId, Revision, Term, VipName};

use super::{Coordinator, Effect, Purpose, Stage};
use crate::{
    mover::Decision,
    nic::{NicWriter, Setup as NicSetup, Want, budget::Urgency},
    registry::{AzureOperation, Body, Note, Outcome},
};

impl Coordinator {
    /// Brings everything up to date.
    pub(super) fn settle(&mut self) {
        let now = self.now;
        self.busy.retain(|_, stage| match stage {
            Stage::Resting(until) => until.later_than(now),
            Stage::Proposing | Stage::Catching(_) => true,
        });
        let Some(term) = self.mover.lead().map(|lead| lead.term) else {
            return self.keep_warm();
        };
        let beats = self.use_confirmed(term);
        if !self.take_office(term) {
            return self.start_round();
        }
        for heartbeat in &beats {
            self.report_nics(heartbeat);
        }
        self.ensure_writers(term);
        self.mover.watch(now);
        self.mover.observe(now, &self.state);
        self.plan_all();
        self.lower_leases();
        self.end_pauses();
        if self.makes_way() {
            self.effects.push(Effect::StepDown);
        }
        let nics: Vec<NicId> = self.nics.keys().cloned().collect();
        for nic in nics {
            let effects = match self.nics.get_mut(&nic) {
                Some(writer) => writer.tick(now, &mut self.budget, &mut self.next),
                None => vec![],
            };
            self.carry(&nic, effects);
        }
        self.tell_problems();
        // After everything that is due: it is not in anybody's way, and often not needed.
        self.keep_warm();
        if !self.is_at_rest() {
            // A node whose heartbeat waits cannot beat again: what it is to do now would wait, too.
            self.rounds.hurry();
        }
        self.start_round();
    }

    fn tell_problems(&mut self) {
        let met = self.nics.values_mut().flat_map(NicWriter::take_met);
        self.effects.extend(met.map(|kind| Effect::Problem { kind }));
    }

    /// The first entries of a term. Returns whether they are applied.
    fn take_office(&mut self, term: Term) -> bool {
        if self.state.cluster.is_none() {
            let body = Body::Found {
                cluster: self.setup.cluster.clone(),
                timing: self.setup.timing,
                nodes: self.setup.founders.clone(),
            };
            self.propose(Purpose::Found, body);
            return false;
        }
        let led = self.state.term == term && self.state.leader.as_ref() == Some(&self.setup.node);
        if Mutation::NoRecommit.is_on() && self.state.leader.is_some() {
            return true;
        }
        if !led {
            self.propose(Purpose::Lead, Body::Lead);
        }
        led
    }

    /// A NicWriter for every NIC that a node or a VIP names. It reads its NIC at once, so that the
    /// leader is warm.
    fn ensure_writers(&mut self, term: Term) {
        let Some(elected_at) = self.mover.lead().map(|lead| lead.elected_at) else { return };
        let state = Arc::clone(&self.state);
        let of_nodes = state.nodes.values().flat_map(|node| node.nics.iter().map(|nic| &nic.id));
        let mut nics: BTreeSet<NicId> = of_nodes.cloned().collect();
        for record in state.vips.values() {
            nics.extend(record.azure.places().into_iter().map(|place| place.nic));
            nics.extend(record.exposed.iter().cloned());
        }
        for nic in nics {
            self.ensure_writer(nic, term, elected_at);
        }
    }

    fn ensure_writer(&mut self, nic: NicId, term: Term, elected_at: Clocks) {
        if self.nics.contains_key(&nic) {
            return;
        }
        let setup = NicSetup {
            nic: nic.clone(),
            api_version: self.setup.api_version.clone(),
            term,
            elected_at,
            write_window: self.state.timing.write_window(),
            azure_max: self.state.timing.azure_max(),
            cluster: self.setup.cluster.to_string(),
            trust_if_match: self.setup.trust_if_match,
            epoch_tag: self.setup.epoch_tag,
            exposed: self.state.vips.values().any(|record| record.exposed.contains(&nic)),
        };
        let mut writer = NicWriter::new(setup, self.now);
        // An operation that an earlier leader committed is followed, not started again.
        let running = self.state.vips.keys().flat_map(|vip| self.running(vip, &nic));
        let mut running: Vec<(&VipName, &AzureOperation)> = running.collect();
        running.sort_by_key(|(_, operation)| core::cmp::Reverse(operation.started_ms));
        for (vip, operation) in running {
            writer.follow(operation, vip, self.now);
        }
        self.nics.insert(nic, writer);
    }

    /// Operations on a NIC that the open move of a VIP, or one that it superseded, has begun, and
    /// nobody has seen end.
    fn running<'a>(
        &'a self,
        vip: &'a VipName,
        nic: &'a NicId,
    ) -> impl Iterator<Item = (&'a VipName, &'a AzureOperation)> {
        let moves = self.state.logs.get(vip).into_iter().flat_map(|log| log.moves.iter().rev());
        moves
            .take_while(|known| matches!(known.outcome, None | Some(Outcome::Superseded(_))))
            .flat_map(|known| &known.operations)
            .filter(|operation| operation.nic == *nic && operation.ended_ms.is_none())
            .map(move |operation| (vip, operation))
    }

    fn plan_all(&mut self) {
        let state = Arc::clone(&self.state);
        let mut wants: BTreeMap<NicId, BTreeMap<IpAddr, Want>> = BTreeMap::new();
        let mut seals: BTreeMap<NicId, BTreeMap<VipName, Revision>> = BTreeMap::new();
        let mut reads: BTreeMap<NicId, (Clocks, Urgency)> = BTreeMap::new();
        let mut coming: BTreeSet<NicId> = BTreeSet::new();
        let mut not_freed: BTreeMap<NicId, BTreeSet<IpAddr>> = BTreeMap::new();
        for (vip, record) in &state.vips {
            let decision = self.mover.plan(self.now, &state, record, &self.nics);
            for (place, want) in decision.wants.iter().cloned() {
                wants.entry(place.nic).or_default().insert(place.address, want);
            }
            for nic in &decision.seals {
                seals.entry(nic.clone()).or_default().insert(vip.clone(), record.azure_phase);
            }
            coming.extend(decision.coming.iter().cloned());
            for place in &decision.not_freed {
                not_freed.entry(place.nic.clone()).or_default().insert(place.address);
            }
            let waits = if record.open.is_some() { Urgency::Move } else { Urgency::Upkeep };
            for (nic, since) in &decision.reads {
                let (latest, urgency) = reads.entry(nic.clone()).or_insert((*since, waits));
                if since.later_than(*latest) {
                    *latest = *since;
                }
                if waits == Urgency::Move {
                    *urgency = waits;
                }
            }
            self.act_on(vip, record.azure_phase, decision);
            self.nudge(vip);
        }
        let lead = self.mover.lead().map(|lead| (lead.term, lead.elected_at));
        if let Some((term, elected_at)) = lead {
            for nic in reads.keys().cloned().collect::<Vec<_>>() {
                self.ensure_writer(nic, term, elected_at);
            }
        }
        for (nic, writer) in &mut self.nics {
            let (wants, seals) =
                (wants.remove(nic).unwrap_or_default(), seals.remove(nic).unwrap_or_default());
            writer.want(wants, seals, self.now);
            writer.expect(coming.contains(nic), not_freed.remove(nic).unwrap_or_default());
            let (since, urgency) = reads.remove(nic).unzip();
            writer.read_after(since, urgency.unwrap_or(Urgency::Move));
        }
    }

    fn act_on(&mut self, vip: &VipName, phase: Revision, decision: Decision) {
        if let Some((node, reason)) = &decision.failed {
            self.mover.target_failed(self.now, vip, node, reason);
        }
        for place in &decision.kicks {
            self.mover.kicked(vip, phase, place);
            if let Some(writer) = self.nics.get_mut(&place.nic) {
                writer.retry_attach(place.address);
            }
        }
        if let Some(body) = decision.step {
            self.propose(Purpose::Step(vip.clone()), body);
            return;
        }
        self.tell_blocked(vip, decision.blocked, decision.next_attempt);
    }

    /// Commits why a move does not proceed, when that is not what is committed.
    fn tell_blocked(&mut self, vip: &VipName, reason: String, next: Option<Clocks>) {
        let Some(open) = self.state.open_move(vip) else { return };
        let id = open.id;
        let wall_ms = self.now.wall_us / 1_000;
        // An attempt that is under way is none to wait for.
        let next = next.filter(|at| at.later_than(self.now));
        let next_attempt_ms = next.map(|at| {
            wall_ms + u64::try_from(at.mono_since(self.now).as_millis()).unwrap_or(u64::MAX)
        });
        // A later attempt for the same reason is news only once the earlier one has passed.
        let awaited = open.next_attempt_ms.is_some_and(|told| told > wall_ms);
        if open.blocked_reason == reason && (awaited || next_attempt_ms.is_none()) {
            return;
        }
        let note = Note::Blocked { reason, next_attempt_ms };
        let body = Body::Note { vip: vip.clone(), id, note };
        self.propose(Purpose::Blocked(vip.clone()), body);
    }

    /// New grants and releases are pushed, and what clients are to be told: the node is asked to beat
    /// at once.
    fn nudge(&mut self, vip: &VipName) {
        let Some(record) = self.state.vip(vip) else { return };
        let news = record.open.is_some() || self.mover.has_news_for_holder(record);
        let Some(node) = record.holder().filter(|_| news) else { return };
        if self.nudged.get(vip) != Some(&record.phase) {
            self.effects.push(Effect::Nudge { node: node.clone() });
            self.nudged.insert(vip.clone(), record.phase);
        }
    }

    /// Pauses whose time is over, by this leader's wall clock.
    fn end_pauses(&mut self) {
        let state = Arc::clone(&self.state);
        let wall_ms = self.now.wall_us / 1_000;
        let over = |until: Option<u64>| until.is_some_and(|until| until <= wall_ms);
        for (scope, hold) in state.holds().into_iter().filter(|(_, hold)| over(hold.until_ms)) {
            let (over, by) = (Some(hold.since_ms), format!("leader {}", self.setup.node));
            let body = Body::Resume { scope: scope.clone(), over, by };
            self.propose(Purpose::Resume(scope), body);
        }
    }

    fn lower_leases(&mut self) {
        let lowered = self.mover.lead().map(|lead| lead.lowered(self.now)).unwrap_or_default();
        let timing = self.state.timing_since;
        for (vip, epoch) in lowered {
            let body = Body::LowerLease { vip: vip.clone(), epoch, timing };
            self.propose(Purpose::Lower(vip), body);
        }
    }
}

//! The plan of one VIP: from what is committed, reported and read back, the one next step, and what
//! the NICs should look like now.
//!
//! `plan` is a function of its arguments. The grant track is looked at first, then the Azure track,
//! then whether both have arrived; the first step that is due is taken, since every step changes
//! the phase on which the others would be decided.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use vipfence_types::{Clocks, NicId, NodeId, Release, VipEpoch};

use super::{Check, Lead, Mover, target::check};
use crate::{
    nic::{NicWriter, Presence, ProblemKind, Want},
    registry::{
        AzureTrack, Body, Cause, Expect, GrantTrack, Granted, Intent, Move, Place, Registry,
        Request, Step, VipRecord,
    },
};

/// What is to be done about one VIP.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decision {
    /// The next committed step.
    pub(crate) step: Option<Body>,
    /// What NICs should look like, by the committed phase.
    pub(crate) wants: Vec<(Place, Want)>,
    /// NICs to be sealed.
    pub(crate) seals: BTreeSet<NicId>,
    /// NICs whose documents must be read after this moment.
    pub(crate) reads: BTreeMap<NicId, Clocks>,
    /// Why nothing proceeds; empty = it does, or nothing is to be done.
    pub(crate) blocked: String,
    /// When it is tried again.
    pub(crate) next_attempt: Option<Clocks>,
    /// Refused attaches that are worth trying at once.
    pub(crate) kicks: Vec<Place>,
    /// A target that turned out not to be able to take the VIP.
    pub(crate) failed: Option<(NodeId, String)>,
}

impl Decision {
    fn step(&mut self, record: &VipRecord, step: Step) {
        let (vip, phase) = (record.name.clone(), record.phase);
        self.step.get_or_insert(Body::Step { vip, phase, step });
    }

    fn wait(&mut self, reason: impl Into<String>, next: Option<Clocks>) {
        if self.blocked.is_empty() {
            self.blocked = reason.into();
            self.next_attempt = next;
        }
    }
}

/// What a plan is made from.
pub(crate) struct Facts<'a> {
    pub(crate) mover: &'a Mover,
    pub(crate) lead: &'a Lead,
    pub(crate) now: Clocks,
    pub(crate) state: &'a Registry,
    pub(crate) nics: &'a BTreeMap<NicId, NicWriter>,
}

impl Mover {
    /// The plan of one VIP. Only for the leader whose `Lead` entry of this term is applied.
    pub(crate) fn plan(
        &self,
        now: Clocks,
        state: &Registry,
        record: &VipRecord,
        nics: &BTreeMap<NicId, NicWriter>,
    ) -> Decision {
        let mut decision = Decision::default();
        let Some(lead) = &self.lead else { return decision };
        let facts = Facts { mover: self, lead, now, state, nics };
        match state.open_move(&record.name) {
            None => facts.steady(record, &mut decision),
            Some(open) => facts.moving(record, open, &mut decision),
        }
        decision
    }
}

impl Facts<'_> {
    // ---- no move is open ------------------------------------------------------------------

    /// A VIP that is held, or held by nobody as asked for: look for a reason to move it, and seal
    /// what is still exposed.
    fn steady(&self, record: &VipRecord, decision: &mut Decision) {
        self.seal_exposed(record, decision);
        let Some(grant) = record.grant.grant() else { return };
        let holder = &grant.node;
        let at = VipEpoch { vip: record.name.clone(), epoch: grant.epoch };
        let best = || self.lead.best(self.now, self.state, record, Some(holder)).ok();
        if self.lead.is_silent(self.now, self.state, holder) {
            self.start(record, best(), Cause::HolderSilent, decision);
        } else if self.lead.peers.refuses(holder, &at) {
            self.start(record, Some(holder.clone()), Cause::EpochRefused, decision);
        } else if self.is_stopping(holder) {
            // Without an eligible candidate the lease, and then the silence, decides.
            if let Some(to) = best() {
                self.start(record, Some(to), Cause::HolderStopping, decision);
            }
        }
    }

    fn is_stopping(&self, node: &NodeId) -> bool {
        self.lead.peers.latest(node).is_some_and(|beat| beat.health.stopping)
    }

    fn start(&self, record: &VipRecord, to: Option<NodeId>, cause: Cause, decision: &mut Decision) {
        let caller = format!("leader {}", self.mover.me);
        decision.step.get_or_insert(Body::StartMove {
            vip: record.name.clone(),
            to,
            cause,
            expect: Expect { phase: Some(record.phase), ..Expect::default() },
            force: false,
            request: Request { id: None, content: String::new(), caller },
        });
    }

    fn seal_exposed(&self, record: &VipRecord, decision: &mut Decision) {
        let exposed = record.exposed.iter().filter(|nic| !self.is_cleared(nic));
        decision.seals.extend(exposed.cloned());
    }

    fn is_cleared(&self, nic: &NicId) -> bool {
        self.nics.get(nic).is_some_and(|writer| writer.is_cleared(self.now))
    }

    fn cleared(&self, record: &VipRecord) -> BTreeSet<NicId> {
        let mut nics: BTreeSet<NicId> = record.exposed.clone();
        nics.extend(record.azure.places().into_iter().map(|place| place.nic));
        nics.retain(|nic| self.is_cleared(nic));
        nics
    }

    // ---- a move is open -------------------------------------------------------------------

    fn moving(&self, record: &VipRecord, open: &Move, decision: &mut Decision) {
        let key = (record.name.clone(), open.id);
        let since = self.lead.open_since.get(&key).copied().unwrap_or(self.now);
        self.wants(record, decision);
        match record.intent {
            Intent::Held => {
                let Some(target) = &record.target else {
                    return self.find_target(record, decision);
                };
                let checked = self.checked(record, target, since, decision);
                if self.redirect(record, target, &checked, decision) {
                    return;
                }
                self.grant_track(record, open, &checked, decision);
                self.azure_track(record, open, target, &checked, since, decision);
                self.arrival(record, open, target, decision);
            }
            Intent::Disabled | Intent::Deleted => {
                self.grant_track(
                    record,
                    open,
                    &Check::Wait { reason: String::new(), next: None },
                    decision,
                );
                self.taken_down(record, decision);
            }
        }
    }

    /// What the committed Azure track asks of the NICs (I7: nothing else ever does).
    fn wants(&self, record: &VipRecord, decision: &mut Decision) {
        let (present, absent) = match &record.azure {
            AzureTrack::Detached | AzureTrack::Attached { .. } => return,
            AzureTrack::Detaching { from } => (BTreeSet::new(), from.clone()),
            AzureTrack::Attaching { to, from, .. } => (to.clone(), from.clone()),
        };
        let want =
            |presence| Want { vip: record.name.clone(), phase: record.azure_phase, presence };
        decision.wants.extend(absent.into_iter().map(|place| (place, want(Presence::Absent))));
        decision.wants.extend(present.into_iter().map(|place| {
            let name = record.config_name(place.address);
            let found = record.found.get(&place.address).cloned().unwrap_or_else(|| json!({}));
            (place, want(Presence::Present { name, found }))
        }));
    }

    fn find_target(&self, record: &VipRecord, decision: &mut Decision) {
        // A silent holder loses its grant whether or not somebody can take over.
        if let Some(grant) = record.grant.grant() {
            self.end_grant_of_silent(record, grant, decision);
        }
        match self.lead.best(self.now, self.state, record, None) {
            Ok(node) => decision.step(record, Step::Target { node }),
            Err(reasons) => decision.wait(no_candidate(&reasons), None),
        }
    }

    /// The target's NICs, as read since the move was first seen; needed until the attach begins.
    fn checked(
        &self,
        record: &VipRecord,
        target: &NodeId,
        since: Clocks,
        decision: &mut Decision,
    ) -> Check {
        let settled = match &record.azure {
            AzureTrack::Attaching { node, to, .. } if node == target => Some(to),
            AzureTrack::Attached { node, at } if node == target => Some(at),
            AzureTrack::Detached
            | AzureTrack::Detaching { .. }
            | AzureTrack::Attaching { .. }
            | AzureTrack::Attached { .. } => None,
        };
        if let Some(to) = settled {
            return Check::Ready { to: to.clone(), found: BTreeMap::new() };
        }
        // The NICs that it will be taken off are read at the same time.
        let places = record.azure.places();
        self.read(places.iter().map(|place| &place.nic), since, decision);
        if let Some(Ok(to)) = self.state.nodes.get(target).map(|known| known.places(&record.spec)) {
            self.read(to.iter().map(|place| &place.nic), since, decision);
        }
        check(self.state, record, target, self.nics, since)
    }

    fn read<'a>(
        &self,
        nics: impl Iterator<Item = &'a NicId>,
        since: Clocks,
        decision: &mut Decision,
    ) {
        decision.reads.extend(nics.map(|nic| (nic.clone(), since)));
    }

    /// Supersedes a move whose target cannot take the VIP. Returns whether it did.
    fn redirect(
        &self,
        record: &VipRecord,
        target: &NodeId,
        checked: &Check,
        decision: &mut Decision,
    ) -> bool {
        let failed = match checked {
            Check::Failed { reason } => Some(reason.clone()),
            Check::Ready { .. } | Check::Wait { .. } => self.attach_refused(record),
        };
        let (cause, reason) = if let Some(reason) = failed {
            decision.failed = Some((target.clone(), reason.clone()));
            (Cause::TargetFailed, reason)
        } else if self.lead.is_silent(self.now, self.state, target) {
            (Cause::HolderSilent, format!("{target} is silent"))
        } else {
            return false;
        };
        match self.lead.best(self.now, self.state, record, Some(target)) {
            Ok(node) => {
                self.start(record, Some(node), cause, decision);
                true
            }
            Err(others) => {
                // Nobody else: go on trying here, and say why.
                let reason = if others.is_empty() {
                    reason
                } else {
                    format!("{reason}; {}", no_candidate(&others))
                };
                decision.wait(reason, None);
                if let (Cause::HolderSilent, Some(grant)) = (cause, record.grant.grant()) {
                    self.end_grant_of_silent(record, grant, decision);
                }
                false
            }
        }
    }

    /// An attach that Azure refuses for good, as far as can be told (L6).
    fn attach_refused(&self, record: &VipRecord) -> Option<String> {
        let AzureTrack::Attaching { to, .. } = &record.azure else { return None };
        to.iter().find_map(|place| {
            let writer = self.nics.get(&place.nic)?;
            if writer.is_gone() {
                return Some(format!("NIC {} does not exist", place.nic.name()));
            }
            let problem = writer.problem(place.address)?;
            match problem.kind {
                ProblemKind::Refused | ProblemKind::Forbidden => {
                    Some(format!("NIC {} refuses the address: {problem}", place.nic.name()))
                }
                ProblemKind::Later
                | ProblemKind::Changed
                | ProblemKind::AddressInUse { .. }
                | ProblemKind::AddressCleaning
                | ProblemKind::Unauthorized
                | ProblemKind::Gone
                | ProblemKind::Unknown => None,
            }
        })
    }

    // ---- the grant track ------------------------------------------------------------------

    fn grant_track(
        &self,
        record: &VipRecord,
        open: &Move,
        checked: &Check,
        decision: &mut Decision,
    ) {
        let target = match record.intent {
            Intent::Held => record.target.as_ref(),
            Intent::Disabled | Intent::Deleted => None,
        };
        let ready = matches!(checked, Check::Ready { .. });
        let to_keep =
            |grant: &Granted| target == Some(&grant.node) && !self.is_silent_node(&grant.node);
        match &record.grant {
            GrantTrack::Over => {
                // The target is granted as soon as Azure is being worked on, or needs no work.
                let begun = !matches!(record.azure, AzureTrack::Detached);
                if let Some(node) = target.filter(|_| ready && begun) {
                    self.grant(record, node, decision);
                }
            }
            // Still the entitled node: no wait, only a new epoch for a new entry.
            GrantTrack::Granted(grant) if to_keep(grant) => {
                if open.epoch != grant.epoch && open.cause != Cause::Drift {
                    self.grant(record, &grant.node, decision);
                }
            }
            GrantTrack::Releasing(grant) | GrantTrack::Expiring(grant) if to_keep(grant) => {
                self.grant(record, &grant.node, decision);
            }
            GrantTrack::Granted(grant) => {
                self.end_grant_of_silent(record, grant, decision);
                if self.may_release(record, target, ready) {
                    decision.step(record, Step::Release { epoch: grant.epoch });
                }
            }
            GrantTrack::Releasing(grant) => {
                self.over_if_confirmed(record, grant, decision);
                self.end_grant_of_silent(record, grant, decision);
                let key = (record.name.clone(), grant.epoch);
                let asked = self.mover.releasing.get(&key).copied().unwrap_or(self.now);
                if self.now.mono_since(asked) >= record.spec.release_timeout() {
                    decision.step(record, Step::Expire { epoch: grant.epoch });
                }
            }
            GrantTrack::Expiring(grant) => {
                self.over_if_confirmed(record, grant, decision);
                let left = self.mover.wait_left(self.lead, self.now, record, grant);
                if left.is_zero() {
                    let (epoch, confirmed) = (grant.epoch, false);
                    decision.step(record, Step::Over { epoch, confirmed });
                } else {
                    let reason = format!("waiting for the lease of {} to end", grant.node);
                    decision.wait(reason, Some(self.now.plus(left)));
                }
            }
        }
    }

    fn is_silent_node(&self, node: &NodeId) -> bool {
        self.lead.is_silent(self.now, self.state, node)
    }

    fn grant(&self, record: &VipRecord, node: &NodeId, decision: &mut Decision) {
        let floor = self.lead.peers.highest_epoch();
        decision.step(record, Step::Grant { node: node.clone(), floor });
    }

    fn over_if_confirmed(&self, record: &VipRecord, grant: &Granted, decision: &mut Decision) {
        let at = VipEpoch { vip: record.name.clone(), epoch: grant.epoch };
        if self.lead.peers.confirms(&grant.node, &at) {
            decision.step(record, Step::Over { epoch: grant.epoch, confirmed: true });
        }
    }

    /// Silence for `failover_after` leads to Expiring in every grant state.
    fn end_grant_of_silent(&self, record: &VipRecord, grant: &Granted, decision: &mut Decision) {
        let renewed = record.grant.renewed().is_some();
        if renewed && self.is_silent_node(&grant.node) {
            decision.step(record, Step::Expire { epoch: grant.epoch });
        }
    }

    /// When the old holder of a planned move is asked to let go.
    fn may_release(&self, record: &VipRecord, target: Option<&NodeId>, ready: bool) -> bool {
        if target.is_none() {
            return record.intent != Intent::Held;
        }
        match record.spec.release {
            Release::Early => ready,
            // Late: the detach is done, or an attach was accepted.
            Release::Late => match &record.azure {
                AzureTrack::Detached => ready,
                AzureTrack::Attached { node, .. } => target == Some(node),
                AzureTrack::Detaching { .. } => false,
                AzureTrack::Attaching { to, from, .. } => {
                    let gone = |place: &Place| self.lists(place) == Some(false);
                    from.iter().all(gone)
                        || to.iter().any(|place| self.attach_accepted(record, place))
                }
            },
        }
    }

    fn lists(&self, place: &Place) -> Option<bool> {
        self.nics.get(&place.nic)?.lists(place.address)
    }

    fn attach_accepted(&self, record: &VipRecord, place: &Place) -> bool {
        let Some(writer) = self.nics.get(&place.nic) else { return false };
        let name = record.config_name(place.address);
        let found = record.found.get(&place.address).cloned().unwrap_or_else(|| json!({}));
        let presence = Presence::Present { name, found };
        writer.is_accepted(
            place.address,
            &Want { vip: record.name.clone(), phase: record.azure_phase, presence },
        )
    }

    fn detach_accepted(&self, record: &VipRecord, place: &Place) -> bool {
        let Some(writer) = self.nics.get(&place.nic) else { return false };
        let want = Want {
            vip: record.name.clone(),
            phase: record.azure_phase,
            presence: Presence::Absent,
        };
        writer.is_accepted(place.address, &want)
    }

    // ---- the Azure track ------------------------------------------------------------------

    fn azure_track(
        &self,
        record: &VipRecord,
        open: &Move,
        target: &NodeId,
        checked: &Check,
        since: Clocks,
        decision: &mut Decision,
    ) {
        let (to, found) = match checked {
            Check::Ready { to, found } => (to, found),
            Check::Wait { reason, next } => return decision.wait(reason.clone(), *next),
            Check::Failed { reason } => return decision.wait(reason.clone(), None),
        };
        match &record.azure {
            AzureTrack::Detached => self.begin(record, target, to, since, decision),
            AzureTrack::Attached { node, at } if node == target && at == to => {}
            AzureTrack::Attached { node, at } => {
                // Only services that stop first make Azure wait for the grant.
                let early = record.spec.release == Release::Early;
                let over = record.grant == GrantTrack::Over;
                if !early || over || node == target || record.grant.renewed().is_none() {
                    let from = at.difference(to).cloned().collect();
                    self.detach(record, from, since, true, decision);
                }
            }
            AzureTrack::Detaching { from } => {
                let elsewhere = from.difference(to);
                let blocked = elsewhere.clone().find(|p| !self.detach_accepted(record, p));
                match blocked {
                    None => {
                        let (node, to, found) = (target.clone(), to.clone(), found.clone());
                        decision.step(record, Step::BeginAttach { node, to, found });
                    }
                    Some(place) => self.say_problem(place, decision),
                }
            }
            AzureTrack::Attaching { node, to: before, from } => {
                if node != target || before != to {
                    let all: BTreeSet<Place> = before.union(from).cloned().collect();
                    let from = all.difference(to).cloned().collect();
                    self.detach(record, from, since, false, decision);
                } else {
                    self.attaching(record, open, to, from, since, decision);
                }
            }
        }
    }

    /// Before the first attach it is not known where the address is: every NIC of the cluster is
    /// read, and the address taken off where it is found.
    fn begin(
        &self,
        record: &VipRecord,
        target: &NodeId,
        to: &BTreeSet<Place>,
        since: Clocks,
        decision: &mut Decision,
    ) {
        let members =
            self.state.nodes.values().flat_map(|node| node.nics.iter().map(|nic| &nic.id));
        let members: BTreeSet<&NicId> = members.collect();
        self.read(members.iter().copied(), since, decision);
        let mut from = BTreeSet::new();
        for nic in members {
            let Some(writer) = self.nics.get(nic) else { return };
            let Some(document) = writer.document_since(since) else {
                // A NIC that cannot be read does not stop the attach: Azure refuses an address
                // that stands elsewhere, and says where.
                if writer.is_gone() || writer.nic_problem().is_some() {
                    continue;
                }
                return;
            };
            for entry in &record.spec.addresses {
                let place = Place { nic: nic.clone(), address: entry.address };
                match document.find(entry.address) {
                    Some(config) if config.primary => {
                        let nic = nic.name();
                        let reason = format!("{} is the primary address of {nic}", entry.address);
                        return decision.wait(reason, None);
                    }
                    Some(_) if !to.contains(&place) => {
                        from.insert(place);
                    }
                    Some(_) | None => {}
                }
            }
        }
        if from.is_empty() {
            let (node, to) = (target.clone(), to.clone());
            let found = self.found_at(&to);
            decision.step(record, Step::BeginAttach { node, to, found });
        } else {
            self.detach(record, from, since, true, decision);
        }
    }

    fn found_at(&self, places: &BTreeSet<Place>) -> BTreeMap<IpAddr, Value> {
        places
            .iter()
            .filter_map(|place| {
                let found = self.nics.get(&place.nic)?.document()?.found(place.address)?;
                Some((place.address, found))
            })
            .collect()
    }

    /// Begins a detach. What belongs to the ipConfigurations is read before and committed with it;
    /// coming from a VIP that was held, whatever is still exposed is sealed first.
    fn detach(
        &self,
        record: &VipRecord,
        from: BTreeSet<Place>,
        since: Clocks,
        from_rest: bool,
        decision: &mut Decision,
    ) {
        if from_rest {
            self.seal_exposed(record, decision);
            if let Some(nic) = decision.seals.first() {
                let reason = format!("sealing NIC {} first", nic.name());
                return decision.wait(reason, None);
            }
        }
        self.read(from.iter().map(|place| &place.nic), since, decision);
        for place in &from {
            let Some(writer) = self.nics.get(&place.nic) else { return };
            if !writer.is_gone() && writer.document_since(since).is_none() && from_rest {
                return self.say_problem(place, decision);
            }
        }
        let found = self.found_at(&from);
        let cleared = self.cleared(record);
        decision.step(record, Step::BeginDetach { from, found, cleared });
    }

    fn attaching(
        &self,
        record: &VipRecord,
        open: &Move,
        to: &BTreeSet<Place>,
        from: &BTreeSet<Place>,
        since: Clocks,
        decision: &mut Decision,
    ) {
        for place in to {
            let Some(writer) = self.nics.get(&place.nic) else { continue };
            if self.attach_accepted(record, place) {
                continue;
            }
            let Some(problem) = writer.problem(place.address) else { continue };
            let ProblemKind::AddressInUse { holder } = &problem.kind else {
                self.say_problem(place, decision);
                continue;
            };
            let same = |p: &&Place| p.address == place.address;
            // The detach failed after all: back to it.
            if from.iter().filter(same).any(|p| self.lists(p) == Some(true)) {
                let from = from.clone();
                return self.detach(record, from, since, false, decision);
            }
            let all_gone = from.iter().filter(same).all(|p| self.lists(p) == Some(false));
            if !all_gone {
                // The pipelined attach: Azure has not let go of it yet.
                continue;
            }
            let first_time = !self.lead.kicked.contains(&(record.name.clone(), record.azure_phase));
            if first_time && !from.is_empty() {
                decision.kicks.push(place.clone());
            }
            self.in_the_way(record, open, place, holder.as_ref(), since, decision);
        }
    }

    /// The address stands on a NIC that we did not know of. On a NIC of a member it is ours to take
    /// off; anywhere else only `force` takes it, and never a primary (I3).
    fn in_the_way(
        &self,
        record: &VipRecord,
        open: &Move,
        place: &Place,
        holder: Option<&NicId>,
        since: Clocks,
        decision: &mut Decision,
    ) {
        let Some(holder) = holder.filter(|holder| **holder != place.nic) else {
            return self.say_problem(place, decision);
        };
        self.read(core::iter::once(holder), since, decision);
        let member = self.state.nodes.values().any(|n| n.nics.iter().any(|nic| nic.id == *holder));
        let document = self.nics.get(holder).and_then(|writer| writer.document_since(since));
        let Some(config) = document.and_then(|document| document.find(place.address)) else {
            return self.say_problem(place, decision);
        };
        if config.primary {
            let reason = format!("{} is the primary address of {}", place.address, holder.name());
            return decision.wait(reason, None);
        }
        if member || open.force {
            let from = BTreeSet::from([Place { nic: holder.clone(), address: place.address }]);
            return self.detach(record, from, since, false, decision);
        }
        let reason = format!(
            "{} is held by NIC {}, which is of no member of this cluster; remove it there, or move \
             with force",
            place.address,
            holder.name()
        );
        decision.wait(reason, None);
    }

    fn say_problem(&self, place: &Place, decision: &mut Decision) {
        let Some(writer) = self.nics.get(&place.nic) else { return };
        if let Some(problem) = writer.problem(place.address) {
            let reason = format!("NIC {}: {problem}", place.nic.name());
            decision.wait(reason, writer.next_attempt(place.address));
        }
    }

    /// Rule 2: Held is reported when the attach was read back, the NIC is not exposed, and the
    /// target's kernel has the address under this epoch.
    fn arrival(&self, record: &VipRecord, open: &Move, target: &NodeId, decision: &mut Decision) {
        let (node, to, known) = match &record.azure {
            AzureTrack::Attaching { node, to, .. } => (node, to, false),
            AzureTrack::Attached { node, at } => (node, at, true),
            AzureTrack::Detached | AzureTrack::Detaching { .. } => return,
        };
        if node != target {
            return;
        }
        if known {
            // Committed by this leader or an earlier one: look again before it is reported.
            let key = (record.name.clone(), open.id);
            let since = self.lead.open_since.get(&key).copied().unwrap_or(self.now);
            self.read(to.iter().map(|place| &place.nic), since, decision);
            let fresh = |place: &Place| {
                self.nics.get(&place.nic).is_some_and(|w| w.document_since(since).is_some())
            };
            if !to.iter().all(fresh) {
                return;
            }
        }
        if !to.iter().all(|place| self.lists(place) == Some(true)) {
            return;
        }
        let exposed: BTreeSet<NicId> =
            to.iter().map(|place| place.nic.clone()).filter(|nic| !self.is_cleared(nic)).collect();
        if !exposed.is_empty() {
            decision.seals.extend(exposed);
            return;
        }
        let GrantTrack::Granted(grant) = &record.grant else {
            if !known {
                decision.step(record, Step::Attached);
            }
            return;
        };
        let at = VipEpoch { vip: record.name.clone(), epoch: grant.epoch };
        let entered = grant.epoch == open.epoch || open.cause == Cause::Drift;
        if grant.node == *target && entered && self.lead.peers.has_added(target, &at) {
            let cleared = self.cleared(record);
            decision.step(record, Step::Held { epoch: grant.epoch, cleared });
        } else if !known {
            decision.step(record, Step::Attached);
        } else if grant.node == *target {
            let report = self.lead.peers.latest(target).and_then(|beat| {
                beat.held.iter().find(|report| report.at == at).map(|report| &report.problem)
            });
            let why = report.filter(|problem| !problem.is_empty());
            let why = why.map_or(String::new(), |problem| format!(": {problem}"));
            decision.wait(format!("{target} has not added the address yet{why}"), None);
        }
    }

    // ---- disabled, deleted ----------------------------------------------------------------

    /// End the grant, detach, and then the record changes.
    fn taken_down(&self, record: &VipRecord, decision: &mut Decision) {
        if record.grant != GrantTrack::Over {
            return;
        }
        let key = (record.name.clone(), record.open.unwrap_or_default());
        let since = self.lead.open_since.get(&key).copied().unwrap_or(self.now);
        match &record.azure {
            AzureTrack::Attached { at, .. } => {
                self.detach(record, at.clone(), since, true, decision);
            }
            AzureTrack::Attaching { .. } => {
                self.detach(record, record.azure.places(), since, false, decision);
            }
            AzureTrack::Detaching { from } => {
                match from.iter().find(|place| self.lists(place) != Some(false)) {
                    None => decision.step(record, Step::Detached),
                    Some(place) => self.say_problem(place, decision),
                }
            }
            AzureTrack::Detached => {
                self.seal_exposed(record, decision);
                if record.intent == Intent::Disabled || decision.seals.is_empty() {
                    let cleared = self.cleared(record);
                    decision.step(record, Step::Ended { cleared });
                } else if let Some(nic) = decision.seals.first() {
                    decision.wait(format!("sealing NIC {} first", nic.name()), None);
                }
            }
        }
    }
}

fn no_candidate(reasons: &[(NodeId, String)]) -> String {
    if reasons.is_empty() {
        return "no candidate is eligible".to_owned();
    }
    let told: Vec<&str> = reasons.iter().map(|(_, reason)| reason.as_str()).collect();
    format!("no candidate is eligible: {}", told.join("; "))
}

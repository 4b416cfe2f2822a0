//! What callers ask of the leader: targets are chosen and looked at here, then the Registry decides.

use std::sync::Arc;

use vipfence_types::{Mutation, NicId, NodeId, VipName, VipSpec};

use super::{
    AskId, Coordinator, Effect, Purpose,
    estimate::{estimate, is_quiet},
    refuse, was_asked,
};
use crate::{
    ask::{Ask, AskError, MovePlan, PlannedWrite, Reply},
    nic::{Edit, HttpId, HttpRequest, HttpResult, budget::Class},
    registry::{
        Applied, AzureTrack, Body, COMMAND_FORMAT, Cause, Command, Expect, Intent, OperationKind,
        Phase, Refused, Request, VipRecord,
    },
    survey::Survey,
};

/// The most surveys at a time.
const MAX_SURVEYS: usize = 32;

impl Coordinator {
    pub(super) fn on_ask(&mut self, id: AskId, ask: Ask) {
        if let Err(error) = self.take_ask(id, ask) {
            self.effects.push(Effect::Reply { id, reply: Err(error) });
        }
    }

    fn take_ask(&mut self, id: AskId, ask: Ask) -> Result<(), AskError> {
        let Some(lead) = self.mover.lead() else {
            let leader = self.leader.clone().filter(|leader| *leader != self.setup.node);
            return Err(AskError::NotLeader { leader });
        };
        if self.state.term != lead.term {
            return Err(AskError::NotReady);
        }
        match ask {
            Ask::CreateVip { vip, spec, enabled, to, request } => {
                self.ask_create(id, vip, spec, enabled, to, request)
            }
            Ask::UpdateVip { vip, spec, request } => {
                self.propose(Purpose::Ask(id), Body::UpdateVip { vip, spec, request });
                Ok(())
            }
            Ask::SetIntent { vip, intent, request } => {
                let to = match (intent, self.state.vip(&vip), self.mover.lead()) {
                    (Intent::Held, Some(record), Some(lead)) => {
                        lead.best(self.now, &self.state, record, None).ok()
                    }
                    _ => None,
                };
                self.propose(Purpose::Ask(id), Body::SetIntent { vip, intent, to, request });
                Ok(())
            }
            Ask::MoveVip { vip, to, expect, dry_run, force, request } => {
                let asked = MoveAsked { vip, to, expect, force, request };
                self.ask_move(id, asked, dry_run)
            }
            Ask::Pause { scope, lasts, reason, by } => {
                let until_ms = lasts.map(|lasts| self.now.wall_us / 1_000 + millis(lasts));
                self.propose(Purpose::Ask(id), Body::Pause { scope, until_ms, reason, by });
                Ok(())
            }
            Ask::Resume { scope, by } => {
                self.propose(Purpose::Ask(id), Body::Resume { scope, over: None, by });
                Ok(())
            }
            Ask::Confirm { vip, go, by } => {
                self.propose(Purpose::Ask(id), Body::Confirm { vip, go, by });
                Ok(())
            }
            Ask::View => {
                let view = self.mover.view(self.now, &self.state);
                self.effects.push(Effect::Reply { id, reply: Ok(Reply::View(view)) });
                Ok(())
            }
        }
    }

    fn ask_create(
        &mut self,
        id: AskId,
        vip: VipName,
        spec: VipSpec,
        enabled: bool,
        to: Option<NodeId>,
        request: Request,
    ) -> Result<(), AskError> {
        let asked_before = was_asked(&self.state, &vip, &request);
        let body = Body::CreateVip { vip, spec: spec.clone(), enabled, to, request };
        // What the Registry would refuse, or has answered before, needs no survey.
        self.try_out(&body)?;
        // Nor does an address that stands on no NIC: a load balancer's frontend has it.
        if asked_before || spec.on_nics().is_empty() {
            self.propose(Purpose::Ask(id), body);
            return Ok(());
        }
        if self.surveys.len() >= MAX_SURVEYS {
            return Err(AskError::NotReady);
        }
        let state = Arc::clone(&self.state);
        let (survey, requests) =
            Survey::begin(&state, &spec, &self.setup.api_version, &mut self.next)?;
        self.surveys.insert(id, (survey, body));
        self.survey_asks(requests);
        Ok(())
    }

    /// Somebody waits for them: they are counted, and sent in any case.
    fn survey_asks(&mut self, requests: Vec<HttpRequest>) {
        for request in requests {
            let class = Class::of(request.method);
            self.budget.charge(self.now, class);
            self.warmth.asked(self.now);
            self.sent.insert(request.id, class);
            self.effects.push(Effect::Http(request));
        }
    }

    pub(super) fn on_survey(&mut self, ask: AskId, id: HttpId, result: HttpResult) {
        let Some((survey, _)) = self.surveys.get_mut(&ask) else { return };
        let (requests, verdict) = survey.answered(id, result, &mut self.next);
        self.survey_asks(requests);
        let Some(verdict) = verdict else { return };
        let Some((_, mut body)) = self.surveys.remove(&ask) else { return };
        match verdict {
            Err(error) => self.effects.push(Effect::Reply { id: ask, reply: Err(error) }),
            Ok(()) => {
                if let Body::CreateVip { spec, enabled: true, to: to @ None, .. } = &mut body {
                    *to = self.first_candidate(spec);
                }
                self.propose(Purpose::Ask(ask), body);
            }
        }
    }

    fn first_candidate(&self, spec: &VipSpec) -> Option<NodeId> {
        let view = self.mover.view(self.now, &self.state);
        let alive = |node: &&&NodeId| {
            view.get(**node).is_some_and(|seen| seen.state == crate::mover::NodeState::Alive)
                && self.state.nodes.get(**node).is_some_and(|known| known.hold.is_none())
        };
        self.state.candidates(spec).iter().find(alive).map(|node| (*node).clone())
    }

    fn ask_move(&mut self, id: AskId, asked: MoveAsked, dry_run: bool) -> Result<(), AskError> {
        let MoveAsked { vip, to, expect, force, request } = asked;
        let state = Arc::clone(&self.state);
        // A repeated request is answered by what it was answered with, also when the VIP is gone:
        // the Registry knows. A dry run executes nothing, so it repeats nothing.
        if !dry_run && was_asked(&state, &vip, &request) {
            let body = Body::StartMove { vip, to, cause: Cause::Request, expect, force, request };
            self.propose(Purpose::Ask(id), body);
            return Ok(());
        }
        let Some(record) = state.vip(&vip) else {
            return Err(refuse(Refused::VipNotFound(vip)));
        };
        let to = match to {
            Some(node) => {
                self.check_target(record, &node, force)?;
                Some(node)
            }
            None => Some(self.choose(record)?),
        };
        if dry_run {
            let Some(target) = to.clone() else { return Err(AskError::NotReady) };
            let (cause, request) = (Cause::Request, Request { id: None, ..request });
            self.try_out(&Body::StartMove { vip, to, cause, expect, force, request })?;
            let plan = self.dry_run(record, &target)?;
            self.effects.push(Effect::Reply { id, reply: Ok(Reply::Plan(plan)) });
            return Ok(());
        }
        if let Some(node) = &to {
            self.mover.forgive(&vip, node);
        }
        let cause = Cause::Request;
        let body = Body::StartMove { vip, to, cause, expect, force, request };
        self.propose(Purpose::Ask(id), body);
        if Mutation::AcknowledgedBeforeCommit.is_on() {
            let (index, applied) = (self.applied, Applied::Move(state.last_move.next()));
            self.effects.push(Effect::Reply { id, reply: Ok(Reply::Applied { index, applied }) });
        }
        Ok(())
    }

    /// Whether the Registry would refuse this now: applied to a copy, which is cheap.
    fn try_out(&self, body: &Body) -> Result<(), AskError> {
        let mut trial = self.state.as_ref().clone();
        let (format, by) = (COMMAND_FORMAT, self.setup.node.clone());
        let command = Command { format, at_ms: 0, by, body: body.clone() };
        match trial.apply(self.state.term, &command) {
            Applied::Refused(refused) => Err(refuse(refused)),
            Applied::Done | Applied::Move(_) => Ok(()),
        }
    }

    /// A target by name: known, a candidate, and (without force) able to take it now.
    fn check_target(&self, record: &VipRecord, node: &NodeId, force: bool) -> Result<(), AskError> {
        match self.state.check_may_hold(record, node) {
            Err(refused @ Refused::NodeNotFound(_)) => return Err(refuse(refused)),
            Err(refused) => {
                let reasons = vec![(node.clone(), refused.to_string())];
                return Err(AskError::NotEligible { vip: record.name.clone(), reasons });
            }
            Ok(()) => {}
        }
        let Some(lead) = self.mover.lead() else { return Ok(()) };
        let held_there = record.is_held() && record.holder() == Some(node);
        if force || held_there {
            return Ok(());
        }
        // A target that failed may be asked for again: the cause may have been mended.
        match lead.unwell(self.now, &self.state, record, node) {
            None => Ok(()),
            Some(reason) => {
                let reasons = vec![(node.clone(), reason)];
                Err(AskError::NotEligible { vip: record.name.clone(), reasons })
            }
        }
    }

    fn choose(&self, record: &VipRecord) -> Result<NodeId, AskError> {
        let Some(lead) = self.mover.lead() else { return Err(AskError::NotReady) };
        if record.intent == Intent::Disabled {
            return Err(refuse(Refused::VipDisabled(record.name.clone())));
        }
        lead.best(self.now, &self.state, record, record.holder())
            .map_err(|reasons| AskError::NotEligible { vip: record.name.clone(), reasons })
    }

    /// What a move would do, from the documents as the leader last read them.
    fn dry_run(&self, record: &VipRecord, to: &NodeId) -> Result<MovePlan, AskError> {
        let vip = record.name.clone();
        let failed = |reason: String| AskError::NotEligible {
            vip: vip.clone(),
            reasons: vec![(to.clone(), reason)],
        };
        let places = self
            .state
            .nodes
            .get(to)
            .ok_or_else(|| refuse(Refused::NodeNotFound(to.clone())))?
            .places(&record.spec)
            .map_err(|missing| failed(format!("{to} has no NIC \"{missing}\"")))?;
        let from = match &record.azure {
            AzureTrack::Attached { at, .. } => at.difference(&places).cloned().collect(),
            AzureTrack::Detached => std::collections::BTreeSet::new(),
            AzureTrack::Detaching { .. } | AzureTrack::Attaching { .. } => {
                record.azure.places().difference(&places).cloned().collect()
            }
        };
        let mut found = record.found.clone();
        let mut writes = Vec::new();
        for place in &from {
            if let Some(kept) = self.document(&place.nic).and_then(|d| d.found(place.address)) {
                found.insert(place.address, kept);
            }
            let edit = Edit::Detach { address: place.address };
            writes.extend(self.planned(&place.nic, OperationKind::Detach, &edit).map_err(failed)?);
        }
        for place in &places {
            let edit = Edit::Attach {
                address: place.address,
                name: record.config_name(place.address),
                found: found.get(&place.address).cloned().unwrap_or_default(),
            };
            writes.extend(self.planned(&place.nic, OperationKind::Attach, &edit).map_err(failed)?);
        }
        let view = self.mover.view(self.now, &self.state);
        let holder = record.holder().and_then(|holder| view.get(holder));
        let expected = estimate(&self.state, record, to, holder, &writes);
        let stays = record.holder() == Some(to);
        let phases = if stays && writes.is_empty() {
            vec![Phase::Held]
        } else if holder.is_some_and(is_quiet) && !stays {
            vec![Phase::Planned, Phase::Expiring, Phase::Detaching, Phase::Attaching, Phase::Held]
        } else if record.spec.release == vipfence_types::Release::Early {
            vec![Phase::Planned, Phase::Releasing, Phase::Detaching, Phase::Attaching, Phase::Held]
        } else {
            vec![Phase::Planned, Phase::Detaching, Phase::Attaching, Phase::Held]
        };
        Ok(MovePlan {
            from_node: record.holder().cloned(),
            to_node: to.clone(),
            phases,
            writes,
            expected,
        })
    }

    fn document(&self, nic: &NicId) -> Option<&crate::nic::NicDocument> {
        self.nics.get(nic).and_then(|writer| writer.document())
    }

    /// The write of one edit; none where the document shows it already.
    fn planned(
        &self,
        nic: &NicId,
        kind: OperationKind,
        edit: &Edit,
    ) -> Result<Option<PlannedWrite>, String> {
        let document = self
            .document(nic)
            .ok_or_else(|| format!("NIC {} has not been read yet", nic.name()))?;
        let edited = document
            .edited(core::slice::from_ref(edit))
            .map_err(|refused| format!("NIC {}: {refused}", nic.name()))?;
        if edited == *document.value() {
            return Ok(None);
        }
        Ok(Some(PlannedWrite { nic: nic.clone(), kind, patch: document.patch_to(&edited) }))
    }
}

fn millis(span: core::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A move as a caller asked for it.
struct MoveAsked {
    vip: VipName,
    to: Option<NodeId>,
    expect: Expect,
    force: bool,
    request: Request,
}

//! What is due: the next read, poll or write, and the conditions under which a write is sent.

use core::net::IpAddr;
use std::collections::BTreeMap;

use serde_json::Value;
use vipfence_types::{Clocks, Mutation, VipName};

use super::{
    Activity, GATHER_MOST, GATHER_QUIET, Gathering, NicEffect, NicWriter, Paused, Plan, Presence,
    Read, TAG, Want, pauses::pace,
};
use crate::{
    nic::{
        budget::{Budget, Class, Urgency},
        document::{Edit, NicDocument, Provisioning},
        problem::{Problem, ProblemKind},
        wire::{HttpId, HttpRequest, Method, SendBefore},
    },
    registry::Registry,
};

impl NicWriter {
    pub(super) fn advance(
        &mut self,
        now: Clocks,
        budget: &mut Budget,
        next: &mut u64,
        effects: &mut Vec<NicEffect>,
    ) {
        if self.activity != Activity::Idle {
            return;
        }
        self.starved = None;
        if let Some(operation) = &self.operation {
            if !operation.next_poll.later_than(now) {
                let url = operation.url.clone();
                if !self.affords(now, budget, Class::Read, Urgency::Upkeep) {
                    return;
                }
                let id = self.get(now, url, next, effects);
                self.activity = Activity::Polling(id);
            }
            return;
        }
        let paused = self.paused.as_ref().filter(|paused| paused.until.later_than(now));
        if paused.is_some_and(|paused| !self.may_read_in(paused, now)) {
            return;
        }
        if self.must_read(now) {
            let waited_for = !self.wants.is_empty() || !self.seals.is_empty();
            let urgency = if waited_for { Urgency::Move } else { self.read_for };
            if !self.affords(now, budget, Class::Read, urgency) {
                return;
            }
            let path = self.path();
            let id = self.get(now, path, next, effects);
            self.activity = Activity::Reading(id);
            return;
        }
        let Some((plan, etag)) = self.plan(now) else {
            // Nothing is due: a pause that is over has nothing left to hold up, and would wake us
            // without end. It is kept while the NIC is Updating, for its back-off.
            if self.updating_since.is_none() && self.gathering.is_none() {
                self.paused = None;
            }
            return;
        };
        let urgency = self.urgency_of(&plan);
        if !self.affords(now, budget, Class::Write, urgency) {
            return;
        }
        if Mutation::NoRoundBeforeWrite.is_on() {
            return self.send(now, plan, etag, now, next, effects);
        }
        if let Some(began) = self.confirmed_before_get.take() {
            return self.send(now, plan, etag, began, next, effects);
        }
        self.activity = Activity::Confirming { plan, etag, began: now };
        effects.push(NicEffect::Round);
    }

    /// Takes a request from the budget, before it is made; else says what is missing.
    fn affords(
        &mut self,
        now: Clocks,
        budget: &mut Budget,
        class: Class,
        urgency: Urgency,
    ) -> bool {
        let affords = budget.take(now, class, urgency);
        let text = "waiting, so as not to be throttled: Azure allows no more requests now";
        self.starved = (!affords).then(|| Problem::new(ProblemKind::Later, text));
        affords
    }

    /// A repetition of what Azure refused can wait; it must not use up what another move needs.
    fn urgency_of(&self, plan: &Plan) -> Urgency {
        match plan {
            Plan::Put { items, .. }
                if items.keys().all(|address| self.items_paused.contains_key(address)) =>
            {
                Urgency::Upkeep
            }
            Plan::Put { .. } | Plan::Seal { .. } => Urgency::Move,
        }
    }

    /// A write that waits by our own back-off does not keep a move waiting for its first look at
    /// this NIC. Only the first: one that fails waits like any other.
    fn may_read_in(&self, paused: &Paused, now: Clocks) -> bool {
        let first = self.read_since.is_some_and(|since| since.later_than(self.asked_at));
        paused.of_write && first && !paused.least.later_than(now)
    }

    pub(super) fn must_read(&self, now: Clocks) -> bool {
        let Some(read) = &self.read else {
            // A NIC that is gone is looked for again when somebody asks anew.
            return !self.gone
                || self.read_since.is_some_and(|since| since.later_than(self.asked_at));
        };
        let asked_for = self.read_since.is_some_and(|since| since.later_than(read.asked_at));
        let updating = self
            .updating_since
            .is_some_and(|since| now.mono_since(read.asked_at) >= pace(now, since));
        self.stale
            || asked_for
            || updating
            || self.must_look_for_absence(read)
            || self.must_look_after_waiting(read, now)
    }

    /// The wait that stands in for a seal is over: what has hit meanwhile shows now.
    fn must_look_after_waiting(&self, read: &Read, now: Clocks) -> bool {
        self.waited_out(now) == Some(true) && self.waited_out(read.asked_at) == Some(false)
    }

    /// An address that is to be taken off, and that an older document did not list, has no write of
    /// ours to show that it is gone: a read does.
    fn must_look_for_absence(&self, read: &Read) -> bool {
        self.wants.iter().any(|(address, want)| {
            want.presence == Presence::Absent
                && read.document.find(*address).is_none()
                && self.wanted_at.get(address).is_some_and(|at| at.later_than(read.asked_at))
        })
    }

    pub(super) fn path(&self) -> String {
        format!("{}?api-version={}", self.setup.nic.as_str(), self.setup.api_version)
    }

    pub(super) fn get(
        &mut self,
        now: Clocks,
        path: String,
        next: &mut u64,
        effects: &mut Vec<NicEffect>,
    ) -> HttpId {
        *next += 1;
        let id = HttpId(*next);
        self.asked_at = now;
        effects.push(NicEffect::Http(HttpRequest::get(id, path)));
        id
    }

    /// The write that is due, made from a fresh and settled document.
    pub(super) fn plan(&mut self, now: Clocks) -> Option<(Plan, String)> {
        let document = self.read.as_ref().map(|read| read.document.clone())?;
        if document.provisioning() == Provisioning::Updating {
            return None;
        }
        let etag = document.etag().to_owned();
        let due = self.due(now, &document);
        if self.gathers(now, due.len()) {
            return None;
        }
        if let Some(plan) = self.plan_put(now, &document, due) {
            return Some((plan, etag));
        }
        let waits = self.seals_paused.as_ref().is_some_and(|paused| paused.until.later_than(now));
        if waits || !self.is_seal_wanted() {
            return None;
        }
        self.seals_sent += 1;
        let value = format!("{}:{}.{}", self.setup.cluster, self.setup.term, self.seals_sent);
        let whole = self.patch_seals_nothing || !self.setup.epoch_tag;
        let body = match (self.setup.epoch_tag, whole) {
            (false, _) => document.value().clone(),
            (true, true) => document.with_tag(TAG, &value),
            (true, false) => document.tags_with(TAG, &value),
        };
        Some((Plan::Seal { asked: self.seals.clone(), whole, body }, etag))
    }

    pub(super) fn is_seal_wanted(&self) -> bool {
        !self.seals.is_empty() && !self.cleared && self.setup.trust_if_match
    }

    /// What a PUT is to change: what is wanted, not shown, and not put off.
    fn due(&mut self, now: Clocks, document: &NicDocument) -> BTreeMap<IpAddr, Want> {
        let mut items = BTreeMap::new();
        for (address, want) in self.wants.clone() {
            let config = document.find(address);
            let wanted = matches!(want.presence, Presence::Present { .. });
            let as_wanted = config.is_some() == wanted;
            if as_wanted && document.is_settled(address) {
                self.items_paused.remove(&address);
                continue;
            }
            if config.is_some_and(|config| config.provisioning == Provisioning::Updating) {
                self.updating_since.get_or_insert(now);
                continue;
            }
            let waits =
                self.items_paused.get(&address).is_some_and(|paused| paused.until.later_than(now));
            // In a document that is Failed, presence proves nothing: it is written again.
            if !waits && items.len() < self.batch && self.may_write(now, address, &want) {
                items.insert(address, want);
            }
        }
        items
    }

    fn plan_put(
        &mut self,
        now: Clocks,
        document: &NicDocument,
        mut items: BTreeMap<IpAddr, Want>,
    ) -> Option<Plan> {
        // So it is after every input at rest, and an edit copies the whole document.
        if items.is_empty() {
            return None;
        }
        let edit = |(address, want): (&IpAddr, &Want)| match want.presence.clone() {
            Presence::Present { name, found } => Edit::Attach { address: *address, name, found },
            Presence::Absent => Edit::Detach { address: *address },
        };
        let edits: Vec<Edit> = items.iter().map(edit).collect();
        let body = match document.edited(&edits) {
            Ok(body) => body,
            Err(_) => self.edited_one_by_one(now, document, &edits, &mut items),
        };
        (!items.is_empty()).then_some(Plan::Put { items, body })
    }

    /// The document with those edits made that can be; the others leave the batch.
    fn edited_one_by_one(
        &mut self,
        now: Clocks,
        document: &NicDocument,
        edits: &[Edit],
        items: &mut BTreeMap<IpAddr, Want>,
    ) -> Value {
        let mut body = document.clone();
        for edit in edits {
            let (Edit::Attach { address, .. } | Edit::Detach { address }) = edit;
            let edited = body.edited(core::slice::from_ref(edit)).map_err(|why| why.to_string());
            match edited.and_then(|next| NicDocument::new(next).map_err(|why| why.to_string())) {
                Ok(next) => body = next,
                Err(why) => {
                    items.remove(address);
                    self.edit_refused(now, *address, &why);
                }
            }
        }
        body.value().clone()
    }

    /// Whether a write waits for VIPs that are about to join it: everything due on a NIC travels in
    /// one PUT, and whoever misses it waits for a whole operation.
    fn gathers(&mut self, now: Clocks, due: usize) -> bool {
        if due == 0 || !self.more_to_come {
            self.gathering = None;
            return false;
        }
        let gathering = self.gathering.get_or_insert(Gathering { began: now, grew: now, due: 0 });
        if due != gathering.due {
            (gathering.due, gathering.grew) = (due, now);
        }
        now.mono_since(gathering.grew) < GATHER_QUIET
            && now.mono_since(gathering.began) < GATHER_MOST
    }

    fn edit_refused(&mut self, now: Clocks, address: IpAddr, why: &str) {
        self.met.push(ProblemKind::Refused);
        let problem = Problem::new(ProblemKind::Refused, why);
        self.pause_item(now, address, problem, None);
    }

    /// Whether to write what the document does not show, or not as Succeeded. What was accepted for
    /// this very want has come to nothing: it counts as accepted no more (I8), and is repeated with
    /// growing back-off only.
    fn may_write(&mut self, now: Clocks, address: IpAddr, want: &Want) -> bool {
        if self.accepted.get(&address) != Some(want) {
            return true;
        }
        self.accepted.remove(&address);
        self.met.push(ProblemKind::Later);
        let text = "Azure accepted the write, and the NIC does not show it as done";
        self.pause_item(now, address, Problem::new(ProblemKind::Later, text), None);
        false
    }

    /// I7: the phase that asks for the write has not changed, and is still wanted.
    pub(super) fn is_current(&self, plan: &Plan, state: &Registry) -> bool {
        let phase = |vip: &VipName| state.vip(vip).map(|record| record.azure_phase);
        match plan {
            Plan::Put { items, .. } => items.iter().all(|(address, want)| {
                phase(&want.vip) == Some(want.phase) && self.wants.get(address) == Some(want)
            }),
            Plan::Seal { asked, .. } => asked.iter().any(|(vip, asked)| phase(vip) == Some(*asked)),
        }
    }

    pub(super) fn send(
        &mut self,
        now: Clocks,
        plan: Plan,
        etag: String,
        began: Clocks,
        next: &mut u64,
        effects: &mut Vec<NicEffect>,
    ) {
        *next += 1;
        let id = HttpId(*next);
        let (method, body) = match &plan {
            Plan::Put { body, .. } | Plan::Seal { whole: true, body, .. } => (Method::Put, body),
            Plan::Seal { body, .. } => (Method::Patch, body),
        };
        let request_id = format!("vipfence-{}-{}", self.setup.term, id.0);
        let mut headers = BTreeMap::from([
            ("if-match".to_owned(), etag.clone()),
            ("x-ms-client-request-id".to_owned(), request_id),
        ]);
        if Mutation::NoIfMatch.is_on() {
            headers.remove("if-match");
        }
        effects.push(NicEffect::Http(HttpRequest {
            id,
            method,
            path: self.path(),
            headers,
            body: Some(body.clone()),
            send_before: Some(SendBefore { began, window: self.setup.write_window }),
        }));
        self.gathering = None;
        // Until it is answered, this write is one of unknown outcome.
        let was_cleared = core::mem::replace(&mut self.cleared, false);
        self.stale = true;
        self.asked_at = now;
        self.activity = Activity::Writing { id, plan, etag, was_cleared };
    }
}

//! NicWriter: makes one NIC's document what the Mover wants it to be.
//!
//! ```text
//!        +-----------------------------------------------------------+
//!        v                                                           |
//! Idle -> Reading -> Idle -> Confirming -> Writing -> (operation) -> Polling
//!          GET       plan    quorum round   PUT/PATCH               GET operation
//! ```
//!
//! It is level-triggered: the Mover replaces its wants at will, and whatever is in flight is awaited
//! before the next plan is made from a fresh document. Every write is a compare-and-swap: read (the
//! ETag), then a quorum round, then the write with `If-Match`, within the write window (I2, I7). A
//! plan of which any VIP's phase has changed is void before it is sent. Everything due on the NIC
//! travels in one PUT; an address that Azure refuses leaves the batch.
//!
//! It does not know why an address should be where, and never decides that a step is over: it says
//! what was read back (I8), what was accepted, and whether an older write could still hit the NIC.

use core::{net::IpAddr, time::Duration};
use std::collections::BTreeMap;

use serde_json::Value;
use vipfence_types::{Clocks, NicId, Revision, Term, VipName};

use super::{
    document::{Edit, NicDocument, Provisioning},
    problem::{Problem, ProblemKind},
    wire::{HttpAnswer, HttpId, HttpRequest, HttpResult, Method, SendBefore},
};
use crate::registry::{OperationKind, Registry};

/// The tag of ours on a NIC: its value changes with every seal.
pub(crate) const TAG: &str = "vipfence";

const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(3);
/// For so long a missing operation counts as not yet known to Azure (azure.md §3).
const EARLY_NOT_FOUND: Duration = Duration::from_secs(10);
/// Polls in a row without news before the operation's URL is given up.
const MAX_MISSES: u32 = 5;
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
const ATTACH_RETRY_MAX: Duration = Duration::from_secs(5);

/// What a NicWriter needs to know once.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) nic: NicId,
    pub(crate) api_version: String,
    pub(crate) term: Term,
    /// When this process saw itself elected (the bound of exposure counts from here).
    pub(crate) elected_at: Clocks,
    pub(crate) write_window: Duration,
    pub(crate) azure_max: Duration,
    /// First part of the tag's value: the cluster's name.
    pub(crate) cluster: String,
}

/// Where an address is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Presence {
    /// On this NIC, under this name, with what belongs to it.
    Present { name: String, found: Value },
    /// Not on this NIC.
    Absent,
}

/// What a committed phase asks of this NIC for one address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Want {
    pub(crate) vip: VipName,
    /// The phase that asks; a write is void once it has changed (I7).
    pub(crate) phase: Revision,
    pub(crate) presence: Presence,
}

/// What a NicWriter asks of its surroundings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NicEffect {
    /// Send this.
    Http(HttpRequest),
    /// Make a quorum round that begins now, and bring the result.
    Round,
    /// A write was accepted, or its operation ended: for the move's record.
    Operation { vips: Vec<VipName>, news: OperationNews },
}

/// News of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OperationNews {
    pub(crate) kind: OperationKind,
    pub(crate) url: String,
    pub(crate) status: String,
    pub(crate) started_ms: u64,
    pub(crate) ended_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Plan {
    /// Edits of these addresses, and the body that makes them.
    Put { items: BTreeMap<IpAddr, Want>, body: Value },
    /// A tag write for these phases.
    Seal { asked: BTreeMap<VipName, Revision>, whole: bool, body: Value },
}

#[derive(Clone, Debug, PartialEq)]
enum Activity {
    Idle,
    Reading(HttpId),
    Confirming { plan: Plan, etag: String, began: Clocks },
    Writing { id: HttpId, plan: Plan, etag: String, was_cleared: bool },
    Polling(HttpId),
}

#[derive(Clone, Debug, PartialEq)]
struct Operation {
    url: String,
    kind: OperationKind,
    vips: Vec<VipName>,
    started: Clocks,
    next_poll: Clocks,
    /// Polls in a row that said nothing.
    misses: u32,
}

/// A write that was answered.
struct Sent {
    plan: Plan,
    etag: String,
    was_cleared: bool,
}

/// A document and when it was asked for.
#[derive(Clone, Debug)]
struct Read {
    document: NicDocument,
    asked_at: Clocks,
}

/// A problem and when to try again.
#[derive(Clone, Debug)]
struct Paused {
    problem: Problem,
    since: Clocks,
    until: Clocks,
    tries: u32,
    /// A read that succeeds does not end it.
    of_write: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct NicWriter {
    setup: Setup,
    wants: BTreeMap<IpAddr, Want>,
    seals: BTreeMap<VipName, Revision>,
    /// The document must have been asked for after this.
    read_since: Option<Clocks>,
    read: Option<Read>,
    /// The document may have changed by our doing: read again before anything else.
    stale: bool,
    gone: bool,
    activity: Activity,
    asked_at: Clocks,
    operation: Option<Operation>,
    paused: Option<Paused>,
    items_paused: BTreeMap<IpAddr, Paused>,
    updating_since: Option<Clocks>,
    accepted: BTreeMap<IpAddr, Want>,
    /// Our latest write or seal here in this term was accepted, and none of unknown outcome was
    /// sent after it.
    cleared: bool,
    last_unknown: Option<Clocks>,
    seal_refused: bool,
    /// A tag PATCH did not change the ETag: seal with a whole PUT.
    patch_seals_nothing: bool,
    /// ETag before a seal that is to be checked.
    sealing_from: Option<String>,
    seals_sent: u64,
    batch: usize,
}

impl NicWriter {
    pub(crate) fn new(setup: Setup, now: Clocks) -> Self {
        Self {
            setup,
            wants: BTreeMap::new(),
            seals: BTreeMap::new(),
            read_since: None,
            read: None,
            stale: true,
            gone: false,
            activity: Activity::Idle,
            asked_at: now,
            operation: None,
            paused: None,
            items_paused: BTreeMap::new(),
            updating_since: None,
            accepted: BTreeMap::new(),
            cleared: false,
            last_unknown: None,
            seal_refused: false,
            patch_seals_nothing: false,
            sealing_from: None,
            seals_sent: 0,
            batch: usize::MAX,
        }
    }

    // ---- what is wanted -------------------------------------------------------------------

    /// Replaces the wants. What is no longer wanted is not undone: nobody asks for it any more.
    pub(crate) fn want(
        &mut self,
        wants: BTreeMap<IpAddr, Want>,
        seals: BTreeMap<VipName, Revision>,
    ) {
        if self.wants != wants {
            // A new wish of an address is tried at once.
            self.items_paused.retain(|address, _| wants.get(address) == self.wants.get(address));
            if self.paused.as_ref().is_some_and(|paused| paused.of_write) {
                self.paused = None;
            }
            self.wants = wants;
        }
        self.seals = seals;
    }

    /// Asks for a document that was read after `since`.
    pub(crate) fn read_after(&mut self, since: Option<Clocks>) {
        self.read_since = since;
    }

    /// Follows the operation that an earlier leader committed.
    pub(crate) fn follow(&mut self, url: &str, kind: OperationKind, vip: &VipName, now: Clocks) {
        if self.operation.is_none() && !url.is_empty() {
            let (url, vips) = (url.to_owned(), vec![vip.clone()]);
            self.operation =
                Some(Operation { url, kind, vips, started: now, next_poll: now, misses: 0 });
        }
    }

    /// The address may have become free: try a refused attach now.
    pub(crate) fn retry_attach(&mut self, address: IpAddr) {
        if let Some(paused) = self.items_paused.get_mut(&address) {
            if matches!(paused.problem.kind, ProblemKind::AddressInUse { .. }) {
                paused.until = paused.since;
            }
        }
    }

    // ---- what is known --------------------------------------------------------------------

    /// The last document, whatever is going on.
    pub(crate) fn document(&self) -> Option<&NicDocument> {
        self.read.as_ref().map(|read| &read.document)
    }

    /// The document, if it was read after `since` and nothing of ours has been sent after it.
    pub(crate) fn document_since(&self, since: Clocks) -> Option<&NicDocument> {
        let read = self.read.as_ref()?;
        (!self.stale && !since.later_than(read.asked_at)).then_some(&read.document)
    }

    /// Whether an address was *read back* (design.md §5): the operation is over, and a later GET
    /// shows NIC and ipConfigurations as Succeeded. `None` = cannot be told now. A NIC that is gone
    /// lists nothing.
    pub(crate) fn lists(&self, address: IpAddr) -> Option<bool> {
        if self.gone {
            return Some(false);
        }
        let quiet = !self.stale && self.operation.is_none();
        let writing = matches!(self.activity, Activity::Writing { .. });
        let document = self.document().filter(|document| document.is_settled())?;
        (quiet && !writing).then(|| document.find(address).is_some_and(|config| !config.primary))
    }

    /// Whether Azure has accepted a write of this want in this term, or it was read back as done.
    pub(crate) fn is_accepted(&self, address: IpAddr, want: &Want) -> bool {
        let present = matches!(want.presence, Presence::Present { .. });
        self.lists(address) == Some(present) || self.accepted.get(&address) == Some(want)
    }

    /// Whether a write of this want was accepted, in this term and for this very phase.
    pub(crate) fn was_accepted(&self, address: IpAddr, want: &Want) -> bool {
        self.accepted.get(&address) == Some(want)
    }

    /// Whether no write that was sent before can change this NIC any more (I2).
    pub(crate) fn is_cleared(&self, now: Clocks) -> bool {
        if self.cleared || self.gone {
            return true;
        }
        // Where a seal is refused for good only time helps (design.md §6, §11 b).
        let last = self.last_unknown.unwrap_or(self.setup.elected_at);
        let bound = self.setup.write_window + self.setup.azure_max;
        self.seal_refused && now.shortest_since(last) >= bound
    }

    /// The NIC does not exist.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// What stands in the way of an address, or of everything on this NIC.
    pub(crate) fn problem(&self, address: IpAddr) -> Option<&Problem> {
        let paused = self.items_paused.get(&address).or(self.paused.as_ref());
        paused.map(|paused| &paused.problem)
    }

    /// What stands in the way of everything on this NIC.
    pub(crate) fn nic_problem(&self) -> Option<&Problem> {
        self.paused.as_ref().map(|paused| &paused.problem)
    }

    /// When something that waits is tried again.
    pub(crate) fn next_attempt(&self, address: IpAddr) -> Option<Clocks> {
        let paused = self.items_paused.get(&address).or(self.paused.as_ref());
        paused.map(|paused| paused.until)
    }

    /// How long until `tick` has something to do.
    pub(crate) fn wake_in(&self, now: Clocks) -> Option<Duration> {
        if self.activity != Activity::Idle {
            return None;
        }
        let until = |at: Clocks| at.mono_since(now);
        if let Some(operation) = &self.operation {
            return Some(until(operation.next_poll));
        }
        if let Some(paused) = &self.paused {
            return Some(until(paused.until));
        }
        let items = self.items_paused.values().map(|paused| until(paused.until)).min();
        let updating = self.updating_since.map(|since| {
            let last = self.read.as_ref().map_or(since, |read| read.asked_at);
            pace(now, since).saturating_sub(now.mono_since(last))
        });
        items.into_iter().chain(updating).min()
    }

    // ---- what happens ---------------------------------------------------------------------

    /// Does what is due. The other inputs only take note, so that the wants can be brought up to
    /// date in between.
    pub(crate) fn tick(&mut self, now: Clocks, next: &mut u64) -> Vec<NicEffect> {
        let mut effects = Vec::new();
        self.advance(now, next, &mut effects);
        effects
    }

    /// The quorum round that was asked for has ended: `confirmed` is the state up to its read index
    /// if this node led in this very term, else none.
    pub(crate) fn on_round(
        &mut self,
        now: Clocks,
        confirmed: Option<&Registry>,
        next: &mut u64,
    ) -> Vec<NicEffect> {
        let mut effects = Vec::new();
        let Activity::Confirming { plan, etag, began } = self.activity.clone() else {
            return effects;
        };
        self.activity = Activity::Idle;
        match confirmed {
            None => {
                let problem = Problem::new(ProblemKind::Later, "no majority was reached");
                self.pause(now, problem, None, true);
            }
            Some(state) if self.is_current(&plan, state) => {
                self.send(now, plan, etag, began, next, &mut effects);
            }
            // Something was superseded meanwhile: plan anew.
            Some(_) => {}
        }
        effects
    }

    /// An answer of ARM.
    pub(crate) fn on_http(
        &mut self,
        now: Clocks,
        id: HttpId,
        result: HttpResult,
    ) -> Vec<NicEffect> {
        let mut effects = Vec::new();
        match self.activity.clone() {
            Activity::Reading(asked) if asked == id => {
                self.activity = Activity::Idle;
                self.on_read(now, result);
            }
            Activity::Polling(asked) if asked == id => {
                self.activity = Activity::Idle;
                self.on_poll(now, result, &mut effects);
            }
            Activity::Writing { id: asked, plan, etag, was_cleared } if asked == id => {
                self.activity = Activity::Idle;
                self.on_written(now, Sent { plan, etag, was_cleared }, result, &mut effects);
            }
            _ => {}
        }
        effects
    }

    fn advance(&mut self, now: Clocks, next: &mut u64, effects: &mut Vec<NicEffect>) {
        if self.activity != Activity::Idle {
            return;
        }
        if let Some(operation) = &self.operation {
            if !operation.next_poll.later_than(now) {
                let url = operation.url.clone();
                let id = self.get(now, url, next, effects);
                self.activity = Activity::Polling(id);
            }
            return;
        }
        if self.paused.as_ref().is_some_and(|paused| paused.until.later_than(now)) {
            return;
        }
        if self.must_read(now) {
            let path = self.path();
            let id = self.get(now, path, next, effects);
            self.activity = Activity::Reading(id);
            return;
        }
        let Some((plan, etag)) = self.plan(now) else {
            return;
        };
        self.activity = Activity::Confirming { plan, etag, began: now };
        effects.push(NicEffect::Round);
    }

    fn must_read(&self, now: Clocks) -> bool {
        let Some(read) = &self.read else {
            // A NIC that is gone is looked for again when somebody asks anew.
            return !self.gone
                || self.read_since.is_some_and(|since| since.later_than(self.asked_at));
        };
        let asked_for = self.read_since.is_some_and(|since| since.later_than(read.asked_at));
        let updating = self
            .updating_since
            .is_some_and(|since| now.mono_since(read.asked_at) >= pace(now, since));
        self.stale || asked_for || updating
    }

    fn path(&self) -> String {
        format!("{}?api-version={}", self.setup.nic.as_str(), self.setup.api_version)
    }

    fn get(
        &mut self,
        now: Clocks,
        path: String,
        next: &mut u64,
        effects: &mut Vec<NicEffect>,
    ) -> HttpId {
        *next += 1;
        let id = HttpId(*next);
        self.asked_at = now;
        effects.push(NicEffect::Http(HttpRequest {
            id,
            method: Method::Get,
            path,
            headers: BTreeMap::new(),
            body: None,
            send_before: None,
        }));
        id
    }

    /// The write that is due, made from a fresh and settled document.
    fn plan(&mut self, now: Clocks) -> Option<(Plan, String)> {
        let document = self.read.as_ref().map(|read| read.document.clone())?;
        if document.provisioning() == Provisioning::Updating {
            return None;
        }
        let etag = document.etag().to_owned();
        if let Some(plan) = self.plan_put(now, &document) {
            return Some((plan, etag));
        }
        if self.seals.is_empty() || self.cleared || self.seal_refused {
            return None;
        }
        self.seals_sent += 1;
        let value = format!("{}:{}.{}", self.setup.cluster, self.setup.term, self.seals_sent);
        let whole = self.patch_seals_nothing;
        let body =
            if whole { document.with_tag(TAG, &value) } else { document.tags_with(TAG, &value) };
        Some((Plan::Seal { asked: self.seals.clone(), whole, body }, etag))
    }

    fn plan_put(&mut self, now: Clocks, document: &NicDocument) -> Option<Plan> {
        let failed = !document.is_settled();
        let mut items = BTreeMap::new();
        let mut body = document.clone();
        for (address, want) in self.wants.clone() {
            let waits =
                self.items_paused.get(&address).is_some_and(|paused| paused.until.later_than(now));
            let present = document.find(address).is_some();
            let wanted = matches!(want.presence, Presence::Present { .. });
            // In a document that is Failed, presence proves nothing: it is written again.
            if waits || items.len() >= self.batch || (present == wanted && !failed) {
                continue;
            }
            let edit = match want.presence.clone() {
                Presence::Present { name, found } => Edit::Attach { address, name, found },
                Presence::Absent => Edit::Detach { address },
            };
            match body.edited(&[edit]).map(NicDocument::new) {
                Ok(Ok(edited)) => {
                    body = edited;
                    items.insert(address, want);
                }
                Ok(Err(error)) => {
                    let problem = Problem::new(ProblemKind::Refused, error.to_string());
                    self.pause_item(now, address, problem, None);
                }
                Err(error) => {
                    let problem = Problem::new(ProblemKind::Refused, error.to_string());
                    self.pause_item(now, address, problem, None);
                }
            }
        }
        (!items.is_empty()).then(|| Plan::Put { items, body: body.value().clone() })
    }

    /// I7: the phase that asks for the write has not changed, and is still wanted.
    fn is_current(&self, plan: &Plan, state: &Registry) -> bool {
        let phase = |vip: &VipName| state.vip(vip).map(|record| record.azure_phase);
        match plan {
            Plan::Put { items, .. } => items.iter().all(|(address, want)| {
                phase(&want.vip) == Some(want.phase) && self.wants.get(address) == Some(want)
            }),
            Plan::Seal { asked, .. } => asked.iter().any(|(vip, asked)| phase(vip) == Some(*asked)),
        }
    }

    fn send(
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
        effects.push(NicEffect::Http(HttpRequest {
            id,
            method,
            path: self.path(),
            headers: BTreeMap::from([
                ("if-match".to_owned(), etag.clone()),
                ("x-ms-client-request-id".to_owned(), request_id),
            ]),
            body: Some(body.clone()),
            send_before: Some(SendBefore { began, window: self.setup.write_window }),
        }));
        // Until it is answered, this write is one of unknown outcome.
        let was_cleared = core::mem::replace(&mut self.cleared, false);
        self.stale = true;
        self.asked_at = now;
        self.activity = Activity::Writing { id, plan, etag, was_cleared };
    }

    fn on_read(&mut self, now: Clocks, result: HttpResult) {
        let problem = match result {
            Ok(answer) if answer.status == 200 => match NicDocument::new(answer.body) {
                Ok(document) => return self.on_document(now, document),
                Err(error) => (Problem::new(ProblemKind::Unknown, error.to_string()), None),
            },
            Ok(answer) => Problem::of_answer(&answer),
            Err(fault) => (Problem::of_fault(&fault), None),
        };
        let (problem, after) = problem;
        if problem.kind == ProblemKind::Gone {
            self.gone = true;
            self.stale = false;
            self.read = None;
            self.paused = None;
            self.updating_since = None;
            return;
        }
        self.pause(now, problem, after, false);
    }

    fn on_document(&mut self, now: Clocks, document: NicDocument) {
        self.gone = false;
        self.stale = false;
        if self.paused.as_ref().is_some_and(|paused| !paused.of_write) {
            self.paused = None;
        }
        if let Some(before) = self.sealing_from.take() {
            // H7: a tag PATCH that left the ETag alone has sealed nothing.
            self.cleared = before != document.etag();
            self.patch_seals_nothing = !self.cleared;
        }
        let updating = document.provisioning() == Provisioning::Updating;
        self.updating_since = updating.then(|| self.updating_since.unwrap_or(now));
        self.read = Some(Read { document, asked_at: self.asked_at });
    }

    fn on_written(
        &mut self,
        now: Clocks,
        sent: Sent,
        result: HttpResult,
        effects: &mut Vec<NicEffect>,
    ) {
        let (problem, after) = match result {
            Ok(answer) if matches!(answer.status, 200..=202) => {
                return self.on_accepted(now, sent, &answer, effects);
            }
            Ok(answer) => {
                let (problem, after) = Problem::of_answer(&answer);
                self.blame(now, &sent.plan, &answer, &problem, after);
                (problem, after)
            }
            Err(fault) => (Problem::of_fault(&fault), None),
        };
        // A write of known outcome leaves the NIC as clear as it was.
        self.cleared = sent.was_cleared && problem.kind != ProblemKind::Unknown;
        let sealing = matches!(sent.plan, Plan::Seal { .. });
        match problem.kind {
            ProblemKind::Unknown => {
                self.last_unknown = Some(now);
                self.pause(now, problem, after, true);
            }
            // The fresh document, which is read next in any case, decides.
            ProblemKind::Changed | ProblemKind::Gone => {}
            ProblemKind::Later | ProblemKind::Unauthorized => self.pause(now, problem, after, true),
            ProblemKind::Forbidden => {
                self.seal_refused |= sealing;
                self.pause(now, problem, after, true);
            }
            ProblemKind::AddressInUse { .. }
            | ProblemKind::AddressCleaning
            | ProblemKind::Refused => self.seal_refused |= sealing,
        }
    }

    /// Which addresses of a refused batch are at fault: those that the error names, or the only
    /// one; where none is named, the batch is halved (H15).
    fn blame(
        &mut self,
        now: Clocks,
        plan: &Plan,
        answer: &HttpAnswer,
        problem: &Problem,
        after: Option<Duration>,
    ) {
        let of_item = matches!(
            problem.kind,
            ProblemKind::AddressInUse { .. } | ProblemKind::AddressCleaning | ProblemKind::Refused
        );
        let Plan::Put { items, .. } = plan else {
            return;
        };
        if !of_item {
            return;
        }
        let error = super::problem::AzureError::read(&answer.body);
        let named: Vec<IpAddr> = items
            .iter()
            .filter(|(address, want)| match &want.presence {
                Presence::Present { name, .. } => error.names(**address, name),
                Presence::Absent => error.names(**address, ""),
            })
            .map(|(address, _)| *address)
            .collect();
        let blamed = if !named.is_empty() {
            named
        } else if items.len() == 1 {
            items.keys().copied().collect()
        } else {
            self.batch = (items.len() / 2).max(1);
            return;
        };
        for address in blamed {
            self.pause_item(now, address, problem.clone(), after);
        }
    }

    fn on_accepted(
        &mut self,
        now: Clocks,
        sent: Sent,
        answer: &HttpAnswer,
        effects: &mut Vec<NicEffect>,
    ) {
        // A tag PATCH counts only after a read has shown another ETag.
        self.cleared = !matches!(sent.plan, Plan::Seal { whole: false, .. });
        self.stale = true;
        self.batch = usize::MAX;
        self.paused = None;
        let (kind, vips): (_, Vec<VipName>) = match sent.plan {
            Plan::Put { items, .. } => {
                let attach = |want: &Want| matches!(want.presence, Presence::Present { .. });
                let kind = if items.values().any(attach) {
                    OperationKind::Attach
                } else {
                    OperationKind::Detach
                };
                let vips = items.values().map(|want| want.vip.clone()).collect();
                for (address, want) in items {
                    self.forget_refusal(address);
                    self.accepted.insert(address, want);
                }
                (kind, vips)
            }
            Plan::Seal { asked, whole, .. } => {
                self.sealing_from = (!whole).then_some(sent.etag);
                (OperationKind::Seal, asked.into_keys().collect())
            }
        };
        let url = answer.headers.get("azure-asyncoperation").cloned().unwrap_or_default();
        let over = url.is_empty();
        let news = OperationNews {
            kind,
            url: url.clone(),
            status: if over { "Succeeded" } else { "InProgress" }.to_owned(),
            started_ms: now.wall_us / 1_000,
            ended_ms: over.then_some(now.wall_us / 1_000),
        };

        effects.push(NicEffect::Operation { vips: vips.clone(), news });
        if !over {
            let next_poll = now.plus(POLL_MIN);
            self.operation =
                Some(Operation { url, kind, vips, started: now, next_poll, misses: 0 });
        }
    }

    fn on_poll(&mut self, now: Clocks, result: HttpResult, effects: &mut Vec<NicEffect>) {
        let Some(mut operation) = self.operation.take() else {
            return;
        };
        let age = now.mono_since(operation.started);
        let wait = match result {
            Ok(answer) if answer.status == 200 => {
                let status = answer.body.get("status").and_then(Value::as_str).unwrap_or_default();
                match status {
                    "Succeeded" => {
                        self.forget_problems(&operation.vips);
                        return self.ended(now, &operation, status, effects);
                    }
                    "Failed" | "Canceled" => {
                        let problem = Problem::of_operation(status, &answer.body);
                        for (address, want) in self.wants.clone() {
                            if operation.vips.contains(&want.vip) {
                                self.accepted.remove(&address);
                                self.pause_item(now, address, problem.clone(), None);
                            }
                        }
                        return self.ended(now, &operation, status, effects);
                    }
                    _ => pace(now, operation.started),
                }
            }
            Ok(answer) if answer.status == 404 && age < EARLY_NOT_FOUND => {
                pace(now, operation.started)
            }
            // The URL is lost, or nobody answers there: the NIC itself says when it is no longer
            // Updating.
            _ if operation.misses >= MAX_MISSES => {
                return self.ended(now, &operation, "Unknown", effects);
            }
            Ok(answer) => {
                operation.misses += 1;
                answer.retry_after().unwrap_or(RETRY_MIN)
            }
            Err(_) => {
                operation.misses += 1;
                RETRY_MIN
            }
        };
        operation.next_poll = now.plus(wait);
        self.operation = Some(operation);
    }

    fn ended(
        &mut self,
        now: Clocks,
        operation: &Operation,
        status: &str,
        effects: &mut Vec<NicEffect>,
    ) {
        self.stale = true;
        let started_ms = operation.started.wall_us / 1_000;
        effects.push(NicEffect::Operation {
            vips: operation.vips.clone(),
            news: OperationNews {
                kind: operation.kind,
                url: operation.url.clone(),
                status: status.to_owned(),
                started_ms,
                ended_ms: Some(now.wall_us / 1_000),
            },
        });
    }

    /// An accepted write answers a refused attach; how often an operation failed is remembered.
    fn forget_refusal(&mut self, address: IpAddr) {
        let in_use = self.items_paused.get(&address).is_some_and(|paused| {
            matches!(
                paused.problem.kind,
                ProblemKind::AddressInUse { .. } | ProblemKind::AddressCleaning
            )
        });
        if in_use {
            self.items_paused.remove(&address);
        }
    }

    fn forget_problems(&mut self, vips: &[VipName]) {
        let wants = &self.wants;
        self.items_paused
            .retain(|address, _| wants.get(address).is_some_and(|want| !vips.contains(&want.vip)));
    }

    fn pause(&mut self, now: Clocks, problem: Problem, after: Option<Duration>, of_write: bool) {
        let tries = self.paused.as_ref().map_or(0, |paused| paused.tries) + 1;
        let since = self.paused.as_ref().map_or(now, |paused| paused.since);
        let wait = after.unwrap_or_default().max(back_off(tries, RETRY_MAX));
        self.paused = Some(Paused { problem, since, until: now.plus(wait), tries, of_write });
    }

    fn pause_item(
        &mut self,
        now: Clocks,
        address: IpAddr,
        problem: Problem,
        after: Option<Duration>,
    ) {
        let known = self.items_paused.get(&address);
        let tries = known.map_or(0, |paused| paused.tries) + 1;
        let since = known.map_or(now, |paused| paused.since);
        let most = match problem.kind {
            ProblemKind::AddressInUse { .. } | ProblemKind::AddressCleaning => ATTACH_RETRY_MAX,
            _ => RETRY_MAX,
        };
        let wait = after.unwrap_or_default().max(back_off(tries, most));
        let until = now.plus(wait);
        let paused = Paused { problem, since, until, tries, of_write: true };
        self.items_paused.insert(address, paused);
    }
}

/// How long after `since` something that takes time is looked at again: about 7 % of its age, so
/// that polling loses at most so much of an operation, and costs few reads.
fn pace(now: Clocks, since: Clocks) -> Duration {
    now.mono_since(since).mul_f64(0.07).clamp(POLL_MIN, POLL_MAX)
}

fn back_off(tries: u32, most: Duration) -> Duration {
    RETRY_MIN.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(most)
}

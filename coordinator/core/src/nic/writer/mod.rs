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

mod answers;
mod pauses;
mod sending;

use core::{net::IpAddr, time::Duration};
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vipfence_types::{Clocks, Mutation, NicId, Revision, Term, VipName};

use self::pauses::pace;
use super::{
    budget::{Budget, Urgency},
    document::NicDocument,
    problem::{Problem, ProblemKind},
    wire::{HttpId, HttpRequest, HttpResult, Method},
};
use crate::registry::{AzureOperation, OperationKind, Registry};

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
/// Reads are cheap, and a failover waits for one.
const READ_RETRY_MAX: Duration = Duration::from_secs(5);
const ATTACH_RETRY_MAX: Duration = Duration::from_secs(5);
/// A write waits for VIPs that are about to join it while their number grows: so long after the
/// last of them, and so long in all. Missing it costs a VIP a whole operation.
const GATHER_QUIET: Duration = Duration::from_millis(500);
const GATHER_MOST: Duration = Duration::from_secs(5);

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
    /// Whether Azure is relied on to refuse a write with an old `If-Match`. Else nothing is sealed,
    /// and only time clears a NIC.
    pub(crate) trust_if_match: bool,
    /// Whether seals leave our tag on the NIC; else the whole document is written as it is.
    pub(crate) epoch_tag: bool,
    /// Whether the NIC was exposed when this leader took office: an earlier leader's write may still
    /// hit it.
    pub(crate) exposed: bool,
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
    /// By which it is known again in the moves' records.
    started_ms: u64,
    /// When this process began to follow it: the pace of polling.
    started: Clocks,
    /// Until then Azure may not know it yet.
    early_until: Clocks,
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

/// A write that waits for VIPs that are about to join it.
#[derive(Clone, Copy, Debug)]
struct Gathering {
    began: Clocks,
    /// When its number of addresses changed last.
    grew: Clocks,
    due: usize,
}

/// A problem and when to try again.
#[derive(Clone, Debug)]
struct Paused {
    problem: Problem,
    since: Clocks,
    /// When it was met last.
    met: Clocks,
    until: Clocks,
    /// Not before this, whatever else is wanted: Azure asked for it.
    least: Clocks,
    tries: u32,
    /// A read that succeeds does not end it.
    of_write: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct NicWriter {
    pub(super) setup: Setup,
    wants: BTreeMap<IpAddr, Want>,
    /// Since when each of them has been wanted.
    wanted_at: BTreeMap<IpAddr, Clocks>,
    seals: BTreeMap<VipName, Revision>,
    /// The document must have been asked for after this; and whether a move waits for that.
    read_since: Option<Clocks>,
    read_for: Urgency,
    /// Something was due, and no request was left in the budget for it.
    starved: Option<Problem>,
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
    /// Our latest write or seal here in this term was accepted and another ETag read after it, and
    /// none of unknown outcome was sent since.
    cleared: bool,
    last_unknown: Option<Clocks>,
    /// A seal was refused, and nothing has been accepted since. Holds up seals only.
    seals_paused: Option<Paused>,
    /// Reading was refused, and no read has succeeded since. What may not be read cannot be sealed
    /// either (L1).
    unreadable: bool,
    /// Since when a seal has been wanted, and neither was one accepted nor a write of unknown
    /// outcome sent.
    sealing_since: Option<Clocks>,
    /// A tag PATCH did not change the ETag: seal with a whole PUT.
    patch_seals_nothing: bool,
    /// How often in a row a write met another NIC than the one just read: another ETag, or none.
    surprises: u32,
    /// The ETag before the last write that was accepted, until a read shows whether there is
    /// another one; and how it sealed, if it did nothing else.
    written_from: Option<(String, Option<Method>)>,
    seals_sent: u64,
    batch: usize,
    /// Problems since they were last taken, each as often as it was met.
    met: Vec<ProblemKind>,
    /// Other VIPs are about to want something of this NIC.
    more_to_come: bool,
    gathering: Option<Gathering>,
    /// Addresses wanted here that Azure may not have taken off another NIC yet.
    not_freed: BTreeSet<IpAddr>,
    /// A fault: the beginning of a quorum round that serves the write after the next read.
    confirmed_before_get: Option<Clocks>,
}

impl NicWriter {
    pub(crate) fn new(setup: Setup, now: Clocks) -> Self {
        Self {
            setup,
            wants: BTreeMap::new(),
            wanted_at: BTreeMap::new(),
            seals: BTreeMap::new(),
            read_since: None,
            read_for: Urgency::Move,
            starved: None,
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
            seals_paused: None,
            unreadable: false,
            sealing_since: None,
            patch_seals_nothing: false,
            surprises: 0,
            written_from: None,
            seals_sent: 0,
            batch: usize::MAX,
            met: vec![],
            more_to_come: false,
            gathering: None,
            not_freed: BTreeSet::new(),
            confirmed_before_get: None,
        }
    }

    // ---- what is wanted -------------------------------------------------------------------

    /// Replaces the wants. What is no longer wanted is not undone: nobody asks for it any more.
    pub(crate) fn want(
        &mut self,
        wants: BTreeMap<IpAddr, Want>,
        seals: BTreeMap<VipName, Revision>,
        now: Clocks,
    ) {
        if self.wants != wants {
            // A new wish of an address is tried at once.
            let known = &self.wants;
            self.items_paused.retain(|address, _| wants.get(address) == known.get(address));
            self.wanted_at.retain(|address, _| wants.get(address) == known.get(address));
            for address in wants.keys() {
                self.wanted_at.entry(*address).or_insert(now);
            }
            if let Some(paused) = self.paused.take_if(|paused| paused.of_write)
                && paused.least.later_than(now)
            {
                self.paused = Some(Paused { until: paused.least, tries: 0, ..paused });
            }
            self.wants = wants;
        }
        if self.cleared {
            self.sealing_since = None;
        } else if !seals.is_empty() {
            // Kept when nobody asks any more: that is so once the bound is over.
            self.sealing_since.get_or_insert(now);
        }
        self.seals = seals;
    }

    /// Asks for a document that was read after `since`.
    pub(crate) fn read_after(&mut self, since: Option<Clocks>, urgency: Urgency) {
        self.read_since = since;
        self.read_for = urgency;
    }

    /// What else is known of the wants: whether more of them are about to come, and which of the
    /// addresses Azure may not have taken off another NIC yet.
    pub(crate) fn expect(&mut self, more_to_come: bool, not_freed: BTreeSet<IpAddr>) {
        self.more_to_come = more_to_come;
        self.not_freed = not_freed;
    }

    /// Follows the operation that an earlier leader committed, for one of the VIPs that it serves.
    /// There is one at a time on a NIC: of several the first that is given is followed.
    pub(crate) fn follow(&mut self, known: &AzureOperation, vip: &VipName, now: Clocks) {
        if known.url.is_empty() {
            return;
        }
        let followed = self.operation.get_or_insert_with(|| Operation {
            url: known.url.clone(),
            kind: known.kind,
            vips: vec![],
            started_ms: known.started_ms,
            started: now,
            early_until: now,
            next_poll: now,
            misses: 0,
        });
        if followed.url == known.url {
            followed.vips.push(vip.clone());
        }
    }

    /// The address may have become free: try a refused attach now.
    pub(crate) fn retry_attach(&mut self, address: IpAddr) {
        if let Some(paused) = self.items_paused.get_mut(&address)
            && matches!(paused.problem.kind, ProblemKind::AddressInUse { .. })
        {
            paused.until = paused.least;
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
    /// shows NIC and ipConfiguration as Succeeded. `None` = cannot be told now. A NIC that is gone
    /// lists nothing.
    pub(crate) fn lists(&self, address: IpAddr) -> Option<bool> {
        if self.gone {
            return Some(false);
        }
        if Mutation::ReadBackWhileUpdating.is_on() {
            return self.document().map(|document| document.find(address).is_some());
        }
        let quiet = !self.stale && self.operation.is_none();
        let writing = matches!(self.activity, Activity::Writing { .. });
        if !quiet || writing {
            return None;
        }
        let document = self.document().filter(|document| document.is_settled(address))?;
        Some(document.has_secondary(address))
    }

    /// Whether Azure has accepted a write of this want in this term, or it was read back as done.
    pub(crate) fn is_accepted(&self, address: IpAddr, want: &Want) -> bool {
        if self.accepted.get(&address) == Some(want) {
            return true;
        }
        match want.presence {
            Presence::Present { .. } => self.lists(address) == Some(true),
            Presence::Absent => {
                let fresh = self.gone || self.shows_absence(address);
                fresh && self.lists(address) == Some(false)
            }
        }
    }

    /// Whether the document that does not list an address was asked for after its absence was
    /// wanted. An older one proves nothing: a write that was under way, or an outsider, may have put
    /// it there since (I8).
    fn shows_absence(&self, address: IpAddr) -> bool {
        let read = self.read.as_ref();
        let wanted_at = self.wanted_at.get(&address);
        read.zip(wanted_at).is_some_and(|(read, at)| !at.later_than(read.asked_at))
    }

    /// Whether no write that was sent before can change this NIC any more (I2).
    pub(crate) fn is_cleared(&self, now: Clocks) -> bool {
        if self.gone {
            return true;
        }
        if !self.setup.trust_if_match {
            return self.is_cleared_by_time(now);
        }
        if self.cleared {
            return true;
        }
        // Where a seal is refused for good, or has not come about for as long as the bound itself
        // (throttled, Updating), only time helps (design.md §6, §11 b; L1).
        let last = self.last_unknown.unwrap_or(self.setup.elected_at);
        let bound = self.bound();
        let writing = matches!(self.activity, Activity::Writing { .. });
        let refused = self.seals_paused.is_some()
            || self.unreadable
            || self.sealing_since.is_some_and(|since| now.shortest_since(since) >= bound);
        let over = now.shortest_since(last) >= bound || Mutation::RefusedSealBelieved.is_on();
        refused && !writing && over
    }

    /// Without `If-Match`: an older write cannot hit any more once the bound has passed, and the NIC
    /// was read after that (design.md §6).
    fn is_cleared_by_time(&self, now: Clocks) -> bool {
        if matches!(self.activity, Activity::Writing { .. }) {
            return false;
        }
        let read_after = |read: &Read| self.waited_out(read.asked_at) == Some(true);
        self.waited_out(now).is_none()
            || self.read.as_ref().is_some_and(read_after)
            || Mutation::LateWritesForgotten.is_on()
    }

    /// Whether at some time, by every clock, no write of unknown outcome could hit any more; none =
    /// there is no such write, or `If-Match` makes them harmless.
    pub(super) fn waited_out(&self, at: Clocks) -> Option<bool> {
        let since = self.exposed_since().filter(|_| !self.setup.trust_if_match)?;
        Some(at.shortest_since(since) >= self.bound())
    }

    /// Since when it has waited for a write of unknown outcome, an earlier leader's or its own.
    fn exposed_since(&self) -> Option<Clocks> {
        self.last_unknown.or(self.setup.exposed.then_some(self.setup.elected_at))
    }

    /// Within so long after it was begun a write has hit, or never will.
    fn bound(&self) -> Duration {
        self.setup.write_window + self.setup.azure_max
    }

    /// Where only time clears this NIC: when it will have.
    pub(crate) fn clears_at(&self) -> Option<Clocks> {
        let since = self.exposed_since().filter(|_| !self.setup.trust_if_match)?;
        Some(since.plus(self.bound()))
    }

    /// The NIC does not exist.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// What stands in the way of an address, or of everything on this NIC.
    pub(crate) fn problem(&self, address: IpAddr) -> Option<&Problem> {
        let paused = self.items_paused.get(&address).or(self.paused.as_ref());
        paused.map(|paused| &paused.problem).or(self.starved.as_ref())
    }

    /// When Azure refused this address last.
    pub(crate) fn refused_at(&self, address: IpAddr) -> Option<Clocks> {
        self.items_paused.get(&address).map(|paused| paused.met)
    }

    /// Whether this NIC is being changed by an operation that is not known to be ours.
    pub(crate) fn is_changed_by_others(&self) -> bool {
        self.updating_since.is_some() && self.operation.is_none()
    }

    /// What stands in the way of everything on this NIC.
    pub(crate) fn nic_problem(&self) -> Option<&Problem> {
        self.paused.as_ref().map(|paused| &paused.problem)
    }

    /// When Azure last said that this leader may not read or write this NIC, if that is what it says.
    pub(crate) fn forbidden_at(&self) -> Option<Clocks> {
        let paused = self.paused.as_ref();
        paused.filter(|paused| paused.problem.kind == ProblemKind::Forbidden).map(|known| known.met)
    }

    /// When the document that is known was asked for.
    pub(crate) fn asked_at(&self) -> Option<Clocks> {
        self.read.as_ref().map(|read| read.asked_at)
    }

    /// When something that waits is tried again.
    pub(crate) fn next_attempt(&self, address: IpAddr) -> Option<Clocks> {
        let paused = self.items_paused.get(&address).or(self.paused.as_ref());
        paused.map(|paused| paused.until)
    }

    /// The problems that were met since this was last asked.
    pub(crate) fn take_met(&mut self) -> Vec<ProblemKind> {
        core::mem::take(&mut self.met)
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
        let updating = self.updating_since.map(|since| {
            let last = self.read.as_ref().map_or(since, |read| read.asked_at);
            pace(now, since).saturating_sub(now.mono_since(last))
        });
        let pauses = self.paused.iter().filter(|paused| {
            // A pause that is over waits for the NIC: only a read can bring it on.
            updating.is_none() || paused.until.later_than(now)
        });
        let seals = self.seals_paused.iter().filter(|_| self.is_seal_wanted());
        let apart = self.items_paused.values().chain(seals).map(|paused| until(paused.until)).min();
        pauses.map(|paused| until(paused.until)).next().or(updating).or(apart)
    }

    // ---- what happens ---------------------------------------------------------------------

    /// Does what is due. The other inputs only take note, so that the wants can be brought up to
    /// date in between.
    pub(crate) fn tick(
        &mut self,
        now: Clocks,
        budget: &mut Budget,
        next: &mut u64,
    ) -> Vec<NicEffect> {
        let mut effects = Vec::new();
        self.advance(now, budget, next, &mut effects);
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
                self.met.push(ProblemKind::Later);
                self.pause(now, problem, None, true);
            }
            Some(_) if Mutation::RoundBeforeGet.is_on() => {
                (self.stale, self.confirmed_before_get) = (true, Some(began));
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
}

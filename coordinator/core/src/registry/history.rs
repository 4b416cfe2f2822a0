//! What is remembered of the past: moves, request ids, events. All of it is bounded.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};
use vipfence_types::{Epoch, MoveId, Mutation, NodeId, RequestId, Revision, VipName};

use super::{
    Applied, AzureOperation, DriftRecord, Entry, Event, EventKind, Move, Note, Outcome, PhaseSpan,
    Reached, Refused, Registry, Request, record::RECORD_FORMAT,
};

/// How many events are kept.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// How many moves and request ids of a VIP are kept.
pub(crate) const MAX_PER_VIP: usize = 256;
/// Of how many VIPs that are gone the log is kept, and how far back a watch can be resumed past
/// removals.
pub(crate) const MAX_REMOVED: usize = 64;

/// Moves and request ids of one VIP name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipLog {
    /// Oldest first; the open move is the last.
    pub moves: VecDeque<Arc<Move>>,
    /// Oldest first.
    pub requests: VecDeque<RequestRecord>,
}

/// A request that was executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Its id.
    pub id: RequestId,
    /// Its content.
    pub content: String,
    /// The move that answers it; none = it needed none.
    pub answer: Option<MoveId>,
    /// The move that was open then.
    pub during: Option<MoveId>,
}

impl Registry {
    /// A move by id.
    #[must_use]
    pub fn find_move(&self, id: MoveId) -> Option<&Arc<Move>> {
        self.logs.values().find_map(|log| {
            let at = log.moves.binary_search_by_key(&id, |known| known.id).ok()?;
            log.moves.get(at)
        })
    }

    /// The open move of a VIP.
    #[must_use]
    pub fn open_move(&self, vip: &VipName) -> Option<&Arc<Move>> {
        let id = self.vips.get(vip)?.open?;
        self.logs.get(vip)?.moves.iter().rev().find(|known| known.id == id)
    }

    /// What an earlier request of the same id was answered with.
    pub(crate) fn earlier(
        &self,
        vip: &VipName,
        request: &Request,
    ) -> Result<Option<Applied>, Refused> {
        let (Some(id), Some(log)) = (&request.id, self.logs.get(vip)) else {
            return Ok(None);
        };
        match log.requests.iter().find(|known| known.id == *id) {
            None => Ok(None),
            Some(known) if known.content != request.content => {
                Err(Refused::RequestIdReused(id.clone()))
            }
            Some(known) => Ok(Some(known.answer.map_or(Applied::Done, Applied::Move))),
        }
    }

    /// Remembers a request with its answer.
    pub(crate) fn remember(&mut self, vip: &VipName, request: &Request, answer: Option<MoveId>) {
        let Some(id) = request.id.clone().filter(|_| !Mutation::RequestIdsForgotten.is_on()) else {
            return;
        };
        let open = self.vips.get(vip).and_then(|record| record.open);
        let log = Arc::make_mut(self.logs.entry(vip.clone()).or_default());
        let content = request.content.clone();
        log.requests.push_back(RequestRecord { id, content, answer, during: open });
        // The last few, but never fewer than since the current move began (H17).
        let may_go = |known: &RequestRecord| open.is_none() || known.during < open;
        while log.requests.len() > MAX_PER_VIP && log.requests.front().is_some_and(may_go) {
            log.requests.pop_front();
        }
    }

    /// What a leader read in Azure, compared with a VIP at rest.
    pub(crate) fn drift(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        phase: Revision,
        what: Option<&str>,
    ) -> Result<Applied, Refused> {
        let known = self.vips.get(vip).ok_or_else(|| Refused::VipNotFound(vip.clone()))?;
        if known.phase != phase || known.open.is_some() {
            return Err(Refused::Stale);
        }
        self.set_drift(entry, vip, what);
        Ok(Applied::Done)
    }

    pub(crate) fn set_drift(&mut self, entry: Entry<'_>, vip: &VipName, what: Option<&str>) {
        let Some(record) = self.vips.get_mut(vip) else { return };
        let known = record.drift.as_ref();
        if known.map(|drift| drift.what.as_str()) == what {
            return;
        }
        let since_ms = known.map_or(entry.at_ms, |drift| drift.since_ms);
        let record = Arc::make_mut(record);
        record.drift = what.map(|what| DriftRecord { what: what.to_owned(), since_ms });
        record.revision = entry.revision;
        let (node, epoch) = (record.holder().cloned(), record.epoch());
        let (kind, message) = match what {
            Some(what) => (EventKind::DriftFound, format!("VIP {vip} in Azure: {what}")),
            None => (EventKind::DriftGone, format!("VIP {vip} is in Azure as it should be")),
        };
        self.record(entry, kind, Some(vip), node, epoch, message);
    }

    pub(crate) fn add_move(&mut self, new: Move) {
        let log = Arc::make_mut(self.logs.entry(new.vip.clone()).or_default());
        log.moves.push_back(Arc::new(new));
        if log.moves.len() > MAX_PER_VIP {
            log.moves.pop_front();
        }
    }

    pub(crate) fn edit_move(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        id: MoveId,
        edit: impl FnOnce(&mut Move),
    ) {
        let Some(log) = self.logs.get_mut(vip) else {
            return;
        };
        let log = Arc::make_mut(log);
        if let Some(known) = log.moves.iter_mut().rev().find(|known| known.id == id) {
            let known = Arc::make_mut(known);
            edit(known);
            known.revision = entry.revision;
        }
    }

    /// Brings the open move's phase history in line with the tracks.
    pub(crate) fn show_phase(&mut self, entry: Entry<'_>, vip: &VipName) {
        let Some((id, phase)) =
            self.vips.get(vip).and_then(|record| Some((record.open?, record.shown_phase())))
        else {
            return;
        };
        self.edit_move(entry, vip, id, |known| {
            if known.phases.last().is_some_and(|span| span.phase == phase) {
                return;
            }
            // Another phase: what hindered the last one hinders no more.
            known.blocked_reason.clear();
            known.next_attempt_ms = None;
            enter_phase(known, phase, entry.at_ms);
        });
    }

    /// Ends the open move.
    pub(crate) fn end_move(&mut self, entry: Entry<'_>, vip: &VipName, outcome: Outcome) {
        let Some(id) = self.vips.get(vip).and_then(|record| record.open) else {
            return;
        };
        let last = match outcome {
            Outcome::Done => self.vips.get(vip).map(|record| {
                let mut ended = record.as_ref().clone();
                ended.open = None;
                ended.shown_phase()
            }),
            Outcome::Superseded(_) | Outcome::AlreadyHeld => None,
        };
        self.edit_move(entry, vip, id, |known| {
            known.outcome = Some(outcome);
            known.ended_ms = Some(entry.at_ms);
            known.blocked_reason.clear();
            known.next_attempt_ms = None;
            match last {
                Some(phase) => enter_phase(known, phase, entry.at_ms),
                None => end_phase(known, entry.at_ms),
            }
        });
    }

    /// Shows something about a move. Changes no phase, so a decision stays valid.
    pub(crate) fn note(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        id: MoveId,
        note: &Note,
    ) -> Result<Applied, Refused> {
        let Some(record) = self.vips.get_mut(vip) else {
            return Err(Refused::VipNotFound(vip.clone()));
        };
        Arc::make_mut(record).revision = entry.revision;
        self.edit_move(entry, vip, id, |known| match note {
            Note::Operation(operation) => put_operation(known, operation),
            Note::Blocked { reason, next_attempt_ms } => {
                if known.outcome.is_none() {
                    known.blocked_reason.clone_from(reason);
                    known.next_attempt_ms = *next_attempt_ms;
                }
            }
        });
        Ok(Applied::Done)
    }

    /// Another node has reached a VIP at its holder.
    pub(crate) fn reached(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        epoch: Epoch,
        by: &NodeId,
    ) -> Result<Applied, Refused> {
        let Some(record) = self.vips.get_mut(vip) else {
            return Err(Refused::VipNotFound(vip.clone()));
        };
        if record.unreached().is_none_or(|at| at.epoch != epoch) {
            return Err(Refused::Stale);
        }
        let record = Arc::make_mut(record);
        record.reached = Some(Reached { epoch, by: by.clone(), at_ms: entry.at_ms });
        record.revision = entry.revision;
        let message = format!("{by} reaches VIP {vip} at its holder");
        self.record(entry, EventKind::Reached, Some(vip), Some(by.clone()), epoch, message);
        Ok(Applied::Done)
    }

    /// Records an event.
    pub(crate) fn record(
        &mut self,
        entry: Entry<'_>,
        kind: EventKind,
        vip: Option<&VipName>,
        node: Option<NodeId>,
        epoch: Epoch,
        message: String,
    ) {
        self.last_event = self.last_event.saturating_add(1);
        let event = Event {
            number: self.last_event,
            at_ms: entry.at_ms,
            term: entry.term,
            kind,
            vip: vip.cloned(),
            node,
            epoch,
            message,
        };
        let events = Arc::make_mut(&mut self.events);
        events.push_back(Arc::new(event));
        if events.len() > MAX_EVENTS {
            events.pop_front();
        }
    }

    /// Forgets a VIP, but not what was asked of it.
    pub(crate) fn remove_vip(&mut self, entry: Entry<'_>, vip: &VipName) {
        self.vips.remove(vip);
        if Mutation::EpochReset.is_on() {
            self.epoch = Epoch(0);
        }
        self.removed.push_back((entry.revision, vip.clone()));
        if self.removed.len() > MAX_REMOVED
            && let Some((revision, name)) = self.removed.pop_front()
        {
            self.watch_floor = self.watch_floor.max(revision);
            let again = self.removed.iter().any(|(_, later)| *later == name);
            if !again && !self.vips.contains_key(&name) {
                self.logs.remove(&name);
            }
        }
    }

    /// A move that begins now.
    pub(crate) fn new_move(&mut self, entry: Entry<'_>, vip: &VipName, ask: NewMove<'_>) -> MoveId {
        self.last_move = self.last_move.next();
        let id = self.last_move;
        let record = self.vips.get(vip);
        let from_node = record.and_then(|record| record.holder().cloned());
        // Repairing drift changes nobody's entitlement.
        let kept = record.filter(|_| ask.cause == super::Cause::Drift);
        let epoch = kept.map_or(Epoch(0), |record| record.epoch());
        self.add_move(Move {
            format: RECORD_FORMAT,
            id,
            vip: vip.clone(),
            epoch,
            from_node,
            to_node: ask.to.cloned(),
            cause: ask.cause,
            caller: ask.request.caller.clone(),
            request_id: ask.request.id.clone(),
            force: ask.force,
            phases: Vec::new(),
            blocked_reason: String::new(),
            next_attempt_ms: None,
            operations: Vec::new(),
            outcome: None,
            started_ms: entry.at_ms,
            ended_ms: None,
            revision: Revision(0),
        });
        id
    }
}

/// What a new move is made from.
pub(crate) struct NewMove<'a> {
    pub(crate) to: Option<&'a NodeId>,
    pub(crate) cause: super::Cause,
    pub(crate) force: bool,
    pub(crate) request: &'a Request,
}

fn end_phase(known: &mut Move, at_ms: u64) {
    if let Some(span) = known.phases.last_mut() {
        span.ended_ms.get_or_insert(at_ms);
    }
}

fn enter_phase(known: &mut Move, phase: super::Phase, at_ms: u64) {
    end_phase(known, at_ms);
    if known.phases.len() < Move::MAX_SPANS {
        known.phases.push(PhaseSpan { phase, started_ms: at_ms, ended_ms: None });
    }
}

fn put_operation(known: &mut Move, news: &AzureOperation) {
    if let Some(old) = known.operations.iter_mut().find(|old| old.is_same(news)) {
        old.clone_from(news);
    } else if known.operations.len() < Move::MAX_SPANS {
        known.operations.push(news.clone());
    }
}

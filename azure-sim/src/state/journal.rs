//! What happened, in order: writes with who, what and why not, ends of operations, changes of
//! the data plane, and the tester's own hand.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::attachments::AttachmentChange;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// From 1, without gaps.
    pub seq: u64,
    /// Milliseconds since the world began.
    pub at_ms: u64,
    /// Wall clock, RFC 3339.
    pub wall: String,
    /// What happened.
    #[serde(flatten)]
    pub event: JournalEvent,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JournalEvent {
    /// A request that would change something was processed, with or without success.
    Write(Call),
    /// A read was processed; only with the setting `journal_reads`.
    Read(Call),
    /// An operation ended.
    Completion {
        /// Its GUID.
        operation: String,
        /// The NIC.
        resource: String,
        /// Who started it.
        principal: Option<String>,
        /// `Succeeded`, `Failed` or `Canceled`.
        status: String,
        /// The code of its error.
        error_code: Option<String>,
    },
    /// The data plane changed.
    DataPlane {
        /// The version it has now.
        version: u64,
        /// What changed.
        changes: Vec<AttachmentChange>,
    },
    /// A request was lost before it was processed, or is held.
    Fault {
        /// Who sent it.
        principal: Option<String>,
        /// Method and path.
        request: String,
        /// `never_arrived` or `held`.
        effect: String,
    },
    /// The tester did something.
    Admin {
        /// The command as JSON.
        command: String,
    },
}

/// A processed request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Call {
    /// From the token; `None` = there was no valid one.
    pub principal: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Path.
    pub resource: String,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `x-ms-client-request-id`.
    pub client_request_id: Option<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
    /// `error.code` of the answer.
    pub error_code: Option<String>,
    /// The action that the sender had no right to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
    /// The answer never reached the client.
    pub answer_lost: bool,
    /// Addresses that came into the NIC's document.
    pub added: Vec<IpAddr>,
    /// Addresses that left it.
    pub removed: Vec<IpAddr>,
    /// The operation it started.
    pub operation: Option<String>,
}

/// The last entries, and counts of everything.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    entries: VecDeque<JournalEntry>,
    last_seq: u64,
    limit: usize,
    /// Requests by principal and method; IMDS counts as method `IMDS`.
    counts: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Journal {
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), last_seq: 0, limit: limit.max(1), counts: BTreeMap::new() }
    }

    pub(crate) fn push(&mut self, at_ms: u64, wall: String, event: JournalEvent) {
        self.last_seq += 1;
        self.entries.push_back(JournalEntry { seq: self.last_seq, at_ms, wall, event });
        if self.entries.len() > self.limit {
            self.entries.pop_front();
        }
    }

    /// Counts a request. `method` is one of a handful: the caller maps the rest to one word.
    pub(crate) fn count(&mut self, principal: Option<&str>, method: &'static str) {
        let by = self.counts.entry(principal.unwrap_or("unknown").to_owned()).or_default();
        *by.entry(method.to_owned()).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> &BTreeMap<String, BTreeMap<String, u64>> {
        &self.counts
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = &JournalEntry> {
        let first = self.entries.front().map_or(0, |entry| entry.seq);
        let skip = usize::try_from((seq + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip)
    }
}

//! The simulator's `/admin`: its journal, its attachments, and its hand.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{get, post};

/// An entry of the journal. The fields of the kinds `write` and `read`; others leave them empty.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct JournalEntry {
    /// From 1, without gaps.
    pub seq: u64,
    /// Milliseconds since the world began.
    pub at_ms: u64,
    /// `write`, `read`, `completion`, …
    pub kind: String,
    /// Who, by the token.
    pub principal: Option<String>,
    /// HTTP method.
    #[serde(default)]
    pub method: String,
    /// Path.
    #[serde(default)]
    pub resource: String,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `x-ms-client-request-id`.
    pub client_request_id: Option<String>,
    /// HTTP status; of a completion its word.
    #[serde(default)]
    pub status: Value,
    /// Addresses that came into the document.
    #[serde(default)]
    pub added: Vec<String>,
    /// Addresses that left it.
    #[serde(default)]
    pub removed: Vec<String>,
    /// The GUID of the operation that a write started, or that has ended.
    #[serde(default)]
    pub operation: Option<String>,
}

impl JournalEntry {
    /// The term in which the write was made, as its request id says: `vipfence-<term>-<n>`.
    #[must_use]
    pub fn term(&self) -> Option<u64> {
        let rest = self.client_request_id.as_deref()?.strip_prefix("vipfence-")?;
        rest.split_once('-')?.0.parse().ok()
    }

    /// Whether ARM took it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.status.as_u64().is_some_and(|status| (200..300).contains(&status))
    }
}

/// A page of the journal.
#[derive(Deserialize)]
struct Page {
    entries: Vec<JournalEntry>,
    next_after: u64,
}

#[derive(Deserialize)]
struct Attachments {
    attachments: BTreeMap<String, String>,
}

/// A running simulator.
#[derive(Clone, Debug)]
pub struct Simulator {
    admin: String,
}

impl Simulator {
    /// The one with this `/admin`.
    #[must_use]
    pub fn at(admin: &str) -> Self {
        Self { admin: admin.to_owned() }
    }

    /// The whole journal after an entry.
    ///
    /// # Panics
    /// If the simulator does not answer.
    #[must_use]
    pub fn journal_after(&self, seq: u64) -> Vec<JournalEntry> {
        let (mut after, mut all) = (seq, Vec::new());
        loop {
            let answer = get(&format!("{}/journal?after={after}", self.admin));
            let answer = answer.expect("the simulator answers");
            let page: Page = serde_json::from_str(&answer.body).expect("a page of the journal");
            if page.entries.is_empty() {
                return all;
            }
            after = page.next_after;
            all.extend(page.entries);
        }
    }

    /// The NIC writes after an entry, refused ones included.
    #[must_use]
    pub fn writes_after(&self, seq: u64) -> Vec<JournalEntry> {
        let mut entries = self.journal_after(seq);
        entries.retain(|entry| entry.kind == "write");
        entries
    }

    /// The number of the last entry.
    #[must_use]
    pub fn last_entry(&self) -> u64 {
        self.journal_after(0).last().map_or(0, |entry| entry.seq)
    }

    /// Where the data plane sends each address: the id of a NIC.
    ///
    /// # Panics
    /// If the simulator does not answer.
    #[must_use]
    pub fn attachments(&self) -> BTreeMap<String, String> {
        let answer = get(&format!("{}/attachments", self.admin)).expect("the simulator answers");
        let found: Attachments = serde_json::from_str(&answer.body).expect("attachments");
        found.attachments
    }

    /// Settings, NICs, VMs.
    ///
    /// # Panics
    /// If the simulator does not answer.
    #[must_use]
    pub fn state(&self) -> Value {
        let answer = get(&format!("{}/state", self.admin)).expect("the simulator answers");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// One command.
    ///
    /// # Panics
    /// If the simulator refuses it.
    pub fn command(&self, command: &Value) {
        let answer = post(&format!("{}/command", self.admin), &command.to_string());
        let answer = answer.expect("the simulator answers");
        assert_eq!(answer.status, 200, "{command}: {}", answer.body);
    }
}

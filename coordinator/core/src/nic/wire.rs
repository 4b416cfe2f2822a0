//! HTTP as plain values: what the machines ask for and what comes back. The shell adds the endpoint
//! and the token, and carries these over reqwest; the deterministic world hands them to the
//! simulator.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vipfence_types::Clocks;

/// Names a request, so that its answer finds the machine that asked.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct HttpId(pub u64);

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Reads.
    Get,
    /// Replaces a whole document.
    Put,
    /// Changes tags.
    Patch,
}

/// Until when a write may be handed to a socket (I7: the write window, by the boot clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendBefore {
    /// The reading when the quorum round began.
    pub began: Clocks,
    /// How long after it the write may start.
    pub window: Duration,
}

impl SendBefore {
    /// Whether the write may still start. The shell asks this as its last step.
    #[must_use]
    pub fn allows(&self, now: Clocks) -> bool {
        now.boot_since(self.began) < self.window
    }
}

/// A request to ARM.
///
/// It is idempotent or conditional: repeating it after a crash is safe. A write must not be started
/// when `send_before` has passed; it is then answered with [`HttpFault::NotSent`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Names it.
    pub id: HttpId,
    /// What it does.
    pub method: Method,
    /// Path and query below the ARM endpoint, or the absolute URL of an operation as ARM gave it.
    pub path: String,
    /// Headers, names in lower case; the token is added by the shell.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Option<Value>,
    /// For writes.
    pub send_before: Option<SendBefore>,
}

impl HttpRequest {
    /// Reads what is at a path: repeating it changes nothing, and it may start at any time.
    #[must_use]
    pub fn get(id: HttpId, path: String) -> Self {
        let headers = BTreeMap::new();
        Self { id, method: Method::Get, path, headers, body: None, send_before: None }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpAnswer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; a JSON string where it is not JSON, null where it is empty.
    pub body: Value,
}

impl HttpAnswer {
    /// What `Retry-After` says, if it is in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(u64::min(seconds, 300)))
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum HttpFault {
    /// Certain: nothing was sent.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been executed, or may still be.
    #[error("no answer: {0}")]
    Unknown(String),
}

/// What became of a request.
pub type HttpResult = Result<HttpAnswer, HttpFault>;

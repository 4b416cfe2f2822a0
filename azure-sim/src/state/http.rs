//! Requests and answers as plain values, and the little of URLs that ARM needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request to ARM or IMDS.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ArmRequest {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query, without scheme and host.
    pub path_and_query: String,
    /// Headers; names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, of a form as [`Self::with_form`] reads it; `None` when there was none, or when it was no JSON.
    pub body: Option<Value>,
    /// It came through TLS: URLs in the answer are `https`.
    #[serde(default)]
    pub tls: bool,
}

impl ArmRequest {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &str, path_and_query: impl Into<String>) -> Self {
        Self {
            method: method.to_ascii_uppercase(),
            path_and_query: path_and_query.into(),
            ..Self::default()
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.insert(name.to_ascii_lowercase(), value.into());
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The same with the fields of a form as its body: an object of texts.
    #[must_use]
    pub fn with_form(self, form: &str) -> Self {
        let fields = Target::parse(&format!("?{form}")).query;
        self.with_body(fields.into_iter().map(|(name, text)| (name, Value::from(text))).collect())
    }

    /// The same with `Authorization: Bearer {token}`.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer of ARM or IMDS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers; names as Azure writes them.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Option<Value>,
}

impl ArmResponse {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self { status, headers: BTreeMap::new(), body: Some(body) }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: BTreeMap::new(), body: None }
    }

    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.insert(name.to_owned(), value.into());
        self
    }

    /// A header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// `error.code` of the body.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        self.body.as_ref()?.get("error")?.get("code")?.as_str()
    }

    /// The body as the network provider writes it: indented by two, lines end in CRLF. `[W]`
    #[must_use]
    pub fn body_text(&self) -> String {
        // A JSON text has line ends between tokens only; those in strings are escaped.
        self.body.as_ref().map(|body| format!("{body:#}").replace('\n', "\r\n")).unwrap_or_default()
    }
}

/// A path in segments and a query.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Decoded segments in the case they came in; empty ones are dropped.
    pub(crate) segments: Vec<String>,
    /// Decoded parameters; names in lower case, the last one counts.
    pub(crate) query: BTreeMap<String, String>,
}

impl Target {
    pub(crate) fn parse(path_and_query: &str) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let segments = path.split('/').filter(|s| !s.is_empty()).map(|s| decode(s, false));
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true).to_ascii_lowercase(), decode(value, true))
        });
        Self { segments: segments.collect(), query: query.collect() }
    }

    /// What rights are needed on: the resource itself, for a list or a question what it is below.
    /// `[R]` Azure/CloudShell#561 for lists of a resource group, whose scope ends in the provider.
    pub(crate) fn scope(&self) -> String {
        let is_provider = |s: &String| s.eq_ignore_ascii_case("providers");
        let provider = self.segments.iter().position(is_provider);
        let below = provider.map_or(0, |at| self.segments.len().saturating_sub(at + 2));
        let named = self.segments.len() - below % 2;
        format!("/{}", self.segments[..named].join("/"))
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

fn decode(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = &tail[2..];
        } else if first == b'+' && plus_is_space {
            bytes.push(b' ');
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_decoded_and_survives_doubled_slashes() {
        let target = Target::parse("//a%20b//c%zz?Api-Version=1&resource=https%3A%2F%2Fx%2F&q=a+b");
        assert_eq!(target.segments, ["a b", "c%zz"]);
        assert_eq!(target.parameter("api-version"), Some("1"));
        assert_eq!(target.parameter("resource"), Some("https://x/"));
        assert_eq!(target.parameter("q"), Some("a b"));
    }

    #[test]
    fn a_body_is_indented_and_ends_its_lines_as_the_network_provider_does() {
        let poll = ArmResponse::new(200, serde_json::json!({"status": "InProgress"}));
        assert_eq!(poll.body_text(), "{\r\n  \"status\": \"InProgress\"\r\n}");
        assert_eq!(poll.body_text().len(), 30);
    }
}

//! The error taxonomy: what every answer of ARM means for a step, in one place.
//!
//! Sources: `azure.md` §4 (recorded exchanges, documentation, reports). A code that is not known is
//! treated by its HTTP status, and what the status leaves open is treated as an unknown outcome.

use core::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vipfence_types::{NicId, brief};

use super::wire::{HttpAnswer, HttpFault};

/// What stands in the way, for the Mover and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it means.
    pub kind: ProblemKind,
    /// What Azure said, or what went wrong; of limited length.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a problem means for the step that met it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProblemKind {
    /// Not executed; the same request works later (throttled, busy, not reachable).
    Later,
    /// Somebody else changed the NIC: read it again.
    Changed,
    /// Another resource has the address.
    AddressInUse {
        /// The NIC that has it, where the message names one.
        holder: Option<NicId>,
    },
    /// Azure is still freeing the address.
    AddressCleaning,
    /// The token was not accepted.
    Unauthorized,
    /// The identity lacks a permission, or a lock keeps the whole resource as it is.
    Forbidden,
    /// The resource does not exist.
    Gone,
    /// Refused; the same request stays refused until somebody changes something.
    Refused,
    /// It may have been executed, or may still be.
    Unknown,
}

/// The error body of ARM and of the network provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureError {
    /// `error.code`.
    pub code: String,
    /// `error.message`.
    pub message: String,
    /// Codes of `error.details`.
    pub details: Vec<(String, String)>,
}

impl AzureError {
    /// Reads `{"error": {...}}`, or the bare object of a failed operation.
    #[must_use]
    pub fn read(body: &Value) -> Self {
        let error = body.get("error").unwrap_or(body);
        let text = |value: &Value, key: &str| {
            value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let details = error.get("details").and_then(Value::as_array).map(Vec::as_slice);
        Self {
            code: text(error, "code"),
            message: text(error, "message"),
            details: details
                .unwrap_or_default()
                .iter()
                .map(|detail| (text(detail, "code"), text(detail, "message")))
                .collect(),
        }
    }

    fn has(&self, code: &str) -> bool {
        self.code.eq_ignore_ascii_case(code)
            || self.details.iter().any(|(known, _)| known.eq_ignore_ascii_case(code))
    }

    /// Whether the message names an address (so that a batch can drop the one at fault).
    #[must_use]
    pub fn names(&self, address: IpAddr, config: &str) -> bool {
        let told = |text: &str| {
            text.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'))
                .any(|word| word.trim_end_matches('.').parse() == Ok(address))
                || text
                    .to_ascii_lowercase()
                    .contains(&format!("/ipconfigurations/{} ", config.to_ascii_lowercase()))
        };
        told(&self.message) || self.details.iter().any(|(_, message)| told(message))
    }

    /// Another operation has the resource, or has taken this one's place: nobody asked too often.
    pub(crate) fn is_busy(&self) -> bool {
        ["AnotherOperationInProgress", "RetryableError", "Canceled", "OperationPreempted"]
            .iter()
            .any(|code| self.has(code))
    }

    /// The NIC that the message names after "allocated to".
    fn holder(&self) -> Option<NicId> {
        let rest = self.message.split("allocated to").nth(1)?;
        let word = rest.split_whitespace().find(|word| word.starts_with('/'))?;
        let path = word.trim_end_matches(['.', ',', '\'', '"']);
        let folded = path.to_ascii_lowercase();
        let nic = match folded.find("/ipconfigurations/") {
            Some(at) => path.get(..at)?,
            None => path,
        };
        let nic = NicId::new(nic);
        nic.is_well_formed().then_some(nic)
    }
}

impl Problem {
    /// A problem of one kind.
    #[must_use]
    pub fn new(kind: ProblemKind, text: impl AsRef<str>) -> Self {
        Self { kind, text: brief(text.as_ref()) }
    }

    /// What a fault of the transport means.
    #[must_use]
    pub fn of_fault(fault: &HttpFault) -> Self {
        let kind = match fault {
            HttpFault::NotSent(_) => ProblemKind::Later,
            HttpFault::Unknown(_) => ProblemKind::Unknown,
        };
        Self::new(kind, fault.to_string())
    }

    /// What an answer other than success means, and how long to wait at least.
    #[must_use]
    pub fn of_answer(answer: &HttpAnswer) -> (Self, Option<Duration>) {
        let error = AzureError::read(&answer.body);
        let kind = Self::kind_of(answer.status, &error);
        let text = if error.code.is_empty() {
            format!("HTTP {}", answer.status)
        } else {
            let detail = error
                .details
                .first()
                .map_or(String::new(), |(code, message)| format!(" ({code}: {message})"));
            format!("{}: {}{detail}", error.code, error.message)
        };
        (Self::new(kind, text), answer.retry_after())
    }

    /// What the error of a failed operation means.
    #[must_use]
    pub fn of_operation(status: &str, body: &Value) -> Self {
        let error = AzureError::read(body.get("error").unwrap_or(&Value::Null));
        let kind = match Self::kind_of(400, &error) {
            // The operation ended without effect; it may be asked for again.
            ProblemKind::Refused if !error.has("OperationNotAllowed") => ProblemKind::Later,
            other => other,
        };
        let text = format!("operation {status}: {} {}", error.code, error.message);
        Self::new(kind, text.trim_end())
    }

    fn kind_of(status: u16, error: &AzureError) -> ProblemKind {
        // Whatever the body says: a server that failed, or a gateway that gave up, does not know
        // what became of the request (I2).
        if status == 408 || status >= 500 {
            return ProblemKind::Unknown;
        }
        if error.has("PrivateIPAddressIsBeingCleanedUp") {
            return ProblemKind::AddressCleaning;
        }
        if error.has("PrivateIPAddressIsAllocated") || error.has("PrivateIPAddressInUse") {
            return ProblemKind::AddressInUse { holder: error.holder() };
        }
        if error.is_busy() {
            return ProblemKind::Later;
        }
        match status {
            401 => ProblemKind::Unauthorized,
            // A lock answers 409, and stays until somebody takes it away.
            409 if error.has("ScopeLocked") => ProblemKind::Forbidden,
            409 | 429 => ProblemKind::Later,
            403 => ProblemKind::Forbidden,
            404 => ProblemKind::Gone,
            412 => ProblemKind::Changed,
            400..=499 => ProblemKind::Refused,
            // Everything unheard of: it may have been executed.
            _ => ProblemKind::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn kind(status: u16, body: Value) -> ProblemKind {
        let answer = HttpAnswer { status, headers: BTreeMap::new(), body };
        Problem::of_answer(&answer).0.kind
    }

    fn error(code: &str) -> Value {
        json!({"error": {"code": code, "message": "text", "details": []}})
    }

    #[test]
    fn every_known_answer_has_one_meaning() {
        let cases = [
            (429, error("SubscriptionRequestsThrottled"), ProblemKind::Later),
            (429, error("RetryableError"), ProblemKind::Later),
            (409, error("AnotherOperationInProgress"), ProblemKind::Later),
            (409, error("ScopeLocked"), ProblemKind::Forbidden),
            (412, error("PreconditionFailed"), ProblemKind::Changed),
            (401, error("ExpiredAuthenticationToken"), ProblemKind::Unauthorized),
            (403, error("LinkedAuthorizationFailed"), ProblemKind::Forbidden),
            (404, error("ResourceNotFound"), ProblemKind::Gone),
            (400, error("PrivateIPAddressIsBeingCleanedUp"), ProblemKind::AddressCleaning),
            (400, error("PrivateIPAddressNotInSubnet"), ProblemKind::Refused),
            (400, error("SomethingNew"), ProblemKind::Refused),
            (408, error("RequestTimeout"), ProblemKind::Unknown),
            (500, error("InternalServerError"), ProblemKind::Unknown),
            (503, error("RetryableError"), ProblemKind::Unknown),
            (502, Value::String("<html>".into()), ProblemKind::Unknown),
            (302, Value::Null, ProblemKind::Unknown),
        ];
        for (status, body, expected) in cases {
            assert_eq!(kind(status, body.clone()), expected, "{status} {body}");
        }
    }

    #[test]
    fn an_error_of_megabytes_is_told_in_its_beginning() {
        let message = "ä".repeat(1 << 20);
        let body = json!({"error": {"code": "X", "message": message}});
        let answer = HttpAnswer { status: 400, headers: BTreeMap::new(), body };
        let text = Problem::of_answer(&answer).0.text;
        assert!(text.starts_with("X: ää") && text.ends_with('…') && text.len() < 1_100);
    }

    #[test]
    fn the_holder_of_an_address_is_read_from_the_message() {
        let nic =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n1";
        for named in [nic.to_owned(), format!("{nic}/ipConfigurations/x")] {
            let message = format!(
                "IP configuration /a/b is using the private IP address 10.0.0.9 which is already \
                 allocated to resource {named}."
            );
            let body =
                json!({"error": {"code": "PrivateIPAddressIsAllocated", "message": message}});
            let expected = ProblemKind::AddressInUse { holder: Some(NicId::new(nic)) };
            assert_eq!(kind(400, body), expected);
        }
    }

    #[test]
    fn an_address_is_named_whole_and_not_as_a_part_of_another() {
        let error =
            AzureError { message: "address 10.0.0.11 is taken.".into(), ..AzureError::default() };
        assert!(error.names(IpAddr::from([10, 0, 0, 11]), "x"));
        assert!(!error.names(IpAddr::from([10, 0, 0, 1]), "x"));
    }
}

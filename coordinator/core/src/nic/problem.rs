//! The error taxonomy: what every answer of ARM, and every fault on the way to it, means for a step,
//! in one place.
//!
//! | remedy | kinds |
//! |---|---|
//! | tried again, later | `Later`, `AddressInUse`, `AddressCleaning`, `Unauthorized` |
//! | read back | `Changed`, `Gone`, `Unknown` |
//! | refused: another NIC may do, else a human must act; tried again slowly | `Refused` |
//! | a human must act; tried again slowly | `Forbidden`, `Barred` |
//!
//! Sources: `azure.md` §4 (recorded exchanges, documentation, reports). A code that is not known is
//! treated by its HTTP status, and what the status leaves open is treated as an unknown outcome. In
//! particular only ARM's own words make a resource `Gone`: what is gone lists nothing and cannot be
//! hit any more (I2, I8), and a proxy's page must not say that.

use core::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vipfence_types::{NicId, brief};

use super::wire::{HttpAnswer, HttpFault, HttpResult};

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
        f.write_str(&self.text)?;
        if self.kind.needs_human() { f.write_str(" [a human must act]") } else { Ok(()) }
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
    /// The token was not accepted: a fresh one may be.
    Unauthorized,
    /// The identity of this node lacks a permission: a fresh token, or another node, may have it.
    Forbidden,
    /// A lock, a policy or the subscription's state keeps everybody from it.
    Barred,
    /// The resource does not exist.
    Gone,
    /// Refused; the same request stays refused until somebody changes something.
    Refused,
    /// It may have been executed, or may still be.
    Unknown,
}

/// What helps against a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The same request again, later.
    Retry,
    /// Reading the NIC: it says what to do.
    ReadBack,
    /// Another NIC, else a human.
    Elsewhere,
    /// Only a human.
    Human,
}

impl ProblemKind {
    /// What helps.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Later
            | Self::AddressInUse { .. }
            | Self::AddressCleaning
            | Self::Unauthorized => Remedy::Retry,
            Self::Changed | Self::Gone | Self::Unknown => Remedy::ReadBack,
            Self::Refused => Remedy::Elsewhere,
            Self::Forbidden | Self::Barred => Remedy::Human,
        }
    }

    /// Whether it lasts until somebody changes something in Azure. It is tried again all the same.
    #[must_use]
    pub fn needs_human(&self) -> bool {
        match self.remedy() {
            Remedy::Elsewhere | Remedy::Human => true,
            Remedy::Retry | Remedy::ReadBack => false,
        }
    }

    /// Its name in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Later => "later",
            Self::Changed => "changed",
            Self::AddressInUse { .. } => "address_in_use",
            Self::AddressCleaning => "address_cleaning",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Barred => "barred",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// Locks, policies, and subscriptions that are not in order.
const BARRED: [&str; 8] = [
    "ScopeLocked",
    "RequestDisallowedByPolicy",
    "DenyAssignmentAuthorizationFailed",
    "SubscriptionNotFound",
    "SubscriptionDisabled",
    "DisabledSubscription",
    "ReadOnlyDisabledSubscription",
    "MissingSubscriptionRegistration",
];
/// Not for a while, whatever the status says: the VM or its group is being deleted.
const REFUSED: [&str; 2] = ["OperationNotAllowed", "ResourceGroupBeingDeleted"];
/// Codes with which ARM and the network provider say that a resource does not exist.
const GONE: [&str; 3] = ["ResourceNotFound", "NotFound", "ResourceGroupNotFound"];

/// Why a role that was just granted may not count yet (azure.md §7).
const LATE: &str = "after a role change the instance metadata service may serve an old token for \
                    up to a day";

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
        self.has_any(&["AnotherOperationInProgress", "RetryableError"])
            || self.has_any(&["Canceled", "OperationPreempted"])
    }

    fn has_any(&self, codes: &[&str]) -> bool {
        codes.iter().any(|code| self.has(code))
    }

    /// The action that the identity lacks, and where.
    fn missing(&self) -> Option<(&str, &str)> {
        let between = |from: &str| {
            let rest = self.message.split(from).nth(1)?;
            rest.split('\'').next().filter(|text| !text.is_empty())
        };
        if self.has("LinkedAuthorizationFailed") {
            let action = between("does not have permission to perform action '")?;
            return Some((action, between("on the linked scope(s) '")?));
        }
        Some((between("to perform action '")?, between("over scope '")?))
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
        } else if let Some((action, scope)) = error.missing().filter(|_| answer.status == 403) {
            format!(
                "the identity of the node that asks may not {action} at {} ({}); {LATE}",
                brief(scope),
                error.code
            )
        } else if kind == ProblemKind::Forbidden {
            format!("{} ({LATE}): {}", error.code, brief(&error.message))
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

    /// What an answer says against this node's own way to ARM, its identity included; none = it is
    /// in order. What meets every node alike is not counted: a request that ARM refuses, a lock.
    #[must_use]
    pub fn of_the_way(answer: &HttpAnswer) -> Option<Self> {
        if (200..300).contains(&answer.status) {
            return None;
        }
        let problem = Self::of_answer(answer).0;
        match problem.kind {
            ProblemKind::Unauthorized | ProblemKind::Forbidden | ProblemKind::Unknown => {
                Some(problem)
            }
            ProblemKind::Later
            | ProblemKind::Changed
            | ProblemKind::AddressInUse { .. }
            | ProblemKind::AddressCleaning
            | ProblemKind::Barred
            | ProblemKind::Gone
            | ProblemKind::Refused => None,
        }
    }

    /// What came of a request, in a word for metrics.
    #[must_use]
    pub fn outcome(result: &HttpResult) -> &'static str {
        match result {
            Ok(answer) if (200..300).contains(&answer.status) => "ok",
            Ok(answer) => Self::of_answer(answer).0.kind.name(),
            Err(HttpFault::NotSent(_)) => "not_sent",
            Err(HttpFault::Unknown(_)) => ProblemKind::Unknown.name(),
        }
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
        // The public address that moves along is let go of together with the private one.
        let in_use =
            ["PrivateIPAddressIsAllocated", "PrivateIPAddressInUse", "PublicIPAddressInUse"];
        if error.has_any(&in_use) {
            return ProblemKind::AddressInUse { holder: error.holder() };
        }
        if error.is_busy() {
            return ProblemKind::Later;
        }
        let spoken = (400..500).contains(&status);
        if spoken && error.has_any(&BARRED) {
            return ProblemKind::Barred;
        }
        if spoken && error.has_any(&REFUSED) {
            return ProblemKind::Refused;
        }
        match status {
            // A token of another tenant: a fresh one is no better.
            401 if error.has("InvalidAuthenticationTokenTenant") => ProblemKind::Forbidden,
            401 => ProblemKind::Unauthorized,
            409 | 429 => ProblemKind::Later,
            403 => ProblemKind::Forbidden,
            404 if error.has_any(&GONE) => ProblemKind::Gone,
            // ARM says so of something else, such as an operation.
            404 if !error.code.is_empty() => ProblemKind::Later,
            404 => ProblemKind::Unknown,
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
        use ProblemKind::{
            AddressCleaning, AddressInUse, Barred, Changed, Forbidden, Gone, Later, Refused,
            Unauthorized, Unknown,
        };
        let in_use = || AddressInUse { holder: None };
        // Those of azure.md §4, those that azure-sim can answer, and what nobody has seen yet.
        for (expected, cases) in [
            (
                Later,
                vec![
                    (429, "SubscriptionRequestsThrottled"),
                    (429, "ResourceRequestsThrottled"),
                    (429, "TooManyRequests"),
                    (429, "RetryableError"),
                    (429, "AnotherOperationInProgress"),
                    (409, "AnotherOperationInProgress"),
                    (400, "AnotherOperationInProgress"),
                    (409, "OperationPreempted"),
                    (409, "Conflict"),
                    (409, "SomethingNew"),
                    (429, "SomethingNew"),
                    (404, "OperationNotFound"),
                    (404, "SomethingNew"),
                ],
            ),
            (Changed, vec![(412, "PreconditionFailed"), (412, "SomethingNew")]),
            (AddressCleaning, vec![(400, "PrivateIPAddressIsBeingCleanedUp")]),
            (
                in_use(),
                vec![
                    (400, "PrivateIPAddressIsAllocated"),
                    (400, "PrivateIPAddressInUse"),
                    (400, "PublicIPAddressInUse"),
                ],
            ),
            (
                Unauthorized,
                vec![
                    (401, "ExpiredAuthenticationToken"),
                    (401, "InvalidAuthenticationToken"),
                    (401, "AuthenticationFailed"),
                    (401, "SomethingNew"),
                ],
            ),
            (
                Forbidden,
                vec![
                    (403, "AuthorizationFailed"),
                    (403, "LinkedAuthorizationFailed"),
                    (401, "InvalidAuthenticationTokenTenant"),
                    (403, "SomethingNew"),
                ],
            ),
            (
                Barred,
                vec![
                    (409, "ScopeLocked"),
                    (403, "RequestDisallowedByPolicy"),
                    (403, "DenyAssignmentAuthorizationFailed"),
                    (404, "SubscriptionNotFound"),
                    (409, "ReadOnlyDisabledSubscription"),
                ],
            ),
            (
                Gone,
                vec![(404, "ResourceNotFound"), (404, "NotFound"), (404, "ResourceGroupNotFound")],
            ),
            (
                Refused,
                vec![
                    (400, "PrivateIPAddressNotInSubnet"),
                    (400, "PrivateIPAddressInReservedRange"),
                    (400, "SubnetIsFull"),
                    (400, "InvalidIPConfigCount"),
                    (400, "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary"),
                    (400, "IpConfigDeleteNotSupported"),
                    (400, "IPConfigurationsOnSameNicCannotUseDifferentSubnets"),
                    (400, "AllIpConfigurationsOnANicMustBelongToTheSameApplicationSecurityGroups"),
                    (400, "PublicIPReferencedByMultipleIPConfigs"),
                    (400, "NetworkInterfaceIPConfigurationLimitReached"),
                    (400, "ReferencedResourceNotProvisioned"),
                    (400, "InvalidRequestContent"),
                    (400, "InvalidResourceReference"),
                    (400, "NicInUse"),
                    (400, "OperationNotAllowed"),
                    (409, "OperationNotAllowed"),
                    (409, "ResourceGroupBeingDeleted"),
                    (400, "SomethingNew"),
                    (413, "SomethingNew"),
                ],
            ),
            (
                Unknown,
                vec![
                    (408, "RequestTimeout"),
                    (500, "InternalServerError"),
                    (503, "RetryableError"),
                    (504, "ScopeLocked"),
                    (302, "ResourceNotFound"),
                ],
            ),
        ] {
            for (status, code) in cases {
                assert_eq!(kind(status, error(code)), expected, "{status} {code}");
            }
        }
    }

    #[test]
    fn what_is_not_arms_own_word_is_never_taken_for_a_nic_that_is_gone() {
        for body in [Value::Null, Value::String("<html>not found".into()), json!({"error": "x"})] {
            for status in [302, 404, 502] {
                assert_eq!(kind(status, body.clone()), ProblemKind::Unknown, "{status} {body}");
            }
        }
    }

    #[test]
    fn a_resource_that_is_not_provisioned_is_waited_for_while_it_is_updating() {
        let details = json!([{"code": "ReferencedResourceNotProvisioned", "message": "x"}]);
        let body = json!({"error": {"code": "RetryableError", "message": "y", "details": details}});
        assert_eq!(kind(429, body), ProblemKind::Later);
    }

    #[test]
    fn every_fault_of_the_transport_is_told_apart() {
        for (fault, expected, outcome) in [
            (HttpFault::NotSent("x".into()), ProblemKind::Later, "not_sent"),
            (HttpFault::Unknown("x".into()), ProblemKind::Unknown, "unknown"),
        ] {
            assert_eq!(Problem::of_fault(&fault).kind, expected);
            assert_eq!(Problem::outcome(&Err(fault)), outcome);
        }
    }

    #[test]
    fn a_missing_permission_is_named_with_its_scope_and_the_age_of_tokens() {
        let denied = |code: &str, message: &str| {
            let body = json!({"error": {"code": code, "message": message}});
            Problem::of_answer(&HttpAnswer { status: 403, headers: BTreeMap::new(), body }).0
        };
        let own = denied(
            "AuthorizationFailed",
            "The client 'c' with object id 'o' does not have authorization to perform action \
             'Microsoft.Network/networkInterfaces/write' over scope '/nic' or the scope is invalid.",
        );
        let linked = denied(
            "LinkedAuthorizationFailed",
            "The client 'c' with object id 'o' has permission to perform action \
             'Microsoft.Network/networkInterfaces/write' on scope '/nic'; however, it does not have \
             permission to perform action 'Microsoft.Network/networkSecurityGroups/join/action' on \
             the linked scope(s) '/nsg' or the linked scope(s) are invalid.",
        );
        for (problem, action, scope) in [
            (own, "Microsoft.Network/networkInterfaces/write", "/nic"),
            (linked, "Microsoft.Network/networkSecurityGroups/join/action", "/nsg"),
        ] {
            let told = problem.to_string();
            assert!(told.contains(&format!("may not {action} at {scope} (")), "{told}");
            assert!(told.contains("a day") && told.ends_with("[a human must act]"), "{told}");
        }
        let other = denied("AuthorizationFailed", "in other words");
        assert!(other.text.contains("in other words") && other.text.contains("a day"), "{other}");
    }

    #[test]
    fn only_what_lasts_until_somebody_acts_asks_for_a_human() {
        let told = |status, code| {
            let answer = HttpAnswer { status, headers: BTreeMap::new(), body: error(code) };
            Problem::of_answer(&answer).0.to_string().contains("human")
        };
        for (status, code, human) in [
            (409, "ScopeLocked", true),
            (403, "RequestDisallowedByPolicy", true),
            (400, "SubnetIsFull", true),
            (429, "SubscriptionRequestsThrottled", false),
            (401, "ExpiredAuthenticationToken", false),
            (400, "PrivateIPAddressIsBeingCleanedUp", false),
            (412, "PreconditionFailed", false),
            (500, "InternalServerError", false),
        ] {
            assert_eq!(told(status, code), human, "{status} {code}");
        }
    }

    #[test]
    fn a_lock_says_nothing_against_the_way_of_this_node_and_a_missing_role_does() {
        let way = |status, code| {
            let answer = HttpAnswer { status, headers: BTreeMap::new(), body: error(code) };
            Problem::of_the_way(&answer).is_some()
        };
        for (status, code, bad) in [
            (200, "", false),
            (404, "ResourceNotFound", false),
            (409, "ScopeLocked", false),
            (403, "RequestDisallowedByPolicy", false),
            (429, "SubscriptionRequestsThrottled", false),
            (401, "InvalidAuthenticationToken", true),
            (403, "AuthorizationFailed", true),
            (503, "ServerBusy", true),
            (302, "", true),
        ] {
            assert_eq!(way(status, code), bad, "{status} {code}");
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

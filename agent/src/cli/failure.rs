//! Why a command did not do what it was to do, as people read it: the message, the reasons from
//! the `google.rpc` details, and what to do about it. Never a raw status.

use std::fmt;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{exit::Exit, link::CallError};

/// A failure, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(super) exit: Exit,
    /// One sentence.
    pub(super) message: String,
    /// Details, one per line.
    pub(super) reasons: Vec<String>,
    /// What to do.
    pub(super) help: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), reasons: Vec::new(), help: None }
    }

    pub(super) fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reasons.push(reason.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What a node answered.
    pub(super) fn of_status(status: &Status) -> Self {
        let message = match status.message() {
            "" => format!("the node answered: {}", status.code().description()),
            message => message.to_owned(),
        };
        let mut failure = Self::new(Exit::of(status.code()), message);
        failure.reasons = reasons(status);
        let reason = reason_of(status);
        failure.help = match (reason.as_deref().and_then(remedy), status.code()) {
            (Some(help), _) => Some(help.to_owned()),
            (None, Code::Unimplemented) => Some(
                "the node runs another version of vipfence: compare `vipfence status`".to_owned(),
            ),
            (None, _) => None,
        };
        failure
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Answered { status, endpoint } => {
                let failure = Self::of_status(&status);
                match failure.exit {
                    Exit::Unavailable => failure.reason(format!("answered by {endpoint}")),
                    _ => failure,
                }
            }
            CallError::NoAnswer(tried) => {
                let failure = Self::new(Exit::Unavailable, "no node of the cluster answered");
                let failure = tried.iter().fold(failure, |failure, tried| {
                    failure.reason(format!("{}: {}", tried.endpoint, tried.why))
                });
                failure.help(
                    "is an agent running there? Name other nodes with --endpoint HOST:PORT or \
                     VIPFENCE_ENDPOINTS",
                )
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for reason in &self.reasons {
            write!(f, "\n  - {reason}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

/// The reason of `google.rpc.ErrorInfo`, such as `EPOCH_MISMATCH`.
pub(super) fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

fn reasons(status: &Status) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(request) = status.get_details_bad_request() {
        for violation in request.field_violations {
            reasons.push(format!("{}: {}", violation.field, violation.description));
        }
    }
    if let Some(failure) = status.get_details_precondition_failure() {
        for violation in failure.violations {
            reasons.push(format!("{}: {}", violation.subject, violation.description));
        }
    }
    if let Some(info) = status.get_details_error_info() {
        let mut known: Vec<_> = info.metadata.iter().map(|(k, v)| format!("{k} {v}")).collect();
        known.sort();
        let known =
            if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
        reasons.push(format!("reason {}{known}", info.reason));
    }
    if let Some(delay) = status.get_details_retry_info().and_then(|retry| retry.retry_delay) {
        reasons.push(format!("worth trying again after {} s", delay.as_secs_f32()));
    }
    reasons
}

/// What to do about a reason of domain `vipfence` (design.md §8).
fn remedy(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "VIP_NOT_FOUND" => "`vipfence vip list` shows the VIPs",
        "NODE_NOT_FOUND" => "`vipfence status` shows the nodes",
        "MOVE_NOT_FOUND" => "`vipfence history` shows the moves that are still known",
        "TARGET_NOT_ELIGIBLE" => {
            "choose another node with --to, or mend what is said above; --force skips the check"
        }
        "VIP_DISABLED" => "`vipfence vip enable VIP` places it",
        "ADDRESS_HELD_ELSEWHERE" => {
            "free the address in Azure; `move --force` takes it from a foreign secondary \
             ipConfiguration, never from a primary"
        }
        "EPOCH_MISMATCH" | "HOLDER_MISMATCH" => {
            "it has moved since: look with `vipfence vip show VIP`, then decide again"
        }
        "REQUEST_ID_REUSED" => "the id was used for another request: give a new --request-id",
        "VIP_EXISTS" => "`vipfence vip show VIP` shows it; choose another name",
        "NO_LEADER" | "NOT_ENOUGH_VOTES" => "`vipfence status` shows what the nodes know",
        "OUTCOME_UNKNOWN" => {
            "it may have been done: repeat it with the same --request-id, which executes it once"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;
    use crate::cli::link::Tried;

    #[test]
    fn a_refusal_shows_reason_actual_value_and_remedy() {
        let actual = HashMap::from([("actual".to_owned(), "8".to_owned())]);
        let details = ErrorDetails::with_error_info("EPOCH_MISMATCH", "vipfence", actual);
        let status =
            Status::with_error_details(Code::Aborted, "demo is at epoch 8, not 7", details);
        let failure = Failure::of_status(&status);
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(
            failure.to_string(),
            "demo is at epoch 8, not 7\n  - reason EPOCH_MISMATCH (actual 8)\nhelp: it has moved \
             since: look with `vipfence vip show VIP`, then decide again"
        );
    }

    #[test]
    fn every_field_and_every_candidate_is_named() {
        let mut details =
            ErrorDetails::with_bad_request([FieldViolation::new("spec.addresses", "none")]);
        details.add_precondition_failure_violation("NIC", "n2", "its NIC is full");
        let status = Status::with_error_details(Code::InvalidArgument, "no", details);
        let failure = Failure::of_status(&status);
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.reasons, ["spec.addresses: none", "n2: its NIC is full"]);
    }

    #[test]
    fn what_passes_by_itself_says_when() {
        let details = ErrorDetails::with_retry_info(Some(std::time::Duration::from_millis(1_500)));
        let status = Status::with_error_details(Code::Unavailable, "no leader", details);
        assert_eq!(Failure::of_status(&status).reasons, ["worth trying again after 1.5 s"]);
    }

    #[test]
    fn a_status_without_words_still_says_something() {
        let failure = Failure::of_status(&Status::new(Code::Internal, ""));
        assert_eq!(failure.to_string(), "the node answered: Internal error");
    }

    #[test]
    fn every_endpoint_that_did_not_answer_is_listed() {
        let tried = |endpoint: &str| Tried {
            endpoint: endpoint.to_owned(),
            why: "connection refused".to_owned(),
            sent: false,
        };
        let failure = Failure::from(CallError::NoAnswer(vec![tried("n1:7600"), tried("n2:7600")]));
        assert_eq!(failure.exit, Exit::Unavailable);
        assert_eq!(failure.reasons.last().map(String::as_str), Some("n2:7600: connection refused"));
    }
}

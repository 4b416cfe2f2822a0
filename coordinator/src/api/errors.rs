//! The one table of errors: what each means as a gRPC code, with details that a program can read.
//!
//! Every error carries `ErrorInfo` with domain `vipfence` and a reason; what the caller can mend in
//! the request carries `BadRequest`, what stands in the way `PreconditionFailure`, what passes by
//! itself `RetryInfo` (design.md §8).

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};
use vipfence_coordinator_core::{AskError, Refused};
use vipfence_types::{InvalidName, InvalidSpec, NodeId, RequestId, brief};

const DOMAIN: &str = "vipfence";
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// An error on its way out.
struct Told {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    fields: Vec<FieldViolation>,
    stands_in_the_way: Vec<PreconditionViolation>,
    retry: bool,
}

impl Told {
    fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            metadata: HashMap::new(),
            fields: vec![],
            stands_in_the_way: vec![],
            retry: false,
        }
    }

    fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    fn field(mut self, field: &str, problem: &str) -> Self {
        self.fields.push(FieldViolation::new(field, problem));
        self
    }

    fn because(mut self, subject: impl ToString, description: impl Into<String>) -> Self {
        let violation =
            PreconditionViolation::new(self.reason, subject.to_string(), description.into());
        self.stands_in_the_way.push(violation);
        self
    }

    fn retry(mut self) -> Self {
        self.retry = true;
        self
    }

    fn status(self) -> Status {
        let mut details = ErrorDetails::with_error_info(self.reason, DOMAIN, self.metadata);
        if !self.fields.is_empty() {
            details.set_bad_request(self.fields);
        }
        if !self.stands_in_the_way.is_empty() {
            details.set_precondition_failure(self.stands_in_the_way);
        }
        if self.retry {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Status::with_error_details(self.code, self.message, details)
    }
}

/// A field of the request that is not acceptable.
pub(crate) fn invalid(reason: &'static str, field: &str, problem: impl Into<String>) -> Status {
    // It quotes the caller, and travels in headers: too much, and no client can read it.
    let problem = brief(&problem.into());
    let message = format!("{field}: {problem}");
    Told::new(Code::InvalidArgument, reason, message).field(field, &problem).status()
}

/// A name that is not acceptable.
pub(crate) fn invalid_name(field: &str, error: &InvalidName) -> Status {
    invalid("INVALID_NAME", field, error.to_string())
}

fn invalid_spec(error: &InvalidSpec) -> Status {
    let reason = if error.field.ends_with(".address") { "INVALID_ADDRESS" } else { "INVALID_SPEC" };
    let field = if error.field.starts_with("spec.") {
        error.field.clone()
    } else {
        format!("spec.{}", error.field)
    };
    invalid(reason, &field, error.problem.clone())
}

/// No VIP of this name.
pub(crate) fn vip_not_found(vip: &str) -> Status {
    let message = format!("there is no VIP \"{vip}\"; `vipfence vip list` shows those there are");
    Told::new(Code::NotFound, "VIP_NOT_FOUND", message).with("vip", vip).status()
}

/// No move of this id.
pub(crate) fn move_not_found(id: &str) -> Status {
    let message = format!(
        "there is no move \"{id}\", or it is forgotten; `vipfence history` shows those there are"
    );
    Told::new(Code::NotFound, "MOVE_NOT_FOUND", message).with("move", id).status()
}

/// No leader is known, or it does not answer.
pub(crate) fn no_leader() -> Status {
    let message = "no leader is known: an election is under way, or no majority of the nodes is up";
    Told::new(Code::Unavailable, "NO_LEADER", message).retry().status()
}

/// The leader cannot reach a majority.
pub(crate) fn not_enough_votes() -> Status {
    let message = "no majority of the nodes could be reached";
    Told::new(Code::Unavailable, "NOT_ENOUGH_VOTES", message).retry().status()
}

/// Nobody knows whether it was done.
pub(crate) fn outcome_unknown(request_id: Option<&RequestId>) -> Status {
    let id = request_id.map_or("", RequestId::as_str);
    let message = format!(
        "it is not known whether this was done; repeat it with request_id \"{id}\", which is \
         executed once"
    );
    Told::new(Code::Unavailable, "OUTCOME_UNKNOWN", message).with("request_id", id).retry().status()
}

/// A watch cannot be resumed so far back.
pub(crate) fn revision_compacted(asked: u64, oldest: u64) -> Status {
    let message = format!(
        "changes are kept since revision {oldest} only, and {asked} was asked for; watch again \
         from 0"
    );
    Told::new(Code::OutOfRange, "REVISION_COMPACTED", message).with("oldest", oldest).status()
}

/// Whether trying again, at this or another node, may help.
pub(crate) fn is_passing(status: &Status) -> bool {
    let passing = ["NO_LEADER", "NOT_ENOUGH_VOTES", "OUTCOME_UNKNOWN"];
    status.code() == Code::Unavailable
        && status
            .get_error_details()
            .error_info()
            .is_none_or(|info| passing.contains(&info.reason.as_str()))
}

/// What the leader did not do.
pub(crate) fn from_ask(error: &AskError, request_id: Option<&RequestId>) -> Status {
    let message = error.to_string();
    match error {
        AskError::NotLeader { .. } | AskError::NotReady => no_leader(),
        AskError::OutcomeUnknown => outcome_unknown(request_id),
        AskError::Refused(refused) => from_refused(refused),
        AskError::NotEligible { vip, reasons } => {
            let told = Told::new(Code::FailedPrecondition, "TARGET_NOT_ELIGIBLE", message)
                .with("vip", vip);
            let because =
                |told: Told, (node, reason): &(NodeId, String)| told.because(node, reason.clone());
            if reasons.is_empty() {
                told.because(vip, "there is no other candidate").status()
            } else {
                reasons.iter().fold(told, because).status()
            }
        }
        AskError::InvalidAddress { field, problem } => invalid("INVALID_ADDRESS", field, problem),
        AskError::AddressElsewhere { address, holder } => {
            Told::new(Code::FailedPrecondition, "ADDRESS_HELD_ELSEWHERE", message)
                .with("address", address)
                .with("holder", holder)
                .because(address, format!("held by {holder}"))
                .status()
        }
        AskError::NoNics => Told::new(Code::FailedPrecondition, "NO_NICS", message.clone())
            .because("nics", message)
            .status(),
        AskError::AzureUnreachable { .. } => {
            Told::new(Code::Unavailable, "AZURE_UNREACHABLE", message).retry().status()
        }
    }
}

fn from_refused(refused: &Refused) -> Status {
    let message = refused.to_string();
    let precondition = |reason: &'static str, subject: &str| {
        Told::new(Code::FailedPrecondition, reason, message.clone())
            .because(subject, message.clone())
    };
    match refused {
        Refused::VipNotFound(vip) => vip_not_found(vip.as_str()),
        Refused::VipDeleting(vip) => {
            Told::new(Code::NotFound, "VIP_NOT_FOUND", message).with("vip", vip).status()
        }
        Refused::VipDisabled(vip) => precondition("VIP_DISABLED", vip.as_str()).status(),
        Refused::NothingPending(vip) => precondition("NOTHING_PENDING", vip.as_str()).status(),
        Refused::VipExists(vip) => {
            Told::new(Code::AlreadyExists, "VIP_EXISTS", message).with("vip", vip).status()
        }
        Refused::TooManyVips(_) => {
            Told::new(Code::ResourceExhausted, "TOO_MANY_VIPS", message).status()
        }
        Refused::NodeNotFound(node) => {
            let message = format!("{message}; `vipfence status` shows those there are");
            Told::new(Code::NotFound, "NODE_NOT_FOUND", message).with("node", node).status()
        }
        Refused::NodeIsWitness(node) => precondition("TARGET_NOT_ELIGIBLE", node.as_str()).status(),
        Refused::NotACandidate { node, .. } => {
            precondition("TARGET_NOT_ELIGIBLE", node.as_str()).status()
        }
        Refused::InvalidSpec(error) => invalid_spec(error),
        Refused::AddressTaken { address, vip } => {
            precondition("ADDRESS_HELD_ELSEWHERE", &address.to_string()).with("vip", vip).status()
        }
        Refused::HolderMismatch { actual, .. } => {
            let actual = actual.as_ref().map_or(String::new(), ToString::to_string);
            Told::new(Code::Aborted, "HOLDER_MISMATCH", message)
                .with("actual_holder", actual)
                .status()
        }
        Refused::EpochMismatch { actual, .. } => {
            Told::new(Code::Aborted, "EPOCH_MISMATCH", message)
                .with("actual_epoch", actual)
                .status()
        }
        Refused::RequestIdReused(id) => {
            Told::new(Code::AlreadyExists, "REQUEST_ID_REUSED", message)
                .with("request_id", id)
                .status()
        }
        Refused::InvalidTiming(problem) => invalid("INVALID_TIMING", "timing", problem),
        Refused::NotFounded => no_leader(),
        Refused::UnknownCommand | Refused::AlreadyFounded | Refused::Misfit(_) => {
            Told::new(Code::Internal, "REFUSED", message).status()
        }
        Refused::Stale => Told::new(Code::Aborted, "CHANGED_MEANWHILE", message).status(),
    }
}

#[cfg(test)]
mod tests {
    use vipfence_types::{Epoch, VipName};

    use super::*;

    fn vip() -> VipName {
        VipName::new("demo").expect("a name")
    }

    #[test]
    fn every_error_has_its_code_and_its_reason() {
        let node = NodeId::new("n9").expect("a name");
        let cases = [
            (AskError::Refused(Refused::VipNotFound(vip())), Code::NotFound, "VIP_NOT_FOUND"),
            (
                AskError::Refused(Refused::NodeNotFound(node.clone())),
                Code::NotFound,
                "NODE_NOT_FOUND",
            ),
            (
                AskError::Refused(Refused::VipDisabled(vip())),
                Code::FailedPrecondition,
                "VIP_DISABLED",
            ),
            (AskError::Refused(Refused::VipExists(vip())), Code::AlreadyExists, "VIP_EXISTS"),
            (
                AskError::Refused(Refused::EpochMismatch { vip: vip(), actual: Epoch(7) }),
                Code::Aborted,
                "EPOCH_MISMATCH",
            ),
            (
                AskError::Refused(Refused::HolderMismatch {
                    vip: vip(),
                    actual: Some(node.clone()),
                }),
                Code::Aborted,
                "HOLDER_MISMATCH",
            ),
            (
                AskError::Refused(Refused::RequestIdReused("r".into())),
                Code::AlreadyExists,
                "REQUEST_ID_REUSED",
            ),
            (
                AskError::NotEligible { vip: vip(), reasons: vec![(node, "n9 is silent".into())] },
                Code::FailedPrecondition,
                "TARGET_NOT_ELIGIBLE",
            ),
            (AskError::NotReady, Code::Unavailable, "NO_LEADER"),
            (AskError::OutcomeUnknown, Code::Unavailable, "OUTCOME_UNKNOWN"),
            (
                AskError::AddressElsewhere {
                    address: [10, 5, 0, 200].into(),
                    holder: "NIC x".into(),
                },
                Code::FailedPrecondition,
                "ADDRESS_HELD_ELSEWHERE",
            ),
        ];
        for (error, code, reason) in cases {
            let status = from_ask(&error, Some(&"r1".into()));
            assert_eq!(status.code(), code, "{error}");
            let details = status.get_error_details();
            let info = details.error_info().expect("every error has ErrorInfo");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, DOMAIN));
            let precondition = details.precondition_failure().is_some();
            assert_eq!(precondition, code == Code::FailedPrecondition, "{error}");
            assert_eq!(details.retry_info().is_some(), code == Code::Unavailable, "{error}");
        }
    }

    #[test]
    fn a_bad_field_is_named_with_its_path() {
        let error =
            InvalidSpec { field: "addresses[1].address".into(), problem: "is taken".into() };
        let status = from_ask(&AskError::Refused(Refused::InvalidSpec(error)), None);
        let details = status.get_error_details();
        let bad = details.bad_request().expect("BadRequest");
        assert_eq!(bad.field_violations[0].field, "spec.addresses[1].address");
    }
}

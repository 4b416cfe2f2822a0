//! An error of the API, taken apart.

use std::collections::BTreeMap;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What a refusal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// The reason of `google.rpc.ErrorInfo`.
    pub reason: String,
    /// Its domain.
    pub domain: String,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// The message for people.
    pub message: String,
    /// The fields of `BadRequest`.
    pub fields: Vec<String>,
    /// Subject and description of each violation of `PreconditionFailure`.
    pub preconditions: Vec<(String, String)>,
    /// Whether `RetryInfo` is there.
    pub retry: bool,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().cloned();
        let (reason, domain, metadata) =
            info.map_or_else(Default::default, |info| (info.reason, info.domain, info.metadata));
        let fields = details.bad_request().map_or(Vec::new(), |bad| {
            bad.field_violations.iter().map(|violation| violation.field.clone()).collect()
        });
        let preconditions = details.precondition_failure().map_or(Vec::new(), |failure| {
            let pair = |violation: &tonic_types::PreconditionViolation| {
                (violation.subject.clone(), violation.description.clone())
            };
            failure.violations.iter().map(pair).collect()
        });
        Self {
            code: status.code(),
            reason,
            domain,
            metadata: metadata.into_iter().collect(),
            message: status.message().to_owned(),
            fields,
            preconditions,
            retry: details.retry_info().is_some(),
        }
    }
}

//! Writes that meet another write: an ETag that is no longer the present one, an operation that
//! still runs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::error::ArmError;
use super::http::ArmResponse;
use super::journal::Call;
use super::nic::{Goal, Nic, Provisioning};
use super::operation::{Operation, OperationStatus};
use super::settings::ConcurrentWrite;
use super::sites::Site;
use super::wall;
use super::world::World;
use super::write::Write;

impl World {
    /// Nothing is written while an operation runs, unless it is superseded.
    pub(crate) fn check_idle(&self, nic: &Nic, write: &Write<'_>) -> Result<(), ArmError> {
        let Some(guid) = &nic.operation else { return Ok(()) };
        let due = self.operations.get(guid).map_or(self.now, |operation| operation.due);
        let left = wall::millis(due.saturating_sub(self.now)).div_ceil(1_000).max(1);
        match self.settings.concurrent_write {
            // [W] for subnets
            ConcurrentWrite::Retryable429 => {
                Err(ArmError::network(429, "RetryableError", "A retryable error occurred.")
                    .with_detail(
                        "RetryableErrorDueToAnotherOperation",
                        format!(
                            "Operation PutNicOperation ({guid}) is updating resource {}. The \
                             call can be retried in {left} seconds.",
                            nic.id
                        ),
                    )
                    .with_header("Retry-After", left.to_string()))
            }
            // [R]; [I] that it says when to come again.
            ConcurrentWrite::InProgress429 => {
                Err(self.in_progress(429, guid, write).with_header("Retry-After", left.to_string()))
            }
            // [R] for subnets
            ConcurrentWrite::Conflict409 | ConcurrentWrite::FailLater => {
                Err(self.in_progress(409, guid, write))
            }
            ConcurrentWrite::Supersede => Ok(()),
        }
    }

    /// `[R]` Azure/bicep#5132
    fn in_progress(&self, status: u16, guid: &str, write: &Write<'_>) -> ArmError {
        ArmError::network(
            status,
            "AnotherOperationInProgress",
            format!(
                "Another operation on this or dependent resource is in progress. To retrieve \
                 status of the operation use uri: {}.",
                self.operation_url(write, guid)
            ),
        )
    }

    /// A PUT is taken although `running` is not over: its goal is in the answer, nowhere else, and
    /// its operation fails.
    pub(crate) fn accept_in_vain(
        &mut self,
        key: &str,
        goal: Goal,
        running: &str,
        write: &Write<'_>,
        call: &mut Call,
    ) -> ArmResponse {
        let guid = self.guids.next();
        let etag = self.next_etag();
        let provisioning = Provisioning::Updating;
        let shown = Nic { goal, etag, provisioning, ..self.nics[key].clone() };
        self.operations.insert(Operation {
            guid: guid.clone(),
            nic: key.to_owned(),
            resource: shown.id.clone(),
            principal: write.principal.clone(),
            accepted: self.now,
            due: self.now + Duration::from_millis(self.settings.operation_ms),
            addresses: BTreeSet::new(),
            previous: None,
            failure: Some((self.in_progress(200, running, write), false)),
            polls: 0,
            status: OperationStatus::Running,
        });
        call.operation = Some(guid);
        self.accepted(200, &shown, write, call)
    }

    /// In the subscription of its NIC.
    pub(crate) fn operation_url(&self, write: &Write<'_>, guid: &str) -> String {
        let site = self.operations.get(guid).and_then(|operation| Site::of(&operation.resource));
        let site = site.unwrap_or_else(|| self.config.home());
        format!(
            "{}/subscriptions/{}/providers/Microsoft.Network/locations/{}/operations/{guid}?api-version={}",
            write.base, site.subscription, self.config.location, write.api_version
        )
    }

    /// The ETag in the body of a PUT, if it counts.
    pub(crate) fn body_etag<'a>(
        &self,
        write: &Write<'a>,
        present: Option<&Nic>,
    ) -> Option<&'a str> {
        present.filter(|_| self.settings.body_etag_counts)?;
        write.body?.get("etag").and_then(Value::as_str)
    }
}

pub(crate) fn check_if_match(
    present: Option<&Nic>,
    if_match: Option<&str>,
    honoured: bool,
    id: &str,
) -> Result<(), ArmError> {
    match (if_match, present) {
        (None, _) => Ok(()),
        (Some(_), _) if !honoured => Ok(()),
        (Some("*"), Some(_)) => Ok(()),
        (Some(sent), Some(nic)) if sent == nic.etag => Ok(()),
        (Some(sent), Some(nic)) => Err(ArmError::precondition(sent, &nic.etag, id)),
        // [I]: what does not exist has no ETag that could match.
        (Some(sent), None) => Err(ArmError::precondition(sent, "null", id)),
    }
}

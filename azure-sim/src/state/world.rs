//! The world: everything there is, and how time passes in it.
//!
//! A function of (state, `now`, request) and nothing else: no clock, no randomness, no I/O. `now`
//! is the time since the world began; it never goes back.
//!
//! ```text
//! request -> fault? -> [held] -> who? -> bucket? -> may? -> locked? -> which resource? -> read
//!                                                                     -> write -> operation
//! operation ends -> allocation is freed -> data plane changes (after its lag)
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attachments::{AttachmentChange, DataPlane};
use super::config::WorldConfig;
use super::error::ArmError;
use super::fault::{Aim, FaultEffect, Faults, POLL};
use super::guid::Guids;
use super::held::Held;
use super::http::{ArmRequest, ArmResponse, Target};
use super::identity::{Identities, whose};
use super::journal::{Call, Journal, JournalEvent};
use super::nic::Nic;
use super::operation::Operations;
use super::route::{InGroup, InSubscription, Route};
use super::settings::Settings;
use super::standing::Standing;
use super::throttle::Throttle;
use super::vm::Vm;
use super::wall;

/// A held request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HoldId(pub u64);

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum ArmOutcome {
    /// It is answered.
    Answer(ArmResponse),
    /// The client hears nothing; whether the request was processed is for it to find out.
    Lost(LostAnswer),
    /// It is processed later, by itself or by [`AdminCommand::Release`](super::AdminCommand);
    /// the answer is then to be had from [`World::take_answer`].
    Held(HoldId),
}

/// How an answer gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostAnswer {
    /// Nothing comes, the connection stays.
    Silence,
    /// The connection is closed.
    Closed,
}

/// The simulated corner of Azure.
#[derive(Debug, Clone)]
pub struct World {
    pub(crate) config: WorldConfig,
    pub(crate) settings: Settings,
    pub(crate) now: Duration,
    pub(crate) guids: Guids,
    pub(crate) nics: BTreeMap<String, Nic>,
    pub(crate) vms: BTreeMap<String, Vm>,
    pub(crate) identities: Identities,
    pub(crate) operations: Operations,
    /// Freed addresses that nobody may have yet, until when.
    pub(crate) cleaning: BTreeMap<(String, IpAddr), Duration>,
    pub(crate) data_plane: DataPlane,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    pub(crate) held: Held,
    pub(crate) standing: Standing,
    pub(crate) throttle: Throttle,
}

impl World {
    /// When the world next changes by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let started = self.config.started_unix_ms;
        let event = self.vms.values().filter_map(Vm::next_event_ms).min();
        let event = event.map(|ms| Duration::from_millis(ms.saturating_sub(started)));
        [
            self.operations.next_due(),
            self.data_plane.next_due(),
            self.cleaning.values().min().copied(),
            self.held.next_due(),
            event,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lets time pass: everything that is due happens at its own time, in order.
    pub fn advance(&mut self, now: Duration) {
        while let Some(due) = self.next_deadline().filter(|due| *due <= now) {
            self.now = self.now.max(due);
            while let Some(guid) = self.operations.due(self.now) {
                self.complete(&guid);
            }
            self.run_data_plane();
            let reached = self.now;
            self.cleaning.retain(|_, until| *until > reached);
            while let Some(hold) = self.held.due(self.now) {
                self.process_held(hold);
            }
            let unix_ms = self.unix_ms();
            for vm in self.vms.values_mut() {
                vm.start_events(|event| event.not_before_ms.is_some_and(|ms| ms <= unix_ms));
            }
        }
        self.now = self.now.max(now);
    }

    /// A request reaches ARM.
    pub fn arm(&mut self, now: Duration, request: ArmRequest) -> ArmOutcome {
        self.advance(now);
        let sender = whose(&self.identities, request.header("authorization")).map(|(i, _)| i);
        let principal = sender.map(|identity| identity.principal.clone());
        let nic = nic_of(&request);
        let aim = Aim {
            node: sender.map(|identity| identity.node.as_str()),
            nic: nic.as_deref(),
            method: if is_poll(&request) { POLL } else { &request.method },
        };
        match self.faults.strike_request(aim) {
            Some(FaultEffect::Refuse { status, code, message, retry_after_s }) => {
                let mut error = ArmError::network(status, &code, message);
                if let Some(seconds) = retry_after_s {
                    error = error.with_header("Retry-After", seconds.to_string());
                }
                let mut call = self.call(&request);
                call.principal = principal;
                ArmOutcome::Answer(self.close_call(call, Err(error)))
            }
            Some(FaultEffect::NeverArrives) => {
                self.note_fault(principal, &request, "never_arrived");
                ArmOutcome::Lost(LostAnswer::Closed)
            }
            Some(FaultEffect::LoseAnswer { close }) => {
                self.process(&request, true);
                ArmOutcome::Lost(if close { LostAnswer::Closed } else { LostAnswer::Silence })
            }
            Some(FaultEffect::Hold) => self.hold(principal, request, None),
            Some(FaultEffect::Delay { ms }) => self.hold(principal, request, Some(ms)),
            // The last two wait for an operation and never strike a request.
            Some(FaultEffect::FailOperation { .. } | FaultEffect::OperationTakes { .. }) | None => {
                match self.settings.request_ms {
                    0 => ArmOutcome::Answer(self.process(&request, false)),
                    ms => self.hold(principal, request, Some(ms)),
                }
            }
        }
    }

    fn hold(
        &mut self,
        principal: Option<String>,
        request: ArmRequest,
        ms: Option<u64>,
    ) -> ArmOutcome {
        if ms.is_none() {
            self.note_fault(principal, &request, "held");
        }
        let due = ms.map(|ms| self.now + Duration::from_millis(ms));
        match self.held.hold(request, due) {
            Some(hold) => ArmOutcome::Held(hold),
            None => {
                let full = "The simulator holds as many requests as it may.";
                ArmOutcome::Answer(ArmError::front_door(503, "ServerBusy", full).response())
            }
        }
    }

    pub(crate) fn process_held(&mut self, hold: HoldId) {
        if let Some(request) = self.held.take(hold) {
            let response = self.process(&request, false);
            self.held.answer(hold, response);
        }
    }

    /// The answer to a request that was held and has been processed.
    pub fn take_answer(&mut self, hold: HoldId) -> Option<ArmResponse> {
        self.held.take_answer(hold)
    }

    fn process(&mut self, request: &ArmRequest, answer_lost: bool) -> ArmResponse {
        let mut call = self.call(request);
        call.answer_lost = answer_lost;
        let result = self.dispatch(request, &mut call);
        self.close_call(call, result)
    }

    fn call(&self, request: &ArmRequest) -> Call {
        let header = |name| request.header(name).map(str::to_owned);
        let path = request.path_and_query.split('?').next().unwrap_or_default();
        Call {
            method: request.method.clone(),
            resource: path.to_owned(),
            if_match: header("if-match"),
            client_request_id: header("x-ms-client-request-id"),
            user_agent: header("user-agent"),
            ..Call::default()
        }
    }

    fn close_call(&mut self, mut call: Call, result: Result<ArmResponse, ArmError>) -> ArmResponse {
        let response = result.unwrap_or_else(|error| {
            call.denied = error.denied.map(str::to_owned);
            error.response()
        });
        call.status = response.status;
        call.error_code = response.error_code().map(str::to_owned);
        let method = match call.method.as_str() {
            "GET" => "GET",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => "other",
        };
        self.journal.count(call.principal.as_deref(), method);
        // An operation's GUID is the request id of its PUT. [W]
        let request_id = call.operation.clone().unwrap_or_else(|| self.guids.next());
        // A log-in writes nothing.
        let is_log_in = call.resource.ends_with("/oauth2/v2.0/token");
        if method != "GET" && !is_log_in {
            self.note(JournalEvent::Write(call));
        } else if self.settings.journal_reads {
            self.note(JournalEvent::Read(call));
        }
        response
            .with_header("x-ms-request-id", request_id.clone())
            .with_header("x-ms-correlation-request-id", request_id)
    }

    pub(crate) fn next_etag(&mut self) -> String {
        format!("W/\"{}\"", self.guids.next())
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        self.config.started_unix_ms.saturating_add(wall::millis(self.now))
    }

    pub(crate) fn note(&mut self, event: JournalEvent) {
        self.journal.push(wall::millis(self.now), wall::rfc3339(self.unix_ms()), event);
    }

    fn note_fault(&mut self, principal: Option<String>, request: &ArmRequest, effect: &str) {
        let request = format!("{} {}", request.method, request.path_and_query);
        self.note(JournalEvent::Fault { principal, request, effect: effect.to_owned() });
    }

    pub(crate) fn note_data_plane(&mut self, changes: Vec<AttachmentChange>) {
        if !changes.is_empty() {
            let version = self.data_plane.version();
            self.note(JournalEvent::DataPlane { version, changes });
        }
    }

    pub(crate) fn nic_document(&self, nic: &Nic) -> Value {
        nic.document(nic.vm.as_ref().map(|vm| self.config.vm_id(vm)).as_deref())
    }
}

/// The NIC that a request names.
fn is_poll(request: &ArmRequest) -> bool {
    let within = match Route::parse(&Target::parse(&request.path_and_query)) {
        Route::Subscription { within, .. } => within,
        Route::Endpoints
        | Route::OpenId { .. }
        | Route::Token { .. }
        | Route::Subscriptions
        | Route::Unknown => return false,
    };
    request.method == "GET" && matches!(within, InSubscription::Operation { .. })
}

fn nic_of(request: &ArmRequest) -> Option<String> {
    match Route::parse(&Target::parse(&request.path_and_query)) {
        Route::Subscription {
            within:
                InSubscription::Group {
                    within:
                        InGroup::Nic(nic)
                        | InGroup::NicTags(nic)
                        | InGroup::IpConfigs(nic)
                        | InGroup::IpConfig(nic, _),
                    ..
                },
            ..
        } => Some(nic),
        _ => None,
    }
}

//! Conversions between the messages of the API and the words of the coordinator: here what all of them
//! use, and by subject in the modules.

mod beat;
mod doctor;
mod restraint;
mod spec;
mod vip;

use prost_types::{Duration as ProtoDuration, Timestamp};
use tonic::Status;
use vipfence_coordinator_core::{self as core, NodeState, Request};
use vipfence_proto::v1;
use vipfence_types::{NodeId, RequestId, Role, VipName};

pub(super) use beat::{answer, answer_message, heartbeat, heartbeat_message};
pub use doctor::diagnosis;
pub(super) use doctor::{examined, finding_message};
pub(super) use restraint::{health, pause_message, pause_reason, pause_time, scope};
pub(super) use spec::spec;
#[cfg(test)]
pub(super) use spec::spec_message;
pub(super) use vip::{move_message, plan_message, vip_message};

use super::errors::{invalid, invalid_name};

pub(super) fn vip_name(field: &str, name: &str) -> Result<VipName, Status> {
    VipName::new(name).map_err(|error| invalid_name(field, &error))
}

/// A node name that may be left out.
pub(super) fn node_name(field: &str, name: &str) -> Result<Option<NodeId>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    NodeId::new(name).map(Some).map_err(|error| invalid_name(field, &error))
}

/// The caller's request id, or a new one.
pub(super) fn request_id(given: &str) -> Result<RequestId, Status> {
    if given.len() > 128 {
        return Err(invalid("INVALID_REQUEST_ID", "request_id", "it is longer than 128 bytes"));
    }
    if given.is_empty() {
        return Ok(uuid::Uuid::new_v4().to_string().into());
    }
    Ok(given.into())
}

/// Who asks for what. `content` is the message without its request id: two requests are the same if
/// it is.
pub(super) fn request(
    method: &str,
    id: &RequestId,
    content: &impl prost::Message,
    caller: &str,
) -> Request {
    let bytes = content.encode_to_vec();
    let mut text = format!("{method}:");
    for byte in bytes {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Request { id: Some(id.clone()), content: text, caller: caller.to_owned() }
}

pub(super) fn event_message(event: &core::Event) -> v1::Event {
    v1::Event {
        number: event.number,
        time: Some(timestamp(event.at_ms)),
        kind: event.kind.as_str().to_owned(),
        vip: event.vip.as_ref().map_or(String::new(), ToString::to_string),
        node: event.node.as_ref().map_or(String::new(), ToString::to_string),
        epoch: event.epoch.0,
        term: event.term.0,
        message: event.message.clone(),
    }
}

pub(super) fn role_message(role: Role) -> v1::NodeRole {
    match role {
        Role::Member => v1::NodeRole::Member,
        Role::Witness => v1::NodeRole::Witness,
        Role::Learner => v1::NodeRole::Learner,
    }
}

pub(super) fn state_message(state: NodeState) -> v1::NodeState {
    match state {
        NodeState::Alive => v1::NodeState::Alive,
        NodeState::Suspect => v1::NodeState::Suspect,
        NodeState::Silent => v1::NodeState::Silent,
        NodeState::Stopping => v1::NodeState::Stopping,
    }
}

fn timestamp(ms: u64) -> Timestamp {
    let nanos = i32::try_from(ms % 1_000 * 1_000_000).expect("less than a second");
    Timestamp { seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX), nanos }
}

pub(super) fn duration(span: std::time::Duration) -> ProtoDuration {
    let nanos = i32::try_from(span.subsec_nanos()).expect("less than a second");
    ProtoDuration { seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), nanos }
}

fn millis(span: &ProtoDuration) -> Option<u64> {
    let seconds = u64::try_from(span.seconds).ok()?;
    let nanos = u64::try_from(span.nanos).ok()?;
    seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)
}

//! Canonical protobuf JSON of the API's answers, made from the descriptors that the nodes serve
//! by reflection: what `-o json` prints is what `grpcurl` would.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use vipfence_proto::{FILE_DESCRIPTOR_SET, v1};

/// A message whose name in the API is known.
pub(super) trait Named: Message {
    /// The name within package `vipfence.v1`.
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident),*) => {
        $(impl Named for v1::$message { const NAME: &'static str = stringify!($message); })*
    };
}

named!(
    DiagnoseResponse,
    GetStatusResponse,
    ListEventsResponse,
    ListMovesResponse,
    ListVipsResponse,
    Move,
    PauseResponse,
    ResumeResponse,
    StepDownResponse,
    Vip,
    WatchVipsResponse
);

/// The descriptors and the messages of one build do not fit together.
#[derive(Debug, thiserror::Error)]
pub(super) enum JsonError {
    #[error("the descriptors of the API cannot be read")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    #[error("the API has no message {0}")]
    Unknown(&'static str),
    #[error("the answer does not fit its descriptor")]
    Answer(#[from] prost::DecodeError),
    #[error("the answer cannot be written as JSON")]
    Write(#[from] serde_json::Error),
}

/// Over several lines, indented.
pub(super) fn pretty<M: Named>(message: &M) -> Result<String, JsonError> {
    Ok(serde_json::to_string_pretty(&dynamic(message)?)?)
}

/// In one line.
pub(super) fn compact<M: Named>(message: &M) -> Result<String, JsonError> {
    Ok(serde_json::to_string(&dynamic(message)?)?)
}

fn dynamic<M: Named>(message: &M) -> Result<DynamicMessage, JsonError> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    let descriptor = pool
        .get_message_by_name(&format!("vipfence.v1.{}", M::NAME))
        .ok_or(JsonError::Unknown(M::NAME))?;
    Ok(DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_the_canonical_one() {
        let vip = v1::Vip {
            name: "demo".to_owned(),
            phase: v1::Phase::Held.into(),
            epoch: 7,
            held_since: Some(prost_types::Timestamp { seconds: 0, nanos: 5_000_000 }),
            ..v1::Vip::default()
        };
        assert_eq!(
            compact(&vip).expect("json"),
            r#"{"name":"demo","phase":"PHASE_HELD","epoch":"7","heldSince":"1970-01-01T00:00:00.005Z"}"#
        );
        assert!(pretty(&vip).expect("json").starts_with("{\n  \"name\": \"demo\""));
    }

    #[test]
    fn every_answer_is_known_to_the_descriptors() {
        fn known<M: Named + Default>() {
            assert!(compact(&M::default()).is_ok(), "{}", M::NAME);
        }
        known::<v1::DiagnoseResponse>();
        known::<v1::GetStatusResponse>();
        known::<v1::ListEventsResponse>();
        known::<v1::ListMovesResponse>();
        known::<v1::ListVipsResponse>();
        known::<v1::Move>();
        known::<v1::PauseResponse>();
        known::<v1::ResumeResponse>();
        known::<v1::StepDownResponse>();
        known::<v1::WatchVipsResponse>();
    }
}

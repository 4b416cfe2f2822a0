//! A message of openraft inside of a `RaftFrame`: format 1 is JSON.
//!
//! The cluster's name travels with every frame, so that two clusters that reach each other by a
//! wrong address cannot mix. It is a guard against mistakes, not against an attacker: who may call
//! at all is decided where connections are accepted.

use serde::{Serialize, de::DeserializeOwned};
use tonic::Status;
use vipfence_proto::v1::RaftFrame;
use vipfence_types::{ClusterName, brief};

/// The only format.
const FORMAT: u32 = 1;

/// The largest frame. A batch of entries (4 MiB, plus one of at most 1 MiB) and a part of a
/// snapshot stay far below it.
pub(super) const MAX_FRAME_BYTES: usize = 16 << 20;

/// Why a frame was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a Raft frame of cluster \"{theirs}\" reached cluster \"{ours}\"")]
    Cluster { ours: ClusterName, theirs: String },
    #[error("the Raft frame has format {0}, this version knows only {FORMAT}")]
    Format(u32),
    #[error("the Raft frame is not readable: {0}")]
    Body(String),
}

impl From<serde_json::Error> for FrameError {
    /// Such an error quotes what it found, which may be the whole frame.
    fn from(error: serde_json::Error) -> Self {
        Self::Body(brief(&error.to_string()))
    }
}

impl From<FrameError> for Status {
    fn from(error: FrameError) -> Self {
        let text = error.to_string();
        match error {
            FrameError::Cluster { .. } => Self::permission_denied(text),
            FrameError::Format(_) | FrameError::Body(_) => Self::invalid_argument(text),
        }
    }
}

/// Wraps a message.
pub(super) fn pack<T: Serialize>(
    cluster: &ClusterName,
    message: &T,
) -> Result<RaftFrame, FrameError> {
    Ok(RaftFrame {
        format: FORMAT,
        body: serde_json::to_vec(message)?,
        cluster: cluster.to_string(),
    })
}

/// Unwraps a message of this cluster.
pub(super) fn unpack<T: DeserializeOwned>(
    cluster: &ClusterName,
    frame: &RaftFrame,
) -> Result<T, FrameError> {
    if frame.cluster != cluster.as_str() {
        return Err(FrameError::Cluster {
            ours: cluster.clone(),
            theirs: frame.cluster.chars().take(80).collect(),
        });
    }
    if frame.format != FORMAT {
        return Err(FrameError::Format(frame.format));
    }
    Ok(serde_json::from_slice(&frame.body)?)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_frame_that_is_refused_is_not_sent_back() {
        let ours = ClusterName::new("ours").expect("valid");
        let frame = pack(&ours, &"x".repeat(1 << 20)).expect("plain");
        let status = Status::from(unpack::<u32>(&ours, &frame).expect_err("no number"));
        assert!(status.message().len() < 1_000, "{} bytes", status.message().len());
    }

    #[test]
    fn a_frame_of_a_later_format_or_of_another_cluster_is_refused_by_name() {
        let ours = ClusterName::new("ours").expect("valid");
        let frame = pack(&ours, &7).expect("plain");
        assert_eq!(unpack::<u32>(&ours, &frame).expect("same"), 7);

        let later = RaftFrame { format: 2, ..frame.clone() };
        let status = Status::from(unpack::<u32>(&ours, &later).expect_err("unknown"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("format 2"), "{status}");

        let theirs = ClusterName::new("theirs").expect("valid");
        let status = Status::from(unpack::<u32>(&theirs, &frame).expect_err("another cluster"));
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("\"ours\""), "{status}");
    }
}

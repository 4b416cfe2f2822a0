//! How a heartbeat reaches the leader: whoever runs a node says, and a test may lie.

use futures_util::future::BoxFuture;
use vipfence_types::{Answer, Heartbeat, Refusal};

/// Why a heartbeat was not answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BeatError {
    /// Somebody answered, and does not take it.
    Refused(Refusal),
    /// Nobody answered; why, for people. The heartbeat may have been taken all the same.
    Unreachable(String),
}

/// The way to the leader, whoever that is at the moment.
pub(crate) trait BeatTransport: Send + Sync {
    /// Sends a heartbeat and waits for its answer. The future is dropped when the machine has
    /// given the heartbeat up. An answer must be the answer to *this* call: the lease is counted
    /// from its sending.
    fn beat(&self, heartbeat: Heartbeat) -> BoxFuture<'_, Result<Answer, BeatError>>;
}

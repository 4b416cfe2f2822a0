//! How the parts of this module share what is known of a leader's followers
//! (`vipfence_coordinator_core::Acks`): the network tells who has answered, and a quorum round that
//! has time waits for a majority.

use std::time::Duration;

use tokio::sync::Notify;
use vipfence_coordinator_core::Acks;
use vipfence_types::Term;

use super::{clocked::Clocked, types::RaftId};

/// The rule, shared.
pub(super) struct Followers {
    acks: Clocked<Acks<RaftId>>,
    answered: Notify,
}

impl Followers {
    pub(super) fn new(acks: Acks<RaftId>) -> Self {
        Self { acks: Clocked::new(acks), answered: Notify::new() }
    }

    /// The present moment, for [`Self::acknowledged`]: to be read before a message is sent.
    pub(super) fn now(&self) -> Duration {
        self.acks.with(|_, now| now)
    }

    /// See `Acks::acknowledged`.
    pub(super) fn acknowledged(&self, node: RaftId, term: Term, sent: Duration) {
        self.acks.with(|acks, _| acks.acknowledged(node, term, sent));
        self.answered.notify_waiters();
    }

    /// Waits until a majority has answered messages of this term that were sent after this call.
    pub(super) async fn follow(&self, term: Term) {
        let began = self.now();
        loop {
            // Created first: what is answered between the look and the wait is not missed.
            let answered = self.answered.notified();
            if self.acks.with(|acks, _| acks.confirm(term, began)) {
                return;
            }
            answered.await;
        }
    }
}

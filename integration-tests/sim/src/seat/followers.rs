//! What a seat knows of its followers: see the shell's module of this name.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use vipfence_coordinator_core::Acks;
use vipfence_types::Term;

use super::{runtime::now, types::RaftId};

/// The rule, shared among the tasks of a seat.
#[derive(Clone)]
pub(super) struct Followers {
    acks: Arc<Mutex<Acks<RaftId>>>,
    answered: Arc<Notify>,
}

impl Followers {
    pub(super) fn new(acks: Acks<RaftId>) -> Self {
        Self { acks: Arc::new(Mutex::new(acks)), answered: Arc::default() }
    }

    pub(super) fn acknowledged(&self, node: RaftId, term: Term, sent: Duration) {
        self.acks().acknowledged(node, term, sent);
        self.answered.notify_waiters();
    }

    /// Waits until a majority has answered messages of this term that were sent after this call.
    pub(super) async fn follow(&self, term: Term) {
        let began = now();
        loop {
            let answered = self.answered.notified();
            if self.acks().confirm(term, began) {
                return;
            }
            answered.await;
        }
    }

    fn acks(&self) -> MutexGuard<'_, Acks<RaftId>> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

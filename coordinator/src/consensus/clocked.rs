//! A pure rule of this module, shared between its tasks, with the clock that the rule counts by.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A rule whose moments are counted from when it was made.
pub(super) struct Clocked<R> {
    rule: Mutex<R>,
    began: Instant,
}

impl<R> Clocked<R> {
    pub(super) fn new(rule: R) -> Self {
        Self { rule: Mutex::new(rule), began: now() }
    }

    /// Does something with the rule and the present moment.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut R, Duration) -> T) -> T {
        // The rule is one plain value, replaced whole: a panic elsewhere cannot have left it half
        // written.
        let mut rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut rule, now() - self.began)
    }

    /// A moment of the rule, on tokio's clock.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "measured against openraft's timers, which run on tokio's clock (simulated in tests)"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

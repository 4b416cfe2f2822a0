//! How the parts of this module share the rule of the silent leader (`vipfence_coordinator_core::Voice`):
//! the network asks whether it may send, the watcher and the service tell what happens.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use vipfence_coordinator_core::Voice as Rule;
use vipfence_types::{Term, Timing};

/// The rule, shared.
pub(super) struct Voice {
    rule: Mutex<Rule>,
    silent: AtomicBool,
    changed: Notify,
    /// The rule counts from here.
    began: Instant,
}

impl Voice {
    pub(super) fn new(timing: &Timing) -> Self {
        Self {
            rule: Mutex::new(Rule::new(timing)),
            silent: AtomicBool::new(false),
            changed: Notify::new(),
            began: now(),
        }
    }

    /// The longest time that a silence takes.
    pub(super) fn silence(&self) -> Duration {
        self.rule().silence()
    }

    /// Whether this node must send nothing that keeps others from being elected.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    /// See `Rule::look`.
    pub(super) fn look(&self, leads: Option<Term>, age: Option<Duration>) -> Instant {
        self.began + self.change(|rule, now| rule.look(now, leads, age))
    }

    /// Begins a silence in this term.
    pub(super) fn step_down(&self, term: Term) {
        self.change(|rule, now| rule.step_down(now, term));
        self.changed.notify_one();
    }

    /// A voter wanted to be elected and this node would not have it.
    pub(super) fn a_vote_was_refused(&self) {
        self.change(|rule, now| rule.a_vote_was_refused(now));
        self.changed.notify_one();
    }

    /// Waits for a change that did not come from `look`.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut Rule, Duration) -> T) -> T {
        let mut rule = self.rule();
        let result = change(&mut rule, now() - self.began);
        self.silent.store(rule.is_silent(), Ordering::Release);
        result
    }

    fn rule(&self) -> MutexGuard<'_, Rule> {
        // The rule is one plain value, replaced whole: a panic elsewhere cannot have left it half
        // written.
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "measured against openraft's timers, which run on tokio's clock (simulated in tests)"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

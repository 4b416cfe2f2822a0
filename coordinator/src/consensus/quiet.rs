//! How the parts of this module share the rule of the silent leader (`vipfence_coordinator_core::Voice`):
//! the network asks whether it may send, the watcher and the service tell what happens.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use vipfence_coordinator_core::Voice as Rule;
use vipfence_types::{Term, Timing};

use super::clocked::Clocked;

/// The rule, shared.
pub(super) struct Voice {
    rule: Clocked<Rule>,
    silent: AtomicBool,
    changed: Notify,
}

impl Voice {
    pub(super) fn new(timing: &Timing) -> Self {
        Self {
            rule: Clocked::new(Rule::new(timing)),
            silent: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// The longest time that a silence takes.
    pub(super) fn silence(&self) -> Duration {
        self.rule.with(|rule, _| rule.silence())
    }

    /// Whether this node must send nothing that keeps others from being elected.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    /// See `Rule::look`.
    pub(super) fn look(&self, leads: Option<Term>, age: Option<Duration>) -> Instant {
        self.rule.instant(self.change(|rule, now| rule.look(now, leads, age)))
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
        self.rule.with(|rule, now| {
            let result = change(rule, now);
            self.silent.store(rule.is_silent(), Ordering::Release);
            result
        })
    }
}

//! How this node measures time: always by the longest of all clock differences (design.md §6
//! "Clocks"), so that a clock step or a visible pause can only end a lease early. Keeps I1.

use core::time::Duration;

use serde::Serialize;
use vipfence_types::{Clocks, KERNEL_LIFETIME_CAP, Mutation};

/// A span of time that runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Timer {
    from: Clocks,
    span: Duration,
}

impl Timer {
    pub(crate) fn new(from: Clocks, span: Duration) -> Self {
        Self { from, span }
    }

    pub(crate) fn gone(&self, now: Clocks) -> Duration {
        if Mutation::LeaseByOneClock.is_on() {
            return now.mono_since(self.from);
        }
        now.longest_since(self.from)
    }

    pub(crate) fn left(&self, now: Clocks) -> Duration {
        self.span.saturating_sub(self.gone(now))
    }

    pub(crate) fn is_over(&self, now: Clocks) -> bool {
        self.left(now).is_zero()
    }

    pub(crate) fn is_quarter_gone(&self, now: Clocks) -> bool {
        self.gone(now) >= self.span / 4
    }

    /// Whether it was begun earlier than that.
    pub(crate) fn began_before(&self, moment: Clocks) -> bool {
        !moment.longest_since(self.from).is_zero()
    }

    pub(crate) fn half_left(&self, now: Clocks) -> Duration {
        (self.span / 2).saturating_sub(self.gone(now))
    }

    /// How long until so much is left, but not before half of it is gone.
    pub(crate) fn until_left(&self, now: Clocks, left: Duration) -> Duration {
        self.left(now).saturating_sub(left.min(self.span / 2))
    }
}

/// The leader's word, as long as it lasts: from the sending of the heartbeat that it answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Lease {
    timer: Timer,
    /// `on_quorum_loss = hold`.
    pub(crate) hold: bool,
    /// Renewed by this node itself, under `hold`.
    pub(crate) local: bool,
}

impl Lease {
    pub(crate) fn new(sent: Clocks, ttl: Duration, hold: bool) -> Self {
        Self { timer: Timer::new(sent, ttl), hold, local: false }
    }

    pub(crate) fn left(&self, now: Clocks) -> Duration {
        if Mutation::LeaseIgnored.is_on() {
            return self.timer.span;
        }
        self.timer.left(now)
    }

    /// Until half of it is gone: when a `hold` lease without answers is renewed locally.
    pub(crate) fn half_left(&self, now: Clocks) -> Duration {
        self.timer.half_left(now)
    }

    pub(crate) fn renew_locally(&mut self, now: Clocks) {
        self.timer = Timer::new(now, self.timer.span);
        self.local = true;
    }

    /// The valid lifetime that the kernel may be given now: the whole seconds that are left, at
    /// most the cap; none with less than one second left, which would have to be rounded *up*
    /// (attacks H3 and H4).
    pub(crate) fn kernel_lifetime(&self, now: Clocks) -> Option<Duration> {
        let mut whole = Duration::from_secs(self.left(now).as_secs());
        if Mutation::LifetimeAtLeastOne.is_on() {
            whole = whole.max(Duration::from_secs(1));
        }
        let cap =
            if Mutation::LifetimeUncapped.is_on() { Duration::MAX } else { KERNEL_LIFETIME_CAP };
        (!whole.is_zero()).then_some(whole.min(cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Clocks {
        Clocks::all_at(Duration::from_millis(ms))
    }

    #[test]
    fn a_kernel_lifetime_is_rounded_down_and_capped_and_never_rounded_up_to_one() {
        let lease = Lease::new(at(0), Duration::from_secs(30), false);
        let secs = |ms| lease.kernel_lifetime(at(ms)).map(|l| l.as_millis());
        assert_eq!(secs(0), Some(12_000));
        assert_eq!(secs(20_001), Some(9_000));
        assert_eq!(secs(29_000), Some(1_000));
        assert_eq!(secs(29_001), None);
        assert_eq!(secs(31_000), None);
    }

    #[test]
    fn a_step_of_the_wall_clock_ends_a_lease_early() {
        let lease = Lease::new(at(0), Duration::from_secs(10), false);
        let mut now = at(1_000);
        now.wall_us += 9_000_000;
        assert_eq!(lease.left(now), Duration::ZERO);
        now.wall_us = 0;
        assert_eq!(lease.left(now), Duration::from_secs(9));
    }
}

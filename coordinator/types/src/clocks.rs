//! A reading of all clocks of a machine at one moment, and the two safe ways to subtract two of
//! them (design.md §6 "Clocks").
//!
//! A lease must end early rather than late at the node, and a wait must end late rather than
//! early at the leader. So the node takes the *longest* of all differences, the wall clock
//! included, and the leader the *shortest* of those clocks that nobody can step. Keeps I1.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// One reading of the machine's clocks, in microseconds. Readings of different boots of a machine,
/// or of different machines, must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// Wall clock (`CLOCK_REALTIME`) since 1970, in microseconds. May be stepped.
    pub wall_us: u64,
    /// Time since boot, suspended time included (`CLOCK_BOOTTIME`), in microseconds.
    pub boot_us: u64,
    /// `CLOCK_MONOTONIC`, in microseconds. Slewed, never stepped.
    pub mono_us: u64,
    /// `CLOCK_MONOTONIC_RAW`, in microseconds. Neither slewed nor stepped.
    pub raw_us: u64,
}

impl Clocks {
    /// A reading in which every clock shows `at`. For tests and simulated worlds.
    #[must_use]
    pub fn all_at(at: Duration) -> Self {
        let us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        Self { wall_us: us, boot_us: us, mono_us: us, raw_us: us }
    }

    /// The reading a time span later, if every clock runs at rate 1.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self {
            wall_us: self.wall_us.saturating_add(us),
            boot_us: self.boot_us.saturating_add(us),
            mono_us: self.mono_us.saturating_add(us),
            raw_us: self.raw_us.saturating_add(us),
        }
    }

    /// How long ago `earlier` was, as a *node* counts its lease: the longest of all four
    /// differences. A step of the wall clock or a visible pause can only end a lease early.
    #[must_use]
    pub fn longest_since(self, earlier: Self) -> Duration {
        let us = [
            self.wall_us.saturating_sub(earlier.wall_us),
            self.boot_us.saturating_sub(earlier.boot_us),
            self.mono_us.saturating_sub(earlier.mono_us),
            self.raw_us.saturating_sub(earlier.raw_us),
        ]
        .into_iter()
        .fold(0, u64::max);
        Duration::from_micros(us)
    }

    /// How long ago `earlier` was, as the *leader* counts a `lease_wait`: the shortest of the boot,
    /// monotonic and raw differences, never by the wall clock.
    #[must_use]
    pub fn shortest_since(self, earlier: Self) -> Duration {
        let us = [
            self.boot_us.saturating_sub(earlier.boot_us),
            self.mono_us.saturating_sub(earlier.mono_us),
            self.raw_us.saturating_sub(earlier.raw_us),
        ]
        .into_iter()
        .fold(u64::MAX, u64::min);
        Duration::from_micros(us)
    }

    /// How long ago `earlier` was by the boot clock alone: the clock of the write window (I7).
    #[must_use]
    pub fn boot_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.boot_us.saturating_sub(earlier.boot_us))
    }

    /// How long ago `earlier` was by the monotonic clock: for pacing, never for safety.
    #[must_use]
    pub fn mono_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.mono_us.saturating_sub(earlier.mono_us))
    }

    /// How long ago `earlier` was by whichever of the boot, monotonic and raw clocks shows the most:
    /// for how long somebody who reads them now has not looked.
    #[must_use]
    pub fn unseen_since(self, earlier: Self) -> Duration {
        Self { wall_us: 0, ..self }.longest_since(Self { wall_us: 0, ..earlier })
    }

    /// By how much the wall clock was stepped since `earlier`: what it shows beyond the boot clock,
    /// in microseconds; negative = set back.
    #[must_use]
    pub fn wall_stepped_since(self, earlier: Self) -> i64 {
        let by = |later: u64, earlier: u64| {
            let signed = |us| i64::try_from(us).unwrap_or(i64::MAX);
            signed(later).saturating_sub(signed(earlier))
        };
        by(self.wall_us, earlier.wall_us).saturating_sub(by(self.boot_us, earlier.boot_us))
    }

    /// Whether this reading is later than `other` by the clocks that nobody can step. Two
    /// readings of one machine agree on all three.
    #[must_use]
    pub fn later_than(self, other: Self) -> bool {
        self.shortest_since(other) > Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: u64, boot: u64, mono: u64, raw: u64) -> Clocks {
        Clocks { wall_us: wall, boot_us: boot, mono_us: mono, raw_us: raw }
    }

    #[test]
    fn a_pause_and_a_step_of_the_wall_clock_are_told_apart() {
        let before = at(50_000_000, 1_000, 1_000, 1_000);
        // The machine slept for 2 s: wall and boot clock show it.
        let slept = at(52_000_000, 2_001_000, 1_500, 1_500);
        assert_eq!(slept.unseen_since(before), Duration::from_secs(2));
        assert_eq!(slept.wall_stepped_since(before), 0);
        let set_back = at(20_000_000, 2_000, 2_000, 2_000);
        assert_eq!(set_back.unseen_since(before), Duration::from_millis(1));
        assert_eq!(set_back.wall_stepped_since(before), -30_001_000);
    }

    #[test]
    fn a_step_of_the_wall_clock_ends_a_lease_early_and_a_wait_not_at_all() {
        let sent = at(1_000, 1_000, 1_000, 1_000);
        let now = at(20_001_000, 3_000, 3_000, 3_000);
        assert_eq!(now.longest_since(sent), Duration::from_secs(20));
        assert_eq!(now.shortest_since(sent), Duration::from_micros(2_000));
    }

    #[test]
    fn a_wall_clock_that_went_back_does_not_lengthen_a_lease() {
        let sent = at(50_000_000, 1_000, 1_000, 1_000);
        let now = at(10_000_000, 5_000, 4_000, 4_000);
        assert_eq!(now.longest_since(sent), Duration::from_micros(4_000));
    }

    #[test]
    fn a_suspended_machine_counts_for_the_lease_and_not_for_the_wait() {
        let sent = at(0, 0, 0, 0);
        let now = at(9_000, 9_000, 2_000, 2_100);
        assert_eq!(now.longest_since(sent), Duration::from_micros(9_000));
        assert_eq!(now.shortest_since(sent), Duration::from_micros(2_000));
    }

    #[test]
    fn readings_are_ordered_by_the_clocks_that_nobody_steps() {
        assert!(at(0, 2, 2, 2).later_than(at(9, 1, 1, 1)));
        assert!(!at(9, 1, 1, 1).later_than(at(0, 1, 1, 1)));
    }
}

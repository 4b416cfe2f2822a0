//! The agent's clocks: the one place where it reads them.
//!
//! All four are read at once, since a lease is counted by the longest of their differences
//! (design.md §6 "Clocks", I1). Whoever decides gets a reading as `now`; nothing here compares.

use vipfence_types::Clocks;

/// Where readings of the clocks come from.
pub(crate) trait ClockSource: Send + Sync {
    /// All clocks, now.
    fn now(&self) -> Clocks;
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClocks;

#[cfg(target_os = "linux")]
impl ClockSource for SystemClocks {
    fn now(&self) -> Clocks {
        use rustix::time::ClockId;
        // The order matters little: a pause between two of the readings shows in the later ones,
        // and the longest difference counts.
        Clocks {
            wall_us: linux::micros(ClockId::Realtime),
            boot_us: linux::micros(ClockId::Boottime),
            mono_us: linux::micros(ClockId::Monotonic),
            raw_us: linux::micros(ClockId::MonotonicRaw),
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::time::{ClockId, clock_gettime};

    /// Microseconds of one clock. A wall clock before 1970 shows as 0: its difference is then
    /// nothing, and the other three decide.
    pub(super) fn micros(id: ClockId) -> u64 {
        let time = clock_gettime(id);
        let secs = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        secs.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clocks_run_and_none_runs_backwards() {
        let first = SystemClocks.now();
        let mut later = SystemClocks.now();
        while !later.later_than(first) {
            later = SystemClocks.now();
        }
        assert!(first.wall_us > 1_600_000_000_000_000, "{first:?}");
        // Two clocks are never read at one instant: the later reading has to have caught up.
        assert!(later.boot_us >= first.mono_us, "{first:?}, then {later:?}");
    }
}

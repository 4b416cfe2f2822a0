//! Time: the true time of the world, and what the clocks of a machine make of it.
//!
//! The world counts microseconds from its beginning ([`At`]). Nobody in it sees that: a machine has
//! four clocks with rates of their own, within ± 1 % of the truth (design.md §6, the fault model).
//! A pause of the machine stands still in those clocks that do not show it; the lifetimes that the
//! kernel gives addresses follow the monotonic clock.

use std::time::Duration;

use vipfence_types::Clocks;

/// True time: microseconds since the world began.
pub type At = u64;

/// Microseconds of milliseconds.
#[must_use]
pub const fn ms(ms: u64) -> u64 {
    ms * 1_000
}

/// Microseconds of seconds.
#[must_use]
pub const fn secs(secs: u64) -> u64 {
    secs * 1_000_000
}

/// Microseconds of a duration.
#[must_use]
pub fn us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Parts per million; a clock at rate `1_000_000 + ppm`.
const MILLION: i128 = 1_000_000;

/// A clock that runs at its own rate and can be stepped.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// What it showed at `since`.
    base: u64,
    since: At,
    ppm: i32,
}

impl Clock {
    fn read(&self, at: At) -> u64 {
        let passed = i128::from(at.saturating_sub(self.since));
        let shown = passed * (MILLION + i128::from(self.ppm)) / MILLION;
        self.base.saturating_add(u64::try_from(shown).unwrap_or(0))
    }

    /// Goes on from `at` with what it shows now, moved by `step`.
    fn step(&mut self, at: At, step: i64) {
        self.base = self.read(at).saturating_add_signed(step);
        self.since = at;
    }
}

/// The clocks of a machine.
#[derive(Clone, Debug)]
pub struct MachineClocks {
    wall: Clock,
    boot: Clock,
    mono: Clock,
    raw: Clock,
}

/// Whether the clocks of a machine show that it was paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseSeen {
    /// The boot clock and the wall clock went on.
    Shown,
    /// All four stood still: the exception that design.md §11 (a) names.
    Hidden,
}

impl MachineClocks {
    /// The wall clock of the world at its beginning: 2025-10-09, in microseconds.
    pub const EPOCH_US: u64 = 1_760_000_000_000_000;

    /// A machine that booted at `at`. `slewed` is the rate that the clock discipline gives to all
    /// but the raw clock, `crystal` the rate of that one; both in parts per million.
    pub fn booted(at: At, wall_error_us: i64, slewed: i32, crystal: i32) -> Self {
        let wall = Self::EPOCH_US.saturating_add(at).saturating_add_signed(wall_error_us);
        let clock = |base, ppm| Clock { base, since: at, ppm };
        Self {
            wall: clock(wall, slewed),
            boot: clock(secs(20), slewed),
            mono: clock(secs(20), slewed),
            raw: clock(secs(20), crystal),
        }
    }

    /// The same machine after a boot: its crystal is what it was.
    pub(crate) fn reboot(&mut self, at: At, wall_error_us: i64) {
        *self = Self::booted(at, wall_error_us, self.mono.ppm, self.raw.ppm);
    }

    /// All four, read at once.
    pub fn read(&self, at: At) -> Clocks {
        Clocks {
            wall_us: self.wall.read(at),
            boot_us: self.boot.read(at),
            mono_us: self.mono.read(at),
            raw_us: self.raw.read(at),
        }
    }

    /// The monotonic clock: timers and the kernel's address lifetimes run on it.
    pub fn mono(&self, at: At) -> u64 {
        self.mono.read(at)
    }

    /// The true time at which the monotonic clock shows `mono`, if nothing happens to it; not
    /// before that.
    pub fn when(&self, mono: u64) -> At {
        let ahead = i128::from(mono.saturating_sub(self.mono.base));
        let rate = MILLION + i128::from(self.mono.ppm);
        let true_us = (ahead * MILLION + rate - 1) / rate;
        self.mono.since.saturating_add(u64::try_from(true_us).unwrap_or(u64::MAX))
    }

    /// The machine was paused for `paused` and goes on at `at`.
    pub fn resume(&mut self, at: At, paused: u64, seen: PauseSeen) {
        let back = -i64::try_from(paused).unwrap_or(i64::MAX);
        self.mono.step(at, back);
        self.raw.step(at, back);
        if seen == PauseSeen::Hidden {
            self.boot.step(at, back);
            self.wall.step(at, back);
        }
    }

    /// The clocks run at other rates from now on.
    pub(crate) fn run_at(&mut self, at: At, slewed: i32, crystal: i32) {
        for clock in [&mut self.wall, &mut self.boot, &mut self.mono, &mut self.raw] {
            clock.step(at, 0);
            clock.ppm = slewed;
        }
        self.raw.ppm = crystal;
    }

    /// Time synchronisation brings the wall clock back to the truth.
    pub fn true_wall(&mut self, at: At) {
        self.wall = Clock { base: Self::EPOCH_US + at, since: at, ppm: self.wall.ppm };
    }

    /// Somebody sets the wall clock.
    pub fn jump_wall(&mut self, at: At, by: i64) {
        self.wall.step(at, by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_fast_reaches_its_reading_early_and_never_before_it() {
        let clocks = MachineClocks::booted(secs(5), 0, 10_000, -10_000);
        let due = clocks.when(clocks.mono(secs(5)) + secs(10));
        assert!(due < secs(15) && due > secs(14), "{due}");
        assert!(clocks.mono(due) >= clocks.mono(secs(5)) + secs(10));
        assert!(clocks.read(secs(15)).raw_us < clocks.read(secs(15)).mono_us);
    }

    #[test]
    fn a_pause_shows_in_the_boot_clock_or_in_none() {
        let mut clocks = MachineClocks::booted(0, 0, 0, 0);
        let before = clocks.read(secs(10));
        clocks.resume(secs(40), secs(30), PauseSeen::Shown);
        let after = clocks.read(secs(40));
        assert_eq!(after.mono_us, before.mono_us);
        assert_eq!(after.longest_since(before), Duration::from_secs(30));
        clocks.resume(secs(70), secs(30), PauseSeen::Hidden);
        assert_eq!(clocks.read(secs(70)).longest_since(after), Duration::ZERO);
    }
}

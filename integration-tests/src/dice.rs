//! Randomness that can be repeated.

use std::time::{Duration, SystemTime};

/// A generator (SplitMix64) that says its seed when it is made: `VIPFENCE_SEED=… cargo test …`
/// repeats a run, as far as the machine's timing lets it.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Seeded by `VIPFENCE_SEED`, else by the clock.
    #[must_use]
    pub fn new() -> Self {
        let given = std::env::var("VIPFENCE_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(1, |now| u64::from(now.subsec_micros()) + now.as_secs() % 1_000 * 1_000_000)
        });
        println!("VIPFENCE_SEED={seed}");
        Self { state: seed }
    }

    /// A number.
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    /// A time below `limit`, which is at least a millisecond.
    pub fn time_below(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(self.below(limit))
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        assert!(!from.is_empty(), "nothing to pick from");
        let at = self.below(from.len() as u64);
        &from[usize::try_from(at).expect("it is below a usize")]
    }

    /// Another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let at = self.below(last as u64 + 1);
            things.swap(last, usize::try_from(at).expect("it is below a usize"));
        }
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}

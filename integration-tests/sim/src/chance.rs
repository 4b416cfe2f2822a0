//! Chance: all randomness of a world comes from its seed, in streams that do not disturb each other.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// A stream of chance.
#[derive(Clone, Debug)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream of this name: a draw from one stream leaves all others as they were.
    #[must_use]
    pub fn of(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// A number of the range, both ends included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        self.0.gen_range(low..=high.max(low))
    }

    /// A number of the range, both ends included.
    pub fn signed(&mut self, low: i64, high: i64) -> i64 {
        self.0.gen_range(low..=high.max(low))
    }

    /// True once in so many.
    pub fn one_in(&mut self, many: u64) -> bool {
        self.0.gen_range(0..many.max(1)) == 0
    }

    /// True with so many parts in a thousand.
    pub fn permille(&mut self, parts: u64) -> bool {
        self.0.gen_range(0..1_000) < parts
    }

    /// One of them.
    ///
    /// # Panics
    /// There is none.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        among.choose(&mut self.0).expect("something to pick from")
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.gen_range(0..len.max(1))
    }
}

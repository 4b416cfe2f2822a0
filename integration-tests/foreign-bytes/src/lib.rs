//! What others may send us, from valid to nonsense: proptest strategies for the tests named
//! `foreign`, which stand beside whatever reads foreign bytes.
//!
//! A test gives valid seeds; what it gets are the seeds, broken in up to four places (a node
//! removed, doubled, replaced by a value of another type, swapped with a node from elsewhere,
//! nested deeply), the same as text with broken bytes (cut off, flipped, not UTF-8), and plain
//! noise. Structure first: noise alone never gets past the first brace.
//!
//! It knows nothing of vipfence, so that every crate can have it as a dev-dependency. `cargo xtask
//! fuzz` runs the same tests for long, by way of [`cases`].

pub mod azure;
mod bytes;
mod json;

pub use bytes::{Raw, bytes, noise, text};
pub use json::{body, depth, json_bytes, mutated, oddity, parsed, word};

use proptest::test_runner::Config;

/// How many cases a test runs: `usual` in CI, many times that in a long run.
#[must_use]
pub fn cases(usual: u32) -> Config {
    let times: Option<u32> =
        std::env::var("FOREIGN_BYTES_TIMES").ok().and_then(|text| text.parse().ok());
    Config {
        cases: usual.saturating_mul(times.unwrap_or(1)),
        // A document that is broken in four places is small enough to read.
        max_shrink_iters: 2_000,
        ..Config::default()
    }
}

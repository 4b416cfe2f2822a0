//! Real binaries, real kernels, real addresses: each node a network namespace.
//!
//! Where there can be no namespaces the tests are skipped with a line that says how to get them; in
//! CI they are required. Each test runs in a process and an enclosure of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests: they measure real time, say what they saw, and fail by panicking"
)]

mod itself;

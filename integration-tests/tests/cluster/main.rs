//! Everything that issue 2 promises, shown through the public surface only: processes, signals,
//! HTTP, gRPC, the command line. One binary, in which one test at a time runs (`Turn`).
//!
//! Limits of time are twice what is promised: tests run debug builds, on whatever machine. The
//! figures themselves come from `cargo xtask bench dev`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests: they measure real time, say what they saw, and fail by panicking"
)]

mod around;
mod by_hand;
mod comeback;
mod contract;
mod failover;
mod hands;
mod refusals;
mod rehearsal;
mod requests;
mod rights;
mod stops;
mod storm;
mod surface;
mod tokens;

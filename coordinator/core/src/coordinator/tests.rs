//! The whole machine of a leader on a bench: instant consensus, a small ARM, small agents, and
//! simulated time. Every test is deterministic.

mod agent;
mod arm;
mod asks;
mod batch;
mod bench;
mod cuts;
mod data_path;
mod drift;
mod failback;
mod failover;
mod hands;
mod health;
mod pace;
mod switchover;
mod takeover;
mod trouble;
mod warmth;

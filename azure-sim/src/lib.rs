//! A simulator of the corner of Azure that moves private addresses between network interfaces.
//!
//! [`World`] is the simulator: a pure function of (state, `now`, request). It knows the network
//! interfaces, operations, `If-Match`, the allocation of addresses, tokens and instance metadata,
//! and publishes what the data plane does ([`World::attachments`]). It runs unchanged inside a
//! deterministic simulation. [`server`] is a thin HTTP shell around it.
//!
//! The source of each behaviour stands at its place: `[W]` seen in a recorded real exchange,
//! `[S]` Microsoft's specification or documentation, `[R]` a third party's report, `[I]`
//! inferred. What is inferred and matters to a client is a field of [`Settings`].
//!
//! A [`Profile`] is a complete set of them.
//!
//! It deliberately does not: forward traffic, or model load balancers, public addresses and the
//! long tail of NIC properties (those are kept as sent).

pub mod server;
mod state;

pub use state::*;

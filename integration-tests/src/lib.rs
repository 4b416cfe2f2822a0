//! The harness of the tests that cross crates: everything here talks to the real `vipfence` binary
//! through its public surface only (processes, signals, HTTP, gRPC, files that are contracts).
//!
//! * [`Dev`] starts `vipfence dev` and knows its nodes; [`Process`] is any process of ours, which
//!   dies with the test however that ends.
//! * [`Prober`] is a client of the VIP that counts what it loses; [`Observer`] watches every node's
//!   responder and tells whether two of them ever had the VIP (I1).
//! * [`AzureSim`] is the simulator alone; [`Judges`] are Microsoft's own clients, which must take it
//!   for Azure; [`ByHand`] is a cluster whose parts were started one by one; [`Etcd`] is Debian's
//!   etcd, to be measured beside it.
//! * [`FabricCluster`] is a cluster on real kernels: network namespaces, kernel addresses, and clients,
//!   faults and an observer for them.
//! * [`Turn`] lets one test at a time run: they measure time, and CI has two cores.
//!
//! Deliberately not here: anything that reads or drives a machine from inside. Waiting is done by
//! asking again until a limit ([`wait_until`]); nothing sleeps and hopes.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test harness: it measures real time, talks to whoever runs the tests, and panics"
)]

mod api;
mod binaries;
mod by_hand;
mod cli;
mod dev;
mod dice;
mod etcd;
mod fabric;
mod grpcurl;
mod http;
mod journal;
mod judges;
mod manifest;
mod observer;
mod ports;
mod prober;
mod process;
mod refusal;
mod runtime;
mod simulator;
mod turn;
mod wait;

pub use api::{Api, Watch};
pub use binaries::{Binaries, Profile};
pub use by_hand::ByHand;
pub use cli::{Cli, CliAnswer};
pub use dev::{Dev, DevOptions, VIP};
pub use dice::Dice;
pub use etcd::Etcd;
pub use fabric::{
    AddressObserver, Blow, ClusterOptions, Fabric, FabricCluster, Fault, History, Kept,
    KeptConnection, LoadBalancer, Namespace, Outage, Outcome, Ping, Pinger, Pings, ProbeWatch,
    ReadingConnection, Rerouted, Seen, Turmoil, VIP_OF_SECOND_NIC, VIP_V6, VIPS,
    enclose_this_program, failover, in_enclosure, is_enclosed, leader_dies, partition,
    planned_move, stir,
};
pub use grpcurl::{Grpcurl, GrpcurlAnswer};
pub use http::{HttpAnswer, get, post};
pub use journal::{JournalEntry, Simulator};
pub use judges::{JudgeAnswer, JudgeShell, Judges};
pub use manifest::{Manifest, ManifestNode};
pub use observer::{Observer, Sighting, Sightings};
pub use prober::{Probe, Prober, Probes, Served};
pub use process::{Ended, Process, is_alive};
pub use refusal::Refusal;
pub use runtime::block_on;
pub use simulator::{AzureSim, GROUP};
pub use turn::Turn;
pub use vipfence_proto::v1;
pub use wait::{eventually, wait_until};

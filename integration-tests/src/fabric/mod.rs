//! Real binaries on real kernels: every node is a network namespace, and Azure is the one between
//! them.
//!
//! * [`in_enclosure`] gives a test namespaces of its own, without root.
//! * [`Fabric`] is the network with its simulated Azure: packets go where azure-sim says that an
//!   address is attached, [`Fault`]s cut links, and 169.254.169.254 is the metadata service.
//! * [`FabricCluster`] is a few agents on it. Everything runs on one machine and one clock.
//! * [`Blow`] and the functions beside it hit a cluster and tell what its clients saw; [`stir`] does
//!   so at random.
//! * [`Pinger`], [`KeptConnection`] and [`ReadingConnection`] are clients of the VIP; [`AddressObserver`] proves I1.
//!
//! Not here: packets that are delayed (this kernel has no netem; [`Fault::Slow`] keeps bytes), VMs
//! that pause.

mod balancer;
mod chaos;
mod cluster;
mod connection;
mod enclosure;
mod faults;
mod follower;
mod host;
mod namespace;
mod network;
mod observer;
mod options;
mod prober;
mod scenes;
mod shell;
mod slow;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

pub use balancer::{LoadBalancer, ProbeWatch};
pub use chaos::{Turmoil, stir};
pub use cluster::FabricCluster;
pub use connection::{Kept, KeptConnection, ReadingConnection};
pub use enclosure::{enclose_this_program, in_enclosure, is_enclosed};
pub use faults::Fault;
pub use follower::Rerouted;
pub use namespace::Namespace;
pub use network::{VIP_OF_SECOND_NIC, VIP_V6, VIPS};
pub use observer::{AddressObserver, History, Seen};
pub use options::ClusterOptions;
pub use prober::{Outage, Ping, Pinger, Pings};
pub use scenes::{Blow, Outcome, failover, leader_dies, partition, planned_move};

use crate::{Binaries, Process, Simulator, wait_until};
use follower::Follower;
use network::{ARM, IMDS_BASE_PORT, Network, vips};

/// What Azure has at first: in the enclosure's own `/run`.
const WORLD: &str = "/run/world.json";

/// Azure with its network, as long as it lives. One for each enclosure.
#[derive(Debug)]
pub struct Fabric {
    network: Arc<Network>,
    faults: Mutex<Vec<Fault>>,
    simulator: Simulator,
    follower: Follower,
    _azure: Process,
}

impl Fabric {
    /// Makes the network, of nodes with so many NICs, and starts the simulator. Operations take
    /// `operation`.
    ///
    /// # Panics
    /// If this process is not enclosed, or something does not start.
    #[must_use]
    pub fn start(names: &[&str], nics: u8, operation: Duration) -> Self {
        assert!(is_enclosed(), "a fabric would change the network of this machine");
        let network = Arc::new(Network::make(names, nics));
        let mut command = Command::new(&Binaries::get().azure_sim);
        command.args(["serve", "--world", WORLD, "--arm", ARM, "--imds-host", "192.0.2.10"]);
        command.args(["--imds-base-port", &IMDS_BASE_PORT.to_string()]);
        command.args(["--latency", &format!("{}ms", operation.as_millis())]);
        std::fs::write(WORLD, network.world().to_string()).expect("a file");
        let azure = Process::start("azure-sim", command);
        let said: Value = wait_until("the simulator is there", Duration::from_secs(10), || {
            let output = azure.output();
            let line = output.lines().find(|line| line.starts_with('{'));
            serde_json::from_str(line.ok_or_else(|| output.clone())?)
                .map_err(|_| "not a whole line yet".to_owned())
        });
        let admin = said["admin"].as_str().unwrap_or_else(|| panic!("{said}"));
        let follower = Follower::start(admin.to_owned(), Arc::clone(&network));
        let simulator = Simulator::at(admin);
        Self { network, faults: Mutex::default(), simulator, follower, _azure: azure }
    }

    /// The hand of whoever tests, in Azure.
    #[must_use]
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Every change of the network so far.
    #[must_use]
    pub fn rerouted(&self) -> Vec<Rerouted> {
        self.follower.changes()
    }

    /// The names of the nodes.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.network.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// A node's own address.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn address(&self, node: &str) -> Ipv4Addr {
        self.network.node(node).first_nic().address
    }

    /// The addresses of all its NICs, in their order.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn addresses(&self, node: &str) -> Vec<Ipv4Addr> {
        self.network.node(node).nics.iter().map(|nic| nic.address).collect()
    }

    /// A node's own address of IPv6.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn address_v6(&self, node: &str) -> Ipv6Addr {
        self.network.node(node).first_nic().address_v6
    }

    /// Where a node lives.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn namespace(&self, node: &str) -> &Namespace {
        &self.network.node(node).namespace
    }

    /// Where the client lives.
    #[must_use]
    pub fn client(&self) -> &Namespace {
        &self.network.client.namespace
    }

    /// The service behind the VIPs, on a node.
    #[must_use]
    pub fn echo(&self, node: &str) -> Process {
        let mut command = Command::new(&Binaries::get().fabric_echo);
        command.arg(node).args(vips().map(|vip| vip.to_string()));
        self.namespace(node).start(&format!("fabric-echo of {node}"), command)
    }

    /// A client that asks an address every 10 ms. The first answer may be long in coming.
    #[must_use]
    pub fn pinger(&self, vip: impl Into<IpAddr>) -> Pinger {
        Pinger::start(self.client(), vip.into())
    }

    /// The same from a node.
    #[must_use]
    pub fn pinger_of(&self, node: &str, vip: impl Into<IpAddr>) -> Pinger {
        Pinger::start(self.namespace(node), vip.into())
    }

    /// A TCP connection of the client.
    ///
    /// # Panics
    /// If the address is not served.
    #[must_use]
    pub fn connect(&self, vip: impl Into<IpAddr>) -> KeptConnection {
        KeptConnection::open(self.client(), vip.into())
    }

    /// A load balancer in front of all nodes.
    #[must_use]
    pub fn balance(&self, frontend: Ipv4Addr, probe_port: u16) -> LoadBalancer {
        LoadBalancer::start(&self.network, frontend, probe_port)
    }

    /// Somebody who asks all nodes whether they answer the probe.
    #[must_use]
    pub fn watch_probes(&self, port: u16) -> ProbeWatch {
        ProbeWatch::start(&self.network, port)
    }

    /// A TCP connection on which the client only reads.
    ///
    /// # Panics
    /// If the address is not served.
    #[must_use]
    pub fn read_from(&self, vip: impl Into<IpAddr>) -> ReadingConnection {
        ReadingConnection::open(self.client(), vip.into())
    }

    /// Somebody who watches all kernels.
    #[must_use]
    pub fn observer(&self) -> AddressObserver {
        AddressObserver::start(Arc::clone(&self.network))
    }

    /// How many packets were dropped because their NIC does not have the sender's address.
    #[must_use]
    pub fn spoofed(&self) -> u64 {
        Network::spoofed()
    }

    /// How often nodes told their neighbours, unasked, that [`VIP_V6`] is there.
    #[must_use]
    pub fn advertised(&self) -> u64 {
        Network::advertised()
    }

    /// The addresses at nodes, by what the network does now.
    #[must_use]
    pub fn attached(&self) -> BTreeMap<IpAddr, String> {
        let by_nics = self.rerouted().pop().map(|last| last.attached).unwrap_or_default();
        let node = |nic: String| Some(self.network.nic(&nic)?.0.name.clone());
        by_nics.into_iter().filter_map(|(address, nic)| Some((address, node(nic)?))).collect()
    }

    // ---- what is wrong ------------------------------------------------------------------------

    /// One more thing that is wrong.
    pub fn suffer(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut all = self.all_faults();
        all.extend(faults);
        self.network.suffer(&all);
    }

    /// Such faults are over.
    pub fn heal_if(&self, over: impl Fn(&Fault) -> bool) {
        let mut all = self.all_faults();
        all.retain(|fault| !over(fault));
        self.network.suffer(&all);
    }

    /// All of them are.
    pub fn heal(&self) {
        self.heal_if(|_| true);
    }

    /// Whether a node cannot be talked to.
    #[must_use]
    pub fn is_isolated(&self, node: &str) -> bool {
        self.all_faults().iter().any(|fault| fault.isolates(node))
    }

    fn all_faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pulls a node's cables: its interfaces have no carrier.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn pull_cable(&self, node: &str) {
        self.network.node(node).disconnect();
    }

    /// Puts them back.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn put_cable_back(&self, node: &str) {
        self.network.node(node).connect();
    }

    /// Takes the interfaces down inside the node, and up again, with the routes that DHCP would set.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn bounce_interface(&self, node: &str) {
        self.network.node(node).bounce();
    }
}

//! What a cluster on the fabric is to be like, and the files of its nodes.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::network::ARM;
use super::{Fabric, VIPS};
use crate::GROUP;

/// The name of the cluster's VIP.
pub(super) const VIP: &str = "demo";

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The nodes; one that begins with `w` is a witness.
    pub nodes: &'static [&'static str],
    /// How many NICs each node has: one or two. For its VIPs they are `nic0` and `nic1`.
    pub nics: u8,
    /// How long an operation of Azure takes.
    pub operation: Duration,
    /// The timers.
    pub profile: &'static str,
    /// The VIP is behind a load balancer with a health probe of this port.
    pub probe_port: Option<u16>,
    /// The holder looks after the service behind the VIP: twice a second, three failures count.
    pub checked: bool,
    /// The addresses of its VIP, as `vip create --address` takes them.
    pub addresses: &'static [&'static str],
    /// What the nodes' files say of VIPs.
    pub vips: &'static str,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        let operation = Duration::from_secs(2);
        Self {
            nodes: &["n1", "n2", "n3"],
            nics: 1,
            operation,
            profile: "fast",
            probe_port: None,
            checked: false,
            addresses: &["10.5.0.110"],
            vips: "",
        }
    }
}

/// Whether a node of this name votes and never holds.
pub(super) fn is_witness(name: &str) -> bool {
    name.starts_with('w')
}

impl ClusterOptions {
    /// The first address of its VIP.
    pub(super) fn vip_address(&self) -> IpAddr {
        let first = self.addresses.first().expect("a VIP has an address");
        let address = first.split(['/', '@']).next().and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no address: {first}"))
    }

    /// The file of a node.
    pub(super) fn node_file(&self, fabric: &Fabric, name: &str) -> String {
        let profile = self.profile;
        let address = fabric.address(name);
        let mut text = format!(
            "cluster = \"fabric\"\nprofile = \"{profile}\"\n\n[node]\nname = \"{name}\"\n\
             data_dir = \"{name}\"\n\n[listen]\ngrpc = \"{address}:7600\"\n\
             http = \"{address}:7601\"\ninsecure = true\n\n"
        );
        for peer in fabric.names() {
            let role = if is_witness(&peer) { "witness" } else { "member" };
            let at = fabric.address(&peer);
            let _ = writeln!(
                text,
                "[[peers]]\nname = \"{peer}\"\naddress = \"{at}:7600\"\nrole = \"{role}\"\n"
            );
        }
        let nics = &fabric.network.node(name).nics;
        for nic in nics.iter().filter(|_| !is_witness(name)) {
            let id = format!("{GROUP}/providers/Microsoft.Network/networkInterfaces/{}", nic.name);
            let interface = &nic.interface;
            let _ = writeln!(text, "[[nics]]\nid = \"{id}\"\ninterface = \"{interface}\"\n");
        }
        // No word about the metadata service: it is where it always is.
        let _ = writeln!(text, "[azure]\narm = \"http://{ARM}\"\n");
        text.push_str("[os]\ndriver = \"linux\"\n");
        if self.checked {
            let _ = write!(
                text,
                "\n[[vips.{VIP}.checks]]\nname = \"echo\"\ntcp = \"{}:7\"\non = \"holder\"\n\
                 interval = \"500ms\"\ntimeout = \"300ms\"\nrise = 1\nfall = 3\n",
                VIPS[0]
            );
        }
        text + self.vips
    }
}

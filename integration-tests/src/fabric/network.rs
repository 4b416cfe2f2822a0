//! Azure's network: who may send what, and where a packet goes.
//!
//! It is the enclosure's own namespace; the nodes and the client each have one of theirs, tied to it
//! by a veth for each NIC (`host`). As in Azure
//! * there is no link between two nodes: every packet goes through here, and neighbours are known
//!   for good, so that nothing depends on what a node answers to ARP;
//! * a packet for a VIP goes to the NIC that has the address attached, or nowhere;
//! * a packet from an address that its NIC does not have is dropped (no IP forwarding), and counted;
//! * 169.254.169.254 answers each node with that node's own identity, by its first NIC only;
//! * every NIC has an address of IPv6 as well, in a secondary ipConfiguration, and the gateway is a
//!   link-local address there.
//!
//! Which NIC that is changes in one transaction of nft, for both directions at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::faults::Fault;
use super::host::{Host, Nic, SUBNETS, Subnet};
use super::shell::run;
use super::slow::SlowLink;

/// Azure Resource Manager. Not a node's neighbour: another network.
pub(super) const ARM: &str = "192.0.2.10:8600";
const ARM_HOST: &str = "192.0.2.10";
/// The first node's metadata service; the others follow.
pub(super) const IMDS_BASE_PORT: u16 = 8700;
/// The gateway, as every host sees it by each of its NICs.
pub(super) const GATEWAY: &str = "10.5.0.1";
/// The client's name. It is in a subnet of its own of the virtual network.
pub(super) const CLIENT: &str = "client";
/// Where health probes come from, in all of Azure.
pub(super) const PROBE_SOURCE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
/// Addresses that a test may make a VIP of.
pub const VIPS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 5, 0, 110), Ipv4Addr::new(10, 5, 0, 111)];
/// One of IPv6.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 0x6e);
/// And one in the subnet of the nodes' second NICs.
pub const VIP_OF_SECOND_NIC: Ipv4Addr = Ipv4Addr::new(10, 5, 2, 110);

/// All of them.
pub(super) fn vips() -> impl Iterator<Item = IpAddr> {
    let v4 = VIPS.into_iter().chain([VIP_OF_SECOND_NIC]);
    v4.map(IpAddr::V4).chain([IpAddr::V6(VIP_V6)])
}

/// The network.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) nodes: Vec<Host>,
    pub(super) client: Host,
    slow: SlowLink,
    routes: Mutex<Routes>,
}

/// The NICs that packets for VIPs go to.
#[derive(Debug, Default)]
struct Routes {
    /// By ipConfigurations.
    attached: BTreeMap<IpAddr, String>,
    /// By a load balancer.
    balanced: BTreeMap<IpAddr, String>,
}

impl Network {
    /// Lays the cables: so many of each node.
    pub(super) fn make(names: &[&str], nics: u8) -> Self {
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"], "");
        let nodes: Vec<Host> =
            names.iter().zip(0..).map(|(name, nth)| Host::node(name, nth, nics)).collect();
        let client = Host::client(CLIENT);
        for forwards in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            write(format!("/proc/sys/net/{forwards}"), "1").expect("root of the namespace may");
        }
        let own = format!(
            "link set lo up\naddress add {ARM_HOST}/32 dev lo\naddress add {GATEWAY}/32 dev lo\n\
             address add {PROBE_SOURCE}/32 dev lo\n\
             route add blackhole 10.5.0.0/16\nroute add blackhole fd00:5::/32\n"
        );
        run("ip", &["-batch", "-"], &own);
        for host in nodes.iter().chain([&client]) {
            host.plug_in();
        }
        let network = Self { nodes, client, slow: SlowLink::start(), routes: Mutex::default() };
        run("nft", &["-f", "-"], &network.rules());
        network
    }

    pub(super) fn node(&self, name: &str) -> &Host {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.unwrap_or_else(|| panic!("no node {name}"))
    }

    /// The NICs of all nodes, each with its node.
    pub(super) fn nics(&self) -> impl Iterator<Item = (&Host, &Nic)> {
        self.nodes.iter().flat_map(|node| node.nics.iter().map(move |nic| (node, nic)))
    }

    /// The one of this name, with its node.
    pub(super) fn nic(&self, name: &str) -> Option<(&Host, &Nic)> {
        self.nics().find(|(_, nic)| nic.name == name)
    }

    /// What Azure has at first, as azure-sim reads it.
    pub(super) fn world(&self) -> Value {
        let subnet = |subnet: Subnet| {
            json!({
                "name": subnet.name(),
                "prefix": subnet.prefix(),
                "prefix_v6": subnet.prefix_v6(),
            })
        };
        let vm = |node: &Host| json!({"name": node.name});
        let nic = |(node, nic): (&Host, &Nic)| {
            json!({
                "name": nic.name,
                "vm": node.name,
                "virtual_network": "vnet",
                "subnet": nic.subnet.name(),
                "primary_address": nic.address,
                "secondary": {"ipv6": nic.address_v6},
            })
        };
        let subnets: Value = SUBNETS.into_iter().map(subnet).collect();
        json!({
            "virtual_networks": [{"name": "vnet", "subnets": subnets}],
            "vms": self.nodes.iter().map(vm).collect::<Value>(),
            "nics": self.nics().map(nic).collect::<Value>(),
        })
    }

    fn rules(&self) -> String {
        let nics = || self.nics().map(|(_, nic)| nic).chain(&self.client.nics);
        let (mut own, mut own_v6) = (Vec::new(), Vec::new());
        for nic in nics() {
            own.push(format!("\"{}\" . {}", nic.name, nic.address));
            own_v6.push(format!("\"{}\" . {}", nic.name, nic.address_v6));
        }
        let names: Vec<String> = nics().map(|nic| format!("\"{}\"", nic.name)).collect();
        let mut imds = Vec::new();
        for (node, port) in self.nodes.iter().zip(IMDS_BASE_PORT..) {
            imds.push(format!("\"{}\" : {port}", node.first_nic().name));
        }
        format!(
            "table inet azure {{
                counter spoofed {{ }}
                counter advertised {{ }}
                map imds {{ type ifname : inet_service; elements = {{ {} }} }}
                map attached {{ type ipv4_addr : mark; }}
                map attached_v6 {{ type ipv6_addr : mark; }}
                set own {{ type ifname . ipv4_addr; elements = {{ {} }} }}
                set own_v6 {{ type ifname . ipv6_addr; elements = {{ {} }} }}
                set lent {{ type ifname . ipv4_addr; }}
                set lent_v6 {{ type ifname . ipv6_addr; }}
                chain from_hosts {{
                    ip6 saddr {VIP_V6} ip6 daddr ff02::1 icmpv6 type nd-neighbor-advert \
                        counter name advertised drop
                    # What neighbours say to each other: no further than here.
                    ip6 saddr {{ ::, fe80::/10 }} accept
                    iifname . ip saddr @own accept
                    iifname . ip6 saddr @own_v6 accept
                    iifname . ip saddr @lent accept
                    iifname . ip6 saddr @lent_v6 accept
                    counter name spoofed drop
                }}
                chain arriving {{
                    type filter hook prerouting priority mangle;
                    iifname {{ {} }} jump from_hosts
                }}
                chain marking {{
                    type filter hook prerouting priority -140;
                    ip daddr @attached meta mark set ip daddr map @attached
                    ip6 daddr @attached_v6 meta mark set ip6 daddr map @attached_v6
                }}
                chain to_imds {{
                    type nat hook prerouting priority dstnat;
                    ip daddr 169.254.169.254 tcp dport 80 \
                        dnat ip to {ARM_HOST} : iifname map @imds
                }}
                chain detours {{ type nat hook prerouting priority dstnat; }}
                chain faults {{ }}
                chain passing {{ type filter hook forward priority filter; jump faults; }}
                chain coming {{ type filter hook input priority filter; jump faults; }}
                chain leaving {{ type filter hook output priority filter; jump faults; }}
            }}\n",
            imds.join(", "),
            own.join(", "),
            own_v6.join(", "),
            names.join(", "),
        )
    }

    /// From now on each address is at the NIC that is named for it, and no other address anywhere, but
    /// for those of load balancers.
    pub(super) fn attach(&self, attached: &BTreeMap<IpAddr, String>) {
        self.reroute(|routes| routes.attached.clone_from(attached));
    }

    /// From now on a load balancer sends what comes for its frontend to this node's first NIC, or to
    /// nobody.
    pub(super) fn balance(&self, frontend: IpAddr, node: Option<&str>) {
        self.reroute(|routes| match node {
            Some(node) => {
                let nic = self.node(node).first_nic().name.clone();
                routes.balanced.insert(frontend, nic);
            }
            None => drop(routes.balanced.remove(&frontend)),
        });
    }

    fn reroute(&self, change: impl FnOnce(&mut Routes)) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut routes);
        let mut lines = String::new();
        for all in ["map inet azure attached", "set inet azure lent"] {
            let _ = writeln!(lines, "flush {all}\nflush {all}_v6");
        }
        for (address, name) in routes.attached.iter().chain(&routes.balanced) {
            let (_, nic) = self.nic(name).expect("a NIC of a node");
            let mark = nic.number;
            let family = if address.is_ipv4() { "" } else { "_v6" };
            let add = "add element inet azure";
            let _ = writeln!(lines, "{add} attached{family} {{ {address} : {mark} }}");
            let _ = writeln!(lines, "{add} lent{family} {{ \"{name}\" . {address} }}");
        }
        run("nft", &["-f", "-"], &lines);
    }

    /// From now on these faults hold, and no others.
    pub(super) fn suffer(&self, faults: &[Fault]) {
        let mut lines =
            "flush chain inet azure faults\nflush chain inet azure detours\n".to_owned();
        for rule in faults.iter().flat_map(Fault::rules) {
            let _ = writeln!(lines, "add rule inet azure faults {rule}");
        }
        let address_of = |node: &str| self.node(node).first_nic().address;
        for rule in faults.iter().flat_map(|fault| fault.detours(address_of)) {
            let _ = writeln!(lines, "add rule inet azure detours {rule}");
        }
        self.slow.delay(faults.iter().map(Fault::delay).max().unwrap_or_default());
        run("nft", &["-f", "-"], &lines);
    }

    /// How many packets were dropped because their sender does not have the address.
    pub(super) fn spoofed() -> u64 {
        counter("spoofed")
    }

    /// How often nodes told their neighbours, unasked, that [`VIP_V6`] is there.
    pub(super) fn advertised() -> u64 {
        counter("advertised")
    }
}

fn counter(name: &str) -> u64 {
    let text = run("nft", &["list", "counter", "inet", "azure", name], "");
    let number = text.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).expect("nft prints the counter")
}

//! Azure's network: who may send what, and where a packet goes.
//!
//! It is the enclosure's own namespace; the nodes and the client each have one of theirs, tied to it
//! by one veth. As in Azure
//! * there is no link between two nodes: every packet goes through here, and neighbours are known
//!   for good, so that nothing depends on what a node answers to ARP;
//! * a packet for a VIP goes to the NIC that has the address attached, or nowhere;
//! * a packet from an address that its NIC does not have is dropped (no IP forwarding), and counted;
//! * 169.254.169.254 answers each node with that node's own identity;
//! * every NIC has an address of IPv6 as well, in a secondary ipConfiguration, and the gateway is a
//!   link-local address there.
//!
//! Which NIC that is changes in one transaction of nft, for both directions at once. Every interface
//! has an index of its own in the whole enclosure: events and routes name it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::faults::Fault;
use super::namespace::Namespace;
use super::shell::run;
use super::slow::SlowLink;

/// Azure Resource Manager. Not a node's neighbour: another network.
pub(super) const ARM: &str = "192.0.2.10:8600";
const ARM_HOST: &str = "192.0.2.10";
/// The first node's metadata service; the others follow.
pub(super) const IMDS_BASE_PORT: u16 = 8700;
/// The gateway, as every host sees it.
const GATEWAY: &str = "10.5.0.1";
/// The same of IPv6: that of Azure's router advertisements.
const GATEWAY_V6: &str = "fe80::1234:5678:9abc";
const GATEWAY_MAC: &str = "12:34:56:78:9a:bc";
/// The client's name and address: in another subnet of the virtual network.
pub(super) const CLIENT: &str = "client";
/// Where health probes come from, in all of Azure.
pub(super) const PROBE_SOURCE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 5, 1, 4);
const CLIENT_ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 5, 1, 0, 0, 0, 0, 4);
/// Addresses that a test may make a VIP of.
pub const VIPS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 5, 0, 110), Ipv4Addr::new(10, 5, 0, 111)];
/// And one of IPv6.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 0x6e);

/// All of them.
pub(super) fn vips() -> impl Iterator<Item = IpAddr> {
    VIPS.into_iter().map(IpAddr::V4).chain([IpAddr::V6(VIP_V6)])
}

/// A virtual machine, or the client.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) address_v6: Ipv6Addr,
    /// From 1: of its interface, packet mark and routing table.
    number: u32,
    pub(super) namespace: Namespace,
}

/// The network.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) nodes: Vec<Host>,
    pub(super) client: Host,
    slow: SlowLink,
    routes: Mutex<Routes>,
}

/// Where packets for VIPs go.
#[derive(Debug, Default)]
struct Routes {
    /// By ipConfigurations.
    attached: BTreeMap<IpAddr, String>,
    /// By a load balancer.
    balanced: BTreeMap<IpAddr, String>,
}

impl Host {
    fn make(name: &str, address: Ipv4Addr, address_v6: Ipv6Addr, number: u32) -> Self {
        let (name, namespace) = (name.to_owned(), Namespace::make(name));
        Self { name, address, address_v6, number, namespace }
    }

    /// The index of its `eth0`, which no other interface of the enclosure has.
    pub(super) fn interface(&self) -> u32 {
        100 + self.number
    }

    fn mac(&self) -> String {
        format!("00:0d:3a:00:00:{:02x}", self.number)
    }

    /// Its end of the cable, once.
    fn plug_in(&self) {
        let (name, mac, index) = (&self.name, self.mac(), self.interface());
        let link = format!(
            "link add {name} index {} address {GATEWAY_MAC} type veth \
             peer name eth0 index {index} address {mac} netns {name}\n\
             rule add fwmark {} lookup {index}\n",
            // The kernel takes the other end's only along with this one's.
            index + 100,
            self.number
        );
        run("ip", &["-batch", "-"], &link);
        let rule = format!("rule add fwmark {} lookup {index}\n", self.number);
        run("ip", &["-6", "-batch", "-"], &rule);
        self.connect();
        self.namespace.ip("link set lo up\n");
        self.configure();
    }

    /// Azure's end: after the cable was pulled, too, when the kernel forgets what was there.
    pub(super) fn connect(&self) {
        let (name, mac, index) = (&self.name, self.mac(), self.interface());
        let mut lines = format!("link set {name} up\n");
        for own in self.addresses() {
            let _ = writeln!(lines, "route replace {own} dev {name}");
        }
        for all in ["0.0.0.0/0", "::/0"] {
            let _ = writeln!(lines, "route replace {all} dev {name} table {index}");
        }
        for address in self.addresses().into_iter().chain(vips()) {
            let _ =
                writeln!(lines, "neigh replace {address} lladdr {mac} dev {name} nud permanent");
        }
        run("ip", &["-batch", "-"], &lines);
    }

    /// Its own.
    pub(super) fn addresses(&self) -> [IpAddr; 2] {
        [self.address.into(), self.address_v6.into()]
    }

    /// What DHCP and the kernel would do in Azure. `replace`, for an interface that comes back. The
    /// route of IPv6 names no source: the kernel chooses one.
    pub(super) fn configure(&self) {
        let (address, address_v6) = (self.address, self.address_v6);
        self.namespace.ip(&format!(
            "link set eth0 up\n\
             address replace {address}/32 dev eth0\n\
             route replace {GATEWAY} dev eth0 scope link\n\
             route replace default via {GATEWAY} src {address}\n\
             neigh replace {GATEWAY} lladdr {GATEWAY_MAC} dev eth0 nud permanent\n\
             address replace {address_v6}/128 dev eth0 nodad\n\
             route replace ::/0 via {GATEWAY_V6} dev eth0\n\
             neigh replace {GATEWAY_V6} lladdr {GATEWAY_MAC} dev eth0 nud permanent\n"
        ));
    }
}

impl Network {
    /// Lays the cables.
    pub(super) fn make(names: &[&str]) -> Self {
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"], "");
        let of = |(name, number): (&&str, u8)| {
            let last = 3 + number;
            let address_v6 = Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, last.into());
            Host::make(name, Ipv4Addr::new(10, 5, 0, last), address_v6, number.into())
        };
        let nodes: Vec<Host> = names.iter().zip(1..).map(of).collect();
        let client = Host::make(CLIENT, CLIENT_ADDRESS, CLIENT_ADDRESS_V6, 99);
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

    /// What Azure has at first, as azure-sim reads it.
    pub(super) fn world(&self) -> Value {
        let subnet = json!({"name": "subnet", "prefix": "10.5.0.0/24", "prefix_v6": "fd00:5::/64"});
        let vm = |node: &Host| json!({"name": node.name});
        let nic = |node: &Host| {
            json!({
                "name": format!("{}-nic", node.name),
                "vm": node.name,
                "virtual_network": "vnet",
                "subnet": "subnet",
                "primary_address": node.address,
                "secondary": {"ipv6": node.address_v6},
            })
        };
        json!({
            "virtual_networks": [{"name": "vnet", "subnets": [subnet]}],
            "vms": self.nodes.iter().map(vm).collect::<Value>(),
            "nics": self.nodes.iter().map(nic).collect::<Value>(),
        })
    }

    fn rules(&self) -> String {
        let hosts = || self.nodes.iter().chain([&self.client]);
        let (mut own, mut own_v6) = (Vec::new(), Vec::new());
        for host in hosts() {
            own.push(format!("\"{}\" . {}", host.name, host.address));
            own_v6.push(format!("\"{}\" . {}", host.name, host.address_v6));
        }
        let names: Vec<String> = hosts().map(|host| format!("\"{}\"", host.name)).collect();
        let mut imds = Vec::new();
        for (node, port) in self.nodes.iter().zip(IMDS_BASE_PORT..) {
            imds.push(format!("\"{}\" : {port}", node.name));
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

    /// From now on each address is at the node that is named for it, and no other address anywhere, but
    /// for those of load balancers.
    pub(super) fn attach(&self, attached: &BTreeMap<IpAddr, String>) {
        self.reroute(|routes| routes.attached.clone_from(attached));
    }

    /// From now on a load balancer sends what comes for its frontend to this node, or to nobody.
    pub(super) fn balance(&self, frontend: IpAddr, node: Option<&str>) {
        self.reroute(|routes| match node {
            Some(node) => drop(routes.balanced.insert(frontend, node.to_owned())),
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
        for (address, node) in routes.attached.iter().chain(&routes.balanced) {
            let mark = self.node(node).number;
            let family = if address.is_ipv4() { "" } else { "_v6" };
            let add = "add element inet azure";
            let _ = writeln!(lines, "{add} attached{family} {{ {address} : {mark} }}");
            let _ = writeln!(lines, "{add} lent{family} {{ \"{node}\" . {address} }}");
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
        let address_of = |node: &str| self.node(node).address;
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

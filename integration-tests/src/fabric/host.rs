//! A host of the network, and its NICs: each is a cable with one end in the host's namespace and the
//! other in Azure's.
//!
//! A host's default route goes by its first NIC. Of another one it knows what a VM with several NICs
//! must be told: what comes from the subnet of that NIC leaves by it. The rule names the subnet, not
//! the NIC's own address, since the VIPs are in it too.
//!
//! Every interface has an index of its own in the whole enclosure: events and routes name it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::namespace::Namespace;
use super::network::{GATEWAY, vips};
use super::shell::run;

/// The gateway of IPv6: that of Azure's router advertisements.
const GATEWAY_V6: &str = "fe80::1234:5678:9abc";
const GATEWAY_MAC: &str = "12:34:56:78:9a:bc";
/// Of the client's NIC; nodes have fewer.
const CLIENT_NUMBER: u8 = 99;

/// A subnet of the virtual network, of both families, by the number in its prefixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subnet(u8);

/// Where the nodes' NICs are, in their order.
pub(super) const SUBNETS: [Subnet; 2] = [Subnet(0), Subnet(2)];
const CLIENTS: Subnet = Subnet(1);

/// A virtual machine, or the client.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) nics: Vec<Nic>,
    pub(super) namespace: Namespace,
}

/// A network interface of a host.
#[derive(Debug)]
pub(super) struct Nic {
    /// In Azure, where the end of the cable is called so, too.
    pub(super) name: String,
    /// In the host.
    pub(super) interface: String,
    /// The host's routing table of what leaves by it: `main`, or for `eth1` 1.
    table: String,
    pub(super) address: Ipv4Addr,
    pub(super) address_v6: Ipv6Addr,
    pub(super) subnet: Subnet,
    /// From 1: of its interface, packet mark and Azure's routing table for it.
    pub(super) number: u8,
}

/// All NICs of a host, for nft.
pub(super) fn nics_of(host: &str) -> String {
    format!("\"{host}-nic*\"")
}

impl Subnet {
    pub(super) fn name(self) -> String {
        format!("subnet{}", self.0)
    }

    pub(super) fn prefix(self) -> String {
        format!("10.5.{}.0/24", self.0)
    }

    pub(super) fn prefix_v6(self) -> String {
        format!("fd00:5:{}::/64", self.0)
    }
}

impl Host {
    /// The `nth` node, from 0, with so many NICs.
    pub(super) fn node(name: &str, nth: u8, nics: u8) -> Self {
        assert!(usize::from(nics) <= SUBNETS.len(), "there is a subnet for each NIC");
        let nic = |(at, subnet)| Nic::new(name, at, subnet, 4 + nth, nth * nics + at + 1);
        Self::make(name, (0..nics).zip(SUBNETS).map(nic).collect())
    }

    pub(super) fn client(name: &str) -> Self {
        Self::make(name, vec![Nic::new(name, 0, CLIENTS, 4, CLIENT_NUMBER)])
    }

    fn make(name: &str, nics: Vec<Nic>) -> Self {
        Self { name: name.to_owned(), nics, namespace: Namespace::make(name) }
    }

    /// The one that its default route goes by.
    pub(super) fn first_nic(&self) -> &Nic {
        self.nics.first().expect("a host has a NIC")
    }

    /// Plugs all its cables in, once.
    pub(super) fn plug_in(&self) {
        self.namespace.ip("link set lo up\n");
        for nic in &self.nics {
            nic.lay_cable(&self.name);
        }
        for other in self.nics.iter().skip(1) {
            other.lead_out(&self.name);
        }
        self.connect();
        self.configure();
    }

    /// Azure's ends: after the cables were pulled, too, when the kernel forgets what was there.
    pub(super) fn connect(&self) {
        for nic in &self.nics {
            nic.connect();
        }
    }

    /// What DHCP and the kernel would do in Azure. `replace`, for interfaces that come back. The
    /// routes of IPv6 name no source: the kernel chooses one.
    pub(super) fn configure(&self) {
        for nic in &self.nics {
            self.namespace.ip(&nic.configuration());
        }
    }

    /// Takes all interfaces down inside the host, and up again.
    pub(super) fn bounce(&self) {
        for nic in &self.nics {
            self.namespace.ip(&format!("link set {} down\n", nic.interface));
        }
        self.configure();
    }

    /// Pulls all cables: the interfaces have no carrier.
    pub(super) fn disconnect(&self) {
        for nic in &self.nics {
            run("ip", &["link", "set", &nic.name, "down"], "");
        }
    }
}

impl Nic {
    fn new(host: &str, at: u8, subnet: Subnet, last: u8, number: u8) -> Self {
        let Subnet(third) = subnet;
        Self {
            name: if at == 0 { format!("{host}-nic") } else { format!("{host}-nic{}", at + 1) },
            interface: format!("eth{at}"),
            table: if at == 0 { "main".to_owned() } else { at.to_string() },
            address: Ipv4Addr::new(10, 5, third, last),
            address_v6: Ipv6Addr::new(0xfd00, 5, third.into(), 0, 0, 0, 0, last.into()),
            subnet,
            number,
        }
    }

    /// Its own.
    pub(super) fn addresses(&self) -> [IpAddr; 2] {
        [self.address.into(), self.address_v6.into()]
    }

    /// The index of its interface in the host, which no other of the enclosure has. Azure's routing
    /// table for it has the same number.
    pub(super) fn index(&self) -> u32 {
        100 + u32::from(self.number)
    }

    fn mac(&self) -> String {
        format!("00:0d:3a:00:00:{:02x}", self.number)
    }

    fn lay_cable(&self, host: &str) {
        let (Self { name, interface, number, .. }, mac, index) = (self, self.mac(), self.index());
        let link = format!(
            "link add {name} index {} address {GATEWAY_MAC} type veth \
             peer name {interface} index {index} address {mac} netns {host}\n",
            // The kernel takes the other end's only along with this one's.
            index + 100,
        );
        run("ip", &["-batch", "-"], &link);
        for family in ["-4", "-6"] {
            let rule = format!("rule add fwmark {number} lookup {index}\n");
            run("ip", &[family, "-batch", "-"], &rule);
        }
    }

    /// What comes from its subnet leaves by it.
    fn lead_out(&self, host: &str) {
        for (family, prefix) in [("-4", self.subnet.prefix()), ("-6", self.subnet.prefix_v6())] {
            let rule = format!("rule add from {prefix} lookup {}\n", self.table);
            run("ip", &["-n", host, family, "-batch", "-"], &rule);
        }
    }

    fn connect(&self) {
        let (Self { name, .. }, mac, index) = (self, self.mac(), self.index());
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

    fn configuration(&self) -> String {
        let Self { interface, address, address_v6, table, .. } = self;
        format!(
            "link set {interface} up\n\
             address replace {address}/32 dev {interface}\n\
             neigh replace {GATEWAY} lladdr {GATEWAY_MAC} dev {interface} nud permanent\n\
             route replace default via {GATEWAY} dev {interface} onlink src {address} \
             table {table}\n\
             address replace {address_v6}/128 dev {interface} nodad\n\
             route replace ::/0 via {GATEWAY_V6} dev {interface} table {table}\n\
             neigh replace {GATEWAY_V6} lladdr {GATEWAY_MAC} dev {interface} nud permanent\n"
        )
    }
}

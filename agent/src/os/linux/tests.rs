//! The driver on a real kernel, each test in a user and network namespace of its own: no root needed.

mod probes;
mod told;

use std::future::Future;
use std::io::Read as _;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::AtomicUsize;

use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::{LinkBridge, LinkUnspec, LinkVeth};
use vipfence_types::{Clocks, Epoch, KERNEL_SLACK, VipName};

use super::super::{Deadline, Selector};
use super::*;
use crate::clock::{ClockSource, SystemClocks};

const INSIDE: &str = "VIPFENCE_TEST_INSIDE_NAMESPACE";

/// Runs a test again in a namespace of its own. Where namespaces are forbidden it is skipped, but not
/// in CI.
fn inside(name: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let bounded = async { tokio::time::timeout(Duration::from_secs(60), body).await };
        return runtime.block_on(bounded).expect("it hangs");
    }
    let can = Command::new("unshare").args(["-Urn", "true"]).output();
    if !can.as_ref().is_ok_and(|output| output.status.success()) {
        let why = "no user namespaces: `unshare -Urn true` fails; allow them \
                   (sysctl kernel.unprivileged_userns_clone=1, or run as root)";
        assert!(std::env::var_os("CI").is_none(), "{why}: {can:?}");
        println!("skipped: {why}");
        return;
    }
    let output = Command::new("unshare")
        .arg("-Urn")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("os::linux::tests::{name}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", said.concat());
    assert!(said[0].contains("1 passed"), "the test was not found: {}", said.concat());
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The clocks of a process that is stopped for a minute once it has looked at them so often.
struct Stopped {
    looks: AtomicUsize,
    after: usize,
}

impl ClockSource for Stopped {
    fn now(&self) -> Clocks {
        let stopped = self.looks.fetch_add(1, Ordering::Relaxed) >= self.after;
        Clocks::all_at(Duration::from_secs(if stopped { 60 } else { 0 }))
    }
}

fn stopped_after(looks: usize) -> Deadline {
    let clocks = Arc::new(Stopped { looks: AtomicUsize::new(0), after: looks });
    let (computed_at, within) = (Clocks::all_at(Duration::ZERO), Duration::from_millis(100));
    Deadline { clocks, computed_at, within }
}

fn addition(addresses: &[&str], secs: u64) -> Addition {
    let vip_address = |one: &&str| VipAddress::host(ip(one));
    Addition {
        vip: VipName::new("demo").unwrap(),
        epoch: Epoch(7),
        addresses: addresses.iter().map(vip_address).collect(),
        lifetime: Duration::from_secs(secs),
        deadline: stopped_after(usize::MAX),
        probe: None,
    }
}

/// An interface `eth0` and the driver of a node on it.
struct Node {
    folder: tempfile::TempDir,
    kernel: Kernel,
    /// For what somebody else does.
    somebody: Handle,
}

async fn up(handle: &Handle, name: &str) -> u32 {
    let look = wire::look(&wire::connect().unwrap()).await.unwrap();
    let index = look.links.iter().find(|link| link.name == name).unwrap().index;
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await.unwrap();
    index
}

impl Node {
    async fn new() -> Self {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        handle.link().add(LinkBridge::new("eth0").build()).execute().await.unwrap();
        let index = up(&handle, "eth0").await;
        handle.address().add(index, ip("10.5.0.4"), 24).execute().await.unwrap();
        let mut own = handle.address().add(index, ip("fd00::4"), 64);
        own.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        own.execute().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kernel = Self::open(folder.path()).await;
        let mut node = Self { folder, kernel, somebody: handle };
        node.quiet().await;
        node
    }

    async fn open(folder: &Path) -> Kernel {
        let nic = Interface { nic: "nic0".to_owned(), selector: Selector::Subnet };
        Kernel::open(folder, vec![nic]).await.unwrap()
    }

    /// A new process of the agent.
    async fn restart(&mut self) {
        self.kernel = Self::open(self.folder.path()).await;
    }

    async fn add(&self, addresses: &[&str], secs: u64) -> Result<(), String> {
        let mut outcomes = self.kernel.add(vec![addition(addresses, secs)]).await;
        outcomes.pop().unwrap().map_err(|error| error.problem)
    }

    async fn entries(&self, address: &str) -> Vec<Entry> {
        wire::look(&self.kernel.handle).await.unwrap().of(ip(address)).cloned().collect()
    }

    /// Somebody else adds an address, for ever.
    async fn somebody_adds(&self, address: &str, prefix_len: u8) {
        let index = up(&self.somebody, "eth0").await;
        let add = self.somebody.address().add(index, ip(address), prefix_len);
        add.replace().execute().await.unwrap();
    }

    async fn found(&self, managed: &[&str]) -> Vec<Found> {
        let managed = managed.iter().map(|one| ip(one)).collect();
        self.kernel.found(&managed).await.unwrap()
    }

    /// The next sighting of a VIP's address.
    async fn sees(&mut self) -> Sighting {
        loop {
            match self.kernel.sighted().await {
                Sighting::Foreign(other) | Sighting::Gone(other)
                    if other != ip("10.5.0.110") && other != ip("fd00::110") => {}
                sighting => return sighting,
            }
        }
    }

    /// Waits until everything that has happened was looked at: what is reported until a stranger's
    /// address, added now, comes by.
    async fn quiet(&mut self) -> Vec<Sighting> {
        let mark = "192.0.2.1";
        let vip: std::net::Ipv6Addr = "fd00::110".parse().unwrap();
        self.somebody_adds(mark, 32).await;
        let mut before = Vec::new();
        loop {
            match self.kernel.sighted().await {
                Sighting::Foreign(address) if address == ip(mark) => break,
                // The interface's own addresses come to life.
                Sighting::Foreign(IpAddr::V6(own)) if own != vip => {}
                other => before.push(other),
            }
        }
        self.kernel.remove_all(&[ip(mark)]).await.unwrap();
        while self.kernel.sighted().await != Sighting::Gone(ip(mark)) {}
        before
    }
}

fn monotonic() -> Duration {
    Duration::from_micros(SystemClocks.now().mono_us)
}

/// The address that the kernel chooses for traffic to somewhere.
fn source(to: &str) -> IpAddr {
    let any = if ip(to).is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect((ip(to), 9)).unwrap();
    socket.local_addr().unwrap().ip()
}

#[test]
fn an_address_is_added_for_a_while_renewed_and_dropped() {
    inside("an_address_is_added_for_a_while_renewed_and_dropped", async {
        let mut node = Node::new().await;
        for address in ["10.5.0.110", "fd00::110"] {
            node.add(&[address], 4).await.unwrap();
            let [entry] = &node.entries(address).await[..] else { panic!("one entry") };
            assert!(entry.marked && entry.valid.unwrap() <= Duration::from_secs(4), "{entry:?}");
            assert_eq!(entry.prefix_len, if ip(address).is_ipv4() { 32 } else { 128 });
            // It works at once: no duplicate address detection runs.
            UdpSocket::bind((ip(address), 0)).unwrap();
            node.add(&[address], 11).await.unwrap();
            let [entry] = &node.entries(address).await[..] else { panic!("one entry") };
            assert!(entry.valid.unwrap() > Duration::from_secs(9), "{entry:?}");
            node.kernel.remove(vec![ip(address)]).await.unwrap();
            assert!(node.entries(address).await.is_empty());
            // What is not there is dropped already.
            node.kernel.remove(vec![ip(address)]).await.unwrap();
        }
        // Its own drops are reported: they mean nothing to a node that does not hold the address.
        let seen = node.quiet().await;
        let own = |one: &Sighting| matches!(one, Sighting::Gone(_));
        assert!(seen.iter().all(own), "its own adds are not reported: {seen:?}");
        assert_eq!(node.found(&["10.5.0.110"]).await, []);
    });
}

#[test]
fn what_is_managed_is_known_again_after_a_kill_and_nothing_else_is() {
    inside("what_is_managed_is_known_again_after_a_kill_and_nothing_else_is", async {
        let mut node = Node::new().await;
        node.add(&["10.5.0.110", "fd00::110"], 10).await.unwrap();
        node.somebody_adds("10.5.0.111", 32).await;
        // Somebody made one of them stay for ever.
        node.somebody_adds("fd00::110", 128).await;
        node.restart().await;
        let found = node.found(&[]).await;
        let [v4, v6] = &found[..] else { panic!("{found:?}") };
        assert!(v4.address == ip("10.5.0.110") && v4.lifetime_left.is_some(), "{v4:?}");
        assert!(v6.address == ip("fd00::110") && v6.lifetime_left.is_none(), "{v6:?}");
        // What is a VIP's is found whoever has added it.
        let found = node.found(&["10.5.0.111"]).await;
        assert!(found.iter().any(|one| one.address == ip("10.5.0.111")), "{found:?}");
    });
}

#[test]
fn an_entry_that_would_outlive_the_lease_does_not_stay_beside_ours() {
    inside("an_entry_that_would_outlive_the_lease_does_not_stay_beside_ours", async {
        let mut node = Node::new().await;
        for address in ["10.5.0.110", "fd00::110"] {
            let (host, subnet) = if ip(address).is_ipv4() { (32, 24) } else { (128, 64) };
            // As cloud-init does, before and after the agent: with the subnet's prefix, for ever.
            node.somebody_adds(address, subnet).await;
            node.add(&[address], 5).await.unwrap();
            assert_eq!(node.entries(address).await.len(), 1);
            node.quiet().await;
            node.somebody_adds(address, subnet).await;
            assert_eq!(node.sees().await, Sighting::Foreign(ip(address)));
            node.add(&[address], 5).await.unwrap();
            node.quiet().await;
            // And the same entry, made to stay.
            node.somebody_adds(address, host).await;
            assert_eq!(node.sees().await, Sighting::Foreign(ip(address)));
            node.add(&[address], 5).await.unwrap();
            let [entry] = &node.entries(address).await[..] else { panic!("one entry") };
            assert!(entry.prefix_len == host && entry.valid.is_some(), "{entry:?}");
            node.quiet().await;
        }
    });
}

#[test]
fn what_others_do_to_an_address_is_reported() {
    inside("what_others_do_to_an_address_is_reported", async {
        let mut node = Node::new().await;
        node.add(&["10.5.0.110"], 10).await.unwrap();
        let [entry] = &node.entries("10.5.0.110").await[..] else { panic!("one entry") };
        wire::delete(&node.kernel.handle, entry).await.unwrap();
        assert_eq!(node.sees().await, Sighting::Gone(ip("10.5.0.110")));
        node.add(&["10.5.0.110"], 10).await.unwrap();
        assert_eq!(node.quiet().await, []);
        // An interface that comes back, such as a cable: everything is looked at.
        let link = |up: bool| {
            let link = LinkUnspec::new_with_name("eth0");
            node.somebody.link().set(if up { link.up() } else { link.down() }.build())
        };
        link(false).execute().await.unwrap();
        link(true).execute().await.unwrap();
        while node.kernel.sighted().await != Sighting::Unknown {}
    });
}

#[test]
fn the_address_is_no_source_of_traffic_that_has_not_asked_for_it() {
    inside("the_address_is_no_source_of_traffic_that_has_not_asked_for_it", async {
        let node = Node::new().await;
        let own = [("10.5.0.4", "10.5.0.9", "10.5.0.110"), ("fd00::4", "fd00::9", "fd00::110")];
        for (nic, neighbour, vip) in own {
            node.add(&[vip], 10).await.unwrap();
            assert_eq!(source(neighbour), ip(nic));
        }
        // The NIC's own address comes after the VIP, without a subnet that would decide: as after a
        // new DHCP lease, where the VIP was first on the interface.
        let [entry] = &node.entries("10.5.0.4").await[..] else { panic!("one entry") };
        wire::delete(&node.kernel.handle, entry).await.unwrap();
        node.somebody_adds("10.5.0.4", 32).await;
        let routed =
            Command::new("ip").args(["route", "add", "10.6.0.0/16", "dev", "eth0"]).status();
        assert!(routed.unwrap().success(), "iproute2");
        assert_eq!(source("10.6.0.9"), ip("10.5.0.110"), "else this test shows nothing");
        node.add(&["10.5.0.110"], 10).await.unwrap();
        assert_eq!(source("10.6.0.9"), ip("10.5.0.4"));
        // Who asks for it gets it.
        let socket = UdpSocket::bind("10.5.0.110:0").unwrap();
        socket.connect("10.6.0.9:9").unwrap();
        assert_eq!(socket.local_addr().unwrap().ip(), ip("10.5.0.110"));
    });
}

#[test]
fn the_kernel_takes_an_address_off_within_the_slack_at_the_longest_lifetime() {
    inside("the_kernel_takes_an_address_off_within_the_slack_at_the_longest_lifetime", async {
        let node = Node::new().await;
        let mut ends = BTreeMap::new();
        for at in 0..40_u8 {
            let v4 = format!("10.5.1.{}", at + 1);
            let v6 = format!("fd00:1::{:x}", at + 1);
            let lifetime = if at % 2 == 0 { KERNEL_LIFETIME_CAP } else { Duration::from_secs(3) };
            for address in [v4, v6] {
                let from = monotonic();
                let nic = Interface { nic: "nic0".into(), selector: Selector::Name("eth0".into()) };
                let add = addition(&[&address], lifetime.as_secs());
                let look = wire::look(&node.kernel.handle).await.unwrap();
                let link = place::choose(&[nic], None, ip(&address), &look).unwrap();
                let one = &add.addresses[0];
                wire::set(&node.kernel.handle, link, one.address, one.prefix_len, lifetime)
                    .await
                    .unwrap();
                ends.insert(ip(&address), from + lifetime);
            }
            tokio::time::sleep(Duration::from_millis(37)).await;
        }
        let mut latest = Duration::ZERO;
        while !ends.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let before = monotonic();
            let look = wire::look(&node.kernel.handle).await.unwrap();
            ends.retain(|address, end| {
                let there = look.of(*address).next().is_some();
                if there {
                    // It was there after `before`, which is what a late removal is measured by.
                    latest = latest.max(before.saturating_sub(*end));
                    assert!(latest <= KERNEL_SLACK, "{address} is {latest:?} late");
                }
                there
            });
        }
        println!("the latest removal: {latest:?} after the end");
    });
}

#[test]
fn neighbours_are_told_of_an_address_once() {
    use socket2::{Domain, Protocol, Socket, Type};

    inside("neighbours_are_told_of_an_address_once", async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        handle.link().add(LinkVeth::new("eth0", "peer").build()).execute().await.unwrap();
        for name in ["eth0", "peer"] {
            up(&handle, name).await;
        }
        let all = i32::from(0x0003_u16.to_be());
        let mut heard =
            Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(all))).unwrap();
        let nic = Interface { nic: "nic0".into(), selector: Selector::Name("eth0".to_owned()) };
        let folder = tempfile::tempdir().unwrap();
        let kernel = Kernel::open(folder.path(), vec![nic]).await.unwrap();
        let both = addition(&["10.5.0.110", "fd00::110"], 5);
        for _ in 0..2 {
            assert!(kernel.add(vec![both.clone()]).await.iter().all(Result::is_ok));
        }
        let look = wire::look(&kernel.handle).await.unwrap();
        let link = look.links.iter().find(|link| link.name == "eth0").unwrap();
        let arp = [
            &[0, 1, 8, 0, 6, 4, 0, 1][..],
            &link.mac,
            &[10, 5, 0, 110, 0, 0, 0, 0, 0, 0, 10, 5, 0, 110],
        ]
        .concat();
        heard.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let (mut requests, mut advertisements) = (0, 0);
        let mut buffer = [0; 2048];
        while let Ok(length) = heard.read(&mut buffer) {
            let packet = &buffer[..length];
            requests += usize::from(packet.starts_with(&arp));
            // IPv6, then ICMPv6 of type 136 for the address, with the MAC address at its end.
            let target: std::net::Ipv6Addr = "fd00::110".parse().unwrap();
            let is_advertisement = packet.len() == 72
                && packet[40] == 136
                && packet[48..64] == target.octets()
                && packet[66..] == link.mac;
            advertisements += usize::from(is_advertisement);
        }
        // A packet socket on all interfaces sees each packet leave eth0 and come to peer.
        assert_eq!((requests, advertisements), (2, 2));
    });
}

#[test]
fn as_many_addresses_as_a_nic_takes_are_added_and_renewed_in_one_call() {
    inside("as_many_addresses_as_a_nic_takes_are_added_and_renewed_in_one_call", async {
        let node = Node::new().await;
        let names: Vec<String> = (1..=250).map(|last| format!("10.5.0.{last}")).collect();
        let names = names.iter().filter(|name| *name != "10.5.0.4");
        let additions: Vec<Addition> = names.map(|name| addition(&[name], 12)).collect();
        for outcome in node.kernel.add(additions.clone()).await {
            outcome.unwrap();
        }
        // What is renewed is not looked for first: without its interface the set itself fails.
        assert_eq!(node.kernel.placed().len(), additions.len());
        for outcome in node.kernel.add(additions).await {
            outcome.unwrap();
        }
    });
}

//! Proves I1 from the kernel's own words: at no instant did two nodes have one VIP's address, nor one
//! node at two interfaces.
//!
//! One netlink socket hears the address events of all nodes' namespaces (`NETLINK_LISTEN_ALL_NSID`).
//! The kernel changes an address list, and tells so, inside one critical section of a lock that all
//! namespaces share (the RTNL); events are queued in the order of those sections. So
//! * if `DEL` of one node stands before `NEW` of another in the queue, the first address was gone
//!   before the second came: nothing is taken for an overlap that was none;
//! * if it stands behind, there was a moment with both, however short: no overlap is missed, not one
//!   of a microsecond.
//!
//! No time is compared, so it does not matter how late an event is read; the time of reading is kept
//! only to be shown. (A kernel with one RTNL per namespace would take this order away; none does
//! by default, and `the_observer_*` tests would notice.) A node's interfaces have indexes that no
//! other has, so that an event names its node.
//!
//! Of IPv6 the kernel tells a little later, from a work queue, and makes the route by which packets
//! come in together with that event: what is proved is that no two nodes *received* on the address at
//! once. One that goes before that is told of as gone only.
//!
//! A lost event (`ENOBUFS`) is a failure. So is one that cannot be told apart: a VIP on an interface
//! that is not known. And at the end the addresses as they follow from the events are held against
//! what the kernel says it has.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, poll};

use super::network::{Network, vips};
use super::shell::run;

/// `RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR`
const GROUPS: u32 = 0x10 | 0x100;
/// As much as the system lets anybody have: events of seconds in which the reader does not run.
const QUEUE_BYTES: u32 = 4 << 20;

/// An address came to a node, or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it was read: at or after the kernel did it.
    pub at: Instant,
    /// Where; an unknown interface is named by its index.
    pub node: String,
    /// At which of the node's interfaces.
    pub interface: String,
    /// Which.
    pub address: IpAddr,
    /// Came, or was there and got a new lifetime; otherwise went.
    pub is_there: bool,
}

/// A node, and an interface of it.
type Place = (String, String);
/// By the indexes of the interfaces.
type Places = BTreeMap<u32, Place>;

#[derive(Debug, Default)]
struct Notes {
    seen: Mutex<Vec<Seen>>,
    failure: Mutex<Option<String>>,
    stop: AtomicBool,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct AddressObserver {
    network: Arc<Network>,
    notes: Arc<Notes>,
    thread: Option<JoinHandle<()>>,
}

/// What was seen, in the kernel's order.
#[derive(Clone, Debug)]
pub struct History(pub Vec<Seen>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AddressObserver {
    /// Starts watching. No node may have a VIP's address yet.
    pub(super) fn start(network: Arc<Network>) -> Self {
        let mut socket = Socket::new(NETLINK_ROUTE).expect("a netlink socket");
        socket.set_listen_all_namespaces(true).expect("root of the namespaces may");
        // Where the system allows less, that is what there is.
        let _ = socket.set_rx_buf_sz(QUEUE_BYTES);
        socket.set_non_blocking(true).expect("a socket");
        socket.bind(&SocketAddr::new(0, GROUPS)).expect("groups");
        let at_first = in_the_kernels(&network);
        assert!(at_first.is_empty(), "a VIP is there before anybody watches: {at_first:?}");
        let places: Places = network
            .nics()
            .map(|(node, nic)| (nic.index(), (node.name.clone(), nic.interface.clone())))
            .collect();
        let notes = Arc::new(Notes::default());
        let into = Arc::clone(&notes);
        let thread = thread::spawn(move || watch(&socket, &places, &into));
        Self { network, notes, thread: Some(thread) }
    }

    /// What has been seen.
    #[must_use]
    pub fn so_far(&self) -> History {
        History(lock(&self.notes.seen).clone())
    }

    /// Stops watching: the whole history, in which no two nodes had a VIP at once.
    ///
    /// # Panics
    /// If two had, an event was lost, or the kernels have other addresses than the events say.
    pub fn proves_one_holder(mut self) -> History {
        // Twice the same, with the events that came meanwhile: nothing moved in between.
        let in_the_end = crate::wait_until("addresses rest", Duration::from_secs(20), || {
            let (before, found) = (lock(&self.notes.seen).len(), in_the_kernels(&self.network));
            thread::sleep(Duration::from_millis(50));
            let told = History(lock(&self.notes.seen).clone());
            if told.0.len() != before {
                return Err("an event came".to_owned());
            }
            Ok((found, told.holders()))
        });
        self.halt();
        if let Some(why) = &*lock(&self.notes.failure) {
            panic!("the observer is no witness: {why}");
        }
        let history = self.so_far();
        history.check().unwrap_or_else(|two| panic!("{two}"));
        assert_eq!(in_the_end.0, in_the_end.1, "the kernels' addresses, and what was told");
        history
    }

    fn halt(&mut self) {
        self.notes.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for AddressObserver {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Where VIPs' addresses are, by the kernels.
fn in_the_kernels(network: &Network) -> BTreeSet<(IpAddr, Place)> {
    let mut found = BTreeSet::new();
    for node in &network.nodes {
        // `7: eth0    inet 10.5.0.110/32 ...`
        let text = run("ip", &["-n", &node.name, "-o", "address", "show"], "");
        for line in text.lines() {
            let interface = line.split_whitespace().nth(1).unwrap_or_default();
            for vip in vips().filter(|vip| line.contains(&format!(" {vip}/"))) {
                found.insert((vip, (node.name.clone(), interface.to_owned())));
            }
        }
    }
    found
}

fn watch(socket: &Socket, places: &Places, notes: &Notes) {
    let fail = |why: String| {
        lock(&notes.failure).get_or_insert(why);
    };
    while !notes.stop.load(Ordering::Relaxed) {
        match socket.recv_from_full() {
            Ok((bytes, _)) => {
                let at = Instant::now();
                if let Err(why) = read(&bytes, at, places, notes) {
                    fail(why);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket),
            Err(error) => fail(format!("events were lost: {error}")),
        }
    }
}

/// Until there is something to read, or 50 ms have gone.
fn wait(socket: &Socket) {
    let limit = rustix::time::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit));
}

/// All messages of one datagram.
fn read(mut bytes: &[u8], at: Instant, places: &Places, notes: &Notes) -> Result<(), String> {
    while !bytes.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
            .map_err(|error| format!("a message that cannot be read: {error}"))?;
        let length = usize::try_from(message.header.length).expect("32 bits");
        let (address, is_there) = match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(it)) => (it, true),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(it)) => (it, false),
            other => return Err(format!("an event of another kind: {other:?}")),
        };
        if let Some(vip) = vip(&address) {
            let index = address.header.index;
            let unknown = || (format!("interface {index}"), String::new());
            let (node, interface) = places.get(&index).cloned().unwrap_or_else(unknown);
            lock(&notes.seen).push(Seen { at, node, interface, address: vip, is_there });
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

fn vip(message: &AddressMessage) -> Option<IpAddr> {
    let its_own = message.attributes.iter().find_map(|attribute| match attribute {
        // IPv6 tells the first only where there is a peer.
        AddressAttribute::Local(address) => Some(*address),
        AddressAttribute::Address(address) if address.is_ipv6() => Some(*address),
        _ => None,
    });
    its_own.filter(|address| vips().any(|vip| vip == *address))
}

impl Seen {
    fn place(&self) -> Place {
        (self.node.clone(), self.interface.clone())
    }
}

impl History {
    /// Whether at most one node had each address at any instant, and at one interface.
    ///
    /// # Errors
    /// Two had one, or an address was where no node's interface is; the text says which and when.
    pub fn check(&self) -> Result<(), String> {
        let mut holders: BTreeMap<IpAddr, &Seen> = BTreeMap::new();
        let start = self.0.first().map(|first| first.at);
        for seen in &self.0 {
            if seen.node.starts_with("interface") {
                return Err(format!("a VIP at an unknown place: {seen:?}"));
            }
            match (holders.get(&seen.address), seen.is_there) {
                (Some(holder), true) if holder.place() != seen.place() => {
                    let since = start.map(|start| seen.at - start).unwrap_or_default();
                    return Err(format!(
                        "two holders of {}: {} got it at {} {since:?} after the first event, and \
                         {} still had it at {}",
                        seen.address, seen.node, seen.interface, holder.node, holder.interface
                    ));
                }
                (Some(holder), false) if holder.place() == seen.place() => {
                    holders.remove(&seen.address);
                }
                (_, true) => {
                    holders.insert(seen.address, seen);
                }
                // Taken off before it was told of, see above.
                (None, false) if seen.address.is_ipv6() => {}
                (_, false) => return Err(format!("what never came has gone: {seen:?}")),
            }
        }
        Ok(())
    }

    /// Who has what after all these events.
    fn holders(&self) -> BTreeSet<(IpAddr, Place)> {
        let mut holders = BTreeSet::new();
        for seen in &self.0 {
            let held = (seen.address, seen.place());
            if seen.is_there {
                holders.insert(held);
            } else {
                holders.remove(&held);
            }
        }
        holders
    }

    /// What was seen of one address.
    #[must_use]
    pub fn of(&self, address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self(self.0.iter().filter(|seen| seen.address == address).cloned().collect())
    }

    /// For how long more than one node had an address, by the times of reading: 0 where I1 holds.
    #[must_use]
    pub fn time_with_two(&self) -> Duration {
        let (mut total, mut last) = (Duration::ZERO, None::<(Instant, usize)>);
        for (at, seen) in self.0.iter().enumerate() {
            let holders = Self(self.0[..=at].to_vec()).holders().len();
            if let Some((before, 2..)) = last {
                total += seen.at - before;
            }
            last = Some((seen.at, holders));
        }
        match last {
            Some((before, 2..)) => total + before.elapsed(),
            _ => total,
        }
    }

    /// The nodes that got the address, in order, each once in a row: renewals are none.
    #[must_use]
    pub fn passed_through(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> =
            self.0.iter().filter(|seen| seen.is_there).map(|seen| &*seen.node).collect();
        nodes.dedup();
        nodes
    }

    /// When a node lost the address for the first time after an instant.
    #[must_use]
    pub fn lost(&self, node: &str, after: Instant) -> Option<Instant> {
        let mut seen = self.0.iter().filter(|seen| seen.node == node && seen.at >= after);
        seen.find(|seen| !seen.is_there).map(|seen| seen.at)
    }

    /// When a node got it for the first time after an instant.
    #[must_use]
    pub fn got(&self, node: &str, after: Instant) -> Option<Instant> {
        let mut seen = self.0.iter().filter(|seen| seen.node == node && seen.at >= after);
        seen.find(|seen| seen.is_there).map(|seen| seen.at)
    }
}

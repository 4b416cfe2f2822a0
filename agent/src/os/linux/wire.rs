//! What is said to the kernel over rtnetlink, and what it answers: addresses and interfaces as plain
//! values. No decision is made here.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::super::OsError;

/// Addresses of this program carry it as IFA_PROTO (Linux 5.18 and later). Below 4 are the kernel's
/// own; nobody else is known to use this one.
const PROTOCOL: u8 = b'V';
/// And IPv4 addresses this label, after the name of the interface: also for who looks at `ip address`.
const LABEL: &str = ":vip";
/// The longest label that the kernel takes (IFNAMSIZ with its closing zero).
const LABEL_LONGEST: usize = 15;
/// A dump during which an address changed says so, and is taken again: it may lack one that was there
/// all the time.
const DUMPS: u32 = 20;

const PATIENCE: Duration = Duration::from_secs(2);
const DROP: &str = "drop";
/// What the kernel answers where there is nothing to drop.
const GONE: [i32; 2] = [libc::EADDRNOTAVAIL, libc::ENODEV];

/// An address on the OS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The number of its interface.
    pub(super) link: u32,
    pub(super) address: IpAddr,
    pub(super) prefix_len: u8,
    /// Whether it carries a mark of this program.
    pub(super) marked: bool,
    /// What is left of its valid lifetime; none = it stays for ever.
    pub(super) valid: Option<Duration>,
    /// Second to another address of the same subnet, and not chosen as a source instead of it.
    pub(super) secondary: bool,
    pub(super) scope: AddressScope,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Vec<u8>,
    pub(super) is_loopback: bool,
    pub(super) is_up: bool,
    /// It has no neighbours that could be told of an address.
    pub(super) no_arp: bool,
}

/// Connects to the kernel. The end of each dump, and each acknowledgement, is passed on.
pub(super) fn connect() -> std::io::Result<Handle> {
    let (mut connection, handle, _) = rtnetlink::new_connection()?;
    connection.set_forward_done(true);
    connection.set_forward_ack(true);
    tokio::spawn(connection);
    Ok(handle)
}

/// All addresses and interfaces, as of one moment each. Addresses stand in the order in which the
/// kernel looks for a source address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) entries: Vec<Entry>,
    pub(super) links: Vec<Link>,
}

impl Look {
    pub(super) fn of(&self, address: IpAddr) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.address == address)
    }
}

/// Reads all addresses and interfaces.
pub(super) async fn look(handle: &Handle) -> Result<Look, OsError> {
    in_time(read(handle)).await
}

/// The kernel answers at once. Where it does not, a later call must not wait behind this one.
async fn in_time<T>(call: impl Future<Output = Result<T, OsError>>) -> Result<T, OsError> {
    tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| {
        let problem = format!("the kernel did not answer within {} s", PATIENCE.as_secs());
        Err(OsError { problem })
    })
}

async fn read(handle: &Handle) -> Result<Look, OsError> {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Unspec;
    let links = dump(handle, RouteNetlinkMessage::GetLink(message)).await?;
    let addresses =
        dump(handle, RouteNetlinkMessage::GetAddress(AddressMessage::default())).await?;
    Ok(Look {
        entries: addresses.iter().filter_map(entry).collect(),
        links: links.iter().filter_map(link).collect(),
    })
}

/// A dump counts only with its end: a connection that dies in between must not look like an OS
/// without addresses.
async fn dump(
    handle: &Handle,
    request: RouteNetlinkMessage,
) -> Result<Vec<RouteNetlinkMessage>, OsError> {
    for _ in 0..DUMPS {
        let mut message = NetlinkMessage::from(request.clone());
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut answers = handle.clone().request(message).map_err(failed("read"))?;
        let (mut found, mut whole, mut ended) = (Vec::new(), true, false);
        // Read to its end in any case: a socket has one dump at a time.
        while let Some(answer) = answers.next().await {
            whole &= answer.header.flags & NLM_F_DUMP_INTR == 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => found.push(message),
                NetlinkPayload::Done(_) => ended = true,
                NetlinkPayload::Overrun(_) => whole = false,
                NetlinkPayload::Error(error) => return Err(refused("read", &error.to_io())),
                _ => {}
            }
        }
        if !ended {
            let problem = "the kernel broke off telling its addresses".to_owned();
            return Err(OsError { problem });
        }
        if whole {
            return Ok(found);
        }
    }
    Err(OsError { problem: format!("the addresses changed during {DUMPS} looks at them") })
}

/// Puts an address on an interface, or sets its lifetime anew.
pub(super) async fn set(
    handle: &Handle,
    link: &Link,
    address: IpAddr,
    prefix_len: u8,
    lifetime: Duration,
) -> Result<(), OsError> {
    let mut message = plain(link.index, address, prefix_len);
    let mut info = CacheInfo::default();
    info.ifa_valid = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    // Deprecated from the start: IPv6 then chooses it as a source address for nothing that has not
    // asked for it.
    info.ifa_preferred = 0;
    message.attributes.push(AddressAttribute::CacheInfo(info));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    match address {
        IpAddr::V4(_) => {
            let label = format!("{}{LABEL}", link.name);
            if label.len() <= LABEL_LONGEST {
                message.attributes.push(AddressAttribute::Label(label));
            }
        }
        // Azure answers no duplicate address detection, and while it ran the address would not work.
        IpAddr::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
    }
    let request = RouteNetlinkMessage::NewAddress(message);
    in_time(acknowledged(handle, request, NLM_F_CREATE | NLM_F_REPLACE, "add")).await
}

/// Takes an address off an interface. Whether it is gone is for the next look to say: that the kernel
/// does not know it, or the interface, is no error.
pub(super) async fn delete(handle: &Handle, entry: &Entry) -> Result<(), OsError> {
    let message = plain(entry.link, entry.address, entry.prefix_len);
    in_time(acknowledged(handle, RouteNetlinkMessage::DelAddress(message), 0, DROP)).await
}

fn plain(link: u32, address: IpAddr, prefix_len: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.prefix_len = prefix_len;
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

async fn acknowledged(
    handle: &Handle,
    request: RouteNetlinkMessage,
    flags: u16,
    what: &'static str,
) -> Result<(), OsError> {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut answers = handle.clone().request(message).map_err(failed(what))?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload {
            let Some(code) = error.code else { return Ok(()) };
            if what == DROP && GONE.contains(&-code.get()) {
                return Ok(());
            }
            return Err(refused(what, &error.to_io()));
        }
    }
    Err(OsError { problem: format!("the kernel did not answer a request to {what} an address") })
}

fn failed(what: &'static str) -> impl Fn(rtnetlink::Error) -> OsError {
    move |error| OsError { problem: format!("cannot {what} addresses: {error}") }
}

fn refused(what: &str, error: &std::io::Error) -> OsError {
    let remedy = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "; the agent needs the capability CAP_NET_ADMIN (or to run as root), and an IPv6 address \
             an interface where IPv6 is on (net.ipv6.conf.NAME.disable_ipv6 = 0)"
        }
        _ => "",
    };
    OsError { problem: format!("the kernel does not {what} the address: {error}{remedy}") }
}

/// The entry that a message tells of.
pub(super) fn entry(message: &RouteNetlinkMessage) -> Option<Entry> {
    let (RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message)) =
        message
    else {
        return None;
    };
    let (mut local, mut address, mut marked, mut valid) = (None, None, false, None);
    let mut flags = AddressFlags::empty();
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(at) => local = Some(*at),
            AddressAttribute::Address(at) => address = Some(*at),
            AddressAttribute::Label(label) => marked |= label.ends_with(LABEL),
            AddressAttribute::Protocol(protocol) => marked |= u8::from(*protocol) == PROTOCOL,
            AddressAttribute::CacheInfo(info) if info.ifa_valid != u32::MAX => {
                valid = Some(Duration::from_secs(info.ifa_valid.into()));
            }
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    Some(Entry {
        link: message.header.index,
        // On a point-to-point link the other is the peer's.
        address: local.or(address)?,
        prefix_len: message.header.prefix_len,
        marked,
        valid,
        secondary: flags.contains(AddressFlags::Secondary),
        scope: message.header.scope,
    })
}

fn link(message: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let (mut name, mut mac) = (None, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(given) => name = Some(given.clone()),
            LinkAttribute::Address(given) => mac.clone_from(given),
            _ => {}
        }
    }
    let flags = message.header.flags;
    Some(Link {
        index: message.header.index,
        name: name?,
        mac,
        is_loopback: flags.contains(LinkFlags::Loopback),
        is_up: flags.contains(LinkFlags::Up),
        no_arp: flags.contains(LinkFlags::Noarp),
    })
}

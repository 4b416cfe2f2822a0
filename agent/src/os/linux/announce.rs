//! Tells the neighbours of an interface that an address is here: gratuitous ARP for IPv4 (RFC 5227,
//! an announcement), an unsolicited neighbour advertisement for IPv6 (RFC 4861 §7.2.6).
//!
//! Azure ignores both; they are for what else is on the link, and for networks that are not Azure.
//! No move waits for them, and a failure costs nothing but a warning.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU32;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::wire::Link;

const ETHERTYPE_ARP: u16 = 0x0806;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const MAC: usize = 6;

/// Sends one announcement.
pub(super) fn announce(link: &Link, address: IpAddr) -> io::Result<()> {
    let Ok(mac) = <[u8; MAC]>::try_from(link.mac.as_slice()) else {
        return Ok(());
    };
    if link.no_arp {
        return Ok(());
    }
    match address {
        IpAddr::V4(address) => gratuitous_arp(link, mac, address),
        IpAddr::V6(address) => advertisement(link, mac, address),
    }
}

fn gratuitous_arp(link: &Link, mac: [u8; MAC], address: Ipv4Addr) -> io::Result<()> {
    let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    let packet = arp_packet(mac, address);
    socket.send_to(&packet, &everyone_on(link)?).map(drop)
}

/// An ARP request whose sender and target are the address itself.
fn arp_packet(mac: [u8; MAC], address: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend(mac);
    packet.extend(address.octets());
    packet.extend([0; MAC]);
    packet.extend(address.octets());
    packet
}

/// The broadcast address of a link, as a packet socket wants it.
#[expect(unsafe_code, reason = "no safe constructor of a sockaddr_ll exists in std or socket2")]
fn everyone_on(link: &Link) -> io::Result<SockAddr> {
    let index = i32::try_from(link.index).map_err(io::Error::other)?;
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>());
    let size = size.map_err(io::Error::other)?;
    let to = libc::sockaddr_ll {
        sll_family: family,
        sll_protocol: ETHERTYPE_ARP.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    };
    // SAFETY: `storage` points to a zeroed sockaddr_storage, which is larger than a sockaddr_ll and
    // aligned for every socket address; what is written is a whole sockaddr_ll, and `length` says so.
    let address = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(to);
            *length = size;
            Ok(())
        })
    };
    address.map(|((), address)| address)
}

fn advertisement(link: &Link, mac: [u8; MAC], address: Ipv6Addr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    // 255: a neighbour drops what could have come through a router.
    socket.set_multicast_hops_v6(255)?;
    socket.bind_device_by_index_v6(NonZeroU32::new(link.index))?;
    // From the address itself: others of the interface may be tentative still.
    socket.bind(&SocketAddrV6::new(address, 0, 0, link.index).into())?;
    let to = SocketAddrV6::new(ALL_NODES, 0, 0, link.index);
    // The kernel fills in the checksum of an ICMPv6 packet.
    socket.send_to(&advertisement_packet(mac, address), &to.into()).map(drop)
}

/// Type 136, override set, with the target's link-layer address.
fn advertisement_packet(mac: [u8; MAC], address: Ipv6Addr) -> Vec<u8> {
    let mut packet = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    packet.extend(address.octets());
    packet.extend([2, 1]);
    packet.extend(mac);
    packet
}

//! Resets TCP connections by NETLINK_SOCK_DIAG (`SOCK_DESTROY`, Linux 4.9 and later with
//! CONFIG_INET_DIAG_DESTROY): the kernel tells both ends, the other one by an RST.
//!
//! To be done while the address is still there: without it the kernel finds no way for the RST. One
//! that Azure does not carry any more reaches nobody; then the local end alone hears of it, and the
//! next holder tells the other one (`tell`).
//!
//! The wire format is `linux/inet_diag.h`: three messages, by hand, since no crate that is kept speaks
//! both it and the version of netlink that the rest of the agent uses.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use vipfence_types::Connection;

const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// All states but TIME_WAIT (6), CLOSE (7) and LISTEN (10): who listens goes on, and the others have
/// nobody at the other end.
const STATES: u32 = 0xfff & !(1 << 6 | 1 << 7 | 1 << 10 | 1);

const HEADER: usize = 16;
/// Of a message about a socket: family, state, timer and retransmits stand before its id.
const ID: std::ops::Range<usize> = 4..52;
/// The addresses within an id, after both ports (the local one first), which are big-endian.
const LOCAL: std::ops::Range<usize> = 4..20;
const REMOTE: std::ops::Range<usize> = 20..36;

/// The kernel answers at once; where it does not, nobody waits.
const PATIENCE: Duration = Duration::from_millis(200);
/// The largest part of a dump that a kernel sends.
const PART: usize = 64 * 1_024;

/// Resets the connections whose local address is one of these, and hands over each that was.
///
/// # Errors
/// The kernel does not do it, or this process may not.
pub(super) fn reset(
    addresses: &BTreeSet<IpAddr>,
    mut was_reset: impl FnMut(Connection),
) -> io::Result<()> {
    let socket =
        Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(NETLINK_SOCK_DIAG.into()))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // A socket of IPv6 may have an IPv4 address.
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).map_err(io::Error::other)?;
        for id in connections(&socket, family)? {
            let ours = connection(family, &id).filter(|one| addresses.contains(&one.vip.ip()));
            if let Some(connection) = ours
                && destroy(&socket, family, &id)?
            {
                was_reset(connection);
            }
        }
    }
    Ok(())
}

/// A socket's ports, addresses, interface and cookie, as the kernel has them.
type Id = [u8; 48];

fn connections(socket: &Socket, family: u8) -> io::Result<Vec<Id>> {
    socket.send(&request(SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, family, &[0; 48]))?;
    let mut ids = Vec::new();
    let mut part = vec![0; PART];
    loop {
        let length = (&*socket).read(&mut part)?;
        for (kind, body) in messages(&part[..length]) {
            match kind {
                NLMSG_DONE => return Ok(ids),
                // A kernel without IPv6 knows no sockets of it.
                NLMSG_ERROR => match errno(body) {
                    0 | libc::ENOENT | libc::EAFNOSUPPORT => return Ok(ids),
                    code => return Err(io::Error::from_raw_os_error(code)),
                },
                _ => ids.extend(body.get(ID).and_then(|id| Id::try_from(id).ok())),
            }
        }
    }
}

/// False: it has ended by itself meanwhile.
fn destroy(socket: &Socket, family: u8, id: &Id) -> io::Result<bool> {
    socket.send(&request(SOCK_DESTROY, REQUEST | ACK, family, id))?;
    let mut part = vec![0; PART];
    let length = (&*socket).read(&mut part)?;
    let answer = messages(&part[..length]).find(|(kind, _)| *kind == NLMSG_ERROR);
    match answer.map(|(_, body)| errno(body)) {
        Some(0) => Ok(true),
        Some(libc::ENOENT) => Ok(false),
        Some(libc::EOPNOTSUPP) => Err(io::Error::other(
            "this kernel cannot end connections (it lacks CONFIG_INET_DIAG_DESTROY)",
        )),
        Some(code) => Err(io::Error::from_raw_os_error(code)),
        None => Err(io::Error::other("the kernel's answer is not understood")),
    }
}

/// `nlmsghdr` and `inet_diag_req_v2`.
fn request(kind: u16, flags: u16, family: u8, id: &Id) -> Vec<u8> {
    let length = u32::try_from(HEADER + 8 + id.len()).unwrap_or_default();
    let mut all = length.to_ne_bytes().to_vec();
    all.extend(kind.to_ne_bytes());
    all.extend(flags.to_ne_bytes());
    // A number and a sender: one request at a time needs neither.
    all.extend([0; 8]);
    let tcp = u8::try_from(libc::IPPROTO_TCP).unwrap_or_default();
    all.extend([family, tcp, 0, 0]);
    all.extend(STATES.to_ne_bytes());
    all.extend(id);
    all
}

/// Kind and body of each message; nothing after one that is not whole.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(0..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok().filter(|length| *length >= HEADER)?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// What an NLMSG_ERROR says; 0 = no error.
fn errno(body: &[u8]) -> i32 {
    let code = body.get(0..4).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes);
    code.map_or(libc::EPROTO, |code| code.saturating_neg())
}

fn connection(family: u8, id: &Id) -> Option<Connection> {
    let [a, b, c, d, ..] = *id;
    let (local, remote) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let vip = SocketAddr::new(address(family, id.get(LOCAL)?)?, local);
    Some(Connection { client: SocketAddr::new(address(family, id.get(REMOTE)?)?, remote), vip })
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    if i32::from(family) == libc::AF_INET {
        let [a, b, c, d, ..] = bytes;
        return Some(Ipv4Addr::new(a, b, c, d).into());
    }
    Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
}

#[cfg(test)]
mod tests {
    use foreign_bytes::{bytes, cases};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn any_bytes_are_messages_or_not(
            given in bytes(vec![request(NLMSG_ERROR, ACK, 2, &[1; 48]).repeat(3)])
        ) {
            for (_, body) in messages(&given.0) {
                prop_assert!(body.len() < given.0.len());
                let _ = (errno(body), body.get(ID));
            }
        }
    }

    #[test]
    fn an_ipv4_connection_in_an_ipv6_socket_is_an_ipv4_connection() {
        let mut id = [0; 48];
        id[0..4].copy_from_slice(&[21, 56, 0xc8, 1]);
        id[LOCAL].copy_from_slice(&Ipv4Addr::new(10, 5, 0, 110).to_ipv6_mapped().octets());
        id[REMOTE].copy_from_slice(&Ipv4Addr::new(10, 5, 0, 9).to_ipv6_mapped().octets());
        let six = u8::try_from(libc::AF_INET6).unwrap();
        let (client, vip) = (([10, 5, 0, 9], 51_201).into(), ([10, 5, 0, 110], 5_432).into());
        assert_eq!(connection(six, &id), Some(Connection { client, vip }));
    }
}

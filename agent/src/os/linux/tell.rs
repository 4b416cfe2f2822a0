//! Bare ACKs from a VIP to clients whose connections an earlier holder has cut (RFC 5961 §4 and §5: a
//! segment that fits into no window is answered with one that says what would, and a reset counts only
//! with exactly that number). The reset is the kernel's own answer to the client's answer, since it
//! knows no such connection; to a connection that it does know, both are noise.
//!
//! Sent through a raw socket that is bound to the VIP, so that the kernel itself refuses where the
//! address is not here; without a route, or for lack of CAP_NET_RAW, nothing is sent.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use vipfence_types::Connection;

const TCP: u8 = 6;
const SEGMENT: usize = 20;
const CHECKSUM: std::ops::Range<usize> = 16..18;

/// A full queue is not waited for any longer, each time: who is not told now is told later.
const PATIENCE: Duration = Duration::from_millis(20);

/// Tells the other end of each connection; how many segments were sent. `sequence` is their sequence
/// number: it may fit by chance, so another one is used the next time.
///
/// # Errors
/// This process may not send such segments.
pub(super) fn send(connections: &[Connection], sequence: u32) -> io::Result<usize> {
    let mut by_vip: BTreeMap<IpAddr, Vec<&Connection>> = BTreeMap::new();
    for connection in connections {
        by_vip.entry(connection.vip.ip()).or_default().push(connection);
    }
    let mut sent = 0;
    for (vip, connections) in by_vip {
        let socket =
            Socket::new(Domain::for_address((vip, 0).into()), Type::RAW, Some(Protocol::TCP))?;
        // It is sent all that comes in for the VIP, which nobody reads.
        socket.set_recv_buffer_size(0)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        if let Err(error) = socket.bind(&SocketAddr::new(vip, 0).into()) {
            tracing::debug!(%vip, "clients are not told: {error}");
            continue;
        }
        for connection in connections {
            // The kernel would take a port for a protocol.
            let to = SockAddr::from(SocketAddr::new(connection.client.ip(), 0));
            sent += usize::from(socket.send_to(&segment(connection, sequence), &to).is_ok());
        }
    }
    Ok(sent)
}

/// A TCP header with nothing behind it: an ACK of nothing.
fn segment(connection: &Connection, sequence: u32) -> [u8; SEGMENT] {
    let mut segment = [0; SEGMENT];
    segment[0..2].copy_from_slice(&connection.vip.port().to_be_bytes());
    segment[2..4].copy_from_slice(&connection.client.port().to_be_bytes());
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    // Five words of header; ACK; a window that opens nothing.
    segment[12..16].copy_from_slice(&[5 << 4, 1 << 4, 4, 0]);
    let sum = checksum(connection.vip.ip(), connection.client.ip(), &segment);
    segment[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The Internet checksum of a segment and its pseudo header (RFC 9293 §3.1, RFC 8200 §8.1). Over a
/// segment that has its checksum it is 0.
fn checksum(from: IpAddr, to: IpAddr, segment: &[u8; SEGMENT]) -> u16 {
    let [from, to] = [from, to].map(|address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    });
    // The length of a bare header, and the protocol.
    let rest = [0, 20, 0, TCP];
    let bytes = [&from[..], &to, &rest, segment].concat();
    let words = bytes.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while let Some(carry) = Some(sum >> 16).filter(|carry| *carry > 0) {
        sum = (sum & 0xffff) + carry;
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use foreign_bytes::cases;
    use proptest::prelude::*;

    use super::*;

    fn connection(client: &str, vip: &str) -> Connection {
        Connection { client: client.parse().unwrap(), vip: vip.parse().unwrap() }
    }

    /// Worked out by hand, word by word.
    #[test]
    fn a_segment_is_a_bare_ack_with_the_checksum_of_its_pseudo_header() {
        let told = segment(&connection("10.0.0.2:2", "10.0.0.1:1"), 0x4000_0000);
        // 0a00 0001 0a00 0002 0014 0006, 0001 0002 4000 0000 0000 0000 5010 0400: sum a830.
        let expected = [0, 1, 0, 2, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 4, 0, 0x57, 0xcf, 0, 0];
        assert_eq!(told, expected);
    }

    prop_compose! {
        fn any_connection()(
            six in any::<bool>(), four in any::<[[u8; 4]; 2]>(), long in any::<[[u8; 16]; 2]>(),
            ports in any::<[u16; 2]>(),
        ) -> Connection {
            let [client, vip]: [IpAddr; 2] =
                if six { long.map(IpAddr::from) } else { four.map(IpAddr::from) };
            Connection { client: (client, ports[0]).into(), vip: (vip, ports[1]).into() }
        }
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn every_segment_checks_at_its_receiver_and_at_nobody_else(
            one in any_connection(), sequence in any::<u32>(), bit in 0_usize..160,
        ) {
            let mut told = segment(&one, sequence);
            prop_assert_eq!(&told[0..2], one.vip.port().to_be_bytes());
            prop_assert_eq!(&told[2..4], one.client.port().to_be_bytes());
            prop_assert_eq!(&told[4..8], sequence.to_be_bytes());
            prop_assert_eq!(checksum(one.vip.ip(), one.client.ip(), &told), 0);
            told[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(checksum(one.vip.ip(), one.client.ip(), &told), 0);
        }
    }
}

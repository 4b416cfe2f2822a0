//! The gate before probe ports: a set of nftables whose elements end by themselves.
//!
//! The kernel completes TCP handshakes for a process that is stopped, so a listener that checks its
//! lease is no proof against a health probe. A port that is `guarded` and not `open` is refused with
//! RST, and an element of `open` has the timeout of the lease: whatever happens to this process, the
//! kernel closes the gate in time (I1 for load balancers).
//!
//! Table and rules are put there by the program `nft`, once. What has to be in time, opening and
//! closing, is one netlink transaction each: it is committed when the kernel acknowledges it. An
//! element is deleted and added anew, since kernels before 6.12 do not change the timeout of one.
//!
//! What is not covered: whoever flushes all rules of the machine takes the gate away until the next
//! renewal; who then holds nothing has no listener either, unless its process is stopped.

use std::io;
use std::ops::RangeInclusive;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::super::OsError;
use super::os_error;

const TABLE: &str = "vipfence";
const OPEN: &str = "open";
/// How long `nft` may take.
const PATIENCE: Duration = Duration::from_secs(2);

// linux/netfilter/nf_tables.h; what libc lacks.
const NFPROTO_INET: u8 = 1;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
const NFTA_DATA_VALUE: u16 = 1;
const NLA_F_NESTED: u16 = 1 << 15;
// linux/netlink.h and linux/netfilter/nfnetlink.h
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10;

/// What becomes of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Open(Duration),
    Close,
}

/// The gate of this machine.
#[derive(Debug, Default)]
pub(super) struct Gate {
    line: Mutex<Line>,
}

/// The way to netfilter.
#[derive(Debug, Default)]
struct Line {
    socket: Option<Socket>,
    /// The last message that was sent.
    number: u32,
}

impl Gate {
    /// From now on a connection to the port is refused unless it is open.
    pub(super) async fn guard(&self, port: u16) -> Result<(), OsError> {
        let rules = format!(
            "add table inet {TABLE}\n\
             add set inet {TABLE} guarded {{ type inet_service; }}\n\
             add set inet {TABLE} {OPEN} {{ type inet_service; flags timeout; }}\n\
             add chain inet {TABLE} probes {{ type filter hook input priority filter; }}\n\
             flush chain inet {TABLE} probes\n\
             add rule inet {TABLE} probes tcp dport @guarded tcp dport != @{OPEN} \
             reject with tcp reset\n\
             add element inet {TABLE} guarded {{ {port} }}\n"
        );
        nft(&rules).await
    }

    /// The port is open for so long, from now on.
    pub(super) fn open(&self, port: u16, lifetime: Duration) -> io::Result<()> {
        match self.transact(port, &[Change::Close, Change::Open(lifetime)]) {
            // There was nothing to delete.
            Err(error) if is_missing(&error) => self.transact(port, &[Change::Open(lifetime)]),
            done => done,
        }
    }

    /// The port is closed.
    pub(super) fn close(&self, port: u16) -> io::Result<()> {
        match self.transact(port, &[Change::Close]) {
            Err(error) if is_missing(&error) => Ok(()),
            done => done,
        }
    }

    fn transact(&self, port: u16, changes: &[Change]) -> io::Result<()> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = match line.socket.take() {
            Some(known) => known,
            None => connect()?,
        };
        let first = line.number.wrapping_add(1);
        let (batch, last) = batch(port, changes, first);
        // The end of the batch has a number, too.
        line.number = last.wrapping_add(1);
        socket.send(&batch, 0)?;
        let outcome = acknowledged(&socket, first..=last);
        line.socket = Some(socket);
        outcome
    }
}

/// The set, or the element, is not there.
fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

fn connect() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Waits for the acknowledgement of the last of these changes, or the refusal of any. Of a batch that
/// was refused there may be more refusals than one: those of earlier batches are passed over.
fn acknowledged(socket: &Socket, changes: RangeInclusive<u32>) -> io::Result<()> {
    let strange = || io::Error::other("an answer of netfilter was not understood");
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while let Some(answer) = rest.first_chunk::<20>() {
            let [l0, l1, l2, l3, k0, k1, _, _, n0, n1, n2, n3, _, _, _, _, c0, c1, c2, c3] =
                *answer;
            if u16::from_ne_bytes([k0, k1]) != NLMSG_ERROR {
                return Err(strange());
            }
            let code = i32::from_ne_bytes([c0, c1, c2, c3]);
            let number = u32::from_ne_bytes([n0, n1, n2, n3]);
            if code != 0 && changes.contains(&number) {
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            if number == *changes.end() {
                return Ok(());
            }
            let length = u32::from_ne_bytes([l0, l1, l2, l3]);
            let length = usize::try_from(length).map_err(|_| strange())?.next_multiple_of(4);
            rest = rest.get(length.max(answer.len())..).unwrap_or_default();
        }
    }
}

/// One transaction, and the number of its last change, which is acknowledged when all are committed.
fn batch(port: u16, changes: &[Change], first: u32) -> (Vec<u8>, u32) {
    let mut number = first.wrapping_sub(1);
    let mut bytes = message(BATCH_BEGIN, 0, number, SUBSYSTEM, &[]);
    for (left, change) in (0..changes.len()).rev().zip(changes) {
        number = number.wrapping_add(1);
        let acknowledge = if left == 0 { NLM_F_ACK } else { 0 };
        let kind = |kind: u16| SUBSYSTEM << 8 | kind;
        let (kind, flags) = match change {
            Change::Open(_) => (kind(NFT_MSG_NEWSETELEM), NLM_F_CREATE | acknowledge),
            Change::Close => (kind(NFT_MSG_DELSETELEM), acknowledge),
        };
        bytes.extend(message(kind, flags, number, 0, &element(port, *change)));
    }
    bytes.extend(message(BATCH_END, 0, number.wrapping_add(1), SUBSYSTEM, &[]));
    (bytes, number)
}

fn element(port: u16, change: Change) -> Vec<u8> {
    let key = attribute(NFTA_DATA_VALUE, &port.to_be_bytes());
    let mut element = attribute(NFTA_SET_ELEM_KEY | NLA_F_NESTED, &key);
    if let Change::Open(lifetime) = change {
        let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        element.extend(attribute(NFTA_SET_ELEM_TIMEOUT, &millis.to_be_bytes()));
    }
    let list = attribute(NFTA_LIST_ELEM | NLA_F_NESTED, &element);
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    [
        attribute(NFTA_SET_ELEM_LIST_TABLE, &text(TABLE)),
        attribute(NFTA_SET_ELEM_LIST_SET, &text(OPEN)),
        attribute(NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, &list),
    ]
    .concat()
}

/// Its length is told without the bytes that fill it up to a multiple of four.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, number: u32, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([NFPROTO_INET, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

async fn nft(rules: &str) -> Result<(), OsError> {
    let run = async {
        // The folder of administration is not on everybody's PATH.
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(rules.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    match tokio::time::timeout(PATIENCE, run).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("it did not say why");
            Err(os_error(&format!("nft refuses the gate of the probe port: {said}")))
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(os_error(
            "the program nft is missing, which guards the probe port: install the package nftables",
        )),
        Ok(Err(error)) => Err(os_error(&format!("cannot run nft: {error}"))),
        Err(_) => Err(os_error("nft does not end")),
    }
}

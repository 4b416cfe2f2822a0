//! A slow link: what nodes say to each other over TCP goes through a proxy of Azure's network, which
//! keeps every piece for a while. (This kernel has no netem.)
//!
//! Its limits: only the traffic between nodes (their gRPC port), not that of clients, of Azure, or
//! of the metadata service; what is delayed are bytes, in each direction, not packets: a handshake
//! is answered at once, and nothing is reordered or lost. Connections that stand when the link
//! becomes slow, or quick again, are reset once, so that none escapes.

use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::ip_original_dst;

/// Where the proxy listens: the gateway's address, which no node's connection is meant for.
pub(super) const PROXY: &str = "10.5.0.1:7700";
/// Longer than any call waits.
const CONNECT: Duration = Duration::from_secs(2);

/// The proxy. It serves until the process ends.
#[derive(Clone, Debug)]
pub(super) struct SlowLink {
    delay_ms: Arc<AtomicU64>,
}

impl SlowLink {
    /// Starts listening. The gateway's address must be there.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind(PROXY).expect("the gateway's address is ours");
        let slow = Self { delay_ms: Arc::default() };
        let of_all = slow.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let slow = of_all.clone();
                // Whoever called sees its connection end, and calls again.
                thread::spawn(move || slow.serve(&stream));
            }
        });
        slow
    }

    /// From now on every piece is kept for so long.
    pub(super) fn delay(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(by_ms, Ordering::Relaxed);
    }

    fn serve(&self, from: &TcpStream) -> io::Result<()> {
        let to = TcpStream::connect_timeout(&ip_original_dst(from)?.into(), CONNECT)?;
        for stream in [from, &to] {
            stream.set_nodelay(true)?;
        }
        let (back_from, back_to) = (to.try_clone()?, from.try_clone()?);
        let back = self.clone();
        thread::spawn(move || back.carry(back_from, back_to));
        self.carry(from.try_clone()?, to);
        Ok(())
    }

    /// One direction, until either end is closed.
    fn carry(&self, mut from: TcpStream, to: TcpStream) {
        let (under_way, arriving) = channel();
        let other_end = to.try_clone();
        let writing = thread::spawn(move || deliver(to, &arriving));
        let mut piece = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let due = Instant::now() + Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
            if under_way.send((due, piece[..length].to_vec())).is_err() {
                break;
            }
        }
        drop(under_way);
        let _ = writing.join();
        for stream in [Ok(from), other_end].into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn deliver(mut to: TcpStream, arriving: &Receiver<(Instant, Vec<u8>)>) {
    for (due, piece) in arriving {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
}

//! A client that asks the VIP every 10 ms over UDP, and knows what was answered, when, by whom.
//!
//! A datagram that is lost is not repeated, and waits nowhere: what a client sees is when packets got
//! through. All times are of one clock (`CLOCK_MONOTONIC`), which the observer uses too.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::namespace::Namespace;
use crate::wait_until;

const EVERY: Duration = Duration::from_millis(10);
/// A probe without an answer by then is lost.
const WITHIN: Duration = Duration::from_secs(1);
const PORT: u16 = 7;

/// One datagram.
#[derive(Clone, Debug)]
pub struct Ping {
    /// When it was sent.
    pub sent: Instant,
    /// When it was answered, and by which node.
    pub answer: Option<(Instant, String)>,
}

#[derive(Debug, Default)]
struct Notes {
    pings: Mutex<Vec<Ping>>,
    stop: AtomicBool,
}

/// Asks until it is dropped.
#[derive(Debug)]
pub struct Pinger {
    notes: Arc<Notes>,
    threads: Vec<JoinHandle<()>>,
}

/// A time in which nothing was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The last answer before it.
    pub from: Instant,
    /// The first answer after it; without one, the last probe.
    pub to: Instant,
}

/// What a pinger saw, in the order of sending.
#[derive(Clone, Debug)]
pub struct Pings(pub Vec<Ping>);

impl Pinger {
    pub(super) fn start(client: &Namespace, vip: IpAddr) -> Self {
        let any: IpAddr = match vip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = client.run(move || UdpSocket::bind((any, 0)).expect("a socket"));
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
        let other_half = socket.try_clone().expect("a second handle");
        let notes = Arc::new(Notes::default());
        let (asking, listening) = (Arc::clone(&notes), Arc::clone(&notes));
        let to = SocketAddr::from((vip, PORT));
        let threads = vec![
            thread::spawn(move || ask(&socket, to, &asking)),
            thread::spawn(move || listen(&other_half, &listening)),
        ];
        Self { notes, threads }
    }

    /// What there is until now.
    #[must_use]
    pub fn so_far(&self) -> Pings {
        Pings(self.notes.pings().clone())
    }

    /// Waits for an answer to a probe that was sent after `after`, from a node that `accept`s.
    ///
    /// # Panics
    /// If there is none within `limit`.
    pub fn answer(
        &self,
        after: Instant,
        limit: Duration,
        accept: impl Fn(&str) -> bool,
    ) -> Instant {
        wait_until("the VIP answers as expected", limit, || {
            let pings = self.notes.pings();
            let found =
                pings.iter().rev().take_while(|ping| ping.sent >= after).filter_map(|ping| {
                    ping.answer.as_ref().filter(|(_, node)| accept(node)).map(|(at, _)| *at)
                });
            found.last().ok_or_else(|| match pings.iter().rev().find_map(|p| p.answer.clone()) {
                Some((at, node)) => format!("last answer: of {node}, {:?} ago", at.elapsed()),
                None => "never answered".to_owned(),
            })
        })
    }

    /// Stops asking, when the last probe has had its time.
    #[must_use]
    pub fn stop(mut self) -> Pings {
        self.halt();
        self.so_far()
    }

    fn halt(&mut self) {
        self.notes.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Notes {
    fn pings(&self) -> std::sync::MutexGuard<'_, Vec<Ping>> {
        self.pings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn ask(socket: &UdpSocket, to: SocketAddr, notes: &Notes) {
    let mut next = Instant::now();
    while !notes.stopped() {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        // One that comes late (a busy machine) moves all that follow: they are not sent in a heap.
        next = (next + EVERY).max(sent);
        let number = {
            let mut pings = notes.pings();
            pings.push(Ping { sent, answer: None });
            pings.len() as u64 - 1
        };
        // A router that says "unreachable" makes the next send fail: as good as a loss.
        let _ = socket.send_to(&number.to_be_bytes(), to);
    }
}

fn listen(socket: &UdpSocket, notes: &Notes) {
    let mut packet = [0; 512];
    let mut stopped = None;
    loop {
        match socket.recv_from(&mut packet) {
            Ok((length, _)) => {
                let at = Instant::now();
                let (number, node) =
                    packet[..length].split_first_chunk().expect("what was sent comes back");
                let number = usize::try_from(u64::from_be_bytes(*number)).expect("an index");
                let node = String::from_utf8_lossy(node).into_owned();
                notes.pings()[number].answer = Some((at, node));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {}
        }
        if notes.stopped() && stopped.get_or_insert_with(Instant::now).elapsed() >= WITHIN {
            return;
        }
    }
}

impl Pings {
    /// The times between two answers that follow each other and are at least so far apart, the time
    /// until the last probe included.
    #[must_use]
    pub fn outages(&self, at_least: Duration) -> Vec<Outage> {
        let mut answers: Vec<Instant> =
            self.0.iter().filter_map(|ping| Some(ping.answer.as_ref()?.0)).collect();
        answers.sort_unstable();
        let end = self.0.last().map(|ping| ping.sent);
        answers.extend(end.filter(|end| answers.last().is_some_and(|last| last < end)));
        let pairs = answers.windows(2).map(|pair| Outage { from: pair[0], to: pair[1] });
        pairs.filter(|outage| outage.length() >= at_least).collect()
    }

    /// The longest of them.
    #[must_use]
    pub fn longest_outage(&self) -> Duration {
        self.outages(Duration::ZERO).iter().map(Outage::length).max().unwrap_or(Duration::MAX)
    }

    /// How many were never answered. Those of the last second may yet be.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.0.iter().filter(|ping| ping.answer.is_none()).count()
    }

    /// How many each node answered.
    #[must_use]
    pub fn answered_by(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, node) in self.0.iter().filter_map(|ping| ping.answer.as_ref()) {
            *counts.entry(node.clone()).or_default() += 1;
        }
        counts
    }

    /// The longest time between two probes: how far the client itself can be trusted.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        let pauses = self.0.windows(2).map(|pair| pair[1].sent - pair[0].sent);
        pauses.max().unwrap_or_default()
    }
}

impl Outage {
    /// How long it was.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

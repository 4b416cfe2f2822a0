//! TCP connections to the VIP that a client keeps: one with a line every 100 ms, each of which waits
//! for its answer; and one on which the client only reads.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::namespace::Namespace;

const EVERY: Duration = Duration::from_millis(100);
/// Longer than any outage that a test makes: TCP itself repeats what was lost.
const WITHIN: Duration = Duration::from_secs(60);
const PORT: u16 = 7;

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// How many lines were answered.
    pub lines: usize,
    /// The longest that one waited for its answer.
    pub longest_wait: Duration,
    /// The node that answered first; a connection has only one.
    pub node: String,
    /// When it broke, and how; `None` = it stands.
    pub broken: Option<(Instant, String)>,
}

/// A connection that is kept until it is dropped.
#[derive(Debug)]
pub struct KeptConnection {
    kept: Arc<Mutex<Kept>>,
    stop: Arc<AtomicBool>,
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl KeptConnection {
    pub(super) fn open(client: &Namespace, vip: IpAddr) -> Self {
        let to = SocketAddr::from((vip, PORT));
        let stream = client.run(move || {
            TcpStream::connect_timeout(&to, Duration::from_secs(5)).expect("the VIP is served")
        });
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(WITHIN)).expect("a socket");
        let (kept, stop) = (Arc::<Mutex<Kept>>::default(), Arc::<AtomicBool>::default());
        let (into, stopped) = (Arc::clone(&kept), Arc::clone(&stop));
        let talking = stream.try_clone().expect("a second handle");
        let thread = thread::spawn(move || {
            let broken = talk(&talking, &into, &stopped).err();
            if !stopped.load(Ordering::Relaxed) {
                lock(&into).broken = broken.map(|why| (Instant::now(), why.to_string()));
            }
        });
        Self { kept, stop, stream, thread: Some(thread) }
    }

    /// What has become of it.
    #[must_use]
    pub fn so_far(&self) -> Kept {
        lock(&self.kept).clone()
    }
}

impl Drop for KeptConnection {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A connection on which a client has asked once, and reads from then on.
#[derive(Debug)]
pub struct ReadingConnection {
    stream: TcpStream,
}

impl ReadingConnection {
    pub(super) fn open(client: &Namespace, vip: IpAddr) -> Self {
        let to = SocketAddr::from((vip, PORT));
        let stream = client.run(move || {
            TcpStream::connect_timeout(&to, Duration::from_secs(5)).expect("the VIP is served")
        });
        stream.set_read_timeout(Some(WITHIN)).expect("a socket");
        (&stream).write_all(b"line\n").expect("it is taken");
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).expect("it is answered");
        assert!(answer.starts_with("line "), "{answer}");
        Self { stream }
    }

    /// When the client hears that the connection is over; `None` = not within this time.
    ///
    /// # Panics
    /// If something comes that nobody asked for.
    #[must_use]
    pub fn is_over(&self, within: Duration) -> Option<Instant> {
        self.stream.set_read_timeout(Some(within)).expect("a socket");
        match (&self.stream).read(&mut [0; 16]) {
            Ok(0) => Some(Instant::now()),
            Ok(_) => panic!("nobody has asked"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(Instant::now()),
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn talk(stream: &TcpStream, into: &Mutex<Kept>, stop: &AtomicBool) -> io::Result<()> {
    let mut answers = BufReader::new(stream);
    let mut line = String::new();
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        (&mut &*stream).write_all(b"line\n")?;
        line.clear();
        if answers.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let took = sent.elapsed();
        {
            let mut kept = lock(into);
            kept.lines += 1;
            kept.longest_wait = kept.longest_wait.max(took);
            if kept.node.is_empty() {
                line.trim_start_matches("line ").trim().clone_into(&mut kept.node);
            }
        }
        thread::sleep(EVERY.saturating_sub(took));
    }
    Ok(())
}

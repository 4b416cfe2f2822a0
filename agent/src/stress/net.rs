//! The network of the stage: connections between hosts, in simulated time.
//!
//! It gives what TCP gives. The bytes of a connection arrive in order and once, or not at all; what
//! a cut road keeps back arrives when it is mended, as TCP repeats what nobody has acknowledged,
//! unless the connection was given up meanwhile. What arrives waits in the kernel of its host, also
//! while the process there stands still.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tonic::transport::server::Connected;
use vipfence_sim::chance::Chance;
use vipfence_sim::time::{At, ms};

/// How many bytes of one direction are under way or unread at most.
const WINDOW: usize = 1 << 16;

/// Every so often a connection with something under way does not outlive a cut.
const GIVEN_UP: u64 = 2;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PipeId {
    connection: u64,
    /// From the one who was called to the caller.
    back: bool,
}

impl PipeId {
    fn other(self) -> Self {
        Self { back: !self.back, ..self }
    }
}

#[derive(Debug)]
enum Parcel {
    /// Somebody wants a connection.
    Knock,
    /// It is accepted.
    Welcome,
    Bytes(Vec<u8>),
    /// Nothing more will come.
    End,
}

#[derive(Debug, Default)]
struct Pipe {
    from: usize,
    to: usize,
    under_way: VecDeque<(At, Parcel)>,
    arrived: VecDeque<u8>,
    /// Bytes that are under way.
    flying: usize,
    /// The caller was let in.
    welcome: bool,
    /// The end was sent; it has arrived.
    closing: bool,
    ended: bool,
    /// Nobody reads it any more.
    unread: bool,
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// Why nothing passes on a road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Connections may be given up.
    Cut,
    /// Everything waits.
    Held,
}

struct Roads {
    now: At,
    chance: Chance,
    longest: At,
    loss: u64,
    closed: BTreeMap<(usize, usize), Closed>,
    asleep: BTreeSet<usize>,
    doors: BTreeMap<usize, mpsc::UnboundedSender<u64>>,
    pipes: BTreeMap<PipeId, Pipe>,
    /// Those with something under way, and perhaps a few that had.
    busy: BTreeSet<PipeId>,
    connections: u64,
}

/// See the module. A clone is the same network.
#[derive(Clone)]
pub(super) struct Net(Arc<Mutex<Roads>>);

impl Net {
    /// All roads are open; a parcel takes so long at most.
    pub(super) fn new(chance: Chance, longest: At) -> Self {
        Self(Arc::new(Mutex::new(Roads {
            now: 0,
            chance,
            longest,
            loss: 0,
            closed: BTreeMap::new(),
            asleep: BTreeSet::new(),
            doors: BTreeMap::new(),
            pipes: BTreeMap::new(),
            busy: BTreeSet::new(),
            connections: 0,
        })))
    }

    fn enter(&self) -> MutexGuard<'_, Roads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what hosts do --------------------------------------------------------------------------

    /// Connections that reach this host, from now on.
    pub(super) fn listen(&self, host: usize) -> impl Stream<Item = io::Result<Conn>> + use<> {
        let (door, opened) = mpsc::unbounded_channel();
        self.enter().doors.insert(host, door);
        let net = self.clone();
        futures_util::stream::unfold((net, opened), |(net, mut opened)| async move {
            let connection = opened.recv().await?;
            let ends = PipeId { connection, back: true };
            Some((Ok(Conn { net: net.clone(), writes: ends }), (net, opened)))
        })
    }

    /// A connection of one host to another.
    pub(super) async fn connect(&self, from: usize, to: usize) -> io::Result<Conn> {
        let writes = self.enter().knock(from, to);
        let conn = Conn { net: self.clone(), writes };
        std::future::poll_fn(|context| self.enter().is_open(writes.other(), context)).await?;
        Ok(conn)
    }

    // ---- what is done to hosts and roads --------------------------------------------------------

    /// The process of a host is gone: its kernel closes what it had open.
    pub(super) fn gone(&self, host: usize) {
        let mut roads = self.enter();
        roads.doors.remove(&host);
        let of_host = |(id, pipe): (&PipeId, &Pipe)| (pipe.from == host).then_some(*id);
        let ends: Vec<PipeId> = roads.pipes.iter().filter_map(of_host).collect();
        ends.into_iter().for_each(|writes| roads.leave(writes));
    }

    /// The machine stands still, with its kernel, or goes on.
    pub(super) fn sleeps(&self, host: usize, asleep: bool) {
        let sleepers = &mut self.enter().asleep;
        if asleep {
            sleepers.insert(host)
        } else {
            sleepers.remove(&host)
        };
    }

    /// Nothing passes in this direction.
    pub(super) fn close(&self, from: usize, to: usize, how: Closed) {
        self.enter().closed.insert((from, to), how);
    }

    /// Parcels pass again in both directions.
    pub(super) fn open(&self, a: usize, b: usize) {
        let mut roads = self.enter();
        for road in [(a, b), (b, a)] {
            if roads.closed.remove(&road) == Some(Closed::Cut) {
                roads.give_up(road);
            }
        }
    }

    /// So many of ten thousand parcels break their connection.
    pub(super) fn lose(&self, parts: u64) {
        self.enter().loss = parts;
    }

    /// The longest time that a parcel takes.
    pub(super) fn slow(&self, longest: At) {
        self.enter().longest = longest;
    }

    /// Time has come to `now`: what is due arrives.
    pub(super) fn pass(&self, now: At) {
        let mut roads = self.enter();
        roads.now = now;
        let busy: Vec<PipeId> = roads.busy.iter().copied().collect();
        for id in busy {
            while let Some(parcel) = roads.due(id) {
                roads.arrive(id, parcel);
            }
            if roads.pipes.get(&id).is_none_or(|pipe| pipe.under_way.is_empty()) {
                roads.busy.remove(&id);
            }
        }
    }
}

impl Roads {
    fn knock(&mut self, from: usize, to: usize) -> PipeId {
        self.connections += 1;
        let id = PipeId { connection: self.connections, back: false };
        self.pipes.insert(id, Pipe { from, to, ..Pipe::default() });
        self.pipes.insert(id.other(), Pipe { from: to, to: from, ..Pipe::default() });
        self.send(id, Parcel::Knock);
        id
    }

    fn is_open(&mut self, id: PipeId, context: &Context<'_>) -> Poll<io::Result<()>> {
        match self.pipes.get_mut(&id).filter(|pipe| !pipe.broken) {
            None => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
            Some(pipe) if pipe.welcome => Poll::Ready(Ok(())),
            Some(pipe) => {
                pipe.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn send(&mut self, id: PipeId, parcel: Parcel) {
        let travel = self.chance.within(ms(1), self.longest);
        let lost = self.loss > 0 && self.chance.within(0, 9_999) < self.loss;
        let now = self.now;
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        let at_home = pipe.from == pipe.to;
        if lost && !at_home {
            return self.snap(id);
        }
        let before = pipe.under_way.back().map_or(0, |(at, _)| *at);
        if let Parcel::Bytes(bytes) = &parcel {
            pipe.flying += bytes.len();
        }
        let due = if at_home { now } else { now + travel };
        pipe.under_way.push_back((due.max(before), parcel));
        self.busy.insert(id);
    }

    fn due(&mut self, id: PipeId) -> Option<Parcel> {
        let pipe = self.pipes.get_mut(&id)?;
        let (at, _) = pipe.under_way.front()?;
        let (road, now) = ((pipe.from, pipe.to), self.now);
        if *at > now || self.closed.contains_key(&road) || self.asleep.contains(&pipe.to) {
            return None;
        }
        pipe.under_way.pop_front().map(|(_, parcel)| parcel)
    }

    fn arrive(&mut self, id: PipeId, parcel: Parcel) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        match parcel {
            Parcel::Knock => {
                let door = self.doors.get(&pipe.to);
                if door.is_some_and(|door| door.send(id.connection).is_ok()) {
                    self.send(id.other(), Parcel::Welcome);
                } else {
                    self.snap(id);
                }
            }
            Parcel::Welcome => {
                pipe.welcome = true;
                pipe.wake();
            }
            // As a kernel does with what reaches a socket that was closed.
            Parcel::Bytes(_) if pipe.unread => self.snap(id),
            Parcel::Bytes(bytes) => {
                pipe.flying -= bytes.len();
                pipe.arrived.extend(bytes);
                pipe.wake();
            }
            Parcel::End => {
                pipe.ended = true;
                pipe.wake();
            }
        }
    }

    /// The connection is reset.
    fn snap(&mut self, id: PipeId) {
        for id in [id, id.other()] {
            if let Some(pipe) = self.pipes.get_mut(&id) {
                pipe.broken = true;
                pipe.under_way.clear();
                pipe.wake();
            }
        }
    }

    /// Some of the connections that had something under way on this road were given up.
    fn give_up(&mut self, (from, to): (usize, usize)) {
        let waits = |pipe: &Pipe| pipe.from == from && pipe.to == to && !pipe.under_way.is_empty();
        let waiting = self.pipes.iter().filter(|(_, pipe)| waits(pipe)).map(|(id, _)| *id);
        for id in waiting.collect::<Vec<_>>() {
            if self.chance.one_in(GIVEN_UP) {
                self.snap(id);
            }
        }
    }

    /// Whoever writes into this pipe, and reads from the other one, is gone.
    fn leave(&mut self, writes: PipeId) {
        if let Some(pipe) = self.pipes.get_mut(&writes).filter(|pipe| !pipe.closing) {
            pipe.closing = true;
            self.send(writes, Parcel::End);
        }
        let Some(reads) = self.pipes.get_mut(&writes.other()) else { return };
        reads.unread = true;
        reads.arrived.clear();
        if self.pipes.get(&writes).is_none_or(|pipe| pipe.unread) {
            self.pipes.remove(&writes);
            self.pipes.remove(&writes.other());
        }
    }
}

/// One end of a connection.
pub(super) struct Conn {
    net: Net,
    /// The pipe that it writes into; it reads from the other one.
    writes: PipeId,
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.net.enter().leave(self.writes);
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut roads = self.net.enter();
        let Some(pipe) = roads.pipes.get_mut(&self.writes.other()).filter(|pipe| !pipe.broken)
        else {
            return Poll::Ready(Err(reset()));
        };
        if pipe.arrived.is_empty() {
            if pipe.ended {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let many = buffer.remaining().min(pipe.arrived.len());
        let bytes: Vec<u8> = pipe.arrived.drain(..many).collect();
        buffer.put_slice(&bytes);
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut roads = self.net.enter();
        let pipe = roads.pipes.get_mut(&self.writes);
        let Some(pipe) = pipe.filter(|pipe| !pipe.broken && !pipe.closing) else {
            return Poll::Ready(Err(reset()));
        };
        let room = WINDOW.saturating_sub(pipe.flying + pipe.arrived.len());
        if room == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let many = room.min(bytes.len());
        roads.send(self.writes, Parcel::Bytes(bytes[..many].to_vec()));
        Poll::Ready(Ok(many))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut roads = self.net.enter();
        if let Some(pipe) = roads.pipes.get_mut(&self.writes).filter(|pipe| !pipe.closing) {
            pipe.closing = true;
            roads.send(self.writes, Parcel::End);
        }
        Poll::Ready(Ok(()))
    }
}

impl Connected for Conn {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use vipfence_sim::time::us;

    use super::super::process::Process;
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    fn pass(net: &Net, now: &mut At, ms: u32, processes: &mut [&mut Process]) {
        for _ in 0..ms {
            *now += us(TICK);
            net.pass(*now);
            for process in &mut *processes {
                process.run(TICK).expect("it goes on");
            }
        }
    }

    #[test]
    fn bytes_arrive_in_order_and_wait_while_the_road_is_held() {
        let (net, mut now) = (Net::new(Chance::of(1, 1), ms(5)), 0);
        let heard = Rc::new(RefCell::new(Vec::new()));
        let (door, ear) = (net.clone(), Rc::clone(&heard));
        let mut hears = Process::new(async move {
            let mut incoming = Box::pin(door.listen(1));
            let mut conn = incoming.next().await.expect("a caller")?;
            loop {
                let byte = conn.read_u8().await?;
                ear.borrow_mut().push(byte);
            }
        });
        pass(&net, &mut now, 1, &mut [&mut hears]);
        let road = net.clone();
        let mut says = Process::new(async move {
            let mut conn = road.connect(0, 1).await?;
            for byte in 0.. {
                conn.write_u8(byte).await?;
                tokio::time::sleep(TICK).await;
            }
            Ok(())
        });
        pass(&net, &mut now, 30, &mut [&mut says, &mut hears]);
        let before = heard.borrow().len();
        assert!(before > 5, "{before}");
        net.close(0, 1, Closed::Held);
        pass(&net, &mut now, 30, &mut [&mut says, &mut hears]);
        assert_eq!(heard.borrow().len(), before);
        net.open(0, 1);
        pass(&net, &mut now, 10, &mut [&mut says, &mut hears]);
        let all: Vec<u8> = (0..).take(heard.borrow().len()).collect();
        assert!(all.len() > before + 30, "{}", all.len());
        assert_eq!(*heard.borrow(), all);
    }

    #[test]
    fn a_caller_is_refused_where_nobody_listens_and_told_when_the_other_end_is_gone() {
        let (net, mut now) = (Net::new(Chance::of(1, 1), ms(5)), 0);
        let road = net.clone();
        let mut calls = Process::new(async move {
            let refused = road.connect(0, 1).await.err().expect("nobody listens");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let _incoming = road.listen(2);
            let mut conn = road.connect(0, 2).await?;
            road.gone(2);
            assert_eq!(conn.read(&mut [0]).await?, 0, "the end");
            Err("done".into())
        });
        let mut done = None;
        while done.is_none() && now < ms(50) {
            now += us(TICK);
            net.pass(now);
            done = calls.run(TICK).err();
        }
        assert_eq!(done.as_deref(), Some("a process has ended by itself: done"));
    }
}

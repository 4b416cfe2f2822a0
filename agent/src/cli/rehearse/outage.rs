//! What a client notices of a move: it opens a TCP connection every 100 ms, and the longest time
//! from one that was opened to the next is the outage.
//!
//! It sees no more than that a connection is opened and not closed at once (as forwarders do that
//! have nobody behind them): what is said on it is the service's affair.

use std::{convert::Infallible, future::Future, time::Duration};

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _},
    stream::FuturesOrdered,
};
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

use super::super::link::deepest;
use crate::clock::{ClockSource as _, SystemClocks};

/// How often a connection is tried, and so how exactly an outage is known.
pub(super) const EVERY: Duration = Duration::from_millis(100);
/// Less than the second after which a kernel sends its first packet again: an attempt tells about
/// the moment in which it began.
const PATIENCE: Duration = Duration::from_millis(900);
/// Whoever accepts and then closes does it sooner.
const LINGER: Duration = Duration::from_millis(50);
/// Enough for one every `EVERY` while all of them run into `PATIENCE`.
const MOST_ATTEMPTS: usize = 16;

/// The outage so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outage {
    /// The longest.
    pub(super) longest: Duration,
    /// It was not over when the last attempt was made.
    pub(super) lasts: bool,
    /// The last success; before the first, the first attempt.
    pub(super) since: Option<Duration>,
}

impl Outage {
    /// Takes in an attempt that began at this time of a steady clock. They come in this order.
    fn saw(&mut self, at: Duration, reached: bool) {
        let since = *self.since.get_or_insert(at);
        if !reached {
            self.lasts = true;
            self.longest = self.longest.max(at.saturating_sub(since) + EVERY);
            return;
        }
        if self.lasts {
            self.longest = self.longest.max(at.saturating_sub(since));
        }
        self.lasts = false;
        self.since = Some(at);
    }
}

/// Does the work, and watches meanwhile from the client's side.
pub(super) async fn during<T>(address: &str, work: impl Future<Output = T>) -> (T, Outage) {
    let mut watch = Watch { address, outage: Outage::default(), attempts: FuturesOrdered::new() };
    let done = tokio::select! {
        done = work => done,
        never = watch.go_on() => match never {},
    };
    (done, watch.end().await)
}

struct Watch<'a> {
    address: &'a str,
    outage: Outage,
    attempts: FuturesOrdered<BoxFuture<'a, (Duration, bool)>>,
}

impl Watch<'_> {
    async fn go_on(&mut self) -> Infallible {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick(), if self.attempts.len() < MOST_ATTEMPTS => {
                    self.begin();
                }
                Some((at, reached)) = self.attempts.next() => self.outage.saw(at, reached),
            }
        }
    }

    fn begin(&mut self) {
        let (at, address) = (steady(), self.address);
        let attempt = async move { (at, reach(address, PATIENCE).await.is_ok()) };
        self.attempts.push_back(attempt.boxed());
    }

    /// Makes a last attempt: the one before may have begun too early to tell how it is now.
    async fn end(mut self) -> Outage {
        self.begin();
        while let Some((at, reached)) = self.attempts.next().await {
            self.outage.saw(at, reached);
        }
        self.outage
    }
}

/// A time that only its differences mean something of.
pub(super) fn steady() -> Duration {
    Duration::from_micros(SystemClocks.now().mono_us)
}

/// Whether a connection can be opened from this process; or else why not.
pub(super) async fn reach(address: &str, within: Duration) -> Result<(), String> {
    let connected = timeout(within, TcpStream::connect(address)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(deepest(&error)),
        Err(_) => return Err(format!("no connection within {:.1} s", within.as_secs_f32())),
    };
    match timeout(LINGER, stream.peek(&mut [0])).await {
        // It waits for the client to speak first, or has spoken.
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0)) => Err("the connection is opened and closed at once".to_owned()),
        Ok(Err(error)) => Err(deepest(&error)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn of(attempts: impl IntoIterator<Item = (u64, bool)>) -> Outage {
        let mut outage = Outage::default();
        for (ms, reached) in attempts {
            outage.saw(Duration::from_millis(ms), reached);
        }
        outage
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_outage_lasts_from_one_success_to_the_next() {
        assert_eq!(of([(0, true), (100, true), (200, true)]).longest, ms(0));
        let once = of([(0, true), (100, false), (200, false), (300, true), (400, true)]);
        assert_eq!((once.longest, once.lasts), (ms(300), false));
        let twice = of([(0, true), (100, false), (200, true), (300, false), (900, true)]);
        assert_eq!(twice.longest, ms(700));
        // A busy machine that tries late has seen nothing fail.
        assert_eq!(of([(0, true), (5_000, true)]).longest, ms(0));
    }

    #[test]
    fn an_outage_that_is_not_over_counts_up_to_the_last_attempt() {
        let outage = of([(0, true), (100, false), (200, false)]);
        assert_eq!((outage.longest, outage.lasts), (ms(300), true));
        let outage = of([(500, false), (600, false)]);
        assert_eq!((outage.longest, outage.lasts), (ms(200), true));
    }

    #[tokio::test]
    async fn what_is_closed_at_once_is_not_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // The kernel accepts, and nobody says anything: reached.
        assert_eq!(reach(&address, PATIENCE).await, Ok(()));
        let close = async {
            loop {
                drop(listener.accept().await);
            }
        };
        let closed = tokio::select! {
            closed = reach(&address, PATIENCE) => closed,
            () = close => panic!("it ends never"),
        };
        assert!(closed.unwrap_err().contains("closed at once"));
        drop(listener);
        assert!(reach(&address, PATIENCE).await.unwrap_err().contains("refused"));
    }

    #[tokio::test]
    async fn the_service_is_watched_while_the_work_is_done() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let work = async {
            tokio::time::sleep(ms(350)).await;
            drop(listener);
            tokio::time::sleep(ms(450)).await;
            TcpListener::bind(address).await.unwrap()
        };
        // The work is done before the next attempt is due.
        let (_again, outage) = during(&address.to_string(), work).await;
        assert!(outage.longest >= ms(300) && !outage.lasts, "{outage:?}");
    }
}

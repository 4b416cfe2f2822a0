//! The runtime that openraft runs on in the world: one executor a process, simulated time, no
//! threads. What runs, runs until nothing in this process can go on without the world.
//!
//! openraft asks for its runtime through static functions, so the executor that is being polled is
//! known to the thread. The order of the tasks is the order in which they were woken.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt,
    future::Future,
    ops::{Add, AddAssign, Sub, SubAssign},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use openraft::{AsyncRuntime, Instant, async_runtime::AsyncOneshotSendExt};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use tokio::sync::oneshot;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Ready = Arc<Mutex<VecDeque<u64>>>;

/// The tasks of one process.
#[derive(Default)]
pub(super) struct Executor {
    tasks: BTreeMap<u64, Task>,
    inner: Inner,
}

/// What tasks reach while they are polled.
#[derive(Default)]
struct Inner {
    now: Duration,
    ready: Ready,
    spawned: Vec<(u64, Task)>,
    timers: BTreeMap<(Duration, u64), Waker>,
    next: u64,
}

thread_local! {
    /// The executor whose task is being polled.
    static CURRENT: RefCell<Inner> = RefCell::default();
}

struct Wakes {
    task: u64,
    ready: Ready,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

impl Executor {
    /// Adds a task; it runs with the next [`Self::run`].
    pub(super) fn spawn(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        let id = self.inner.id();
        self.inner.spawned.push((id, Box::pin(future)));
    }

    /// Runs until every task waits. `now` is the machine's monotonic clock.
    pub(super) fn run(&mut self, now: Duration) {
        self.inner.now = self.inner.now.max(now);
        CURRENT.with_borrow_mut(|current| core::mem::swap(current, &mut self.inner));
        loop {
            CURRENT.with_borrow_mut(|current| {
                for (id, task) in current.spawned.drain(..) {
                    self.tasks.insert(id, task);
                    push(&current.ready, id);
                }
                current.fire();
            });
            let ready = CURRENT.with_borrow(|current| Arc::clone(&current.ready));
            let Some(id) = ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
                break;
            };
            // A task that has ended may be woken once more.
            let Some(mut task) = self.tasks.remove(&id) else { continue };
            let waker = Waker::from(Arc::new(Wakes { task: id, ready }));
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                self.tasks.insert(id, task);
            }
        }
        CURRENT.with_borrow_mut(|current| core::mem::swap(current, &mut self.inner));
    }

    /// When a task wants to go on, by the machine's monotonic clock.
    pub(super) fn next_timer(&self) -> Option<Duration> {
        self.inner.timers.first_key_value().map(|((due, _), _)| *due)
    }
}

fn push(ready: &Ready, id: u64) {
    ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(id);
}

impl Inner {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn fire(&mut self) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            entry.remove().wake();
        }
    }
}

/// The runtime, for openraft's type configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SimRuntime;

/// A reading of the machine's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SimInstant(Duration);

/// The machine's monotonic clock, for the task that is being polled.
pub(super) fn now() -> Duration {
    CURRENT.with_borrow(|current| current.now)
}

impl Instant for SimInstant {
    fn now() -> Self {
        Self(now())
    }
}

impl Add<Duration> for SimInstant {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}
impl AddAssign<Duration> for SimInstant {
    fn add_assign(&mut self, span: Duration) {
        self.0 = self.0.saturating_add(span);
    }
}
impl Sub<Duration> for SimInstant {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }
}
impl Sub for SimInstant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
impl SubAssign<Duration> for SimInstant {
    fn sub_assign(&mut self, span: Duration) {
        self.0 = self.0.saturating_sub(span);
    }
}

/// Waits for a moment.
pub(crate) struct Sleep {
    until: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        CURRENT.with_borrow_mut(|current| {
            if current.now >= self.until {
                self.key.take().and_then(|key| current.timers.remove(&key));
                return Poll::Ready(());
            }
            let key = self.key.unwrap_or_else(|| (self.until, current.id()));
            self.key = Some(key);
            current.timers.insert(key, context.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // A process that is dropped as a whole takes its timers along.
            let _ = CURRENT.try_with(|current| {
                if let Ok(mut current) = current.try_borrow_mut() {
                    current.timers.remove(&key);
                }
            });
        }
    }
}

/// The time was up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is up")
    }
}

/// A future that is given up at a moment.
pub(crate) struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

/// The result of a task.
pub(crate) struct JoinHandle<T>(oneshot::Receiver<T>);

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, oneshot::error::RecvError>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// Half of a channel for one value.
pub(crate) struct OneshotSender<T>(oneshot::Sender<T>);

impl<T: Send> AsyncOneshotSendExt<T> for OneshotSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

impl<T> fmt::Debug for OneshotSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneshotSender")
    }
}

impl AsyncRuntime for SimRuntime {
    type JoinError = oneshot::error::RecvError;
    type JoinHandle<T: Send + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = SimInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + Send> = Timeout<T>;
    type ThreadLocalRng = ChaCha8Rng;
    type OneshotSender<T: Send> = OneshotSender<T>;
    type OneshotReceiver<T: Send> = oneshot::Receiver<T>;
    type OneshotReceiverError = oneshot::error::RecvError;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let task = async move {
            // Nobody may be waiting for it.
            let _ = done.send(future.await);
        };
        CURRENT.with_borrow_mut(|current| {
            let id = current.id();
            current.spawned.push((id, Box::pin(task)));
        });
        JoinHandle(result)
    }

    fn sleep(duration: Duration) -> Sleep {
        Self::sleep_until(SimInstant::now() + duration)
    }

    fn sleep_until(deadline: SimInstant) -> Sleep {
        Sleep { until: deadline.0, key: None }
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: Self::sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: SimInstant, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: Self::sleep_until(deadline) }
    }

    fn is_panic(_: &Self::JoinError) -> bool {
        // A panic in a task is a panic of the world.
        false
    }

    /// openraft draws a value for elections that is not used.
    fn thread_rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(0)
    }

    fn oneshot<T: Send>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (OneshotSender(sender), receiver)
    }
}

//! One test at a time. The tests measure time, and CI has two cores.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Dev, DevOptions};

static TURN: Mutex<()> = Mutex::new(());

/// The cluster of the tests that need no cluster of their own. It stands between their turns, and
/// goes when a test needs the machine for itself.
static SHARED: Mutex<Option<Arc<Dev>>> = Mutex::new(None);

/// The right to use the machine, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    shared: Option<Arc<Dev>>,
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    /// For a test that starts its own cluster.
    #[must_use]
    pub fn alone() -> Self {
        let turn = lock(&TURN);
        drop(lock(&SHARED).take());
        Self { shared: None, _turn: turn }
    }

    /// For a test that leaves the cluster as it was: three nodes alive, the VIP `demo` held, no
    /// other VIP. Its operations take 0.2 s.
    #[must_use]
    pub fn shared() -> Self {
        let turn = lock(&TURN);
        let mut shared = lock(&SHARED);
        let dev = shared.get_or_insert_with(|| Arc::new(Dev::start(DevOptions::quick())));
        let dev = Arc::clone(dev);
        drop(shared);
        dev.settled();
        Self { shared: Some(dev), _turn: turn }
    }

    /// The shared cluster.
    ///
    /// # Panics
    /// In a turn that was taken with [`Turn::alone`].
    #[must_use]
    pub fn dev(&self) -> &Dev {
        self.shared.as_deref().expect("a turn with the shared cluster")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Who knows what a failed test has left behind.
        if std::thread::panicking() {
            self.shared = None;
            drop(lock(&SHARED).take());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that failed in its turn has poisoned it: that is no reason for the next one to fail.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

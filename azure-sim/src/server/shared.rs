//! The world between the listeners, and its clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::World;

/// The world, guarded; whoever waits for something in it waits for the next pulse and looks again.
#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    /// The world's `now` = 0.
    began: Instant,
    pulse: watch::Sender<u64>,
}

impl Shared {
    #[expect(clippy::disallowed_methods, reason = "the one clock of the simulator's shell")]
    pub(super) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), began: Instant::now(), pulse: watch::Sender::new(0) }
    }

    /// The world at the present time; whoever waits is woken after.
    pub(super) fn with_world<T>(&self, work: impl FnOnce(&mut World, Duration) -> T) -> T {
        let result = self.look(|world| work(world, self.began.elapsed()));
        self.pulse.send_modify(|pulse| *pulse = pulse.wrapping_add(1));
        result
    }

    /// The same without a change, so nobody is woken.
    pub(super) fn look<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        // A panic in the world leaves it as it is: a test wants to see it, not another panic.
        work(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `ready` finds something, or for so long.
    pub(super) async fn wait_for<T>(
        &self,
        longest: Option<Duration>,
        mut ready: impl FnMut(&mut World) -> Option<T>,
    ) -> Option<T> {
        let mut pulse = self.pulse.subscribe();
        let found = async {
            loop {
                pulse.mark_unchanged();
                if let Some(found) = self.look(&mut ready) {
                    return Some(found);
                }
                pulse.changed().await.ok()?;
            }
        };
        match longest {
            None => found.await,
            Some(longest) => tokio::time::timeout(longest, found).await.ok().flatten(),
        }
    }

    /// Lets the world's time pass.
    pub(super) async fn keep_time(self: Arc<Self>) {
        let mut pulse = self.pulse.subscribe();
        loop {
            pulse.mark_unchanged();
            let due = self.look(|world| world.next_deadline());
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(self.began + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => self.with_world(World::advance),
                changed = pulse.changed() => if changed.is_err() { return },
            }
        }
    }
}

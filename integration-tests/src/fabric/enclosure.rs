//! Namespaces of one's own, without root: a program runs itself once more inside a new user, mount
//! and network namespace, in which it is root.
//!
//! `unshare(1)` enters them before the program begins, so that no thread is left outside. Every
//! test gets an enclosure, and with it a process, of its own: names of interfaces never clash, and
//! what a test leaves behind goes with its namespace.
//!
//! Where the kernel or the administrator forbids it, tests are skipped and say so; in CI that is a
//! failure.

use std::any::type_name;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::{Binaries, Process};

/// Set inside.
const INSIDE: &str = "VIPFENCE_FABRIC";

const HOW_TO_GET_IT: &str = "no network namespaces here: they need `unshare` (util-linux), `ip` \
    (iproute2) and `nft` (nftables) on the PATH, a kernel with veth, nf_tables and IPv6, and user \
    namespaces, which `sysctl kernel.unprivileged_userns_clone=1` or \
    `sysctl kernel.apparmor_restrict_unprivileged_userns=0` may allow";

/// All that a fabric needs of the machine.
const NEEDED: &str = "mount -t tmpfs tmpfs /run && ip netns add probe && \
    ip netns set probe auto && ip link add probe type veth peer name eth0 netns probe && \
    echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding && \
    nft 'add table inet probe; add chain inet probe nat { type nat hook prerouting priority -100; }'";

fn enclosed(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    // Debian keeps `ip` and `nft` where only root looks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.args(["--user", "--map-root-user", "--net", "--mount", "--"]).arg(program);
    command
}

/// Why there can be no enclosure here; `None` = there can.
fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    let found = OBSTACLE.get_or_init(|| {
        let mut probe = enclosed(Path::new("sh"));
        probe.args(["-ec", NEEDED]).stdin(Stdio::null());
        let why = match probe.output() {
            Ok(output) if output.status.success() => return None,
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        Some(format!("{HOW_TO_GET_IT}\n{why}"))
    });
    found.as_deref()
}

/// Whether this process is inside.
#[must_use]
pub fn is_enclosed() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the body of a test in an enclosure. The closure must be written in the test function
/// itself, whose name is taken from its type.
///
/// # Panics
/// If the test fails, does not end within `limit`, or, in CI, if there can be no enclosure.
pub fn in_enclosure<F: FnOnce()>(limit: Duration, body: F) {
    if is_enclosed() {
        return body();
    }
    if let Some(why) = obstacle() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        println!("skipped: {why}");
        return;
    }
    // Cargo takes its time, and the limit is the test's.
    let (variable, folder) = Binaries::get().hint();
    // `crate::module::test::{{closure}}`
    let name = type_name::<F>().trim_end_matches("::{{closure}}");
    let name = name.split_once("::").map_or(name, |(_, name)| name);
    let mut command = enclosed(&std::env::current_exe().expect("this program"));
    command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1").env(variable, folder);
    let ended = Process::start(name, command).end_with_output(limit);
    println!("{}", ended.output);
    assert!(ended.status.success(), "{name} failed inside: {}", ended.status);
    assert!(ended.output.contains("test result: ok. 1 passed"), "{name} did not run inside");
}

/// Runs this program once more in an enclosure, with the same arguments and the programs that are
/// built. Returns its exit code, or `None` inside, where the caller goes on.
///
/// # Errors
/// There can be no enclosure, and how to get one.
pub fn enclose_this_program(built: &Binaries) -> Result<Option<i32>, String> {
    if is_enclosed() {
        return Ok(None);
    }
    if let Some(why) = obstacle() {
        return Err(why.to_owned());
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = enclosed(&program);
    let (variable, folder) = built.hint();
    command.args(std::env::args_os().skip(1)).env(INSIDE, "1").env(variable, folder);
    let status = command.status().map_err(|error| error.to_string())?;
    Ok(Some(status.code().unwrap_or(1)))
}

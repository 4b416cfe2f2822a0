//! Microsoft's own clients judge the simulator: the real `az` and the real `azure-mgmt-network`,
//! unmodified, against `azure-sim serve --tls`. Where they notice something, the simulator is
//! wrong. And the peer's script, made of az commands, meets a NIC that vipfence manages.
//!
//! Where there are no judges (`VIPFENCE_JUDGES`, `target/ci/judges`) the tests are skipped with a
//! line that says how to get them; in CI they are required. Nothing leaves the machine: a proxy
//! that is not there stands in the way.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests: they measure real time, say what they saw, and fail by panicking"
)]

mod az;
mod errors;
mod identity;
mod logins;
mod peer;
mod sdk;

use integration_tests::{AzureSim, JudgeShell, Judges};
use serde_json::{Value, json};

/// A simulator whose operations take 0.3 s, and VM n1's shell, logged in. Microsoft's clients wait
/// as long as `Retry-After` says, and 30 s where it says 0.
fn logged_in() -> Option<(AzureSim, JudgeShell)> {
    let judges = Judges::find()?;
    let azure = AzureSim::start(&["--nodes=2", "--latency=300ms"]);
    set(&azure, &json!({"retry_after_s": 1}));
    let shell = judges.logged_in(&azure, "n1");
    Some((azure, shell))
}

fn set(azure: &AzureSim, changes: &Value) {
    azure.simulator().command(&json!({"command": "change_settings", "changes": changes}));
}

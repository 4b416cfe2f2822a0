//! Tokens that do not outlive a move.

use std::time::Duration;

use integration_tests::{Dev, DevOptions, Turn, VIP};
use serde_json::json;

/// What the cluster has then lives for seconds, as does whatever replaces it: shorter than each of
/// the two operations of the move.
#[test]
fn a_move_goes_through_although_its_tokens_expire_on_the_way() {
    let _turn = Turn::alone();
    let options = DevOptions { operation: Duration::from_secs(4), ..DevOptions::default() };
    let dev = Dev::start(options);
    let from = dev.holder();
    let to = dev.names_but(&[&from]).swap_remove(0);
    let simulator = dev.simulator();
    let short = json!({"token_life_s": 4, "imds_caches_tokens": false});
    simulator.command(&json!({"command": "change_settings", "changes": short}));
    for node in dev.names() {
        simulator.command(&json!({"command": "revoke_tokens", "node": node}));
    }
    let answer = dev.cli().run(["move", VIP, "--to", &to, "--timeout", "55s"]);
    assert_eq!(answer.exit, 0, "{}", answer.output);
    assert_eq!(dev.holder(), to);
}

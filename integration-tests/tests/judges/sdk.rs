//! The Python SDK. Its cases stand in `judges/sdk.py`; they share one log-in and one process.

use integration_tests::Turn;
use serde_json::json;

use super::{logged_in, set};

#[test]
fn the_sdk_takes_the_simulator_for_azure() {
    let _turn = Turn::alone();
    let Some((azure, shell)) = logged_in() else { return };
    set(&azure, &json!({"page_size": 1}));
    let said = shell.script("python", "sdk.py", &[]).expect_ok();
    // Each case says so when it holds.
    let held: Vec<&str> = said.lines().collect();
    let cases = [
        "a_managed_identity_gets_a_token",
        "lists_come_in_pages",
        "a_nic_is_a_model",
        "if_match_with_the_present_etag_writes",
        "if_match_with_a_stale_etag_is_412",
        "the_poller_obeys_retry_after",
        "tags_are_patched",
        "an_address_is_checked",
        "refusals_are_typed",
    ];
    assert_eq!(held, cases);
}

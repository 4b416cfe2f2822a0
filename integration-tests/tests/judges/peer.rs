//! The peer's script against a NIC that vipfence manages: an outside hand moves the VIP to another
//! node's NIC, and vipfence puts that right.

use std::time::{Duration, Instant};

use integration_tests::v1::GetStatusResponse;
use integration_tests::{ByHand, Judges, Turn, wait_until};
use serde_json::{Value, json};

/// What is at rest is read once a minute; then two writes, and a generous rest for a busy machine.
const PUT_RIGHT_WITHIN: Duration = Duration::from_secs(120);

fn held_by<'a>(node: &'a str) -> impl Fn(&GetStatusResponse) -> bool + 'a {
    move |status| status.vips.iter().any(|vip| vip.holder == node && vip.current_move.is_none())
}

#[test]
fn an_address_that_a_script_with_az_took_comes_back() {
    let _turn = Turn::alone();
    let Some(judges) = Judges::find() else { return };
    let hand = ByHand::start();
    let simulator = hand.azure.simulator();
    let changes = json!({"retry_after_s": 1});
    simulator.command(&json!({"command": "change_settings", "changes": changes}));
    hand.ready();
    let made = hand.cli().run(["vip", "create", "web", "--address", "10.5.0.110", "--to", "n1"]);
    assert_eq!(made.exit, 0, "{}", made.output);
    let epoch = hand.status(2, held_by("n1")).vips[0].epoch;
    let on = |nic: &str| {
        let attachments = simulator.attachments();
        attachments.get("10.5.0.110").is_some_and(|id| id.ends_with(nic))
    };
    assert!(on("/n1-nic"));

    // Whoever runs it sits on n2 and thinks that n1 is dead.
    let shell = judges.shell(&hand.azure, "n2");
    shell.register();
    let start = Instant::now();
    let said =
        shell.script("bash", "peer.sh", &["vipfence", "vnet", "n2-nic", "mine", "10.5.0.110"]);
    assert_eq!(said.expect_ok(), "taking 10.5.0.110 from n1-nic\nn2-nic has 10.5.0.110");
    println!("the script took {:?}", start.elapsed());
    assert!(on("/n2-nic"));

    let start = Instant::now();
    wait_until("vipfence has put the address back", PUT_RIGHT_WITHIN, || {
        if on("/n1-nic") { Ok(()) } else { Err(format!("{:?}", simulator.attachments())) }
    });
    println!("put right after {:?}", start.elapsed());
    let status = hand.status(2, held_by("n1"));
    assert!(status.vips[0].epoch >= epoch);
    assert_eq!((hand.responder(0, "web"), hand.responder(1, "web")), (200, 503));
    // n2 never served what the script put on its NIC, and the history says what happened.
    let history = hand.cli().run(["history", "web", "-o", "json"]);
    assert_eq!(history.exit, 0, "{}", history.output);
    let history: Value = serde_json::from_str(&history.output).expect("JSON");
    assert!(history.to_string().contains("MOVE_CAUSE_DRIFT"), "{history}");
    let document = simulator.state();
    assert_eq!(document["nics"][1]["addresses"], json!(["10.5.0.5"]), "{document}");
}

//! Three agents by hand, as the README shows: two members and a witness, without `vipfence dev`.

use std::time::Duration;

use integration_tests::v1::{GetStatusResponse, NodeRole};
use integration_tests::{ByHand, Turn};

#[test]
fn two_members_and_a_witness_by_hand() {
    let _turn = Turn::alone();
    let mut hand = ByHand::start();
    let status = hand.ready();
    let roles: Vec<NodeRole> = status.nodes.iter().map(|node| node.role()).collect();
    assert_eq!(roles, [NodeRole::Member, NodeRole::Member, NodeRole::Witness]);
    assert_eq!(status.cluster, "by-hand");

    let made = hand.cli().run(["vip", "create", "web", "--address", "10.5.0.110", "--to", "n1"]);
    assert_eq!(made.exit, 0, "{}", made.output);
    assert_eq!(
        (hand.responder(0, "web"), hand.responder(1, "web"), hand.responder(2, "web")),
        (200, 503, 503)
    );

    // The witness never holds a VIP.
    let before = hand.api(0).vip("web").unwrap();
    let refused = hand.cli().run(["move", "web", "--to", "w1"]);
    assert_eq!(refused.exit, 3, "{}", refused.output);
    assert!(
        refused.output.contains("w1") && refused.output.contains("witness"),
        "{}",
        refused.output
    );
    let forced = hand.cli().run(["move", "web", "--to", "w1", "--force"]);
    assert_eq!(forced.exit, 3, "{}", forced.output);
    assert_eq!(hand.api(0).vip("web").unwrap(), before, "nothing has changed");

    // With its vote the other member takes over.
    hand.agents[0].kill();
    let held = |status: &GetStatusResponse| {
        status.vips.iter().any(|vip| vip.holder == "n2" && vip.current_move.is_none())
    };
    let status = hand.status(1, held);
    assert!(status.vips[0].epoch > before.epoch);
    assert_eq!(hand.responder(1, "web"), 200);
    let attached = hand.azure.simulator().attachments();
    assert!(attached["10.5.0.110"].ends_with("/n2-nic"), "{attached:?}");

    // A second agent of the same node in the same folder touches nothing.
    let mut second = hand.second_agent("n2");
    let status = second.end(Duration::from_secs(10));
    assert_ne!(status.code(), Some(0), "{}", second.output());
    assert_eq!(hand.responder(1, "web"), 200);
}

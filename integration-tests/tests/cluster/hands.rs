//! Hands off, and the policies of a VIP, through every node and the command line.

use std::time::Duration;

use integration_tests::v1::{Consistency, FailbackPolicy};
use integration_tests::{Dev, Turn, VIP, wait_until};

const LIMIT: Duration = Duration::from_secs(10);

/// What a command prints, which must succeed.
fn said(dev: &Dev, node: &str, command: &[&str]) -> String {
    let answer = dev.cli_at(node).run(command);
    assert_eq!(answer.exit, 0, "{command:?}: {}", answer.output);
    answer.output
}

fn refused(dev: &Dev, command: &[&str], exit: i32, word: &str) {
    let answer = dev.cli().run(command);
    assert_eq!(answer.exit, exit, "{command:?}: {}", answer.output);
    assert!(answer.output.contains(word), "{command:?}: {}", answer.output);
}

#[test]
fn a_pause_is_shown_by_every_node_and_is_in_the_way_of_no_caller() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let names = dev.names();
    let before = dev.vip();
    let target = dev.names_but(&[&before.holder]).remove(0);
    said(dev, &names[0], &["pause", "--cluster", "--for", "1h", "--reason", "patching"]);
    said(dev, &names[1], &["pause", "--node", &target]);
    for node in &names {
        let status = dev.api(node).status(Consistency::Unspecified).expect("a status");
        let pause = status.pause.expect("it is paused");
        assert_eq!((pause.reason.as_str(), pause.until.is_some()), ("patching", true));
        let seen = status.nodes.iter().find(|seen| seen.name == target).expect("the node");
        assert!(seen.pause.is_some(), "{seen:?}");
        assert!(said(dev, node, &["status"]).contains("PAUSED: no automatic moves by "));
        let shown = said(dev, node, &["vip", "show", VIP]);
        assert!(shown.contains("automatic moves of the cluster are paused by"), "{shown}");
    }
    said(dev, &names[2], &["move", VIP, "--to", &target]);
    assert_eq!(dev.holder(), target);
    said(dev, &names[2], &["resume", "--cluster"]);
    said(dev, &names[2], &["resume", "--node", &target]);
    assert_eq!(dev.vip().paused, "");
    let events = dev.any_api().events().expect("the events");
    for kind in ["PAUSED", "RESUMED"] {
        assert!(events.iter().filter(|event| event.kind == kind).count() >= 2, "{kind}");
    }
}

#[test]
fn a_pause_with_an_end_ends_by_itself() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let told = said(dev, &dev.names()[0], &["pause", "--vip", VIP, "--for", "1s"]);
    assert!(told.contains(", or `vipfence resume --vip demo`"), "{told}");
    wait_until("the pause is over", LIMIT, || match dev.vip().pause {
        None => Ok(()),
        Some(pause) => Err(format!("{pause:?}")),
    });
    let events = dev.any_api().events().expect("the events");
    let over = "automatic moves of VIP demo go on: the time is over";
    assert!(events.iter().any(|event| event.kind == "RESUMED" && event.message == over));
}

#[test]
fn policies_are_changed_one_by_one() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = dev.vip().spec.expect("a definition");
    let node = dev.names().remove(0);
    let update = |args: &[&str]| said(dev, &node, &[&["vip", "update", VIP], args].concat());
    let shown = update(&["--failback", "after:10m", "--flap-budget", "5/1h"]);
    assert!(shown.contains("failback        after:10m\nflap budget     5/1h\n"), "{shown}");
    let shown = update(&["--failover", "confirm:90s:stay"]);
    assert!(shown.contains("failover        confirm:90s:stay"), "{shown}");
    let spec = dev.vip().spec.expect("a definition");
    assert_eq!(spec.failback(), FailbackPolicy::After);
    let budget = spec.flap_budget.map(|budget| (budget.moves, budget.window.map(|w| w.seconds)));
    assert_eq!(budget, Some((5, Some(3_600))));
    assert_eq!(spec.addresses, before.addresses);
    update(&["--failback", "manual", "--flap-budget", "3/10m", "--failover", "automatic"]);
    assert_eq!(dev.vip().spec, Some(before));
}

#[test]
fn what_cannot_be_paused_confirmed_or_set_is_refused_with_the_remedy() {
    let turn = Turn::shared();
    let dev = turn.dev();
    refused(dev, &["pause", "--node", "n9"], 3, "`vipfence status` shows those there are");
    refused(dev, &["resume", "--vip", "dmeo"], 3, "`vipfence vip list` shows those there are");
    refused(dev, &["confirm", VIP], 3, "`vipfence move demo` moves it all the same");
    refused(dev, &["vip", "update", VIP, "--flap-budget", "0/10m"], 2, "0 is not 1 to 32");
    refused(dev, &["pause", "--cluster", "--for", "0s"], 2, "leave it out to pause until");
}

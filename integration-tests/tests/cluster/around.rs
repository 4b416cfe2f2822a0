//! What runs around a VIP, with real agents and a `systemctl` of our own making on their PATH.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use integration_tests::{ByHand, Turn, wait_until};

/// Every hook and every call of systemctl leaves a line in the node's diary.
fn prepare(folder: &Path, name: &str) -> String {
    let own = folder.join(name);
    std::fs::create_dir(&own).unwrap();
    let diary = own.join("diary").display().to_string();
    let script = format!("#!/bin/sh\necho \"$2 $4\" >> {diary}\n");
    let systemctl = own.join("systemctl");
    std::fs::write(&systemctl, script).unwrap();
    std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let hook = |task| {
        format!(
            "{task} = {{ shell = true, command = ['echo \"$VIPFENCE_TASK $VIPFENCE_EPOCH\" >> {diary}'] }}\n"
        )
    };
    let hooks: String = ["pre_acquire", "post_acquire", "pre_release", "post_release", "on_fault"]
        .map(hook)
        .concat();
    format!("[vips.web]\nunits = [\"a.service\", \"b.service\"]\n\n[vips.web.hooks]\n{hooks}")
}

/// A node's diary, as soon as it is as it should be.
fn has_done(folder: &Path, name: &str, lines: &[&str]) {
    wait_until(&format!("the diary of {name}"), Duration::from_secs(20), || {
        let text = std::fs::read_to_string(folder.join(name).join("diary")).unwrap_or_default();
        if text.lines().eq(lines.iter().copied()) { Ok(()) } else { Err(text) }
    });
}

#[test]
fn hooks_and_units_follow_a_vip_in_order_and_once_for_each_epoch() {
    let _turn = Turn::alone();
    let folder = tempfile::TempDir::new().unwrap();
    let mut hand = ByHand::start();
    hand.ready();
    for (at, name) in ["n1", "n2"].into_iter().enumerate() {
        hand.add_to_file(name, &prepare(folder.path(), name));
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", folder.path().join(name).display());
        hand.agents[at].kill();
        hand.agents[at] = hand.agent_with(name, &[("PATH", &path)]);
    }
    hand.ready();
    // What must not run on a node that holds nothing is stopped at the start.
    let (started, acquired) = (["stop b.service", "stop a.service"], |epoch: u64| {
        [
            format!("pre_acquire {epoch}"),
            "start a.service".to_owned(),
            "start b.service".to_owned(),
            format!("post_acquire {epoch}"),
        ]
    });
    has_done(folder.path(), "n1", &started);
    let made = hand.cli().run(["vip", "create", "web", "--address", "10.5.0.110", "--to", "n1"]);
    assert_eq!(made.exit, 0, "{}", made.output);
    let acquired_1 = acquired(1);
    let mut n1: Vec<&str> =
        started.into_iter().chain(acquired_1.iter().map(String::as_str)).collect();
    has_done(folder.path(), "n1", &n1);
    let token = |name: &str| std::fs::read_to_string(hand.data_dir(name).join("tokens/web"));
    assert_eq!(token("n1").unwrap(), "1\n");

    let moved = hand.cli().run(["move", "web", "--to", "n2"]);
    assert_eq!(moved.exit, 0, "{}", moved.output);
    n1.extend(["pre_release 1", "stop b.service", "stop a.service", "post_release 1"]);
    has_done(folder.path(), "n1", &n1);
    let acquired_2 = acquired(2);
    let n2: Vec<&str> = started.into_iter().chain(acquired_2.iter().map(String::as_str)).collect();
    has_done(folder.path(), "n2", &n2);
    assert_eq!(token("n2").unwrap(), "2\n");
    assert!(token("n1").is_err(), "the token goes with the entitlement");
}

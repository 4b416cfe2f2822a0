//! The role that `vipfence azure role` prints is enough for a cluster, as it is printed.

use integration_tests::{CliAnswer, Dev, Turn};
use serde_json::{Value, json};

/// The role that was printed.
fn role(answer: &CliAnswer) -> Value {
    assert_eq!(answer.exit, 0, "{}", answer.output);
    serde_json::from_str(&answer.out).expect("JSON")
}

fn printed(dev: &Dev) -> Value {
    let config = dev.dir().join("n1/agent.toml");
    let config = config.to_str().expect("a text");
    role(&dev.cli().run(["azure", "role", "--no-doctor", "--config", config]))
}

/// Gives all nodes this role where it is assignable, and nothing else; `None` = everything.
fn give(dev: &Dev, role: Option<&Value>) {
    let scopes = role.and_then(|role| role["AssignableScopes"].as_array());
    let at = |scope: &Value| json!({"role": role, "scope": scope});
    let assignments: Option<Value> = scopes.map(|scopes| scopes.iter().map(at).collect());
    for node in dev.names() {
        let command = json!({"command": "set_roles", "node": node, "assignments": assignments});
        dev.simulator().command(&command);
    }
}

#[test]
fn a_cluster_gets_along_with_the_role_that_it_prints() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let whole = printed(dev);
    let actions = whole["Actions"].as_array().expect("a list");
    assert_eq!(actions.len(), 6, "the NICs refer to a subnet only: {whole}");
    give(dev, Some(&whole));
    let seq = dev.simulator().last_entry();
    let to = dev.names_but(&[&dev.holder()]).remove(0);
    dev.move_to(&to);
    let vip = ["vip", "create", "second", "--address", "10.5.0.120", "--timeout", "30s"];
    let created = dev.cli().run(vip);
    assert_eq!(created.exit, 0, "{}", created.output);
    // Without the right to join the subnet it cannot go on, and says so.
    let mut less = whole.clone();
    let join = "Microsoft.Network/virtualNetworks/subnets/join/action";
    less["Actions"] = actions.iter().filter(|action| **action != join).cloned().collect();
    for write in dev.simulator().writes_after(seq) {
        assert_ne!(write.status, 403, "{write:?}");
    }
    give(dev, Some(&less));
    let deleted = dev.cli().run(["vip", "delete", "second", "--timeout", "8s"]);
    assert_eq!(deleted.exit, 5, "{}", deleted.output);
    assert!(deleted.output.contains(&format!("may not {join} at ")), "{}", deleted.output);
    // The printed role can still be printed: it takes reading only.
    assert_eq!(printed(dev)["Actions"], whole["Actions"]);
    give(dev, None);
    let deleted = dev.cli().run(["vip", "delete", "second", "--timeout", "50s"]);
    assert!([0, 3].contains(&deleted.exit), "done, or gone already: {}", deleted.output);
    dev.settled();
}

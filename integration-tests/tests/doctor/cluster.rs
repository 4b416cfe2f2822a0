//! The doctor of a running cluster: each node looks at itself, and what one alone cannot see shows.

use integration_tests::{Dev, DevOptions, Turn};
use serde_json::{Value, json};

/// Node and check of every error and warning, in order; the machine under the test has settings of
/// its own, of which notices tell.
fn found(dev: &Dev, at: &str, more: &[&str]) -> (Vec<(String, String)>, i32) {
    let args = ["doctor", "--json"].iter().chain(more);
    let answer = dev.cli_at(at).run(args);
    let json: Value = serde_json::from_str(&answer.out).unwrap_or_else(|_| panic!("{answer:?}"));
    let mut found = Vec::new();
    let mut add = |node: &str, findings: &Value| {
        for finding in findings.as_array().into_iter().flatten() {
            if finding["severity"] != "FINDING_SEVERITY_NOTICE" {
                found.push((node.to_owned(), finding["check"].as_str().unwrap().to_owned()));
            }
        }
    };
    for node in json["nodes"].as_array().into_iter().flatten() {
        add(node["node"].as_str().unwrap(), &node["findings"]);
    }
    add("", &json["findings"]);
    (found, answer.exit)
}

/// What the machine that runs the tests says of itself at every node.
fn of_the_machine(check: &str) -> bool {
    ["CLOUD_INIT", "CLOUD_NETCONFIG", "NM_CLOUD_SETUP", "CLOCK_SLEW", "RP_FILTER_STRICT"]
        .into_iter()
        .chain(["DATA_DIR_VOLATILE", "DATA_DIR_FULL"])
        .any(|known| known == check)
}

fn pairs(found: &[(String, String)]) -> Vec<(&str, &str)> {
    let ours = found.iter().filter(|(_, check)| !of_the_machine(check));
    ours.map(|(node, check)| (node.as_str(), check.as_str())).collect()
}

#[test]
fn every_node_tells_of_itself_and_the_one_that_is_asked_compares() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::quick());
    let (good, _) = found(&dev, "n2", &[]);
    assert_eq!(pairs(&good), []);

    let simulator = dev.simulator();
    simulator.command(&json!({"command": "set_lock", "nic": "n1-nic", "lock": "read_only"}));
    simulator.command(&json!({
        "command": "set_rights", "node": "n3", "rights": {"write": false},
    }));
    let (broken, exit) = found(&dev, "n2", &["--vip", "demo"]);
    assert_eq!(pairs(&broken), [("n1", "LOCKED"), ("n3", "RIGHT_MISSING")]);
    assert_eq!(exit, 1);
    let (alone, _) = found(&dev, "n2", &["--this-node"]);
    assert_eq!(pairs(&alone), []);

    dev.kill("n3");
    let (less, exit) = found(&dev, "n2", &[]);
    let expected =
        [("n1", "LOCKED"), ("n1", "PEER_REFUSED"), ("n2", "PEER_REFUSED"), ("", "NODE_SILENT")];
    assert_eq!((pairs(&less), exit), (expected.to_vec(), 1));

    let unknown = dev.cli_at("n2").run(["doctor", "--vip", "nobody"]);
    assert_eq!(unknown.exit, 3, "{unknown:?}");
    assert!(unknown.output.contains("nobody"), "{unknown:?}");
}

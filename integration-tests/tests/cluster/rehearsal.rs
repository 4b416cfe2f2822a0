//! `vipfence doctor --rehearse`: there and back, with what a client notices of it.

use integration_tests::{Dev, Turn, VIP};
use serde_json::Value;

/// Where the VIP is served on this machine; its own address is none here.
fn served_at(dev: &Dev) -> String {
    let url = dev.vip_url();
    let rest = url.strip_prefix("http://").expect("a plain URL");
    rest.trim_end_matches('/').to_owned()
}

#[test]
fn a_rehearsal_moves_there_and_back_and_says_what_clients_noticed() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = dev.vip();
    let standby = dev.names_but(&[&before.holder]).remove(0);
    let client = served_at(dev);
    // What the doctor says of the machine that runs the tests is not what is tried here.
    let told = dev.cli().run([
        "doctor",
        "--rehearse",
        VIP,
        "--to",
        &standby,
        "--client",
        &client,
        "--timeout",
        "25s",
        "--force",
        "-o",
        "json",
    ]);
    assert_eq!(told.exit, 0, "{}", told.output);
    let report: Value = serde_json::from_str(&told.out).expect("one document");
    assert_eq!(report["passed"], true, "{report:#}");
    let steps = report["steps"].as_array().expect("a list");
    let nodes: Vec<&str> = steps.iter().filter_map(|step| step["node"].as_str()).collect();
    let (n, s) = (before.holder.as_str(), standby.as_str());
    assert_eq!(nodes, ["", n, s, "", s, n, "", n, s]);
    for leg in report["moves"].as_array().expect("a list") {
        // A busy machine may try too late to notice anything.
        assert!(leg["outageMs"].as_u64().is_some_and(|ms| ms < 20_000), "{leg}");
        assert_eq!(leg["outageLasts"], false, "{leg}");
    }
    let after = dev.vip();
    assert_eq!((after.holder, after.epoch), (before.holder, before.epoch + 2));
    dev.settled();
}

#[test]
fn a_service_that_the_nodes_do_not_reach_stops_a_rehearsal_before_the_move() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = dev.vip();
    // Port 1: the nodes are told to connect where nobody listens.
    let probe = ["--nodes-probe", "127.0.0.1:1"];
    let client = served_at(dev);
    let line = ["doctor", "--rehearse", VIP, "--client", &client].into_iter().chain(probe);
    let told = dev.cli().run(line);
    // Where the doctor itself finds errors on this machine it does not get that far.
    assert!([1, 3].contains(&told.exit), "{}", told.output);
    assert!(told.output.contains("nothing was moved"), "{}", told.output);
    let after = dev.vip();
    assert_eq!((after.holder, after.epoch), (before.holder, before.epoch));
}

//! Bad input: the right code, an error that names the thing and the remedy, and nothing changed.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use integration_tests::v1::{
    CreateVipRequest, EnableVipRequest, GetMoveRequest, MoveVipRequest, Vip, VipAddress, VipSpec,
};
use integration_tests::{Binaries, Dev, DevOptions, Ended, Process, Refusal, Turn, VIP};
use tonic::Code;

/// All that a refused request must leave as it was.
#[derive(Debug, PartialEq)]
struct Known {
    vips: Vec<Vip>,
    moves: Vec<String>,
    writes: usize,
}

fn known(dev: &Dev) -> Known {
    let api = dev.any_api();
    let moves = api.moves("").expect("the moves");
    Known {
        vips: api.list_vips(Default::default()).expect("the VIPs").vips,
        moves: moves.into_iter().map(|known| known.id).collect(),
        writes: dev.simulator().writes_after(0).len(),
    }
}

/// Asks every node, and the command line; nothing may have changed.
fn refused<T: std::fmt::Debug>(
    dev: &Dev,
    ask: impl Fn(&integration_tests::Api) -> Result<T, tonic::Status>,
    command: &[&str],
    exit: i32,
) -> Refusal {
    let before = known(dev);
    let mut refusals: Vec<Refusal> = dev
        .names()
        .iter()
        .map(|node| Refusal::from(ask(&dev.api(node)).expect_err("it is refused")))
        .collect();
    let refusal = refusals.pop().expect("three nodes");
    for other in refusals {
        assert_eq!(other, refusal, "every node says the same");
    }
    assert_eq!(refusal.domain, "vipfence", "{refusal:?}");
    if !command.is_empty() {
        let answer = dev.cli().run(command);
        assert_eq!(answer.exit, exit, "{command:?}: {}", answer.output);
        // The command line checks some things by itself, in its own words.
        if exit != 2 {
            assert!(answer.output.contains(&refusal.message), "{}", answer.output);
        }
        assert!(!answer.output.contains("Status {"), "a raw status: {}", answer.output);
    }
    assert_eq!(known(dev), before, "nothing has changed");
    refusal
}

fn says(refusal: &Refusal, code: Code, reason: &str, words: &[&str]) {
    assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason), "{refusal:?}");
    for word in words {
        assert!(refusal.message.contains(word), "{word:?} is missing: {refusal:?}");
    }
    // Which details come with which code (design.md §8).
    let (bad_request, precondition) =
        (!refusal.fields.is_empty(), !refusal.preconditions.is_empty());
    assert_eq!(bad_request, code == Code::InvalidArgument, "{refusal:?}");
    assert_eq!(precondition, code == Code::FailedPrecondition, "{refusal:?}");
    assert_eq!(refusal.retry, code == Code::Unavailable, "{refusal:?}");
}

fn move_to(target: &str) -> MoveVipRequest {
    MoveVipRequest { vip: VIP.into(), target_node: target.into(), ..Default::default() }
}

fn create(name: &str, address: &str) -> CreateVipRequest {
    let address = VipAddress { address: address.into(), ..Default::default() };
    let spec = VipSpec { addresses: vec![address], ..Default::default() };
    CreateVipRequest { name: name.into(), spec: Some(spec), ..Default::default() }
}

#[test]
fn an_unknown_vip_node_or_move_is_named() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let request = MoveVipRequest { vip: "dmeo".into(), ..Default::default() };
    let refusal = refused(dev, |api| api.move_vip(request.clone()), &["move", "dmeo"], 3);
    says(&refusal, Code::NotFound, "VIP_NOT_FOUND", &["dmeo", "vipfence vip list"]);
    assert_eq!(refusal.metadata["vip"], "dmeo");

    let refusal = refused(dev, |api| api.move_vip(move_to("n9")), &["move", VIP, "--to", "n9"], 3);
    says(&refusal, Code::NotFound, "NODE_NOT_FOUND", &["n9", "vipfence status"]);
    assert_eq!(refusal.metadata["node"], "n9");

    let request = EnableVipRequest { name: "dmeo".into(), ..Default::default() };
    let command = ["vip", "enable", "dmeo"];
    let refusal = refused(dev, |api| api.enable_vip(request.clone()), &command, 3);
    says(&refusal, Code::NotFound, "VIP_NOT_FOUND", &["dmeo"]);

    let refusal = refused(dev, |api| api.vip("dmeo"), &["vip", "show", "dmeo"], 3);
    says(&refusal, Code::NotFound, "VIP_NOT_FOUND", &["dmeo"]);

    let refusal = refused(dev, |api| api.find_move("move-999999"), &[], 0);
    says(&refusal, Code::NotFound, "MOVE_NOT_FOUND", &["move-999999", "vipfence history"]);
    let request = GetMoveRequest { id: "twelve".into(), ..Default::default() };
    let refusal = refused(dev, |api| api.get_move(request.clone()), &[], 0);
    says(&refusal, Code::InvalidArgument, "INVALID_MOVE_ID", &["twelve", "move-12"]);
    assert_eq!(refusal.fields, ["id"]);
}

#[test]
fn a_wrong_expectation_is_answered_with_what_is() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let vip = dev.vip();
    let others = dev.names_but(&[&vip.holder]);
    let (other, target) = (others[0].as_str(), others[1].as_str());

    let request = MoveVipRequest { expected_holder: other.into(), ..move_to(target) };
    let command = ["move", VIP, "--to", target, "--expect-holder", other];
    let refusal = refused(dev, |api| api.move_vip(request.clone()), &command, 3);
    says(&refusal, Code::Aborted, "HOLDER_MISMATCH", &[VIP, &vip.holder]);
    assert_eq!(refusal.metadata["actual_holder"], vip.holder);

    let wrong = (vip.epoch + 1).to_string();
    let request = MoveVipRequest { expected_epoch: vip.epoch + 1, ..move_to(target) };
    let command = ["move", VIP, "--to", target, "--expect-epoch", &wrong];
    let refusal = refused(dev, |api| api.move_vip(request.clone()), &command, 3);
    says(&refusal, Code::Aborted, "EPOCH_MISMATCH", &[VIP, &vip.epoch.to_string()]);
    assert_eq!(refusal.metadata["actual_epoch"], vip.epoch.to_string());
}

#[test]
fn an_address_that_cannot_be_used_is_named_with_its_field() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let field = "spec.addresses[0].address";
    for (address, words) in [
        ("10.5.0.300", ["10.5.0.300", "IP address"]),
        ("10.5.4.9", ["10.5.4.9", "10.5.0.0/22"]),
        ("127.0.0.1", ["127.0.0.1", "subnet"]),
    ] {
        let request = create("web", address);
        let command = ["vip", "create", "web", "--address", address];
        let refusal = refused(dev, |api| api.create_vip(request.clone()), &command, 2);
        says(&refusal, Code::InvalidArgument, "INVALID_ADDRESS", &words);
        assert_eq!(refusal.fields, [field]);
    }
    // A stranger's NIC has it; a node's own primary address; another VIP's address.
    for (address, holder) in
        [("10.5.0.200", "stranger-nic"), ("10.5.0.4", "n1-nic"), ("10.5.0.110", VIP)]
    {
        let request = create("web", address);
        let command = ["vip", "create", "web", "--address", address];
        let refusal = refused(dev, |api| api.create_vip(request.clone()), &command, 3);
        says(&refusal, Code::FailedPrecondition, "ADDRESS_HELD_ELSEWHERE", &[address, holder]);
        assert_eq!(refusal.preconditions[0].0, address);
    }
}

#[test]
fn a_definition_that_cannot_be_used_is_refused() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let request = create("Not A Name", "10.5.0.111");
    let command = ["vip", "create", "Not A Name", "--address", "10.5.0.111"];
    let refusal = refused(dev, |api| api.create_vip(request.clone()), &command, 2);
    says(&refusal, Code::InvalidArgument, "INVALID_NAME", &["Not A Name"]);
    assert_eq!(refusal.fields, ["name"]);

    let request = CreateVipRequest { name: "web".into(), ..Default::default() };
    let refusal = refused(dev, |api| api.create_vip(request.clone()), &[], 0);
    says(&refusal, Code::InvalidArgument, "INVALID_SPEC", &["spec"]);

    let request = create(VIP, "10.5.0.111");
    let command = ["vip", "create", VIP, "--address", "10.5.0.111"];
    let refusal = refused(dev, |api| api.create_vip(request.clone()), &command, 3);
    says(&refusal, Code::AlreadyExists, "VIP_EXISTS", &[VIP]);
    assert_eq!(refusal.metadata["vip"], VIP);
}

#[test]
fn a_request_id_is_not_taken_for_another_request() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let holder = dev.holder();
    let request = MoveVipRequest { request_id: "twice".into(), ..move_to(&holder) };
    dev.any_api().move_vip(request).expect("a first request");
    let other = dev.names_but(&[&holder]).remove(0);
    let request = MoveVipRequest { request_id: "twice".into(), ..move_to(&other) };
    let command = ["move", VIP, "--to", &other, "--request-id", "twice"];
    let refusal = refused(dev, |api| api.move_vip(request.clone()), &command, 3);
    says(&refusal, Code::AlreadyExists, "REQUEST_ID_REUSED", &["twice", "use a new one"]);
    assert_eq!(refusal.metadata["request_id"], "twice");

    let request = MoveVipRequest { request_id: "x".repeat(129), ..move_to(&other) };
    let refusal = refused(dev, |api| api.move_vip(request.clone()), &[], 0);
    says(&refusal, Code::InvalidArgument, "INVALID_REQUEST_ID", &["128"]);
}

#[test]
fn wrong_usage_is_told_before_anything_is_sent() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = known(dev);
    for (command, word) in [
        (vec!["mvoe", VIP], "move"),
        (vec!["move"], "VIP"),
        (vec!["move", VIP, "--timeout", "5"], "5s"),
        (vec!["vip", "create", "web", "--address", "10.5.0"], "not an IP address"),
        (vec!["status", "--endpoint", "nonsense:port"], "nonsense:port"),
    ] {
        let answer = dev.cli().run(&command);
        assert_eq!(answer.exit, 2, "{command:?}: {}", answer.output);
        assert!(answer.output.contains(word), "{command:?}: {}", answer.output);
    }
    let answer = dev.cli().run(["--endpoint", "127.0.0.1:1", "status"]);
    assert_eq!(answer.exit, 4, "{}", answer.output);
    assert!(answer.output.contains("127.0.0.1:1"), "{}", answer.output);
    assert_eq!(known(dev), before, "nothing has changed");
}

#[test]
fn a_disabled_vip_is_not_moved() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let request = CreateVipRequest { disabled: true, ..create("off", "10.5.0.112") };
    dev.any_api().create_vip(request).expect("a disabled VIP");
    let request = MoveVipRequest { vip: "off".into(), ..Default::default() };
    let refusal = refused(dev, |api| api.move_vip(request.clone()), &["move", "off"], 3);
    says(&refusal, Code::FailedPrecondition, "VIP_DISABLED", &["off", "enable it first"]);
    assert_eq!(refusal.preconditions[0].0, "off");
    let answer = dev.cli().run(["vip", "delete", "off"]);
    assert_eq!(answer.exit, 0, "{}", answer.output);
}

#[test]
fn a_dead_target_is_not_eligible() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::quick());
    let (leader, holder) = dev.leader_apart();
    let dead = dev.names_but(&[&leader, &holder]).remove(0);
    dev.kill(&dead);
    integration_tests::wait_until("the node counts as dead", Duration::from_secs(10), || {
        let status = dev.status();
        let node = status.nodes.into_iter().find(|node| node.name == dead).expect("a member");
        let state = node.state();
        let silent = state == integration_tests::v1::NodeState::Silent;
        if silent { Ok(()) } else { Err(format!("{state:?}")) }
    });
    let before = known(&dev);
    let refusal = dev.api(&holder).move_vip(move_to(&dead)).expect_err("it is refused");
    let refusal = Refusal::from(refusal);
    says(&refusal, Code::FailedPrecondition, "TARGET_NOT_ELIGIBLE", &[VIP, &dead]);
    assert_eq!(refusal.preconditions[0].0, dead);
    let answer = dev.cli_at(&leader).run(["move", VIP, "--to", &dead]);
    assert_eq!(answer.exit, 3, "{}", answer.output);
    assert!(answer.output.contains(&refusal.message), "{}", answer.output);
    assert_eq!(known(&dev), before, "nothing has changed");
}

#[test]
fn a_typing_error_in_a_configuration_is_pointed_at() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let good = std::fs::read_to_string(dev.dir().join("n1/agent.toml")).expect("a configuration");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("agent.toml");
    let cases = BTreeMap::from([
        (("data_dir", "data_dri"), vec!["data_dri", "did you mean", "data_dir"]),
        (("\"fast\"", "\"fsat\""), vec!["fsat", "did you mean", "fast"]),
        (("name = \"n1\"\ndata", "name = \"n7\"\ndata"), vec!["n7", "not among the peers"]),
        (("grpc = \"127.0.0.1", "grpc = \"0.0.0.0"), vec!["0.0.0.0", "insecure = true"]),
    ]);
    for ((right, wrong), words) in cases {
        assert!(good.contains(right), "{right} is in {good}");
        std::fs::write(&file, good.replacen(right, wrong, 1)).expect("it can be written");
        for check_only in [true, false] {
            let mut command = Command::new(&Binaries::get().vipfence);
            command.args(["agent", "--config"]).arg(&file);
            command.args(check_only.then_some("--check-config"));
            let Ended { status, output, .. } =
                Process::start("agent", command).end_with_output(Duration::from_secs(10));
            assert_eq!(status.code(), Some(2), "{output}");
            for word in &words {
                assert!(output.contains(word), "{word:?} is missing: {output}");
            }
        }
    }
    std::fs::write(&file, good).expect("it can be written");
    let mut command = Command::new(&Binaries::get().vipfence);
    command.args(["agent", "--check-config", "--config"]).arg(&file);
    let Ended { status, output, .. } =
        Process::start("agent", command).end_with_output(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
}

//! What can be asked of a VIP, and what becomes of it.

use std::time::Duration;

use integration_tests::v1::{
    CreateVipRequest, DisableVipRequest, Move, MoveOutcome, MoveVipRequest, Phase, ReleasePolicy,
    VipAddress, VipSpec,
};
use integration_tests::{Api, Dev, Ended, Refusal, Turn, VIP, wait_until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(15);

fn move_to(target: &str, request_id: &str) -> MoveVipRequest {
    MoveVipRequest {
        vip: VIP.into(),
        target_node: target.into(),
        request_id: request_id.into(),
        ..Default::default()
    }
}

/// The move, when it has ended.
fn ended(api: &Api, id: &str) -> Move {
    wait_until("the move has ended", LIMIT, || {
        let known = api.find_move(id).map_err(|error| error.to_string())?;
        if known.ended.is_some() { Ok(known) } else { Err(format!("{known:?}")) }
    })
}

fn phases(known: &Move) -> Vec<Phase> {
    known.phase_history.iter().map(|span| span.phase()).collect()
}

fn attached(dev: &Dev, address: &str) -> Option<String> {
    let nic = dev.simulator().attachments().remove(address)?;
    let nodes = dev.manifest().nodes;
    nodes.into_iter().find(|node| node.nic_id.eq_ignore_ascii_case(&nic)).map(|node| node.name)
}

/// Defines one more VIP and waits until it is held.
fn create(dev: &Dev, name: &str, address: &str, release: ReleasePolicy) -> Vip {
    let address = VipAddress { address: address.into(), ..Default::default() };
    let spec = VipSpec { addresses: vec![address], release: release.into(), ..Default::default() };
    let request = CreateVipRequest { name: name.into(), spec: Some(spec), ..Default::default() };
    let made = dev.any_api().create_vip(request).expect("it is defined");
    let first = made.current_move.expect("the move that places it");
    assert_eq!(ended(&dev.any_api(), &first.id).outcome(), MoveOutcome::Done);
    Vip::of(dev, name)
}

/// A VIP as it is.
struct Vip {
    holder: String,
    epoch: u64,
}

impl Vip {
    fn of(dev: &Dev, name: &str) -> Self {
        let vip = dev.any_api().vip(name).expect("it is there");
        Self { holder: vip.holder, epoch: vip.epoch }
    }
}

fn answers(dev: &Dev, node: &str, vip: &str) -> u16 {
    let url = format!("{}/{vip}", dev.node(node).responder);
    integration_tests::get(&url).expect("the responder answers").status
}

fn delete(dev: &Dev, name: &str) {
    let answer = dev.cli().run(["vip", "delete", name, "--timeout", "20s"]);
    assert_eq!(answer.exit, 0, "{}", answer.output);
}

#[test]
fn the_same_request_gives_the_same_move_at_every_node() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = dev.vip();
    let target = dev.names_but(&[&before.holder]).remove(0);
    let id = format!("same-{}", before.epoch);
    let first = dev.any_api().move_vip(move_to(&target, &id)).expect("it is taken");
    assert_eq!(first.request_id, id);
    assert_eq!((&first.from_node, &first.to_node), (&before.holder, &target));
    for node in dev.names() {
        let again = dev.api(&node).move_vip(move_to(&target, &id)).expect("it is taken again");
        assert_eq!(again.id, first.id);
    }
    let known = ended(&dev.any_api(), &first.id);
    assert_eq!(known.outcome(), MoveOutcome::Done);
    // Also when it is over.
    let again = dev.any_api().move_vip(move_to(&target, &id)).expect("it is taken again");
    assert_eq!(again.outcome(), MoveOutcome::Done);
    assert_eq!(again.id, first.id);
    let after = dev.vip();
    assert_eq!((&after.holder, after.epoch), (&target, known.epoch));
    assert!(after.epoch > before.epoch);
    assert_eq!(attached(dev, "10.5.0.110"), Some(target));
}

#[test]
fn a_plan_says_what_would_be_written_and_changes_nothing() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = dev.vip();
    let journal = dev.simulator().last_entry();
    let target = dev.names_but(&[&before.holder]).remove(0);
    let request = MoveVipRequest { dry_run: true, ..move_to(&target, "") };
    let planned = dev.any_api().move_vip(request).expect("a plan");
    assert_eq!((planned.outcome(), planned.id.as_str()), (MoveOutcome::Planned, ""));
    let plan = planned.plan.expect("a plan");
    let phases: Vec<Phase> = plan.phases.iter().map(|phase| (*phase).try_into().unwrap()).collect();
    assert!(phases.contains(&Phase::Detaching) && phases.contains(&Phase::Attaching), "{phases:?}");
    let nics: Vec<&str> = plan.writes.iter().map(|write| write.nic.as_str()).collect();
    assert_eq!(nics, [dev.node(&before.holder).nic_id, dev.node(&target).nic_id]);
    for (write, operation) in plan.writes.iter().zip(["remove", "add"]) {
        let patch: Value = serde_json::from_str(&write.json_patch).expect("a JSON patch");
        let operations = patch.as_array().expect("a list of operations");
        assert!(
            operations.iter().any(|step| step["op"] == json!(operation)
                && step["path"].as_str().is_some_and(|path| path.contains("ipConfigurations"))),
            "{patch}"
        );
    }
    let answer = dev.cli().run(["move", VIP, "--to", &target, "--dry-run"]);
    assert_eq!(answer.exit, 0, "{}", answer.output);
    assert!(answer.output.contains("nothing has been done"), "{}", answer.output);
    let after = dev.vip();
    assert_eq!(after, before);
    assert_eq!(dev.simulator().writes_after(journal), []);
}

#[test]
fn a_move_to_the_holder_needs_nothing() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = dev.vip();
    let journal = dev.simulator().last_entry();
    let known = dev.any_api().move_vip(move_to(&before.holder, "")).expect("success");
    assert_eq!((known.outcome(), known.epoch), (MoveOutcome::AlreadyHeld, before.epoch));
    let answer = dev.cli().run(["move", VIP, "--to", &before.holder]);
    assert_eq!(answer.exit, 0, "{}", answer.output);
    assert!(answer.output.contains("already"), "{}", answer.output);
    let after = dev.vip();
    assert_eq!((after.holder, after.epoch), (before.holder, before.epoch));
    assert_eq!(dev.simulator().writes_after(journal), []);
}

#[test]
fn without_a_target_another_node_is_chosen() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = dev.vip();
    let answer = dev.cli().run(["move", VIP, "--timeout", "20s"]);
    assert_eq!(answer.exit, 0, "{}", answer.output);
    let after = dev.vip();
    assert_ne!(after.holder, before.holder);
    assert!(after.epoch > before.epoch);
}

#[test]
fn a_later_move_supersedes_the_one_under_way() {
    let turn = Turn::shared();
    let dev = turn.dev();
    // Long enough to come between.
    dev.simulator().command(&json!({"command": "set_operation_ms", "ms": 1_000}));
    let before = dev.vip();
    let others = dev.names_but(&[&before.holder]);
    let api = dev.any_api();
    let first = api.move_vip(move_to(&others[0], "first")).expect("it is taken");
    let waiting = dev.cli().start(["move", VIP, "--to", &others[0], "--request-id", "first"]);
    wait_until("the first has begun to detach", LIMIT, || {
        let known = api.find_move(&first.id).map_err(|error| error.to_string())?;
        if phases(&known).contains(&Phase::Detaching) { Ok(()) } else { Err(format!("{known:?}")) }
    });
    let second = api.move_vip(move_to(&others[1], "")).expect("it is taken");
    assert_ne!(second.id, first.id);
    let first = ended(&api, &first.id);
    assert_eq!((first.outcome(), &first.superseded_by), (MoveOutcome::Superseded, &second.id));
    // Who waits for the first one is told.
    let Ended { status, output, .. } = waiting.end_with_output(LIMIT);
    assert_eq!(status.code(), Some(1), "{output}");
    let words = format!("{} was superseded by {}", first.id, second.id);
    assert!(output.contains(&words), "{output}");
    let second = ended(&api, &second.id);
    assert_eq!((second.outcome(), &second.to_node), (MoveOutcome::Done, &others[1]));
    dev.simulator().command(&json!({"command": "set_operation_ms", "ms": 200}));
    dev.settled();
    let after = dev.vip();
    assert_eq!((&after.holder, after.epoch), (&others[1], second.epoch));
    assert_eq!(attached(dev, "10.5.0.110").as_ref(), Some(&others[1]));
}

#[test]
fn a_move_outlives_the_patience_of_its_caller() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let target = dev.names_but(&[&dev.holder()]).remove(0);
    let patience = ["--timeout", "50ms"];
    let answer = dev.cli().run(["move", VIP, "--to", &target].iter().chain(&patience));
    assert_eq!(answer.exit, 5, "{}", answer.output);
    let known = dev.any_api().moves(VIP).expect("the moves").remove(0);
    assert!(answer.output.contains(&format!("{} goes on", known.id)), "{}", answer.output);
    assert_eq!(ended(&dev.any_api(), &known.id).outcome(), MoveOutcome::Done);
    assert_eq!(dev.holder(), target);
}

#[test]
fn a_disabled_vip_is_detached_and_dropped_and_an_enabled_one_is_held_again() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = create(dev, "web", "10.5.0.120", ReleasePolicy::Late);
    assert_eq!(answers(dev, &before.holder, "web"), 200);
    assert_eq!(attached(dev, "10.5.0.120").as_ref(), Some(&before.holder));

    let request = DisableVipRequest { name: "web".into(), ..Default::default() };
    let known = dev.any_api().disable_vip(request).expect("it is taken");
    let known = ended(&dev.any_api(), &known.id);
    assert_eq!((known.outcome(), known.phase()), (MoveOutcome::Done, Phase::Detached));
    for node in dev.names() {
        assert_eq!(answers(dev, &node, "web"), 503, "{node}");
    }
    assert_eq!(attached(dev, "10.5.0.120"), None);
    let vip = dev.any_api().vip("web").expect("it is still defined");
    assert_eq!((vip.enabled, vip.holder.as_str(), vip.phase()), (false, "", Phase::Detached));

    let answer = dev.cli().run(["vip", "enable", "web", "--timeout", "20s"]);
    assert_eq!(answer.exit, 0, "{}", answer.output);
    let after = Vip::of(dev, "web");
    assert!(after.epoch > before.epoch, "{} is not above {}", after.epoch, before.epoch);
    assert_eq!(answers(dev, &after.holder, "web"), 200);
    delete(dev, "web");
}

#[test]
fn a_deleted_vip_leaves_a_free_address_and_no_epoch_twice() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = create(dev, "web", "10.5.0.121", ReleasePolicy::Late);
    delete(dev, "web");
    let gone = Refusal::from(dev.any_api().vip("web").expect_err("it is gone"));
    assert_eq!(gone.reason, "VIP_NOT_FOUND");
    assert_eq!(attached(dev, "10.5.0.121"), None);
    let state = dev.simulator().state();
    assert!(!state["nics"].to_string().contains("10.5.0.121"), "no NIC has the address any more");
    assert_eq!(answers(dev, &before.holder, "web"), 503);

    // Under another name too: the epoch belongs to the address.
    let after = create(dev, "web-again", "10.5.0.121", ReleasePolicy::Late);
    assert!(after.epoch > before.epoch, "{} is not above {}", after.epoch, before.epoch);
    delete(dev, "web-again");
}

#[test]
fn an_early_release_comes_before_the_detach() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let before = create(dev, "early", "10.5.0.122", ReleasePolicy::Early);
    let target = dev.names_but(&[&before.holder]).remove(0);
    let request = MoveVipRequest { vip: "early".into(), ..move_to(&target, "") };
    let known = dev.any_api().move_vip(request).expect("it is taken");
    let known = ended(&dev.any_api(), &known.id);
    assert_eq!(known.outcome(), MoveOutcome::Done);
    let phases = phases(&known);
    let at = |phase| phases.iter().position(|known| *known == phase);
    assert!(at(Phase::Releasing).is_some(), "{phases:?}");
    assert!(at(Phase::Releasing) < at(Phase::Detaching), "{phases:?}");
    // What counts is the order of events: the grant was over before Azure was asked.
    let events = dev.any_api().events().expect("the events");
    let mut since = events
        .iter()
        .filter(|event| event.vip == "early")
        .skip_while(|event| event.kind != "MOVE_STARTED" || !event.message.contains(&known.id));
    let kinds: Vec<&str> = since.by_ref().map(|event| event.kind.as_str()).collect();
    let at = |kind| kinds.iter().position(|known| *known == kind);
    assert!(at("GRANT_OVER").is_some() && at("GRANT_OVER") < at("DETACHING"), "{kinds:?}");
    delete(dev, "early");
}

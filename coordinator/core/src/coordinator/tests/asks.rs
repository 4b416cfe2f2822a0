//! What callers, heartbeats and rounds are answered; what a leader does first and last.

use std::sync::Arc;

use vipfence_types::{Clocks, NodeId, Profile, Refusal, Role, Term, Timing, VipSpec};

use super::{
    arm::{Fault, Rule},
    bench::{Bench, Old, address, demo, node, secs},
};
use crate::{
    ask::{Ask, AskError, Reply},
    coordinator::{AskId, BeatId, Confirmed, Coordinator, Effect, Input, Pace, RoundId, Setup},
    registry::{
        Applied, Body, Command, Expect, Founder, Intent, Outcome, Phase, Refused, Registry,
        Request, Scope,
    },
};

/// A machine that leads term 1, with its `Lead` applied or not.
fn machine(in_office: bool) -> Coordinator {
    let name = |name: &str| NodeId::new(name).expect("a name");
    let founder =
        |node: &str| Founder { node: name(node), role: Role::Member, address: String::new() };
    let setup = Setup {
        node: name("a"),
        cluster: "demo".to_owned().try_into().expect("a name"),
        timing: Timing::of(Profile::Fast),
        founders: vec![founder("a"), founder("b"), founder("c")],
        api_version: "1".into(),
        trust_if_match: true,
        epoch_tag: true,
    };
    let mut state = Registry::default();
    let mut apply = |body| {
        let applied = state.apply(Term(1), &Command { format: 1, at_ms: 0, by: name("a"), body });
        assert_eq!(applied, Applied::Done);
    };
    apply(Body::Found {
        cluster: setup.cluster.clone(),
        timing: setup.timing,
        nodes: setup.founders.clone(),
    });
    if in_office {
        apply(Body::Lead);
    }
    let mut machine = Coordinator::new(setup, at(0));
    let effects = machine.step(at(0), Input::Applied { index: 7, state: Arc::new(state) });
    assert_eq!(effects, []);
    let leading = Input::Leadership { term: Term(1), leader: Some(name("a")), leading: true };
    let effects = machine.step(at(1), leading);
    assert_eq!(effects.is_empty(), in_office, "{effects:?}");
    machine
}

fn at(seconds: u64) -> Clocks {
    Clocks::all_at(secs(seconds))
}

fn beat(id: u64, from: &str) -> Input {
    let heartbeat = vipfence_types::Heartbeat {
        cluster: "demo".to_owned().try_into().expect("a name"),
        node: node(from),
        boot: "1".into(),
        replaces: vec![],
        seq: id,
        held: vec![],
        released: vec![],
        cut: vec![],
        refused: vec![],
        highest_epoch: vipfence_types::Epoch(0),
        nics: vec![vipfence_types::NicRecord {
            name: "eth0".into(),
            id: super::bench::nic_of(from),
        }],
        health: vipfence_types::NodeHealth::default(),
        failing: vec![],
        reached: vec![],
        version: String::new(),
    };
    Input::Beat { id: BeatId(id), heartbeat }
}

fn round_of(effects: &[Effect]) -> Option<RoundId> {
    effects.iter().find_map(|effect| match effect {
        Effect::Round { id, .. } => Some(*id),
        _ => None,
    })
}

fn answered(effects: &[Effect]) -> Vec<(u64, bool)> {
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Answer { id, answer } => Some((id.0, answer.is_ok())),
        _ => None,
    });
    answers.collect()
}

#[test]
fn heartbeats_share_a_round_that_began_after_the_last_of_them() {
    let mut machine = machine(true);
    let first = round_of(&machine.step(at(2), beat(1, "a"))).expect("a round");
    assert_eq!(machine.step(at(2), beat(2, "b")), []);
    assert_eq!(machine.step(at(2), beat(3, "c")), []);
    let good = Some(Confirmed { term: Term(1), read_index: 7 });
    let effects = machine.step(at(2), Input::Round { id: first, result: good });
    assert_eq!(answered(&effects), [(1, true)]);
    let second = round_of(&effects).expect("another round");
    let effects = machine.step(at(2), Input::Round { id: second, result: good });
    assert_eq!(answered(&effects), [(2, true), (3, true)]);
}

#[test]
fn an_answer_waits_for_state_up_to_the_read_index_and_for_the_same_term() {
    let mut machine = machine(true);
    let id = round_of(&machine.step(at(2), beat(1, "b"))).expect("a round");
    let ahead = Some(Confirmed { term: Term(1), read_index: 8 });
    assert_eq!(machine.step(at(2), Input::Round { id, result: ahead }), []);
    let state = Arc::clone(machine.state());
    let effects = machine.step(at(2), Input::Applied { index: 8, state });
    assert_eq!(answered(&effects), [(1, true)]);
    // Deposed and elected again while the round was under way.
    let id = round_of(&machine.step(at(3), beat(2, "b"))).expect("a round");
    let other = Some(Confirmed { term: Term(2), read_index: 8 });
    let effects = machine.step(at(3), Input::Round { id, result: other });
    assert_eq!(answered(&effects), [(2, false)]);
}

#[test]
fn a_heartbeat_that_was_not_confirmed_changes_nothing() {
    let mut machine = machine(true);
    let id = round_of(&machine.step(at(2), beat(1, "b"))).expect("a round");
    let effects = machine.step(at(2), Input::Round { id, result: None });
    let answer = Err(Refusal::NoQuorum);
    assert_eq!(effects, [Effect::Answer { id: BeatId(1), answer }]);
}

fn pace_of(effects: &[Effect]) -> Option<(RoundId, Pace)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Round { id, pace } => Some((*id, *pace)),
        _ => None,
    })
}

/// Without NICs, which would be new to the state.
fn plain_beat(seq: u64, stopping: bool) -> Input {
    let Input::Beat { id, mut heartbeat } = beat(seq, "b") else { unreachable!("a heartbeat") };
    heartbeat.nics.clear();
    heartbeat.health.stopping = stopping;
    Input::Beat { id, heartbeat }
}

#[test]
fn a_node_that_says_what_it_said_before_and_was_answered_has_time() {
    let mut machine = machine(true);
    let good = Some(Confirmed { term: Term(1), read_index: 7 });
    // The first of this term, then the next.
    let (id, pace) = pace_of(&machine.step(at(2), plain_beat(1, false))).expect("a round");
    assert_eq!(pace, Pace::AtOnce);
    machine.step(at(2), Input::Round { id, result: good });
    let (id, pace) = pace_of(&machine.step(at(3), plain_beat(2, false))).expect("a round");
    assert_eq!(pace, Pace::WithHeartbeat);
    // Not confirmed: the lease runs, and the next is in a hurry.
    machine.step(at(3), Input::Round { id, result: None });
    let (id, pace) = pace_of(&machine.step(at(4), plain_beat(3, false))).expect("a round");
    assert_eq!(pace, Pace::AtOnce);
    machine.step(at(4), Input::Round { id, result: good });
    // Something new.
    assert_eq!(
        pace_of(&machine.step(at(5), plain_beat(4, true))).map(|(_, pace)| pace),
        Some(Pace::AtOnce)
    );
}

#[test]
fn a_heartbeat_that_has_time_has_none_once_there_is_something_to_do() {
    let mut machine = machine(true);
    let good = Some(Confirmed { term: Term(1), read_index: 7 });
    let (id, _) = pace_of(&machine.step(at(2), plain_beat(1, false))).expect("a round");
    machine.step(at(2), Input::Round { id, result: good });
    let (slow, pace) = pace_of(&machine.step(at(3), plain_beat(2, false))).expect("a round");
    assert_eq!(pace, Pace::WithHeartbeat);
    assert_eq!(pace_of(&machine.step(at(3), Input::Tick)), None, "at rest");
    let (scope, by) = (Scope::Cluster, "me".to_owned());
    let ask = Ask::Pause { scope, lasts: None, reason: String::new(), by };
    let asked = Input::Asked { id: AskId(1), ask };
    let (quick, pace) = pace_of(&machine.step(at(3), asked)).expect("a round");
    assert_eq!(pace, Pace::AtOnce);
    let answered = |effects: &[Effect]| {
        effects.iter().any(|effect| matches!(effect, Effect::Answer { id: BeatId(2), .. }))
    };
    assert!(!answered(&machine.step(at(3), Input::Round { id: slow, result: good })));
    assert!(answered(&machine.step(at(3), Input::Round { id: quick, result: good })));
}

#[test]
fn a_leader_commits_lead_first_and_proposes_nothing_else_before() {
    let mut machine = machine(false);
    let id = round_of(&machine.step(at(2), beat(1, "b"))).expect("a round");
    let good = Some(Confirmed { term: Term(1), read_index: 7 });
    let effects = machine.step(at(2), Input::Round { id, result: good });
    let proposed = effects.iter().any(|effect| matches!(effect, Effect::Propose { .. }));
    assert!(!proposed, "{effects:?}");
    let effects = machine.step(at(2), Input::Asked { id: AskId(1), ask: move_ask(None, false) });
    assert_eq!(effects, [Effect::Reply { id: AskId(1), reply: Err(AskError::NotReady) }]);
}

#[test]
fn every_new_leader_of_a_move_proposes_lead_before_anything_else() {
    let mut bench = Bench::held_by_a();
    bench.move_to("b");
    bench.run(secs(1));
    bench.replace_leader(Old::Crashes, &node("c"));
    bench.proposals.clear();
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    assert_eq!(bench.proposals.first().map(|c| c.body.clone()), Some(Body::Lead));
    let leads = bench.proposals.iter().filter(|c| c.body == Body::Lead).count();
    assert_eq!(leads, 1);
}

#[test]
fn a_leader_that_is_deposed_answers_everything_that_waits() {
    let mut machine = machine(true);
    machine.step(at(2), beat(1, "b"));
    machine.step(at(2), beat(2, "c"));
    let gone = Input::Leadership { term: Term(2), leader: Some(node("b")), leading: false };
    let effects = machine.step(at(3), gone);
    let answer = Err(Refusal::NotLeader { leader: Some(node("b")) });
    let expected = [2, 1].map(|id| Effect::Answer { id: BeatId(id), answer: answer.clone() });
    assert_eq!(effects, expected);
    assert_eq!(machine.wake_in(at(3)), None, "a follower has nothing to do");
}

fn move_ask(to: Option<&str>, dry_run: bool) -> Ask {
    let (vip, to) = (demo(), to.map(node));
    let (expect, request) = (Expect::default(), Request::default());
    Ask::MoveVip { vip, to, expect, dry_run, force: false, request }
}

#[test]
fn a_survey_that_waits_is_answered_when_leadership_is_lost() {
    let mut bench = Bench::new();
    let id = bench.create(VipSpec::host(address()), None);
    let leader = bench.leader();
    let gone = Input::Leadership { term: Term(2), leader: Some(node("b")), leading: false };
    bench.step(leader, gone);
    let expected = Err(AskError::NotLeader { leader: Some(node("b")) });
    assert_eq!(bench.reply(id), expected);
}

#[test]
fn a_dry_run_says_what_would_be_written_and_changes_nothing() {
    let mut bench = Bench::held_by_a();
    let before = bench.log.clone();
    let id = bench.ask(move_ask(Some("b"), true));
    let Ok(Reply::Plan(plan)) = bench.reply(id) else { panic!("no plan") };
    assert_eq!((plan.from_node, plan.to_node), (Some(node("a")), node("b")));
    assert_eq!(plan.phases.last(), Some(&Phase::Held));
    let nics: Vec<&str> = plan.writes.iter().map(|write| write.nic.name()).collect();
    assert_eq!(nics, ["a-nic", "b-nic"]);
    assert!(plan.writes.iter().all(|write| write.patch.as_array().is_some_and(|p| p.len() == 1)));
    bench.run(secs(5));
    assert_eq!(bench.log, before);
    assert_eq!((bench.arm.writes.len(), bench.proposals.len()), (0, 0));
}

#[test]
fn a_move_to_the_holder_is_answered_without_doing_anything() {
    let mut bench = Bench::held_by_a();
    let id = bench.move_to("a");
    let Ok(Reply::Applied { applied: Applied::Move(id), .. }) = bench.reply(id) else {
        panic!("no move")
    };
    let known = bench.log.find_move(id).and_then(|known| known.outcome);
    assert_eq!(known, Some(Outcome::AlreadyHeld));
    bench.run(secs(5));
    assert!(bench.is_held_by("a") && bench.arm.writes.is_empty());
}

#[test]
fn a_target_that_cannot_take_it_is_refused_with_the_reason() {
    let mut bench = Bench::held_by_a();
    bench.agent("b").connected = false;
    bench.run(secs(5));
    for (to, told) in [("b", "silent"), ("w", "witness")] {
        let id = bench.move_to(to);
        let error = bench.reply(id).expect_err("not eligible");
        assert!(error.to_string().contains(told), "{error}");
    }
    let id = bench.move_to("x");
    assert_eq!(bench.reply(id), Err(AskError::Refused(Refused::NodeNotFound(node("x")))));
    // Without a name: the best other candidate that is well.
    bench.move_with(None, false);
    assert!(bench.run_until(secs(20), |b| b.is_held_by("c")), "{}", bench.story());
}

/// The reply to a definition of a VIP, after something was done to the bench.
fn create(prepare: impl Fn(&mut Bench), last: u8) -> Result<Reply, AskError> {
    let mut bench = Bench::new();
    prepare(&mut bench);
    let spec = VipSpec::host([10, 5, 0, last].into());
    let id = bench.create(spec, None);
    let reply = bench.reply(id);
    assert_eq!(bench.log.vip(&demo()).is_some(), reply.is_ok(), "{reply:?}");
    reply
}

#[test]
fn an_address_that_cannot_be_used_is_refused_before_anything_is_defined() {
    assert!(create(|_| {}, 110).is_ok());
    let outside = create(|bench| bench.arm.prefix = "10.9.0.0/24", 110);
    assert!(matches!(outside, Err(AskError::InvalidAddress { .. })), "{outside:?}");
    let reserved = create(|_| {}, 3);
    assert!(matches!(reserved, Err(AskError::InvalidAddress { .. })), "{reserved:?}");
    let primary = create(|_| {}, 5);
    assert!(matches!(primary, Err(AskError::AddressElsewhere { .. })), "{primary:?}");
    let stranger = create(
        |bench| {
            bench.arm.add_nic("stranger-nic", [10, 5, 0, 50].into());
            bench.arm.outsider_attaches("stranger-nic", address(), "theirs");
        },
        110,
    );
    let Err(AskError::AddressElsewhere { holder, .. }) = stranger else { panic!("{stranger:?}") };
    assert!(holder.contains("stranger-nic"), "{holder}");
    let ours = create(|b| b.arm.outsider_attaches("c-nic", address(), "old-script"), 110);
    assert!(ours.is_ok(), "{ours:?}");
}

#[test]
fn a_survey_that_azure_does_not_answer_is_told_as_such() {
    for fault in [Fault::Answer(500, "InternalServerError"), Fault::Lost] {
        let down = |bench: &mut Bench| {
            let fault = fault.clone();
            bench.arm.rules.push(Rule { nic: "", method: None, fault, left: usize::MAX });
        };
        let reply = create(down, 110);
        assert!(matches!(reply, Err(AskError::AzureUnreachable { .. })), "{reply:?}");
    }
}

#[test]
fn without_a_nic_of_any_candidate_there_is_no_survey() {
    let mut machine = machine(true);
    let ask = Ask::CreateVip {
        vip: demo(),
        spec: VipSpec::host(address()),
        enabled: true,
        to: None,
        request: Request::default(),
    };
    let effects = machine.step(at(2), Input::Asked { id: AskId(1), ask });
    assert_eq!(effects, [Effect::Reply { id: AskId(1), reply: Err(AskError::NoNics) }]);
}

fn move_with_id(content: &str) -> Ask {
    let (vip, to, expect) = (demo(), Some(node("b")), Expect::default());
    let id = Some("r1".into());
    let request = Request { id, content: content.into(), caller: String::new() };
    Ask::MoveVip { vip, to, expect, dry_run: false, force: false, request }
}

#[test]
fn a_repeated_move_is_answered_also_when_the_vip_is_gone() {
    let mut bench = Bench::held_by_a();
    let id = bench.ask(move_with_id("to b"));
    let Ok(Reply::Applied { applied, .. }) = bench.reply(id) else { panic!("no move") };
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    bench.intend(Intent::Deleted);
    assert!(bench.run_until(secs(20), |b| b.log.vip(&demo()).is_none()), "{}", bench.story());
    let id = bench.ask(move_with_id("to b"));
    let Ok(Reply::Applied { applied: again, .. }) = bench.reply(id) else { panic!("no move") };
    assert_eq!(again, applied);
    let id = bench.ask(move_with_id("to c"));
    assert_eq!(bench.reply(id), Err(AskError::Refused(Refused::RequestIdReused("r1".into()))));
    let id = bench.ask(move_ask(Some("b"), false));
    assert_eq!(bench.reply(id), Err(AskError::Refused(Refused::VipNotFound(demo()))));
}

#[test]
fn a_dry_run_of_a_move_to_the_holder_writes_nothing() {
    let mut bench = Bench::held_by_a();
    let id = bench.ask(move_ask(Some("a"), true));
    let Ok(Reply::Plan(plan)) = bench.reply(id) else { panic!("no plan") };
    assert_eq!((plan.phases, plan.writes), (vec![Phase::Held], vec![]));
}

#[test]
fn a_dry_run_says_how_long_it_will_take_and_how_that_is_known() {
    let mut bench = Bench::held_by_a();
    let plan = |bench: &mut Bench, to| {
        let id = bench.ask(move_ask(Some(to), true));
        let Ok(Reply::Plan(plan)) = bench.reply(id) else { panic!("no plan") };
        plan
    };
    let first = plan(&mut bench, "b").expected;
    assert!(first.basis.starts_with("no history: 2 Azure operations of "), "{first:?}");
    assert!(first.basis.ends_with(", as the last one took here"), "{first:?}");
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    bench.run(secs(5));
    let second = plan(&mut bench, "a").expected;
    assert_eq!((second.moves, second.basis.as_str()), (1, "the last switchover of demo"));
    bench.agent("b").connected = false;
    bench.run(secs(2));
    let third = plan(&mut bench, "a");
    assert!(third.phases.contains(&Phase::Expiring), "{third:?}");
    assert!(third.expected.basis.starts_with("no history: failover_after (3.0 s) and "));
}

#[test]
fn a_dry_run_is_refused_where_the_move_would_be() {
    for (intent, expected) in [
        (Intent::Disabled, Refused::VipDisabled(demo())),
        (Intent::Deleted, Refused::VipDeleting(demo())),
    ] {
        let mut bench = Bench::held_by_a();
        bench.intend(intent);
        assert!(bench.run_until(secs(20), |b| b.vip().intent == intent));
        for dry_run in [true, false] {
            let id = bench.ask(move_ask(Some("b"), dry_run));
            assert_eq!(bench.reply(id), Err(AskError::Refused(expected.clone())));
        }
    }
}

#[test]
fn a_dry_run_is_no_repetition_of_the_move_whose_request_id_it_bears() {
    let mut bench = Bench::held_by_a();
    let id = bench.ask(move_with_id("to b"));
    assert!(bench.reply(id).is_ok());
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    let Ask::MoveVip { vip, expect, force, request, .. } = move_with_id("to c, dry") else {
        panic!("another ask");
    };
    let to = Some(node("c"));
    let id = bench.ask(Ask::MoveVip { vip, to, expect, dry_run: true, force, request });
    assert!(matches!(bench.reply(id), Ok(Reply::Plan(_))));
}

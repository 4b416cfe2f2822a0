//! Log entries and snapshots as another version, a bug or a bad disk might leave them: read or
//! refused, and applied without a panic.

use foreign_bytes::{cases, json_bytes, mutated};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::registry::{AzureOperation, Note, OperationKind};

fn command(body: Body) -> Command {
    Command { format: COMMAND_FORMAT, at_ms: 1, by: node("a"), body }
}

fn operation() -> Note {
    Note::Operation(AzureOperation {
        nic: nic("a"),
        kind: OperationKind::Attach,
        url: "https://arm/1".into(),
        status: "Succeeded".into(),
        started_ms: 1,
        ended_ms: Some(2),
    })
}

/// One command of each kind, all about VIP "v" and made for `phase`.
fn every_body(phase: Revision) -> Vec<Body> {
    let name = vip("v");
    let found = BTreeMap::from([(ip(110), json!({"publicIPAddress": {"id": "/pip"}, "x": 0.1}))]);
    let steps = [
        Step::Target { node: node("b") },
        Step::BeginDetach { from: places(&["a"]), found: found.clone(), cleared: nics(&["b"]) },
        Step::BeginAttach { node: node("b"), to: places(&["b"]), found },
        Step::Attached,
        Step::Detached,
        Step::Release { epoch: Epoch(1) },
        Step::Expire { epoch: Epoch(1) },
        Step::Over { epoch: Epoch(1), confirmed: true },
        Step::Grant { node: node("b"), floor: Epoch(7) },
        Step::Held { epoch: Epoch(1), cleared: nics(&["a"]) },
        Step::Ended { cleared: nics(&["a", "b"]) },
    ];
    let founder = Founder { node: node("a"), role: Role::Member, address: "a:1".into() };
    let cluster = ClusterName::new("c").expect("a name");
    let timing = Timing::of(Profile::Fast);
    let (spec, request) = (VipSpec::host(ip(111)), by("r1", "x"));
    let nic0 = NicRecord { name: "nic0".into(), id: nic("a") };
    let expect = Expect { holder: Some(node("a")), epoch: Some(Epoch(1)), phase: Some(phase) };
    let blocked = Note::Blocked { reason: "why".into(), next_attempt_ms: Some(5) };
    let mut bodies = vec![
        Body::Found { cluster, timing, nodes: vec![founder] },
        Body::Lead,
        Body::ReportNics { node: node("a"), nics: vec![nic0] },
        Body::CreateVip {
            vip: vip("w2"),
            spec: spec.clone(),
            enabled: true,
            to: Some(node("a")),
            request: request.clone(),
        },
        Body::UpdateVip {
            vip: name.clone(),
            spec: VipSpec::host(ip(110)),
            request: request.clone(),
        },
        Body::SetIntent {
            vip: name.clone(),
            intent: Intent::Deleted,
            to: None,
            request: request.clone(),
        },
        Body::SetIntent {
            vip: name.clone(),
            intent: Intent::Held,
            to: Some(node("b")),
            request: request.clone(),
        },
        Body::StartMove {
            vip: name.clone(),
            to: Some(node("b")),
            cause: Cause::Request,
            expect,
            force: false,
            request,
        },
        Body::Note { vip: name.clone(), id: MoveId(1), note: operation() },
        Body::Note { vip: name.clone(), id: MoveId(1), note: blocked },
        Body::SetTiming { timing },
        Body::LowerLease { vip: name.clone(), epoch: Epoch(1), timing: Revision(2) },
        Body::Unknown(json!({"SplitBrain": {"on": true}})),
    ];
    bodies.extend(hands(&name, phase));
    bodies.extend(steps.map(|step| Body::Step { vip: name.clone(), phase, step }));
    bodies
}

/// Commands that restrain the leader, or let it go on.
fn hands(vip: &VipName, phase: Revision) -> Vec<Body> {
    let (reason, by) = ("patching".to_owned(), "me".to_owned());
    let scope = Scope::Vip(vip.clone());
    let pending = Pending {
        cause: Cause::HolderUnhealthy,
        what: "it fails".into(),
        since_ms: 1,
        until_ms: 9,
        answer: Some(Word { go: false, by: by.clone() }),
    };
    let why = WithheldWhy::NoCandidate;
    let withheld = Withheld { why, what: "it fails".into(), since_ms: 1, told_ms: 2 };
    vec![
        Body::Pause { scope: Scope::Cluster, until_ms: Some(9), reason, by: by.clone() },
        Body::Resume { scope: Scope::Node(node("a")), over: None, by: by.clone() },
        Body::Resume { scope, over: Some(1), by: by.clone() },
        Body::Restrain {
            vip: vip.clone(),
            phase,
            pending: Some(pending),
            withheld: Some(withheld),
        },
        Body::Confirm { vip: vip.clone(), go: true, by },
    ]
}

fn stored(body: Body) -> Value {
    serde_json::to_value(command(body)).expect("plain")
}

/// States that differ: nothing, founded, held, on the way.
fn states() -> Vec<Registry> {
    let mut moving = Bench::held();
    assert!(matches!(moving.start(Some("b"), by("m", "m")), Applied::Move(_)));
    let mut detaching = moving.clone();
    detaching.walk(&[begin_detach(&["a"], &[]), Step::Release { epoch: Epoch(1) }]);
    vec![Registry::default(), Bench::new().0, Bench::held().0, moving.0, detaching.0]
}

fn unchanged(before: &Registry, after: &Registry) -> bool {
    *before == Registry { revision: before.revision, ..after.clone() }
}

/// What the log and snapshots do to a state.
fn through_a_snapshot(state: &Registry) -> Option<Registry> {
    let text = serde_json::to_string(state).expect("a state is plain");
    serde_json::from_str(&text).ok()
}

#[test]
fn a_command_of_a_later_version_is_passed_on_as_it_came() {
    let later = json!({"format": 1, "at_ms": 1, "by": "a", "body": {"SplitBrain": {"on": true}}});
    let read: Command = serde_json::from_value(later.clone()).expect("every body is read");
    assert_eq!(read.body, Body::Unknown(json!({"SplitBrain": {"on": true}})));
    assert_eq!(serde_json::to_value(&read).expect("plain"), later);
    assert_eq!(Bench::new().apply(read.body), Applied::Refused(Refused::UnknownCommand));
}

/// What this version has added to records, taken out of them again.
fn without_what_is_new(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| {
                !["restraint", "hold", "failback", "flap_budget", "failover"]
                    .contains(&key.as_str())
            });
            map.values_mut().for_each(without_what_is_new);
        }
        Value::Array(all) => all.iter_mut().for_each(without_what_is_new),
        _ => {}
    }
}

#[test]
fn a_state_from_before_there_were_pauses_and_budgets_reads_as_one_without() {
    let state = Bench::held().0;
    let mut older = serde_json::to_value(&state).expect("plain");
    without_what_is_new(&mut older);
    assert_ne!(serde_json::to_value(&state).expect("plain"), older);
    assert_eq!(serde_json::from_value::<Registry>(older).ok(), Some(state));
}

#[test]
fn a_state_at_its_last_event_number_goes_on() {
    let mut bench = Bench::new();
    bench.0.last_event = u64::MAX;
    assert!(matches!(bench.create("v", 110, None), Applied::Move(_)));
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn any_stored_command_is_applied_or_refused(
        at in 0..5_usize,
        bytes in prop::collection::vec(json_bytes(
            every_body(Revision(10)).into_iter().map(stored).collect()), 1..8),
    ) {
        let mut state = states()[at].clone();
        for bytes in bytes {
            let Ok(mut command) = serde_json::from_slice::<Command>(&bytes) else { continue };
            let text = serde_json::to_string(&command).expect("plain");
            let again = serde_json::from_str::<Command>(&text).ok();
            prop_assert_eq!(again.as_ref(), Some(&command), "it reads back");
            // Most steps are refused as decided on another phase: let them fit.
            if let Body::Step { vip, phase, .. } = &mut command.body {
                *phase = state.vip(vip).map_or(*phase, |record| record.phase);
            }
            let before = state.clone();
            let applied = state.apply(before.term.max(Term(1)), &command);
            if matches!(applied, Applied::Refused(_)) {
                prop_assert!(unchanged(&before, &state), "refused, and changed: {applied:?}");
            }
            if command.format > COMMAND_FORMAT || matches!(command.body, Body::Unknown(_)) {
                prop_assert!(matches!(applied, Applied::Refused(_)), "{applied:?}");
            }
            prop_assert!(state.epoch >= before.epoch, "I5");
        }
        prop_assert_eq!(through_a_snapshot(&state), Some(state));
    }

    #[test]
    fn any_stored_state_is_refused_or_goes_on(
        snapshot in mutated(states().iter().map(|state| serde_json::to_value(state).expect("plain")).collect()),
        order in Just(every_body(Revision(10))).prop_shuffle(),
    ) {
        let Ok(mut state) = serde_json::from_value::<Registry>(snapshot) else { return Ok(()) };
        for body in order {
            let mut command = command(body);
            if let Body::Step { vip, phase, .. } = &mut command.body {
                *phase = state.vip(vip).map_or(*phase, |record| record.phase);
            }
            let before = state.clone();
            let applied = state.apply(Term(9), &command);
            let refused = matches!(applied, Applied::Refused(_));
            prop_assert!(!refused || unchanged(&before, &state));
            for record in state.vips.values() {
                let _ = (record.shown_phase(), record.is_held(), state.open_move(&record.name));
                let _ = (state.candidates(&record.spec), record.config_name(ip(110)));
            }
        }
        prop_assert_eq!(through_a_snapshot(&state), Some(state));
    }
}

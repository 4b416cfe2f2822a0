//! Estimates from made-up histories.

use vipfence_types::{Epoch, MoveId, NicId, Profile, Revision, Timing, VipSpec};

use super::*;
use crate::registry::{
    AzureOperation, AzureTrack, Cause, GrantTrack, Granted, Intent, PhaseSpan, RECORD_FORMAT,
    VipLog,
};

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn name(vip: &str) -> VipName {
    VipName::new(vip).expect("a name")
}

/// Held by `a` under the timers of the fast profile.
fn record() -> VipRecord {
    VipRecord {
        format: RECORD_FORMAT,
        name: name("demo"),
        spec: VipSpec::host([10, 5, 0, 110].into()),
        intent: Intent::Held,
        revision: Revision(1),
        phase: Revision(1),
        azure_phase: Revision(1),
        grant: GrantTrack::Granted(Granted {
            node: node("a"),
            epoch: Epoch(1),
            lease_ttl_ms: 4_000,
        }),
        azure: AzureTrack::Detached,
        target: Some(node("a")),
        open: None,
        exposed: BTreeSet::new(),
        found: std::collections::BTreeMap::new(),
        held_since_ms: None,
        drift: None,
        reached: None,
        restraint: crate::registry::Restraint::default(),
    }
}

fn seen(state: NodeState, heard_ms: u64) -> NodeView {
    NodeView {
        state,
        last_heard: Some(Duration::from_millis(heard_ms)),
        version: String::new(),
        arm_ok: None,
        detail: String::new(),
        failing: std::collections::BTreeMap::new(),
    }
}

fn writes() -> Vec<PlannedWrite> {
    [OperationKind::Detach, OperationKind::Attach, OperationKind::Attach]
        .map(|kind| PlannedWrite { nic: NicId::new("n"), kind, patch: serde_json::Value::Null })
        .to_vec()
}

/// A move from `a` to `b` through this phase that ended at `end_ms` after `took_ms`.
fn past(phase: Phase, end_ms: u64, took_ms: u64) -> Move {
    let started_ms = end_ms - took_ms;
    Move {
        format: RECORD_FORMAT,
        id: MoveId(1),
        vip: name("demo"),
        epoch: Epoch(2),
        from_node: Some(node("a")),
        to_node: Some(node("b")),
        cause: Cause::Request,
        caller: String::new(),
        request_id: None,
        force: false,
        phases: vec![PhaseSpan { phase, started_ms, ended_ms: Some(end_ms) }],
        blocked_reason: String::new(),
        next_attempt_ms: None,
        operations: vec![],
        outcome: Some(Outcome::Done),
        started_ms,
        ended_ms: Some(end_ms),
        revision: Revision(2),
    }
}

fn state(vip: &str, moves: Vec<Move>) -> Registry {
    let log = VipLog { moves: moves.into_iter().map(Arc::new).collect(), ..VipLog::default() };
    Registry {
        timing: Timing::of(Profile::Fast),
        logs: [(name(vip), Arc::new(log))].into(),
        ..Registry::default()
    }
}

fn to_b(state: &Registry, holder: Option<&NodeView>) -> Estimate {
    estimate(state, &record(), &node("b"), holder, &writes())
}

const ALIVE: NodeState = NodeState::Alive;

#[test]
fn what_the_last_moves_of_the_same_kind_took_is_expected() {
    let mut superseded = past(Phase::Detaching, 60_000, 50_000);
    superseded.outcome = Some(Outcome::Superseded(MoveId(2)));
    let mut placement = past(Phase::Attaching, 61_000, 40_000);
    placement.from_node = None;
    let state = state(
        "demo",
        vec![
            past(Phase::Detaching, 10_000, 2_000),
            past(Phase::Detaching, 20_000, 3_000),
            past(Phase::Detaching, 30_000, 9_000),
            past(Phase::Expiring, 50_000, 7_000),
            superseded,
            placement,
        ],
    );
    let found = to_b(&state, Some(&seen(ALIVE, 100)));
    assert_eq!(found.basis, "the median of the last 3 switchovers of demo");
    assert_eq!((found.takes, found.moves), (Duration::from_secs(3), 3));
    // The silence of the holder is not noticed before another 1.4 s.
    let found = to_b(&state, Some(&seen(NodeState::Suspect, 1_600)));
    assert_eq!(found.basis, "the last failover of demo, and 1.4 s until failover_after is over");
    assert_eq!((found.takes, found.moves), (Duration::from_millis(8_400), 1));
    let found = to_b(&state, Some(&seen(NodeState::Silent, 4_000)));
    assert_eq!((found.takes, found.moves), (Duration::from_secs(7), 1));
    assert_eq!(to_b(&state, None).basis, "the last placement of demo");
}

#[test]
fn only_the_newest_moves_count() {
    let moves = (1..=20)
        .map(|at| past(Phase::Detaching, at * 100_000, if at < 12 { 60_000 } else { 2_000 }));
    let found = to_b(&state("demo", moves.collect()), Some(&seen(ALIVE, 0)));
    assert_eq!((found.takes, found.moves), (Duration::from_secs(2), LAST));
}

#[test]
fn the_moves_of_other_vips_count_where_this_one_has_none() {
    let state = state("other", vec![past(Phase::Detaching, 10_000, 2_000)]);
    let found = to_b(&state, Some(&seen(ALIVE, 0)));
    assert_eq!(found.basis, "the last switchover in this cluster; none of demo is on record");
    assert_eq!((found.takes, found.moves), (Duration::from_secs(2), 1));
}

#[test]
fn without_a_history_azure_and_the_timers_tell() {
    let none = state("demo", vec![]);
    let found = to_b(&none, Some(&seen(ALIVE, 0)));
    let usual = "2 Azure operations of 45.0 s, as is usual on Azure's classic control plane";
    assert_eq!(found.basis, format!("no history: {usual}"));
    assert_eq!((found.takes, found.moves), (Duration::from_secs(90), 0));
    let found = to_b(&none, Some(&seen(NodeState::Suspect, 2_000)));
    assert_eq!(found.takes, Duration::from_secs(91), "1 s of failover_after is left");
    assert_eq!(
        found.basis,
        format!(
            "no history: failover_after (3.0 s) and {usual}, or lease_wait (5.6 s) if that is \
             longer, less the silence so far"
        )
    );
}

#[test]
fn a_quick_azure_leaves_the_lease_to_be_waited_for() {
    let mut drift = past(Phase::Attaching, 10_000, 500);
    drift.to_node.clone_from(&drift.from_node);
    drift.operations = vec![AzureOperation {
        nic: NicId::new("n"),
        kind: OperationKind::Attach,
        url: String::new(),
        status: "Succeeded".into(),
        started_ms: 9_700,
        ended_ms: Some(10_000),
    }];
    let state = state("demo", vec![drift]);
    let found = to_b(&state, Some(&seen(ALIVE, 0)));
    let told = "no history: 2 Azure operations of 0.3 s, as the last one took here";
    assert_eq!((found.takes, found.basis.as_str()), (Duration::from_millis(600), told));
    let found = to_b(&state, Some(&seen(NodeState::Silent, 3_500)));
    let lease = lease_wait(Duration::from_secs(4));
    assert_eq!(found.takes, lease - Duration::from_millis(3_500));
    // Not heard since the election: from now on.
    let unheard = NodeView { last_heard: None, ..seen(NodeState::Silent, 0) };
    assert_eq!(to_b(&state, Some(&unheard)).takes, lease);
}

#[test]
fn what_stays_where_it_is_takes_no_time() {
    let alive = seen(ALIVE, 0);
    let found = estimate(&state("demo", vec![]), &record(), &node("a"), Some(&alive), &[]);
    assert_eq!((found.takes, found.basis.as_str()), (Duration::ZERO, "nothing is to be done"));
}

//! Hands off and questions, one command at a time.

use super::*;

fn pause(scope: Scope) -> Body {
    Body::Pause { scope, until_ms: None, reason: String::new(), by: "me".into() }
}

fn resume(scope: Scope, over: Option<u64>) -> Body {
    Body::Resume { scope, over, by: "me".into() }
}

/// A move that the leader decided on this phase.
fn decided(phase: Revision) -> Body {
    Body::StartMove {
        vip: vip("v"),
        to: Some(node("b")),
        cause: Cause::HolderSilent,
        expect: Expect { phase: Some(phase), ..Expect::default() },
        force: false,
        request: Request::default(),
    }
}

#[test]
fn a_move_that_was_decided_before_a_pause_is_not_started_after_it() {
    for scope in [Scope::Vip(vip("v")), Scope::Node(node("a")), Scope::Cluster] {
        let mut bench = Bench::held();
        let phase = bench.v().phase;
        assert_eq!(bench.apply(pause(scope)), Applied::Done);
        assert_eq!(bench.apply(decided(phase)), Applied::Refused(Refused::Stale));
    }
    let mut bench = Bench::held();
    let phase = bench.v().phase;
    assert_eq!(bench.apply(pause(Scope::Node(node("b")))), Applied::Done);
    assert!(matches!(bench.apply(decided(phase)), Applied::Move(_)), "v is not held by b");
}

#[test]
fn a_pause_whose_time_is_over_ends_no_later_pause() {
    let mut bench = Bench::held();
    bench.apply(pause(Scope::Cluster));
    let first = bench.0.hold.as_ref().map(|hold| hold.since_ms);
    bench.apply(pause(Scope::Cluster));
    let over = resume(Scope::Cluster, first);
    assert_eq!(bench.apply(over), Applied::Refused(Refused::Stale));
    assert!(bench.0.hold.is_some());
    assert_eq!(bench.apply(resume(Scope::Cluster, None)), Applied::Done);
    assert_eq!(bench.apply(resume(Scope::Cluster, None)), Applied::Done, "whoever asks twice");
    assert_eq!(bench.0.hold, None);
}

#[test]
fn only_moves_because_of_health_or_back_count_against_the_budget_and_old_ones_are_forgotten() {
    let mut bench = Bench::held();
    let start = |bench: &mut Bench, cause: Cause| {
        let (to, expect, request) = (Some(node("b")), Expect::default(), Request::default());
        bench.apply(Body::StartMove { vip: vip("v"), to, cause, expect, force: false, request })
    };
    for cause in [Cause::HolderSilent, Cause::HolderStopping, Cause::TargetFailed, Cause::Request] {
        start(&mut bench, cause);
        assert!(bench.v().restraint.flaps_ms.is_empty(), "{cause:?}");
    }
    start(&mut bench, Cause::HolderUnhealthy);
    start(&mut bench, Cause::Failback);
    assert_eq!(bench.v().restraint.flaps_ms.len(), 2);
    bench.0.revision = Revision(10_000_000);
    start(&mut bench, Cause::Failback);
    assert_eq!(bench.v().restraint.flaps_ms.len(), 1);
}

#[test]
fn a_word_is_taken_only_while_a_failover_waits_for_it() {
    let mut bench = Bench::held();
    let confirm = || Body::Confirm { vip: vip("v"), go: true, by: "me".into() };
    let nothing = Applied::Refused(Refused::NothingPending(vip("v")));
    assert_eq!(bench.apply(confirm()), nothing);
    let pending = Pending {
        cause: Cause::HolderSilent,
        what: "a is silent".into(),
        since_ms: 1_000,
        until_ms: 61_000,
        answer: None,
    };
    let phase = bench.v().phase;
    let ask = Body::Restrain { vip: vip("v"), phase, pending: Some(pending), withheld: None };
    assert_eq!(bench.apply(ask.clone()), Applied::Done);
    assert_eq!(bench.apply(confirm()), Applied::Done);
    // What was decided before the word does not take it back.
    assert_eq!(bench.apply(ask), Applied::Refused(Refused::Stale));
    let word = bench.v().restraint.pending.as_ref().and_then(|pending| pending.answer.clone());
    assert_eq!(word, Some(Word { go: true, by: "me".into() }));
    let told: Vec<&str> =
        bench.0.events.iter().rev().take(2).map(|event| event.message.as_str()).collect();
    assert_eq!(told[0], "the failover of VIP v is confirmed by me");
    assert_eq!(told[1], "a is silent: the failover of VIP v waits 60 s for `vipfence confirm v`");
}

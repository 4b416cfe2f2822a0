//! Requests, and the moves that answer them.

use super::*;

#[test]
fn a_repeated_request_has_the_same_answer_also_when_superseded_and_when_the_vip_is_gone() {
    let mut bench = Bench::held();
    let first = bench.start(Some("b"), by("r1", "to b"));
    assert_eq!(bench.start(Some("c"), by("r2", "to c")), Applied::Move(MoveId(3)));
    assert_eq!(bench.start(Some("b"), by("r1", "to b")), first);
    assert_eq!(bench.v().target, Some(node("c")));
    let reused = Applied::Refused(Refused::RequestIdReused(RequestId::from("r1")));
    assert_eq!(bench.start(Some("b"), by("r1", "to c")), reused);
    let deleted = bench.intend(Intent::Deleted, by("r3", "delete"));
    bench.empty();
    bench.walk(&[Step::Ended { cleared: nics(&["a"]) }]);
    assert_eq!(bench.intend(Intent::Deleted, by("r3", "delete")), deleted);
    assert_eq!(bench.start(Some("b"), by("r1", "to b")), first);
    assert_eq!(bench.start(Some("b"), by("r1", "to c")), reused);
    let Applied::Move(id) = deleted else { panic!("{deleted:?}") };
    assert_eq!(bench.0.find_move(id).and_then(|known| known.outcome), Some(Outcome::Done));
    assert_eq!(bench.start(None, by("r9", "x")), Applied::Refused(Refused::VipNotFound(vip("v"))));
}

#[test]
fn a_refused_request_may_be_tried_again_under_its_id() {
    let mut bench = Bench::held();
    let expect = || Expect { holder: Some(node("b")), ..Expect::default() };
    let mismatch =
        Applied::Refused(Refused::HolderMismatch { vip: vip("v"), actual: Some(node("a")) });
    assert_eq!(bench.start_with(Some("b"), false, expect(), by("r", "x")), mismatch);
    let expect = Expect { holder: Some(node("a")), ..Expect::default() };
    let moved = bench.start_with(Some("b"), false, expect, by("r", "x"));
    assert_eq!(moved, Applied::Move(MoveId(2)));
}

#[test]
fn a_move_starts_only_where_holder_epoch_and_phase_are_as_expected() {
    let mut bench = Bench::held();
    let epoch = |epoch| Expect { epoch: Some(Epoch(epoch)), ..Expect::default() };
    let mismatch = Applied::Refused(Refused::EpochMismatch { vip: vip("v"), actual: Epoch(1) });
    assert_eq!(bench.start_with(Some("b"), false, epoch(2), Request::default()), mismatch);
    let phase = |bench: &Bench, less| Expect {
        phase: Some(Revision(bench.v().phase.0 - less)),
        ..Expect::default()
    };
    let old = phase(&bench, 1);
    let stale = Applied::Refused(Refused::Stale);
    assert_eq!(bench.start_with(Some("b"), false, old, Request::default()), stale);
    let now = Expect { epoch: Some(Epoch(1)), ..phase(&bench, 0) };
    let moved = bench.start_with(Some("b"), false, now, Request::default());
    assert_eq!(moved, Applied::Move(MoveId(2)));
    for (to, refused) in
        [("w", Refused::NodeIsWitness(node("w"))), ("x", Refused::NodeNotFound(node("x")))]
    {
        assert_eq!(bench.start(Some(to), Request::default()), Applied::Refused(refused));
    }
}

#[test]
fn request_ids_are_bounded_and_kept_since_the_current_move() {
    let mut bench = Bench::held();
    let open = bench.start(Some("b"), by("first", "to b"));
    let update = |n: u64| Body::UpdateVip {
        vip: vip("v"),
        spec: VipSpec { release_timeout_ms: n, ..VipSpec::host(ip(110)) },
        request: by(&format!("u{n}"), "update"),
    };
    assert_eq!(bench.apply(update(1)), Applied::Done);
    for n in 2..400 {
        bench.apply(update(n));
    }
    bench.apply(update(1));
    assert_eq!(bench.v().spec.release_timeout_ms, 399, "I4: not executed again");
    assert_eq!(bench.start(Some("b"), by("first", "to b")), open);
    // The next move lets the older ones go.
    bench.start(Some("c"), by("second", "to c"));
    assert_eq!(bench.0.logs[&vip("v")].requests.len(), history::MAX_PER_VIP);
}

#[test]
fn a_later_move_supersedes_and_touches_neither_track() {
    let mut bench = Bench::held();
    bench.start(Some("b"), Request::default());
    bench.walk(&[begin_detach(&["a"], &[]), Step::Release { epoch: Epoch(1) }]);
    let before = bench.v().clone();
    assert_eq!(bench.start(Some("c"), Request::default()), Applied::Move(MoveId(3)));
    let after = bench.v();
    assert_eq!((&after.grant, &after.azure), (&before.grant, &before.azure));
    assert_eq!((after.phase, after.azure_phase), (bench.0.revision, bench.0.revision));
    let outcome = |id| bench.0.find_move(MoveId(id)).and_then(|known| known.outcome);
    assert_eq!(outcome(2), Some(Outcome::Superseded(MoveId(3))));
    assert_eq!(outcome(3), None);
}

#[test]
fn a_request_for_the_open_target_joins_the_open_move_unless_it_adds_force() {
    let mut bench = Bench::held();
    let open = bench.start(Some("b"), Request::default());
    let phase = bench.v().phase;
    assert_eq!(bench.start(Some("b"), Request::default()), open);
    assert_eq!(bench.v().phase, phase);
    let forced = bench.start_with(Some("b"), true, Expect::default(), Request::default());
    assert_eq!(forced, Applied::Move(MoveId(3)));
    assert!(bench.0.open_move(&vip("v")).is_some_and(|known| known.force));
    assert_eq!(bench.start(Some("b"), Request::default()), forced);
    let again = bench.start_with(Some("b"), true, Expect::default(), Request::default());
    assert_eq!(again, forced);
}

#[test]
fn a_move_to_the_holder_is_done_at_once() {
    let mut bench = Bench::held();
    let before = bench.v().clone();
    assert_eq!(bench.start(Some("a"), by("r", "to a")), Applied::Move(MoveId(2)));
    assert_eq!(*bench.v(), before);
    let known = bench.0.find_move(MoveId(2)).expect("a move");
    assert_eq!((known.outcome, known.epoch), (Some(Outcome::AlreadyHeld), Epoch(1)));
    assert_eq!(bench.start(Some("a"), by("r", "to a")), Applied::Move(MoveId(2)));
    assert_eq!(bench.intend(Intent::Held, Request::default()), Applied::Move(MoveId(3)));
}

#[test]
fn a_vip_that_is_being_deleted_stays_so() {
    let mut bench = Bench::held();
    let deleted = bench.intend(Intent::Deleted, Request::default());
    assert_eq!(bench.intend(Intent::Deleted, Request::default()), deleted);
    let refused = Applied::Refused(Refused::VipDeleting(vip("v")));
    assert_eq!(bench.intend(Intent::Held, Request::default()), refused);
    assert_eq!(bench.intend(Intent::Disabled, Request::default()), refused);
    assert_eq!(bench.start(Some("b"), Request::default()), refused);
}

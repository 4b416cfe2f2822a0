//! All steps on all tracks.

use super::*;

/// All grant tracks: none, then a's, then b's. Capital = granted, r = releasing, e = expiring.
const GRANTS: [&str; 7] = ["over", "A", "Ar", "Ae", "B", "Br", "Be"];
/// All Azure tracks: `-a` detaching from a, `+b<a` attaching to b from a.
const AZURES: [&str; 6] = ["none", "-a", "+a<", "+b<a", "a", "b"];

fn grant_track(word: &str) -> GrantTrack {
    match word {
        "A" => GrantTrack::Granted(grant("a", 5)),
        "Ar" => GrantTrack::Releasing(grant("a", 5)),
        "Ae" => GrantTrack::Expiring(grant("a", 5)),
        "B" => GrantTrack::Granted(grant("b", 5)),
        "Br" => GrantTrack::Releasing(grant("b", 5)),
        "Be" => GrantTrack::Expiring(grant("b", 5)),
        "B6" => GrantTrack::Granted(grant("b", 6)),
        _ => GrantTrack::Over,
    }
}

fn azure_track(word: &str) -> AzureTrack {
    let attaching = |to: &str, from: &[&str]| AzureTrack::Attaching {
        node: node(to),
        to: places(&[to]),
        from: places(from),
    };
    let attached = |at: &str| AzureTrack::Attached { node: node(at), at: places(&[at]) };
    match word {
        "-a" => AzureTrack::Detaching { from: places(&["a"]) },
        "+a<" => attaching("a", &[]),
        "+b<" => attaching("b", &[]),
        "+b<a" => attaching("b", &["a"]),
        "a" | "b" => attached(word),
        _ => AzureTrack::Detached,
    }
}

/// A move to b, or to nowhere, on these tracks.
fn on_tracks(grant: &str, azure: &str, intent: Intent) -> Bench {
    let mut bench = Bench::new();
    bench.create("v", 110, Some("b"));
    bench.0.epoch = Epoch(5);
    bench.edit(|record| {
        record.grant = grant_track(grant);
        record.azure = azure_track(azure);
        record.intent = intent;
    });
    bench
}

/// Applies a step on all tracks and compares: `.` = refused, nothing changed.
fn on_all_tracks(
    step: &Step,
    intent: Intent,
    expected: impl Fn(usize, usize) -> [&'static str; 2],
) {
    for (g, grant) in GRANTS.iter().enumerate() {
        for (a, azure) in AZURES.iter().enumerate() {
            let mut bench = on_tracks(grant, azure, intent);
            let before = bench.v().clone();
            let applied = bench.step(step.clone());
            let [next_grant, next_azure] = expected(g, a);
            let case = format!("{step:?} on ({grant}, {azure}): {applied:?}");
            if next_grant == "." || next_azure == "." {
                assert!(matches!(applied, Applied::Refused(Refused::Misfit(_))), "{case}");
                assert_eq!(*bench.v(), before, "{case}");
                continue;
            }
            assert_eq!(applied, Applied::Done, "{case}");
            let after = bench.v();
            assert_eq!(after.grant, grant_track(next_grant), "{case}");
            assert_eq!(after.azure, azure_track(next_azure), "{case}");
            assert_eq!(after.phase, bench.0.revision, "{case}");
            let azure_changed = after.azure != before.azure || after.target != before.target;
            let azure_phase = if azure_changed { bench.0.revision } else { before.azure_phase };
            assert_eq!(after.azure_phase, azure_phase, "{case}");
        }
    }
}

#[test]
fn every_step_of_the_grant_track_is_taken_or_refused_as_the_table_says() {
    let epoch = Epoch(5);
    let over = |confirmed| Step::Over { epoch, confirmed };
    //                           over  A     Ar      Ae      B     Br      Be
    let table = [
        (Step::Release { epoch }, [".", "Ar", ".", ".", "Br", ".", "."]),
        (Step::Expire { epoch }, [".", "Ae", "Ae", ".", "Be", "Be", "."]),
        (over(true), [".", ".", "over", "over", ".", "over", "over"]),
        (over(false), [".", ".", ".", "over", ".", ".", "over"]),
        (grant_to("b"), ["B6", ".", ".", ".", "B6", "B6", "B6"]),
        (grant_to("a"), [".", ".", ".", ".", ".", ".", "."]),
    ];
    for (step, row) in table {
        on_all_tracks(&step, Intent::Held, |g, a| [row[g], AZURES[a]]);
    }
}

#[test]
fn every_step_of_the_azure_track_is_taken_or_refused_as_the_table_says() {
    //                     none    -a      +a<     +b<a    a       b
    let table = [
        (begin_detach(&["a"], &[]), ["-a", "-a", "-a", "-a", "-a", "-a"]),
        (begin_attach("b"), ["+b<", "+b<a", ".", "+b<a", ".", "+b<"]),
        (begin_attach("a"), [".", ".", ".", ".", ".", "."]),
        (Step::Attached, [".", ".", "a", "b", "a", "b"]),
        (Step::Detached, [".", "none", ".", ".", ".", "."]),
    ];
    for (step, row) in table {
        on_all_tracks(&step, Intent::Held, |g, a| [GRANTS[g], row[a]]);
    }
}

#[test]
fn a_move_is_done_only_where_both_tracks_have_arrived() {
    let held = Step::Held { epoch: Epoch(5), cleared: nics(&["b"]) };
    on_all_tracks(&held, Intent::Held, |g, a| match (GRANTS[g], AZURES[a]) {
        ("B", "+b<a" | "b") => ["B", "b"],
        _ => [".", "."],
    });
    let ended = Step::Ended { cleared: BTreeSet::new() };
    on_all_tracks(&ended, Intent::Held, |_, _| [".", "."]);
    on_all_tracks(&ended, Intent::Disabled, |g, a| match (GRANTS[g], AZURES[a]) {
        ("over", "none") => ["over", "none"],
        _ => [".", "."],
    });
}

#[test]
fn a_target_is_given_once_and_only_to_a_vip_that_is_to_be_held() {
    let target = |name| Step::Target { node: node(name) };
    on_all_tracks(&target("c"), Intent::Held, |_, _| [".", "."]);
    let mut bench = Bench::new();
    bench.create("v", 110, None);
    assert_eq!(bench.step(target("w")), Applied::Refused(Refused::NodeIsWitness(node("w"))));
    assert_eq!(bench.step(target("x")), Applied::Refused(Refused::NodeNotFound(node("x"))));
    let before = bench.v().azure_phase;
    bench.walk(&[target("c")]);
    assert_eq!(bench.v().target, Some(node("c")));
    assert!(bench.v().azure_phase > before);
    assert_eq!(bench.0.open_move(&vip("v")).and_then(|m| m.to_node.clone()), Some(node("c")));
    bench.intend(Intent::Disabled, Request::default());
    assert!(matches!(bench.step(target("c")), Applied::Refused(Refused::Misfit(_))));
}

#[test]
fn without_an_open_move_no_step_changes_anything() {
    let epoch = Epoch(1);
    for step in [
        Step::Target { node: node("b") },
        begin_detach(&["a"], &["a"]),
        begin_attach("a"),
        Step::Release { epoch },
        Step::Expire { epoch },
        Step::Over { epoch, confirmed: true },
        grant_to("a"),
        Step::Held { epoch, cleared: nics(&["a"]) },
        Step::Ended { cleared: nics(&["a"]) },
    ] {
        let mut bench = Bench::held();
        let before = bench.v().clone();
        let applied = bench.step(step.clone());
        assert!(matches!(applied, Applied::Refused(Refused::Misfit(_))), "{step:?}: {applied:?}");
        assert_eq!(*bench.v(), before);
    }
}

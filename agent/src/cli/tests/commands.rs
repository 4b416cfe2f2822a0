//! The commands against fake nodes: what is printed, and the exit code.

use std::future::pending;

use clap::Parser as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use vipfence_proto::v1::{
    DiagnoseResponse, Event, Finding, FindingSeverity, MoveCause, MoveOutcome, NodeDiagnosis,
    Phase, StepDownResponse, WatchVipsResponse,
};

use super::{
    fake::{Fake, Watched},
    move_at, move_ended, status, vip,
};
use crate::cli::{
    Session,
    args::{Cli, Command},
    exit::Exit,
    output::capture::output,
    perform,
    target::Target,
};

/// What a command printed, and how it ended.
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) out: String,
    pub(super) err: String,
}

pub(super) async fn typed(line: &str, endpoints: &[Target]) -> Ended {
    typed_and_interrupted(line, endpoints, false).await
}

pub(super) async fn typed_and_interrupted(
    line: &str,
    endpoints: &[Target],
    interrupted: bool,
) -> Ended {
    let cli = Cli::try_parse_from(line.split_whitespace()).expect("valid arguments");
    let Command::Client(command) = cli.command else { panic!("not a client command") };
    let (out, written, notes) = output(cli.options.output);
    let interrupt: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = if interrupted {
        // Late enough for the acknowledgement, long before the end of the test.
        Box::pin(tokio::time::sleep(std::time::Duration::from_millis(500)))
    } else {
        Box::pin(pending())
    };
    let mut session = Session::new(endpoints.to_vec(), out, interrupt);
    let exit = perform(&mut session, command).await;
    Ended { exit, out: written.text(), err: notes.text() }
}

/// An address where nobody listens.
pub(super) async fn nobody() -> Target {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound").to_string().parse().expect("an address")
}

fn no_leader() -> Status {
    let details = ErrorDetails::with_error_info("NO_LEADER", "vipfence", []);
    Status::with_error_details(Code::Unavailable, "no leader is known", details)
}

#[tokio::test]
async fn status_goes_past_a_node_that_is_down() {
    let fake = Fake::default();
    fake.script().linearizable.push_back(Ok(status()));
    let ended = typed("vipfence status", &[nobody().await, fake.serve().await]).await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""));
    assert!(ended.out.starts_with("cluster demo   leader n1"), "{}", ended.out);
}

#[tokio::test]
async fn status_without_a_quorum_shows_the_local_view_and_exits_4() {
    let fake = Fake::default();
    fake.script().local = Some(vipfence_proto::v1::GetStatusResponse {
        quorum: false,
        leader: String::new(),
        ..status()
    });
    let node = fake.serve().await;
    let ended = typed("vipfence status", std::slice::from_ref(&node)).await;
    assert_eq!(ended.exit, Exit::Unavailable);
    assert!(ended.out.starts_with("NO QUORUM: no leader is known; "), "{}", ended.out);
    assert!(ended.out.contains("This is what n2 knows by itself"), "{}", ended.out);
    assert!(ended.out.contains("demo  10.5.0.110  held"), "{}", ended.out);

    let ended = typed("vipfence status -o json", &[node]).await;
    assert_eq!(ended.exit, Exit::Unavailable);
    assert!(ended.err.starts_with("no quorum: "), "{}", ended.err);
    let json: serde_json::Value = serde_json::from_str(&ended.out).expect("one document");
    assert_eq!(json.pointer("/vips/0/epoch").and_then(|epoch| epoch.as_str()), Some("7"));
}

#[tokio::test]
async fn where_no_node_answers_every_endpoint_is_named() {
    let (a, b) = (nobody().await, nobody().await);
    for line in ["vipfence status", "vipfence move demo", "vipfence watch", "vipfence vip list"] {
        let ended = typed(line, &[a.clone(), b.clone()]).await;
        assert_eq!(ended.exit, Exit::Unavailable, "{line}");
        assert!(ended.err.starts_with("error: no node of the cluster answered\n"), "{}", ended.err);
        assert!(
            ended.err.contains(&format!("  - {a}: connection refused\n  - {b}: ")),
            "{}",
            ended.err
        );
        assert!(ended.err.contains("help: is an agent running there?"), "{}", ended.err);
    }
}

#[tokio::test]
async fn a_move_is_followed_over_a_broken_stream_to_its_end() {
    let fake = Fake::default();
    {
        let mut script = fake.script();
        script.moves.push_back(Ok(move_at(&[(Phase::Planned, 0)])));
        let under_way = move_at(&[(Phase::Planned, 0), (Phase::Detaching, 100)]);
        script.watched.push_back(Watched::Breaks(vec![under_way]));
        script.watched.push_back(Watched::Open(vec![move_ended(MoveOutcome::Done)]));
    }
    let ended = typed("vipfence move demo --to n2", &[fake.serve().await]).await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""));
    assert_eq!(
        ended.out,
        "move-12: demo from n1 to n2\n     0.0 s  planned\n     0.1 s  detaching\n            \
         held\ndemo is held by n2 at epoch 8, after 2.6 s\n"
    );
}

#[tokio::test]
async fn an_order_is_repeated_with_the_same_request_id() {
    let fake = Fake::default();
    {
        let mut script = fake.script();
        script.moves.push_back(Err(no_leader()));
        script.moves.push_back(Err(Status::unavailable("leader lost")));
        script.moves.push_back(Ok(move_ended(MoveOutcome::AlreadyHeld)));
    }
    let ended = typed("vipfence move demo", &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::Done, "{}", ended.err);
    assert_eq!(ended.out, "n2 holds demo already, at epoch 8: nothing was done\n");
    assert_eq!(ended.err, "no leader is known; trying again with the same request id\n");
    let ids = fake.script().request_ids.clone();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| Some(id) == ids.first() && id.len() == 36), "{ids:?}");
}

#[tokio::test]
async fn a_refused_move_says_why_and_exits_3() {
    let fake = Fake::default();
    let mut details = ErrorDetails::with_error_info("TARGET_NOT_ELIGIBLE", "vipfence", []);
    details.add_precondition_failure_violation("ELIGIBLE", "n2", "its NIC is full");
    let refusal =
        Status::with_error_details(Code::FailedPrecondition, "n2 cannot take demo", details);
    fake.script().moves.push_back(Err(refusal));
    let ended = typed("vipfence move demo --to n2", &[fake.serve().await]).await;
    assert_eq!((ended.exit, ended.out.as_str()), (Exit::Refused, ""));
    assert_eq!(
        ended.err,
        "error: n2 cannot take demo\n  - n2: its NIC is full\n  - reason TARGET_NOT_ELIGIBLE\n\
         help: choose another node with --to, or mend what is said above; --force skips the check\n"
    );
}

#[tokio::test]
async fn a_superseded_move_names_its_successor_and_exits_1() {
    let fake = Fake::default();
    fake.script().moves.push_back(Ok(move_at(&[(Phase::Planned, 0)])));
    let ending = Watched::Open(vec![move_ended(MoveOutcome::Superseded)]);
    fake.script().watched.push_back(ending);
    let ended = typed("vipfence move demo", &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::Failed);
    assert!(ended.err.starts_with("error: move-12 was superseded by move-13\n"), "{}", ended.err);
}

#[tokio::test]
async fn a_timeout_leaves_the_move_going_on_and_exits_5() {
    let fake = Fake::default();
    fake.script().moves.push_back(Ok(move_at(&[(Phase::Detaching, 0)])));
    fake.script().watched.push_back(Watched::Open(Vec::new()));
    let ended = typed("vipfence move demo --timeout 500ms -o json", &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::TimedOut);
    assert!(
        ended.err.starts_with("error: not done within 0.5 s; move-12 goes on\n"),
        "{}",
        ended.err
    );
    let json: serde_json::Value = serde_json::from_str(&ended.out).expect("one document");
    assert_eq!(json.get("id").and_then(|id| id.as_str()), Some("move-12"));
}

#[tokio::test]
async fn ctrl_c_says_that_the_move_goes_on_and_how_to_look() {
    let fake = Fake::default();
    fake.script().moves.push_back(Ok(move_at(&[(Phase::Detaching, 0)])));
    fake.script().watched.push_back(Watched::Open(Vec::new()));
    let node = fake.serve().await;
    let ended = typed_and_interrupted("vipfence move demo", &[node], true).await;
    assert_eq!(ended.exit, Exit::Interrupted);
    assert_eq!(
        ended.err,
        "error: interrupted; move-12 goes on\nhelp: `vipfence history demo` shows how it ends\n"
    );
}

#[tokio::test]
async fn an_order_that_nobody_acknowledged_keeps_its_id_for_a_repetition() {
    let fake = Fake::default();
    let lost = || {
        let details = ErrorDetails::with_error_info("OUTCOME_UNKNOWN", "vipfence", []);
        Status::with_error_details(Code::Unavailable, "the leader was lost", details)
    };
    fake.script().moves.extend((0..100).map(|_| Err(lost())));
    let line = "vipfence move demo --request-id r1 --timeout 800ms";
    let ended = typed(line, &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::Unavailable);
    assert!(ended.err.contains("help: repeat it with --request-id r1"), "{}", ended.err);
}

#[tokio::test]
async fn no_wait_returns_at_the_acknowledgement() {
    let fake = Fake::default();
    fake.script().moves.push_back(Ok(move_at(&[(Phase::Planned, 0)])));
    let ended = typed("vipfence move demo --no-wait", &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::Done);
    assert!(ended.out.ends_with("acknowledged; `vipfence history demo` shows how it ends\n"));
}

#[tokio::test]
async fn a_deletion_that_is_forgotten_with_its_vip_is_done() {
    let fake = Fake::default();
    let mut deletion = move_at(&[(Phase::Releasing, 0)]);
    deletion.set_cause(MoveCause::Deleted);
    deletion.to_node.clear();
    fake.script().moves.push_back(Ok(deletion));
    let ended = typed("vipfence vip delete demo", &[fake.serve().await]).await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""));
    assert!(ended.out.ends_with("demo is deleted\n"), "{}", ended.out);
}

#[tokio::test]
async fn a_created_vip_is_waited_for_and_then_printed_as_it_is() {
    let fake = Fake::default();
    let mut made = vip("demo", "", 0);
    made.current_move = Some(move_at(&[(Phase::Attaching, 0)]));
    fake.script().vips.push(made);
    fake.script().watched.push_back(Watched::Open(vec![move_ended(MoveOutcome::Done)]));
    let node = fake.serve().await;
    let line = "vipfence vip create demo --address 10.5.0.110/24@front --candidate n1";
    let ended = typed(line, &[node]).await;
    assert_eq!(ended.exit, Exit::Done, "{}", ended.err);
    assert!(ended.out.contains("demo is held by n2 at epoch 8"), "{}", ended.out);
    let created = fake.script().created.clone();
    let spec = created.first().and_then(|request| request.spec.clone()).expect("a definition");
    assert_eq!(spec.addresses.first().map(|given| given.prefix_len), Some(24));
    assert_eq!(spec.candidates.first().map(|given| given.priority), Some(100));
}

#[tokio::test]
async fn what_a_node_does_not_know_is_a_failure_in_words() {
    let fake = Fake::default();
    let ended = typed("vipfence history", &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::Failed);
    assert_eq!(
        ended.err,
        "error: not part of the fake\nhelp: the node runs another version of vipfence: compare \
         `vipfence status`\n"
    );
}

#[tokio::test]
async fn a_watch_is_resumed_after_the_last_revision_it_saw() {
    let fake = Fake::default();
    let change = |revision, holder: &str, epoch| WatchVipsResponse {
        revision,
        changed: vec![vip("demo", holder, epoch)],
        removed: Vec::new(),
        snapshot: revision == 40,
    };
    {
        let mut script = fake.script();
        script.changes.push_back(Ok(vec![change(40, "n1", 7)]));
        script.changes.push_back(Err(Status::unavailable("starting")));
        script.changes.push_back(Err(Status::out_of_range("compacted")));
        script.changes.push_back(Ok(vec![change(41, "n2", 8)]));
    }
    let ended = typed("vipfence watch demo", &[fake.serve().await]).await;
    // The fake has nothing more to say, in a way that does not pass.
    assert_eq!((ended.exit, ended.out.lines().count()), (Exit::Failed, 2), "{}", ended.err);
    assert!(ended.out.ends_with("holder n2 at epoch 8, attached to n2\n"), "{}", ended.out);
    assert_eq!(ended.err, "starting; waiting for the cluster\nerror: no more changes\n");
    assert_eq!(fake.script().watched_after, [0, 40, 40, 0, 41]);
}

#[tokio::test]
async fn the_newest_events_are_found_over_all_pages() {
    let fake = Fake::default();
    let event = |number| Event { number, kind: format!("EVENT_{number}"), ..Event::default() };
    fake.script().events.extend((1..=5).map(event));
    let line = "vipfence history --events --limit 3 -o json";
    let ended = typed(line, &[fake.serve().await]).await;
    let json: serde_json::Value = serde_json::from_str(&ended.out).expect("one document");
    let numbers: Vec<_> = (0..4).map(|at| json.pointer(&format!("/events/{at}/number"))).collect();
    assert_eq!(numbers.first().copied().flatten().and_then(|number| number.as_str()), Some("3"));
    assert_eq!(numbers.iter().flatten().count(), 3);
}

#[tokio::test]
async fn stepping_down_is_asked_elsewhere_only_where_nothing_was_done() {
    let (a, b) = (Fake::default(), Fake::default());
    let leader = StepDownResponse { leader: "n2".to_owned() };
    a.script().step_downs.push_back(Err(no_leader()));
    b.script().step_downs.push_back(Ok(leader.clone()));
    let ended = typed("vipfence step-down", &[a.serve().await, b.serve().await]).await;
    assert_eq!(ended.out, "the leader has stepped down; n2 leads now\n");

    a.script().step_downs.push_back(Err(Status::unavailable("lost on the way")));
    b.script().step_downs.push_back(Ok(leader));
    let ended = typed("vipfence step-down", &[a.serve().await, b.serve().await]).await;
    assert_eq!(ended.exit, Exit::Unavailable);
    assert_eq!(b.script().step_downs.len(), 1, "asked for twice");
}

pub(super) fn finding(check: &str, severity: FindingSeverity) -> Finding {
    Finding {
        check: check.to_owned(),
        severity: severity.into(),
        subject: "subject".to_owned(),
        message: format!("what {check} means"),
        remedy: format!("what helps against {check}"),
        ..Finding::default()
    }
}

#[tokio::test]
async fn the_doctor_tells_the_worst_first_and_only_errors_are_a_failure() {
    let fake = Fake::default();
    let node = |name: &str, findings| NodeDiagnosis {
        node: name.to_owned(),
        findings,
        ..NodeDiagnosis::default()
    };
    let mild = vec![
        finding("NONLOCAL_BIND_OFF", FindingSeverity::Notice),
        finding("CLOCK_SLEW", FindingSeverity::Warning),
    ];
    fake.script().diagnosis =
        DiagnoseResponse { nodes: vec![node("n1", mild), node("n2", vec![])], findings: vec![] };
    let at = [fake.serve().await];
    let ended = typed("vipfence doctor", &at).await;
    assert_eq!(ended.exit, Exit::Done);
    assert_eq!(
        ended.out,
        "warning CLOCK_SLEW at n1: what CLOCK_SLEW means\n    what helps against CLOCK_SLEW\n\
         notice NONLOCAL_BIND_OFF at n1: what NONLOCAL_BIND_OFF means\n    \
         what helps against NONLOCAL_BIND_OFF\n\
         n1, n2 examined: 0 errors, 1 warnings, 1 notices\n"
    );

    fake.script().diagnosis.findings = vec![finding("NIC_TWICE", FindingSeverity::Error)];
    let ended = typed("vipfence doctor --vip demo", &at).await;
    assert_eq!(ended.exit, Exit::Failed);
    assert!(ended.out.starts_with("ERROR NIC_TWICE at the cluster: "), "{}", ended.out);
    for line in ["vipfence doctor --json", "vipfence doctor -o json"] {
        let ended = typed(line, &at).await;
        assert_eq!(ended.exit, Exit::Failed);
        let json: serde_json::Value = serde_json::from_str(&ended.out).expect("one document");
        let severity = json.pointer("/findings/0/severity").and_then(|word| word.as_str());
        assert_eq!(severity, Some("FINDING_SEVERITY_ERROR"));
    }

    let silent = NodeDiagnosis { unreached: "no".to_owned(), ..node("n3", vec![]) };
    fake.script().diagnosis = DiagnoseResponse { nodes: vec![silent], findings: vec![] };
    let ended = typed("vipfence doctor", &at).await;
    assert_eq!(ended.exit, Exit::Failed);
    assert!(ended.out.contains("n3 did not answer: no"), "{}", ended.out);
}

#[tokio::test]
async fn drop_ins_of_units_are_printed_or_written_and_need_no_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/drbd/n1.toml");
    let line = format!("vipfence units --config {config}");
    let printed = typed(&line, &[nobody().await]).await;
    assert_eq!(printed.exit, Exit::Done, "{}", printed.err);
    assert!(printed.out.contains("# srv-nfs.mount.d/50-vipfence.conf\n"), "{}", printed.out);
    let written = typed(&format!("{line} --write {}", folder.path().display()), &[]).await;
    assert_eq!(written.exit, Exit::Done, "{}", written.err);
    assert!(written.err.contains("systemctl daemon-reload"), "{}", written.err);
    let file = folder.path().join("drbd-primary@r0.service.d/50-vipfence.conf");
    let text = std::fs::read_to_string(file).expect("it is there");
    assert!(text.contains("AssertPathExists=/var/lib/vipfence/tokens/nfs\n"), "{text}");
    let refused = typed(&format!("{line} --write /proc"), &[]).await;
    assert_eq!(refused.exit, Exit::Failed);
    assert!(refused.err.contains("a folder that you may write to"), "{}", refused.err);
}

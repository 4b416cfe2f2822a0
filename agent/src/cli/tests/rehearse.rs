//! `vipfence doctor --rehearse` against a fake node and a client's service of the test's own.

use serde_json::Value;
use tokio::net::TcpListener;
use tonic::Status;
use vipfence_proto::v1::{
    DiagnoseResponse, FindingSeverity, Move, MoveOutcome, MovePlan, NodeDiagnosis, Phase,
};

use super::{
    commands::{Ended, finding, typed, typed_and_interrupted},
    fake::{Fake, Watched},
    move_at, move_ended, vip,
};
use crate::cli::exit::Exit;

/// Where a service answers until the test ends.
async fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    address
}

fn planned() -> Move {
    Move {
        outcome: MoveOutcome::Planned.into(),
        plan: Some(MovePlan {
            expected_duration: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            expected_from_moves: 1,
            expected_basis: "the last switchover of demo".to_owned(),
            ..MovePlan::default()
        }),
        ..move_at(&[])
    }
}

fn back() -> Move {
    Move {
        id: "move-13".to_owned(),
        from_node: "n2".to_owned(),
        to_node: "n1".to_owned(),
        epoch: 9,
        ..move_ended(MoveOutcome::Done)
    }
}

/// What n1 and n2 say of an address; n3 is not asked for.
fn nodes(n1: bool, n2: bool) -> DiagnoseResponse {
    let node = |name: &str, reached: bool| NodeDiagnosis {
        node: name.to_owned(),
        findings: if reached {
            vec![]
        } else {
            vec![finding("UNREACHABLE", FindingSeverity::Error)]
        },
        ..NodeDiagnosis::default()
    };
    DiagnoseResponse { nodes: vec![node("n1", n1), node("n2", n2)], findings: vec![] }
}

/// A cluster in which `demo` is held by n1 at epoch 7 and everything goes well.
fn well() -> Fake {
    let fake = Fake::default();
    {
        let mut script = fake.script();
        script.vips.push(vip("demo", "n1", 7));
        script.diagnosis = nodes(true, true);
        let moves = [planned(), move_ended(MoveOutcome::Done), back()];
        script.moves.extend(moves.map(Ok));
        script.reaches.extend([nodes(true, true), nodes(true, true), nodes(true, true)]);
    }
    fake
}

#[tokio::test]
async fn a_dry_run_says_how_long_it_will_take_in_words_and_in_json() {
    let fake = Fake::default();
    fake.script().moves.extend([planned(), planned()].map(Ok));
    let at = [fake.serve().await];
    let ended = typed("vipfence move demo --dry-run", &at).await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""));
    let line = "\nexpected: 2.0 s (the last switchover of demo)\n";
    assert!(ended.out.contains(line), "{}", ended.out);
    let ended = typed("vipfence move demo --dry-run -o json", &at).await;
    let json: Value = serde_json::from_str(&ended.out).expect("one document");
    let plan = json.pointer("/plan").expect("a plan");
    assert_eq!((&plan["expectedDuration"], &plan["expectedFromMoves"]), (&"2s".into(), &1.into()));
    assert_eq!(plan["expectedBasis"], "the last switchover of demo");
}

async fn rehearsed(fake: &Fake, more: &str) -> Ended {
    let client = service().await;
    let line = format!(
        "vipfence doctor --rehearse demo --client {client} --port 80 --settle 600ms {more}"
    );
    typed(&line, &[fake.serve().await]).await
}

#[tokio::test]
async fn a_rehearsal_moves_there_and_back_with_expectations_and_six_steps() {
    let fake = well();
    let ended = rehearsed(&fake, "").await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""), "{}", ended.out);
    let told = [
        "rehearsal: demo moves from n1 to n2 and back; clients notice both moves",
        "each takes about 2.0 s (the last switchover of demo)",
        "n1, n2 examined: 0 errors, 0 warnings, 0 notices",
        "holder n1 reaches 10.5.0.110:80",
        "standby n2 reaches 10.5.0.110:80",
        "demo is held by n2 at epoch 8, after 2.6 s",
        "holder n2 reaches 10.5.0.110:80",
        "standby n1 reaches 10.5.0.110:80",
        "the client noticed nothing",
        "demo is held by n1 at epoch 9, after 2.6 s",
        "the rehearsal of demo passed; outages: 0.0 s there, 0.0 s back",
    ];
    let mut rest = ended.out.as_str();
    for line in told {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line} in its place: {}", ended.out));
        rest = &rest[at..];
    }
    let script = fake.script();
    let asked: Vec<_> = script.asked.iter().collect();
    let [plan, there, back] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(plan.dry_run && !there.dry_run && !back.dry_run);
    for (request, to, holder, epoch) in [(there, "n2", "n1", 7), (back, "n1", "n2", 8)] {
        assert_eq!((request.target_node.as_str(), request.force), (to, false));
        assert_eq!((request.expected_holder.as_str(), request.expected_epoch), (holder, epoch));
        assert_eq!(request.request_id.len(), 36);
    }
    assert_ne!(there.request_id, back.request_id);
}

#[tokio::test]
async fn the_json_is_one_document_with_all_steps() {
    let ended = rehearsed(&well(), "-o json").await;
    assert_eq!(ended.exit, Exit::Done, "{}", ended.err);
    let json: Value = serde_json::from_str(&ended.out).expect("one document");
    let at = |path: &str| json.pointer(path).cloned().unwrap_or_default();
    assert_eq!(at("/passed"), Value::Bool(true));
    assert_eq!(at("/steps").as_array().map(Vec::len), Some(9));
    assert_eq!((at("/steps/4/who"), at("/steps/4/node")), ("holder".into(), "n2".into()));
    assert_eq!((at("/moves/0/id"), at("/moves/1/to")), ("move-12".into(), "n1".into()));
    assert_eq!((at("/expectedMs"), at("/outageResolutionMs")), (2_000.into(), 100.into()));
}

#[tokio::test]
async fn a_step_that_fails_says_what_it_means_and_the_vip_is_brought_back() {
    let fake = well();
    {
        let mut script = fake.script();
        script.reaches.clear();
        // The one after the move is tried twice within 600 ms.
        let (good, bad) = (nodes(true, true), nodes(true, false));
        script.reaches.extend([good.clone(), bad.clone(), bad, good]);
    }
    let ended = rehearsed(&fake, "").await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Failed, ""), "{}", ended.out);
    let failed = "holder n2 does not reach 10.5.0.110:80: what UNREACHABLE means\n    the service on \
                  n2 does not answer on the VIP's address: ";
    assert!(ended.out.contains(failed), "{}", ended.out);
    assert!(ended.out.contains(" 6  ok "), "{}", ended.out);
    assert!(ended.out.contains("failed: step 5 of 9; n1 has it again"), "{}", ended.out);
    assert_eq!(fake.script().asked.len(), 3);
}

#[tokio::test]
async fn a_node_that_does_not_tell_is_a_step_that_failed() {
    let fake = well();
    {
        let mut script = fake.script();
        let mut silent = nodes(true, true);
        if let Some(node) = silent.nodes.get_mut(1) {
            node.unreached = "no answer".to_owned();
        }
        script.reaches.clear();
        script.reaches.push_back(silent);
    }
    let ended = rehearsed(&fake, "").await;
    assert_eq!(ended.exit, Exit::Failed);
    assert!(ended.out.contains("the node did not tell: no answer"), "{}", ended.out);
    assert!(ended.err.starts_with("error: it is not reached as it is; nothing was moved\n"));
    assert_eq!(fake.script().asked.len(), 1, "only the plan");
}

#[tokio::test]
async fn the_doctors_errors_refuse_a_rehearsal_that_is_not_forced() {
    let fake = well();
    fake.script().diagnosis.findings = vec![finding("LOCKED", FindingSeverity::Error)];
    let ended = rehearsed(&fake, "").await;
    assert_eq!(ended.exit, Exit::Refused);
    assert!(ended.out.contains("ERROR LOCKED at the cluster: "), "{}", ended.out);
    assert!(ended.err.starts_with("error: the doctor found 1 errors; nothing was moved\n"));
    assert_eq!(fake.script().asked.len(), 1, "only the plan");

    let fake = well();
    fake.script().diagnosis.findings = vec![finding("LOCKED", FindingSeverity::Error)];
    let ended = rehearsed(&fake, "--force -o json").await;
    assert_eq!(ended.exit, Exit::Done, "{}", ended.err);
    let json: Value = serde_json::from_str(&ended.out).expect("one document");
    let error = json.pointer("/doctorErrors/0").and_then(Value::as_str);
    assert_eq!(error, Some("LOCKED at the cluster: what LOCKED means"));
}

#[tokio::test]
async fn a_vip_that_is_not_at_rest_is_not_rehearsed() {
    let fake = well();
    if let Some(vip) = fake.script().vips.first_mut() {
        vip.set_phase(Phase::Attaching);
    }
    let ended = rehearsed(&fake, "").await;
    assert_eq!(ended.exit, Exit::Refused);
    assert!(ended.err.starts_with("error: demo is attaching, not at rest on a node\n"));

    let fake = well();
    let ended = typed("vipfence doctor --rehearse demo", &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::Usage);
    assert!(ended.err.starts_with("error: --rehearse needs --port PORT"), "{}", ended.err);
    assert!(fake.script().asked.is_empty());
}

#[tokio::test]
async fn a_move_there_that_times_out_ends_as_vipfence_move_does() {
    let fake = well();
    {
        let mut script = fake.script();
        script.moves.clear();
        script.moves.extend([planned(), move_at(&[(Phase::Detaching, 0)])].map(Ok));
        script.watched.push_back(Watched::Open(Vec::new()));
    }
    let ended = rehearsed(&fake, "--timeout 500ms -o json").await;
    assert_eq!(ended.exit, Exit::TimedOut);
    assert_eq!(
        ended.err,
        "error: not done within 0.5 s; move-12 goes on\nhelp: `vipfence history demo` shows how it \
         ends; `vipfence move demo --to n1` brings it back to where it was\n"
    );
    let json: Value = serde_json::from_str(&ended.out).expect("one document");
    let failure = json.pointer("/failure").and_then(Value::as_str);
    assert_eq!(failure, Some("not done within 0.5 s; move-12 goes on"));
    assert_eq!(json.pointer("/steps").and_then(Value::as_array).map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_move_back_that_somebody_else_forestalled_is_left_alone() {
    let fake = well();
    {
        let mut script = fake.script();
        script.moves.pop_back();
        script.moves.push_back(Err(Status::aborted("n3 holds demo, not n2")));
    }
    let ended = rehearsed(&fake, "").await;
    assert_eq!(ended.exit, Exit::Failed, "something was changed");
    assert!(
        ended.err.starts_with("error: n3 holds demo, not n2\nhelp: `vipfence move demo --to n1`")
    );
}

#[tokio::test]
async fn a_move_back_that_goes_on_needs_no_other() {
    let fake = well();
    {
        let mut script = fake.script();
        script.moves.pop_back();
        script.moves.push_back(Ok(move_at(&[(Phase::Detaching, 0)])));
        script.watched.push_back(Watched::Open(Vec::new()));
    }
    let ended = rehearsed(&fake, "--timeout 500ms").await;
    assert_eq!(ended.exit, Exit::TimedOut, "{}", ended.err);
    assert!(ended.err.ends_with("help: `vipfence history demo` shows how it ends\n"));
}

#[tokio::test]
async fn ctrl_c_says_that_the_move_goes_on_and_how_it_comes_back() {
    let fake = well();
    {
        let mut script = fake.script();
        script.moves.clear();
        script.moves.extend([planned(), move_at(&[(Phase::Detaching, 0)])].map(Ok));
        script.watched.push_back(Watched::Open(Vec::new()));
    }
    let client = service().await;
    let line = format!("vipfence doctor --rehearse demo --client {client}");
    let ended = typed_and_interrupted(&line, &[fake.serve().await], true).await;
    assert_eq!(ended.exit, Exit::Interrupted);
    assert_eq!(
        ended.err,
        "error: interrupted; move-12 goes on\nhelp: `vipfence history demo` shows how it ends; \
         `vipfence move demo --to n1` brings it back to where it was\n"
    );
}

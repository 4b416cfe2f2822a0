//! What a node offers to tools: reflection, health, streams, HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_tests::v1::{MoveOutcome, MoveVipRequest, Phase};
use integration_tests::{Grpcurl, Turn, VIP, block_on, get};
use serde_json::json;
use tonic::transport::Endpoint;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn bare_grpcurl_lists_describes_and_calls() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let Some(grpcurl) = Grpcurl::find() else { return };
    for node in dev.names() {
        let address = dev.node(&node).grpc;
        let listed = grpcurl.run(&[&address, "list"]);
        assert!(listed.ok, "{listed:?}");
        for service in [
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "vipfence.v1.ClusterService",
            "vipfence.v1.VipService",
        ] {
            assert!(listed.out.lines().any(|line| line == service), "{service}: {}", listed.out);
        }
        let described = grpcurl.run(&[&address, "describe", "vipfence.v1.MoveVipRequest"]);
        assert!(described.ok && described.out.contains("expected_epoch"), "{described:?}");
        // The details of errors can be resolved too.
        let described = grpcurl.run(&[&address, "describe", "google.rpc.ErrorInfo"]);
        assert!(described.ok, "{described:?}");

        let health = grpcurl.run(&[&address, "grpc.health.v1.Health/Check"]);
        assert_eq!(health.json()["status"], "SERVING");

        let vip = grpcurl.call(&address, "vipfence.v1.VipService/GetVip", &json!({"name": VIP}));
        assert_eq!(vip.json()["phase"], "PHASE_HELD");
        let missing =
            grpcurl.call(&address, "vipfence.v1.VipService/GetVip", &json!({"name": "nope"}));
        assert_eq!(missing.code(), "NotFound", "{missing:?}");
        assert!(missing.err.contains("VIP_NOT_FOUND"), "the details are shown: {missing:?}");
    }
}

/// grpcurl 1.8.6 asks for `v1alpha`; later ones ask for `v1` first.
#[test]
fn reflection_v1_lists_the_services() {
    let turn = Turn::shared();
    let address = turn.dev().node("n1").grpc;
    let answer = block_on(async {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
        let mut client = ServerReflectionClient::new(channel);
        let ask = MessageRequest::ListServices(String::new());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
        let mut answers =
            client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
        let answer = answers.message().await?;
        Ok::<_, Box<dyn std::error::Error>>(answer.and_then(|answer| answer.message_response))
    });
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.expect("an answer") else {
        panic!("not a list of services");
    };
    let names: Vec<&str> = listed.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"vipfence.v1.VipService"), "{names:?}");
}

#[test]
fn a_watch_begins_with_everything_and_can_be_resumed() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let holder = dev.holder();
    let target = dev.names_but(&[&holder]).remove(0);
    let api = dev.api(&target);
    let mut watch = api.watch_vips(0).expect("a stream");
    let first = watch.next(LIMIT).expect("in time").expect("a first message");
    assert!(first.snapshot);
    let names: Vec<&str> = first.changed.iter().map(|vip| vip.name.as_str()).collect();
    assert_eq!(names, [VIP]);

    dev.move_to(&target);
    let mut revision = first.revision;
    loop {
        let change = watch.next(LIMIT).expect("in time").expect("a change");
        assert!(!change.snapshot && change.revision > revision, "{change:?}");
        revision = change.revision;
        let held = |vip: &integration_tests::v1::Vip| {
            vip.holder == target && vip.phase() == Phase::Held && vip.current_move.is_none()
        };
        if change.changed.iter().any(held) {
            break;
        }
    }
    drop(watch);
    // From where it was left, at another node: what changed since then, and no snapshot.
    let mut again = dev.api(&holder).watch_vips(first.revision).expect("a stream");
    let change = again.next(LIMIT).expect("in time").expect("a change");
    assert!(!change.snapshot && change.revision > first.revision);
    assert_eq!(change.changed[0].name, VIP);
}

#[test]
fn a_watched_move_tells_its_phases_in_order_and_ends() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let target = dev.names_but(&[&dev.holder()]).remove(0);
    let request =
        MoveVipRequest { vip: VIP.into(), target_node: target.clone(), ..Default::default() };
    let taken = dev.any_api().move_vip(request).expect("it is taken");
    // Not at the leader: it follows at every node.
    let mut watch = dev.api(&target).watch_move(&taken.id).expect("a stream");
    let mut last = None;
    while let Some(known) = watch.next(LIMIT).expect("in time") {
        assert_eq!(known.id, taken.id);
        if let Some(before) = last.replace(known.clone()) {
            let grown = known.phase_history.iter().zip(&before.phase_history);
            for (now, then) in grown {
                assert_eq!((now.phase, &now.started), (then.phase, &then.started));
            }
            assert!(known.phase_history.len() >= before.phase_history.len());
        }
    }
    let last = last.expect("at least one message");
    assert_eq!((last.outcome(), last.phase()), (MoveOutcome::Done, Phase::Held));
    let phases: Vec<Phase> = last.phase_history.iter().map(|span| span.phase()).collect();
    let at = |phase| phases.iter().position(|known| *known == phase);
    assert_eq!(at(Phase::Planned), Some(0), "{phases:?}");
    assert!(at(Phase::Detaching) < at(Phase::Attaching), "{phases:?}");
    assert_eq!(at(Phase::Held), Some(phases.len() - 1), "{phases:?}");
    let starts: Vec<i64> = last
        .phase_history
        .iter()
        .map(|span| span.started.as_ref().expect("a start"))
        .map(|start| start.seconds * 1_000 + i64::from(start.nanos) / 1_000_000)
        .collect();
    assert!(starts.is_sorted(), "{starts:?}");
    let kinds: Vec<String> =
        last.azure_operations.iter().map(|known| format!("{:?}", known.kind())).collect();
    assert!(kinds.contains(&"Detach".to_owned()) && kinds.contains(&"Attach".to_owned()));
}

#[test]
fn the_http_port_tells_health_holder_and_metrics() {
    let turn = Turn::shared();
    let dev = turn.dev();
    let vip = dev.vip();
    let leader = dev.leader();
    for node in dev.names() {
        let http = dev.node(&node).http;
        let ask = |path: &str| get(&format!("{http}{path}")).expect("it answers");
        assert_eq!(ask("/healthz").status, 200);
        assert_eq!(ask("/readyz").status, 200);
        let expected = if node == vip.holder { 200 } else { 503 };
        assert_eq!(ask("/vips/demo/holder").status, expected, "{node}");
        assert_eq!(ask("/vips/nope/holder").status, 404);

        let metrics = ask("/metrics");
        assert!(metrics.content_type.starts_with("application/openmetrics-text"), "{metrics:?}");
        let values = parse(&metrics.body);
        let leads = if node == leader { 1.0 } else { 0.0 };
        assert_eq!(values.get("vipfence_leader"), Some(&leads), "{node}");
        assert!(values["vipfence_term"] >= 1.0);
        let held = values.get("vipfence_vip_held{vip=\"demo\"}").copied();
        assert_eq!(held, (node == vip.holder).then_some(1.0), "{node}");
    }
}

/// OpenMetrics, as strictly as it is simple: comments or `name{labels} value`, and an end.
fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut values = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let known = ["HELP ", "TYPE ", "UNIT ", "EOF"];
            assert!(known.iter().any(|word| comment.starts_with(word)), "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        assert!(name.starts_with("vipfence_"), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert_eq!(values.insert(name.to_owned(), value), None, "twice: {line}");
    }
    values
}

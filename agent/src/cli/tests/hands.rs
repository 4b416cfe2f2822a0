//! Pausing, resuming, confirming, and changing policies, against a fake node.

use vipfence_proto::v1::{FailbackPolicy, FlapBudget, ReleasePolicy, Vip, VipSpec};

use super::{commands::typed, fake::Fake, vip};
use crate::cli::exit::Exit;

#[tokio::test]
async fn a_pause_says_how_it_ends() {
    let fake = Fake::default();
    let node = [fake.serve().await];
    let ended = typed("vipfence pause --vip demo --for 2h --reason patching", &node).await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""));
    let told = "automatic moves of VIP demo are paused until 2026-09-01 12:00:00Z, or `vipfence \
                resume --vip demo`\n";
    assert_eq!(ended.out, told);
    let ended = typed("vipfence pause --cluster", &node).await;
    let told = "automatic moves of the cluster are paused until `vipfence resume --cluster`\n";
    assert_eq!(ended.out, told);
    let ended = typed("vipfence resume --node n2", &node).await;
    assert_eq!(ended.out, "automatic moves of node n2 go on\n");
    let asked = [
        "pause Some(Vip(\"demo\")) 7200 \"patching\"",
        "pause Some(Cluster(true)) 0 \"\"",
        "resume Some(Node(\"n2\"))",
    ];
    assert_eq!(fake.script().hands, asked);
}

#[tokio::test]
async fn a_failover_is_confirmed_or_declined() {
    let fake = Fake::default();
    fake.script().vips.push(vip("demo", "n1", 7));
    let node = [fake.serve().await];
    let ended = typed("vipfence confirm demo", &node).await;
    assert_eq!(ended.exit, Exit::Done, "{}", ended.err);
    assert!(ended.out.starts_with("the failover of demo is confirmed; "), "{}", ended.out);
    let ended = typed("vipfence confirm demo --no", &node).await;
    assert!(ended.out.starts_with("demo stays where it is; "), "{}", ended.out);
    let ended = typed("vipfence confirm other", &node).await;
    assert_eq!(ended.exit, Exit::Refused, "{}", ended.err);
    let asked = ["confirm demo false", "confirm demo true", "confirm other false"];
    assert_eq!(fake.script().hands, asked);
}

#[tokio::test]
async fn an_update_changes_what_was_named_and_nothing_else() {
    let fake = Fake::default();
    let known = vip("demo", "n1", 7);
    let spec = VipSpec { release: ReleasePolicy::Early.into(), ..known.spec.clone().expect("it") };
    fake.script().vips.push(Vip { spec: Some(spec.clone()), ..known });
    let line = "vipfence vip update demo --failback prefer --flap-budget 5/1h --request-id r9";
    let ended = typed(line, &[fake.serve().await]).await;
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""));
    assert!(ended.out.contains("failback        prefer\nflap budget     5/1h\n"), "{}", ended.out);
    let asked = fake.script().updated.pop().expect("an update");
    assert_eq!(asked.request_id, "r9");
    let window = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let expected = VipSpec {
        failback: FailbackPolicy::Prefer.into(),
        flap_budget: Some(FlapBudget { moves: 5, window }),
        ..spec
    };
    assert_eq!(asked.spec, Some(expected));
}

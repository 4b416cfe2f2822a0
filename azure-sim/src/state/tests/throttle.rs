//! Token buckets and their headers.

use super::*;

const READS: &str = "x-ms-ratelimit-remaining-subscription-reads";
const WRITES: &str = "x-ms-ratelimit-remaining-subscription-writes";
const DELETES: &str = "x-ms-ratelimit-remaining-subscription-deletes";

fn bucket(size: u32, refill: u32, every_s: u32) -> Option<Bucket> {
    Some(Bucket { size, refill, every_s })
}

fn with(throttling: Throttling) -> Bench {
    Bench::with(|s| s.throttling = throttling)
}

fn read(bench: &mut Bench) -> ArmResponse {
    let path = bench.nic_path("n1-nic");
    bench.get(&path)
}

fn read_as(bench: &mut Bench, node: &str) -> ArmResponse {
    let token = bench.token(node);
    let get = ArmRequest::new("GET", bench.nic_path("n1-nic")).with_token(&token);
    match bench.world.arm(bench.now, get) {
        ArmOutcome::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_limits_nothing_is_counted() {
    let answer = read(&mut Bench::new());
    assert_eq!((answer.status, answer.header(READS)), (200, None));
}

#[test]
fn every_answer_says_what_is_left_for_its_kind() {
    let mut bench = with(Throttling::documented());
    assert_eq!(read(&mut bench).header(READS), Some("249"));
    assert_eq!(read(&mut bench).header(READS), Some("248"));
    let patch = bench.patch("n1-nic", json!({}));
    assert_eq!((patch.header(WRITES), patch.header(READS)), (Some("199"), None));
    let put = bench.put("n1-nic", json!({}));
    assert_refused(&put, 400, "LocationRequired");
    assert_eq!(put.header(WRITES), Some("198"), "a refusal by the provider costs too");
    let path = bench.nic_path("n1-nic");
    let delete = bench.ask(ArmRequest::new("DELETE", path));
    assert_eq!(delete.header(DELETES), Some("199"));
}

#[test]
fn an_empty_bucket_refuses_and_fills_again() {
    let mut bench = with(Throttling { arm_reads: bucket(3, 2, 1), ..Throttling::default() });
    for left in ["2", "1", "0"] {
        assert_eq!(read(&mut bench).header(READS), Some(left));
    }
    let refused = read(&mut bench);
    assert_refused(&refused, 429, "SubscriptionRequestsThrottled");
    assert_eq!(refused.header("Retry-After"), Some("10"));
    assert_eq!(refused.header(READS), Some("0"));
    let subscription = bench.world.config().subscription.clone();
    let body = refused.body.expect("a body");
    let message = body["error"]["message"].as_str().expect("a text");
    let begin = format!("Number of 'read' requests for subscription '{subscription}' actor '");
    let end = "' exceeded. Please try again after '10' seconds.";
    let actor = message.strip_prefix(&begin).and_then(|rest| rest.strip_suffix(end));
    assert_eq!(actor.map(str::len), Some(36), "{message}");
    assert_eq!(body["error"].get("details"), None, "the front door speaks");
    bench.wait(10_000);
    assert_eq!(read(&mut bench).header(READS), Some("2"), "full again, and no fuller");
    bench.wait(499);
    assert_eq!(read(&mut bench).header(READS), Some("1"), "half a second is one token");
    bench.wait(1);
    assert_eq!(read(&mut bench).header(READS), Some("1"));
}

#[test]
fn whoever_comes_back_too_early_waits_anew() {
    let mut bench = with(Throttling { arm_reads: bucket(1, 1, 1), ..Throttling::default() });
    assert_eq!(read(&mut bench).status, 200);
    assert_eq!(read(&mut bench).status, 429);
    bench.wait(9_999);
    assert_eq!(read(&mut bench).status, 429, "a token is there, the wait is not over");
    bench.wait(9_999);
    assert_eq!(read(&mut bench).status, 429, "nor is the new one");
    bench.wait(10_000);
    assert_eq!(read(&mut bench).status, 200);
}

#[test]
fn each_identity_has_its_own_bucket_and_the_subscription_one_over_all() {
    let one = Throttling { arm_reads: bucket(2, 1, 100), ..Throttling::default() };
    let mut bench = with(Throttling { subscription_factor: 2, ..one });
    for node in ["n1", "n1"] {
        assert_eq!(read_as(&mut bench, node).status, 200);
    }
    assert_eq!(read_as(&mut bench, "n1").status, 429);
    for node in ["n2", "n2"] {
        assert_eq!(read_as(&mut bench, node).status, 200, "n2 has its own");
    }
    assert_refused(&read_as(&mut bench, "n3"), 429, "SubscriptionRequestsThrottled");
}

#[test]
fn reads_do_not_use_up_writes() {
    let mut bench = with(Throttling {
        arm_reads: bucket(1, 1, 100),
        arm_writes: bucket(1, 1, 100),
        ..Throttling::default()
    });
    read(&mut bench);
    assert_eq!(read(&mut bench).status, 429);
    assert_eq!(bench.patch("n1-nic", json!({})).status, 200);
    assert_refused(&bench.patch("n1-nic", json!({})), 429, "SubscriptionRequestsThrottled");
}

#[test]
fn the_network_provider_counts_for_all_and_only_what_is_its_own() {
    let mut bench = with(Throttling { network_reads: bucket(2, 2, 300), ..Throttling::default() });
    let vm = format!("{}?{API}", bench.world.config().vm_id("n1"));
    for _ in 0..3 {
        assert_eq!(bench.get(&vm).status, 200, "a VM is Compute's");
    }
    assert_eq!(read_as(&mut bench, "n1").status, 200);
    assert_eq!(read_as(&mut bench, "n2").status, 200);
    let refused = read_as(&mut bench, "n3");
    assert_refused(&refused, 429, "ResourceRequestsThrottled");
    assert_eq!(
        refused.body.expect("a body")["error"]["message"],
        "Number of requests for action 'Microsoft.Network/networkInterfaces/read' exceeded the limit of '2' for time interval '00:05:00'. Please try again after '10' seconds."
    );
    assert_eq!(bench.patch("n1-nic", json!({})).status, 200, "writes are counted apart");
    bench.wait(150_000);
    assert_eq!(read(&mut bench).status, 200, "one of two is back after half the time");
}

#[test]
fn polls_count_as_reads() {
    let mut bench = with(Throttling { network_reads: bucket(2, 1, 300), ..Throttling::default() });
    let body = bench.nic("n1-nic");
    let put = bench.put("n1-nic", body);
    assert_eq!(bench.poll(&put)["status"], "InProgress");
    assert_eq!(bench.poll(&put)["error"]["code"], "ResourceRequestsThrottled");
}

#[test]
fn a_throttled_write_changes_nothing_and_is_in_the_journal() {
    let mut bench = with(Throttling { arm_writes: bucket(1, 1, 1), ..Throttling::default() });
    assert_eq!(bench.patch("n1-nic", json!({"a": "1"})).status, 200);
    assert_eq!(bench.patch("n1-nic", json!({"a": "2"})).status, 429);
    let call = bench.last_write();
    assert_eq!(call.error_code.as_deref(), Some("SubscriptionRequestsThrottled"));
    assert_eq!(call.principal.as_deref(), Some("n1"));
    assert_eq!(bench.nic("n1-nic")["tags"]["a"], "1");
}

#[test]
fn buckets_can_be_drained() {
    let mut bench = with(Throttling::documented());
    bench.admin(AdminCommand::DrainBuckets { node: Some("n1".to_owned()) });
    assert_eq!(read_as(&mut bench, "n1").status, 429);
    assert_eq!(read_as(&mut bench, "n2").status, 200);
    bench.admin(AdminCommand::DrainBuckets { node: None });
    assert_eq!(read_as(&mut bench, "n2").status, 429);
    bench.wait(10_000);
    assert_eq!(read_as(&mut bench, "n2").header(READS), Some("249"));
}

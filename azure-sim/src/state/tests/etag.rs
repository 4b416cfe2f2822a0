//! ETags, `If-Match`, full replace, tags.

use super::*;

#[test]
fn a_put_answer_has_its_etag_in_the_body_only() {
    let mut bench = Bench::new();
    let before = bench.nic("n1-nic")["etag"].clone();
    let put = bench.attach("n1-nic", VIP);
    assert_eq!(put.header("etag"), None);
    let body = put.body.expect("a NIC");
    assert_ne!(body["etag"], before);
    for config in body["properties"]["ipConfigurations"].as_array().expect("a list") {
        assert_eq!(config["etag"], body["etag"]);
    }
    assert_eq!(bench.nic("n1-nic")["etag"], body["etag"], "while the operation runs");
}

#[test]
fn the_etag_changes_again_when_the_operation_ends_unless_set_otherwise() {
    for changes in [true, false] {
        let mut bench = Bench::with(|s| s.etag_changes_on_completion = changes);
        let put = bench.attach("n1-nic", VIP).body.expect("a NIC")["etag"].clone();
        bench.wait(1_000);
        assert_eq!(bench.nic("n1-nic")["etag"] != put, changes);
    }
}

#[test]
fn the_etag_of_a_put_on_an_unattached_nic_is_final() {
    let mut bench = Bench::new();
    let put = bench.attach("stranger", VIP).body.expect("a NIC");
    bench.wait(60_000);
    assert_eq!(bench.nic("stranger")["etag"], put["etag"]);
}

#[test]
fn a_put_under_an_old_etag_is_refused() {
    let mut bench = Bench::new();
    let old = bench.nic("n1-nic")["etag"].as_str().expect("a text").to_owned();
    bench.attached("n1-nic", VIP);
    let body = bench.without_address("n1-nic", VIP);
    let new = body["etag"].as_str().expect("a text").to_owned();
    let id = bench.world.config().nic_id("n1-nic");
    let stale = bench.put_request("n1-nic", body.clone()).with_header("If-Match", &old);
    let stale = bench.ask(stale);
    assert_refused(&stale, 412, "PreconditionFailed");
    assert_eq!(
        stale.body.expect("a body"),
        json!({"error": {"code": "PreconditionFailed", "message": "Precondition failed.",
            "details": [{"code": "PreconditionFailedEtagMismatch", "message": format!(
                "Etag provided in if-match header {old} does not match etag {new} of resource {id}")}]}})
    );
    let fresh = bench.put_request("n1-nic", body).with_header("If-Match", &new);
    assert_eq!(bench.ask(fresh).status, 200);
}

#[test]
fn if_match_star_needs_only_that_the_nic_exists() {
    let mut bench = Bench::new();
    let body = bench.nic("n1-nic");
    let any = bench.put_request("n1-nic", body.clone()).with_header("If-Match", "*");
    assert_eq!(bench.ask(any).status, 200);
    let gone = bench.put_request("none", body).with_header("If-Match", "*");
    assert_refused(&bench.ask(gone), 412, "PreconditionFailed");
}

#[test]
fn if_match_can_be_made_worthless() {
    let mut bench = Bench::with(|s| {
        s.put_honours_if_match = false;
        s.patch_honours_if_match = false;
    });
    let body = bench.nic("n1-nic");
    let stale = bench.put_request("n1-nic", body).with_header("If-Match", "W/\"old\"");
    assert_eq!(bench.ask(stale).status, 200);
    bench.wait(1_000);
    let patch = ArmRequest::new("PATCH", bench.nic_path("n1-nic"))
        .with_body(json!({"tags": {}}))
        .with_header("If-Match", "W/\"old\"");
    assert_eq!(bench.ask(patch).status, 200);
}

#[test]
fn an_etag_in_the_body_counts_for_nothing() {
    let mut bench = Bench::new();
    let mut body = bench.nic("n1-nic");
    body["etag"] = json!("W/\"old\"");
    assert_eq!(bench.put("n1-nic", body).status, 200);
}

#[test]
fn a_put_replaces_the_whole_nic_and_ignores_what_is_read_only() {
    let mut bench = Bench::new();
    let mut body = bench.nic("n1-nic");
    let guid = body["properties"]["resourceGuid"].clone();
    body["tags"] = json!({"a": "1"});
    body["properties"]["enableIPForwarding"] = json!(true);
    body["properties"]["networkSecurityGroup"] = json!({"id": "/some/nsg"});
    body["properties"]["somethingNew"] = json!({"kept": true});
    body["properties"]["macAddress"] = json!("mine");
    body["properties"]["resourceGuid"] = json!("mine");
    body["properties"]["virtualMachine"] = json!({"id": "mine"});
    body["properties"]["provisioningState"] = json!("mine");
    bench.put("n1-nic", body);
    bench.wait(1_000);
    let nic = bench.nic("n1-nic");
    assert_eq!(nic["properties"]["enableIPForwarding"], true);
    assert_eq!(nic["properties"]["somethingNew"], json!({"kept": true}));
    assert_eq!(nic["properties"]["resourceGuid"], guid);
    assert_eq!(nic["properties"]["macAddress"], "00-0D-3A-A5-00-00");
    assert_eq!(nic["properties"]["provisioningState"], "Succeeded");

    let bare = json!({"location": "westeurope", "properties": {
        "ipConfigurations": nic["properties"]["ipConfigurations"]}});
    bench.put("n1-nic", bare);
    bench.wait(1_000);
    let nic = bench.nic("n1-nic");
    assert_eq!(nic["tags"], json!({}));
    assert_eq!(nic["properties"]["enableIPForwarding"], false);
    assert!(nic["properties"].get("networkSecurityGroup").is_none());
    assert!(nic["properties"].get("somethingNew").is_none());
    assert!(nic["properties"].get("virtualMachine").is_some(), "read-only: it stays");
}

#[test]
fn a_tag_patch_is_no_operation_and_replaces_or_merges() {
    for (how, expected) in
        [(PatchTags::Replace, json!({"b": "2"})), (PatchTags::Merge, json!({"a": "1", "b": "2"}))]
    {
        let mut bench = Bench::with(|s| s.patch_tags = how);
        bench.patch("n1-nic", json!({"a": "1"}));
        let answer = bench.patch("n1-nic", json!({"b": "2"}));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("Azure-AsyncOperation"), None);
        let nic = bench.nic("n1-nic");
        assert_eq!(nic["tags"], expected);
        assert_eq!(nic["properties"]["provisioningState"], "Succeeded");
    }
}

#[test]
fn a_tag_patch_changes_the_etag_unless_set_otherwise() {
    for changes in [true, false] {
        let mut bench = Bench::with(|s| s.patch_changes_etag = changes);
        let before = bench.nic("n1-nic")["etag"].clone();
        let answer = bench.patch("n1-nic", json!({"a": "1"})).body.expect("a NIC");
        assert_eq!(answer["etag"] != before, changes);
        assert_eq!(bench.nic("n1-nic")["etag"], answer["etag"]);
    }
}

#[test]
fn a_tag_patch_honours_if_match_and_takes_nothing_but_tags() {
    let mut bench = Bench::new();
    let patch = ArmRequest::new("PATCH", bench.nic_path("n1-nic"));
    let stale = patch.clone().with_body(json!({"tags": {}})).with_header("If-Match", "W/\"old\"");
    assert_refused(&bench.ask(stale), 412, "PreconditionFailed");
    let more = patch.with_body(json!({"tags": {}, "properties": {}}));
    assert_refused(&bench.ask(more), 400, "InvalidRequestContent");
    assert_refused(&bench.patch("n1-nic", json!({"a": 1})), 400, "InvalidRequestContent");
    assert_refused(&bench.patch("none", json!({})), 404, "ResourceNotFound");
}

//! Long-running operations.

use super::*;

fn states(nic: &Value) -> Vec<&str> {
    let configs = nic["properties"]["ipConfigurations"].as_array().expect("a list");
    let configs = configs.iter().map(|c| &c["properties"]["provisioningState"]);
    std::iter::once(&nic["properties"]["provisioningState"])
        .chain(configs)
        .map(|state| state.as_str().expect("a text"))
        .collect()
}

#[test]
fn a_put_on_the_nic_of_a_running_vm_is_accepted_and_takes_its_time() {
    let mut bench = Bench::new();
    let put = bench.attach("n1-nic", VIP);
    assert_eq!(put.status, 200);
    assert_eq!(put.header("Location"), None);
    assert_eq!(put.header("Retry-After"), Some("10"));
    assert_eq!(put.header("Azure-AsyncNotification"), Some("Enabled"));
    let guid = put.header("x-ms-request-id").expect("an id").to_owned();
    let subscription = bench.world.config().subscription.clone();
    assert_eq!(
        put.header("Azure-AsyncOperation").expect("a URL"),
        format!(
            "https://management.azure.com/subscriptions/{subscription}/providers/Microsoft.Network/locations/westeurope/operations/{guid}?{API}"
        )
    );
    assert_eq!(states(put.body.as_ref().expect("a NIC")), ["Updating"; 3]);
    let nic = bench.nic("n1-nic");
    assert_eq!(states(&nic), ["Updating"; 3]);
    assert_eq!(
        nic["properties"]["ipConfigurations"][1]["properties"]["privateIPAddress"],
        "10.5.0.110"
    );
    assert_eq!(bench.poll(&put), json!({"status": "InProgress"}));
    bench.wait(999);
    assert_eq!(bench.poll(&put), json!({"status": "InProgress"}));
    bench.wait(1);
    assert_eq!(bench.poll(&put), json!({"status": "Succeeded"}));
    assert_eq!(states(&bench.nic("n1-nic")), ["Succeeded"; 3]);
}

#[test]
fn only_an_unfinished_poll_says_when_to_ask_again() {
    let mut bench = Bench::new();
    let put = bench.attach("n1-nic", VIP);
    let url = put.header("Azure-AsyncOperation").expect("a URL").to_owned();
    let path = url.trim_start_matches("https://management.azure.com");
    assert_eq!(bench.get(path).header("Retry-After"), Some("10"));
    bench.wait(1_000);
    assert_eq!(bench.get(path).header("Retry-After"), None);
}

#[test]
fn a_put_on_a_nic_without_a_running_vm_has_succeeded_at_once() {
    let mut bench = Bench::new();
    bench.admin(AdminCommand::SetPower { node: "n1".to_owned(), power: Power::Deallocated });
    for nic in ["stranger", "n1-nic"] {
        let put = bench.attach(nic, VIP);
        assert_eq!(states(put.body.as_ref().expect("a NIC")), ["Succeeded"; 3]);
        assert_eq!(bench.poll(&put), json!({"status": "Succeeded"}));
        assert_eq!(bench.reaches(VIP), Some(nic.to_owned()));
        bench.detach(nic, VIP);
        assert_eq!(bench.reaches(VIP), None);
    }
}

#[test]
fn a_stopped_vm_still_costs_an_operation() {
    let mut bench = Bench::new();
    bench.admin(AdminCommand::SetPower { node: "n1".to_owned(), power: Power::Stopped });
    let put = bench.attach("n1-nic", VIP);
    assert_eq!(bench.poll(&put), json!({"status": "InProgress"}));
}

#[test]
fn a_put_that_changes_nothing_is_still_an_operation() {
    let mut bench = Bench::new();
    let body = bench.nic("n1-nic");
    let put = bench.put("n1-nic", body);
    assert_eq!(bench.poll(&put), json!({"status": "InProgress"}));
    bench.wait(1_000);
    assert_eq!(bench.world.attachments_version(), 4, "only the four NICs of the beginning");
}

#[test]
fn the_duration_can_change_and_detaching_can_have_its_own() {
    let mut bench = Bench::with(|s| s.detach_operation_ms = Some(5_000));
    let put = bench.attach("n1-nic", VIP);
    bench.wait(1_000);
    assert_eq!(bench.poll(&put)["status"], "Succeeded");
    let put = bench.detach("n1-nic", VIP);
    bench.wait(4_999);
    assert_eq!(bench.poll(&put)["status"], "InProgress");
    bench.wait(1);
    assert_eq!(bench.poll(&put)["status"], "Succeeded");
    bench.admin(AdminCommand::SetOperationMs { ms: 0 });
    let put = bench.attach("n1-nic", VIP);
    assert_eq!(states(put.body.as_ref().expect("a NIC")), ["Updating"; 3]);
    assert_eq!(bench.poll(&put)["status"], "Succeeded");
}

#[test]
fn a_second_put_during_an_operation_is_asked_to_come_again() {
    let mut bench = Bench::with(|s| s.operation_ms = 14_000);
    let put = bench.attach("n1-nic", VIP);
    let guid = put.header("x-ms-request-id").expect("an id").to_owned();
    let body = bench.nic("n1-nic");
    let again = bench.put("n1-nic", body);
    assert_refused(&again, 429, "RetryableError");
    assert_eq!(again.header("Retry-After"), Some("14"));
    let id = bench.world.config().nic_id("n1-nic");
    assert_eq!(
        detail(&again),
        (
            "RetryableErrorDueToAnotherOperation".to_owned(),
            format!(
                "Operation PutNicOperation ({guid}) is updating resource {id}. The call can be retried in 14 seconds."
            ),
        )
    );
    assert_refused(&bench.patch("n1-nic", json!({})), 429, "RetryableError");
    bench.wait(14_000);
    assert_eq!(bench.patch("n1-nic", json!({})).status, 200);
}

#[test]
fn a_second_put_during_an_operation_is_a_conflict_by_setting() {
    let mut bench = Bench::with(|s| s.concurrent_write = ConcurrentWrite::Conflict409);
    let put = bench.attach("n1-nic", VIP);
    let body = bench.nic("n1-nic");
    let again = bench.put("n1-nic", body);
    assert_refused(&again, 409, "AnotherOperationInProgress");
    let message = again.body.expect("a body")["error"]["message"].as_str().map(str::to_owned);
    assert!(message.expect("a text").contains(put.header("Azure-AsyncOperation").expect("a URL")));
    assert_refused(&bench.patch("n1-nic", json!({})), 409, "AnotherOperationInProgress");
}

#[test]
fn a_patch_during_an_operation_can_be_let_through() {
    let mut bench = Bench::with(|s| s.patch_waits_for_operation = false);
    bench.attach("n1-nic", VIP);
    assert_eq!(bench.patch("n1-nic", json!({"a": "1"})).status, 200);
}

#[test]
fn a_second_put_cancels_the_first_by_setting() {
    let mut bench = Bench::with(|s| s.concurrent_write = ConcurrentWrite::Supersede);
    let first = bench.attach("n1-nic", VIP);
    bench.wait(500);
    let second = bench.detach("n1-nic", VIP);
    assert_eq!(second.status, 200);
    let old = bench.poll(&first);
    assert_eq!(old["status"], "Canceled");
    assert_eq!(old["error"]["details"][0]["code"], "CanceledAndSupersededDueToAnotherOperation");
    bench.wait(500);
    assert_eq!(bench.poll(&second)["status"], "InProgress");
    bench.wait(500);
    assert_eq!(bench.poll(&second)["status"], "Succeeded");
    assert_eq!(bench.reaches(VIP), None);
}

#[test]
fn an_operation_url_can_be_unknown_at_first() {
    let mut bench = Bench::with(|s| s.early_operation_404_ms = 300);
    let put = bench.attach("n1-nic", VIP);
    assert_eq!(bench.poll(&put)["error"]["code"], "NotFound");
    bench.wait(300);
    assert_eq!(bench.poll(&put)["status"], "InProgress");
}

#[test]
fn a_put_creates_what_is_not_there() {
    let mut bench = Bench::new();
    let mut body = bench.nic("stranger");
    body["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] = json!("10.5.0.9");
    body["properties"]["ipConfigurations"][0]["properties"]["privateIPAllocationMethod"] =
        json!("Static");
    let put = bench.put("new", body);
    assert_eq!(put.status, 201);
    assert_eq!(bench.last_write().added, [IpAddr::from([10, 5, 0, 9])]);
    assert_eq!(bench.reaches([10, 5, 0, 9].into()), Some("new".to_owned()));
}

#[test]
fn a_nic_in_use_cannot_be_deleted_and_a_free_one_can() {
    let mut bench = Bench::new();
    let delete = |bench: &mut Bench, nic: &str| {
        let path = bench.nic_path(nic);
        bench.ask(ArmRequest::new("DELETE", path))
    };
    let used = delete(&mut bench, "n1-nic");
    assert_refused(&used, 400, "NicInUse");
    assert_eq!(used.body.expect("a body")["error"]["details"], json!([]));
    let gone = delete(&mut bench, "stranger");
    assert_eq!((gone.status, gone.body.as_ref()), (202, None));
    assert!(gone.header("Location").expect("a URL").contains("/operationResults/"));
    assert_eq!(bench.poll(&gone)["status"], "Succeeded");
    assert_eq!(delete(&mut bench, "stranger").status, 204);
    assert_eq!(bench.reaches([10, 5, 0, 200].into()), None);
}

#[test]
fn finished_operations_are_forgotten_in_the_end() {
    let mut config = WorldConfig::nodes(1);
    config.limits.operations = 2;
    let mut bench = Bench { world: World::new(config).expect("a world"), now: Duration::ZERO };
    let first = bench.attach("n1-nic", VIP);
    for _ in 0..2 {
        bench.wait(1_000);
        let body = bench.nic("n1-nic");
        bench.put("n1-nic", body);
    }
    assert_eq!(bench.poll(&first)["status"], "Succeeded");
    bench.wait(1_000);
    assert_eq!(bench.poll(&first)["error"]["code"], "NotFound");
}

//! Operations that start, wait and end in other ways than the usual one.

use super::*;

fn path_of(put: &ArmResponse) -> String {
    let url = put.header("Azure-AsyncOperation").expect("an operation");
    url.trim_start_matches("https://management.azure.com").to_owned()
}

fn provisioning(bench: &mut Bench, nic: &str) -> String {
    let nic = bench.nic(nic);
    nic["properties"]["provisioningState"].as_str().expect("a text").to_owned()
}

#[test]
fn retry_after_grows_by_setting_with_each_unfinished_poll() {
    let mut bench = Bench::with(|s| {
        s.retry_after_grows = true;
        s.early_operation_404_ms = 10;
    });
    let put = bench.attach("n1-nic", VIP);
    assert_eq!(put.header("Retry-After"), Some("10"));
    let path = path_of(&put);
    assert_eq!(bench.get(&path).status, 404, "does not count");
    bench.wait(10);
    let told: Vec<String> = (0..7)
        .map(|_| bench.get(&path).header("Retry-After").expect("a wait").to_owned())
        .collect();
    assert_eq!(told, ["20", "40", "80", "160", "100", "100", "100"]);
    bench.wait(990);
    assert_eq!(bench.get(&path).header("Retry-After"), None);
    let put = bench.detach("n1-nic", VIP);
    bench.wait(10);
    assert_eq!(bench.get(&path_of(&put)).header("Retry-After"), Some("20"), "each on its own");
}

#[test]
fn which_vms_are_updated_is_a_setting() {
    use Power::{Deallocated, Running, Stopped};
    for (update, power, state) in [
        (TenantUpdate::Running, Running, "Updating"),
        (TenantUpdate::Running, Stopped, "Succeeded"),
        (TenantUpdate::Running, Deallocated, "Succeeded"),
        (TenantUpdate::Allocated, Running, "Updating"),
        (TenantUpdate::Allocated, Stopped, "Updating"),
        (TenantUpdate::Allocated, Deallocated, "Succeeded"),
        (TenantUpdate::Always, Deallocated, "Updating"),
    ] {
        let mut bench = Bench::with(|s| s.tenant_update = update);
        bench.admin(AdminCommand::SetPower { node: "n1".to_owned(), power });
        let put = bench.attach("n1-nic", VIP);
        let body = put.body.as_ref().expect("a NIC");
        assert_eq!(body["properties"]["provisioningState"], state, "{update:?} {power:?}");
        assert_eq!(bench.reaches(VIP).is_some(), state == "Succeeded");
    }
}

#[test]
fn an_operation_on_the_nic_of_a_vm_that_is_being_deleted_fails() {
    let mut bench = Bench::new();
    bench.attached("n1-nic", VIP);
    bench.admin(AdminCommand::SetPower { node: "n1".to_owned(), power: Power::Deleting });
    let put = bench.detach("n1-nic", VIP);
    assert_eq!(put.status, 200);
    bench.wait(1_000);
    let poll = bench.poll(&put);
    assert_eq!(poll["status"], "Failed");
    assert_eq!(poll["error"]["code"], "OperationNotAllowed");
    assert_eq!(
        poll["error"]["message"],
        "Operation 'startTenantUpdate' is not allowed on VM 'n1' since the VM is marked for deletion. You can only retry the Delete operation (or wait for an ongoing one to complete)."
    );
    assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()));
}

#[test]
fn a_second_put_is_answered_429_another_operation_by_setting() {
    let mut bench = Bench::with(|s| {
        s.operation_ms = 14_000;
        s.concurrent_write = ConcurrentWrite::InProgress429;
    });
    let put = bench.attach("n1-nic", VIP);
    let body = bench.nic("n1-nic");
    let again = bench.put("n1-nic", body);
    assert_refused(&again, 429, "AnotherOperationInProgress");
    assert_eq!(again.header("Retry-After"), Some("14"));
    assert_eq!(
        again.body.expect("a body")["error"]["message"],
        format!(
            "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: {}.",
            put.header("Azure-AsyncOperation").expect("a URL")
        )
    );
}

#[test]
fn a_second_put_is_taken_and_fails_later_by_setting() {
    let mut bench = Bench::with(|s| {
        s.concurrent_write = ConcurrentWrite::FailLater;
        s.etag_changes_on_completion = false;
    });
    let first = bench.attach("n1-nic", VIP);
    let etag = first.body.as_ref().expect("a NIC")["etag"].clone();
    bench.wait(400);
    let second = bench.detach("n1-nic", VIP);
    assert_eq!(second.status, 200);
    let shown = second.body.as_ref().expect("a NIC");
    assert_eq!(shown["properties"]["provisioningState"], "Updating");
    assert_eq!(shown["properties"]["ipConfigurations"].as_array().expect("a list").len(), 1);
    assert_ne!(shown["etag"], etag);
    assert_eq!(bench.poll(&second), json!({"status": "InProgress"}));
    assert_eq!(bench.world.status().operations.len(), 2);
    assert_refused(&bench.patch("n1-nic", json!({})), 409, "AnotherOperationInProgress");
    bench.wait(600);
    assert_eq!(bench.poll(&first)["status"], "Succeeded");
    assert_eq!(provisioning(&mut bench, "n1-nic"), "Succeeded");
    bench.wait(400);
    let url = first.header("Azure-AsyncOperation").expect("a URL");
    assert_eq!(
        bench.poll(&second),
        json!({"status": "Failed", "error": {
            "code": "AnotherOperationInProgress",
            "message": format!("Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: {url}."),
            "details": [],
        }})
    );
    // Nothing came of it.
    let nic = bench.nic("n1-nic");
    assert_eq!(nic["etag"], etag);
    assert_eq!(nic["properties"]["provisioningState"], "Succeeded");
    assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()));
}

#[test]
fn an_operation_can_be_canceled() {
    let mut bench = Bench::new();
    let put = bench.attach("n1-nic", VIP);
    let guid = put.header("x-ms-request-id").expect("an id").to_owned();
    bench.admin(AdminCommand::CancelOperation { nic: "n1-nic".to_owned() });
    let poll = bench.poll(&put);
    assert_eq!(poll["status"], "Canceled");
    assert_eq!(poll["error"]["code"], "Canceled");
    assert_eq!(poll["error"]["message"], "Operation was canceled.");
    let detail = &poll["error"]["details"][0];
    assert_eq!(detail["code"], "CanceledAndSupersededDueToAnotherOperation");
    let begin = format!(
        "Operation PutNicOperation ({guid}) was canceled and superseded by operation PutNicOperation ("
    );
    assert!(detail["message"].as_str().expect("a text").starts_with(&begin), "{detail}");
    assert_eq!(provisioning(&mut bench, "n1-nic"), "Failed");
    bench.wait(60_000);
    assert_eq!(bench.reaches(VIP), None);
    let again = AdminCommand::CancelOperation { nic: "n1-nic".to_owned() };
    let refused = bench.world.admin(bench.now, again).expect_err("nothing runs");
    assert_eq!(refused, AdminError::NoOperation("n1-nic".to_owned()));
}

#[test]
fn a_nic_can_be_failed_already_and_the_next_put_heals_it() {
    let mut bench = Bench::new();
    let etag = bench.nic("n1-nic")["etag"].clone();
    bench.admin(AdminCommand::FailNic { nic: "n1-nic".to_owned() });
    let nic = bench.nic("n1-nic");
    assert_eq!(nic["properties"]["provisioningState"], "Failed");
    assert_eq!(
        nic["properties"]["ipConfigurations"][0]["properties"]["provisioningState"],
        "Failed"
    );
    assert_ne!(nic["etag"], etag);
    let put = bench.attach("n1-nic", VIP);
    bench.wait(1_000);
    assert_eq!(bench.poll(&put)["status"], "Succeeded");
    assert_eq!(provisioning(&mut bench, "n1-nic"), "Succeeded");
}

#[test]
fn failing_a_nic_fails_the_operation_that_runs_on_it() {
    let mut bench = Bench::new();
    let put = bench.attach("n1-nic", VIP);
    bench.admin(AdminCommand::FailNic { nic: "n1-nic".to_owned() });
    let poll = bench.poll(&put);
    assert_eq!(
        (&poll["status"], &poll["error"]["code"]),
        (&json!("Failed"), &json!("InternalServerError"))
    );
    assert_eq!(provisioning(&mut bench, "n1-nic"), "Failed");
    assert_eq!(bench.world.status().operations, []);
}

#[test]
fn running_operations_are_listed_with_when_they_end() {
    let mut bench = Bench::new();
    bench.wait(5);
    let put = bench.attach("n1-nic", VIP);
    let operation = RunningOperation {
        guid: put.header("x-ms-request-id").expect("an id").to_owned(),
        resource: bench.world.config().nic_id("n1-nic"),
        principal: Some("n1".to_owned()),
        accepted_ms: 5,
        due_ms: 1_005,
    };
    assert_eq!(bench.world.status().operations, [operation]);
}

//! The tags of a NIC as a resource of their own.

use super::*;

impl Bench {
    fn tags(&mut self, method: &str, body: Value) -> ArmResponse {
        let id = self.world.config().nic_id("n1-nic");
        let path =
            format!("{id}/providers/Microsoft.Resources/tags/default?api-version=2024-11-01");
        self.ask(ArmRequest::new(method, path).with_body(body))
    }
}

#[test]
fn tags_are_replaced_merged_and_deleted_by_name_and_value() {
    let mut bench = Bench::new();
    let sent = |tags: Value| json!({"properties": {"tags": tags}});
    let answer = bench.tags("PUT", sent(json!({"a": "1", "b": "2"})));
    let id = bench.world.config().nic_id("n1-nic");
    assert_eq!(
        answer.body.expect("a body"),
        json!({
            "id": format!("{id}/providers/Microsoft.Resources/tags/default"),
            "name": "default",
            "type": "Microsoft.Resources/tags",
            "properties": {"tags": {"a": "1", "b": "2"}},
        })
    );
    for (operation, tags, left) in [
        ("Merge", json!({"c": "3", "a": "9"}), json!({"a": "9", "b": "2", "c": "3"})),
        ("Delete", json!({"a": "1", "b": "2"}), json!({"a": "9", "c": "3"})),
        ("Replace", json!({"d": "4"}), json!({"d": "4"})),
    ] {
        let answer =
            bench.tags("PATCH", json!({"operation": operation, "properties": {"tags": tags}}));
        assert_eq!(answer.body.expect("a body")["properties"]["tags"], left, "{operation}");
        assert_eq!(bench.nic("n1-nic")["tags"], left);
    }
    assert_refused(&bench.tags("PATCH", sent(json!({}))), 400, "InvalidRequestContent");
    assert_eq!(bench.tags("DELETE", json!({})).status, 200);
    assert_eq!(bench.tags("GET", json!({})).body.expect("a body")["properties"]["tags"], json!({}));
}

#[test]
fn tags_of_a_locked_nic_and_of_one_that_is_being_written_stay() {
    let mut bench = Bench::new();
    let body = json!({"operation": "Merge", "properties": {"tags": {"a": "1"}}});
    bench.admin(AdminCommand::SetLock { nic: None, lock: Some(Lock::ReadOnly) });
    assert_refused(&bench.tags("PATCH", body.clone()), 409, "ScopeLocked");
    bench.admin(AdminCommand::SetLock { nic: None, lock: None });
    bench.attach("n1-nic", VIP);
    assert_refused(&bench.tags("PATCH", body), 429, "RetryableError");
}

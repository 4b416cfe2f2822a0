//! Conditions that last: locks, policies, subnets, rights to join.

use super::*;

fn delete(bench: &mut Bench, nic: &str) -> ArmResponse {
    let path = bench.nic_path(nic);
    bench.ask(ArmRequest::new("DELETE", path))
}

fn put_as_is(bench: &mut Bench, nic: &str) -> ArmResponse {
    let body = bench.nic(nic);
    bench.put(nic, body)
}

#[test]
fn a_read_only_lock_refuses_every_write_until_it_is_gone() {
    let mut bench = Bench::new();
    let nic = || Some("N1-NIC".to_owned());
    bench.admin(AdminCommand::SetLock { nic: nic(), lock: Some(Lock::ReadOnly) });
    let refused = put_as_is(&mut bench, "n1-nic");
    assert_refused(&refused, 409, "ScopeLocked");
    let id = bench.world.config().nic_id("n1-nic");
    // The front door's envelope: no details.
    assert_eq!(
        refused.body.expect("a body"),
        json!({"error": {"code": "ScopeLocked", "message": format!(
            "The scope '{id}' cannot perform write operation because following scope(s) are locked: '{id}'. Please remove the lock and try again."
        )}})
    );
    assert_refused(&bench.patch("n1-nic", json!({})), 409, "ScopeLocked");
    assert_refused(&delete(&mut bench, "n1-nic"), 409, "ScopeLocked");
    assert_eq!(put_as_is(&mut bench, "n2-nic").status, 200, "another NIC");
    assert_eq!(bench.world.status().locks, [(id, Lock::ReadOnly)].into());
    bench.admin(AdminCommand::SetLock { nic: nic(), lock: None });
    assert_eq!(put_as_is(&mut bench, "n1-nic").status, 200);
}

#[test]
fn a_lock_against_deletion_on_the_group_refuses_nothing_else() {
    let mut bench = Bench::new();
    bench.admin(AdminCommand::SetLock { nic: None, lock: Some(Lock::CanNotDelete) });
    let refused = delete(&mut bench, "stranger");
    assert_refused(&refused, 409, "ScopeLocked");
    let (id, group) =
        (bench.world.config().nic_id("stranger"), bench.world.config().resource_group_id());
    assert_eq!(
        refused.body.expect("a body")["error"]["message"],
        format!(
            "The scope '{id}' cannot perform delete operation because following scope(s) are locked: '{group}'. Please remove the lock and try again."
        )
    );
    assert_eq!(put_as_is(&mut bench, "stranger").status, 200);
    bench.admin(AdminCommand::SetLock { nic: None, lock: Some(Lock::ReadOnly) });
    assert_refused(&put_as_is(&mut bench, "stranger"), 409, "ScopeLocked");
}

#[test]
fn a_policy_denies_writes_by_its_name() {
    let mut bench = Bench::new();
    let policy = Some("no-secondary".to_owned());
    bench.admin(AdminCommand::SetPolicy { nic: None, policy });
    let refused = put_as_is(&mut bench, "n1-nic");
    assert_refused(&refused, 403, "RequestDisallowedByPolicy");
    let group = bench.world.config().resource_group_id();
    assert_eq!(
        refused.body.expect("a body")["error"]["message"],
        format!(
            r#"Resource 'n1-nic' was disallowed by policy. Policy identifiers: '[{{"policyAssignment":{{"id":"{group}/providers/Microsoft.Authorization/policyAssignments/no-secondary","name":"no-secondary"}},"policyDefinition":{{"id":"{group}/providers/Microsoft.Authorization/policyDefinitions/no-secondary","name":"no-secondary"}}}}]'."#
        )
    );
    assert_refused(&bench.patch("n2-nic", json!({})), 403, "RequestDisallowedByPolicy");
    assert_eq!(delete(&mut bench, "stranger").status, 202, "a deny is for what is written");
    bench.admin(AdminCommand::SetPolicy { nic: None, policy: None });
    assert_eq!(put_as_is(&mut bench, "n1-nic").status, 200);
}

#[test]
fn a_third_party_is_stopped_by_neither() {
    let mut bench = Bench::new();
    bench.admin(AdminCommand::SetLock { nic: None, lock: Some(Lock::ReadOnly) });
    let attach = AdminCommand::ThirdPartyAttach {
        nic: "n1-nic".to_owned(),
        address: VIP,
        ip_config: None,
        immediate: true,
    };
    let AdminReply::Answer { response } = bench.admin(attach) else { panic!("no answer") };
    assert_eq!(response.status, 200);
}

#[test]
fn a_nic_waits_for_its_subnet() {
    let mut bench = Bench::new();
    let set = |trouble| AdminCommand::SetSubnet {
        virtual_network: "VNET".to_owned(),
        subnet: "subnet".to_owned(),
        trouble,
    };
    let subnet = bench.world.config().subnet_id("vnet", "subnet");
    let why = |state| {
        format!(
            "Cannot proceed with operation because resource {subnet} is not in Succeeded state. Resource is in {state} state and the last operation that updated/is updating the resource is PutSubnetOperation."
        )
    };
    bench.admin(set(Some(SubnetTrouble::Updating)));
    let refused = put_as_is(&mut bench, "n1-nic");
    assert_refused(&refused, 429, "RetryableError");
    assert_eq!(detail(&refused), ("ReferencedResourceNotProvisioned".to_owned(), why("Updating")));
    bench.admin(set(Some(SubnetTrouble::Failed)));
    let refused = put_as_is(&mut bench, "n1-nic");
    assert_refused(&refused, 400, "ReferencedResourceNotProvisioned");
    assert_eq!(refused.body.expect("a body")["error"]["message"], why("Failed"));
    assert_eq!(bench.patch("n1-nic", json!({})).status, 200, "tags refer to nothing");
    bench.admin(set(None));
    assert_eq!(put_as_is(&mut bench, "n1-nic").status, 200);
}

#[test]
fn without_a_right_to_join_no_nic_is_put_back_even_unchanged() {
    let mut config = WorldConfig::nodes(2);
    let group =
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/nsg";
    config.nics[0].network_security_group = Some(group.to_owned());
    let mut bench = Bench { world: World::new(config).expect("a world"), now: Duration::ZERO };
    let rights = Rights { join: false, ..Rights::default() };
    bench.admin(AdminCommand::SetRights { node: "n1".to_owned(), rights });
    let refused = put_as_is(&mut bench, "n1-nic");
    assert_refused(&refused, 403, "LinkedAuthorizationFailed");
    let message = refused.body.expect("a body")["error"]["message"].as_str().map(str::to_owned);
    let message = message.expect("a text");
    let id = bench.world.config().nic_id("n1-nic");
    let rest = format!(
        "has permission to perform action 'Microsoft.Network/networkInterfaces/write' on scope '{id}'; however, it does not have permission to perform action 'Microsoft.Network/networkSecurityGroups/join/action' on the linked scope(s) '{group}' or the linked scope(s) are invalid."
    );
    assert!(message.ends_with(&rest), "{message}");
    // Without a security group it is the subnet; a PATCH joins nothing.
    let refused = put_as_is(&mut bench, "n2-nic");
    let message = refused.body.expect("a body")["error"]["message"].to_string();
    assert!(message.contains("Microsoft.Network/virtualNetworks/subnets/join/action"), "{message}");
    assert_eq!(bench.patch("n1-nic", json!({})).status, 200);
}

#[test]
fn a_condition_about_nothing_is_refused() {
    let mut bench = Bench::new();
    let now = bench.now;
    let mut refused = |command| bench.world.admin(now, command).expect_err("refused").to_string();
    let nic = || "none".to_owned();
    assert_eq!(
        refused(AdminCommand::SetLock { nic: Some(nic()), lock: None }),
        "there is no NIC none"
    );
    assert_eq!(
        refused(AdminCommand::SetPolicy { nic: Some(nic()), policy: None }),
        "there is no NIC none"
    );
    let (virtual_network, subnet) = ("vnet".to_owned(), "none".to_owned());
    let set = AdminCommand::SetSubnet { virtual_network, subnet, trouble: None };
    assert_eq!(refused(set), "there is no subnet vnet/none");
    assert_eq!(refused(AdminCommand::DrainBuckets { node: Some(nic()) }), "there is no VM none");
}

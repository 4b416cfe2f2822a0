//! Locks and permissions, as whoever asks beforehand reads them.

use super::*;

const AUTHORIZATION: &str = "/providers/Microsoft.Authorization";

fn read(bench: &mut Bench, scope: &str, what: &str) -> Vec<Value> {
    let path = format!("{scope}{AUTHORIZATION}/{what}?{API}&$filter=atScope()");
    let answer = bench.ask(ArmRequest::new("GET", &path));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.expect("a body")["value"].as_array().expect("a list").clone()
}

#[test]
fn a_lock_is_listed_where_it_is_and_below() {
    let mut bench = Bench::new();
    let config = WorldConfig::nodes(3);
    let (n1, n2) = (config.nic_id("n1-nic"), config.nic_id("n2-nic"));
    assert!(read(&mut bench, &n1, "locks").is_empty());
    let now = bench.now;
    for command in [
        AdminCommand::SetLock { nic: Some("n1-nic".to_owned()), lock: Some(Lock::ReadOnly) },
        AdminCommand::SetLock { nic: None, lock: Some(Lock::CanNotDelete) },
    ] {
        bench.world.admin(now, command).expect("obeyed");
    }
    let levels = |locks: Vec<Value>| -> Vec<Value> {
        locks.iter().map(|lock| lock["properties"]["level"].clone()).collect()
    };
    assert_eq!(levels(read(&mut bench, &n1, "locks")), ["CanNotDelete", "ReadOnly"]);
    assert_eq!(levels(read(&mut bench, &n2, "locks")), ["CanNotDelete"]);
    let group = config.resource_group_id().to_uppercase();
    assert_eq!(levels(read(&mut bench, &group, "locks")), ["CanNotDelete"]);
}

#[test]
fn the_roles_of_who_asks_are_its_permissions_below_their_scopes() {
    let mut config = WorldConfig::nodes(1);
    let (nic, group) = (config.nic_id("n1-nic"), config.resource_group_id());
    let reader = RoleAssignment { role: Role::BuiltIn(BuiltInRole::Reader), scope: group.clone() };
    let writer = RoleDefinition {
        name: "writer".to_owned(),
        actions: vec!["Microsoft.Network/networkInterfaces/*".to_owned()],
        not_actions: vec!["*/delete".to_owned()],
        assignable_scopes: vec![],
    };
    let writer = RoleAssignment { role: Role::Custom(writer), scope: nic.clone() };
    config.vms[0].roles = Some(vec![reader, writer]);
    let mut bench = Bench::of(config);
    let at_nic = read(&mut bench, &nic, "permissions");
    assert_eq!(at_nic.len(), 2);
    assert_eq!(at_nic[0]["actions"], json!(["*/read"]));
    assert_eq!(at_nic[1]["notActions"], json!(["*/delete"]));
    assert_eq!(read(&mut bench, &group, "permissions").len(), 1);
}

#[test]
fn without_roles_everything_is_allowed_but_what_was_taken() {
    let mut bench = Bench::new();
    let nic = WorldConfig::nodes(3).nic_id("n1-nic");
    let entries = read(&mut bench, &nic, "permissions");
    assert_eq!((entries[0]["actions"].clone(), entries.len()), (json!(["*"]), 1));
    assert_eq!(entries[0]["notActions"], json!([]));
    let now = bench.now;
    let rights = Rights { write: false, ..Rights::default() };
    bench
        .world
        .admin(now, AdminCommand::SetRights { node: "n1".to_owned(), rights })
        .expect("obeyed");
    let entries = read(&mut bench, &nic, "permissions");
    assert_eq!(entries[0]["notActions"], json!(["*/write", "*/delete"]));
}

#[test]
fn a_region_tells_how_many_addresses_a_nic_may_have() {
    let mut bench = Bench::new();
    let subscription = WorldConfig::nodes(3).subscription;
    let path = format!(
        "/subscriptions/{subscription}/providers/Microsoft.Network/locations/westeurope/usages?{API}"
    );
    let answer = bench.ask(ArmRequest::new("GET", &path)).body.expect("a body");
    let usage = &answer["value"][0];
    assert_eq!(usage["name"]["value"], "SecondaryIPConfigurationsPerNetworkInterface");
    assert_eq!(usage["limit"], 256);
}

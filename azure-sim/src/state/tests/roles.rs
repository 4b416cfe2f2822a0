//! What the roles of an identity let through, and how Azure says no.

use super::*;

const NETWORK: &str = "/subscriptions/s2/resourceGroups/net/providers/Microsoft.Network";

/// n1 has this NIC, which refers to everything that a NIC can refer to; nothing of it is in the
/// NIC's resource group but the subnet.
fn document(bench: &mut Bench) -> Value {
    let mut body = bench.nic("n1-nic");
    let id = |kind: &str, name: &str| json!({"id": format!("{NETWORK}/{kind}/{name}")});
    let properties = &mut body["properties"];
    properties["networkSecurityGroup"] = id("networkSecurityGroups", "nsg");
    let config = &mut properties["ipConfigurations"][0]["properties"];
    config["applicationSecurityGroups"] = json!([id("applicationSecurityGroups", "web")]);
    config["publicIPAddress"] = id("publicIPAddresses", "pip");
    config["loadBalancerBackendAddressPools"] =
        json!([id("loadBalancers", "lb/backendAddressPools/p")]);
    config["loadBalancerInboundNatRules"] = json!([id("loadBalancers", "lb/inboundNatRules/r")]);
    body
}

const JOINS: [(&str, &str); 5] = [
    ("networkSecurityGroups/join/action", "networkSecurityGroups/nsg"),
    ("applicationSecurityGroups/joinIpConfiguration/action", "applicationSecurityGroups/web"),
    ("publicIPAddresses/join/action", "publicIPAddresses/pip"),
    ("loadBalancers/backendAddressPools/join/action", "loadBalancers/lb/backendAddressPools/p"),
    ("loadBalancers/inboundNatRules/join/action", "loadBalancers/lb/inboundNatRules/r"),
];

fn custom(actions: &[String]) -> Role {
    Role::Custom(RoleDefinition {
        name: "mine".to_owned(),
        actions: actions.to_vec(),
        not_actions: Vec::new(),
        assignable_scopes: Vec::new(),
    })
}

fn at(role: Role, scope: &str) -> RoleAssignment {
    RoleAssignment { role, scope: scope.to_owned() }
}

fn set(bench: &mut Bench, assignments: Option<Vec<RoleAssignment>>) {
    bench.admin(AdminCommand::SetRoles { node: "n1".to_owned(), assignments });
}

fn message(answer: &ArmResponse) -> String {
    answer.body.as_ref().expect("a body")["error"]["message"].as_str().expect("a text").to_owned()
}

/// n1 may do this everywhere, and nothing else.
fn may(bench: &mut Bench, actions: &[String]) {
    set(bench, Some(vec![at(custom(actions), "/")]));
}

/// All requests there are, by the action that each needs: method, path below the group (without the
/// group: below the subscription), and the scope that a refusal names, likewise.
const REQUESTS: [(&str, &str, &str, &str); 13] = [
    (
        "GET",
        "Microsoft.Network/networkInterfaces/read",
        "Microsoft.Network/networkInterfaces/n1-nic",
        "",
    ),
    (
        "GET",
        "Microsoft.Network/networkInterfaces/read",
        "Microsoft.Network/networkInterfaces",
        "Microsoft.Network",
    ),
    (
        "GET",
        "Microsoft.Network/networkInterfaces/ipconfigurations/read",
        "Microsoft.Network/networkInterfaces/n1-nic/ipConfigurations",
        "Microsoft.Network/networkInterfaces/n1-nic",
    ),
    (
        "GET",
        "Microsoft.Network/networkInterfaces/ipconfigurations/read",
        "Microsoft.Network/networkInterfaces/n1-nic/ipConfigurations/ipconfig1",
        "",
    ),
    ("GET", "Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/vnet", ""),
    (
        "GET",
        "Microsoft.Network/virtualNetworks/subnets/read",
        "Microsoft.Network/virtualNetworks/vnet/subnets/subnet",
        "",
    ),
    (
        "GET",
        "Microsoft.Network/virtualNetworks/checkIpAddressAvailability/read",
        "Microsoft.Network/virtualNetworks/vnet/CheckIPAddressAvailability",
        "Microsoft.Network/virtualNetworks/vnet",
    ),
    ("GET", "Microsoft.Compute/virtualMachines/read", "Microsoft.Compute/virtualMachines/n1", ""),
    (
        "GET",
        "Microsoft.Compute/virtualMachines/read",
        "Microsoft.Compute/virtualMachines",
        "Microsoft.Compute",
    ),
    (
        "PATCH",
        "Microsoft.Network/networkInterfaces/write",
        "Microsoft.Network/networkInterfaces/n1-nic",
        "",
    ),
    (
        "PUT",
        "Microsoft.Network/networkInterfaces/write",
        "Microsoft.Network/networkInterfaces/n1-nic",
        "",
    ),
    (
        "PUT",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "Microsoft.Network/networkInterfaces/n1-nic",
        "Microsoft.Network/virtualNetworks/vnet/subnets/subnet",
    ),
    (
        "DELETE",
        "Microsoft.Network/networkInterfaces/delete",
        "Microsoft.Network/networkInterfaces/stranger",
        "",
    ),
];

#[test]
fn each_action_taken_away_is_missed_where_it_is_needed_and_nowhere_else() {
    let mut actions: Vec<String> =
        REQUESTS.iter().map(|(_, action, ..)| (*action).to_owned()).collect();
    actions.dedup();
    let mut bench = Bench::new();
    let nic = bench.nic("n1-nic");
    let group = bench.world.config().resource_group_id();
    for taken in actions.clone() {
        let left: Vec<String> = actions.iter().filter(|one| **one != taken).cloned().collect();
        may(&mut bench, &left);
        for (method, action, path, scope) in REQUESTS {
            let url = format!("{group}/providers/{path}?{API}&ipAddress=10.5.0.9");
            let body = if method == "PATCH" { json!({"tags": {}}) } else { nic.clone() };
            let answer = bench.ask(ArmRequest::new(method, url).with_body(body));
            if action != taken {
                // A PUT needs both of its rows; whether it is done otherwise is not asked here.
                let other_row =
                    method == "PUT" && REQUESTS.iter().any(|r| r.0 == "PUT" && r.1 == taken);
                assert!(answer.status != 403 || other_row, "{taken}: {method} {path}: {answer:?}");
                continue;
            }
            let scope = if scope.is_empty() { path } else { scope };
            let linked = action.ends_with("/action");
            let code = if linked { "LinkedAuthorizationFailed" } else { "AuthorizationFailed" };
            assert_refused(&answer, 403, code);
            let told = message(&answer);
            assert!(told.contains(&format!("perform action '{action}'")), "{told}");
            assert!(told.contains(&format!("'{group}/providers/{scope}'")), "{told}");
        }
    }
}

#[test]
fn a_put_needs_to_join_everything_that_the_nic_refers_to() {
    let mut bench = Bench::new();
    let body = document(&mut bench);
    let own = [
        "networkInterfaces/read",
        "networkInterfaces/write",
        "virtualNetworks/subnets/join/action",
    ];
    let network = |action: &str| format!("Microsoft.Network/{action}");
    let all: Vec<String> =
        own.into_iter().chain(JOINS.map(|(action, _)| action)).map(network).collect();
    let nic = bench.world.config().nic_id("n1-nic");
    for (action, target) in JOINS {
        let left: Vec<String> =
            all.iter().filter(|one| **one != network(action)).cloned().collect();
        may(&mut bench, &left);
        let answer = bench.put("n1-nic", body.clone());
        assert_refused(&answer, 403, "LinkedAuthorizationFailed");
        let told = message(&answer);
        let expected = format!(
            "has permission to perform action 'Microsoft.Network/networkInterfaces/write' on scope \
             '{nic}'; however, it does not have permission to perform action \
             'Microsoft.Network/{action}' on the linked scope(s) '{NETWORK}/{target}' or the linked \
             scope(s) are invalid."
        );
        assert!(told.ends_with(&expected), "{told}");
    }
    may(&mut bench, &all);
    assert_eq!(bench.put("n1-nic", body.clone()).status, 200);
    bench.wait(60_000);
    // Even if nothing of it changes.
    may(&mut bench, &all[..all.len() - 1]);
    assert_refused(&bench.put("n1-nic", body), 403, "LinkedAuthorizationFailed");
    assert_eq!(bench.last_write().denied, all.last().cloned());
    assert_eq!(bench.patch("n1-nic", json!({})).status, 200, "tags refer to nothing");
    assert_eq!(bench.last_write().denied, None);
}

#[test]
fn a_role_holds_below_its_scope_only() {
    let mut bench = Bench::new();
    let group = bench.world.config().resource_group_id().to_ascii_uppercase();
    let contributor = || Role::BuiltIn(BuiltInRole::NetworkContributor);
    let body = document(&mut bench);
    set(&mut bench, Some(vec![at(contributor(), &group)]));
    assert_eq!(bench.attach("n1-nic", VIP).status, 200, "ids are compared without case");
    bench.wait(60_000);
    // The security group is in another group of another subscription.
    assert_refused(&bench.put("n1-nic", body.clone()), 403, "LinkedAuthorizationFailed");
    let elsewhere = at(contributor(), "/subscriptions/s2/resourceGroups/net");
    set(&mut bench, Some(vec![at(contributor(), &group), elsewhere]));
    assert_eq!(bench.put("n1-nic", body).status, 200);
    bench.wait(60_000);
    // One NIC only.
    let nic = bench.world.config().nic_id("n1-nic");
    let subnet = bench.world.config().subnet_id("vnet", "subnet");
    set(&mut bench, Some(vec![at(contributor(), &nic), at(contributor(), &subnet)]));
    assert_eq!(bench.get(&bench.nic_path("n1-nic")).status, 200);
    assert_refused(&bench.get(&bench.nic_path("n2-nic")), 403, "AuthorizationFailed");
    let networks = format!("{}?{API}", bench.world.config().virtual_network_id("vnet"));
    assert_refused(&bench.get(&networks), 403, "AuthorizationFailed");
}

#[test]
fn without_roles_everything_is_allowed_and_with_none_nothing() {
    let mut bench = Bench::new();
    let group = format!("{}?{API}", bench.world.config().resource_group_id());
    assert_eq!(bench.attach("n1-nic", VIP).status, 200);
    set(&mut bench, Some(Vec::new()));
    for path in [bench.nic_path("n1-nic"), group.clone()] {
        assert_refused(&bench.get(&path), 403, "AuthorizationFailed");
    }
    set(&mut bench, Some(vec![at(Role::BuiltIn(BuiltInRole::Reader), "/")]));
    assert_eq!(bench.get(&group).status, 200);
    assert_refused(&bench.patch("n1-nic", json!({})), 403, "AuthorizationFailed");
    set(&mut bench, None);
    bench.wait(60_000);
    assert_eq!(bench.patch("n1-nic", json!({})).status, 200);
}

#[test]
fn the_coarse_rights_count_before_the_roles() {
    let mut bench = Bench::new();
    set(&mut bench, Some(vec![at(Role::BuiltIn(BuiltInRole::Owner), "/")]));
    let rights = |rights| AdminCommand::SetRights { node: "n1".to_owned(), rights };
    bench.admin(rights(Rights { join: false, ..Rights::default() }));
    assert_refused(&bench.attach("n1-nic", VIP), 403, "LinkedAuthorizationFailed");
    bench.admin(rights(Rights { write: false, ..Rights::default() }));
    assert_refused(&bench.attach("n1-nic", VIP), 403, "AuthorizationFailed");
    bench.admin(rights(Rights::default()));
    assert_eq!(bench.attach("n1-nic", VIP).status, 200);
}

#[test]
fn polling_needs_a_right_where_the_setting_says_so() {
    let right = "Microsoft.Network/locations/operations/read";
    for (needs, expected) in [(false, 200), (true, 403)] {
        let mut bench = Bench::with(|s| s.polling_needs_right = needs);
        let group = bench.world.config().resource_group_id();
        set(&mut bench, Some(vec![at(Role::BuiltIn(BuiltInRole::NetworkContributor), &group)]));
        let put = bench.attach("n1-nic", VIP);
        let url = put.header("Azure-AsyncOperation").expect("an operation");
        let path = url.strip_prefix("https://management.azure.com").expect("the public cloud");
        let answer = bench.get(path);
        assert_eq!(answer.status, expected);
        if needs {
            // Operations lie in the subscription, not in the group that the role is given for.
            assert!(message(&answer).contains(right));
            let subscription = format!("/subscriptions/{}", bench.world.config().subscription);
            let given = at(custom(&[right.to_owned()]), &subscription);
            set(&mut bench, Some(vec![given]));
            assert_eq!(bench.get(path).status, 200);
        }
    }
}

#[test]
fn a_role_is_assigned_where_it_may_be_only_and_from_the_beginning() {
    let mut config = WorldConfig::nodes(1);
    let role = RoleDefinition {
        name: "mine".to_owned(),
        actions: vec!["*".to_owned()],
        not_actions: Vec::new(),
        assignable_scopes: vec!["/subscriptions/s/resourceGroups/g".to_owned()],
    };
    config.vms[0].roles = Some(Vec::new());
    let mut world = World::new(config).expect("a possible world");
    assert_eq!(world.status().vms[0].roles, Some(Vec::new()));
    let assignments = Some(vec![at(Role::Custom(role), "/subscriptions/s")]);
    let command = AdminCommand::SetRoles { node: "n1".to_owned(), assignments };
    let refused = world.admin(Duration::ZERO, command).expect_err("it is not assignable there");
    assert_eq!(
        refused.to_string(),
        "role mine cannot be assigned at /subscriptions/s; it is assignable below its \
         AssignableScopes only"
    );
    assert_eq!(world.status().vms[0].roles, Some(Vec::new()));
}

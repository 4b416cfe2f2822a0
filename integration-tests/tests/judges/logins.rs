//! All the ways in which az logs in, and worlds of more than one subscription.

use integration_tests::{AzureSim, JudgeShell, Judges, Turn};
use serde_json::{Value, json};

use super::set;

const HOME: &str = "00000000-0000-4000-8000-0000000000a5";
const OTHER: &str = "00000000-0000-4000-8000-0000000000b6";
const TENANT: &str = "72f988bf-0000-4000-8000-000000000001";

/// n1 has two identities and none of its own; its network is in another group than its NIC, and a
/// NIC of the same name is in another subscription.
fn world() -> Value {
    let network = json!({
        "name": "hub", "resource_group": "network",
        "subnets": [{"name": "subnet", "prefix": "10.5.0.0/24"}],
    });
    let nic = json!({
        "name": "n1-nic", "vm": "n1", "virtual_network": "hub", "subnet": "subnet",
        "primary_address": "10.5.0.4",
    });
    let twin = json!({
        "name": "n1-nic", "virtual_network": "hub", "subnet": "subnet",
        "primary_address": "10.5.0.5", "subscription": OTHER, "resource_group": "theirs",
    });
    let identity = |name: &str, digit: char| {
        let id = |kind: char| format!("{kind}0000000-0000-4000-8000-00000000000{digit}");
        json!({"name": name, "client_id": id('c'), "object_id": id('d')})
    };
    json!({
        "virtual_networks": [network],
        "vms": [{"name": "n1", "system_assigned": false, "identities": ["mover", "reader"]}],
        "identities": [identity("mover", '1'), identity("reader", '2')],
        "applications": [{
            "name": "pipeline", "client_id": "c0000000-0000-4000-8000-000000000003",
            "secret": "open-sesame",
            "federated": {"issuer": "https://cluster.test", "subject": "system:serviceaccount"},
        }],
        "nics": [nic, twin],
        "settings": {"operation_ms": 300, "retry_after_s": 1},
    })
}

/// Whose token az has.
fn client_id(shell: &JudgeShell) -> String {
    let token = shell.az("account get-access-token --query accessToken -o tsv").expect_ok();
    let read = "import jwt, sys; \
                print(jwt.decode(sys.argv[1], options={'verify_signature': False})['appid'])";
    shell.run(&["python", "-c", read, &token]).expect_ok()
}

#[test]
fn az_logs_in_with_each_of_several_identities() {
    let _turn = Turn::alone();
    let Some(judges) = Judges::find() else { return };
    let azure = AzureSim::of_world(&world());
    let shell = judges.shell(&azure, "n1");
    shell.register();
    let refused = shell.az("login --identity");
    assert_eq!(refused.exit, 1);
    let why = "ERROR: Multiple user assigned identities exist, please specify the clientId / \
               resourceId of the identity in the token request\n";
    assert!(refused.err.starts_with(why), "{}", refused.err);

    let resource = format!(
        "/subscriptions/{HOME}/resourcegroups/vipfence/providers/\
         Microsoft.ManagedIdentity/userAssignedIdentities/reader"
    );
    for (selector, client) in [
        ("--client-id c0000000-0000-4000-8000-000000000001".to_owned(), '1'),
        ("--object-id d0000000-0000-4000-8000-000000000002".to_owned(), '2'),
        (format!("--resource-id {resource}"), '2'),
    ] {
        shell.az(&format!("login --identity {selector}")).expect_ok();
        let expected = format!("c0000000-0000-4000-8000-00000000000{client}");
        assert_eq!(client_id(&shell), expected, "{selector}");
    }
}

#[test]
fn az_logs_in_as_an_application() {
    let _turn = Turn::alone();
    let Some(judges) = Judges::find() else { return };
    let azure = AzureSim::of_world(&world());
    let shell = judges.shell(&azure, "n1");
    shell.register();
    let who = "login --service-principal --username c0000000-0000-4000-8000-000000000003";
    let refused = shell.az(&format!("{who} --tenant {TENANT} --password wrong"));
    assert_eq!(refused.exit, 1);
    assert!(refused.err.contains("AADSTS7000215: Invalid client secret provided."), "{refused:?}");
    // {"iss":"https://cluster.test","sub":"system:serviceaccount"}
    let word =
        "e30.eyJpc3MiOiJodHRwczovL2NsdXN0ZXIudGVzdCIsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudCJ9.x";
    for proof in ["--password open-sesame".to_owned(), format!("--federated-token {word}")] {
        let account = shell.az(&format!("{who} --tenant {TENANT} {proof}")).json();
        assert_eq!(account[0]["user"]["type"], "servicePrincipal", "{proof}");
        assert_eq!(shell.az("network nic list --query [].name").json(), json!(["n1-nic"]));
        shell.az("logout").expect_ok();
    }
}

#[test]
fn az_works_across_groups_and_subscriptions() {
    let _turn = Turn::alone();
    let Some(judges) = Judges::find() else { return };
    let azure = AzureSim::of_world(&world());
    set(&azure, &json!({"page_size": 1}));
    let shell = judges.shell(&azure, "n1");
    shell.register();
    let login = "login --identity --client-id c0000000-0000-4000-8000-000000000001 --query [].id";
    assert_eq!(shell.az(login).json(), json!([HOME, OTHER]));
    assert_eq!(shell.az("group list --query [].name").json(), json!(["vipfence", "network"]));
    let check = "network vnet check-ip-address -g network -n hub --ip-address 10.5.0.110";
    assert_eq!(shell.az(check).json()["available"], true);
    let ip_config = "network nic ip-config create --nic-name n1-nic -n vip \
                     --private-ip-address 10.5.0.110 --query id";
    let made = shell.az(&format!("{ip_config} -g vipfence")).json();
    assert!(made.as_str().is_some_and(|id| id.starts_with(&format!("/subscriptions/{HOME}/"))));
    // The same network, so the same address is taken over there too.
    let refused = shell.az(&format!("{ip_config} -g theirs --subscription {OTHER}"));
    assert!(refused.err.starts_with("ERROR: (PrivateIPAddressIsAllocated) "), "{refused:?}");
    let other = ip_config.replace("10.5.0.110", "10.5.0.111");
    let made = shell.az(&format!("{other} -g theirs --subscription {OTHER}")).json();
    assert!(made.as_str().is_some_and(|id| id.starts_with(&format!("/subscriptions/{OTHER}/"))));
    // Pages of one entry: az follows them.
    let listed = "network nic ip-config list -g vipfence --nic-name n1-nic --query [].name";
    assert_eq!(shell.az(listed).json(), json!(["ipconfig1", "vip"]));
    let id = format!(
        "/subscriptions/{HOME}/resourceGroups/vipfence/providers/Microsoft.Network/networkInterfaces/n1-nic"
    );
    let tag = format!("tag update --resource-id {id} --query properties.tags --operation");
    let merged = shell.az(&format!("{tag} merge --tags role=web team=a")).json();
    assert_eq!(merged, json!({"role": "web", "team": "a"}));
    let left = shell.az(&format!("{tag} delete --tags role=web")).json();
    assert_eq!(left, json!({"team": "a"}));
}

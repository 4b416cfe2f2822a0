//! What goes well with az.

use integration_tests::{GROUP, Turn};
use serde_json::{Value, json};

use super::logged_in;

#[test]
fn az_logs_in_with_a_managed_identity_and_sees_what_there_is() {
    let _turn = Turn::alone();
    let Some((azure, shell)) = logged_in() else { return };
    let account = shell.az("account show").json();
    assert_eq!(account["state"], "Enabled");
    assert_eq!(account["environmentName"], "sim");
    assert_eq!(account["user"]["assignedIdentityInfo"], "MSI");
    assert_eq!(shell.az("network nic list --query [].name").json(), json!(["n1-nic", "n2-nic"]));

    // All that az shows of a NIC, against what the simulator says on the wire.
    let nic = shell.az("network nic show --resource-group vipfence --name n1-nic").json();
    let state = azure.simulator().state();
    assert_eq!(nic["etag"], state["nics"][0]["etag"]);
    assert_eq!(nic["id"], format!("{GROUP}/providers/Microsoft.Network/networkInterfaces/n1-nic"));
    assert_eq!(nic["virtualMachine"]["id"], vm("n1"));
    let facts = ["location", "provisioningState", "nicType", "macAddress", "type", "tags"];
    let facts: Vec<&Value> = facts.iter().map(|name| &nic[name]).collect();
    let kind = "Microsoft.Network/networkInterfaces";
    assert_eq!(
        json!(facts),
        json!(["westeurope", "Succeeded", "Standard", "00-0D-3A-A5-00-00", kind, {}])
    );
    let vms = shell.az("vm list --resource-group vipfence --query [].id").json();
    assert_eq!(vms, json!([vm("n1"), vm("n2")]));
}

fn vm(name: &str) -> String {
    format!("{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}")
}

#[test]
fn az_moves_an_address_and_the_data_plane_follows() {
    let _turn = Turn::alone();
    let Some((azure, shell)) = logged_in() else { return };
    let check = "network vnet check-ip-address -g vipfence -n vnet --ip-address 10.5.0.110";
    let ip_config = |verb: &str, nic: &str, rest: &str| {
        let on = format!("-g vipfence --nic-name {nic}");
        shell.az(&format!("network nic ip-config {verb} {on} {rest}"))
    };
    let reaches = |address: &str| azure.simulator().attachments().get(address).cloned();

    assert_eq!(shell.az(check).json(), json!({"available": true, "isPlatformReserved": false}));
    let made = ip_config("create", "n1-nic", "-n vip --private-ip-address 10.5.0.110").json();
    let found = ["name", "privateIPAddress", "privateIPAllocationMethod", "provisioningState"];
    let found: Vec<&Value> = found.iter().map(|name| &made[name]).collect();
    assert_eq!(json!(found), json!(["vip", "10.5.0.110", "Static", "Succeeded"]));
    assert!(reaches("10.5.0.110").is_some_and(|nic| nic.ends_with("/n1-nic")));

    let taken = shell.az(check).json();
    assert_eq!((&taken["available"], &taken["isPlatformReserved"]), (&json!(false), &json!(false)));
    let free = ["10.5.0.6", "10.5.0.7", "10.5.0.8", "10.5.0.9", "10.5.0.10"];
    assert_eq!(taken["availableIPAddresses"], json!(free));

    let query = "--query [].[name,privateIPAddress]";
    let listed = ip_config("list", "n1-nic", query).json();
    assert_eq!(listed, json!([["ipconfig1", "10.5.0.4"], ["vip", "10.5.0.110"]]));
    let shown = ip_config("show", "n1-nic", "-n vip --query privateIPAddress").json();
    assert_eq!(shown, "10.5.0.110");

    let other = ip_config("update", "n1-nic", "-n vip --private-ip-address 10.5.0.111").json();
    assert_eq!(other["privateIPAddress"], "10.5.0.111");
    assert_eq!(reaches("10.5.0.110"), None);
    assert_eq!(ip_config("delete", "n1-nic", "-n vip").expect_ok(), "");
    ip_config("create", "n2-nic", "-n vip --private-ip-address 10.5.0.111").expect_ok();
    assert!(reaches("10.5.0.111").is_some_and(|nic| nic.ends_with("/n2-nic")));
    // No PUT of az has an If-Match: it would clobber whoever writes at the same time.
    assert!(azure.simulator().writes_after(0).iter().all(|write| write.if_match.is_none()));
}

#[test]
fn az_writes_tags() {
    let _turn = Turn::alone();
    let Some((azure, shell)) = logged_in() else { return };
    let query = "--query tags";
    let nic = "-g vipfence -n n1-nic";
    let tags = shell.az(&format!("network nic update {nic} --set tags.role=web {query}")).json();
    assert_eq!(tags, json!({"role": "web"}));
    let fewer = shell.az(&format!("network nic update {nic} --remove tags.role {query}")).json();
    assert_eq!(fewer, json!({}));
    assert_eq!(azure.simulator().state()["nics"][0]["provisioning"], "Succeeded");
}

#[test]
fn az_waits_for_another_operation_as_long_as_it_is_told() {
    let _turn = Turn::alone();
    let Some((azure, shell)) = logged_in() else { return };
    let simulator = azure.simulator();
    simulator.command(&json!({"command": "set_operation_ms", "ms": 2_500}));
    let attach = json!({"command": "third_party_attach", "nic": "n1-nic", "address": "10.5.0.120"});
    simulator.command(&attach);
    simulator.command(&json!({"command": "set_operation_ms", "ms": 300}));
    let words = "network nic ip-config create -g vipfence --nic-name n1-nic -n vip \
                 --private-ip-address 10.5.0.110";
    shell.az(words).expect_ok();
    let writes = simulator.writes_after(0);
    let refused = writes.iter().filter(|write| write.status == 429).count();
    assert!(refused > 0, "it came too late to meet the other operation: {writes:?}");
    assert_eq!(writes.last().map(|write| &write.status), Some(&json!(200)));
    // The 429 comes before the document is taken: nothing of the other hand is lost.
    assert!(simulator.attachments().contains_key("10.5.0.120"));
}

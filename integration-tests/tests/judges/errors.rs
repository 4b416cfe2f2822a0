//! What az shows of Azure's refusals, letter by letter, and how it exits.

use std::thread;
use std::time::Duration;

use integration_tests::{AzureSim, GROUP, JudgeShell, Simulator, Turn};
use serde_json::{Value, json};

use super::{logged_in, set};

const NETWORK: &str = "Microsoft.Network";

fn nic(name: &str) -> String {
    format!("{GROUP}/providers/{NETWORK}/networkInterfaces/{name}")
}

/// How az shows a refusal of ARM.
fn shown(code: &str, message: &str) -> String {
    format!("ERROR: ({code}) {message}\nCode: {code}\nMessage: {message}")
}

struct Stand {
    azure: AzureSim,
    shell: JudgeShell,
}

impl Stand {
    fn simulator(&self) -> Simulator {
        self.azure.simulator()
    }

    fn command(&self, command: &Value) {
        self.simulator().command(command);
    }

    #[track_caller]
    fn refused(&self, words: &str, exit: i32, code: &str, message: &str) {
        let answer = self.shell.az(words);
        assert_eq!((answer.exit, answer.err), (exit, shown(code, message)), "{words}");
        assert_eq!(answer.out, "", "{words}");
    }

    /// `az network nic ip-config create` on n2-nic.
    #[track_caller]
    fn create_refused(&self, address: &str, code: &str, message: &str) {
        let words = format!(
            "network nic ip-config create -g vipfence --nic-name n2-nic -n vip \
             --private-ip-address {address}"
        );
        self.refused(&words, 1, code, message);
    }

    /// Client and object id of the shell's identity, from its token.
    fn who(&self) -> (String, String) {
        let token = self.shell.az("account get-access-token --query accessToken -o tsv");
        let read = "import jwt, sys; c = jwt.decode(sys.argv[1], \
                    options={'verify_signature': False}); print(c['appid'], c['oid'])";
        let said = self.shell.run(&["python", "-c", read, &token.expect_ok()]).expect_ok();
        let (client, object) = said.split_once(' ').expect("two ids");
        (client.to_owned(), object.to_owned())
    }
}

fn stand() -> Option<Stand> {
    let (azure, shell) = logged_in()?;
    Some(Stand { azure, shell })
}

#[test]
fn az_shows_why_an_address_cannot_be_had() {
    let _turn = Turn::alone();
    let Some(stand) = stand() else { return };
    let attach = json!({
        "command": "third_party_attach", "nic": "n1-nic", "address": "10.5.0.110",
        "ip_config": "theirs", "immediate": true,
    });
    stand.command(&attach);
    let (mine, theirs) = (nic("n2-nic"), nic("n1-nic"));
    stand.create_refused(
        "10.5.0.110",
        "PrivateIPAddressIsAllocated",
        &format!(
            "IP configuration {mine}/ipConfigurations/vip is using the private IP address \
             10.5.0.110 which is already allocated to resource {theirs}/ipConfigurations/theirs."
        ),
    );
    stand.create_refused(
        "10.6.0.110",
        "PrivateIPAddressNotInSubnet",
        "Private static IP address 10.6.0.110 does not belong to the range of subnet prefix \
         10.5.0.0/24.",
    );
    stand.create_refused(
        "10.5.0.3",
        "PrivateIPAddressInReservedRange",
        "Private static IP address 10.5.0.3 falls within reserved IP range of subnet prefix \
         10.5.0.0/24.",
    );
    set(&stand.azure, &json!({"cleanup_ms": 600_000}));
    let detach = json!({
        "command": "third_party_detach", "nic": "n1-nic", "address": "10.5.0.110",
        "immediate": true,
    });
    stand.command(&detach);
    stand.create_refused(
        "10.5.0.110",
        "PrivateIPAddressIsBeingCleanedUp",
        &format!(
            "IP configuration {mine}/ipConfigurations/vip is using the private IP address \
             10.5.0.110 which is being cleaned up."
        ),
    );
    let subnet = format!("{GROUP}/providers/{NETWORK}/virtualNetworks/vnet/subnets/subnet");
    let trouble = json!({
        "command": "set_subnet", "virtual_network": "vnet", "subnet": "subnet", "trouble": "failed",
    });
    stand.command(&trouble);
    stand.create_refused(
        "10.5.0.120",
        "ReferencedResourceNotProvisioned",
        &format!(
            "Cannot proceed with operation because resource {subnet} is not in Succeeded state. \
             Resource is in Failed state and the last operation that updated/is updating the \
             resource is PutSubnetOperation."
        ),
    );
    assert_eq!(stand.simulator().writes_after(0).len(), 7, "az tries each once");
}

#[test]
fn az_shows_what_does_not_exist_and_what_may_not_go() {
    let _turn = Turn::alone();
    let Some(stand) = stand() else { return };
    stand.refused(
        "network nic show -g vipfence -n none",
        3,
        "ResourceNotFound",
        "The Resource 'Microsoft.Network/networkInterfaces/none' under resource group 'vipfence' \
         was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    );
    let gone = "Resource group 'none' could not be found.";
    stand.refused("network nic show -g none -n none", 3, "ResourceGroupNotFound", gone);
    stand.refused(
        "network nic ip-config delete -g vipfence --nic-name n1-nic -n ipconfig1",
        1,
        "InvalidIPConfigCount",
        "Network interface n1-nic must have one or more IP configurations.",
    );
    let attach = json!({
        "command": "third_party_attach", "nic": "n1-nic", "address": "10.5.0.110",
        "immediate": true,
    });
    stand.command(&attach);
    stand.refused(
        "network nic ip-config delete -g vipfence --nic-name n1-nic -n ipconfig1",
        1,
        "IpConfigDeleteNotSupported",
        "IP Configuration ipconfig1 cannot be deleted. Deletion and renaming of primary IP \
         Configuration is not supported",
    );
    let vm = format!("{GROUP}/providers/Microsoft.Compute/virtualMachines/n1");
    let id = nic("n1-nic");
    stand.refused(
        "network nic delete -g vipfence -n n1-nic",
        1,
        "NicInUse",
        &format!(
            "Network Interface {id} is used by existing resource {vm}. In order to delete the \
             network interface, it must be dissociated from the resource. To learn more, see \
             aka.ms/deletenic."
        ),
    );
}

#[test]
fn az_shows_who_may_not_and_what_is_locked() {
    let _turn = Turn::alone();
    let Some(stand) = stand() else { return };
    let (client, object) = stand.who();
    let id = nic("n2-nic");
    stand.command(&json!({"command": "set_rights", "node": "n1", "rights": {"write": false}}));
    stand.create_refused(
        "10.5.0.110",
        "AuthorizationFailed",
        &format!(
            "The client '{client}' with object id '{object}' does not have authorization to \
             perform action 'Microsoft.Network/networkInterfaces/write' over scope '{id}' or the \
             scope is invalid. If access was recently granted, please refresh your credentials."
        ),
    );
    stand.command(&json!({"command": "set_rights", "node": "n1", "rights": {"join": false}}));
    let subnet = format!("{GROUP}/providers/{NETWORK}/virtualNetworks/vnet/subnets/subnet");
    stand.create_refused(
        "10.5.0.110",
        "LinkedAuthorizationFailed",
        &format!(
            "The client '{client}' with object id '{object}' has permission to perform action \
             'Microsoft.Network/networkInterfaces/write' on scope '{id}'; however, it does not \
             have permission to perform action '{NETWORK}/virtualNetworks/subnets/join/action' \
             on the linked scope(s) '{subnet}' or the linked scope(s) are invalid."
        ),
    );
    stand.command(&json!({"command": "set_rights", "node": "n1", "rights": {}}));

    stand.command(&json!({"command": "set_lock", "nic": "n2-nic", "lock": "read_only"}));
    stand.create_refused(
        "10.5.0.110",
        "ScopeLocked",
        &format!(
            "The scope '{id}' cannot perform write operation because following scope(s) are \
             locked: '{id}'. Please remove the lock and try again."
        ),
    );
    stand.command(&json!({"command": "set_lock", "nic": "n2-nic"}));

    stand.command(&json!({"command": "set_policy", "nic": "n2-nic", "policy": "no-vips"}));
    let named = |kind: &str| {
        json!({
            "name": "no-vips", "id": format!("{GROUP}/providers/Microsoft.Authorization/{kind}/no-vips"),
        })
    };
    let identifiers = json!([{
        "policyAssignment": named("policyAssignments"),
        "policyDefinition": named("policyDefinitions"),
    }]);
    stand.create_refused(
        "10.5.0.110",
        "RequestDisallowedByPolicy",
        &format!(
            "Resource 'n2-nic' was disallowed by policy. Policy identifiers: '{identifiers}'."
        ),
    );
}

#[test]
fn az_shows_operations_that_are_in_the_way_or_fail() {
    let _turn = Turn::alone();
    let Some(stand) = stand() else { return };
    set(&stand.azure, &json!({"concurrent_write": "conflict_409"}));
    stand.command(&json!({"command": "freeze", "nic": "n2-nic"}));
    let attach = json!({"command": "third_party_attach", "nic": "n2-nic", "address": "10.5.0.120"});
    stand.command(&attach);
    let guid = stand.simulator().state()["operations"][0]["guid"].clone();
    let guid = guid.as_str().expect("one runs");
    let subscription = GROUP.split("/resourceGroups").next().expect("a part");
    let url = format!(
        "{}{subscription}/providers/{NETWORK}/locations/westeurope/operations/{guid}\
         ?api-version=2023-11-01",
        stand.azure.arm_through_tls()
    );
    stand.create_refused(
        "10.5.0.110",
        "AnotherOperationInProgress",
        &format!(
            "Another operation on this or dependent resource is in progress. To retrieve status \
             of the operation use uri: {url}."
        ),
    );
    stand.command(&json!({"command": "unfreeze"}));
    let fails = json!({
        "kind": "fail_operation", "code": "InternalServerError", "message": "An error occurred.",
    });
    stand.command(&json!({"command": "add_fault", "fault": {"effect": fails}}));
    integration_tests::eventually("the other one is over", Duration::from_secs(5), || {
        stand.simulator().state()["operations"].as_array().is_some_and(Vec::is_empty)
    });
    stand.create_refused("10.5.0.110", "InternalServerError", "An error occurred.");
}

#[test]
fn az_shows_tokens_that_do_not_count_and_identities_that_are_not_there() {
    let _turn = Turn::alone();
    let Some(stand) = stand() else { return };
    let show = "network nic show -g vipfence -n n1-nic";
    // The request stands before ARM while its token is revoked.
    stand.command(
        &json!({"command": "add_fault", "fault": {"method": "*", "effect": {"kind": "hold"}}}),
    );
    let answer = thread::scope(|scope| {
        let az = scope.spawn(|| stand.shell.az(show));
        integration_tests::eventually("az asks", Duration::from_secs(60), || {
            stand.simulator().state()["held"].as_array().is_some_and(|held| !held.is_empty())
        });
        stand.command(&json!({"command": "revoke_tokens", "node": "n1"}));
        stand.command(&json!({"command": "release"}));
        az.join().expect("az ends")
    });
    let invalid = shown("InvalidAuthenticationToken", "The access token is invalid.");
    assert_eq!((answer.exit, answer.err), (1, invalid));

    // And here until it has expired.
    set(&stand.azure, &json!({"token_life_s": 1}));
    stand.command(&json!({"command": "revoke_tokens", "node": "n1"}));
    let delay = json!({"kind": "delay", "ms": 3_000});
    stand.command(&json!({"command": "add_fault", "fault": {"method": "*", "effect": delay}}));
    let answer = stand.shell.az(show);
    let message = answer.err.lines().find_map(|line| line.strip_prefix("Message: "));
    let message = message.unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!((answer.exit, &answer.err), (1, &shown("ExpiredAuthenticationToken", message)));
    let parts: Vec<&str> = message.split('\'').collect();
    let ["The access token expiry UTC time ", then, " is earlier than current UTC time ", now, "."] =
        parts[..]
    else {
        panic!("{message}")
    };
    assert_ne!(then, now);
    let nobody = "login --identity --client-id 00000000-0000-4000-8000-000000000000";
    let answer = stand.shell.az(nobody);
    assert_eq!(answer.exit, 1);
    assert!(answer.err.starts_with("ERROR: Identity not found\n"), "{}", answer.err);
}

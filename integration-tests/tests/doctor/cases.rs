//! The broken set-ups.

use integration_tests::GROUP;
use serde_json::{Value, json};

use super::setup::{Setup, nic};

/// One mistake, and what is to be said of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) breaks: fn(&mut Setup),
    /// In alphabetical order.
    pub(crate) checks: &'static [&'static str],
    pub(crate) is_an_error: bool,
}

const fn error(
    name: &'static str,
    breaks: fn(&mut Setup),
    checks: &'static [&'static str],
) -> Case {
    Case { name, breaks, checks, is_an_error: true }
}

const fn mild(name: &'static str, breaks: fn(&mut Setup), checks: &'static [&'static str]) -> Case {
    Case { name, breaks, checks, is_an_error: false }
}

/// What a role needs for everything that the doctor looks at.
const ALL: [&str; 10] = [
    "Microsoft.Network/networkInterfaces/read",
    "Microsoft.Network/networkInterfaces/write",
    "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/virtualNetworks/checkIpAddressAvailability/read",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Authorization/locks/read",
    "Microsoft.Authorization/permissions/read",
    "Microsoft.Network/locations/usages/read",
];

fn all_but(setup: &mut Setup, action: &str) {
    let actions: Vec<&str> = ALL.into_iter().filter(|known| *known != action).collect();
    assert_eq!(actions.len() + 1, ALL.len(), "{action} is one of them");
    setup.only(&actions);
}

fn refuses(setup: &mut Setup, status: u16, code: &str) {
    let effect = json!({"kind": "refuse", "status": status, "code": code});
    let fault = json!({"method": "*", "times": 1_000, "effect": effect});
    setup.commands.push(json!({"command": "add_fault", "fault": fault}));
}

fn imds(setup: &mut Setup, fault: Value) {
    setup.commands.push(json!({"command": "set_imds", "node": "n1", "fault": fault}));
}

/// Secondary addresses of a NIC, from 10.5.0.0/20 on.
fn crowd(setup: &mut Setup, nic: usize, count: u16) {
    setup.world["virtual_networks"] =
        json!([{"name": "vnet", "subnets": [{"name": "subnet", "prefix": "10.5.0.0/20"}]}]);
    let third = 1 + 2 * nic;
    let secondary = (0..count).map(|i| {
        (format!("c{i}"), json!(format!("10.5.{}.{}", third + usize::from(i) / 200, i % 200 + 10)))
    });
    setup.world["nics"][nic]["secondary"] = Value::Object(secondary.collect());
}

pub(crate) const CASES: &[Case] = &[
    // The metadata service and the identity.
    error("the metadata service is unreachable", |s| imds(s, json!("down")), &["IMDS_UNREACHABLE"]),
    error("the metadata service is silent", |s| imds(s, json!("silent")), &["IMDS_UNREACHABLE"]),
    error("the metadata service is broken", |s| imds(s, json!({"status": 500})), &["IMDS_ERROR"]),
    error(
        "the VM has no identity",
        |s| s.world["vms"][0]["system_assigned"] = json!(false),
        &["NO_IDENTITY"],
    ),
    error(
        "the file names an identity that the VM does not have",
        |s| {
            s.azure_lines = "client_id = \"00000000-0000-0000-0000-000000000001\"".to_owned();
        },
        &["IDENTITY_UNKNOWN"],
    ),
    error(
        "the VM has two identities and the file names none",
        |s| {
            s.world["identities"] = json!([{"name": "one"}, {"name": "two"}]);
            s.world["vms"][0]["system_assigned"] = json!(false);
            s.world["vms"][0]["identities"] = json!(["one", "two"]);
        },
        &["SEVERAL_IDENTITIES"],
    ),
    error(
        "the application's secret is wrong",
        |s| {
            let id = "00000000-0000-0000-0000-000000000001";
            s.world["applications"] = json!([{"name": "app", "client_id": id, "secret": "right"}]);
            s.write_beside("secret", "wrong");
            s.azure_lines = format!(
                "identity = \"secret\"\nclient_id = \"{id}\"\nsecret_file = \"secret\"\n\
                 tenant_id = \"72f988bf-0000-4000-8000-000000000001\""
            );
        },
        &["TOKEN_MISSING"],
    ),
    // The way to ARM.
    error(
        "ARM does not take the token",
        |s| refuses(s, 401, "InvalidAuthenticationToken"),
        &["TOKEN_REFUSED"],
    ),
    mild(
        "somebody uses up the identity's budget",
        |s| refuses(s, 429, "SubscriptionRequestsThrottled"),
        &["ARM_THROTTLED"],
    ),
    error(
        "ARM is unreachable",
        |s| s.arm = Some("http://127.0.0.1:1".to_owned()),
        &["ARM_UNREACHABLE"],
    ),
    error(
        "the subscription in the NIC's id is wrong",
        |s| s.nics = vec![nic("n1-nic").replace("0000000000a5", "0000000000a6")],
        &["SUBSCRIPTION_NOT_FOUND"],
    ),
    // The NICs.
    error("the NIC's name is wrong", |s| s.nics = vec![nic("n1-nik")], &["NIC_NOT_FOUND"]),
    error(
        "the group in the NIC's id is wrong",
        |s| s.nics = vec![nic("n1-nic").replace("/vipfence/", "/vipfense/")],
        &["NIC_NOT_FOUND"],
    ),
    error("the identity has no role", |s| s.only(&[]), &["NIC_FORBIDDEN"]),
    error(
        "the last operation on the NIC failed",
        |s| s.commands.push(json!({"command": "fail_nic", "nic": "n1-nic"})),
        &["NIC_FAILED"],
    ),
    mild(
        "somebody is changing the NIC",
        |s| {
            s.commands.push(json!({"command": "freeze", "nic": "n1-nic"}));
            let attach = json!({
                "command": "third_party_attach", "nic": "n1-nic", "address": "10.5.0.77",
            });
            s.commands.push(attach);
        },
        &["NIC_BUSY"],
    ),
    error("the NIC is another node's", |s| s.nics = vec![nic("n2-nic")], &["NIC_OF_ANOTHER_VM"]),
    error("the NIC is of no VM", |s| s.nics = vec![nic("stranger")], &["NIC_WITHOUT_VM"]),
    error("the NIC is full", |s| crowd(s, 0, 255), &["NIC_FULL", "VM_FULL"]),
    error(
        "the VM is full, by two NICs that are not",
        |s| {
            s.world["nics"][1]["vm"] = json!("n1");
            crowd(s, 0, 127);
            let first = s.world["nics"][0]["secondary"].clone();
            crowd(s, 1, 127);
            s.world["nics"][0]["secondary"] = first;
            s.nics = vec![nic("n1-nic"), nic("n2-nic")];
        },
        &["VM_FULL"],
    ),
    mild(
        "the primary address is dynamic",
        |s| s.world["nics"][0]["static_primary"] = json!(false),
        &["PRIMARY_DYNAMIC"],
    ),
    mild(
        "the NIC forwards",
        |s| s.world["nics"][0]["enable_ip_forwarding"] = json!(true),
        &["IP_FORWARDING"],
    ),
    error(
        "a lock on the NIC",
        |s| s.commands.push(json!({"command": "set_lock", "nic": "n1-nic", "lock": "read_only"})),
        &["LOCKED"],
    ),
    error(
        "a lock on the resource group",
        |s| s.commands.push(json!({"command": "set_lock", "lock": "read_only"})),
        &["LOCKED"],
    ),
    // Rights.
    error(
        "NICs may not be written",
        |s| all_but(s, "Microsoft.Network/networkInterfaces/write"),
        &["RIGHT_MISSING"],
    ),
    error(
        "the subnet may not be joined",
        |s| all_but(s, "Microsoft.Network/virtualNetworks/subnets/join/action"),
        &["RIGHT_MISSING"],
    ),
    error(
        "the NIC's security group, in another resource group, may not be joined",
        |s| {
            s.only(&ALL);
            let group = GROUP.replace("/vipfence", "/other");
            s.world["nics"][0]["network_security_group"] =
                json!(format!("{group}/providers/Microsoft.Network/networkSecurityGroups/nsg"));
            // What it may do there can be seen, and is not that.
            let seer = json!({"name": "s", "actions": ["Microsoft.Authorization/*/read"]});
            let roles = s.world["vms"][0]["roles"].as_array_mut().unwrap();
            roles.push(json!({"role": seer, "scope": group}));
        },
        &["RIGHT_MISSING"],
    ),
    mild(
        "permissions may not be read",
        |s| all_but(s, "Microsoft.Authorization/permissions/read"),
        &["RIGHTS_UNREADABLE"],
    ),
    mild(
        "locks may not be read",
        |s| all_but(s, "Microsoft.Authorization/locks/read"),
        &["LOCKS_UNREADABLE"],
    ),
    mild(
        "the virtual network may not be read",
        |s| all_but(s, "Microsoft.Network/virtualNetworks/read"),
        &["NETWORK_UNREADABLE"],
    ),
    // The addresses.
    error(
        "the address is outside the subnet",
        |s| s.addresses = vec!["10.6.0.1".to_owned()],
        &["ADDRESS_OUTSIDE"],
    ),
    error(
        "the address is reserved",
        |s| s.addresses = vec!["10.5.0.2".to_owned()],
        &["ADDRESS_RESERVED"],
    ),
    error(
        "the address is the NIC's own",
        |s| s.addresses = vec!["10.5.0.4".to_owned()],
        &["ADDRESS_IS_PRIMARY"],
    ),
    error(
        "the address is a stranger's",
        |s| s.addresses = vec!["10.5.0.50".to_owned()],
        &["ADDRESS_TAKEN"],
    ),
    // A load balancer.
    error(
        "the frontend's name is wrong",
        |s| {
            s.behind_a_load_balancer();
            s.frontend.as_mut().unwrap().0.push('2');
        },
        &["FRONTEND_MISSING"],
    ),
    error(
        "there is no such load balancer",
        |s| {
            s.behind_a_load_balancer();
            s.world["load_balancers"] = json!([]);
        },
        &["FRONTEND_MISSING"],
    ),
    error(
        "no rule uses the frontend",
        |s| {
            s.behind_a_load_balancer();
            s.rule()["frontendIPConfiguration"] = json!({"id": "/another"});
        },
        &["FRONTEND_WITHOUT_RULE"],
    ),
    error(
        "floating IP is off",
        |s| {
            s.behind_a_load_balancer();
            s.rule()["enableFloatingIP"] = json!(false);
        },
        &["FLOATING_IP_OFF"],
    ),
    error(
        "the probe asks another port",
        |s| {
            s.behind_a_load_balancer();
            s.frontend.as_mut().unwrap().1 = 62_000;
        },
        &["PROBE_PORT_DIFFERS"],
    ),
    error(
        "the rule has no probe",
        |s| {
            s.behind_a_load_balancer();
            s.rule()["probe"] = json!(null);
        },
        &["PROBE_PORT_DIFFERS"],
    ),
    error(
        "the NIC is not in the pool",
        |s| {
            s.behind_a_load_balancer();
            s.world["nics"][0]["ip_config_properties"] = json!({});
        },
        &["NIC_NOT_IN_POOL"],
    ),
    error(
        "the load balancer may not be read",
        |s| {
            s.behind_a_load_balancer();
            let mut actions = ALL.to_vec();
            actions.push("Microsoft.Network/loadBalancers/backendAddressPools/join/action");
            s.only(&actions);
        },
        &["FRONTEND_UNREADABLE"],
    ),
    // The guest.
    error(
        "cloud-init adds secondary addresses",
        |s| s.remove("etc/cloud/cloud.cfg.d/90-vipfence.cfg"),
        &["CLOUD_INIT"],
    ),
    error(
        "cloud-netconfig is on",
        |s| s.write("etc/systemd/system/timers.target.wants/cloud-netconfig.timer", ""),
        &["CLOUD_NETCONFIG"],
    ),
    error(
        "nm-cloud-setup is on for Azure",
        |s| {
            s.write("etc/systemd/system/timers.target.wants/nm-cloud-setup.timer", "");
            let drop_in = "etc/systemd/system/nm-cloud-setup.service.d/azure.conf";
            s.write(drop_in, "[Service]\nEnvironment=NM_CLOUD_SETUP_AZURE=yes\n");
        },
        &["NM_CLOUD_SETUP"],
    ),
    error(
        "an interface is named that is not there",
        |s| s.interface = "eth1".to_owned(),
        &["INTERFACE_MISSING"],
    ),
    mild(
        "strict reverse path filtering on two interfaces",
        |s| {
            s.write("proc/sys/net/ipv4/conf/eth1/rp_filter", "1\n");
            s.write("proc/sys/net/ipv4/conf/all/rp_filter", "0\n");
        },
        &["RP_FILTER_STRICT"],
    ),
    mild(
        "services cannot bind beforehand",
        |s| s.write("proc/sys/net/ipv4/ip_nonlocal_bind", "0\n"),
        &["NONLOCAL_BIND_OFF"],
    ),
    mild(
        "chrony slews as it likes",
        |s| s.write("etc/chrony/chrony.conf", "pool ntp.example iburst\n"),
        &["CLOCK_SLEW"],
    ),
    error(
        "the data folder is in memory",
        |s| s.data_dir = "/dev/shm/vipfence-is-not-there".to_owned(),
        &["DATA_DIR_VOLATILE"],
    ),
    // The peers.
    error(
        "a peer's agent does not run",
        |s| s.peers[1] = "127.0.0.1:2".to_owned(),
        &["PEER_REFUSED"],
    ),
    error("a peer does not answer", Setup::deafen_a_peer, &["PEER_TIMEOUT"]),
    error(
        "a peer's name is wrong",
        |s| s.peers[1] = "nowhere.invalid:7600".to_owned(),
        &["PEER_UNKNOWN"],
    ),
];

//! Which rights follow from which documents.

use serde_json::json;

use super::*;

const S: &str = "/subscriptions/S";

fn id(group: &str, rest: &str) -> String {
    format!("{S}/resourceGroups/{group}/providers/Microsoft.Network/{rest}")
}

fn nic(name: &str) -> NicId {
    NicId::new(&id("vms", &format!("networkInterfaces/{name}")))
}

/// Its VM, in a group of its own.
fn vm() -> String {
    format!("{S}/resourceGroups/compute/providers/Microsoft.Compute/virtualMachines/x")
}

/// A NIC in group `vms` on a subnet in group `net`, with a public address in group `edge`.
fn document(name: &str) -> Value {
    let config = json!({
        "id": format!("{}/ipConfigurations/one", nic(name).as_str()),
        "properties": {
            "subnet": {"id": id("net", "virtualNetworks/v/subnets/s")},
            "publicIPAddress": {"id": id("edge", "publicIPAddresses/p")},
        },
    });
    json!({
        "id": nic(name).as_str(),
        "properties": {
            "virtualMachine": {"id": vm()},
            "ipConfigurations": [config],
        },
    })
}

fn actions(rights: &Rights) -> Vec<String> {
    let short = |right: Right| right.action.replace("Microsoft.Network/", "");
    rights.actions().into_iter().map(short).collect()
}

#[test]
fn what_the_nics_refer_to_decides_about_actions_and_groups() {
    let rights = Rights::of(&[nic("a"), nic("b")], &[document("a"), document("B")]);
    assert_eq!(
        actions(&rights),
        [
            "networkInterfaces/read",
            "networkInterfaces/write",
            "locations/operations/read",
            "virtualNetworks/read",
            "virtualNetworks/checkIpAddressAvailability/read",
            "virtualNetworks/subnets/join/action",
            "publicIPAddresses/join/action",
        ]
    );
    let group = |name: &str| format!("{S}/resourceGroups/{name}");
    assert_eq!(rights.groups(), ["edge", "net", "vms"].map(group));
    assert_eq!(rights.unread().count(), 0, "ids are compared without case");
    assert_eq!(rights.nics().count(), 2);
    let expected = [
        id("edge", "publicIPAddresses/p"),
        id("net", "virtualNetworks/v"),
        id("vms", "networkInterfaces/a"),
        id("vms", "networkInterfaces/B"),
    ];
    assert_eq!(rights.resources().collect::<Vec<_>>(), expected);
}

#[test]
fn a_document_of_az_is_as_good_as_one_of_arm() {
    let mut flat = document("a")["properties"].take();
    flat["id"] = json!(nic("a").as_str());
    let config = flat["ipConfigurations"][0]["properties"].take();
    flat["ipConfigurations"] = json!([config]);
    assert_eq!(Rights::of(&[], &[flat]), Rights::of(&[], &[document("a")]));
}

#[test]
fn every_kind_of_reference_has_its_action() {
    for (kind, action) in [
        ("networkSecurityGroups/x", "networkSecurityGroups/join/action"),
        ("applicationSecurityGroups/x", "applicationSecurityGroups/joinIpConfiguration/action"),
        ("publicIPAddresses/x", "publicIPAddresses/join/action"),
        ("loadBalancers/x/backendAddressPools/y", "loadBalancers/backendAddressPools/join/action"),
        ("loadBalancers/x/inboundNatRules/y", "loadBalancers/inboundNatRules/join/action"),
        (
            "loadBalancers/x/frontendIPConfigurations/y",
            "loadBalancers/frontendIPConfigurations/join/action",
        ),
        (
            "applicationGateways/x/backendAddressPools/y",
            "applicationGateways/backendAddressPools/join/action",
        ),
        ("virtualNetworkTaps/x", "virtualNetworkTaps/join/action"),
    ] {
        let reference = json!([{"some": {"id": id("g", kind)}}]);
        let rights = Rights::of(&[], &[reference]);
        assert_eq!(actions(&rights).last().map(String::as_str), Some(action));
        assert_eq!(rights.resources().collect::<Vec<_>>(), [id("g", kind)]);
    }
}

#[test]
fn what_is_not_known_counts_as_everything_and_is_told() {
    let rights = Rights::of(&[nic("a"), nic("b")], &[document("a")]);
    assert_eq!(rights.unread().collect::<Vec<_>>(), [&nic("b")]);
    assert_eq!(rights.actions().len(), NIC.len() + 1 + NETWORK.len() + LINKED.len());
}

#[test]
fn nothing_allows_to_delete_and_no_star_stands_anywhere() {
    for right in Rights::of(&[nic("a")], []).with_doctor().actions() {
        let last = right.action.rsplit('/').next().expect("a word");
        assert!(matches!(last, "read" | "write" | "action"), "{}", right.action);
        assert!(!right.action.contains('*') && !right.why.is_empty());
    }
}

#[test]
fn more_is_covered_if_it_is_a_scope_of_this_kind() {
    let mut rights = Rights::of(&[], &[document("a")]);
    rights.add(&id("edge", "networkSecurityGroups/n")).expect("a security group");
    rights.add(&format!("{S}/resourceGroups/later/")).expect("a group");
    assert!(actions(&rights).contains(&"networkSecurityGroups/join/action".to_owned()));
    assert_eq!(rights.groups().len(), 4);
    rights.add(S).expect("a subscription");
    assert_eq!(rights.groups(), [S], "it covers its groups");
    for bad in ["", "x", "/subscriptions/", "/subscriptions/S/resourceGroups/g/providers/a/b/c"] {
        assert!(rights.add(bad).is_err(), "{bad}");
    }
    assert!(rights.add(&id("g", "virtualNetworks")).is_err(), "a list is no resource");
}

#[test]
fn doctor_reads_more_also_in_the_groups_of_the_vms() {
    let plain = Rights::of(&[], &[document("a")]);
    let more = plain.clone().with_doctor();
    let added = &actions(&more)[actions(&plain).len()..];
    assert_eq!(added.len(), DOCTOR.len());
    assert!(added.contains(&"Microsoft.Compute/virtualMachines/read".to_owned()));
    assert!(added.iter().all(|action| action.ends_with("/read")), "{added:?}");
    assert!(more.groups().contains(&format!("{S}/resourceGroups/compute")));
    assert!(more.resources().any(|id| id == vm()));
    assert_eq!(plain.groups().len(), 3, "nobody else reads a VM");
}

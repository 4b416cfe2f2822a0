//! A good node, of which nothing is said, and the same node with one thing wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use vipfence_coordinator_core::{NicDocument, Prefix};
use vipfence_types::{Examined, NicId, NodeId, Severity, VipName};

use crate::os::Selector;

use super::{
    super::{
        check::Check,
        facts::{
            AddressFacts, DiskFacts, Facts, GuestFacts, Lock, NicFacts, PeerFacts, Permission,
            Reach, Refusal, Seen,
        },
    },
    Roster, compare, judge,
};

/// One thing that is made wrong, and the check that finds it.
type Case<F> = (&'static str, F);
/// What makes one thing wrong.
type Change<'a> = &'a dyn Fn(&mut Facts);
/// What makes one node differ.
type Differ = fn(&mut Examined, &mut Roster);

const GROUP: &str = "/subscriptions/s/resourceGroups/g/providers";

fn nic_id() -> NicId {
    NicId::new(&format!("{GROUP}/Microsoft.Network/networkInterfaces/n1-nic"))
}

fn document(change: impl FnOnce(&mut Value)) -> Seen<NicDocument> {
    let subnet = format!("{GROUP}/Microsoft.Network/virtualNetworks/v/subnets/s");
    let mut value = json!({
        "id": nic_id().as_str(), "etag": "W/\"1\"", "location": "westeurope",
        "properties": {
            "provisioningState": "Succeeded",
            "enableIPForwarding": false,
            "virtualMachine": {"id": format!("{GROUP}/Microsoft.Compute/virtualMachines/n1")},
            "ipConfigurations": [{
                "name": "ipconfig1",
                "properties": {
                    "provisioningState": "Succeeded", "primary": true,
                    "privateIPAddress": "10.5.0.4", "privateIPAllocationMethod": "Static",
                    "subnet": {"id": subnet},
                },
            }],
        },
    });
    change(&mut value);
    Seen::Yes(NicDocument::new(value).expect("a document"))
}

fn allowed(actions: &[&str]) -> Seen<Vec<Permission>> {
    let actions = actions.iter().map(|&action| action.to_owned()).collect();
    Seen::Yes(vec![Permission { actions, except: vec![] }])
}

fn good() -> Facts {
    let network = format!("{GROUP}/Microsoft.Network/virtualNetworks/v").to_ascii_lowercase();
    let subnet = format!("{network}/subnets/s");
    let vm = format!("{GROUP}/Microsoft.Compute/virtualMachines/N1");
    Facts {
        arm: "https://management.azure.com".to_owned(),
        imds: "http://169.254.169.254".to_owned(),
        client_id: None,
        instance: Seen::Yes(json!({"compute": {"resourceId": vm}})),
        token: Some(Seen::Yes(())),
        keeper: None,
        nics: vec![NicFacts { id: nic_id(), document: document(|_| {}), locks: Seen::Yes(vec![]) }],
        networks: BTreeMap::from([(network, Seen::Yes(json!({})))]),
        rights: BTreeMap::from([
            (nic_id().folded().to_owned(), allowed(&["Microsoft.Network/networkInterfaces/*"])),
            (subnet, allowed(&["*/join/action"])),
        ]),
        vm_addresses: BTreeMap::from([(vm, 1)]),
        limit: 256,
        ahead_of_arm_s: Some(1),
        addresses: vec![AddressFacts {
            vip: VipName::new("demo").ok(),
            address: "10.5.0.110".parse().expect("an address"),
            nic: Some(nic_id()),
            prefixes: Some(vec![Prefix::parse("10.5.0.0/24").expect("a prefix")]),
            free: Some(Seen::Yes(true)),
        }],
        frontend: None,
        members: vec![],
        guest: GuestFacts {
            nonlocal_bind: Some(true),
            interfaces: 1,
            strict: BTreeSet::from(["eth0".to_owned()]),
            slew_ppm: Some(500),
            ..GuestFacts::default()
        },
        peers: vec![PeerFacts {
            name: "n2".to_owned(),
            address: "10.5.0.5:7600".to_owned(),
            reach: Reach::Connected,
        }],
        disk: DiskFacts::Seen { path: "/d".to_owned(), free_bytes: 1 << 40, in_memory: false },
    }
}

fn found(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = good();
    change(&mut facts);
    let findings = judge(&facts);
    for finding in &findings {
        assert!(!finding.subject.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
    }
    findings.into_iter().map(|finding| finding.check).collect()
}

fn refused<T>(status: u16, code: &str, message: &str) -> Seen<T> {
    Seen::Refused(Refusal { status, code: code.to_owned(), message: message.to_owned() })
}

#[test]
fn nothing_is_said_of_a_good_node() {
    assert_eq!(found(|_| {}), Vec::<String>::new());
}

#[test]
fn every_mistake_of_the_metadata_service_has_a_finding_of_its_own() {
    let token = |status, message: &str| refused(status, "invalid_request", message);
    let none = |facts: &mut Facts| facts.keeper = Some("no token".to_owned());
    let cases: [Case<Change<'_>>; 6] = [
        ("IMDS_UNREACHABLE", &|f| f.instance = Seen::Silent("refused".to_owned())),
        ("IMDS_ERROR", &|f| f.instance = refused(500, "", "")),
        ("NO_IDENTITY", &|f| f.token = Some(token(400, "Identity not found"))),
        ("IDENTITY_UNKNOWN", &|f| {
            f.client_id = Some("c".to_owned());
            f.token = Some(token(400, "Identity not found"));
        }),
        ("SEVERAL_IDENTITIES", &|f| {
            f.token = Some(token(400, "Multiple user assigned identities exist, please specify"));
        }),
        ("TOKEN_MISSING", &|_| {}),
    ];
    for (check, change) in cases {
        let checks = found(|facts| {
            none(facts);
            change(facts);
        });
        assert_eq!(checks, [check]);
    }
}

#[test]
fn what_arm_refuses_is_told_once_and_by_its_cause() {
    let cases: [(&str, Seen<NicDocument>); 7] = [
        ("TOKEN_REFUSED", refused(401, "InvalidAuthenticationToken", "no")),
        ("SUBSCRIPTION_NOT_FOUND", refused(404, "SubscriptionNotFound", "no")),
        ("ARM_THROTTLED", refused(429, "SubscriptionRequestsThrottled", "no")),
        ("ARM_UNREACHABLE", Seen::Silent("timed out".to_owned())),
        ("NIC_NOT_FOUND", refused(404, "ResourceNotFound", "no")),
        ("NIC_FORBIDDEN", refused(403, "AuthorizationFailed", "no")),
        ("NIC_UNREADABLE", refused(500, "InternalServerError", "no")),
    ];
    for (check, document) in cases {
        let again = document.clone();
        let two = |facts: &mut Facts| {
            facts.nics[0].document = document;
            let other = NicFacts { document: again, ..facts.nics[0].clone() };
            // A second NIC with the same trouble is a second finding only where the NIC is at fault.
            if !check.starts_with("NIC_") {
                facts.nics.push(other);
            }
        };
        assert_eq!(found(two), [check]);
    }
}

#[test]
fn what_a_nic_shows_is_found() {
    let with =
        |change: fn(&mut Value)| move |facts: &mut Facts| facts.nics[0].document = document(change);
    let cases: [Case<fn(&mut Value)>; 6] = [
        ("NIC_FAILED", |v| v["properties"]["provisioningState"] = json!("Failed")),
        ("NIC_BUSY", |v| v["properties"]["provisioningState"] = json!("Updating")),
        ("IP_FORWARDING", |v| v["properties"]["enableIPForwarding"] = json!(true)),
        ("NIC_OF_ANOTHER_VM", |v| v["properties"]["virtualMachine"]["id"] = json!("/x/n2")),
        ("NIC_WITHOUT_VM", |v| v["properties"]["virtualMachine"] = json!(null)),
        ("PRIMARY_DYNAMIC", |v| {
            let config = &mut v["properties"]["ipConfigurations"][0]["properties"];
            config["privateIPAllocationMethod"] = json!("Dynamic");
        }),
    ];
    for (check, change) in cases {
        assert_eq!(found(with(change)), [check]);
    }
    assert_eq!(found(|facts| facts.limit = 1), ["NIC_FULL", "VM_FULL"]);
    let lock = |read_only| Lock { id: "/l".to_owned(), name: "l".to_owned(), read_only };
    assert_eq!(found(|facts| facts.nics[0].locks = Seen::Yes(vec![lock(true)])), ["LOCKED"]);
    assert!(found(|facts| facts.nics[0].locks = Seen::Yes(vec![lock(false)])).is_empty());
    let unseen = |facts: &mut Facts| facts.nics[0].locks = refused(403, "AuthorizationFailed", "");
    assert_eq!(found(unseen), ["LOCKS_UNREADABLE"]);
}

#[test]
fn a_right_that_is_missing_is_named_with_its_scope() {
    let mut facts = good();
    facts.rights.insert(
        nic_id().folded().to_owned(),
        allowed(&["Microsoft.Network/networkInterfaces/read"]),
    );
    let findings = judge(&facts);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].subject, nic_id().as_str());
    assert!(findings[0].message.contains("Microsoft.Network/networkInterfaces/write"));
    // A group that the document names needs a right, too.
    let group = format!("{GROUP}/Microsoft.Network/networkSecurityGroups/nsg");
    let checks = found(|facts| {
        let with_group = |v: &mut Value| {
            v["properties"]["networkSecurityGroup"] = json!({"id": group});
        };
        facts.nics[0].document = document(with_group);
        facts.rights.insert(group.to_ascii_lowercase(), allowed(&["*/read"]));
    });
    assert_eq!(checks, ["RIGHT_MISSING"]);
    let unseen = |facts: &mut Facts| {
        for seen in facts.rights.values_mut() {
            *seen = refused(403, "AuthorizationFailed", "");
        }
    };
    assert_eq!(found(unseen), ["RIGHTS_UNREADABLE"]);
}

#[test]
fn an_address_is_inside_free_or_ours() {
    let address = |text: &'static str| {
        move |facts: &mut Facts| facts.addresses[0].address = text.parse().expect("an address")
    };
    assert_eq!(found(address("10.6.0.1")), ["ADDRESS_OUTSIDE"]);
    assert_eq!(found(address("10.5.0.2")), ["ADDRESS_RESERVED"]);
    let taken = |facts: &mut Facts| facts.addresses[0].free = Some(Seen::Yes(false));
    assert_eq!(found(taken), ["ADDRESS_TAKEN"]);
    let on_member = |primary: bool| {
        move |facts: &mut Facts| {
            taken(facts);
            let change = |v: &mut Value| {
                let list = v["properties"]["ipConfigurations"].as_array_mut().expect("a list");
                list.push(json!({
                    "name": "vip",
                    "properties": {"privateIPAddress": "10.5.0.110", "primary": primary},
                }));
            };
            facts.members = vec![(nic_id(), document(change))];
        }
    };
    assert!(found(on_member(false)).is_empty(), "ours");
    assert_eq!(found(on_member(true)), ["ADDRESS_IS_PRIMARY"]);
    let network = |facts: &mut Facts| {
        for seen in facts.networks.values_mut() {
            *seen = refused(403, "AuthorizationFailed", "");
        }
    };
    assert_eq!(found(network), ["NETWORK_UNREADABLE"]);
}

#[test]
fn what_the_guest_has_is_found() {
    let cases: [Case<fn(&mut Facts)>; 13] = [
        ("CLOUD_INIT", |f| f.guest.cloud_init = true),
        ("CLOUD_NETCONFIG", |f| f.guest.cloud_netconfig = true),
        ("NM_CLOUD_SETUP", |f| f.guest.nm_cloud_setup = true),
        ("INTERFACE_MISSING", |f| f.guest.missing = vec![Selector::Name("eth9".to_owned())]),
        ("RP_FILTER_STRICT", |f| f.guest.interfaces = 2),
        ("NONLOCAL_BIND_OFF", |f| f.guest.nonlocal_bind = Some(false)),
        ("CLOCK_SLEW", |f| f.guest.slew_ppm = Some(83_333)),
        ("CLOCK_OFF", |f| f.ahead_of_arm_s = Some(-31)),
        ("PEER_REFUSED", |f| f.peers[0].reach = Reach::Refused),
        ("PEER_TIMEOUT", |f| f.peers[0].reach = Reach::TimedOut),
        ("PEER_UNKNOWN", |f| f.peers[0].reach = Reach::NoSuchName("?".to_owned())),
        ("DATA_DIR_VOLATILE", |f| {
            f.disk =
                DiskFacts::Seen { path: "/d".to_owned(), free_bytes: 1 << 40, in_memory: true };
        }),
        ("DATA_DIR_FULL", |f| {
            f.disk = DiskFacts::Seen { path: "/d".to_owned(), free_bytes: 1, in_memory: false };
        }),
    ];
    for (check, change) in cases {
        assert_eq!(found(change), [check]);
    }
}

fn examined(node: &str) -> Examined {
    Examined {
        node: NodeId::new(node).expect("a name"),
        version: "1".to_owned(),
        wall_ms: 1_000_000,
        findings: vec![],
        networks: BTreeSet::from(["/v".to_owned()]),
        nics: vec![NicId::new(&format!("/{node}"))],
        peers: BTreeSet::from(["n1=a member".to_owned()]),
    }
}

fn compared(change: impl FnOnce(&mut Examined, &mut Roster)) -> Vec<String> {
    let mut roster = Roster {
        voters: 3,
        candidates: BTreeMap::from([(VipName::new("demo").expect("a name"), 2)]),
    };
    let (first, mut second) = (examined("n1"), examined("n2"));
    change(&mut second, &mut roster);
    let findings = compare(&roster, &[first, second], &BTreeMap::new());
    findings.into_iter().map(|finding| finding.check).collect()
}

#[test]
fn nodes_that_do_not_fit_together_are_found() {
    assert_eq!(compared(|_, _| {}), Vec::<String>::new());
    let cases: [Case<Differ>; 7] = [
        ("SEVERAL_NETWORKS", |n, _| n.networks = BTreeSet::from(["/w".to_owned()])),
        ("NIC_TWICE", |n, _| n.nics = vec![NicId::new("/N1")]),
        ("PEERS_DIFFER", |n, _| n.peers.clear()),
        ("VERSIONS_DIFFER", |n, _| n.version = "2".to_owned()),
        ("CLOCKS_DIFFER", |n, _| n.wall_ms += 11_000),
        ("FEW_VOTES", |_, roster| roster.voters = 2),
        ("NO_STANDBY", |_, roster| roster.candidates.values_mut().for_each(|count| *count = 1)),
    ];
    for (check, change) in cases {
        assert_eq!(compared(change), [check]);
    }
    let silent = BTreeMap::from([(NodeId::new("n3").expect("a name"), "no".to_owned())]);
    let roster = Roster { voters: 3, candidates: BTreeMap::new() };
    let findings = compare(&roster, &[examined("n1")], &silent);
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].check.as_str(), findings[0].severity),
        ("NODE_SILENT", Severity::Error)
    );
}

#[test]
fn every_check_is_explained_in_the_docs_and_has_a_name_of_its_own() {
    let page = include_str!("../../../../docs/doctor.md");
    let codes: BTreeSet<&str> = Check::ALL.iter().map(|check| check.code()).collect();
    assert_eq!(codes.len(), Check::ALL.len());
    for check in Check::ALL {
        let word = match check.severity() {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let row = format!("| `{}` | {word} |", check.code());
        assert!(page.contains(&row), "docs/doctor.md has no row that begins: {row}");
    }
    assert_eq!(page.matches("\n| `").count(), codes.len(), "a row for each, and no other");
}

//! The node's NICs: there, readable, of this VM, with room, and free of locks.

use vipfence_coordinator_core::{NicDocument, Provisioning};
use vipfence_types::Finding;

use super::super::{
    check::Check,
    facts::{Facts, NicFacts, Refusal, Seen},
};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for nic in &facts.nics {
        match &nic.document {
            Seen::Yes(document) => {
                findings.extend(document_of(facts, nic, document));
                findings.extend(locks(nic));
            }
            Seen::Refused(refusal) => findings.extend(refused(nic, refusal)),
            // Said once, as ARM that is not reached or a token that is not there.
            Seen::Silent(_) => {}
        }
    }
    findings.extend(facts.vm_addresses.iter().filter_map(|(vm, count)| {
        let vm = last(vm);
        (*count > 0 && count + room_needed(facts) > facts.limit).then(|| {
            let limit = facts.limit;
            Check::VmFull.finds(
                vm,
                format!("VM {vm} has {count} of {limit} addresses: the VIPs do not fit"),
                "take addresses off its NICs, or spread the VIPs over more nodes",
            )
        })
    }));
    findings
}

fn refused(nic: &NicFacts, refusal: &Refusal) -> Option<Finding> {
    let (name, told) = (nic.id.name(), refusal.told());
    match (refusal.status, refusal.code.as_str()) {
        // Told as the way to ARM.
        (401 | 429, _) | (_, "SubscriptionNotFound") => None,
        (404, _) => Some(Check::NicNotFound.finds(
            nic.id.as_str(),
            format!("NIC {name} does not exist: {told}"),
            "correct its id in [[nics]]: `az network nic list --query \"[].id\"` prints them",
        )),
        (403, _) => Some(Check::NicForbidden.finds(
            nic.id.as_str(),
            format!("NIC {name} may not be read: {told}"),
            "assign the role that `vipfence azure role` prints; a new role may take a day to reach \
             a running VM, since its metadata service keeps tokens",
        )),
        _ => Some(Check::NicUnreadable.finds(
            nic.id.as_str(),
            format!("NIC {name} cannot be read: {told}"),
            "if it lasts, look at the NIC in the portal",
        )),
    }
}

fn document_of(facts: &Facts, nic: &NicFacts, document: &NicDocument) -> Vec<Finding> {
    let (name, id) = (nic.id.name(), nic.id.as_str());
    let mut findings = Vec::new();
    match document.provisioning() {
        Provisioning::Succeeded => {}
        Provisioning::Updating => findings.push(Check::NicBusy.finds(
            id,
            format!("an operation is changing NIC {name} right now"),
            "ask again when it is over; if it never is, look for what changes it again and again",
        )),
        Provisioning::Failed => findings.push(Check::NicFailed.finds(
            id,
            format!("the last operation on NIC {name} failed (provisioningState Failed)"),
            "repair it with `az network nic update` without changes, and read its activity log",
        )),
    }
    findings.extend(owner(facts, nic, document));
    let primary = document.configs().find(|config| config.primary);
    if let Some(config) = primary
        && property(document, config.name, "privateIPAllocationMethod") == Some("Dynamic")
    {
        findings.push(Check::PrimaryDynamic.finds(
            id,
            format!("the primary address of NIC {name} ({}) is dynamic", config.name),
            "make it static, so that a VM that was deallocated comes back with the same address: \
             `az network nic ip-config update --private-ip-address ADDRESS`",
        ));
    }
    if document.value()["properties"]["enableIPForwarding"] == true {
        findings.push(Check::IpForwarding.finds(
            id,
            format!(
                "IP forwarding is on at NIC {name}: Azure lets it send from addresses that it \
                     does not have"
            ),
            "switch it off unless this node routes: without it Azure drops what a stale holder \
             sends",
        ));
    }
    let count = document.configs().count();
    if count + room_needed(facts) > facts.limit {
        let limit = facts.limit;
        findings.push(Check::NicFull.finds(
            id,
            format!("NIC {name} has {count} of {limit} addresses: the VIPs do not fit"),
            "take addresses off it, or give the VIPs another NIC",
        ));
    }
    findings
}

/// A field of an ipConfiguration's properties.
fn property<'a>(document: &'a NicDocument, config: &str, field: &str) -> Option<&'a str> {
    let configs = document.value()["properties"]["ipConfigurations"].as_array()?;
    let config = configs.iter().find(|known| known["name"] == config)?;
    config["properties"][field].as_str()
}

/// Room for the VIPs that the node may hold and does not have yet.
fn room_needed(facts: &Facts) -> usize {
    let known = |address| {
        let documents = facts.nics.iter().filter_map(|nic| nic.document.yes());
        documents.into_iter().any(|document| document.find(address).is_some())
    };
    facts
        .addresses
        .iter()
        .filter(|entry| entry.nic.is_some() && !known(entry.address))
        .count()
        .max(1)
}

fn owner(facts: &Facts, nic: &NicFacts, document: &NicDocument) -> Option<Finding> {
    let (name, id) = (nic.id.name(), nic.id.as_str());
    let this = facts.instance.yes()?["compute"]["resourceId"].as_str()?;
    let vm = document.value().pointer("/properties/virtualMachine/id").and_then(|id| id.as_str());
    match vm {
        Some(vm) if vm.eq_ignore_ascii_case(this) => None,
        Some(vm) => Some(Check::NicOfAnotherVm.finds(
            id,
            format!("NIC {name} belongs to {}, and this is {}", last(vm), last(this)),
            "correct its id in [[nics]]: each node names its own NICs",
        )),
        None => Some(Check::NicWithoutVm.finds(
            id,
            format!("NIC {name} belongs to no VM, and this is {}", last(this)),
            "correct its id in [[nics]], or attach the NIC to this VM",
        )),
    }
}

fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

fn locks(nic: &NicFacts) -> Vec<Finding> {
    let id = nic.id.as_str();
    match &nic.locks {
        Seen::Yes(locks) => {
            let read_only = locks.iter().filter(|lock| lock.read_only);
            let finding = |lock: &super::super::facts::Lock| {
                Check::Locked.finds(
                    id,
                    format!("lock \"{}\" (ReadOnly) forbids every change of the NIC", lock.name),
                    "remove it (`az lock delete`), or use CanNotDelete, which moves do not mind",
                )
            };
            read_only.map(finding).collect()
        }
        Seen::Refused(refusal) => vec![Check::LocksUnreadable.finds(
            id,
            format!("whether a lock forbids changes could not be seen: {}", refusal.told()),
            "use the role that `vipfence azure role` prints, or look at `az lock list`",
        )],
        Seen::Silent(why) => vec![Check::LocksUnreadable.finds(
            id,
            format!("whether a lock forbids changes could not be seen: {why}"),
            "ask again",
        )],
    }
}

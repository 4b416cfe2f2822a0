//! The addresses: inside the subnet, not reserved, free or ours.

use vipfence_types::Finding;

use super::super::{
    check::Check,
    facts::{AddressFacts, Facts, Seen},
};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts
        .addresses
        .iter()
        .flat_map(|entry| {
            let mut found: Vec<Finding> =
                inside(entry).into_iter().chain(taken(facts, entry)).collect();
            for finding in &mut found {
                finding.vip.clone_from(&entry.vip);
            }
            found
        })
        .collect();
    let unreadable = facts.networks.iter().find_map(|(id, seen)| Some((id, seen.refusal()?)));
    if let Some((network, refusal)) = unreadable {
        findings.push(Check::NetworkUnreadable.finds(
            network,
            format!("whether addresses lie in the subnet could not be seen: {}", refusal.told()),
            "add Microsoft.Network/virtualNetworks/read to the role",
        ));
    }
    findings
}

fn inside(entry: &AddressFacts) -> Option<Finding> {
    let (nic, prefixes) = (entry.nic.as_ref()?, entry.prefixes.as_ref()?);
    let (address, name) = (entry.address, nic.name());
    let Some(prefix) = prefixes.iter().find(|prefix| prefix.contains(address)) else {
        let known: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        return Some(Check::AddressOutside.finds(
            address.to_string(),
            format!("{address} is outside the subnet of NIC {name} ({})", known.join(", ")),
            "use an address of the subnet, or name the NIC in that subnet (VipAddress.nic)",
        ));
    };
    prefix.reserves(address).then(|| {
        Check::AddressReserved.finds(
            address.to_string(),
            format!("{address} is one of the five that Azure reserves in {prefix}"),
            "use an address from the fifth on, but for the last one",
        )
    })
}

/// Free, or on a NIC of this cluster as a secondary address.
fn taken(facts: &Facts, entry: &AddressFacts) -> Option<Finding> {
    let address = entry.address;
    let documents = facts.members.iter().filter_map(|(id, seen)| Some((id, seen.yes()?)));
    let holders: Vec<_> = documents
        .filter_map(|(id, document)| Some((id, document.find(address)?.primary)))
        .collect();
    if let Some((nic, _)) = holders.iter().find(|(_, primary)| *primary) {
        return Some(Check::AddressIsPrimary.finds(
            address.to_string(),
            format!("{address} is the primary address of NIC {}", nic.name()),
            "a primary address never moves: use another address for the VIP",
        ));
    }
    let in_use = matches!(entry.free, Some(Seen::Yes(false)));
    let outside = entry.prefixes.as_ref().is_some_and(|prefixes| {
        !prefixes.iter().any(|prefix| prefix.contains(address) && !prefix.reserves(address))
    });
    (in_use && holders.is_empty() && !outside).then(|| {
        Check::AddressTaken.finds(
            address.to_string(),
            format!("{address} belongs to something that is no NIC of this cluster"),
            "find it (`az network nic list`, private endpoints, load balancers) and free the \
             address, or use another one",
        )
    })
}

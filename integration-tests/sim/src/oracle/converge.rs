//! I6: convergence.

use std::net::IpAddr;

use vipfence_coordinator_core::{AzureTrack, Intent, VipRecord};
use vipfence_types::{DataPath, Mode, NicId};

use super::{
    Truth,
    azure::addresses_of,
    data_path,
    holders::{answering, holders},
    log::Log,
};

/// I6: "When faults stop and a healthy candidate and a quorum exist, every enabled VIP ends held by
/// a candidate, attached to its NIC and added on its OS, with no third place having it." Says what is
/// still missing.
pub(crate) fn unconverged(truth: &Truth<'_>, log: &Log) -> Option<String> {
    log.registry.vips.values().find_map(|record| {
        vip_unconverged(truth, record)
            .map(|why| format!("{}: {why}; blocked: {:?}", record.name, blocked(log, record)))
    })
}

fn blocked(log: &Log, record: &VipRecord) -> String {
    let open = log.registry.open_move(&record.name);
    open.map(|open| open.blocked_reason.clone()).unwrap_or_default()
}

fn vip_unconverged(truth: &Truth<'_>, record: &VipRecord) -> Option<String> {
    match record.intent {
        Intent::Held => held(truth, record),
        Intent::Disabled => {
            if record.open.is_some() {
                return Some("is being disabled".to_owned());
            }
            nowhere(truth, record)
        }
        Intent::Deleted => Some("is being deleted".to_owned()),
    }
}

fn held(truth: &Truth<'_>, record: &VipRecord) -> Option<String> {
    if !record.is_held() {
        return Some(format!("is in {:?} and {:?}", record.azure, record.grant));
    }
    let holder = record.holder()?;
    let AzureTrack::Attached { at, node } = &record.azure else { return None };
    if node != holder || !record.spec.is_candidate(holder) {
        return Some(format!("is attached to {node} and held by {holder}"));
    }
    let attachments = truth.azure.attachments().attachments;
    for place in at {
        let routed = attachments.get(&place.address).map(|nic| NicId::new(nic));
        if routed.as_ref() != Some(&place.nic) {
            return Some(format!("is sent by Azure to {routed:?}"));
        }
        let others = nics_with(truth, place.address);
        if others.len() != 1 {
            return Some(format!("stands on {others:?}"));
        }
    }
    for entry in &record.spec.addresses {
        let on = holders(truth, entry.address);
        if on != [holder.as_str()] {
            return Some(format!("is held by {holder} and is on {on:?}"));
        }
    }
    if record.spec.data_path != DataPath::Off && !data_path::reached(record) {
        return Some("was not reached by any other node".to_owned());
    }
    let answer = answering(truth, record);
    let wanted = usize::from(record.spec.mode == Mode::LoadBalancer);
    if answer.len() != wanted || answer.iter().any(|node| *node != holder.as_str()) {
        return Some(format!("is held by {holder} and its probe is answered by {answer:?}"));
    }
    None
}

fn nowhere(truth: &Truth<'_>, record: &VipRecord) -> Option<String> {
    let answer = answering(truth, record);
    if !answer.is_empty() {
        return Some(format!("its probe is answered by {answer:?}"));
    }
    record.spec.addresses.iter().find_map(|entry| {
        let (on, at) = (holders(truth, entry.address), nics_with(truth, entry.address));
        (!on.is_empty() || !at.is_empty()).then(|| format!("is on {on:?} and at {at:?}"))
    })
}

/// The NICs in whose documents an address stands.
fn nics_with(truth: &Truth<'_>, address: IpAddr) -> Vec<String> {
    let nics = truth.azure.config().nics.iter().map(|nic| nic.name.clone());
    nics.filter(|nic| {
        truth.azure.nic(nic).is_some_and(|document| addresses_of(&document).contains(&address))
    })
    .collect()
}

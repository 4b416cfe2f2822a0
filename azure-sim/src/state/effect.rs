//! What the end of an operation does: to the document, to the allocation, to the data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::journal::JournalEvent;
use super::nic::Provisioning;
use super::operation::OperationStatus;
use super::plan::Taken;
use super::settings::AddressFreed;
use super::world::World;

impl World {
    pub(crate) fn complete(&mut self, guid: &str) {
        let Some(operation) = self.operations.get(guid) else { return };
        let (status, takes_effect) = match operation.failure.clone() {
            None => (OperationStatus::Succeeded, true),
            Some((error, takes_effect)) => (OperationStatus::Failed(error), takes_effect),
        };
        self.conclude(guid, status, takes_effect);
    }

    /// An operation ends, and with it the work on its NIC, if that was its.
    pub(crate) fn conclude(&mut self, guid: &str, status: OperationStatus, takes_effect: bool) {
        let Some(operation) = self.operations.get(guid) else { return };
        let succeeded = status == OperationStatus::Succeeded;
        let key = operation.nic.clone();
        let addresses = operation.addresses.clone();
        let previous = operation.previous.clone();
        self.end_operation(guid, status);
        let etag = self.next_etag();
        let settings = &self.settings;
        let nic = self.nics.get_mut(&key).filter(|nic| nic.operation.as_deref() == Some(guid));
        let Some(nic) = nic else { return };
        nic.operation = None;
        nic.provisioning = if succeeded { Provisioning::Succeeded } else { Provisioning::Failed };
        if settings.etag_changes_on_completion {
            nic.etag = etag;
        }
        if takes_effect {
            self.take_effect(&key, addresses);
        } else if !settings.failed_goal_stays
            // An address that was freed at acceptance may be somebody else's by now.
            && settings.address_freed == AddressFreed::AtCompletion
            && let Some(previous) = previous
        {
            nic.goal = previous;
            let back = nic.goal.addresses();
            nic.releasing.retain(|address| !back.contains(address));
        }
    }

    pub(crate) fn end_operation(&mut self, guid: &str, status: OperationStatus) {
        let word = status.as_str().to_owned();
        let error_code = status.error().map(|error| error.code.clone());
        if let Some(operation) = self.operations.end(guid, status) {
            self.note(JournalEvent::Completion {
                operation: operation.guid,
                resource: operation.resource,
                principal: operation.principal,
                status: word,
                error_code,
            });
        }
    }

    /// A NIC's operation is done: what it gave up is free, what it asked for reaches it.
    pub(crate) fn take_effect(&mut self, key: &str, addresses: BTreeSet<IpAddr>) {
        let Some(nic) = self.nics.get_mut(key) else { return };
        let freed = std::mem::take(&mut nic.releasing);
        let (network, id) = (nic.goal.network.clone(), nic.id.clone());
        self.free(&network, freed);
        self.change_data_plane(&network, &id, addresses);
    }

    pub(crate) fn free(&mut self, network: &str, addresses: BTreeSet<IpAddr>) {
        if self.settings.cleanup_ms > 0 {
            let until = self.now + Duration::from_millis(self.settings.cleanup_ms);
            let entries = addresses.into_iter().map(|a| ((network.to_owned(), a), until));
            self.cleaning.extend(entries);
        }
    }

    pub(crate) fn change_data_plane(
        &mut self,
        network: &str,
        nic: &str,
        addresses: BTreeSet<IpAddr>,
    ) {
        let due = self.now + Duration::from_millis(self.settings.data_plane_lag_ms);
        let changes = self.data_plane.change_at(due, network, nic, addresses);
        self.note_data_plane(changes);
        self.run_data_plane();
    }

    pub(crate) fn run_data_plane(&mut self) {
        while let Some(changes) = self.data_plane.advance(self.now) {
            self.note_data_plane(changes);
        }
    }

    /// Addresses of all other NICs by network, those still being released included.
    pub(crate) fn taken_by_others(&self, key: &str) -> BTreeMap<String, Taken> {
        let mut taken: BTreeMap<String, Taken> = BTreeMap::new();
        for (_, nic) in self.nics.iter().filter(|(other, _)| *other != key) {
            let taken = taken.entry(nic.goal.network.clone()).or_default();
            taken.extend(nic.releasing.iter().map(|address| (*address, nic.id.clone())));
            for config in &nic.goal.ip_configs {
                let id = nic.ip_config_id(&config.name);
                taken.extend(config.block.addresses().map(|address| (address, id.clone())));
            }
        }
        taken
    }
}

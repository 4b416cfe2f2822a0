//! Looking into a world without changing it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use super::attachments::Attachments;
use super::config::WorldConfig;
use super::fault::Fault;
use super::identity::{Rights, whose};
use super::journal::JournalEntry;
use super::roles::RoleAssignment;
use super::settings::Settings;
use super::standing::{Lock, Scope, SubnetTrouble};
use super::vm::{ImdsFault, Power};
use super::wall;
use super::world::{HoldId, World};

/// A look at the whole world, for people and for tests that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Milliseconds since the world began.
    pub now_ms: u64,
    /// Wall clock, RFC 3339.
    pub wall: String,
    /// Present settings.
    pub settings: Settings,
    /// Version of the effective attachments.
    pub attachments_version: u64,
    /// Last entry of the journal.
    pub journal_seq: u64,
    /// NICs by name.
    pub nics: Vec<NicStatus>,
    /// VMs by name.
    pub vms: Vec<VmStatus>,
    /// Operations that run, by the time they are due.
    pub operations: Vec<RunningOperation>,
    /// Requests that are held.
    pub held: Vec<HeldStatus>,
    /// Faults that wait.
    pub faults: Vec<Fault>,
    /// Locks by id of the NIC or of the resource group.
    pub locks: BTreeMap<String, Lock>,
    /// Names of policies that deny writes, likewise.
    pub policies: BTreeMap<String, String>,
    /// Subnets that are not at rest, by lower-case id.
    pub subnets: BTreeMap<String, SubnetTrouble>,
    /// Requests so far by principal and method.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
}

/// A NIC in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NicStatus {
    /// Name.
    pub name: String,
    /// Resource id.
    pub id: String,
    /// Its VM.
    pub vm: Option<String>,
    /// ETag.
    pub etag: String,
    /// `provisioningState`
    pub provisioning: &'static str,
    /// GUID of the operation that runs.
    pub operation: Option<String>,
    /// Operations on it are frozen.
    pub frozen: bool,
    /// Addresses in its document.
    pub addresses: Vec<IpAddr>,
    /// Addresses that left it and are not free yet.
    pub releasing: Vec<IpAddr>,
    /// Addresses that reach it.
    pub effective: Vec<IpAddr>,
}

/// An operation in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunningOperation {
    /// Its GUID.
    pub guid: String,
    /// Id of its NIC.
    pub resource: String,
    /// Who started it.
    pub principal: Option<String>,
    /// When it was accepted, in milliseconds since the world began.
    pub accepted_ms: u64,
    /// When it ends unless it is frozen, likewise.
    pub due_ms: u64,
}

/// A VM in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmStatus {
    /// Name.
    pub name: String,
    /// Power state.
    pub power: Power,
    /// What is wrong with its IMDS.
    pub imds_fault: Option<ImdsFault>,
    /// What its identity may do, before its roles are looked at.
    pub rights: Rights,
    /// Roles of its identity; `None` = no roles are looked at.
    pub roles: Option<Vec<RoleAssignment>>,
}

/// A held request in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldStatus {
    /// Its id.
    pub hold: HoldId,
    /// Who sent it.
    pub principal: Option<String>,
    /// Method and path.
    pub request: String,
    /// When it goes on by itself, in milliseconds since the world began.
    pub due_ms: Option<u64>,
}

impl World {
    /// The effective attachments: what the data plane does.
    #[must_use]
    pub fn attachments(&self) -> Attachments {
        self.data_plane.published()
    }

    /// Their version.
    #[must_use]
    pub fn attachments_version(&self) -> u64 {
        self.data_plane.version()
    }

    /// Journal entries after `seq`, oldest first.
    pub fn journal_after(&self, seq: u64) -> impl Iterator<Item = &JournalEntry> {
        self.journal.after(seq)
    }

    /// `seq` of the last journal entry.
    #[must_use]
    pub fn journal_seq(&self) -> u64 {
        self.journal.last_seq()
    }

    /// What the world was made from.
    #[must_use]
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// Present behaviour.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the behaviour without a journal entry; [`World::admin`] makes one.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The document of a NIC as a GET shows it.
    #[must_use]
    pub fn nic(&self, name: &str) -> Option<Value> {
        self.nics.get(&name.to_ascii_lowercase()).map(|nic| self.nic_document(nic))
    }

    fn scope_id(&self, scope: &Scope) -> String {
        match scope {
            Some(nic) => self.nics.get(nic).map_or_else(|| nic.clone(), |nic| nic.id.clone()),
            None => self.config.resource_group_id(),
        }
    }

    /// Everything at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        let nics = self.nics.iter().map(|(key, nic)| NicStatus {
            name: nic.name.clone(),
            id: nic.id.clone(),
            vm: nic.vm.clone(),
            etag: nic.etag.clone(),
            provisioning: nic.provisioning.as_str(),
            operation: nic.operation.clone(),
            frozen: self.operations.all_frozen || self.operations.frozen.contains(key),
            addresses: nic.goal.addresses().into_iter().collect(),
            releasing: nic.releasing.iter().copied().collect(),
            effective: self.data_plane.of(&nic.id).collect(),
        });
        let vms = self.vms.iter().map(|(key, vm)| VmStatus {
            name: vm.name.clone(),
            power: vm.power,
            imds_fault: vm.imds_fault,
            rights: self.identities.get(key).map(|i| i.rights).unwrap_or_default(),
            roles: self.identities.get(key).and_then(|i| i.roles.clone()),
        });
        let held = self.held.requests().map(|(hold, held)| HeldStatus {
            hold,
            principal: whose(&self.identities, held.request.header("authorization"))
                .map(|(identity, _)| identity.principal.clone()),
            request: format!("{} {}", held.request.method, held.request.path_and_query),
            due_ms: held.due.map(wall::millis),
        });
        let operations = self.operations.running().map(|operation| RunningOperation {
            guid: operation.guid.clone(),
            resource: operation.resource.clone(),
            principal: operation.principal.clone(),
            accepted_ms: wall::millis(operation.accepted),
            due_ms: wall::millis(operation.due),
        });
        let standing = &self.standing;
        let locks = standing.locks.iter().map(|(scope, lock)| (self.scope_id(scope), *lock));
        let policies = standing.policies.iter();
        let policies = policies.map(|(scope, policy)| (self.scope_id(scope), policy.clone()));
        Status {
            now_ms: wall::millis(self.now),
            wall: wall::rfc3339(self.unix_ms()),
            settings: self.settings.clone(),
            attachments_version: self.data_plane.version(),
            journal_seq: self.journal.last_seq(),
            nics: nics.collect(),
            vms: vms.collect(),
            operations: operations.collect(),
            held: held.collect(),
            faults: self.faults.waiting().to_vec(),
            locks: locks.collect(),
            policies: policies.collect(),
            subnets: standing.subnets.clone(),
            requests: self.journal.counts().clone(),
        }
    }
}

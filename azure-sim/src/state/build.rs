//! From a configuration to a world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::attachments::DataPlane;
use super::check::ConfigError;
use super::config::{IdentityConfig, NicConfig, WorldConfig};
use super::fault::Faults;
use super::guid::Guids;
use super::held::Held;
use super::identity::Identity;
use super::journal::Journal;
use super::net::Prefix;
use super::nic::{Goal, IpConfig, Nic, Provisioning};
use super::operation::Operations;
use super::standing::Standing;
use super::throttle::Throttle;
use super::vm::{Power, Vm};
use super::world::World;

impl World {
    /// The world before anything has happened.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn new(config: WorldConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let mut world = Self {
            settings: config.settings.clone(),
            now: Duration::ZERO,
            guids: Guids::new(config.seed),
            nics: BTreeMap::new(),
            vms: BTreeMap::new(),
            identities: BTreeMap::new(),
            operations: Operations::new(config.limits.operations),
            cleaning: BTreeMap::new(),
            data_plane: DataPlane::default(),
            journal: Journal::new(config.limits.journal),
            faults: Faults::default(),
            held: Held::new(config.limits.held),
            standing: Standing::default(),
            throttle: Throttle::default(),
            config,
        };
        for vm in world.config.vms.clone() {
            let key = vm.name.to_ascii_lowercase();
            let principal = vm.principal.unwrap_or_else(|| vm.name.clone());
            if vm.system_assigned {
                let resource = world.config.vm_id(&vm.name);
                let mut identity =
                    Identity::new(vm.name.clone(), principal, resource, &mut world.guids);
                identity.roles.clone_from(&vm.roles);
                world.identities.insert(key.clone(), identity);
            }
            let vm = Vm {
                vm_id: world.guids.next(),
                name: vm.name,
                zone: vm.zone,
                power: Power::Running,
                imds_fault: None,
                events: Vec::new(),
                incarnation: 1,
                identities: vm.identities.iter().map(|i| world.identity_key(i)).collect(),
            };
            world.vms.insert(key, vm);
        }
        for identity in world.config.identities.clone() {
            world.build_identity(identity);
        }
        for application in world.config.applications.clone() {
            let (key, name) = (application.key(), application.name);
            let mut identity = Identity::new(name.clone(), name, String::new(), &mut world.guids);
            identity.client_id = application.client_id;
            world.identities.insert(key, identity);
        }
        for (number, nic) in world.config.nics.clone().into_iter().enumerate() {
            world.build_nic(number, nic);
        }
        Ok(world)
    }

    fn identity_key(&self, name: &str) -> String {
        self.config.identity_id(name).to_ascii_lowercase()
    }

    /// A user-assigned identity; it speaks for no VM, so its name stands for the node's.
    fn build_identity(&mut self, config: IdentityConfig) {
        let (key, resource) =
            (self.identity_key(&config.name), self.config.identity_id(&config.name));
        let name = config.name;
        let mut identity = Identity::new(name.clone(), name, resource, &mut self.guids);
        identity.client_id = config.client_id.unwrap_or(identity.client_id);
        identity.object_id = config.object_id.unwrap_or(identity.object_id);
        identity.roles = config.roles;
        self.identities.insert(key, identity);
    }

    fn build_nic(&mut self, number: usize, config: NicConfig) {
        let reference = self.config.reference_of(&config);
        let subnet_id = self.config.subnet_id(&config.virtual_network, &config.subnet);
        let ip_config = |name: &str, address: IpAddr, primary| IpConfig {
            name: name.to_owned(),
            block: Prefix::host(address),
            written: address.to_string(),
            subnet_id: subnet_id.clone(),
            primary,
            dynamic: primary && !config.static_primary,
            properties: ip_config_properties(&config, name),
        };
        let mut ip_configs = vec![ip_config("ipconfig1", config.primary_address, true)];
        ip_configs.extend(config.secondary.iter().map(|(name, a)| ip_config(name, *a, false)));
        let mut properties = Map::new();
        properties.insert("enableIPForwarding".to_owned(), config.enable_ip_forwarding.into());
        if let Some(group) = config.network_security_group {
            properties.insert("networkSecurityGroup".to_owned(), json!({"id": group}));
        }
        let nic = Nic {
            id: self.config.nic_id(&reference),
            mac: mac(number),
            resource_guid: self.guids.next(),
            etag: self.next_etag(),
            goal: Goal {
                location: self.config.location.clone(),
                tags: config.tags.into_iter().map(|(k, v)| (k, Value::String(v))).collect(),
                properties,
                ip_configs,
                network: config.virtual_network.to_ascii_lowercase(),
            },
            provisioning: Provisioning::Succeeded,
            operation: None,
            releasing: BTreeSet::new(),
            vm: config.vm,
            name: config.name,
        };
        let addresses = nic.goal.addresses();
        self.data_plane.change_at(Duration::ZERO, &nic.goal.network, &nic.id, addresses);
        self.data_plane.advance(Duration::ZERO);
        self.nics.insert(reference.to_ascii_lowercase(), nic);
    }
}

fn ip_config_properties(nic: &NicConfig, name: &str) -> Map<String, Value> {
    let mut properties = nic.ip_config_properties.get(name).cloned().unwrap_or_default();
    let groups = &nic.application_security_groups;
    if !groups.is_empty() {
        let groups = groups.iter().map(|id| json!({"id": id})).collect();
        properties.insert("applicationSecurityGroups".to_owned(), groups);
    }
    if let Some(id) = nic.public_addresses.get(name) {
        properties.insert("publicIPAddress".to_owned(), json!({"id": id}));
    }
    properties
}

pub(crate) fn mac(number: usize) -> String {
    format!("00-0D-3A-A5-{:02X}-{:02X}", (number >> 8) & 0xff, number & 0xff)
}

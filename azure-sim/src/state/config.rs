//! The world before anything has happened: networks, VMs, NICs and identities. Where they are is
//! for `sites`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::net::Prefix;
use super::roles::RoleAssignment;
use super::settings::Settings;

/// Everything a simulated world starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldConfig {
    /// GUIDs, ETags and tokens derive from it; the same seed gives the same world.
    pub seed: u64,
    /// The wall clock, in Unix milliseconds, at `now` = 0.
    pub started_unix_ms: u64,
    /// Tenant GUID, as it stands in tokens.
    pub tenant: String,
    /// GUID of the subscription of all resources that name none.
    pub subscription: String,
    /// The resource group of all resources that name none.
    pub resource_group: String,
    /// The one region.
    pub location: String,
    /// Base of the URLs in answers; `None` = `http://` and the request's `Host`.
    pub endpoint: Option<String>,
    /// Virtual networks with their subnets.
    pub virtual_networks: Vec<VirtualNetworkConfig>,
    /// Virtual machines.
    pub vms: Vec<VmConfig>,
    /// User-assigned managed identities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityConfig>,
    /// Applications that log in with a secret or by federation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<ApplicationConfig>,
    /// Network interfaces.
    pub nics: Vec<NicConfig>,
    /// Documents of load balancers, each with its full `id`: they are only read.
    pub load_balancers: Vec<Value>,
    /// Behaviour; can be changed later. In a file, `"profile": "classic"` beside other fields says
    /// whose values the fields that are not named have.
    #[serde(deserialize_with = "Settings::of_world")]
    pub settings: Settings,
    /// Bounds of memory.
    pub limits: Limits,
}

/// A virtual network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtualNetworkConfig {
    /// Resource name, unique in the world.
    pub name: String,
    /// Its subnets.
    pub subnets: Vec<SubnetConfig>,
    /// Its subscription; `None` = the world's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Its resource group; `None` = the world's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetConfig {
    /// Resource name, unique in its network.
    pub name: String,
    /// Its prefix; IPv4, since a primary ipConfiguration is.
    pub prefix: Prefix,
    /// Its IPv6 prefix, if it is of both families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_v6: Option<Prefix>,
}

impl SubnetConfig {
    /// Its prefixes.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        [Some(self.prefix), self.prefix_v6].into_iter().flatten()
    }

    /// The one that an address lies in.
    pub(super) fn prefix_of(&self, address: IpAddr) -> Option<Prefix> {
        self.prefixes().find(|prefix| prefix.contains(address))
    }
}

/// A virtual machine; its name is the node's name in this simulator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmConfig {
    /// Resource name.
    pub name: String,
    /// Name of its managed identity in the journal; `None` = the VM's name.
    #[serde(default)]
    pub principal: Option<String>,
    /// Availability zone, as IMDS tells it.
    #[serde(default)]
    pub zone: String,
    /// Roles of its identity; `None` = it may do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<RoleAssignment>>,
    /// Whether it has an identity of its own, as long as it lives.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub system_assigned: bool,
    /// Names of the user-assigned identities that it has besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<String>,
    /// Its subscription; `None` = the world's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Its resource group; `None` = the world's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// A user-assigned managed identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Resource name, unique in the world; also its name in the journal.
    pub name: String,
    /// Its client id; `None` = one that derives from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its object id (principal id); likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
    /// Its subscription; `None` = the world's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Its resource group; `None` = the world's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    /// Its roles; `None` = it may do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<RoleAssignment>>,
}

/// An application with its service principal in the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationConfig {
    /// Its name in the journal.
    pub name: String,
    /// Client id, unique in the world.
    pub client_id: String,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Whose word counts instead of a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federated: Option<FederationConfig>,
}

impl ApplicationConfig {
    /// Key of its identity.
    pub(super) fn key(&self) -> String {
        format!("application/{}", self.client_id.to_ascii_lowercase())
    }
}

/// A federated identity credential: `iss` and `sub` of the assertions that count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationConfig {
    /// Who signs them.
    pub issuer: String,
    /// About whom.
    pub subject: String,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicConfig {
    /// Resource name.
    pub name: String,
    /// The VM it is attached to.
    #[serde(default)]
    pub vm: Option<String>,
    /// Virtual network.
    pub virtual_network: String,
    /// Subnet in it.
    pub subnet: String,
    /// Address of the primary ipConfiguration `ipconfig1`.
    pub primary_address: IpAddr,
    /// Secondary ipConfigurations: name and address.
    #[serde(default)]
    pub secondary: BTreeMap<String, IpAddr>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Whether the primary address is static.
    #[serde(default)]
    pub static_primary: bool,
    /// `enableIPForwarding`.
    #[serde(default)]
    pub enable_ip_forwarding: bool,
    /// Full id of a network security group.
    #[serde(default)]
    pub network_security_group: Option<String>,
    /// Full ids of the application security groups of all its ipConfigurations.
    #[serde(default)]
    pub application_security_groups: Vec<String>,
    /// Full ids of public addresses, by the name of the ipConfiguration that has them.
    #[serde(default)]
    pub public_addresses: BTreeMap<String, String>,
    /// Further properties of ipConfigurations, by their names, as a PUT would have them: pools of
    /// load balancers for instance.
    #[serde(default)]
    pub ip_config_properties: BTreeMap<String, Map<String, Value>>,
    /// Its subscription; `None` = the world's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Its resource group; `None` = the world's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
}

/// Bounds of memory; the oldest goes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Journal entries kept.
    pub journal: usize,
    /// Finished operations kept.
    pub operations: usize,
    /// Held requests, and answers to them that nobody fetched.
    pub held: usize,
    /// NICs; a PUT that would create one more is refused.
    pub nics: usize,
    /// Faults waiting to strike.
    pub faults: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { journal: 10_000, operations: 1_000, held: 256, nics: 1_024, faults: 256 }
    }
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            started_unix_ms: 1_760_000_000_000,
            tenant: "72f988bf-0000-4000-8000-000000000001".to_owned(),
            subscription: "00000000-0000-4000-8000-0000000000a5".to_owned(),
            resource_group: "vipfence".to_owned(),
            location: "westeurope".to_owned(),
            endpoint: None,
            virtual_networks: vec![VirtualNetworkConfig {
                name: "vnet".to_owned(),
                subnets: vec![SubnetConfig {
                    name: "subnet".to_owned(),
                    prefix: Prefix::new(Ipv4Addr::new(10, 5, 0, 0), 24)
                        .expect("10.5.0.0/24 is a prefix"),
                    prefix_v6: None,
                }],
                subscription: None,
                resource_group: None,
            }],
            vms: Vec::new(),
            identities: Vec::new(),
            applications: Vec::new(),
            nics: Vec::new(),
            load_balancers: Vec::new(),
            settings: Settings::default(),
            limits: Limits::default(),
        }
    }
}

impl WorldConfig {
    /// VMs n1 to nN in subnet 10.5.0.0/24, with NICs n1-nic at 10.5.0.4 and so on.
    #[must_use]
    pub fn nodes(count: u8) -> Self {
        let mut config = Self::default();
        for i in 0..count {
            let name = format!("n{}", u16::from(i) + 1);
            let address = Ipv4Addr::new(10, 5, 0, i.saturating_add(4));
            config = config.with_node(&name, address);
        }
        config
    }

    /// Adds a VM and its NIC `{name}-nic` in the first subnet.
    #[must_use]
    pub fn with_node(mut self, name: &str, address: impl Into<IpAddr>) -> Self {
        self.vms.push(VmConfig {
            name: name.to_owned(),
            principal: None,
            zone: (self.vms.len() % 3 + 1).to_string(),
            roles: None,
            system_assigned: true,
            identities: Vec::new(),
            subscription: None,
            resource_group: None,
        });
        let nic = self.plain_nic(&format!("{name}-nic"), Some(name.to_owned()), address.into());
        self.nics.push(nic);
        self
    }

    /// Makes the primary addresses of all NICs so far static.
    #[must_use]
    pub fn static_primaries(mut self) -> Self {
        for nic in &mut self.nics {
            nic.static_primary = true;
        }
        self
    }

    /// Gives the first subnet of the first network an IPv6 prefix, fd00:5::/64.
    #[must_use]
    pub fn dual_stack(mut self) -> Self {
        let subnets = self.virtual_networks.first_mut().map(|network| &mut network.subnets);
        if let Some(subnet) = subnets.and_then(|subnets| subnets.first_mut()) {
            subnet.prefix_v6 = "fd00:5::/64".parse().ok();
        }
        self
    }

    /// Adds somebody else's NIC, without a VM, in the first subnet.
    #[must_use]
    pub fn with_stranger(mut self, nic: &str, address: impl Into<IpAddr>) -> Self {
        let nic = self.plain_nic(nic, None, address.into());
        self.nics.push(nic);
        self
    }

    /// Adds another NIC of a VM, in the first subnet.
    #[must_use]
    pub fn with_nic(mut self, nic: &str, vm: &str, address: impl Into<IpAddr>) -> Self {
        let nic = self.plain_nic(nic, Some(vm.to_owned()), address.into());
        self.nics.push(nic);
        self
    }

    fn plain_nic(&self, name: &str, vm: Option<String>, address: IpAddr) -> NicConfig {
        let network = self.virtual_networks.first();
        NicConfig {
            name: name.to_owned(),
            vm,
            virtual_network: network.map(|n| n.name.clone()).unwrap_or_default(),
            subnet: network
                .and_then(|n| n.subnets.first())
                .map(|s| s.name.clone())
                .unwrap_or_default(),
            primary_address: address,
            secondary: BTreeMap::new(),
            tags: BTreeMap::new(),
            static_primary: false,
            enable_ip_forwarding: false,
            network_security_group: None,
            application_security_groups: Vec::new(),
            public_addresses: BTreeMap::new(),
            ip_config_properties: BTreeMap::new(),
            subscription: None,
            resource_group: None,
        }
    }
}

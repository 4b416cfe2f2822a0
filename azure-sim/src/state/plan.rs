//! From the body of a PUT to the addresses a NIC is to have: every rule that Azure checks before
//! it accepts, in its words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::config::WorldConfig;
use super::error::ArmError;
use super::net::Prefix;
use super::nic::{Draft, DraftIpConfig, Goal, IpConfig, Nic};

/// Most ipConfigurations of a NIC. `[S]`
const MAX_IP_CONFIGS: usize = 256;

/// Who has an address: the id of the ipConfiguration, or of the NIC that still releases it.
pub(crate) type Taken = BTreeMap<Ipv4Addr, String>;

/// What stands around the NIC that is written.
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a WorldConfig,
    /// Addresses of all other NICs, by lower-case network name.
    pub(crate) taken: &'a BTreeMap<String, Taken>,
    /// Addresses being cleaned up, by network and address.
    pub(crate) cleaning: &'a BTreeMap<(String, Ipv4Addr), Duration>,
}

/// Finds what the NIC is to become.
pub(crate) fn plan(
    id: &str,
    name: &str,
    draft: Draft,
    present: Option<&Nic>,
    around: &Surroundings<'_>,
) -> Result<Goal, ArmError> {
    check_set(name, &draft.ip_configs, present)?;
    let mut used = BTreeSet::new();
    let mut network = String::new();
    let mut ip_configs = Vec::new();
    let single = draft.ip_configs.len() == 1;
    for config in draft.ip_configs {
        let config_id = format!("{id}/ipConfigurations/{}", config.name);
        let place = Place::find(&config_id, id, &config, around)?;
        if !network.is_empty() && network != place.network {
            return Err(ArmError::bad_content("a NIC has addresses in one virtual network only"));
        }
        network.clone_from(&place.network);
        let kept = present
            .and_then(|nic| nic.goal.ip_configs.iter().find(|c| same(&c.name, &config.name)));
        let block = place.choose(&config_id, &config, kept, &used)?;
        for address in block.addresses() {
            place.check_free(&config_id, address, around)?;
            if !used.insert(address) {
                return Err(allocated(&config_id, address, id));
            }
        }
        ip_configs.push(IpConfig {
            written: match &config.address {
                Some(text) if text.contains('/') => block.to_string(),
                _ => block.network().to_string(),
            },
            block,
            subnet_id: place.subnet_id,
            // The only one is the primary one, said or not. [I]
            primary: config.primary || single,
            dynamic: config.dynamic,
            name: config.name,
            properties: config.properties,
        });
    }
    Ok(Goal {
        location: draft.location,
        tags: draft.tags,
        properties: draft.properties,
        ip_configs,
        network,
    })
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Rules over the set of ipConfigurations.
fn check_set(nic: &str, configs: &[DraftIpConfig], present: Option<&Nic>) -> Result<(), ArmError> {
    let refuse = |code: &str, message: String| Err(ArmError::network(400, code, message));
    if configs.is_empty() {
        // [R]
        return refuse(
            "InvalidIPConfigCount",
            format!("Network interface {nic} must have one or more IP configurations."),
        );
    }
    if configs.len() > MAX_IP_CONFIGS {
        // [I] the real code was not found.
        return refuse(
            "NetworkInterfaceIPConfigurationLimitReached",
            format!(
                "Network interface {nic} has {} IP configurations, the limit is {MAX_IP_CONFIGS}.",
                configs.len()
            ),
        );
    }
    for (i, config) in configs.iter().enumerate() {
        if configs.iter().take(i).any(|other| same(&other.name, &config.name)) {
            // [I] the real code was not found.
            return refuse(
                "DuplicateIPConfigurationName",
                format!("Network interface {nic} has two IP configurations {}.", config.name),
            );
        }
    }
    let primaries = configs.iter().filter(|c| c.primary).count();
    if configs.len() > 1 && primaries == 0 {
        // [R], the doubled "One" is Azure's.
        return refuse(
            "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary",
            format!(
                "Network Interface {nic} specifies multiple IPConfigurations but none of the \
                 IPConfigurations is specified as Primary."
            ),
        );
    }
    if primaries > 1 {
        // [I]
        return refuse(
            "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary",
            format!("Network Interface {nic} specifies more than one IPConfiguration as Primary."),
        );
    }
    let primary = present.filter(|nic| nic.vm.is_some()).and_then(|nic| nic.goal.primary());
    if let Some(primary) = primary
        && !configs.iter().any(|c| same(&c.name, &primary.name))
    {
        // [R]
        return refuse(
            "IpConfigDeleteNotSupported",
            format!(
                "IP Configuration {} cannot be deleted. Deletion and renaming of primary IP \
                 Configuration is not supported",
                primary.name
            ),
        );
    }
    Ok(())
}

/// The subnet of an ipConfiguration.
struct Place<'a> {
    network: String,
    subnet: &'a str,
    subnet_id: String,
    prefix: Prefix,
    taken: Option<&'a Taken>,
}

impl<'a> Place<'a> {
    fn find(
        config_id: &str,
        nic_id: &str,
        config: &DraftIpConfig,
        around: &Surroundings<'a>,
    ) -> Result<Self, ArmError> {
        let id = config.subnet_id.as_deref().ok_or_else(|| {
            // [R] the text, [I] the code.
            ArmError::network(
                400,
                "SubnetIsRequired",
                format!("Subnet reference is required for ipconfiguration {config_id}."),
            )
        })?;
        for network in &around.config.virtual_networks {
            for subnet in &network.subnets {
                if same(id, &around.config.subnet_id(&network.name, &subnet.name)) {
                    let network = network.name.to_ascii_lowercase();
                    return Ok(Self {
                        taken: around.taken.get(&network),
                        network,
                        subnet: &subnet.name,
                        subnet_id: id.to_owned(),
                        prefix: subnet.prefix,
                    });
                }
            }
        }
        // [R]
        Err(ArmError::network(
            400,
            "InvalidResourceReference",
            format!(
                "Resource {id} referenced by resource {nic_id} was not found. Please make sure \
                 that the referenced resource exists, and that both resources are in the same \
                 region."
            ),
        ))
    }

    /// The address that was asked for, or a free one.
    fn choose(
        &self,
        config_id: &str,
        config: &DraftIpConfig,
        kept: Option<&IpConfig>,
        used: &BTreeSet<Ipv4Addr>,
    ) -> Result<Prefix, ArmError> {
        match (&config.address, config.dynamic) {
            // A dynamic address stays what it is, whatever the body says. [I]
            (_, true) => match kept {
                Some(kept) if self.prefix.contains(kept.block.network()) => Ok(kept.block),
                _ => self.first_free(used),
            },
            (Some(text), false) => {
                let block =
                    if text.contains('/') { text.parse() } else { (text.clone() + "/32").parse() };
                block.ok().filter(|block: &Prefix| block.length() >= 24).ok_or_else(|| {
                    // [I] the real code was not found.
                    ArmError::network(
                        400,
                        "InvalidIPAddressFormat",
                        format!("The private IP address {text} of {config_id} is not valid."),
                    )
                })
            }
            // [I] the real code was not found.
            (None, false) => Err(ArmError::network(
                400,
                "StaticIPAddressMissing",
                format!("IP configuration {config_id} is static and has no private IP address."),
            )),
        }
    }

    fn first_free(&self, used: &BTreeSet<Ipv4Addr>) -> Result<Prefix, ArmError> {
        let taken = |a: &Ipv4Addr| self.taken.is_some_and(|taken| taken.contains_key(a));
        let free = self.prefix.usable().find(|a| !used.contains(a) && !taken(a));
        free.and_then(|address| Prefix::new(address, 32).ok()).ok_or_else(|| {
            // [R]
            ArmError::network(
                400,
                "SubnetIsFull",
                format!(
                    "Subnet {} with address prefix {} does not have enough capacity for 1 IP \
                     addresses.",
                    self.subnet, self.prefix
                ),
            )
        })
    }

    fn check_free(
        &self,
        config_id: &str,
        address: Ipv4Addr,
        around: &Surroundings<'_>,
    ) -> Result<(), ArmError> {
        let refuse = |code: &str, message: String| Err(ArmError::network(400, code, message));
        if !self.prefix.contains(address) {
            // [S] the code, [I] the text.
            return refuse(
                "PrivateIPAddressNotInSubnet",
                format!(
                    "Private static IP address {address} does not belong to the range of subnet \
                     prefix {}.",
                    self.prefix
                ),
            );
        }
        if self.prefix.reserved(address) {
            // [S] the code, [I] the text.
            return refuse(
                "PrivateIPAddressInReservedRange",
                format!(
                    "Private static IP address {address} falls within reserved IP range of \
                     subnet prefix {}.",
                    self.prefix
                ),
            );
        }
        if let Some(holder) = self.taken.and_then(|taken| taken.get(&address)) {
            return Err(allocated(config_id, address, holder));
        }
        if around.cleaning.contains_key(&(self.network.clone(), address)) {
            // [R] the code exists, [I] status and text.
            return refuse(
                "PrivateIPAddressIsBeingCleanedUp",
                format!(
                    "IP configuration {config_id} is using the private IP address {address} \
                     which is being cleaned up."
                ),
            );
        }
        Ok(())
    }
}

/// `[S]` and many reports.
fn allocated(config_id: &str, address: Ipv4Addr, holder: &str) -> ArmError {
    ArmError::network(
        400,
        "PrivateIPAddressIsAllocated",
        format!(
            "IP configuration {config_id} is using the private IP address {address} which is \
             already allocated to resource {holder}."
        ),
    )
}

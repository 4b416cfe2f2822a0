//! From the body of a PUT to the addresses a NIC is to have: every rule that Azure checks before
//! it accepts, in its words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::config::WorldConfig;
use super::error::ArmError;
use super::nic::{Draft, Goal, IpConfig, Nic};
use super::place::{Place, allocated};
use super::rules::{Subject, check_set, different_subnets};
use super::standing::SubnetTrouble;

/// Who has an address: the id of the ipConfiguration, or of the NIC that still releases it.
pub(crate) type Taken = BTreeMap<IpAddr, String>;

/// What stands around the NIC that is written.
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a WorldConfig,
    /// All NICs by key, the one that is written among them.
    pub(crate) nics: &'a BTreeMap<String, Nic>,
    /// Addresses of all other NICs, by lower-case network name.
    pub(crate) taken: &'a BTreeMap<String, Taken>,
    /// Addresses being cleaned up, by network and address.
    pub(crate) cleaning: &'a BTreeMap<(String, IpAddr), Duration>,
    /// HTTP status of `PrivateIPAddressIsBeingCleanedUp`.
    pub(crate) cleanup_status: u16,
    /// Subnets that are not at rest, by lower-case id.
    pub(crate) subnets: &'a BTreeMap<String, SubnetTrouble>,
}

/// Finds what the NIC is to become.
pub(crate) fn plan(
    id: &str,
    name: &str,
    draft: Draft,
    present: Option<&Nic>,
    around: &Surroundings<'_>,
) -> Result<Goal, ArmError> {
    check_set(Subject { id, name, present, nics: around.nics }, &draft.ip_configs)?;
    let mut used = BTreeSet::new();
    let mut network = String::new();
    let mut ip_configs = Vec::new();
    let single = draft.ip_configs.len() == 1;
    for config in draft.ip_configs {
        let config_id = format!("{id}/ipConfigurations/{}", config.name);
        let place = Place::find(&config_id, id, &config, around)?;
        let first: Option<&IpConfig> = ip_configs.first();
        if first.is_some_and(|first| !first.subnet_id.eq_ignore_ascii_case(&place.subnet_id)) {
            return Err(different_subnets());
        }
        network.clone_from(&place.network);
        let kept = present.and_then(|nic| {
            nic.goal.ip_configs.iter().find(|c| c.name.eq_ignore_ascii_case(&config.name))
        });
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

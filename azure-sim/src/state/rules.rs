//! Rules over the set of a NIC's ipConfigurations: how many, which names, which one is primary,
//! the same application security groups, public addresses nobody else has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::error::ArmError;
use super::nic::{DraftIpConfig, Nic};

/// Most ipConfigurations of a NIC, and of a VM. `[S]`
pub(crate) const MAX_IP_CONFIGS: usize = 256;

/// Most application security groups of an ipConfiguration. `[S]`
const MAX_SECURITY_GROUPS: usize = 20;

/// The NIC whose ipConfigurations are looked at.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    /// As it stands; `None` = it is to be created.
    pub(crate) present: Option<&'a Nic>,
    /// All NICs by key, this one among them.
    pub(crate) nics: &'a BTreeMap<String, Nic>,
}

impl Subject<'_> {
    fn others(&self) -> impl Iterator<Item = &Nic> {
        self.nics.values().filter(|nic| nic.id != self.id)
    }

    fn config_id(&self, name: &str) -> String {
        format!("{}/ipConfigurations/{name}", self.id)
    }
}

/// Checks the set; single addresses are for [`Place`](super::place::Place).
pub(crate) fn check_set(nic: Subject<'_>, configs: &[DraftIpConfig]) -> Result<(), ArmError> {
    check_count(nic, configs)?;
    check_names(nic, configs)?;
    check_primary(nic, configs)?;
    check_security_groups(nic, configs)?;
    check_public_addresses(nic, configs)
}

fn refuse(code: &str, message: impl Into<String>) -> Result<(), ArmError> {
    Err(ArmError::network(400, code, message))
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn check_count(nic: Subject<'_>, configs: &[DraftIpConfig]) -> Result<(), ArmError> {
    let count = configs.len();
    if count == 0 {
        // [R]
        return refuse(
            "InvalidIPConfigCount",
            format!("Network interface {} must have one or more IP configurations.", nic.name),
        );
    }
    if count > MAX_IP_CONFIGS {
        // [I] the real code was not found.
        return refuse(
            "NetworkInterfaceIPConfigurationLimitReached",
            format!(
                "Network interface {} has {count} IP configurations, the limit is {MAX_IP_CONFIGS}.",
                nic.name
            ),
        );
    }
    let Some(vm) = nic.present.and_then(|nic| nic.vm.as_ref()) else { return Ok(()) };
    let siblings = nic.others().filter(|other| other.vm.as_ref() == Some(vm));
    let of_vm = count + siblings.map(|other| other.goal.ip_configs.len()).sum::<usize>();
    if of_vm > MAX_IP_CONFIGS {
        // [S] the limit, [I] the code.
        return refuse(
            "VirtualMachineIPConfigurationLimitReached",
            format!(
                "Virtual machine {vm} would have {of_vm} IP configurations, the limit is \
                 {MAX_IP_CONFIGS}."
            ),
        );
    }
    Ok(())
}

fn check_names(nic: Subject<'_>, configs: &[DraftIpConfig]) -> Result<(), ArmError> {
    for (i, config) in configs.iter().enumerate() {
        if configs.iter().take(i).any(|other| same(&other.name, &config.name)) {
            // [I] the real code was not found.
            return refuse(
                "DuplicateIPConfigurationName",
                format!(
                    "Network interface {} has two IP configurations {}.",
                    nic.name, config.name
                ),
            );
        }
    }
    Ok(())
}

fn check_primary(nic: Subject<'_>, configs: &[DraftIpConfig]) -> Result<(), ArmError> {
    let primaries = configs.iter().filter(|c| c.primary).count();
    if configs.len() > 1 && primaries == 0 {
        // [R], the doubled "One" is Azure's.
        return refuse(
            "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary",
            format!(
                "Network Interface {} specifies multiple IPConfigurations but none of the \
                 IPConfigurations is specified as Primary.",
                nic.name
            ),
        );
    }
    if primaries > 1 {
        // [I]
        return refuse(
            "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary",
            format!(
                "Network Interface {} specifies more than one IPConfiguration as Primary.",
                nic.name
            ),
        );
    }
    let is_primary = |config: &&DraftIpConfig| config.primary || configs.len() == 1;
    if let Some(config) = configs.iter().filter(is_primary).find(|config| config.ipv6) {
        // [S] that it cannot, [I] the code and the text.
        return refuse(
            "Ipv6IpConfigurationCannotBePrimary",
            format!("IP configuration {} is of IPv6 and cannot be primary.", config.name),
        );
    }
    let primary = nic.present.filter(|nic| nic.vm.is_some()).and_then(|nic| nic.goal.primary());
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

/// The text is `[R]` Azure/azure-sdk-for-java#1865, the code `[I]`.
pub(crate) fn different_subnets() -> ArmError {
    ArmError::network(
        400,
        "IPConfigurationsOnSameNicCannotUseDifferentSubnets",
        "IPConfigurations on a Nic cannot belong to different subnets.",
    )
}

/// Ids of the application security groups that an ipConfiguration refers to, as sent.
fn security_groups(config: &DraftIpConfig) -> Vec<&str> {
    let groups = config.properties.get("applicationSecurityGroups").and_then(Value::as_array);
    groups.into_iter().flatten().filter_map(|group| group["id"].as_str()).collect()
}

/// Code and text are `[R]` Azure/azure-cli#21551; the misspelt word is Azure's.
fn check_security_groups(nic: Subject<'_>, configs: &[DraftIpConfig]) -> Result<(), ArmError> {
    let set = |ids: &[&str]| -> BTreeSet<String> {
        ids.iter().map(|id| id.to_ascii_lowercase()).collect()
    };
    let mut first: Option<(&str, Vec<&str>)> = None;
    for config in configs {
        let groups = security_groups(config);
        if groups.len() > MAX_SECURITY_GROUPS {
            // [S] the limit, [I] the code.
            return refuse(
                "ApplicationSecurityGroupLimitReached",
                format!(
                    "IP configuration {} references {} application security groups, the limit is \
                     {MAX_SECURITY_GROUPS}.",
                    nic.config_id(&config.name),
                    groups.len()
                ),
            );
        }
        let (name, expected) = first.get_or_insert_with(|| (&config.name, groups.clone()));
        if set(&groups) != set(expected) {
            return refuse(
                "AllIpConfigurationsOnANicMustBelongToTheSameApplicationSecurityGroups",
                format!(
                    "All IPConfigurations on a Network Interface should reference the same set of \
                     Application Security Groups. IPConfiguration {} references ASG(s) {}, wheras \
                     IPConfiguration {} references ASG(s) {}.",
                    nic.config_id(name),
                    expected.join(", "),
                    nic.config_id(&config.name),
                    groups.join(", ")
                ),
            );
        }
    }
    Ok(())
}

/// The text for another's address is `[R]` AZ-100-MicrosoftAzureInfrastructureDeployment#15, as is
/// its code elsewhere; for one that is named twice the code is `[R]`, the text `[I]`.
fn check_public_addresses(nic: Subject<'_>, configs: &[DraftIpConfig]) -> Result<(), ArmError> {
    let mut seen = BTreeSet::new();
    for config in configs {
        let Some(id) = public_address(&config.properties) else { continue };
        if !seen.insert(id.to_ascii_lowercase()) {
            return refuse(
                "PublicIPReferencedByMultipleIPConfigs",
                format!(
                    "Public ip address {id} is referenced by multiple ipconfigs in resource {}.",
                    nic.id
                ),
            );
        }
        let holder = nic.others().find_map(|other| {
            let mut configs = other.goal.ip_configs.iter();
            let has = |properties| public_address(properties).is_some_and(|its| same(its, id));
            configs.find(|c| has(&c.properties)).map(|c| other.ip_config_id(&c.name))
        });
        if let Some(holder) = holder {
            return refuse(
                "PublicIPAddressInUse",
                format!(
                    "Resource {} is referencing public IP address {id} that is already allocated \
                     to resource {holder}.",
                    nic.config_id(&config.name)
                ),
            );
        }
    }
    Ok(())
}

fn public_address(properties: &serde_json::Map<String, Value>) -> Option<&str> {
    properties.get("publicIPAddress")?.get("id")?.as_str()
}

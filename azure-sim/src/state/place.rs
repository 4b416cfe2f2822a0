//! The subnet of an ipConfiguration, and which of its addresses may be had.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::error::ArmError;
use super::net::Prefix;
use super::nic::{DraftIpConfig, IpConfig};
use super::plan::{Surroundings, Taken};

/// The subnet of an ipConfiguration.
pub(crate) struct Place<'a> {
    /// Lower-case name.
    pub(crate) network: String,
    subnet: &'a str,
    pub(crate) subnet_id: String,
    /// That of the address's family.
    prefix: Prefix,
    taken: Option<&'a Taken>,
}

impl<'a> Place<'a> {
    pub(crate) fn find(
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
                if id.eq_ignore_ascii_case(&around.config.subnet_id(&network.name, &subnet.name)) {
                    if let Some(trouble) = around.subnets.get(&id.to_ascii_lowercase()) {
                        return Err(trouble.refusal(id));
                    }
                    let network = network.name.to_ascii_lowercase();
                    let mut prefixes = subnet.prefixes();
                    let same = |prefix: &Prefix| prefix.network().is_ipv6() == config.ipv6;
                    let prefix = prefixes.find(same).ok_or_else(|| no_such_family(id))?;
                    return Ok(Self {
                        taken: around.taken.get(&network),
                        network,
                        subnet: &subnet.name,
                        subnet_id: id.to_owned(),
                        prefix,
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
    pub(crate) fn choose(
        &self,
        config_id: &str,
        config: &DraftIpConfig,
        kept: Option<&IpConfig>,
        used: &BTreeSet<IpAddr>,
    ) -> Result<Prefix, ArmError> {
        match (&config.address, config.dynamic) {
            // A dynamic address stays what it is, whatever the body says. [I]
            (_, true) => match kept {
                Some(kept) if self.prefix.contains(kept.block.network()) => Ok(kept.block),
                _ => self.first_free(used),
            },
            (Some(text), false) => {
                let block = if text.contains('/') {
                    text.parse().ok()
                } else {
                    text.parse().ok().map(Prefix::host)
                };
                let fits = |block: &Prefix| {
                    block.host_bits() <= 8 && block.network().is_ipv6() == config.ipv6
                };
                block.filter(fits).ok_or_else(|| {
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

    fn first_free(&self, used: &BTreeSet<IpAddr>) -> Result<Prefix, ArmError> {
        let taken = |a: &IpAddr| self.taken.is_some_and(|taken| taken.contains_key(a));
        let free = self.prefix.usable().find(|a| !used.contains(a) && !taken(a));
        free.map(Prefix::host).ok_or_else(|| {
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

    pub(crate) fn check_free(
        &self,
        config_id: &str,
        address: IpAddr,
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
            return Err(ArmError::network(
                around.cleanup_status,
                "PrivateIPAddressIsBeingCleanedUp",
                format!(
                    "IP configuration {config_id} is using the private IP address {address} \
                     which is being cleaned up."
                ),
            ));
        }
        Ok(())
    }
}

/// `[S]` and many reports.
pub(crate) fn allocated(config_id: &str, address: IpAddr, holder: &str) -> ArmError {
    ArmError::network(
        400,
        "PrivateIPAddressIsAllocated",
        format!(
            "IP configuration {config_id} is using the private IP address {address} which is \
             already allocated to resource {holder}."
        ),
    )
}

/// `[I]`
fn no_such_family(subnet: &str) -> ArmError {
    ArmError::network(
        400,
        "SubnetDoesNotHaveIPv6Prefix",
        format!("Subnet {subnet} has no prefix of the address family of the IP configuration."),
    )
}

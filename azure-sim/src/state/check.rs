//! Which worlds are possible.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::config::WorldConfig;

/// A configuration that describes no possible world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Two resources of one kind share a name.
    #[error("two {kind} are named {name}")]
    Duplicate {
        /// Which kind.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A NIC names something that is not there.
    #[error("NIC {nic} names {kind} {name}, which does not exist")]
    Missing {
        /// The NIC.
        nic: String,
        /// Which kind.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A VM names an identity that is not there.
    #[error("VM {vm} names identity {name}, which does not exist")]
    MissingIdentity {
        /// The VM.
        vm: String,
        /// The identity.
        name: String,
    },
    /// An address cannot be used.
    #[error("NIC {nic}: address {address} {why}")]
    Address {
        /// The NIC.
        nic: String,
        /// The address.
        address: IpAddr,
        /// What is wrong.
        why: &'static str,
    },
}

impl WorldConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        unique("virtual networks", self.virtual_networks.iter().map(|n| &n.name))?;
        unique("VMs", self.vms.iter().map(|v| &v.name))?;
        unique("identities", self.identities.iter().map(|identity| &identity.name))?;
        let references: Vec<String> = self.nics.iter().map(|nic| self.reference_of(nic)).collect();
        unique("NICs", references.iter())?;
        unique("applications", self.applications.iter().map(|a| &a.client_id))?;
        self.check_identities()?;
        let mut taken = BTreeSet::new();
        for nic in &self.nics {
            let missing = |kind, name: &str| ConfigError::Missing {
                nic: nic.name.clone(),
                kind,
                name: name.to_owned(),
            };
            if let Some(vm) = &nic.vm
                && !self.vms.iter().any(|v| v.name == *vm)
            {
                return Err(missing("VM", vm));
            }
            let subnet = self
                .virtual_networks
                .iter()
                .find(|n| n.name == nic.virtual_network)
                .ok_or_else(|| missing("virtual network", &nic.virtual_network))?
                .subnets
                .iter()
                .find(|s| s.name == nic.subnet)
                .ok_or_else(|| missing("subnet", &nic.subnet))?;
            for address in nic.secondary.values().chain([&nic.primary_address]) {
                let refuse =
                    |why| ConfigError::Address { nic: nic.name.clone(), address: *address, why };
                let Some(prefix) = subnet.prefix_of(*address) else {
                    return Err(refuse("is outside its subnet"));
                };
                if prefix.reserved(*address) {
                    return Err(refuse("is reserved by Azure (first four and last of a subnet)"));
                }
                if address.is_ipv6() && *address == nic.primary_address {
                    return Err(refuse("cannot be primary: that is always an IPv4 address"));
                }
                if !taken.insert((&nic.virtual_network, *address)) {
                    return Err(refuse("is taken twice"));
                }
            }
        }
        Ok(())
    }

    fn check_identities(&self) -> Result<(), ConfigError> {
        for vm in &self.vms {
            for name in &vm.identities {
                if !self.identities.iter().any(|identity| identity.name == *name) {
                    let (vm, name) = (vm.name.clone(), name.clone());
                    return Err(ConfigError::MissingIdentity { vm, name });
                }
            }
        }
        Ok(())
    }
}

fn unique<'a>(
    kind: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for name in names {
        // Names are compared without case, as ARM does.
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(ConfigError::Duplicate { kind, name: name.clone() });
        }
    }
    Ok(())
}

//! Where resources are: a world has a home subscription and resource group, and those that single
//! resources name.
//!
//! A NIC is known by its *reference*: at home its name, elsewhere its whole id. Names of VMs and of
//! networks are unique in the world, since the simulator's nodes and its data plane go by them.

use super::config::{NicConfig, WorldConfig};

/// A resource group of a subscription.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) subscription: String,
    pub(crate) group: String,
}

impl PartialEq for Site {
    /// ARM compares names without case. `[S]`
    fn eq(&self, other: &Self) -> bool {
        self.subscription.eq_ignore_ascii_case(&other.subscription)
            && self.group.eq_ignore_ascii_case(&other.group)
    }
}

impl Site {
    pub(crate) fn id(&self) -> String {
        format!("/subscriptions/{}/resourceGroups/{}", self.subscription, self.group)
    }

    /// The site of a resource id.
    pub(crate) fn of(id: &str) -> Option<Self> {
        let mut parts = id.split('/').skip(2);
        let (subscription, group) = (parts.next()?, parts.nth(1)?);
        Some(Self { subscription: subscription.to_owned(), group: group.to_owned() })
    }
}

/// What a list is of.
#[derive(Clone, Copy)]
pub(crate) enum Within<'a> {
    Group(&'a Site),
    Subscription(&'a str),
}

impl Within<'_> {
    pub(crate) fn has(self, site: &Site) -> bool {
        match self {
            Self::Group(group) => site == group,
            Self::Subscription(subscription) => {
                site.subscription.eq_ignore_ascii_case(subscription)
            }
        }
    }
}

/// The name in a reference or an id.
pub(crate) fn name_of(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

impl WorldConfig {
    pub(crate) fn home(&self) -> Site {
        Site { subscription: self.subscription.clone(), group: self.resource_group.clone() }
    }

    /// Where a resource is that says this about it.
    pub(crate) fn site(&self, subscription: Option<&String>, group: Option<&String>) -> Site {
        Site {
            subscription: subscription.unwrap_or(&self.subscription).clone(),
            group: group.unwrap_or(&self.resource_group).clone(),
        }
    }

    /// All of them, home first.
    pub(crate) fn sites(&self) -> Vec<Site> {
        let networks = self.virtual_networks.iter().map(|n| (&n.subscription, &n.resource_group));
        let vms = self.vms.iter().map(|vm| (&vm.subscription, &vm.resource_group));
        let nics = self.nics.iter().map(|nic| (&nic.subscription, &nic.resource_group));
        let identities = self.identities.iter().map(|i| (&i.subscription, &i.resource_group));
        let mut sites = vec![self.home()];
        for (subscription, group) in networks.chain(vms).chain(nics).chain(identities) {
            let site = self.site(subscription.as_ref(), group.as_ref());
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
        sites
    }

    /// All subscriptions, that of home first.
    pub(crate) fn subscriptions(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for site in self.sites() {
            if !all.iter().any(|known| known.eq_ignore_ascii_case(&site.subscription)) {
                all.push(site.subscription);
            }
        }
        all
    }

    pub(crate) fn site_of_vm(&self, name: &str) -> Site {
        let vm = self.vms.iter().find(|vm| vm.name.eq_ignore_ascii_case(name));
        vm.map_or_else(
            || self.home(),
            |vm| self.site(vm.subscription.as_ref(), vm.resource_group.as_ref()),
        )
    }

    pub(crate) fn site_of_network(&self, name: &str) -> Site {
        let mut networks = self.virtual_networks.iter();
        let network = networks.find(|network| network.name.eq_ignore_ascii_case(name));
        network.map_or_else(
            || self.home(),
            |n| self.site(n.subscription.as_ref(), n.resource_group.as_ref()),
        )
    }

    /// The reference of the NIC of this name at this site.
    pub(crate) fn nic_reference(&self, site: &Site, name: &str) -> String {
        if *site == self.home() {
            return name.to_owned();
        }
        format!("{}/providers/Microsoft.Network/networkInterfaces/{name}", site.id())
    }

    pub(crate) fn reference_of(&self, nic: &NicConfig) -> String {
        let site = self.site(nic.subscription.as_ref(), nic.resource_group.as_ref());
        self.nic_reference(&site, &nic.name)
    }

    /// Full id of the resource group that is home.
    #[must_use]
    pub fn resource_group_id(&self) -> String {
        self.home().id()
    }

    /// Full id of a NIC at home; what is a full id already stays one.
    #[must_use]
    pub fn nic_id(&self, name: &str) -> String {
        if name.starts_with('/') {
            return name.to_owned();
        }
        format!("{}/providers/Microsoft.Network/networkInterfaces/{name}", self.home().id())
    }

    /// Full id of a VM.
    #[must_use]
    pub fn vm_id(&self, name: &str) -> String {
        let site = self.site_of_vm(name).id();
        format!("{site}/providers/Microsoft.Compute/virtualMachines/{name}")
    }

    /// Full id of a virtual network.
    #[must_use]
    pub fn virtual_network_id(&self, name: &str) -> String {
        let site = self.site_of_network(name).id();
        format!("{site}/providers/Microsoft.Network/virtualNetworks/{name}")
    }

    /// Full id of a subnet.
    #[must_use]
    pub fn subnet_id(&self, network: &str, subnet: &str) -> String {
        format!("{}/subnets/{subnet}", self.virtual_network_id(network))
    }

    /// Full id of a user-assigned identity.
    #[must_use]
    pub fn identity_id(&self, name: &str) -> String {
        let named = self.identities.iter().find(|i| i.name.eq_ignore_ascii_case(name));
        let site = named.map_or_else(
            || self.home(),
            |i| self.site(i.subscription.as_ref(), i.resource_group.as_ref()),
        );
        let kind = "Microsoft.ManagedIdentity/userAssignedIdentities";
        format!("{}/providers/{kind}/{name}", site.id())
    }
}

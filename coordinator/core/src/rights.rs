//! Rights: which actions of Azure our requests need, and on which resources.
//!
//! Every request of this crate stands here with the action that Azure asks for, so that a role can
//! be made of them that allows nothing else (`vipfence azure role`). A PUT sends the whole NIC, and
//! needs to join whatever the NIC refers to, changed or not (azure.md §9): what that is stands in
//! the documents of the NICs. Nothing here may delete anything.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vipfence_types::NicId;

/// An action, and what we do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// As Azure names it.
    pub action: &'static str,
    /// Which request needs it, and what is lost without it.
    pub why: &'static str,
}

/// On a NIC.
const NIC: &[Right] = &[
    Right {
        action: "Microsoft.Network/networkInterfaces/read",
        why: "reads a NIC before every write, after it, and once a minute; for a whole subscription, \
              `vip create` can also name whose NIC has an address",
    },
    Right {
        action: "Microsoft.Network/networkInterfaces/write",
        why: "adds and removes the ipConfigurations of VIPs (PUT), and seals a NIC (PATCH of a tag)",
    },
];

/// On a virtual network.
const NETWORK: &[Right] = &[
    Right {
        action: "Microsoft.Network/virtualNetworks/read",
        why: "`vip create` looks whether the address lies in a subnet; without it the attach finds out",
    },
    Right {
        action: "Microsoft.Network/virtualNetworks/checkIpAddressAvailability/read",
        why: "`vip create` looks whether the address is free; without it the attach finds out",
    },
];

/// In a subscription, where operations are.
const OPERATIONS: Right = Right {
    action: "Microsoft.Network/locations/operations/read",
    why: "polls operations; without it, or where the role is given for groups only and Azure then \
          refuses, the NIC is read instead",
};

/// On what a NIC refers to, by the type of that resource: each PUT needs it.
const LINKED: &[(&str, Right)] = &[
    (
        "virtualnetworks/subnets",
        Right {
            action: "Microsoft.Network/virtualNetworks/subnets/join/action",
            why: "PUT: the subnet of each ipConfiguration",
        },
    ),
    (
        "networksecuritygroups",
        Right {
            action: "Microsoft.Network/networkSecurityGroups/join/action",
            why: "PUT: the security group of a NIC",
        },
    ),
    (
        "applicationsecuritygroups",
        Right {
            action: "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
            why: "PUT: the application security groups of a NIC",
        },
    ),
    (
        "publicipaddresses",
        Right {
            action: "Microsoft.Network/publicIPAddresses/join/action",
            why: "PUT: public addresses, of VIPs and of what else a NIC has",
        },
    ),
    (
        "loadbalancers/backendaddresspools",
        Right {
            action: "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
            why: "PUT: pools of load balancers",
        },
    ),
    (
        "loadbalancers/inboundnatrules",
        Right {
            action: "Microsoft.Network/loadBalancers/inboundNatRules/join/action",
            why: "PUT: inbound NAT rules of load balancers",
        },
    ),
    (
        "loadbalancers/frontendipconfigurations",
        Right {
            action: "Microsoft.Network/loadBalancers/frontendIPConfigurations/join/action",
            why: "PUT: gateway load balancers",
        },
    ),
    (
        "applicationgateways/backendaddresspools",
        Right {
            action: "Microsoft.Network/applicationGateways/backendAddressPools/join/action",
            why: "PUT: pools of application gateways",
        },
    ),
    (
        "virtualnetworktaps",
        Right {
            action: "Microsoft.Network/virtualNetworkTaps/join/action",
            why: "PUT: taps of a virtual network",
        },
    ),
];

/// What else `vipfence doctor` reads, on a NIC and on its VM. No move needs it.
const DOCTOR: &[Right] = &[
    Right {
        action: "Microsoft.Authorization/locks/read",
        why: "`doctor` looks for locks that would refuse a write",
    },
    Right {
        action: "Microsoft.Authorization/permissions/read",
        why: "`doctor` looks whether these rights are there",
    },
    Right {
        action: "Microsoft.Compute/virtualMachines/read",
        why: "`doctor` counts the addresses on all NICs of a VM",
    },
    Right {
        action: "Microsoft.Network/locations/usages/read",
        why: "`doctor` asks for the limit of addresses per NIC, where the role is given for the \
              subscription; without it the usual one counts",
    },
];

/// The rights that a cluster needs on its resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// By folded id: the id as written, and the actions needed there.
    resources: BTreeMap<String, (String, BTreeSet<&'static str>)>,
    /// The VMs of the NICs, by folded id: what only `doctor` reads.
    vms: BTreeMap<String, String>,
    /// Whether `doctor` is to see everything.
    doctor: bool,
    /// Groups and subscriptions to cover besides.
    more: BTreeMap<String, String>,
    /// NICs of which no document was there: what they refer to is not known.
    unread: BTreeSet<NicId>,
}

/// An id that is of no resource which a NIC has to do with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no resource group, subscription, or resource that a NIC refers to")]
pub struct UnknownScope(pub String);

impl Rights {
    /// The rights for these NICs and for everything that their documents refer to. A document may
    /// be as ARM gives it, or as `az network nic show` prints it: ids are known by their types.
    #[must_use]
    pub fn of<'a>(
        nics: impl IntoIterator<Item = &'a NicId>,
        documents: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let mut rights = Self::default();
        for document in documents {
            if let Some(id) = document.get("id").and_then(Value::as_str) {
                // Of a document that is no NIC's, what it refers to counts all the same.
                let _known = rights.add(id);
            }
            rights.add_links(document);
            let vm = ["/properties/virtualMachine/id", "/virtualMachine/id"];
            let vm = vm.iter().find_map(|path| document.pointer(path)?.as_str());
            rights.vms.extend(vm.map(|id| (id.to_ascii_lowercase(), id.to_owned())));
        }
        for nic in nics {
            if rights.resources.contains_key(nic.folded()) {
                continue;
            }
            rights.unread.insert(nic.clone());
            rights.add_at(nic.as_str(), NIC);
        }
        rights
    }

    /// The same, and what `vipfence doctor` reads besides.
    #[must_use]
    pub fn with_doctor(self) -> Self {
        Self { doctor: true, ..self }
    }

    /// Adds a resource that NICs will refer to, a NIC, or a group or subscription to cover.
    ///
    /// # Errors
    /// It is nothing of the kind.
    pub fn add(&mut self, id: &str) -> Result<(), UnknownScope> {
        let id = id.trim_end_matches('/');
        let folded = id.to_ascii_lowercase();
        let parts: Vec<&str> = folded.split('/').collect();
        match parts.as_slice() {
            ["", "subscriptions", s] | ["", "subscriptions", s, "resourcegroups", _]
                if !s.is_empty() =>
            {
                self.more.insert(folded.clone(), id.to_owned());
                return Ok(());
            }
            _ => {}
        }
        match type_of(&folded).as_deref() {
            Some("networkinterfaces") => self.add_at(id, NIC),
            Some("virtualnetworks") => self.add_at(id, NETWORK),
            Some(kind) => {
                let linked = LINKED.iter().find(|(linked, _)| *linked == kind);
                let (_, right) = linked.ok_or_else(|| UnknownScope(id.to_owned()))?;
                self.add_at(id, std::slice::from_ref(right));
                if let Some((network, _)) =
                    id.rsplit_once('/').and_then(|(id, _)| id.rsplit_once('/'))
                    && kind == "virtualnetworks/subnets"
                {
                    self.add_at(network, NETWORK);
                }
            }
            None => return Err(UnknownScope(id.to_owned())),
        }
        Ok(())
    }

    /// What a move cannot do without: resource and action.
    pub fn needs(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let all = self
            .resources
            .values()
            .flat_map(|(id, actions)| actions.iter().map(move |action| (id.as_str(), *action)));
        all.filter(|(_, action)| NETWORK.iter().all(|right| right.action != *action))
    }

    fn add_at(&mut self, id: &str, rights: &[Right]) {
        let entry = self.resources.entry(id.to_ascii_lowercase());
        let (_, actions) = entry.or_insert_with(|| (id.to_owned(), BTreeSet::new()));
        actions.extend(rights.iter().map(|right| right.action));
    }

    /// Everything that some value of a document names as its `id`, and that can be joined.
    fn add_links(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                let id = fields.get("id").and_then(Value::as_str).unwrap_or_default();
                let kind = type_of(&id.to_ascii_lowercase());
                if kind.is_some_and(|kind| LINKED.iter().any(|(linked, _)| *linked == kind)) {
                    let _known = self.add(id);
                }
                fields.values().for_each(|value| self.add_links(value));
            }
            Value::Array(values) => values.iter().for_each(|value| self.add_links(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// What a role has to allow, in the order of the tables here. While the document of a NIC is
    /// missing, everything that a NIC can refer to counts.
    #[must_use]
    pub fn actions(&self) -> Vec<Right> {
        let needed: BTreeSet<&str> =
            self.resources.values().flat_map(|(_, actions)| actions.iter().copied()).collect();
        let known = [NIC, &[OPERATIONS], NETWORK].concat().into_iter();
        let all = known.chain(LINKED.iter().map(|(_, right)| *right));
        let all = all.filter(|right| {
            !self.unread.is_empty() || *right == OPERATIONS || needed.contains(right.action)
        });
        let doctor = if self.doctor { DOCTOR } else { &[] };
        all.chain(doctor.iter().copied()).collect()
    }

    /// The single resources, as narrow as a role can be assigned.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        let all = self.resources.values().map(|(id, _)| id.as_str());
        // What lies below another one is covered by it: subnets by their network.
        let covered = |id: &str| self.resources.values().any(|(other, _)| is_below(id, other));
        let vms = self.vms.values().filter(|_| self.doctor).map(String::as_str);
        let more = self.more.values().map(String::as_str);
        all.filter(move |id| !covered(id)).chain(vms).chain(more)
    }

    /// The resource groups of all of them (subscriptions where one was added), each once.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let mut groups: BTreeMap<String, String> = self.more.clone();
        let vms = self.vms.values().filter(|_| self.doctor);
        for id in self.resources.values().map(|(id, _)| id).chain(vms) {
            let group: Vec<&str> = id.split('/').take(5).collect();
            let group = group.join("/");
            groups.entry(group.to_ascii_lowercase()).or_insert(group);
        }
        let all = groups.values().cloned();
        let covered = |id: &String| groups.values().any(|other| is_below(id, other));
        all.filter(|group| !covered(group)).collect()
    }

    /// NICs whose documents were not there.
    pub fn unread(&self) -> impl Iterator<Item = &NicId> {
        self.unread.iter()
    }

    /// The NICs.
    pub fn nics(&self) -> impl Iterator<Item = &str> {
        let is_nic = |folded: &str| type_of(folded).as_deref() == Some("networkinterfaces");
        let nics = self.resources.iter().filter(move |(folded, _)| is_nic(folded));
        nics.map(|(_, (id, _))| id.as_str())
    }
}

fn is_below(id: &str, other: &str) -> bool {
    let (id, other) = (id.to_ascii_lowercase(), other.to_ascii_lowercase());
    id.strip_prefix(&other).is_some_and(|rest| rest.starts_with('/'))
}

/// The type of a resource of the network provider, from its folded id: `loadbalancers` and
/// `loadbalancers/backendaddresspools`, with the names left out.
fn type_of(folded: &str) -> Option<String> {
    let parts: Vec<&str> = folded.split('/').collect();
    let ["", "subscriptions", s, "resourcegroups", g, "providers", "microsoft.network", rest @ ..] =
        parts.as_slice()
    else {
        return None;
    };
    let whole = rest.len() >= 2 && rest.len().is_multiple_of(2);
    if s.is_empty() || g.is_empty() || !whole || rest.contains(&"") {
        return None;
    }
    let types: Vec<&str> = rest.iter().step_by(2).copied().collect();
    Some(types.join("/"))
}

#[cfg(test)]
mod tests;

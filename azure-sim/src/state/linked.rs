//! What a NIC refers to, and the right that a PUT needs there for every single one, changed or
//! not. `[S]` the actions: the permissions table of azure-docs virtual-network-network-interface.md;
//! `[R]` that they are needed to send back what is there already.

use serde_json::Value;

/// A reference to another resource: the action that it takes, and the resource's id.
pub(crate) type Link<'a> = (&'static str, &'a str);

/// Properties of the NIC.
const OF_NIC: &[(&str, &str)] =
    &[("networkSecurityGroup", "Microsoft.Network/networkSecurityGroups/join/action")];

/// Properties of an ipConfiguration: a reference or a list of them.
const OF_IP_CONFIG: &[(&str, &str)] = &[
    ("subnet", "Microsoft.Network/virtualNetworks/subnets/join/action"),
    (
        "applicationSecurityGroups",
        "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
    ),
    ("publicIPAddress", "Microsoft.Network/publicIPAddresses/join/action"),
    (
        "loadBalancerBackendAddressPools",
        "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
    ),
    ("loadBalancerInboundNatRules", "Microsoft.Network/loadBalancers/inboundNatRules/join/action"),
    (
        "applicationGatewayBackendAddressPools",
        "Microsoft.Network/applicationGateways/backendAddressPools/join/action",
    ),
    ("gatewayLoadBalancer", "Microsoft.Network/loadBalancers/frontendIPConfigurations/join/action"),
    ("virtualNetworkTaps", "Microsoft.Network/virtualNetworkTaps/join/action"),
];

/// All links of a NIC's document, each once: those of the NIC first, then by kind. `[I]` which of
/// several missing rights is named.
pub(crate) fn links(nic: &Value) -> Vec<Link<'_>> {
    let properties = &nic["properties"];
    let configs = properties["ipConfigurations"].as_array();
    let mut links: Vec<Link<'_>> = Vec::new();
    for (name, action) in OF_NIC {
        links.extend(ids(&properties[*name]).map(|id| (*action, id)));
    }
    for (name, action) in OF_IP_CONFIG {
        for config in configs.into_iter().flatten() {
            links.extend(ids(&config["properties"][*name]).map(|id| (*action, id)));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    links.retain(|(action, id)| seen.insert((*action, id.to_ascii_lowercase())));
    links
}

fn ids(reference: &Value) -> impl Iterator<Item = &str> {
    let many = reference.as_array().into_iter().flatten();
    std::iter::once(reference).chain(many).filter_map(|one| one.get("id")?.as_str())
}

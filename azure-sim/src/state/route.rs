//! Which resource a path means. ARM compares paths without case. `[S]`

use super::authorization::Collection;
use super::http::Target;

/// What a path names; resource names in the case they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/metadata/endpoints`
    Endpoints,
    /// `/{tenant}/v2.0/.well-known/openid-configuration`
    OpenId { tenant: String },
    /// `/{tenant}/oauth2/v2.0/token`
    Token { tenant: String },
    /// `/subscriptions`
    Subscriptions,
    /// Something in a subscription.
    Subscription { subscription: String, within: InSubscription },
    /// Anything else.
    Unknown,
}

/// A resource below a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InSubscription {
    Itself,
    Groups,
    Nics,
    Networks,
    Vms,
    Operation {
        guid: String,
    },
    OperationResult {
        guid: String,
    },
    /// `…/locations/{region}/usages`
    Usages,
    /// Locks or permissions of a scope.
    Authorization {
        scope: String,
        collection: Collection,
    },
    Group {
        group: String,
        within: InGroup,
    },
    Unknown,
}

/// A resource in a resource group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InGroup {
    Itself,
    Nics,
    Nic(String),
    IpConfigs(String),
    IpConfig(String, String),
    /// `{nic}/providers/Microsoft.Resources/tags/default`
    NicTags(String),
    Networks,
    Network(String),
    Subnet(String, String),
    CheckAddress(String),
    LoadBalancer(String),
    Vms,
    Vm(String),
    Unknown,
}

impl InGroup {
    /// The same with the NIC's name replaced.
    pub(crate) fn with_nic(self, reference: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Nic(nic) => Self::Nic(reference(&nic)),
            Self::IpConfigs(nic) => Self::IpConfigs(reference(&nic)),
            Self::NicTags(nic) => Self::NicTags(reference(&nic)),
            Self::IpConfig(nic, name) => Self::IpConfig(reference(&nic), name),
            other => other,
        }
    }
}

impl Route {
    /// The subscription that it is in.
    pub(crate) fn subscription(&self) -> Option<&str> {
        match self {
            Self::Subscription { subscription, .. } => Some(subscription),
            Self::Endpoints
            | Self::OpenId { .. }
            | Self::Token { .. }
            | Self::Subscriptions
            | Self::Unknown => None,
        }
    }

    /// Whether the network provider answers it, and not ARM itself or another provider.
    pub(crate) fn is_network(&self) -> bool {
        let Self::Subscription { within, .. } = self else { return false };
        match within {
            InSubscription::Nics
            | InSubscription::Networks
            | InSubscription::Operation { .. }
            | InSubscription::OperationResult { .. }
            | InSubscription::Usages => true,
            InSubscription::Itself
            | InSubscription::Groups
            | InSubscription::Vms
            | InSubscription::Authorization { .. }
            | InSubscription::Unknown => false,
            InSubscription::Group { within, .. } => match within {
                InGroup::Nics
                | InGroup::Nic(_)
                | InGroup::IpConfigs(_)
                | InGroup::IpConfig(..)
                | InGroup::Networks
                | InGroup::Network(_)
                | InGroup::Subnet(..)
                | InGroup::CheckAddress(_)
                | InGroup::LoadBalancer(_) => true,
                InGroup::Itself
                | InGroup::NicTags(_)
                | InGroup::Vms
                | InGroup::Vm(_)
                | InGroup::Unknown => false,
            },
        }
    }

    pub(crate) fn parse(target: &Target) -> Self {
        let lower: Vec<String> = target.segments.iter().map(|s| s.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let name = |i: usize| target.segments[i].clone();
        match lower.as_slice() {
            ["metadata", "endpoints"] => Self::Endpoints,
            [_, "v2.0", ".well-known", "openid-configuration"] => Self::OpenId { tenant: name(0) },
            [_, "oauth2", "v2.0", "token"] => Self::Token { tenant: name(0) },
            ["subscriptions"] => Self::Subscriptions,
            ["subscriptions", _, rest @ ..] => {
                Self::Subscription { subscription: name(1), within: in_subscription(rest, name) }
            }
            _ => Self::Unknown,
        }
    }
}

fn in_subscription(rest: &[&str], name: impl Fn(usize) -> String) -> InSubscription {
    match rest {
        [] => InSubscription::Itself,
        ["resourcegroups"] => InSubscription::Groups,
        ["providers", "microsoft.network", "networkinterfaces"] => InSubscription::Nics,
        ["providers", "microsoft.network", "virtualnetworks"] => InSubscription::Networks,
        ["providers", "microsoft.compute", "virtualmachines"] => InSubscription::Vms,
        ["providers", "microsoft.network", "locations", _, "operations", _] => {
            InSubscription::Operation { guid: name(7) }
        }
        [.., "providers", "microsoft.authorization", "locks"] => InSubscription::Authorization {
            scope: scope_of(rest, name),
            collection: Collection::Locks,
        },
        [.., "providers", "microsoft.authorization", "permissions"] => {
            let collection = Collection::Permissions;
            InSubscription::Authorization { scope: scope_of(rest, name), collection }
        }
        ["providers", "microsoft.network", "locations", _, "usages"] => InSubscription::Usages,
        ["providers", "microsoft.network", "locations", _, "operationresults", _] => {
            InSubscription::OperationResult { guid: name(7) }
        }
        ["resourcegroups", _, rest @ ..] => {
            InSubscription::Group { group: name(3), within: in_group(rest, name) }
        }
        _ => InSubscription::Unknown,
    }
}

/// Everything before the last `providers`.
fn scope_of(rest: &[&str], name: impl Fn(usize) -> String) -> String {
    // "subscriptions" and its id come before `rest`, three segments end it.
    let parts = (0..2 + rest.len().saturating_sub(3)).map(name);
    parts.fold(String::new(), |scope, part| format!("{scope}/{part}"))
}

fn in_group(rest: &[&str], name: impl Fn(usize) -> String) -> InGroup {
    match rest {
        [] => InGroup::Itself,
        ["providers", "microsoft.network", rest @ ..] => match rest {
            ["networkinterfaces"] => InGroup::Nics,
            ["networkinterfaces", _] => InGroup::Nic(name(7)),
            ["networkinterfaces", _, "providers", "microsoft.resources", "tags", "default"] => {
                InGroup::NicTags(name(7))
            }
            ["networkinterfaces", _, "ipconfigurations"] => InGroup::IpConfigs(name(7)),
            ["networkinterfaces", _, "ipconfigurations", _] => InGroup::IpConfig(name(7), name(9)),
            ["virtualnetworks"] => InGroup::Networks,
            ["virtualnetworks", _] => InGroup::Network(name(7)),
            ["loadbalancers", _] => InGroup::LoadBalancer(name(7)),
            ["virtualnetworks", _, "checkipaddressavailability"] => InGroup::CheckAddress(name(7)),
            ["virtualnetworks", _, "subnets", _] => InGroup::Subnet(name(7), name(9)),
            _ => InGroup::Unknown,
        },
        ["providers", "microsoft.compute", "virtualmachines"] => InGroup::Vms,
        ["providers", "microsoft.compute", "virtualmachines", _] => InGroup::Vm(name(7)),
        _ => InGroup::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_without_case_and_names_keep_theirs() {
        let route = Route::parse(&Target::parse(
            "/SUBSCRIPTIONS/S/resourcegroups/Rg/Providers/microsoft.network/NetworkInterfaces/N1-Nic",
        ));
        assert_eq!(
            route,
            Route::Subscription {
                subscription: "S".to_owned(),
                within: InSubscription::Group {
                    group: "Rg".to_owned(),
                    within: InGroup::Nic("N1-Nic".to_owned()),
                },
            }
        );
    }
}

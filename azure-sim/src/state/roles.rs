//! Roles: who may do what where, as Azure's role-based access control decides it.
//!
//! A role is a list of actions with wildcards and a list of exceptions; an assignment gives it to
//! an identity at a scope, and it holds for everything below. Assignments add up: an exception
//! takes nothing away that another role gives. `[S]` Not modelled: data actions, conditions, deny
//! assignments, groups, management groups, and the minutes until a change is known everywhere.

use serde::{Deserialize, Serialize};

/// A role. Read from the fields here, or from those of the file that `az role definition create`
/// takes (`Name`, `Actions`, `NotActions`, `AssignableScopes`; the others mean nothing here).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDefinition {
    /// Its name.
    #[serde(alias = "Name")]
    pub name: String,
    /// What it allows, such as `Microsoft.Network/*` or `*/read`. `*` stands for any characters,
    /// `/` among them. `[S]`
    #[serde(alias = "Actions")]
    pub actions: Vec<String>,
    /// What it does not allow all the same.
    #[serde(default, alias = "NotActions")]
    pub not_actions: Vec<String>,
    /// Where it may be assigned; empty = anywhere.
    #[serde(default, alias = "AssignableScopes")]
    pub assignable_scopes: Vec<String>,
}

/// A role of Azure itself, as far as this corner is concerned. `[S]` Microsoft's list of built-in
/// roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuiltInRole {
    /// Everything.
    Owner,
    /// Everything but giving rights.
    Contributor,
    /// Every read.
    Reader,
    /// Everything about networks. It does not read VMs.
    #[serde(rename = "Network Contributor")]
    NetworkContributor,
}

impl BuiltInRole {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Owner, Self::Contributor, Self::Reader, Self::NetworkContributor];

    /// Its name in Azure.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "Owner",
            Self::Contributor => "Contributor",
            Self::Reader => "Reader",
            Self::NetworkContributor => "Network Contributor",
        }
    }

    /// What it allows, and what it does not all the same.
    fn actions(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Owner => (&["*"], &[]),
            Self::Contributor => (
                &["*"],
                &[
                    "Microsoft.Authorization/*/Delete",
                    "Microsoft.Authorization/*/Write",
                    "Microsoft.Authorization/elevateAccess/Action",
                    "Microsoft.Blueprint/blueprintAssignments/write",
                    "Microsoft.Blueprint/blueprintAssignments/delete",
                    "Microsoft.Compute/galleries/share/action",
                ],
            ),
            Self::Reader => (&["*/read"], &[]),
            Self::NetworkContributor => (
                &[
                    "Microsoft.Authorization/*/read",
                    "Microsoft.Insights/alertRules/*",
                    "Microsoft.Network/*",
                    "Microsoft.ResourceHealth/availabilityStatuses/read",
                    "Microsoft.Resources/deployments/*",
                    "Microsoft.Resources/subscriptions/resourceGroups/read",
                    "Microsoft.Support/*",
                ],
                &[],
            ),
        }
    }
}

/// A role: one of Azure's by its name, or one with actions of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Role {
    /// One of Azure's.
    BuiltIn(BuiltInRole),
    /// One with actions of its own.
    Custom(RoleDefinition),
}

impl Role {
    fn allows(&self, action: &str) -> bool {
        let any = |patterns: Vec<&str>| patterns.iter().any(|pattern| matches(pattern, action));
        let (actions, not_actions) = self.patterns();
        any(actions) && !any(not_actions)
    }

    /// What it allows, and what it does not all the same.
    pub(crate) fn patterns(&self) -> (Vec<&str>, Vec<&str>) {
        match self {
            Self::BuiltIn(role) => {
                let (actions, not_actions) = role.actions();
                (actions.to_vec(), not_actions.to_vec())
            }
            Self::Custom(role) => (all(&role.actions), all(&role.not_actions)),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::BuiltIn(role) => role.name(),
            Self::Custom(role) => &role.name,
        }
    }
}

fn all(patterns: &[String]) -> Vec<&str> {
    patterns.iter().map(String::as_str).collect()
}

/// A role at a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleAssignment {
    /// The role.
    pub role: Role,
    /// Id of a subscription, a resource group or a resource.
    pub scope: String,
}

impl RoleAssignment {
    /// Whether it holds at a resource.
    pub(crate) fn holds_at(&self, resource: &str) -> bool {
        contains(&self.scope, resource)
    }

    /// A custom role may be assigned within its assignable scopes only. `[S]`
    pub(crate) fn check(&self) -> Result<(), String> {
        let Role::Custom(role) = &self.role else { return Ok(()) };
        let scopes = &role.assignable_scopes;
        if scopes.is_empty() || scopes.iter().any(|scope| contains(scope, &self.scope)) {
            return Ok(());
        }
        Err(format!("role {} cannot be assigned at {}", self.role.name(), self.scope))
    }
}

/// Whether an identity with these assignments may do something to a resource.
pub(crate) fn allows(assignments: &[RoleAssignment], action: &str, resource: &str) -> bool {
    assignments
        .iter()
        .filter(|given| given.holds_at(resource))
        .any(|given| given.role.allows(action))
}

/// Whether a resource is a scope or lies below it. Ids are compared without case, by segments.
fn contains(scope: &str, resource: &str) -> bool {
    let segments = |id: &str| -> Vec<String> {
        id.split('/').filter(|part| !part.is_empty()).map(str::to_ascii_lowercase).collect()
    };
    segments(resource).starts_with(&segments(scope))
}

/// Whether an action matches a pattern: without case, `*` for any characters.
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = action.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_slashes_among_it() {
        for (pattern, action, expected) in [
            ("*", "Microsoft.Network/networkInterfaces/write", true),
            ("*/read", "microsoft.network/networkinterfaces/READ", true),
            ("*/read", "Microsoft.Network/networkInterfaces/readers", false),
            ("*/read", "Microsoft.Network/networkInterfaces/write", false),
            ("Microsoft.Network/*", "Microsoft.Network/virtualNetworks/subnets/join/action", true),
            ("Microsoft.Network/*", "Microsoft.NetworkFunction/x/read", false),
            (
                "Microsoft.Network/*/join/action",
                "Microsoft.Network/publicIPAddresses/join/action",
                true,
            ),
            ("Microsoft.Network/*/join/action", "Microsoft.Network/join/action", false),
            (
                "Microsoft.Network/*/join/action",
                "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
                false,
            ),
            (
                "Microsoft.Network/networkInterfaces/read",
                "Microsoft.Network/networkInterfaces/read",
                true,
            ),
            (
                "Microsoft.Network/networkInterfaces/read",
                "Microsoft.Network/networkInterfaces/reads",
                false,
            ),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, action), expected, "{pattern} {action}");
        }
    }

    #[test]
    fn a_scope_holds_for_what_lies_below_and_nothing_else() {
        let group = "/subscriptions/S/resourceGroups/Net";
        for (scope, resource, expected) in [
            ("/subscriptions/s", group, true),
            (group, "/SUBSCRIPTIONS/s/resourcegroups/net/providers/Microsoft.Network/x/y", true),
            (group, "/subscriptions/S/resourceGroups/Network", false),
            (group, "/subscriptions/S", false),
            ("/", "/subscriptions/other", true),
        ] {
            assert_eq!(contains(scope, resource), expected, "{scope} {resource}");
        }
    }

    #[test]
    fn what_one_role_excepts_another_gives() {
        let at = |role| RoleAssignment { role, scope: "/subscriptions/s".to_owned() };
        let custom = |actions: &[&str], not_actions: &[&str]| {
            let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            Role::Custom(RoleDefinition {
                name: "mine".to_owned(),
                actions: list(actions),
                not_actions: list(not_actions),
                assignable_scopes: Vec::new(),
            })
        };
        let delete = "Microsoft.Network/networkInterfaces/delete";
        let most = at(custom(&["Microsoft.Network/*"], &["*/delete"]));
        assert!(!allows(std::slice::from_ref(&most), delete, "/subscriptions/s/x"));
        let rest = at(custom(&[delete], &[]));
        assert!(allows(&[most, rest], delete, "/subscriptions/s/x"));
        assert!(!allows(&[], delete, "/subscriptions/s/x"));
    }

    #[test]
    fn the_built_in_roles_differ_where_it_matters() {
        let write = "Microsoft.Network/networkInterfaces/write";
        let join = "Microsoft.Network/publicIPAddresses/join/action";
        let vm = "Microsoft.Compute/virtualMachines/read";
        let give = "Microsoft.Authorization/roleAssignments/write";
        let can = |role, action| Role::BuiltIn(role).allows(action);
        for (role, expected) in [
            (BuiltInRole::Owner, [true, true, true, true]),
            (BuiltInRole::Contributor, [true, true, true, false]),
            (BuiltInRole::Reader, [false, false, true, false]),
            (BuiltInRole::NetworkContributor, [true, true, false, false]),
        ] {
            assert_eq!([write, join, vm, give].map(|action| can(role, action)), expected);
        }
    }

    #[test]
    fn a_role_is_read_by_name_or_as_az_takes_it() {
        let read = |text: &str| serde_json::from_str::<Role>(text).expect("a role");
        let built_in = BuiltInRole::NetworkContributor;
        assert_eq!(read("\"Network Contributor\""), Role::BuiltIn(built_in));
        for role in BuiltInRole::ALL {
            assert_eq!(read(&format!("\"{}\"", role.name())), Role::BuiltIn(role));
        }
        let az = r#"{"Name": "mine", "IsCustom": true, "Description": "x", "Actions": ["*/read"],
            "NotActions": [], "DataActions": [], "NotDataActions": [],
            "AssignableScopes": ["/subscriptions/s/resourceGroups/g"]}"#;
        let role = read(az);
        let at = |scope: &str| RoleAssignment { role: role.clone(), scope: scope.to_owned() };
        assert_eq!(at("/subscriptions/S/resourceGroups/G/providers/x/y/z").check(), Ok(()));
        assert_eq!(
            at("/subscriptions/s").check(),
            Err("role mine cannot be assigned at /subscriptions/s".to_owned())
        );
    }
}

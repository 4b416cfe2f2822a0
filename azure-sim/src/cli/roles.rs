//! `azure-sim admin roles`: which roles an identity has.

use azure_sim::{AdminCommand, BuiltInRole, Role, RoleAssignment, RoleDefinition};
use clap::{ArgGroup, Args};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub(super) struct Roles {
    /// Name of the VM whose identity it is.
    node: String,
    /// A role of Azure: Owner, Contributor, Reader or "Network Contributor".
    #[arg(long = "role", value_name = "NAME", value_parser = built_in, group = "what")]
    roles: Vec<BuiltInRole>,
    /// A role from a file as `az role definition create` takes it and `vipfence azure role`
    /// prints it.
    #[arg(long = "definition", value_name = "FILE", value_parser = definition, group = "what")]
    definitions: Vec<RoleDefinition>,
    /// Where: a subscription, resource group or resource. Without it a role of Azure holds
    /// everywhere, another one at its AssignableScopes.
    #[arg(long = "scope", value_name = "ID")]
    scopes: Vec<String>,
    /// No roles are looked at any more: it may do everything.
    #[arg(long, group = "what", conflicts_with_all = ["roles", "definitions", "scopes"])]
    clear: bool,
}

fn built_in(text: &str) -> Result<BuiltInRole, String> {
    let found = BuiltInRole::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        let names = BuiltInRole::ALL.map(|role| format!("\"{}\"", role.name()));
        format!("there are {}; others with --definition", names.join(", "))
    })
}

fn definition(path: &str) -> Result<RoleDefinition, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("no role definition: {error}"))
}

impl From<Roles> for AdminCommand {
    fn from(args: Roles) -> Self {
        let Roles { node, roles, definitions, scopes, clear } = args;
        let mut assignments = Vec::new();
        let mut assign = |role: &Role, scopes: &[String]| {
            let at = |scope: &String| RoleAssignment { role: role.clone(), scope: scope.clone() };
            assignments.extend(scopes.iter().map(at));
        };
        let everywhere = ["/".to_owned()];
        for role in roles {
            let scopes = if scopes.is_empty() { &everywhere[..] } else { &scopes };
            assign(&Role::BuiltIn(role), scopes);
        }
        for role in definitions {
            let own = role.assignable_scopes.clone();
            let own = if own.is_empty() { &everywhere[..] } else { &own };
            let scopes = if scopes.is_empty() { own } else { &scopes };
            assign(&Role::Custom(role), scopes);
        }
        Self::SetRoles { node, assignments: (!clear).then_some(assignments) }
    }
}

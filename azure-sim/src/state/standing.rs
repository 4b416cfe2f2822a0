//! Conditions that last until the tester lifts them: locks, policies, subnets that are not at rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::ArmError;
use super::sites::name_of;

/// A management lock. `[S]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Nothing below it can be deleted.
    CanNotDelete,
    /// Nothing below it can be changed either.
    ReadOnly,
}

/// A subnet that is not in the state `Succeeded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubnetTrouble {
    /// Somebody's operation runs on it.
    Updating,
    /// Its last operation failed.
    Failed,
}

impl SubnetTrouble {
    /// A NIC that refers to such a subnet is not written. `[R]` hashicorp/terraform#7986 for the
    /// first, Azure/aks-engine#336 for the second, both about load balancers.
    pub(crate) fn refusal(self, subnet: &str) -> ArmError {
        const CODE: &str = "ReferencedResourceNotProvisioned";
        let state = match self {
            Self::Updating => "Updating",
            Self::Failed => "Failed",
        };
        let why = format!(
            "Cannot proceed with operation because resource {subnet} is not in Succeeded state. \
             Resource is in {state} state and the last operation that updated/is updating the \
             resource is PutSubnetOperation."
        );
        match self {
            Self::Updating => {
                ArmError::network(429, "RetryableError", "A retryable error occurred.")
                    .with_detail(CODE, why)
            }
            Self::Failed => ArmError::network(400, CODE, why),
        }
    }
}

/// Where a condition holds: key of a NIC, or `None` = the whole resource group.
pub(crate) type Scope = Option<String>;

/// All of them. Bounded by the NICs and subnets of the world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) locks: BTreeMap<Scope, Lock>,
    /// Name of the policy assignment that denies writes.
    pub(crate) policies: BTreeMap<Scope, String>,
    /// By lower-case id.
    pub(crate) subnets: BTreeMap<String, SubnetTrouble>,
}

/// Sets a condition, or lifts it.
pub(crate) fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

/// A request that would change a NIC.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) deletes: bool,
    /// Its reference.
    pub(crate) nic: &'a str,
    pub(crate) nic_id: &'a str,
    pub(crate) group_id: &'a str,
}

impl Standing {
    /// What ARM's front door says to it, before the network provider hears of it: policy first,
    /// then locks. `[I]` the order.
    pub(crate) fn check(&self, attempt: Attempt<'_>) -> Result<(), ArmError> {
        let key = Some(attempt.nic.to_ascii_lowercase());
        let at_home = !attempt.nic.starts_with('/');
        let scopes = [(&key, attempt.nic_id), (&None, attempt.group_id)];
        let scopes = &scopes[..if at_home { 2 } else { 1 }];
        if !attempt.deletes
            && let Some(policy) = scopes.iter().find_map(|(scope, _)| self.policies.get(scope))
        {
            return Err(disallowed(policy, attempt));
        }
        let locked: Vec<&str> = scopes
            .iter()
            .filter(|(scope, _)| {
                let lock = self.locks.get(scope);
                lock.is_some_and(|lock| attempt.deletes || *lock == Lock::ReadOnly)
            })
            .map(|(_, id)| *id)
            .collect();
        if locked.is_empty() { Ok(()) } else { Err(scope_locked(&locked, attempt)) }
    }
}

/// `[R]` many verbatim bodies.
fn scope_locked(locked: &[&str], attempt: Attempt<'_>) -> ArmError {
    let what = if attempt.deletes { "delete" } else { "write" };
    let message = format!(
        "The scope '{}' cannot perform {what} operation because following scope(s) are locked: \
         '{}'. Please remove the lock and try again.",
        attempt.nic_id,
        locked.join(",")
    );
    ArmError::front_door(409, "ScopeLocked", message)
}

/// `[R]` microsoft/vscode-apimanagement#348; the real one has `target` and `additionalInfo` too.
fn disallowed(policy: &str, attempt: Attempt<'_>) -> ArmError {
    let named = |kind: &str| {
        json!({
            "name": policy,
            "id": format!(
                "{}/providers/Microsoft.Authorization/{kind}/{policy}", attempt.group_id
            ),
        })
    };
    let identifiers = json!([{
        "policyAssignment": named("policyAssignments"),
        "policyDefinition": named("policyDefinitions"),
    }]);
    let message = format!(
        "Resource '{}' was disallowed by policy. Policy identifiers: '{identifiers}'.",
        name_of(attempt.nic)
    );
    ArmError::front_door(403, "RequestDisallowedByPolicy", message)
}

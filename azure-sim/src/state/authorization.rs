//! `Microsoft.Authorization`, as far as a reader asks it: the locks that hold at a scope, and what
//! the asking identity may do there.

use serde_json::{Value, json};

use super::dispatch::Asked;
use super::error::ArmError;
use super::http::ArmResponse;
use super::identity::Identity;
use super::sites::name_of;
use super::standing::Lock;
use super::world::World;

/// Which of its collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collection {
    /// `{scope}/providers/Microsoft.Authorization/locks`
    Locks,
    /// `{scope}/providers/Microsoft.Authorization/permissions`
    Permissions,
}

impl World {
    /// `[S]` the paths and the shapes: azure-rest-api-specs, Microsoft.Authorization
    /// `stable/2020-05-01/locks.json` and `stable/2022-04-01/authorization-RoleAssignments…`.
    pub(crate) fn authorization(
        &self,
        asked: &Asked<'_>,
        scope: &str,
        collection: Collection,
    ) -> Result<ArmResponse, ArmError> {
        match collection {
            Collection::Locks => {
                asked.check_role("Microsoft.Authorization/locks/read")?;
                Ok(self.list(asked, self.locks_at(scope).into_iter()))
            }
            Collection::Permissions => {
                asked.check_role("Microsoft.Authorization/permissions/read")?;
                Ok(self.list(asked, permissions(asked.identity(), scope).into_iter()))
            }
        }
    }

    /// Those of the scope, and of what it lies in: what `$filter=atScope()` asks for. `[I]` that
    /// the same is listed without it.
    fn locks_at(&self, scope: &str) -> Vec<Value> {
        let home = self.config.resource_group_id();
        let locks = self.standing.locks.iter().map(|(nic, lock)| {
            let id = nic.as_ref().map_or_else(|| home.clone(), |nic| self.nic_id_of(nic));
            (id, *lock)
        });
        let here = locks.filter(|(id, _)| is_or_contains(id, scope));
        here.map(|(id, lock)| document(&id, lock)).collect()
    }

    fn nic_id_of(&self, key: &str) -> String {
        self.nics.get(key).map_or_else(|| self.config.nic_id(key), |nic| nic.id.clone())
    }
}

fn is_or_contains(outer: &str, inner: &str) -> bool {
    let (outer, inner) = (outer.to_ascii_lowercase(), inner.to_ascii_lowercase());
    inner.strip_prefix(&outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn document(scope: &str, lock: Lock) -> Value {
    let level = match lock {
        Lock::CanNotDelete => "CanNotDelete",
        Lock::ReadOnly => "ReadOnly",
    };
    let name = format!("lock-of-{}", name_of(scope));
    json!({
        "id": format!("{scope}/providers/Microsoft.Authorization/locks/{name}"),
        "type": "Microsoft.Authorization/locks",
        "name": name,
        "properties": {"level": level},
    })
}

/// One entry for each role that holds at the scope. `[S]`
fn permissions(identity: &Identity, scope: &str) -> Vec<Value> {
    let rights = identity.rights;
    let mut taken: Vec<&str> = Vec::new();
    if !rights.read {
        taken.push("*/read");
    }
    if !rights.write {
        taken.extend(["*/write", "*/delete"]);
    }
    if !rights.join {
        taken.extend(["*/join/action", "*/joinIpConfiguration/action"]);
    }
    let entry = |actions: &[&str], except: &[&str]| {
        let except: Vec<&str> = except.iter().chain(&taken).copied().collect();
        json!({
            "actions": actions, "notActions": except, "dataActions": [], "notDataActions": [],
        })
    };
    match &identity.roles {
        None => vec![entry(&["*"], &[])],
        Some(given) => {
            let here = given.iter().filter(|given| given.holds_at(scope));
            here.map(|given| {
                let (actions, except) = given.role.patterns();
                entry(&actions, &except)
            })
            .collect()
        }
    }
}

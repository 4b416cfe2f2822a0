//! Reads of ARM: the NICs, their networks, locks and rights. Never a write.

use serde_json::Value;
use vipfence_coordinator::azure::Azure;
use vipfence_coordinator_core::{HttpAnswer, HttpId, HttpRequest, NicDocument};
use vipfence_types::{NicId, brief};

use super::super::facts::{Lock, Permission, Refusal, Seen};

/// Versions of the providers that are not the network's. [S: azure-rest-api-specs]
const AUTHORIZATION: &str = "2022-04-01";
const LOCKS: &str = "2020-05-01";
const COMPUTE: &str = "2024-07-01";

/// ARM as this node reaches it.
pub(super) struct Arm {
    pub(super) azure: Azure,
    pub(super) api_version: String,
}

impl Arm {
    async fn ask(&self, path: String) -> Seen<HttpAnswer> {
        let request = HttpRequest::get(HttpId(0), path);
        match self.azure.send(request).await {
            Ok(answer) if answer.status == 200 => Seen::Yes(answer),
            Ok(answer) => Seen::Refused(Refusal::read(answer.status, &answer.body)),
            Err(fault) => Seen::Silent(brief(&fault.to_string())),
        }
    }

    async fn document(&self, path: &str, api_version: &str) -> Seen<Value> {
        let between = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{between}api-version={api_version}");
        self.ask(path).await.map(|answer| answer.body)
    }

    /// A resource of the network provider.
    pub(super) async fn network(&self, path: &str) -> Seen<Value> {
        self.document(path, &self.api_version).await
    }

    /// A NIC, and ARM's time of day in Unix seconds.
    pub(super) async fn nic(&self, nic: &NicId) -> (Seen<NicDocument>, Option<i64>) {
        let path = format!("{}?api-version={}", nic.as_str(), self.api_version);
        let answer = self.ask(path).await;
        let date = answer.yes().and_then(|answer| answer.headers.get("date")).and_then(|date| {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
            Some(date.as_second())
        });
        let document = match answer {
            Seen::Yes(answer) => match NicDocument::new(answer.body) {
                Ok(document) => Seen::Yes(document),
                Err(error) => Seen::Silent(error.to_string()),
            },
            Seen::Refused(refusal) => Seen::Refused(refusal),
            Seen::Silent(why) => Seen::Silent(why),
        };
        (document, date)
    }

    pub(super) async fn vm(&self, vm: &str) -> Seen<Value> {
        self.document(vm, COMPUTE).await
    }

    /// The locks on a NIC: its own, its group's, and its subscription's where those may be read.
    pub(super) async fn locks(&self, nic: &NicId) -> Seen<Vec<Lock>> {
        let [nic, group, subscription] = scopes_of(nic.as_str());
        let mut locks = Vec::new();
        for scope in [nic, group] {
            match self.locks_at(scope).await {
                Seen::Yes(here) => locks.extend(here),
                Seen::Refused(refusal) => return Seen::Refused(refusal),
                Seen::Silent(why) => return Seen::Silent(why),
            }
        }
        // Few roles are given for a whole subscription.
        if let Seen::Yes(here) = self.locks_at(subscription).await {
            locks.extend(here);
        }
        locks.sort();
        locks.dedup();
        Seen::Yes(locks)
    }

    async fn locks_at(&self, scope: &str) -> Seen<Vec<Lock>> {
        let path = format!("{scope}/providers/Microsoft.Authorization/locks?$filter=atScope()");
        self.document(&path, LOCKS).await.map(|body| read_locks(&body))
    }

    /// What this identity may do at a scope.
    pub(super) async fn rights(&self, scope: &str) -> Seen<Vec<Permission>> {
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions");
        self.document(&path, AUTHORIZATION).await.map(|body| read_permissions(&body))
    }

    /// Azure's limit of addresses per NIC in a region, where the subscription has its own.
    pub(super) async fn limit(&self, subscription: &str, region: &str) -> Option<usize> {
        let path = format!(
            "/subscriptions/{subscription}/providers/Microsoft.Network/locations/{region}/usages"
        );
        let body = self.network(&path).await;
        let usage = body.yes()?["value"].as_array()?.iter().find(|usage| {
            usage["name"]["value"] == "SecondaryIPConfigurationsPerNetworkInterface"
        })?;
        usize::try_from(usage["limit"].as_u64()?).ok()
    }

    /// Whether an address of a virtual network is free.
    pub(super) async fn is_free(&self, network: &str, address: std::net::IpAddr) -> Seen<bool> {
        let path = format!("{network}/CheckIPAddressAvailability?ipAddress={address}");
        self.network(&path).await.map(|body| body["available"] == true)
    }
}

/// A resource, its group and its subscription.
fn scopes_of(id: &str) -> [&str; 3] {
    let end = |n: usize| id.match_indices('/').nth(n).map_or(id.len(), |(at, _)| at);
    [id, &id[..end(4)], &id[..end(2)]]
}

fn read_locks(body: &Value) -> Vec<Lock> {
    let text = |value: &Value| brief(value.as_str().unwrap_or_default());
    let locks = body["value"].as_array().into_iter().flatten().map(|lock| Lock {
        id: text(&lock["id"]).to_ascii_lowercase(),
        name: text(&lock["name"]),
        read_only: lock["properties"]["level"] == "ReadOnly",
    });
    locks.collect()
}

fn read_permissions(body: &Value) -> Vec<Permission> {
    let words = |value: &Value| {
        let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    let entries = body["value"].as_array().into_iter().flatten();
    entries
        .map(|entry| Permission {
            actions: words(&entry["actions"]),
            except: words(&entry["notActions"]),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scopes_of_a_nic_are_itself_its_group_and_its_subscription() {
        let id =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n";
        assert_eq!(scopes_of(id), [id, "/subscriptions/s/resourceGroups/g", "/subscriptions/s"]);
        assert_eq!(scopes_of("short"), ["short", "short", "short"]);
    }
}

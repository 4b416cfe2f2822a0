//! Looking: ARM, the metadata service, the guest's files, the peers. Reads only; judges nothing.

mod arm;
mod guest;
mod imds;
mod peers;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use futures_util::future::join_all;
use vipfence_coordinator::{
    api::Examine,
    azure::{Azure, Identity},
};
use vipfence_coordinator_core::{NicDocument, NodeRecord, prefixes_of, virtual_network_of};
use vipfence_types::{Clocks, NicId, VipName};

use super::{
    facts::{AddressFacts, Facts, FrontendFacts, NicFacts, PeerFacts, Seen},
    rules::rights,
};
use crate::config::NodeConfig;
use arm::Arm;
pub(crate) use peers::reach;

/// How long a first token is waited for.
const TOKEN_PATIENCE: Duration = Duration::from_secs(8);
/// So many NICs of members are looked at for the holders of addresses.
const MAX_MEMBERS: usize = 64;

/// What the whole look needs.
pub(super) struct Looking<'a> {
    pub(super) config: &'a NodeConfig,
    pub(super) azure: Azure,
    pub(super) root: &'a Path,
    pub(super) now: Clocks,
    pub(super) ask: &'a Examine,
}

impl Looking<'_> {
    pub(super) async fn look(&self) -> Facts {
        let config = self.config;
        let settings = &config.azure;
        let arm = Arm { azure: self.azure.clone(), api_version: settings.api_version.clone() };
        let peers = config.peers.iter().filter(|peer| peer.node != config.node);
        let (keeper, (instance, token), peers) = tokio::join!(
            self.azure.token_problem(TOKEN_PATIENCE),
            imds::look(&settings.imds, &settings.audience, &settings.identity),
            join_all(peers.map(async |peer| PeerFacts {
                name: peer.node.to_string(),
                address: peer.address.clone(),
                reach: reach(&peer.address).await,
            })),
        );
        let (nics, ahead_of_arm_s) = self.nics(&arm).await;
        let documents: Vec<&NicDocument> =
            nics.iter().filter_map(|nic| nic.document.yes()).collect();
        let (networks, rights, vm_addresses, limit, members, frontend) = tokio::join!(
            networks(&arm, &documents),
            all_rights(&arm, &nics),
            vm_addresses(&arm, &nics),
            limit(&arm, &nics),
            self.members(&arm, &nics),
            self.frontend(&arm),
        );
        let addresses = self.addresses(&arm, &nics, &networks).await;
        Facts {
            arm: settings.arm.clone(),
            imds: settings.imds.clone(),
            client_id: match &settings.identity {
                Identity::Managed { client_id } => client_id.clone(),
                Identity::Workload { .. } | Identity::Secret { .. } | Identity::AzCli { .. } => {
                    None
                }
            },
            instance,
            token,
            keeper,
            networks,
            rights,
            vm_addresses,
            limit,
            ahead_of_arm_s,
            addresses,
            frontend,
            members,
            nics,
            guest: guest::look(self.root, &config.os),
            peers,
            disk: guest::disk(&config.data_dir),
        }
    }

    async fn nics(&self, arm: &Arm) -> (Vec<NicFacts>, Option<i64>) {
        let here_s = i64::try_from(self.now.wall_us / 1_000_000).unwrap_or(0);
        let seen = join_all(self.config.nics.iter().map(async |nic| {
            let ((document, date), locks) = tokio::join!(arm.nic(&nic.id), arm.locks(&nic.id));
            (NicFacts { id: nic.id.clone(), document, locks }, date)
        }));
        let (nics, dates): (Vec<_>, Vec<_>) = seen.await.into_iter().unzip();
        let ahead = dates.into_iter().flatten().next().map(|date: i64| here_s - date);
        (nics, ahead)
    }

    /// The NICs of all members, if this node is to say who has the addresses.
    async fn members(&self, arm: &Arm, read: &[NicFacts]) -> Vec<(NicId, Seen<NicDocument>)> {
        if !self.ask.whole_cluster {
            return vec![];
        }
        let members = self.ask.members.iter().take(MAX_MEMBERS);
        join_all(members.map(async |nic| (nic.clone(), document(arm, read, nic).await))).await
    }

    async fn frontend(&self, arm: &Arm) -> Option<FrontendFacts> {
        let asked = self.ask.frontend.clone()?;
        let at = asked.id.to_ascii_lowercase().find("/frontendipconfigurations/");
        let balancer = asked.id.get(..at.unwrap_or(asked.id.len())).unwrap_or_default();
        let document = arm.network(balancer).await;
        Some(FrontendFacts { asked, document })
    }

    async fn addresses(
        &self,
        arm: &Arm,
        nics: &[NicFacts],
        networks: &BTreeMap<String, Seen<serde_json::Value>>,
    ) -> Vec<AddressFacts> {
        let mut facts = Vec::new();
        for (vip, address, nic) in self.asked_addresses() {
            let of_nic = nic.as_ref().or(self.config.nics.first().map(|nic| &nic.id));
            let document = nics
                .iter()
                .find(|known| Some(&known.id) == of_nic)
                .and_then(|known| known.document.yes());
            let subnet = document.and_then(NicDocument::subnet);
            let network = subnet.and_then(virtual_network_of);
            let prefixes = subnet.zip(network).and_then(|(subnet, network)| {
                let document = networks.get(&network.to_ascii_lowercase())?.yes()?;
                Some(prefixes_of(document, subnet)).filter(|prefixes| !prefixes.is_empty())
            });
            let free = match network.filter(|_| self.ask.whole_cluster) {
                Some(network) => Some(arm.is_free(network, address).await),
                None => None,
            };
            facts.push(AddressFacts { vip, address, nic, prefixes, free });
        }
        facts
    }

    /// Each address with the NIC of this node that would carry it, if this node may hold it.
    fn asked_addresses(&self) -> Vec<(Option<VipName>, IpAddr, Option<NicId>)> {
        let here = NodeRecord {
            format: 1,
            role: vipfence_types::Role::Member,
            address: String::new(),
            hold: None,
            nics: self.config.nics.clone(),
        };
        let mut asked = Vec::new();
        for (name, spec, may_hold) in &self.ask.vips {
            let places = may_hold.then(|| here.places(spec).ok()).flatten().unwrap_or_default();
            for entry in &spec.addresses {
                let place = places.iter().find(|place| place.address == entry.address);
                let nic = place.map(|place| place.nic.clone());
                asked.push((Some(name.clone()), entry.address, nic));
            }
        }
        let first = self.config.nics.first().map(|nic| nic.id.clone());
        asked.extend(self.ask.addresses.iter().map(|address| (None, *address, first.clone())));
        asked
    }
}

async fn networks(
    arm: &Arm,
    documents: &[&NicDocument],
) -> BTreeMap<String, Seen<serde_json::Value>> {
    let subnets = documents.iter().filter_map(|document| document.subnet());
    let ids: BTreeMap<String, &str> =
        subnets.filter_map(virtual_network_of).map(|id| (id.to_ascii_lowercase(), id)).collect();
    let seen = join_all(ids.values().map(|id| arm.network(id))).await;
    ids.into_keys().zip(seen).collect()
}

async fn all_rights(
    arm: &Arm,
    nics: &[NicFacts],
) -> BTreeMap<String, Seen<Vec<super::facts::Permission>>> {
    let needed = rights::needed(nics.iter());
    let scopes: BTreeMap<String, &str> =
        needed.needs().map(|(scope, _)| (scope.to_ascii_lowercase(), scope)).collect();
    let seen = join_all(scopes.values().map(|scope| arm.rights(scope))).await;
    scopes.into_keys().zip(seen).collect()
}

/// The document of a NIC, which may have been read already.
async fn document(arm: &Arm, read: &[NicFacts], nic: &NicId) -> Seen<NicDocument> {
    match read.iter().find(|known| known.id == *nic) {
        Some(known) => known.document.clone(),
        None => arm.nic(nic).await.0,
    }
}

/// How many addresses each VM has on all of its NICs, by the VM's id.
async fn vm_addresses(arm: &Arm, read: &[NicFacts]) -> BTreeMap<String, usize> {
    let vms: BTreeSet<&str> = read
        .iter()
        .filter_map(|nic| nic.document.yes())
        .filter_map(|document| document.value().pointer("/properties/virtualMachine/id")?.as_str())
        .collect();
    let mut counted = BTreeMap::new();
    for vm in vms {
        let Seen::Yes(vm_document) = arm.vm(vm).await else { continue };
        let nics = vm_document.pointer("/properties/networkProfile/networkInterfaces");
        let nics = nics.and_then(serde_json::Value::as_array).into_iter().flatten();
        let ids: Vec<NicId> = nics.filter_map(|nic| nic["id"].as_str()).map(NicId::new).collect();
        let seen = join_all(ids.iter().map(|nic| document(arm, read, nic))).await;
        let seen = seen.iter().filter_map(Seen::yes);
        counted.insert(vm.to_owned(), seen.map(|document| document.configs().count()).sum());
    }
    counted
}

async fn limit(arm: &Arm, nics: &[NicFacts]) -> usize {
    let first = nics.iter().find_map(|nic| Some((&nic.id, nic.document.yes()?)));
    let asked = first.and_then(|(id, document)| {
        let subscription = id.as_str().split('/').nth(2)?;
        Some((subscription, document.value()["location"].as_str()?))
    });
    let limit = match asked {
        Some((subscription, region)) => arm.limit(subscription, region).await,
        None => None,
    };
    limit.unwrap_or(NicDocument::MAX_ADDRESSES)
}

//! Survey: before a VIP is defined, asks Azure whether its addresses can be used at all.
//!
//! It reads the members' NICs, the virtual network of their subnets and the availability of each
//! address, and where something else has an address, finds out what. It writes nothing and commits
//! nothing. What the identity may not read is left to the attach itself, where Azure refuses.

mod prefix;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vipfence_types::{NicId, VipSpec, brief};

use crate::{
    ask::AskError,
    nic::{HttpId, HttpRequest, HttpResult, NicDocument, Problem, ProblemKind},
    registry::Registry,
};
pub use prefix::{Prefix, prefixes_of, virtual_network_of};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Nic(NicId),
    Network(String),
    Available(IpAddr),
    AllNics,
}

/// One survey.
#[derive(Debug)]
pub(crate) struct Survey {
    api_version: String,
    spec: VipSpec,
    /// The NICs that would carry each address.
    carriers: BTreeMap<IpAddr, BTreeSet<NicId>>,
    members: BTreeSet<NicId>,
    waiting: BTreeMap<HttpId, Question>,
    nics: BTreeMap<NicId, NicDocument>,
    networks: BTreeMap<String, Value>,
    taken: BTreeSet<IpAddr>,
    others: Vec<NicDocument>,
    unreachable: Option<Problem>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Nics,
    Network,
    Others,
}

impl Survey {
    /// Begins with the NICs of the members.
    ///
    /// # Errors
    /// No node that may hold the VIP has told its NICs yet.
    pub(crate) fn begin(
        state: &Registry,
        spec: &VipSpec,
        api_version: &str,
        next: &mut u64,
    ) -> Result<(Self, Vec<HttpRequest>), AskError> {
        let mut carriers: BTreeMap<IpAddr, BTreeSet<NicId>> = BTreeMap::new();
        for node in state.candidates(spec) {
            let places = state.nodes.get(node).map(|known| known.places(spec));
            for place in places.into_iter().flatten().flatten() {
                carriers.entry(place.address).or_default().insert(place.nic);
            }
        }
        if carriers.len() < spec.addresses.len() {
            return Err(AskError::NoNics);
        }
        let members: BTreeSet<NicId> =
            state.nodes.values().flat_map(|n| n.nics.iter().map(|nic| nic.id.clone())).collect();
        let mut survey = Self {
            api_version: api_version.to_owned(),
            spec: spec.clone(),
            carriers,
            members: members.clone(),
            waiting: BTreeMap::new(),
            nics: BTreeMap::new(),
            networks: BTreeMap::new(),
            taken: BTreeSet::new(),
            others: Vec::new(),
            unreachable: None,
            stage: Stage::Nics,
        };
        let requests = members
            .into_iter()
            .map(|nic| {
                let path = format!("{}?api-version={api_version}", nic.as_str());
                survey.ask(Question::Nic(nic), path, next)
            })
            .collect();
        Ok((survey, requests))
    }

    fn ask(&mut self, question: Question, path: String, next: &mut u64) -> HttpRequest {
        *next += 1;
        let id = HttpId(*next);
        self.waiting.insert(id, question);
        HttpRequest::get(id, path)
    }

    /// Whether an answer is for this survey.
    pub(crate) fn awaits(&self, id: HttpId) -> bool {
        self.waiting.contains_key(&id)
    }

    /// Takes an answer. The result is there once nothing more is to be asked.
    pub(crate) fn answered(
        &mut self,
        id: HttpId,
        result: HttpResult,
        next: &mut u64,
    ) -> (Vec<HttpRequest>, Option<Result<(), AskError>>) {
        let Some(question) = self.waiting.remove(&id) else { return (vec![], None) };
        let body = match result {
            Ok(answer) if answer.status == 200 => Some(answer.body),
            Ok(answer) => {
                self.note_problem(Problem::of_answer(&answer).0);
                None
            }
            Err(fault) => {
                self.note_problem(Problem::of_fault(&fault));
                None
            }
        };
        self.learn(question, body);
        if !self.waiting.is_empty() {
            return (vec![], None);
        }
        let requests = self.next_stage(next);
        if requests.is_empty() { (requests, Some(self.judge())) } else { (requests, None) }
    }

    fn note_problem(&mut self, problem: Problem) {
        match problem.kind {
            ProblemKind::Gone | ProblemKind::Forbidden | ProblemKind::Barred => {}
            ProblemKind::Later
            | ProblemKind::Changed
            | ProblemKind::AddressInUse { .. }
            | ProblemKind::AddressCleaning
            | ProblemKind::Unauthorized
            | ProblemKind::Refused
            | ProblemKind::Unknown => {
                self.unreachable.get_or_insert(problem);
            }
        }
    }

    fn learn(&mut self, question: Question, body: Option<Value>) {
        let Some(body) = body else { return };
        match question {
            Question::Nic(nic) => {
                if let Ok(document) = NicDocument::new(body) {
                    self.nics.insert(nic, document);
                }
            }
            Question::Network(id) => {
                self.networks.insert(id, body);
            }
            Question::Available(address) => {
                if body.get("available").and_then(Value::as_bool) == Some(false) {
                    self.taken.insert(address);
                }
            }
            Question::AllNics => {
                let list = body.get("value").and_then(Value::as_array).cloned();
                let all = list.unwrap_or_default().into_iter();
                self.others = all.filter_map(|nic| NicDocument::new(nic).ok()).collect();
            }
        }
    }

    fn next_stage(&mut self, next: &mut u64) -> Vec<HttpRequest> {
        match self.stage {
            Stage::Nics => {
                self.stage = Stage::Network;
                self.ask_networks(next)
            }
            Stage::Network => {
                self.stage = Stage::Others;
                let strange = self.taken.iter().any(|address| !self.on_member(*address));
                let Some(nic) = self.members.first().filter(|_| strange).cloned() else {
                    return vec![];
                };
                // /subscriptions/S/resourceGroups/... : all NICs of the subscription.
                let parts: Vec<&str> = nic.as_str().split('/').take(3).collect();
                let path = format!(
                    "{}/providers/Microsoft.Network/networkInterfaces?api-version={}",
                    parts.join("/"),
                    self.api_version
                );
                vec![self.ask(Question::AllNics, path, next)]
            }
            Stage::Others => vec![],
        }
    }

    fn ask_networks(&mut self, next: &mut u64) -> Vec<HttpRequest> {
        let mut requests = Vec::new();
        let mut asked = BTreeSet::new();
        let carriers = self.carriers.clone();
        for (address, nics) in carriers {
            let networks: BTreeSet<String> =
                nics.iter().filter_map(|nic| self.network_of(nic)).collect();
            for network in networks {
                let api = self.api_version.clone();
                let path = format!(
                    "{network}/CheckIPAddressAvailability?ipAddress={address}&api-version={api}"
                );
                requests.push(self.ask(Question::Available(address), path, next));
                if asked.insert(network.clone()) {
                    let path = format!("{network}?api-version={api}");
                    requests.push(self.ask(Question::Network(network), path, next));
                }
            }
        }
        requests
    }

    fn network_of(&self, nic: &NicId) -> Option<String> {
        virtual_network_of(self.nics.get(nic)?.subnet()?).map(str::to_owned)
    }

    fn on_member(&self, address: IpAddr) -> bool {
        self.nics.values().any(|nic| nic.find(address).is_some_and(|config| !config.primary))
    }

    fn judge(&self) -> Result<(), AskError> {
        if self.nics.is_empty() {
            let problem = self.unreachable.as_ref().map_or_else(
                || "no NIC of this cluster could be read".to_owned(),
                ToString::to_string,
            );
            return Err(AskError::AzureUnreachable { problem });
        }
        for (at, entry) in self.spec.addresses.iter().enumerate() {
            self.judge_subnet(at, entry.address)?;
            self.judge_owner(entry.address)?;
        }
        Ok(())
    }

    fn judge_subnet(&self, at: usize, address: IpAddr) -> Result<(), AskError> {
        let carriers = self.carriers.get(&address).into_iter().flatten();
        let mut seen = BTreeSet::new();
        for nic in carriers {
            let Some(subnet) = self.nics.get(nic).and_then(NicDocument::subnet) else { continue };
            let prefixes = self.prefixes(subnet);
            if prefixes.is_empty() {
                // Not readable for this identity.
                return Ok(());
            }
            if let Some(prefix) = prefixes.iter().find(|prefix| prefix.contains(address)) {
                if prefix.reserves(address) {
                    let problem = format!("{address} is reserved by Azure in subnet {prefix}");
                    return Err(invalid_address(at, problem));
                }
                return Ok(());
            }
            seen.extend(prefixes.iter().map(|prefix| format!("{prefix} ({})", nic.name())));
        }
        if seen.is_empty() {
            return Ok(());
        }
        let seen: Vec<String> = seen.into_iter().collect();
        let problem = format!(
            "{address} is outside the subnets of the candidates' NICs: {}; use an address inside",
            seen.join(", ")
        );
        Err(invalid_address(at, problem))
    }

    fn prefixes(&self, subnet: &str) -> Vec<Prefix> {
        let network = virtual_network_of(subnet).and_then(|id| self.networks.get(id));
        network.map(|network| prefixes_of(network, subnet)).unwrap_or_default()
    }

    fn judge_owner(&self, address: IpAddr) -> Result<(), AskError> {
        let primary = self
            .nics
            .iter()
            .find(|(_, nic)| nic.find(address).is_some_and(|config| config.primary));
        if let Some((nic, _)) = primary {
            let holder = format!("NIC {} (its primary address)", nic.name());
            return Err(AskError::AddressElsewhere { address, holder });
        }
        if !self.taken.contains(&address) || self.on_member(address) {
            return Ok(());
        }
        let other = self.others.iter().find(|nic| nic.find(address).is_some());
        let holder = other.map_or("another resource of the virtual network".to_owned(), |nic| {
            let name = nic.value().get("name").and_then(Value::as_str).unwrap_or("?");
            format!("NIC {}, which is of no member of this cluster", brief(name))
        });
        Err(AskError::AddressElsewhere { address, holder })
    }
}

fn invalid_address(at: usize, problem: String) -> AskError {
    AskError::InvalidAddress { field: format!("spec.addresses[{at}].address"), problem }
}

#[cfg(test)]
mod foreign;

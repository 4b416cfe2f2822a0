//! What a VIP is: its addresses, its candidates, its policies.

use core::{net::IpAddr, time::Duration};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Failback, Failover, FlapBudget, NodeId, policy, validate_name};

/// What a node may do in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes and may hold VIPs.
    #[default]
    Member,
    /// Votes and never holds a VIP.
    Witness,
    /// Replicates and may hold VIPs, without a vote.
    Learner,
}

impl Role {
    /// Whether a node of this role may hold a VIP.
    #[must_use]
    pub fn may_hold(self) -> bool {
        match self {
            Self::Member | Self::Learner => true,
            Self::Witness => false,
        }
    }

    /// Whether a node of this role has a vote.
    #[must_use]
    pub fn votes(self) -> bool {
        match self {
            Self::Member | Self::Witness => true,
            Self::Learner => false,
        }
    }
}

/// How Azure is made to route the address to its holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A secondary ipConfiguration that moves from NIC to NIC.
    #[default]
    IpConfig,
    /// A load balancer that stays as it is: the holder alone answers its health probe. No NIC is
    /// written.
    LoadBalancer,
}

/// What a load balancer's health probe speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeProtocol {
    /// A connection that is accepted is an answer.
    #[default]
    Tcp,
    /// `200 OK` is an answer, whatever path is asked for.
    Http,
}

/// How the holder answers a load balancer's health probe. Everybody else refuses the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The port, on every address of the node.
    pub port: u16,
    /// What is spoken.
    pub protocol: ProbeProtocol,
    /// Text to answer with; may be empty.
    pub reply: String,
}

/// When the old holder of a planned move lets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// Serves until Azure has detached the address (the shortest outage).
    #[default]
    Late,
    /// Releases first, then Azure detaches (services stop before the address leaves).
    Early,
}

/// What a holder does while it cannot reach a majority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuorumLoss {
    /// Lets the address go when its lease ends.
    #[default]
    Release,
    /// Keeps serving, renewed locally. I1 is then not promised.
    Hold,
}

/// What is done where Azure disagrees with what is committed: somebody else took the address off a
/// NIC, or put it on one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftPolicy {
    /// It is shown, and put right by a move with cause DRIFT.
    #[default]
    Repair,
    /// It is shown only. The next move puts it right.
    Report,
}

/// Whether another node has to reach the VIP at its new holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataPath {
    /// Nobody looks.
    #[default]
    Off,
    /// It is looked at and shown: when traffic really flowed, beside when Azure said so.
    Report,
    /// The VIP is not reported as held before.
    Required,
}

/// One address of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VipAddress {
    /// The address.
    pub address: IpAddr,
    /// Prefix length on the OS interface; 32 or 128 unless asked for otherwise.
    pub prefix_len: u8,
    /// Which of the node's NICs carries it, by the name that the node's configuration gives it;
    /// none = the node's first NIC.
    pub nic: Option<String>,
}

impl VipAddress {
    /// A host address on the node's first NIC.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let prefix_len = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix_len, nic: None }
    }
}

/// A node that may hold the VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Greater is preferred; equal priorities are ordered by name.
    pub priority: u32,
}

/// The definition of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipSpec {
    /// Its addresses: at least one, all moved as one.
    pub addresses: Vec<VipAddress>,
    /// How Azure routes them.
    pub mode: Mode,
    /// The nodes that may hold it; empty = every node whose role allows it, at equal priority.
    pub candidates: BTreeMap<NodeId, Candidate>,
    /// When the old holder of a planned move lets go.
    pub release: Release,
    /// How long a holder may take to let go before its grant is left to expire.
    pub release_timeout_ms: u64,
    /// What a holder does without a quorum.
    pub on_quorum_loss: QuorumLoss,
    /// What is done about drift in Azure.
    #[serde(default)]
    pub drift: DriftPolicy,
    /// How a load balancer's health probe is answered; only with [`Mode::LoadBalancer`].
    #[serde(default)]
    pub probe: Option<Probe>,
    /// Whether another node has to reach it.
    #[serde(default)]
    pub data_path: DataPath,
    /// The TCP port at which other nodes try to reach it.
    #[serde(default = "VipSpec::default_data_path_port")]
    pub data_path_port: u16,
    /// When it goes back by itself to a candidate of higher priority.
    #[serde(default)]
    pub failback: Failback,
    /// How often its health, or its way back, may move it by itself.
    #[serde(default)]
    pub flap_budget: FlapBudget,
    /// Whether a failover waits for somebody's word.
    #[serde(default)]
    pub failover: Failover,
}

/// Why a VIP definition was not accepted: the field at fault and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidSpec {
    /// Path of the field, as in the API.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl VipSpec {
    /// The most addresses of one VIP.
    pub const MAX_ADDRESSES: usize = 16;
    /// The most candidates of one VIP.
    pub const MAX_CANDIDATES: usize = 32;
    /// The longest answer to a probe, in bytes.
    pub const MAX_REPLY: usize = 256;

    /// A VIP with one host address and the default policies.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self {
            addresses: vec![VipAddress::host(address)],
            mode: Mode::default(),
            candidates: BTreeMap::new(),
            release: Release::default(),
            release_timeout_ms: 10_000,
            on_quorum_loss: QuorumLoss::default(),
            drift: DriftPolicy::default(),
            probe: None,
            data_path: DataPath::default(),
            data_path_port: Self::default_data_path_port(),
            failback: Failback::default(),
            flap_budget: FlapBudget::default(),
            failover: Failover::default(),
        }
    }

    /// Any port will do: one that is refused is an answer, too. This is the agents' own.
    #[must_use]
    pub fn default_data_path_port() -> u16 {
        7600
    }

    /// The addresses that stand on NICs in Azure. A load balancer's frontend stands on none.
    #[must_use]
    pub fn on_nics(&self) -> &[VipAddress] {
        match self.mode {
            Mode::IpConfig => &self.addresses,
            Mode::LoadBalancer => &[],
        }
    }

    /// Holds the definition against what can be said without knowing the cluster.
    ///
    /// # Errors
    /// Names the field at fault.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        let fail = |field: String, problem: String| Err(InvalidSpec { field, problem });
        if self.addresses.is_empty() {
            return fail("addresses".into(), "a VIP needs at least one address".into());
        }
        if self.addresses.len() > Self::MAX_ADDRESSES {
            let problem = format!("a VIP has at most {} addresses", Self::MAX_ADDRESSES);
            return fail("addresses".into(), problem);
        }
        for (at, entry) in self.addresses.iter().enumerate() {
            let field = |name: &str| format!("addresses[{at}].{name}");
            if self.addresses.iter().take(at).any(|other| other.address == entry.address) {
                return fail(field("address"), format!("{} stands twice", entry.address));
            }
            let ip = entry.address;
            if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
                let problem = format!("{ip} cannot be a VIP: use a unicast address of the subnet");
                return fail(field("address"), problem);
            }
            if let Some(Err(error)) = entry.nic.as_deref().map(|nic| validate_name("NIC", nic)) {
                return fail(field("nic"), error.to_string());
            }
            let most = if ip.is_ipv4() { 32 } else { 128 };
            if entry.prefix_len == 0 || entry.prefix_len > most {
                let problem = format!("{} is not 1 to {most}", entry.prefix_len);
                return fail(field("prefix_len"), problem);
            }
        }
        if self.candidates.len() > Self::MAX_CANDIDATES {
            let problem = format!("a VIP has at most {} candidates", Self::MAX_CANDIDATES);
            return fail("candidates".into(), problem);
        }
        if self.release_timeout_ms == 0 || self.release_timeout_ms > 3_600_000 {
            let problem = format!("{} ms is not 1 ms to 1 h", self.release_timeout_ms);
            return fail("release_timeout".into(), problem);
        }
        if self.data_path_port == 0 {
            return fail("data_path_port".into(), "a port is a number from 1 to 65535".into());
        }
        self.check_probe()
            .map_err(|(field, problem)| InvalidSpec { field: field.into(), problem })?;
        policy::check(self.failback, self.flap_budget, self.failover)
    }

    fn check_probe(&self) -> Result<(), (&'static str, String)> {
        let missing = "the mode LOAD_BALANCER needs the port of the load balancer's health probe";
        let needless = "only a VIP of the mode LOAD_BALANCER answers a probe; leave it out";
        match (self.mode, &self.probe) {
            (Mode::IpConfig, None) => Ok(()),
            (Mode::IpConfig, Some(_)) => Err(("probe", needless.into())),
            (Mode::LoadBalancer, None) => Err(("probe", missing.into())),
            (Mode::LoadBalancer, Some(probe)) if probe.port == 0 => {
                Err(("probe.port", "a port is a number from 1 to 65535".into()))
            }
            (Mode::LoadBalancer, Some(probe)) if probe.reply.len() > Self::MAX_REPLY => {
                Err(("probe.reply", format!("it is longer than {} bytes", Self::MAX_REPLY)))
            }
            (Mode::LoadBalancer, Some(_)) => Ok(()),
        }
    }

    /// Whether a node may hold this VIP as far as the definition says.
    #[must_use]
    pub fn is_candidate(&self, node: &NodeId) -> bool {
        self.candidates.is_empty() || self.candidates.contains_key(node)
    }

    /// The priority of a candidate.
    #[must_use]
    pub fn priority(&self, node: &NodeId) -> u32 {
        self.candidates.get(node).map_or(0, |candidate| candidate.priority)
    }

    /// The release time-out as a duration.
    #[must_use]
    pub fn release_timeout(&self) -> Duration {
        Duration::from_millis(self.release_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_names_the_field_at_fault() {
        let good = VipSpec::host(IpAddr::from([10, 5, 0, 110]));
        assert_eq!(good.check(), Ok(()));
        let twice = VipSpec {
            addresses: [good.addresses.clone(), good.addresses.clone()].concat(),
            ..good.clone()
        };
        assert_eq!(twice.check().map_err(|e| e.field), Err("addresses[1].address".to_owned()));
        let none = VipSpec { addresses: vec![], ..good.clone() };
        assert_eq!(none.check().map_err(|e| e.field), Err("addresses".to_owned()));
        let loopback = VipSpec::host(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(loopback.check().map_err(|e| e.field), Err("addresses[0].address".to_owned()));
        let elsewhere = VipAddress { nic: Some("x".repeat(64)), ..good.addresses[0].clone() };
        let elsewhere = VipSpec { addresses: vec![elsewhere], ..good.clone() };
        assert_eq!(elsewhere.check().map_err(|e| e.field), Err("addresses[0].nic".to_owned()));
        let patient = VipSpec { release_timeout_ms: 0, ..good };
        assert_eq!(patient.check().map_err(|e| e.field), Err("release_timeout".to_owned()));
    }

    #[test]
    fn only_a_load_balancers_vip_has_a_probe_and_it_needs_one() {
        let probe = |port| Some(Probe { port, protocol: ProbeProtocol::Tcp, reply: String::new() });
        let of = |mode, probe| {
            let spec = VipSpec { mode, probe, ..VipSpec::host(IpAddr::from([10, 5, 0, 110])) };
            spec.check().map_err(|error| error.field)
        };
        assert_eq!(of(Mode::LoadBalancer, probe(63_001)), Ok(()));
        assert_eq!(of(Mode::LoadBalancer, None), Err("probe".to_owned()));
        assert_eq!(of(Mode::LoadBalancer, probe(0)), Err("probe.port".to_owned()));
        assert_eq!(of(Mode::IpConfig, probe(63_001)), Err("probe".to_owned()));
        let long = Probe { reply: "x".repeat(257), ..probe(63_001).expect("one") };
        assert_eq!(of(Mode::LoadBalancer, Some(long)), Err("probe.reply".to_owned()));
    }
}

//! What a world is made of: its nodes, their machines and clocks, Azure, and the streams of chance.
//!
//! Nothing happens here: this is how things stand when the first event comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use azure_sim::WorldConfig;
use vipfence_agent_core::Duties;
use vipfence_types::{NicId, NicRecord, NodeId, Role, Timing, VipName};

use crate::{
    azure::Azure,
    balancer::{Balancer, Frontend},
    chance::Chance,
    kernel::Kernel,
    machine::{ExcuseEnds, Machine},
    process::Memory,
    seat::RaftDisk,
    time::MachineClocks,
};

/// The streams of chance.
pub(super) mod stream {
    pub(in super::super) const NET: u64 = 1;
    pub(in super::super) const CLOCKS: u64 = 2;
    pub(in super::super) const WORLD: u64 = 3;
    pub(in super::super) const MACHINE: u64 = 100;
    pub(in super::super) const DISK: u64 = 200;
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The nodes and what they may do; names in alphabetical order.
    pub nodes: Vec<(String, Role)>,
    /// The timers.
    pub timing: Timing,
    /// How Azure behaves.
    pub azure: azure_sim::Settings,
    /// Whether the agents rely on `If-Match`.
    pub trust_if_match: bool,
    /// Whether they leave a tag of theirs on NICs.
    pub epoch_tag: bool,
    /// Clocks run with errors of their own, within ± 1 %.
    pub clocks_err: bool,
    /// The rates of the nodes' clocks (ppm), where they are not left to chance.
    pub rates: Vec<i32>,
    /// What the nodes do around VIPs.
    pub duties: BTreeMap<VipName, Duties>,
    /// Azure's load balancers, with all nodes that may hold VIPs behind them.
    pub frontends: Vec<Frontend>,
    /// What stands in Azure besides. A further NIC of a member's VM is the member's to report.
    pub arranged: fn(WorldConfig) -> WorldConfig,
}

impl Plan {
    /// Three members `a`, `b` and `c`.
    #[must_use]
    pub fn three(timing: Timing) -> Self {
        let nodes = ["a", "b", "c"].map(|name| (name.to_owned(), Role::Member));
        let azure = azure_sim::Settings::default();
        Self {
            nodes: nodes.to_vec(),
            timing,
            azure,
            trust_if_match: true,
            epoch_tag: true,
            clocks_err: true,
            rates: Vec::new(),
            duties: BTreeMap::new(),
            frontends: Vec::new(),
            arranged: |config| config,
        }
    }

    /// The same and a witness `w`, which makes four voters; or two members and a witness.
    #[must_use]
    pub fn with_witness(timing: Timing, members: usize) -> Self {
        let names = ["a", "b", "c", "d"];
        let mut nodes: Vec<(String, Role)> =
            names.iter().take(members).map(|name| ((*name).to_owned(), Role::Member)).collect();
        nodes.push(("w".to_owned(), Role::Witness));
        Self { nodes, ..Self::three(timing) }
    }

    /// Whether nothing but the longest time that a write can be late makes earlier writes harmless:
    /// `If-Match` is not relied on, or neither a tag nor a PUT changes an ETag.
    pub(crate) fn only_time_clears(&self) -> bool {
        !self.trust_if_match || !self.epoch_tag && !self.azure.same_put_changes_etag
    }
}

/// The name of a node.
pub(crate) fn node_id(name: &str) -> NodeId {
    NodeId::new(name).expect("a valid name")
}

pub(super) fn azure_of(seed: u64, plan: &Plan) -> Azure {
    let config = WorldConfig { seed, settings: plan.azure.clone(), ..WorldConfig::default() };
    let mut config = config.dual_stack();
    config.started_unix_ms = MachineClocks::EPOCH_US / 1_000;
    for (index, (name, _)) in (4..).zip(&plan.nodes) {
        // A witness has a VM and an identity too, and a NIC that nobody touches.
        config = config.with_node(name, Ipv4Addr::new(10, 5, 0, index));
    }
    for nic in &mut config.nics {
        // What is not ours has to survive every write (I3).
        nic.enable_ip_forwarding = true;
        nic.tags.insert("owner".to_owned(), "somebody else".to_owned());
    }
    config = config.with_stranger("stranger-nic", Ipv4Addr::new(10, 5, 0, 200));
    config = (plan.arranged)(config);
    Azure::new(azure_sim::World::new(config).expect("a possible world"))
}

/// The load balancers, before they have probed anybody.
pub(super) fn balancers(plan: &Plan) -> Vec<Balancer> {
    let backends = || {
        let nodes = plan.nodes.iter().enumerate().filter(|(_, (_, role))| role.may_hold());
        nodes.map(|(index, _)| index)
    };
    plan.frontends.iter().map(|front| Balancer::new(*front, backends())).collect()
}

/// The NICs of a node's VM: eth0, eth1 and so on.
pub(super) fn nics_of(config: &WorldConfig, node: &NodeId) -> Vec<NicRecord> {
    let own = config.nics.iter().filter(|nic| nic.vm.as_deref() == Some(node.as_str()));
    let record = |(number, nic): (usize, &azure_sim::NicConfig)| NicRecord {
        name: format!("eth{number}"),
        id: NicId::new(&config.nic_id(&nic.name)),
    };
    own.enumerate().map(record).collect()
}

pub(super) fn machine(
    seed: u64,
    index: u64,
    name: &NodeId,
    plan: &Plan,
    clocks: &mut Chance,
) -> Machine {
    // The truth lies between any two clocks: their rates are within ± 1 %.
    let rate =
        |clocks: &mut Chance| i32::try_from(clocks.signed(-9_900, 9_900)).expect("a small number");
    let drawn = if plan.clocks_err { (rate(clocks), rate(clocks)) } else { (0, 0) };
    let fixed = usize::try_from(index).ok().and_then(|index| plan.rates.get(index));
    let (slewed, crystal) = fixed.map_or(drawn, |rate| (*rate, *rate));
    let wall = if plan.clocks_err { clocks.signed(-200_000, 200_000) } else { 0 };
    Machine {
        name: name.clone(),
        clocks: MachineClocks::booted(0, wall, slewed, crystal),
        kernel: Kernel::default(),
        raft_disk: Arc::new(Mutex::new(RaftDisk::new(Chance::of(seed, stream::DISK + index)))),
        memory: Memory::default(),
        chance: Chance::of(seed, stream::MACHINE + index),
        process: None,
        stopped: false,
        paused: None,
        off: false,
        waiting: Vec::new(),
        os_fails: 0,
        os_slow_ms: 0,
        hooks_fail: 0,
        duties: plan.duties.clone(),
        failing: BTreeSet::new(),
        excused: BTreeSet::new(),
        excused_ports: BTreeSet::new(),
        excused_epochs: Vec::new(),
        left_behind: BTreeMap::new(),
        down_for: None,
        excuse_ends: ExcuseEnds::Never,
        excused_process: None,
        set_by: BTreeMap::new(),
    }
}

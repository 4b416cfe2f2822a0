//! The network: directed links that lose, delay, repeat and are cut.
//!
//! What crosses it are whole messages of unary calls over pooled connections: they overtake each
//! other, and what is lost is noticed by a time-out. A message to a node that does not answer is
//! kept by nobody.

use std::{collections::BTreeMap, net::IpAddr};

use vipfence_agent_core::Call;
use vipfence_coordinator_core::{Ask, AskError, HttpId, HttpResult, Reply};
use vipfence_types::{Answer, Heartbeat, NodeId, Refusal};

use crate::{
    chance::Chance,
    seat::{RaftAnswer, RaftRequest},
    time::{At, ms},
};

/// A place of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// A node, by its index.
    Node(usize),
    /// Azure Resource Manager.
    Arm,
    /// The metadata service of a node's VM.
    Imds(usize),
    /// Whoever steers the cluster.
    Operator,
    /// Azure's load balancers.
    Balancer,
    /// Azure's data plane.
    Fabric,
}

/// What is carried.
#[derive(Debug)]
pub(crate) enum Message {
    Raft { call: u64, request: RaftRequest },
    RaftAnswer { call: u64, answer: RaftAnswer },
    Beat { heartbeat: Box<Heartbeat> },
    BeatAnswer { seq: u64, answer: Result<Answer, Refusal> },
    Nudge,
    Arm { id: HttpId, request: Box<azure_sim::ArmRequest> },
    ArmAnswer { id: HttpId, result: Box<HttpResult> },
    Imds,
    ImdsAnswer { token: Result<(String, u64), String> },
    Ask { op: usize, attempt: u32, ask: Box<Ask> },
    AskAnswer { op: usize, attempt: u32, answer: Box<Result<Reply, AskError>> },
    Probe { front: usize, round: u64 },
    Reach { call: Call, address: IpAddr },
    Reached { call: Call, tried: Tried },
    ProbeAnswer { front: usize, round: u64, answered: bool },
}

/// An answer from an address: when it was given, by which node, and whether the address counts as that
/// node's (I1).
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) address: IpAddr,
    pub(crate) at: At,
    pub(crate) by: NodeId,
    pub(crate) counts: bool,
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) from: Spot,
    /// The process that sent it, if a process did.
    pub(crate) from_process: u64,
    pub(crate) to: Spot,
    /// An answer is for one process only.
    pub(crate) to_process: Option<u64>,
    pub(crate) message: Message,
}

/// How a link is at the moment.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    cut: bool,
    lost_permille: u64,
    delay_up_to_ms: u64,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives after so long; more than once if there are several.
    Arrives(Vec<u64>),
    /// It does not.
    Lost,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    links: BTreeMap<(Spot, Spot), Weather>,
    chance: Chance,
    repeats_permille: u64,
}

impl Net {
    pub(crate) fn new(chance: Chance) -> Self {
        Self { links: BTreeMap::new(), chance, repeats_permille: 2 }
    }

    /// Cuts one direction, or joins it again.
    pub(crate) fn cut(&mut self, from: Spot, to: Spot, cut: bool) {
        self.links.entry((from, to)).or_default().cut = cut;
    }

    /// Whether nothing gets through in one direction.
    pub(crate) fn is_cut(&self, from: Spot, to: Spot) -> bool {
        self.links.get(&(from, to)).is_some_and(|weather| weather.cut)
    }

    /// Loses and delays in one direction.
    pub(crate) fn roughen(&mut self, from: Spot, to: Spot, lost_permille: u64, delay_ms: u64) {
        let weather = self.links.entry((from, to)).or_default();
        (weather.lost_permille, weather.delay_up_to_ms) = (lost_permille, delay_ms);
    }

    /// Everything works again.
    pub(crate) fn heal(&mut self) {
        self.links.clear();
        self.repeats_permille = 0;
    }

    /// What becomes of a message that is sent now.
    pub(crate) fn fate(&mut self, from: Spot, to: Spot) -> Fate {
        let weather = self.links.get(&(from, to)).copied().unwrap_or_default();
        if weather.cut || self.chance.permille(weather.lost_permille) {
            return Fate::Lost;
        }
        let mut arrivals = vec![self.latency(from, to, weather)];
        if self.chance.permille(self.repeats_permille) {
            arrivals.push(self.latency(from, to, weather) + ms(1));
        }
        Fate::Arrives(arrivals)
    }

    fn latency(&mut self, from: Spot, to: Spot, weather: Weather) -> At {
        let usual = match (from, to) {
            (Spot::Arm, _) | (_, Spot::Arm) => self.chance.within(ms(3), ms(30)),
            (one, other) if one == other => self.chance.within(10, 60),
            _ if self.chance.one_in(200) => self.chance.within(ms(2), ms(25)),
            _ => self.chance.within(80, 900),
        };
        usual + self.chance.within(0, ms(weather.delay_up_to_ms))
    }
}

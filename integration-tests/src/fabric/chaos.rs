//! Random faults on the fabric, several at a time, from a seed: the order and the lengths of faults
//! repeat, the timing of the machine does not.
//!
//! Faults are dealt like cards, by the hand: none comes again before all have been. So every run says
//! how often each has hit, and none can have been forgotten. I1 is proved over the whole run; after
//! each hand all faults heal, and the cluster must settle (I6).

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::{FabricCluster, Fault};
use crate::Dice;

/// A fault lasts at most two leases of the fast profile; a little more than one at a time, so that
/// there is mostly a majority and something to lose.
const LONGEST: Duration = Duration::from_secs(8);
/// Each way; Raft of the fast profile beats every 75 ms.
const SLOWEST: Duration = Duration::from_millis(60);
const PAUSE: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    KillAgent,
    KillNode,
    FreezeAgent,
    FreezeNode,
    Cut,
    Mute,
    Deaf,
    OneWay,
    Part,
    WithoutAzure,
    Lossy,
    Slow,
    PullCable,
    BounceInterface,
    Move,
    StepDown,
}

use Deed::{
    BounceInterface, Cut, Deaf, FreezeAgent, FreezeNode, KillAgent, KillNode, Lossy, Move, Mute,
    OneWay, Part, PullCable, Slow, StepDown, WithoutAzure,
};

const ALL: [Deed; 16] = [
    KillAgent,
    KillNode,
    FreezeAgent,
    FreezeNode,
    Cut,
    Mute,
    Deaf,
    OneWay,
    Part,
    WithoutAzure,
    Lossy,
    Slow,
    PullCable,
    BounceInterface,
    Move,
    StepDown,
];

/// How to make good again what a deed did.
#[derive(Debug)]
enum Undo {
    StartAgent(String),
    StartNode(String),
    Thaw(String),
    Heal(Vec<Fault>),
    PutCableBack(String),
}

impl Undo {
    fn run(self, cluster: &FabricCluster) {
        match self {
            Self::StartAgent(node) => cluster.start_agent(&node),
            Self::StartNode(node) => cluster.start_node(&node),
            Self::Thaw(node) => cluster.thaw(&node),
            Self::Heal(over) => cluster.fabric.heal_if(|fault| over.contains(fault)),
            Self::PutCableBack(node) => cluster.fabric.put_cable_back(&node),
        }
    }

    /// The node whose processes do not run until then.
    fn process(&self) -> Option<&str> {
        match self {
            Self::StartAgent(node) | Self::StartNode(node) | Self::Thaw(node) => Some(node),
            Self::Heal(_) | Self::PutCableBack(_) => None,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Turmoil {
    /// How often each fault hit.
    pub deeds: BTreeMap<String, usize>,
    /// Probes of the client, and how many of them were not answered.
    pub probes: (usize, usize),
    /// The longest time without an answer.
    pub outage: Duration,
    /// How often the address came to another node.
    pub passed_on: usize,
}

/// Stirs a cluster for `length`, or a little longer, and proves I1. After each hand of faults all of
/// them heal, and the cluster must settle.
///
/// # Panics
/// If two nodes had the address at once, or the cluster does not settle.
#[must_use]
pub fn stir(cluster: FabricCluster, dice: &mut Dice, length: Duration) -> Turmoil {
    let start = Instant::now();
    let pinger = cluster.pinger();
    let mut deeds = BTreeMap::new();
    while start.elapsed() < length {
        for undo in hand(&cluster, dice, &mut deeds, start) {
            undo.run(&cluster);
        }
        let healed = Instant::now();
        cluster.settled();
        pinger.answer(healed, Duration::from_secs(20), |_| true);
        println!(
            "{:>6.1} s  settled after {:.1?}",
            start.elapsed().as_secs_f64(),
            healed.elapsed()
        );
    }
    let pings = pinger.stop();
    let history = cluster.proves_one_holder();
    Turmoil {
        deeds,
        probes: (pings.0.len(), pings.lost()),
        outage: pings.longest_outage(),
        passed_on: history.passed_through().len(),
    }
}

/// Every fault once, in any order. Returns what has not been made good again.
fn hand(
    cluster: &FabricCluster,
    dice: &mut Dice,
    deeds: &mut BTreeMap<String, usize>,
    start: Instant,
) -> Vec<Undo> {
    let mut open: Vec<(Instant, Undo)> = Vec::new();
    let mut cards = ALL;
    dice.shuffle(&mut cards);
    for deed in cards {
        // The rhythm of the faults themselves.
        thread::sleep(dice.time_below(PAUSE));
        let now = Instant::now();
        let (due, later) = open.into_iter().partition(|(at, _)| *at <= now);
        open = later;
        for (_, undo) in due {
            undo.run(cluster);
        }
        // Stopping a process that is stopped would only be a second word for it.
        let busy: Vec<&str> = open.iter().filter_map(|(_, undo)| undo.process()).collect();
        let mut nodes = cluster.fabric.names();
        nodes.retain(|node| !busy.contains(&node.as_str()));
        if nodes.is_empty() {
            continue;
        }
        // Half of them hit whoever has the VIP: there is most to go wrong.
        let holder = cluster.fabric.attached().into_values().find(|node| nodes.contains(node));
        let any = dice.pick(&nodes).clone();
        let node = holder.filter(|_| dice.below(2) == 0).unwrap_or(any);
        println!("{:>6.1} s  {deed:?} {node}", start.elapsed().as_secs_f64());
        let undo = act(cluster, deed, node, dice);
        open.extend(undo.map(|undo| (Instant::now() + dice.time_below(LONGEST), undo)));
        *deeds.entry(format!("{deed:?}")).or_default() += 1;
    }
    open.into_iter().map(|(_, undo)| undo).collect()
}

fn act(cluster: &FabricCluster, deed: Deed, node: String, dice: &mut Dice) -> Option<Undo> {
    let fabric = &cluster.fabric;
    let peer = cluster.another(&[&node]);
    let faults = match deed {
        KillAgent => {
            let _ = cluster.kill_agent(&node);
            return Some(Undo::StartAgent(node));
        }
        KillNode => {
            let _ = cluster.kill_node(&node);
            return Some(Undo::StartNode(node));
        }
        FreezeAgent => {
            let _ = cluster.freeze_agent(&node);
            return Some(Undo::Thaw(node));
        }
        FreezeNode => {
            let _ = cluster.freeze_node(&node);
            return Some(Undo::Thaw(node));
        }
        PullCable => {
            fabric.pull_cable(&node);
            return Some(Undo::PutCableBack(node));
        }
        BounceInterface => {
            fabric.bounce_interface(&node);
            return None;
        }
        Move => {
            // Refused, or without a quorum: both are answers.
            let _ = cluster.command(&["move", "demo", "--to", &node, "--no-wait"]);
            return None;
        }
        StepDown => {
            let _ = cluster.api(&node).step_down();
            return None;
        }
        Cut => vec![Fault::Cut(node)],
        Mute => vec![Fault::Mute(node)],
        Deaf => vec![Fault::Deaf(node)],
        OneWay => vec![Fault::OneWay(node, peer)],
        Part => Fault::between(&node, &peer).to_vec(),
        WithoutAzure => vec![Fault::WithoutAzure(node)],
        Slow => vec![Fault::Slow(node, Duration::from_millis(5) + dice.time_below(SLOWEST))],
        Lossy => vec![Fault::Lossy(node, 10 + u8::try_from(dice.below(50)).unwrap_or(50))],
    };
    fabric.suffer(faults.clone());
    Some(Undo::Heal(faults))
}

//! The oracle: the invariants of design.md §3, checked after every event against the true state of
//! the world, never against what nodes say of themselves.
//!
//! One file an invariant or two, one named function each, with its sentence. What the cluster has
//! agreed on is known from an own replica of the log: the first node that applies an entry shows
//! it, every other one must show the same.
//!
//! The exceptions are the named ones of design.md §11 and nothing else: addresses that a pause of
//! the machine preserved, until the agent has dealt with it (a); what an outsider has touched in
//! Azure, until the VIP is held again (b).

mod answers;
mod azure;
mod converge;
mod data_path;
mod epochs;
mod holders;
mod leaders;
mod log;
mod moves;
mod steps;
mod tasks;

use core::fmt;
use std::net::IpAddr;

use azure_sim::AdminCommand;
use vipfence_agent_core::{self as agent, HeldVip, Task};
use vipfence_coordinator_core::{Ask, AskError, Reply};
use vipfence_types::{Epoch, MoveId, NodeId, VipName};

use crate::{
    process::{Fact, TaskFact},
    sometimes::Sometimes,
    time::At,
    timeline::Timeline,
};

pub(crate) use azure::addresses_of;
pub(crate) use converge::unconverged;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number, as in `I1`.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is violated: {}", self.invariant, self.what)
    }
}

pub(crate) type Verdict = Result<(), Violation>;

/// Refuses with the invariant's number.
pub(crate) fn violated(invariant: &'static str, what: String) -> Verdict {
    Err(Violation { invariant, what })
}

/// What the oracle must know of a node.
pub trait Node {
    /// Its name.
    fn name(&self) -> &NodeId;

    /// Whether an address is on its OS, as I1 counts: not on a machine that stands still, and not
    /// where an exception is named.
    fn counts_as_having(&self, address: IpAddr) -> bool;

    /// Whether it answers a load balancer's probe of this port now, as I1 counts.
    fn answers_probe(&self, _now: At, _port: u16) -> bool {
        false
    }

    /// What its agent believes to be entitled to now; nothing where nothing runs.
    fn entitled(&self, now: At) -> Vec<HeldVip>;

    /// Whether its disk says that an epoch of an address is spent.
    fn has_spent(&self, vip: &VipName, address: IpAddr, epoch: Epoch) -> bool;

    /// Whether its disk says that an epoch of a VIP is spent; none = not known here.
    fn has_spent_by_name(&self, _vip: &VipName, _epoch: Epoch) -> Option<bool> {
        None
    }

    /// Whether the exception of design.md §11 (a) is in force for it.
    fn is_excused(&self) -> bool;
}

/// All nodes there are.
pub trait Nodes {
    /// How many.
    fn count(&self) -> usize;

    /// One of them, by its index.
    fn node(&self, index: usize) -> &dyn Node;
}

impl<N: Node> Nodes for Vec<N> {
    fn count(&self) -> usize {
        self.len()
    }

    fn node(&self, index: usize) -> &dyn Node {
        &self[index]
    }
}

/// The true state of the world.
pub struct Truth<'a> {
    /// The true time.
    pub now: At,
    /// The nodes.
    pub machines: &'a dyn Nodes,
    /// Azure.
    pub azure: &'a azure_sim::World,
}

impl<'a> Truth<'a> {
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'a dyn Node> + use<'a> {
        let nodes = self.machines;
        (0..nodes.count()).map(move |index| nodes.node(index))
    }
}

/// See the module.
pub(crate) struct Oracle {
    pub(crate) log: log::Log,
    holders: holders::Holders,
    epochs: epochs::Epochs,
    leaders: leaders::Leaders,
    pub(crate) azure: azure::Azure,
    moves: moves::Moves,
    answers: answers::Answers,
    paths: data_path::Paths,
    pub(crate) tasks: tasks::Tasks,
    /// Says nothing about contracts that hold the invariants up, until an invariant falls.
    pub(crate) only_consequences: bool,
}

impl Oracle {
    pub(crate) fn new(azure: &azure_sim::World) -> Self {
        Self {
            log: log::Log::default(),
            holders: holders::Holders::default(),
            epochs: epochs::Epochs::default(),
            leaders: leaders::Leaders::default(),
            azure: azure::Azure::new(azure),
            moves: moves::Moves::default(),
            answers: answers::Answers::default(),
            paths: data_path::Paths::default(),
            tasks: tasks::Tasks::default(),
            only_consequences: false,
        }
    }

    /// Takes note of something that a process did.
    pub(crate) fn learn(
        &mut self,
        truth: &Truth<'_>,
        (node, process): (usize, u64),
        fact: Fact,
        sometimes: &mut Sometimes,
        timeline: &mut Timeline,
    ) -> Verdict {
        let name = truth.machines.node(node).name();
        match fact {
            Fact::Committed(commit) => {
                if let Some(news) = self.log.take(node, commit)? {
                    timeline.note(truth.now, || news.told(name));
                    if !self.only_consequences {
                        steps::found_unchanged(&self.log, &news)?;
                        self.holders.entry(truth, &self.log, &news)?;
                    }
                    self.epochs.entry(truth, &self.log, &news)?;
                    self.answers.entry(truth, &self.log);
                    self.moves.entry(&self.log, &news, sometimes)?;
                    self.paths.entry(truth, &self.log, &news, sometimes)?;
                    self.azure.entry(truth, &self.log, &news, &self.epochs, sometimes)?;
                }
                Ok(())
            }
            Fact::Leadership(leadership) => {
                timeline.note(truth.now, || format!("{name}: {leadership:?}"));
                self.leaders.sees(process, node, &leadership)
            }
            Fact::HandedOver(handed) => {
                timeline.note(truth.now, || {
                    let request = &handed.request;
                    let nic = request.path.rsplit('/').next().unwrap_or_default();
                    let nic = nic.split('?').next().unwrap_or_default();
                    format!("{name}: sends {:?} {nic}", request.method)
                });
                self.leaders.writes(truth, name, &handed)?;
                self.azure.handed_over(truth, process, &handed)
            }
            Fact::Agent(event) => {
                timeline.note(truth.now, || format!("{name}: {event:?}"));
                let agent::Event::Released { vip, epoch } = event else { return Ok(()) };
                self.tasks.confirmed(node, name, &vip)?;
                match self.only_consequences {
                    true => Ok(()),
                    false => self.epochs.released(truth, node, &vip, epoch),
                }
            }
            Fact::Set { vip, epoch, address } => {
                timeline.note(truth.now, || format!("{name}: sets {address} ({vip} {epoch})"));
                self.holders.changed();
                self.epochs.address_set(truth, node, &vip, epoch, address)?;
                self.tasks.address_set(name, &vip, epoch)?;
                if self.only_consequences {
                    return Ok(());
                }
                self.holders.address_set(truth, node, &vip, epoch)
            }
            Fact::Opened { vip, port, epoch } => {
                timeline.note(truth.now, || {
                    format!("{name}: answers the probe of port {port} ({vip} {epoch})")
                });
                self.holders.changed();
                self.epochs.probe_answered(name, &vip, epoch)
            }
            Fact::Reached(tried) => {
                timeline.note(truth.now, || format!("{name}: is answered: {tried:?}"));
                self.paths.answered(&self.log, name, tried, sometimes);
                Ok(())
            }
            Fact::NotReached => {
                sometimes.saw("a VIP is not reached in time");
                timeline.note(truth.now, || format!("{name}: reaches nobody"));
                Ok(())
            }
            Fact::Dropped { address } => {
                timeline.note(truth.now, || format!("{name}: drops {address}"));
                self.holders.changed();
                Ok(())
            }
            Fact::Told { vip, addresses } => {
                timeline.note(truth.now, || format!("{name}: tells clients of {vip}"));
                sometimes.saw("clients were told that their connections are over");
                self.holders.told(truth, &self.log, node, &vip, &addresses)
            }
            Fact::Task { vip, epoch, task, what } => {
                timeline
                    .note(truth.now, || format!("{name}: {task} of {vip} at {epoch}: {what:?}"));
                match (task, what) {
                    (_, TaskFact::Aborted) => sometimes.saw("a task around a VIP was aborted"),
                    (_, TaskFact::Ended { well: false }) => {
                        sometimes.saw("a task around a VIP failed");
                    }
                    (Task::OnFault, TaskFact::Begun) => sometimes.saw("a hook ran for a fault"),
                    (Task::PostRelease, TaskFact::Begun) => {
                        sometimes.saw("a hook ran after a planned release");
                    }
                    (_, TaskFact::Begun | TaskFact::Ended { well: true }) => {}
                }
                self.tasks.task(truth.now, (node, name), (vip, epoch, task), what)
            }
            Fact::WroteWhileThrottled => {
                violated("Budget", format!("{name} writes before the time that Azure has named"))
            }
            Fact::Http(what) => {
                sometimes.saw(match what {
                    "write window passed" => "a write window passed",
                    "writes are throttled" => "Azure throttled the leader's writes",
                    _ => "an outcome is unknown",
                });
                timeline.note(truth.now, || format!("{name}: {what}"));
                Ok(())
            }
            Fact::BeatAnswered { .. } => Ok(()),
            Fact::MakesWay => {
                sometimes.saw("a leader that Azure does not answer makes way");
                timeline.note(truth.now, || format!("{name}: makes way for another leader"));
                Ok(())
            }
            Fact::BeatTaken { beat } => {
                self.answers.taken(truth, process, beat);
                Ok(())
            }
            Fact::BeatGranted { .. } if self.only_consequences => Ok(()),
            Fact::BeatGranted { beat, grants } => {
                self.answers.granted(name, process, beat, &grants)
            }
            Fact::RaftStopped(why) => {
                timeline.note(truth.now, || format!("{name}: Raft has stopped: {why}"));
                Ok(())
            }
            Fact::AgentStopped => {
                timeline.note(truth.now, || format!("{name}: the agent has stopped"));
                Ok(())
            }
        }
    }

    /// Everything that is checked after every event.
    pub(crate) fn check(
        &mut self,
        truth: &Truth<'_>,
        sometimes: &mut Sometimes,
        timeline: &mut Timeline,
    ) -> Verdict {
        self.azure.follow(truth, &self.log, sometimes, timeline)?;
        self.holders.one_holder(truth, &self.log)
    }

    /// An operator is answered.
    pub(crate) fn acknowledged(&self, ask: &Ask, answer: &Result<Reply, AskError>) -> Verdict {
        self.moves.acknowledged(&self.log, ask, answer)
    }

    /// The end of a run: what was acknowledged is held against the log.
    pub(crate) fn at_the_end<'a>(
        &self,
        acknowledged: impl Iterator<Item = (MoveId, Option<&'a VipName>)>,
    ) -> Verdict {
        self.moves.acknowledged_moves_survive(&self.log, acknowledged)
    }

    /// The log is lost everywhere. Epochs go on all the same (I5).
    pub(crate) fn log_is_lost(&mut self) {
        self.log = log::Log::default();
        self.leaders = leaders::Leaders::default();
        self.moves = moves::Moves::default();
        self.answers = answers::Answers::default();
        self.azure.log_is_lost();
    }

    pub(crate) fn outsider(&mut self, command: &AdminCommand) {
        self.azure.outsider(command);
    }

    /// Addresses went without anybody's doing: by their lifetimes, or with the machine.
    pub(crate) fn kernel_changed(&mut self) {
        self.holders.changed();
    }

    pub(crate) fn process_ended(&mut self, process: u64, sometimes: &mut Sometimes) {
        self.azure.process_ended(process, sometimes);
    }
}

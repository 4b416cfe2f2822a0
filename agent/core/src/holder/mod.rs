//! The machine itself.

mod answer;
mod outcome;
mod plan;
mod sighted;
mod stop;
mod tasks;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;
use vipfence_types::{
    BootId, Clocks, ClusterName, Connection, Cut, Epoch, Heartbeat, Mutation, NicRecord,
    NodeHealth, NodeId, VipEpoch, VipName, VipReport,
};

pub(crate) use self::sighted::Meddling;
use self::stop::Course;
use crate::pulse::{Contact, Pulse};
use crate::reach::Reaches;
use crate::record::{Record, Sweep};
use crate::service::Service;
use crate::tell::Tells;
use crate::{Call, Effect, EndCause, Event, Input, Spent, Start};

/// Decides what this node may hold, and when it has let go (design.md §6).
///
/// One of these per VIP (e = epoch, e' > e; a VIP of which nothing is known stands at "none"):
///
/// ```text
///              grant e                    grant e: renewed; grant e': the address stays
///   none ------------------> Holding e <--------------------------------------+
///    ^                         |    |                                         |
///    |   lease over, or in     |    | releasing e, beside a grant or alone    | grant e'
///    |   neither list          v    v                                         |
///    |                     Dropping, nothing owed   Dropping, e owed ---------+
///    |                         |                        | read back without   |
///    +-------------------------+                        v                     |
///    |    read back without                        Spending e ----------------+
///    |                                                  | on disk             |
///    |     the leader mentions it no more at e          v                     |
///    +--------------------------------------------- Confirming e -------------+
/// ```
///
/// - Only an answer leads to Holding; it ends by the node's own clocks, the longest of all (I1).
/// - An epoch that is spent, for the VIP's name or one of its addresses, never leads to Holding
///   again (I5). It is spent on disk before it is confirmed (attacks H1 and V2).
/// - A release is confirmed only from Confirming, and the only way there is through a read back
///   of the kernel, also from "none" (I8).
/// - The kernel has the address only under a finite lifetime that ends with the lease, so I1
///   rests on no code that has to run in time.
///
/// Tasks around a VIP ([`Duties`](crate::Duties)) hold up three of these arrows, and no other: the
/// first add waits for `PreAcquire`; a Holding that is asked to leave, *beside a grant*, stays until
/// the tasks before the drop are done; and Spending waits until the units were stopped.
///
/// A machine lives for one boot. Deliberately not here: what a leader decides, and any I/O.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Holder {
    cluster: ClusterName,
    pub(crate) node: NodeId,
    pub(crate) boot: BootId,
    replaces: Vec<BootId>,
    nics: Vec<NicRecord>,
    version: String,
    pub(crate) health: NodeHealth,
    /// The VIPs whose health checks fail here, and why.
    failing: BTreeMap<VipName, String>,
    pub(crate) pulse: Pulse,
    pub(crate) records: BTreeMap<VipName, Record>,
    /// The connections that were cut of VIPs that are on their way out: for the next holder.
    cuts: BTreeMap<VipName, Vec<Connection>>,
    /// What is done around VIPs, for those around which there is anything to do.
    pub(crate) services: BTreeMap<VipName, Service>,
    /// What others hold and the leader wants reached from here.
    reaches: Reaches,
    /// What clients of VIPs that this node holds are to be told.
    tells: Tells,
    /// What is spent, or may be: a flush that is under way, or failed, may have reached the disk.
    spent: Spent,
    /// What is spent on disk for sure.
    durable: Spent,
    /// What is on its way there.
    writing: BTreeMap<Call, Writing>,
    /// Every address of a VIP of this cluster, as far as is known here. Only to take off with.
    managed: BTreeSet<IpAddr>,
    pub(crate) sweep: Sweep,
    pub(crate) meddling: Option<Meddling>,
    /// Grants of the newest answer that were not taken.
    pub(crate) refused: BTreeSet<VipEpoch>,
    /// VIPs whose lease ended since the last answer.
    pub(crate) lapsed: BTreeSet<VipName>,
    /// A leader has answered this boot.
    pub(crate) joined: bool,
    /// When this machine was last told anything: it wants to look at the clocks twice a second.
    looked: Clocks,
    /// VIPs that no node takes over from this one, which is stopping; and why.
    pub(crate) nowhere: BTreeMap<VipName, String>,
    highest_epoch: Epoch,
    course: Course,
    last_call: u64,
}

/// Whoever runs a machine looks at the clocks at least this often, and steps the machine: its own
/// timers stand still while the node sleeps, and see no clock step.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So much more is a pause, of the process or of its whole machine; and so much is a clock step.
const GAP: Duration = Duration::from_millis(500);

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A flush under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Writing {
    vip: VipName,
    addresses: Vec<IpAddr>,
    epoch: Epoch,
}

impl Holder {
    /// An agent starts: entitled to nothing, and with a first heartbeat to send as soon as nothing
    /// is on the OS that would stay there by itself.
    #[must_use]
    pub fn start(now: Clocks, start: Start) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        let services = tasks::services(now, &start, &mut effects);
        let served = start.serving.values().map(|serving| serving.epoch).max().unwrap_or_default();
        let mut holder = Self {
            sweep: Sweep::of(&start.found),
            services,
            managed: start.managed,
            meddling: None,
            highest_epoch: start.highest_epoch.max(start.spent.highest()).max(served),
            pulse: Pulse::new(start.heartbeat),
            cluster: start.cluster,
            node: start.node,
            boot: start.boot,
            replaces: start.replaces,
            nics: start.nics,
            version: start.version,
            durable: start.spent.clone(),
            spent: start.spent,
            health: NodeHealth::default(),
            failing: BTreeMap::new(),
            reaches: Reaches::default(),
            tells: Tells::default(),
            records: BTreeMap::new(),
            cuts: BTreeMap::new(),
            writing: BTreeMap::new(),
            refused: BTreeSet::new(),
            lapsed: BTreeSet::new(),
            joined: false,
            looked: now,
            nowhere: BTreeMap::new(),
            course: Course::Running,
            last_call: 0,
        };
        holder.settle(now, &mut effects);
        (holder, effects)
    }

    /// Takes one input and says what to do, in order. `now` is read right before the call, and
    /// never after the input itself.
    #[must_use]
    pub fn step(&mut self, now: Clocks, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.course == Course::Stopped {
            return effects;
        }
        self.notice_a_gap(now, &mut effects);
        match input {
            Input::Answered { boot, answer } => {
                if boot == self.boot {
                    self.answered(now, answer, &mut effects);
                }
            }
            Input::Refused { boot, seq, refusal } => {
                if boot == self.boot {
                    self.beat_failed(now, seq, Contact::of_refusal(refusal), &mut effects);
                }
            }
            Input::Unreachable { boot, seq, problem } => {
                if boot == self.boot {
                    self.beat_failed(now, seq, Contact::Silent(problem), &mut effects);
                }
            }
            Input::Nudged => self.pulse.nudge(),
            Input::Added { call, at } => self.added(call, at, &mut effects),
            Input::AddFailed { call, problem } => {
                self.add_failed(now, call, problem, &mut effects);
            }
            Input::Cut { call, connections } => self.cut(call, &connections),
            Input::Dropped { call } => self.dropped(call, &mut effects),
            Input::DropFailed { call, .. } if Mutation::ConfirmedWithoutReadBack.is_on() => {
                self.dropped(call, &mut effects);
            }
            Input::DropFailed { call, problem } => {
                self.drop_failed(now, call, &problem, &mut effects);
            }
            Input::Persisted { call } => self.persisted(call, &mut effects),
            Input::PersistFailed { call, problem } => {
                self.persist_failed(now, call, problem, &mut effects);
            }
            Input::Managed { addresses } => self.managed_are(addresses),
            Input::Sighted(sighting) => self.sighted(now, sighting, &mut effects),
            Input::Ran { call, outcome } => self.ran(call, &outcome, &mut effects),
            Input::Checked { vip, failing } => self.checked(vip, failing),
            Input::Reached { call, answered } => {
                if self.reaches.tried(now, call, answered) {
                    self.pulse.hurry();
                }
            }
            Input::Health { arm_ok, detail } => self.health_is(arm_ok, detail),
            Input::HeartbeatEvery { interval } => self.pulse.every(interval),
            Input::Stop { on_stop, within } => self.begin_stop(now, on_stop, within),
            Input::Tick => {}
        }
        self.settle(now, &mut effects);
        effects
    }

    /// How long until this machine wants a [`Input::Tick`]; none = never again.
    #[must_use]
    pub fn next_deadline(&self, now: Clocks) -> Option<Duration> {
        if self.course == Course::Stopped {
            return None;
        }
        let silent = self.is_silent();
        let mut wait = self.sweep.wait(now);
        if self.may_beat() {
            wait = wait.min(self.pulse.wait(now));
        }
        for (vip, record) in &self.records {
            wait = wait.min(record.wait(now, silent, self.is_held_up(vip, record)));
        }
        for service in self.services.values() {
            wait = wait.min(service.wait(now));
        }
        wait = wait.min(self.reaches.wait(now)).min(self.tells.wait(now, &self.records));
        Some(wait.min(self.stop_wait(now)))
    }

    /// Says that time has gone by unseen. What that ends is dropped in this very step, because every
    /// timer counts by the clock that shows the most; there is no other rule for a pause.
    fn notice_a_gap(&mut self, now: Clocks, fx: &mut Vec<Effect>) {
        let before = core::mem::replace(&mut self.looked, now);
        let stood = now.unseen_since(before);
        let stepped = now.wall_stepped_since(before);
        if stood > LOOK_EVERY + GAP {
            let held = self.held_at(before);
            fx.push(Effect::Event(Event::Paused { gap: stood, held }));
        }
        if stepped.unsigned_abs() > micros(GAP) {
            fx.push(Effect::Event(Event::WallStepped { by_us: stepped }));
        }
    }

    fn held_at(&self, moment: Clocks) -> Vec<VipName> {
        self.view(moment).held.into_iter().map(|held| held.vip).collect()
    }

    fn health_is(&mut self, arm_ok: Option<bool>, detail: String) {
        if self.health.arm_ok != arm_ok || self.health.detail != detail {
            self.health.arm_ok = arm_ok;
            self.health.detail = detail;
            self.pulse.hurry();
        }
    }

    pub(super) fn heartbeat(&self, now: Clocks) -> Heartbeat {
        let mut held = Vec::new();
        let mut released = Vec::new();
        let (mut cut, mut room) = (Vec::new(), Connection::PER_MESSAGE);
        for (vip, record) in &self.records {
            match record {
                Record::Holding(holding) => held.push(VipReport {
                    at: at(vip, holding.epoch),
                    added: holding.is_added(now),
                    problem: holding.kernel.problem.clone(),
                    unfit: self.unfit(vip, holding.epoch),
                }),
                Record::Dropping(dropping) => {
                    // Not held any more, but it hinders whoever waits for the confirmation.
                    if let Some(epoch) = dropping.owed.filter(|_| !dropping.problem.is_empty()) {
                        held.push(VipReport {
                            at: at(vip, epoch),
                            added: false,
                            problem: dropping.problem.clone(),
                            unfit: String::new(),
                        });
                    }
                }
                Record::Spending(_) => {}
                Record::Confirming(epoch) => {
                    released.push(at(vip, *epoch));
                    if let Some(cuts) = self.cuts.get(vip) {
                        let connections: Vec<_> = cuts.iter().take(room).copied().collect();
                        room -= connections.len();
                        cut.push(Cut { at: at(vip, *epoch), connections });
                    }
                }
            }
        }
        Heartbeat {
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            boot: self.boot.clone(),
            replaces: self.replaces.clone(),
            seq: self.pulse.next_seq(),
            held,
            released,
            cut,
            refused: self.refused.iter().cloned().collect(),
            highest_epoch: self.highest_epoch,
            nics: self.nics.clone(),
            health: self.told_health(),
            failing: self.failing(),
            reached: self.reaches.reached(),
            version: self.version.clone(),
        }
    }

    fn told_health(&self) -> NodeHealth {
        let mut health = NodeHealth { stopping: self.moves_away(), ..self.health.clone() };
        if self.keeps() {
            // Not for people alone: a heartbeat that says nothing new may wait for its answer, and
            // that wait would be missing from the time that the restart may take.
            let separator = if health.detail.is_empty() { "" } else { "; " };
            health.detail = format!("{}{separator}stopping; it keeps what it holds", health.detail);
        }
        health
    }

    /// A node that may still have an address without an end of its own, to which nothing entitles
    /// it, takes no part: a heartbeat would make it eligible. While the OS refuses to let go of the
    /// address the node stays out, and says why in its view.
    fn may_beat(&self) -> bool {
        !self.sweep.before_joining && !self.is_stopped()
    }

    /// No answer comes, and not because a leader turned this node away.
    fn is_silent(&self) -> bool {
        matches!(self.pulse.contact, Contact::Silent(_))
    }

    fn call(&mut self) -> Call {
        self.last_call += 1;
        Call(self.last_call)
    }

    /// Every address of every VIP that is held.
    fn held_addresses(&self) -> BTreeSet<IpAddr> {
        let mut all = BTreeSet::new();
        for record in self.records.values() {
            if let Record::Holding(holding) = record {
                all.extend(holding.addresses.iter().map(|one| one.address));
            }
        }
        all
    }

    /// Tells that an entitlement has ended. No heartbeat hurries because of it: one in flight
    /// would only delay the confirmation.
    fn announce_end(
        &mut self,
        now: Clocks,
        vip: &VipName,
        epoch: Epoch,
        cause: EndCause,
        fx: &mut Vec<Effect>,
    ) {
        if cause == EndCause::LeaseEnded {
            self.lapsed.insert(vip.clone());
        }
        self.tasks_hear_of_end(now, vip, epoch, cause);
        fx.push(Effect::Event(Event::NotEntitled { vip: vip.clone(), epoch, cause }));
    }
}

fn at(vip: &VipName, epoch: Epoch) -> VipEpoch {
    VipEpoch { vip: vip.clone(), epoch }
}

//! A process: the machines of one agent and the thin shells around them, as the product has them.
//!
//! Here is no decision about a lease, an epoch or a term, as in the product's shells: receive, step,
//! carry out in order, feed back. What takes time comes back as a [`Local`] event, so that a process
//! that is stopped meets all of it later.
//!
//! Here is who a process is, how it starts, and to whom it gives what is due and what arrives. The
//! shells stand in the modules: Raft in `consensus`, the coordinator in `driver`, Azure in `arm`,
//! the holder in `node`, its OS in `os`, its disk in `disk` and what it runs in `tasks`; what crosses the border to the world
//! in `outside`.

mod arm;
mod consensus;
mod disk;
mod driver;
mod node;
mod os;
mod outside;
mod tasks;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use vipfence_agent_core::{self as agent, Holder, OnStop, Start};
use vipfence_coordinator_core::{
    self as core, AskError, AskId, BeatId, Coordinator, HttpFault, HttpId, Method, RoundId, Setup,
};
use vipfence_types::{BootId, Clocks, VipName};

use crate::{
    chance::Chance,
    net::{Message, Packet, Spot},
    seat::{Leadership, RaftDisk, Roster, Seat},
    time::ms,
};

pub(crate) use disk::Memory;
pub(crate) use outside::{Asked, Fact, HandedOver, Host, Identity, Local, Out, TaskFact};

use disk::DiskCall;
use os::OsCall;
use tasks::Job;

/// The shell looks at the clocks at least this often.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// How many earlier boots an agent names.
const BOOTS_KEPT: usize = 8;

/// See the module.
pub(crate) struct Process {
    me: Identity,
    boot: BootId,
    roster: Arc<Roster>,
    seat: Seat,
    coordinator: Coordinator,
    holder: Holder,
    leadership: Leadership,
    raft_serial: u64,
    driver_serial: u64,
    holder_serial: u64,
    next: u64,
    os: VecDeque<OsCall>,
    disk: VecDeque<DiskCall>,
    /// What runs around VIPs, what is not to be begun, and what could not be noted before.
    jobs: BTreeMap<agent::Call, Job>,
    aborted: BTreeSet<agent::Call>,
    /// Connections to VIPs that are tried.
    reaching: BTreeSet<agent::Call>,
    unwritten: BTreeMap<VipName, Option<agent::Serving>>,
    /// The newest applied state that the driver has not seen.
    applied: Option<(u64, Arc<core::Registry>)>,
    beats: BTreeMap<BeatId, (Spot, u64, u64)>,
    asks: BTreeMap<AskId, (usize, u32)>,
    /// Requests to ARM that are awaited.
    requests: BTreeMap<HttpId, Method>,
    /// When Azure last said that this identity writes too often, and for how long it is to wait.
    throttled: Option<(Clocks, Duration)>,
    token: Option<(String, u64)>,
    arm_ok: Option<bool>,
    rounds_begun: BTreeMap<RoundId, Clocks>,
    rounds: VecDeque<(Clocks, core::Confirmed)>,
    heartbeat_every: Option<Duration>,
    /// The addresses of all VIPs, as the node was told.
    managed: BTreeSet<IpAddr>,
    /// What a look at the OS has found to be changed by others, and the node was told.
    sighted: BTreeSet<IpAddr>,
    last_seq: u64,
    node_steps: u64,
    stopped: bool,
    /// When this node last had a leader: since then it stands for election, or waits for one.
    stands_since: Clocks,
}

impl Process {
    /// An agent starts.
    pub(crate) fn start(
        me: Identity,
        setup: Setup,
        roster: &Arc<Roster>,
        raft_disk: &Arc<Mutex<RaftDisk>>,
        host: &mut Host<'_>,
        out: &mut Out,
    ) -> Self {
        let boot = BootId::from(format!("{}-{}", me.node, me.number));
        let start = Start {
            cluster: setup.cluster.clone(),
            node: me.node.clone(),
            boot: boot.clone(),
            replaces: host.memory.boots.clone(),
            nics: me.nics.clone(),
            version: "world".to_owned(),
            heartbeat: me.timing.agent_heartbeat(),
            spent: host.memory.spent.clone(),
            highest_epoch: host.memory.highest_epoch.max(host.memory.spent.highest()),
            managed: BTreeSet::new(),
            duties: host.duties.clone(),
            serving: host.memory.serving.clone(),
            found: host.kernel.found(host.now.mono_us),
        };
        host.memory.boots.insert(0, boot.clone());
        host.memory.boots.truncate(BOOTS_KEPT);
        let seat = Seat::take(&me.node, roster, me.timing, raft_disk);
        let (holder, effects) = Holder::start(host.now, start);
        let mut process = Self {
            coordinator: Coordinator::new(setup, host.now),
            me,
            boot,
            roster: Arc::clone(roster),
            seat,
            holder,
            leadership: Leadership::default(),
            raft_serial: 0,
            driver_serial: 0,
            holder_serial: 0,
            next: 0,
            os: VecDeque::new(),
            disk: VecDeque::new(),
            jobs: BTreeMap::new(),
            aborted: BTreeSet::new(),
            reaching: BTreeSet::new(),
            unwritten: BTreeMap::new(),
            applied: None,
            beats: BTreeMap::new(),
            asks: BTreeMap::new(),
            requests: BTreeMap::new(),
            throttled: None,
            token: None,
            arm_ok: None,
            rounds_begun: BTreeMap::new(),
            rounds: VecDeque::new(),
            heartbeat_every: None,
            managed: BTreeSet::new(),
            sighted: BTreeSet::new(),
            last_seq: 0,
            node_steps: 0,
            stopped: false,
            stands_since: Clocks::default(),
        };
        process.run_raft(host, out);
        process.carry_out_node(effects, host, out);
        process.drive(core::Input::Tick, host, out);
        out.locals.push((ms(1), Local::Token));
        process
    }

    pub(crate) fn number(&self) -> u64 {
        self.me.number
    }

    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    pub(crate) fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// The number of the last heartbeat that was sent.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// How many steps the node's machine has taken.
    pub(crate) fn node_steps(&self) -> u64 {
        self.node_steps
    }

    /// Whether a quorum round of its own goes on.
    pub(crate) fn has_round_under_way(&self) -> bool {
        !self.rounds_begun.is_empty()
    }

    /// Something else is about to change an address: it was not seen yet.
    pub(crate) fn forget_sighting(&mut self, address: IpAddr) {
        self.sighted.remove(&address);
    }

    /// Whether the node was told of a foreign address, knows it as a VIP's, and has done what it
    /// does about it.
    pub(crate) fn has_dealt_with(&self, address: IpAddr) -> bool {
        let told = self.sighted.contains(&address) && self.managed.contains(&address);
        told && !self.has_os_calls() && !self.holder.is_dropping()
    }

    /// Whether the addresses of an add are there, and its probe is next.
    pub(crate) fn is_about_to_answer(&self) -> bool {
        matches!(self.os.front(), Some(OsCall::Answer(..)))
    }

    pub(crate) fn has_os_calls(&self) -> bool {
        !self.os.is_empty()
    }

    /// The process is killed: of what waited for its flush, the first few made it.
    pub(crate) fn killed(mut self, memory: &mut Memory, chance: &mut Chance) {
        let made_it = chance.index(self.disk.len() + 1);
        for call in self.disk.drain(..).take(made_it) {
            call.write(memory);
        }
    }

    /// Something of its own is due.
    pub(crate) fn due(&mut self, local: Local, host: &mut Host<'_>, out: &mut Out) {
        match local {
            Local::Raft(serial) => {
                if serial == self.raft_serial {
                    self.run_raft(host, out);
                }
            }
            Local::Driver(serial) => {
                if serial == self.driver_serial {
                    self.drive(core::Input::Tick, host, out);
                }
            }
            Local::Holder(serial) => {
                if serial == self.holder_serial {
                    self.tell_node(agent::Input::Tick, host, out);
                }
            }
            Local::Os => self.work_os(host, out),
            Local::Disk => self.work_disk(host, out),
            Local::Task(call) => self.task_ends(call, host, out),
            Local::ReachTimeout(call) => {
                if self.reaching.remove(&call) {
                    out.facts.push(Fact::NotReached);
                    self.tell_node(agent::Input::Reached { call, answered: false }, host, out);
                }
            }
            Local::Ready(asked) => self.hand_over(*asked, host, out),
            Local::HttpTimeout(id) => {
                let fault = HttpFault::Unknown("no answer in time".to_owned());
                self.http_ended(id, Err(fault), host, out);
            }
            Local::BeatTimeout(seq) => {
                let boot = self.boot.clone();
                let problem = "no answer in time".to_owned();
                self.tell_node(agent::Input::Unreachable { boot, seq, problem }, host, out);
            }
            Local::Sighted(sighting) => {
                if let agent::Sighting::Foreign(address) = sighting {
                    self.sighted.insert(address);
                }
                self.tell_node(agent::Input::Sighted(sighting), host, out);
            }
            Local::Token => self.fetch_token(host, out),
            Local::Input(input) => self.drive(*input, host, out),
            Local::Applied => self.driver_sees_applied(host, out),
        }
    }

    /// A message arrives.
    pub(crate) fn receive(&mut self, packet: Packet, host: &mut Host<'_>, out: &mut Out) {
        let Packet { from, from_process, message, .. } = packet;
        match message {
            Message::Raft { call, request } => {
                let Spot::Node(index) = from else { return };
                let from = u64::try_from(index + 1).unwrap_or(0);
                self.seat.receive(from, from_process, call, request);
                self.run_raft(host, out);
            }
            Message::RaftAnswer { call, answer } => {
                self.seat.answered(call, answer);
                self.run_raft(host, out);
            }
            Message::Beat { heartbeat } => {
                self.next += 1;
                let id = BeatId(self.next);
                self.beats.insert(id, (from, from_process, heartbeat.seq));
                out.facts.push(Fact::BeatTaken { beat: id.0 });
                self.drive(core::Input::Beat { id, heartbeat: *heartbeat }, host, out);
            }
            Message::BeatAnswer { seq, answer } => {
                let boot = self.boot.clone();
                if answer.is_ok() {
                    out.facts.push(Fact::BeatAnswered { seq });
                }
                let input = match answer {
                    Ok(answer) => agent::Input::Answered { boot, answer },
                    Err(refusal) => agent::Input::Refused { boot, seq, refusal },
                };
                self.tell_node(input, host, out);
            }
            Message::Reached { call, tried } => {
                if self.reaching.remove(&call) {
                    out.facts.push(Fact::Reached(tried));
                    self.tell_node(agent::Input::Reached { call, answered: true }, host, out);
                }
            }
            Message::Nudge => self.tell_node(agent::Input::Nudged, host, out),
            Message::ArmAnswer { id, result } => self.http_ended(id, *result, host, out),
            Message::ImdsAnswer { token } => self.take_token(token),
            Message::Ask { op, attempt, ask } => {
                if !self.leadership.leading {
                    let leader = self.leadership.leader.clone();
                    let answer = Box::new(Err(AskError::NotLeader { leader }));
                    let message = Message::AskAnswer { op, attempt, answer };
                    return self.send(Spot::Operator, None, message, out);
                }
                self.next += 1;
                let id = AskId(self.next);
                self.asks.insert(id, (op, attempt));
                self.drive(core::Input::Asked { id, ask: *ask }, host, out);
            }
            // The kernel's affair, or not for nodes.
            Message::Arm { .. }
            | Message::Imds
            | Message::AskAnswer { .. }
            | Message::Probe { .. }
            | Message::Reach { .. }
            | Message::ProbeAnswer { .. } => {}
        }
    }

    /// What the agent has been told of the way to ARM.
    pub(crate) fn arm_ok(&self) -> Option<bool> {
        self.arm_ok
    }

    /// An operator at the node asks the agent to stop cleanly.
    pub(crate) fn stop(
        &mut self,
        on_stop: OnStop,
        within: Duration,
        host: &mut Host<'_>,
        out: &mut Out,
    ) {
        self.tell_node(agent::Input::Stop { on_stop, within }, host, out);
    }

    /// The health checks of a VIP say something else.
    pub(crate) fn checked(
        &mut self,
        vip: VipName,
        failing: Option<String>,
        host: &mut Host<'_>,
        out: &mut Out,
    ) {
        self.tell_node(agent::Input::Checked { vip, failing }, host, out);
    }

    /// An operator asks the leader to step down.
    pub(crate) fn step_down(&mut self, host: &mut Host<'_>, out: &mut Out) {
        self.seat.step_down(host.mono());
        self.run_raft(host, out);
    }

    /// Somebody proposes a command without asking the machine: for what has no API yet.
    pub(crate) fn propose(&mut self, command: core::Command, host: &mut Host<'_>, out: &mut Out) {
        self.seat.propose(core::ProposalId(u64::MAX), command);
        self.run_raft(host, out);
    }

    fn send(&self, to: Spot, to_process: Option<u64>, message: Message, out: &mut Out) {
        let (from, from_process) = (Spot::Node(self.me.index), self.me.number);
        out.packets.push(Packet { from, from_process, to, to_process, message });
    }
}

/// Nodes are numbered by name, as in the group.
fn spot_of(id: u64) -> Spot {
    Spot::Node(usize::try_from(id - 1).expect("a few nodes"))
}

//! A process: the machines of one agent and the thin shells around them, as the product has them.
//!
//! Here is no decision about a lease, an epoch or a term, as in the product's shells: receive, step,
//! carry out in order, feed back. What takes time comes back as a [`Local`] event, so that a process
//! that is stopped meets all of it later.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use vipfence_agent_core::{self as agent, Call, Holder, Spent, Start};
use vipfence_coordinator_core::{
    self as core, AskError, AskId, BeatId, Coordinator, HttpFault, HttpId, HttpRequest, Method,
    RoundId, Setup,
};
use vipfence_types::{
    BootId, Clocks, Epoch, Mutation, NicRecord, NodeId, Timing, VipEpoch, VipName,
};

use crate::{
    azure,
    chance::Chance,
    kernel::Kernel,
    net::{Message, Packet, Spot},
    seat::{DiskHealth, Leadership, Outgoing, RaftDisk, Roster, Seat, SeatCommit},
    time::{ms, us},
};

/// The shell looks at the clocks at least this often.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const TOKEN_RETRY: Duration = Duration::from_secs(1);
/// How many earlier boots an agent names.
const BOOTS_KEPT: usize = 8;

/// Something of a process's own that is due.
#[derive(Debug)]
pub(crate) enum Local {
    /// openraft wants to go on.
    Raft(u64),
    /// The driver's timer.
    Driver(u64),
    /// The node's timer.
    Holder(u64),
    /// The OS works off its next call.
    Os,
    /// The disk has flushed.
    Disk,
    /// A request to ARM has its connection.
    Ready(Box<Asked>),
    /// Nobody waits for the answer any more.
    HttpTimeout(HttpId),
    BeatTimeout(u64),
    /// The token keeper looks.
    Token,
    /// A result of consensus reaches the driver.
    Input(Box<core::Input>),
    Applied,
}

/// What a process does to the world around it, and what a watcher of the truth must know.
#[derive(Debug)]
pub(crate) enum Fact {
    /// A node has applied an entry.
    Committed(SeatCommit),
    /// What this process thinks of the leadership has changed.
    Leadership(Leadership),
    /// A write is handed to the socket.
    HandedOver(Box<HandedOver>),
    /// The agent tells of itself.
    Agent(agent::Event),
    /// A leader's answer to a heartbeat has come.
    BeatAnswered { seq: u64 },
    /// A leader has received a heartbeat.
    BeatTaken { beat: u64 },
    /// A leader has answered it, with these grants.
    BeatGranted { beat: u64, grants: Vec<VipEpoch> },
    /// An address was set on the OS.
    Set { vip: VipName, epoch: Epoch, address: IpAddr },
    /// An address was taken off the OS.
    Dropped { address: IpAddr },
    /// A request got no answer in time, or was not sent.
    Http(&'static str),
    /// A leader that Azure does not answer makes way.
    MakesWay,
    /// Raft has stopped: the process must end.
    RaftStopped(String),
    /// The agent has stopped cleanly: the process ends.
    AgentStopped,
}

/// A request that the machine has asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: HttpRequest,
    /// The replicated state from which the machine decided it.
    state: Arc<core::Registry>,
}

/// A write at the moment at which it is handed over.
#[derive(Clone, Debug)]
pub(crate) struct HandedOver {
    pub(crate) request: HttpRequest,
    /// The clocks of the sender now.
    pub(crate) clocks: Clocks,
    /// The quorum rounds of this process that were confirmed: when each began, and its term. None =
    /// nobody could see them.
    pub(crate) rounds: Option<Vec<(Clocks, core::Confirmed)>>,
    /// The replicated state from which the sender decided it.
    pub(crate) state: Arc<core::Registry>,
}

/// What a process leaves for the world to carry out.
#[derive(Default)]
pub(crate) struct Out {
    pub(crate) packets: Vec<Packet>,
    /// After so long, by the machine's monotonic clock.
    pub(crate) locals: Vec<(u64, Local)>,
    pub(crate) facts: Vec<Fact>,
}

/// What an agent finds on its disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) spent: Spent,
    pub(crate) highest_epoch: Epoch,
    pub(crate) boots: Vec<BootId>,
}

/// The machine that a process runs on, as far as the process can touch it.
pub(crate) struct Host<'a> {
    pub(crate) now: Clocks,
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) memory: &'a mut Memory,
    pub(crate) health: DiskHealth,
    pub(crate) chance: &'a mut Chance,
    /// Calls to the OS fail, one in so many; 0 = none.
    pub(crate) os_fails: u64,
    /// Calls to the OS take up to so much longer.
    pub(crate) os_slow_ms: u64,
}

impl Host<'_> {
    fn mono(&self) -> Duration {
        Duration::from_micros(self.now.mono_us)
    }
}

/// A call to the OS that waits for its turn.
#[derive(Debug)]
enum OsCall {
    Add {
        call: Call,
        vip: VipName,
        epoch: Epoch,
        addresses: Vec<IpAddr>,
        lifetime: Duration,
        computed_at: Clocks,
        start_within: Duration,
    },
    Remove {
        call: Call,
        addresses: Vec<IpAddr>,
    },
    Sweep {
        call: Call,
        keep: BTreeSet<IpAddr>,
    },
}

/// A call to the disk that waits for its flush.
#[derive(Debug)]
enum DiskCall {
    Spend { call: Call, vip: VipName, addresses: Vec<IpAddr>, epoch: Epoch },
    See(Epoch),
}

impl DiskCall {
    fn write(&self, memory: &mut Memory) {
        match self {
            Self::Spend { .. } if Mutation::SpentInMemory.is_on() => {}
            Self::Spend { vip, addresses, epoch, .. } => {
                memory.spent.spend(vip, addresses, *epoch);
            }
            Self::See(epoch) => memory.highest_epoch = memory.highest_epoch.max(*epoch),
        }
    }
}

/// Who a process is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) index: usize,
    pub(crate) node: NodeId,
    pub(crate) number: u64,
    pub(crate) nics: Vec<NicRecord>,
    pub(crate) timing: Timing,
}

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
    /// The newest applied state that the driver has not seen.
    applied: Option<(u64, Arc<core::Registry>)>,
    beats: BTreeMap<BeatId, (Spot, u64, u64)>,
    asks: BTreeMap<AskId, (usize, u32)>,
    /// Requests to ARM that are awaited.
    requests: BTreeSet<HttpId>,
    token: Option<(String, u64)>,
    arm_ok: Option<bool>,
    rounds_begun: BTreeMap<RoundId, Clocks>,
    rounds: VecDeque<(Clocks, core::Confirmed)>,
    heartbeat_every: Option<Duration>,
    last_seq: u64,
    node_steps: u64,
    stopped: bool,
    /// When this node last had a leader: since then it stands for election, or waits for one.
    stands_since: Clocks,
}

/// How many quorum rounds are remembered, for the watcher of the truth.
const ROUNDS_KEPT: usize = 64;

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
            applied: None,
            beats: BTreeMap::new(),
            asks: BTreeMap::new(),
            requests: BTreeSet::new(),
            token: None,
            arm_ok: None,
            rounds_begun: BTreeMap::new(),
            rounds: VecDeque::new(),
            heartbeat_every: None,
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
            Message::Nudge => self.tell_node(agent::Input::Nudged, host, out),
            Message::ArmAnswer { id, result } => self.http_ended(id, *result, host, out),
            Message::ImdsAnswer { token } => self.take_token(token, host, out),
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
            Message::Arm { .. } | Message::Imds | Message::AskAnswer { .. } => {}
        }
    }

    /// An operator at the node asks the agent to stop cleanly.
    pub(crate) fn stop(&mut self, within: Duration, host: &mut Host<'_>, out: &mut Out) {
        self.tell_node(agent::Input::Stop { within }, host, out);
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

    // ---- consensus ------------------------------------------------------------------------

    fn run_raft(&mut self, host: &mut Host<'_>, out: &mut Out) {
        for outgoing in self.seat.run(host.mono()) {
            self.carry_out_raft(outgoing, host, out);
        }
        if let Some(why) = self.seat.stopped() {
            out.facts.push(Fact::RaftStopped(why));
        }
        if *self.seat.leadership() != self.leadership {
            if self.leadership.leader.is_some() || self.stands_since == Clocks::default() {
                self.stands_since = host.now;
            }
            self.leadership = self.seat.leadership().clone();
            out.facts.push(Fact::Leadership(self.leadership.clone()));
            let Leadership { term, leader, leading } = self.leadership.clone();
            let input = core::Input::Leadership { term, leader, leading };
            if Mutation::WaitFromCandidacy.is_on() && leading {
                let true_now = host.now;
                host.now = self.stands_since;
                self.drive(input, host, out);
                host.now = true_now;
            } else {
                self.drive(input, host, out);
            }
        }
        self.raft_serial += 1;
        if let Some(due) = self.seat.next_timer() {
            let wait = us(due.saturating_sub(host.mono())).max(1);
            out.locals.push((wait, Local::Raft(self.raft_serial)));
        }
    }

    fn carry_out_raft(&mut self, outgoing: Outgoing, host: &mut Host<'_>, out: &mut Out) {
        // A task of its own carries each result to the driver: they overtake each other.
        let soon = host.chance.within(5, 250);
        match outgoing {
            Outgoing::Request { to, call, request } => {
                let message = Message::Raft { call, request };
                self.send(spot_of(to), None, message, out);
            }
            Outgoing::Answer { to, incarnation, call, answer } => {
                let message = Message::RaftAnswer { call, answer };
                self.send(spot_of(to), Some(incarnation), message, out);
            }
            Outgoing::Committed(commit) => out.facts.push(Fact::Committed(commit)),
            Outgoing::Applied { index, state } => {
                // What the driver does not get to see is replaced, as in a watch channel.
                if self.applied.is_none() {
                    out.locals.push((soon, Local::Applied));
                }
                self.applied = Some((index, state));
            }
            Outgoing::Proposed { id, result } => {
                let input = Box::new(core::Input::Proposed { id, result });
                out.locals.push((soon, Local::Input(input)));
            }
            Outgoing::Rounded { id, result } => {
                if let (Some(begun), Some(confirmed)) = (self.rounds_begun.remove(&id), result) {
                    self.rounds.push_back((begun, confirmed));
                    if self.rounds.len() > ROUNDS_KEPT {
                        self.rounds.pop_front();
                    }
                }
                let input = Box::new(core::Input::Round { id, result });
                out.locals.push((soon, Local::Input(input)));
            }
            Outgoing::Started(Ok(())) => {}
            Outgoing::Started(Err(why)) => out.facts.push(Fact::RaftStopped(why)),
        }
    }

    // ---- the driver -----------------------------------------------------------------------

    fn driver_sees_applied(&mut self, host: &mut Host<'_>, out: &mut Out) {
        let Some((index, state)) = self.applied.take() else { return };
        let interval = state.timing.agent_heartbeat();
        if state.cluster.is_some() && self.heartbeat_every != Some(interval) {
            self.heartbeat_every = Some(interval);
            self.tell_node(agent::Input::HeartbeatEvery { interval }, host, out);
        }
        self.drive(core::Input::Applied { index, state }, host, out);
    }

    fn drive(&mut self, input: core::Input, host: &mut Host<'_>, out: &mut Out) {
        let effects = self.coordinator.step(host.now, input);
        let mut raft = false;
        for effect in effects {
            raft |= self.carry_out_driver(effect, host, out);
        }
        self.driver_serial += 1;
        let wake = self.coordinator.wake_in(host.now).unwrap_or(LONGEST_SLEEP);
        out.locals.push((us(wake).max(1), Local::Driver(self.driver_serial)));
        if raft {
            self.run_raft(host, out);
        }
    }

    /// Returns whether Raft has something to do.
    fn carry_out_driver(
        &mut self,
        effect: core::Effect,
        host: &mut Host<'_>,
        out: &mut Out,
    ) -> bool {
        match effect {
            core::Effect::Propose { id, command } => {
                self.seat.propose(id, command);
                return true;
            }
            core::Effect::Round { id } => {
                self.rounds_begun.insert(id, host.now);
                self.seat.round(id);
                return true;
            }
            core::Effect::Http(request) => self.connect(request, host, out),
            core::Effect::Answer { id, answer } => {
                if let Ok(answer) = &answer {
                    let grants = answer.grants.iter().map(|grant| grant.at.clone()).collect();
                    out.facts.push(Fact::BeatGranted { beat: id.0, grants });
                }
                if let Some((from, process, seq)) = self.beats.remove(&id) {
                    let message = Message::BeatAnswer { seq, answer };
                    self.send(from, Some(process), message, out);
                }
            }
            core::Effect::Reply { id, reply } => {
                if let Some((op, attempt)) = self.asks.remove(&id) {
                    let answer = Box::new(reply);
                    let message = Message::AskAnswer { op, attempt, answer };
                    self.send(Spot::Operator, None, message, out);
                }
            }
            core::Effect::Nudge { node } => {
                let to = spot_of(self.roster.id(&node));
                self.send(to, None, Message::Nudge, out);
            }
            core::Effect::StepDown => {
                out.facts.push(Fact::MakesWay);
                self.seat.step_down(host.mono());
                return true;
            }
        }
        false
    }

    // ---- Azure ----------------------------------------------------------------------------

    fn connect(&mut self, request: HttpRequest, host: &mut Host<'_>, out: &mut Out) {
        self.requests.insert(request.id);
        let takes = if host.chance.one_in(30) {
            host.chance.within(ms(50), ms(1_500))
        } else {
            host.chance.within(200, ms(8))
        };
        let state = Arc::clone(self.coordinator.state());
        out.locals.push((takes, Local::Ready(Box::new(Asked { request, state }))));
    }

    /// The last step before the bytes leave: the write window is looked at here.
    fn hand_over(&mut self, asked: Asked, host: &mut Host<'_>, out: &mut Out) {
        let Asked { request, state } = asked;
        let id = request.id;
        let Some((token, _)) = self.token.clone().filter(|(_, good)| *good > host.now.wall_us)
        else {
            let why = HttpFault::NotSent("there is no token".to_owned());
            self.token = None;
            return self.http_ended(id, Err(why), host, out);
        };
        let is_write = request.method != Method::Get;
        let allowed = request.send_before.is_some_and(|window| window.allows(host.now));
        if is_write && !allowed && !Mutation::WindowUnchecked.is_on() {
            out.facts.push(Fact::Http("write window passed"));
            let why = HttpFault::NotSent("the write window has passed".to_owned());
            return self.http_ended(id, Err(why), host, out);
        }
        let carried = azure::carried(&request, &token, self.me.number);
        if is_write {
            let rounds = Some(self.rounds.iter().copied().collect());
            let handed = HandedOver { request, clocks: host.now, rounds, state };
            out.facts.push(Fact::HandedOver(Box::new(handed)));
        }
        let limit = if is_write { WRITE_TIMEOUT } else { READ_TIMEOUT };
        out.locals.push((us(limit), Local::HttpTimeout(id)));
        self.send(Spot::Arm, None, Message::Arm { id, request: Box::new(carried) }, out);
    }

    fn http_ended(
        &mut self,
        id: HttpId,
        result: core::HttpResult,
        host: &mut Host<'_>,
        out: &mut Out,
    ) {
        if !self.requests.remove(&id) {
            return;
        }
        let arm_ok = match &result {
            Ok(answer) => !matches!(answer.status, 401 | 403 | 500..),
            Err(HttpFault::NotSent(_)) => self.arm_ok.unwrap_or(false),
            Err(HttpFault::Unknown(_)) => {
                out.facts.push(Fact::Http("outcome unknown"));
                false
            }
        };
        if result.as_ref().is_ok_and(|answer| answer.status == 401) {
            self.token = None;
            self.fetch_token(host, out);
        }
        self.drive(core::Input::Http { id, result }, host, out);
        self.health(arm_ok, host, out);
    }

    fn health(&mut self, arm_ok: bool, host: &mut Host<'_>, out: &mut Out) {
        if self.arm_ok != Some(arm_ok) {
            self.arm_ok = Some(arm_ok);
            let input = agent::Input::Health { arm_ok: Some(arm_ok), detail: String::new() };
            self.tell_node(input, host, out);
        }
    }

    fn fetch_token(&mut self, host: &Host<'_>, out: &mut Out) {
        let good = self.token.as_ref().is_some_and(|(_, until)| *until > host.now.wall_us);
        if !good {
            self.send(Spot::Imds(self.me.index), None, Message::Imds, out);
        }
        out.locals.push((us(TOKEN_RETRY), Local::Token));
    }

    fn take_token(
        &mut self,
        token: Result<(String, u64), String>,
        host: &mut Host<'_>,
        out: &mut Out,
    ) {
        if let Ok(token) = token {
            self.token = Some(token);
            if self.arm_ok.is_none() {
                self.health(true, host, out);
            }
        }
    }

    // ---- the node ---------------------------------------------------------------------------

    fn tell_node(&mut self, input: agent::Input, host: &mut Host<'_>, out: &mut Out) {
        if self.stopped {
            return;
        }
        self.node_steps += 1;
        let effects = self.holder.step(host.now, input);
        self.carry_out_node(effects, host, out);
    }

    fn carry_out_node(&mut self, effects: Vec<agent::Effect>, host: &mut Host<'_>, out: &mut Out) {
        for effect in effects {
            match effect {
                agent::Effect::Send { heartbeat, give_up_after } => {
                    self.beat(heartbeat, give_up_after, out);
                }
                agent::Effect::Add {
                    call,
                    vip,
                    epoch,
                    addresses,
                    lifetime,
                    computed_at,
                    start_within,
                } => {
                    let addresses = addresses.iter().map(|one| one.address).collect();
                    self.ask_os(
                        OsCall::Add {
                            call,
                            vip,
                            epoch,
                            addresses,
                            lifetime,
                            computed_at,
                            start_within,
                        },
                        host,
                        out,
                    );
                }
                agent::Effect::Drop { call, addresses, .. } => {
                    self.ask_os(OsCall::Remove { call, addresses }, host, out);
                }
                agent::Effect::Sweep { call, keep } => {
                    self.ask_os(OsCall::Sweep { call, keep }, host, out);
                }
                agent::Effect::PersistSpent { call, vip, addresses, epoch } => {
                    self.ask_disk(DiskCall::Spend { call, vip, addresses, epoch }, host, out);
                }
                agent::Effect::PersistHighest { epoch } => {
                    self.ask_disk(DiskCall::See(epoch), host, out);
                }
                agent::Effect::Event(event) => out.facts.push(Fact::Agent(event)),
                agent::Effect::Stopped => {
                    self.stopped = true;
                    out.facts.push(Fact::AgentStopped);
                }
            }
        }
        self.holder_serial += 1;
        if let Some(wait) = self.holder.next_deadline(host.now) {
            let wait = us(wait.min(LONGEST_SLEEP)).max(1);
            out.locals.push((wait, Local::Holder(self.holder_serial)));
        }
    }

    /// Heartbeats go to whoever leads.
    fn beat(
        &mut self,
        heartbeat: Box<vipfence_types::Heartbeat>,
        give_up_after: Duration,
        out: &mut Out,
    ) {
        let seq = heartbeat.seq;
        self.last_seq = seq;
        match &self.leadership.leader {
            Some(leader) => {
                let to = spot_of(self.roster.id(leader));
                self.send(to, None, Message::Beat { heartbeat }, out);
                out.locals.push((us(give_up_after), Local::BeatTimeout(seq)));
            }
            None => out.locals.push((ms(2), Local::BeatTimeout(seq))),
        }
    }

    fn ask_os(&mut self, call: OsCall, host: &mut Host<'_>, out: &mut Out) {
        self.os.push_back(call);
        if self.os.len() == 1 {
            out.locals.push((os_time(host), Local::Os));
        }
    }

    /// The call at the front is carried out now.
    fn work_os(&mut self, host: &mut Host<'_>, out: &mut Out) {
        let Some(call) = self.os.pop_front() else { return };
        if !self.os.is_empty() {
            out.locals.push((os_time(host), Local::Os));
        }
        let fails = host.os_fails > 0 && host.chance.one_in(host.os_fails);
        // A call that fails may have done its work all the same.
        let works = !fails || host.chance.one_in(2);
        let problem = "the OS refuses".to_owned();
        let outcome = match call {
            OsCall::Add { call, vip, epoch, addresses, lifetime, computed_at, start_within } => {
                let late = host.now.longest_since(computed_at) > start_within;
                if late && !Mutation::LateAddKept.is_on() {
                    let problem = "the OS was busy".to_owned();
                    return self.tell_node(agent::Input::AddFailed { call, problem }, host, out);
                }
                for address in addresses.iter().filter(|_| works) {
                    host.kernel.set(host.now.mono_us, *address, lifetime, host.chance);
                    let (vip, address) = (vip.clone(), *address);
                    out.facts.push(Fact::Set { vip, epoch, address });
                }
                if fails {
                    agent::Input::AddFailed { call, problem }
                } else {
                    agent::Input::Added { call, at: host.now }
                }
            }
            OsCall::Remove { call, addresses } => {
                for address in addresses.into_iter().filter(|_| works) {
                    take_off(address, host, out);
                }
                removed(call, fails.then_some(problem))
            }
            OsCall::Sweep { call, keep } => {
                let strays: Vec<IpAddr> =
                    host.kernel.all().filter(|one| !keep.contains(one)).collect();
                for address in strays.into_iter().filter(|_| works) {
                    take_off(address, host, out);
                }
                removed(call, fails.then_some(problem))
            }
        };
        self.tell_node(outcome, host, out);
    }

    fn ask_disk(&mut self, call: DiskCall, host: &mut Host<'_>, out: &mut Out) {
        self.disk.push_back(call);
        if self.disk.len() == 1 {
            out.locals.push((flush_time(host), Local::Disk));
        }
    }

    /// The call at the front is on the platter now.
    fn work_disk(&mut self, host: &mut Host<'_>, out: &mut Out) {
        let Some(done) = self.disk.pop_front() else { return };
        if !self.disk.is_empty() {
            out.locals.push((flush_time(host), Local::Disk));
        }
        let full = host.health.full;
        if !full {
            done.write(host.memory);
        }
        if let DiskCall::Spend { call, .. } = done {
            let input = if full {
                let problem = "no space left on device".to_owned();
                agent::Input::PersistFailed { call, problem }
            } else {
                agent::Input::Persisted { call }
            };
            self.tell_node(input, host, out);
        }
    }
}

fn take_off(address: IpAddr, host: &mut Host<'_>, out: &mut Out) {
    if host.kernel.drop(address) {
        out.facts.push(Fact::Dropped { address });
    }
}

fn removed(call: Call, problem: Option<String>) -> agent::Input {
    match problem {
        None => agent::Input::Dropped { call },
        Some(problem) => agent::Input::DropFailed { call, problem },
    }
}

fn os_time(host: &mut Host<'_>) -> u64 {
    host.chance.within(80, ms(2)) + host.chance.within(0, ms(host.os_slow_ms))
}

fn flush_time(host: &mut Host<'_>) -> u64 {
    host.chance.within(100, 1_500) + us(host.health.slow_by)
}

/// Nodes are numbered by name, as in the group.
fn spot_of(id: u64) -> Spot {
    Spot::Node(usize::try_from(id - 1).expect("a few nodes"))
}

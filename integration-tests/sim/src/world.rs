//! The world: the event loop, and all that lies between the processes.
//!
//! One queue of events in true time; each is carried out whole, its results are queued, and the
//! oracle looks at the truth. Nothing else moves, so a seed and a schedule of faults give the same
//! run, byte for byte.

mod script;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use azure_sim::{AdminCommand, WorldConfig};
use vipfence_coordinator_core::{
    Ask, Body, COMMAND_FORMAT, Command, Founder, HttpFault, HttpResult, Setup,
};
use vipfence_types::{ClusterName, NicId, NicRecord, NodeId, Role, Timing, VipName, VipSpec};

use crate::{
    azure::{Arrival, Azure, Waiting},
    chance::Chance,
    kernel::Kernel,
    machine::{ExcuseEnds, Machine, Waits},
    net::{Fate, Message, Net, Packet, Spot},
    operator::Operator,
    oracle::{Oracle, Truth, Violation},
    process::{Fact, Identity, Local, Memory, Out, Process},
    seat::{RaftDisk, RaftRequest, Roster},
    sometimes::Sometimes,
    time::{At, MachineClocks, PauseSeen, ms, secs},
    timeline::Timeline,
};

pub use script::{Kind, Wrote};

/// The streams of chance.
mod stream {
    pub(super) const NET: u64 = 1;
    pub(super) const CLOCKS: u64 = 2;
    pub(super) const WORLD: u64 = 3;
    pub(super) const MACHINE: u64 = 100;
    pub(super) const DISK: u64 = 200;
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
    /// Clocks run with errors of their own, within ± 1 %.
    pub clocks_err: bool,
    /// The rates of the nodes' clocks (ppm), where they are not left to chance.
    pub rates: Vec<i32>,
}

impl Plan {
    /// Three members `a`, `b` and `c`.
    #[must_use]
    pub fn three(timing: Timing) -> Self {
        let nodes = ["a", "b", "c"].map(|name| (name.to_owned(), Role::Member));
        let azure = azure_sim::Settings::default();
        Self { nodes: nodes.to_vec(), timing, azure, clocks_err: true, rates: Vec::new() }
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
}

/// Something that happens.
#[derive(Debug)]
enum Event {
    Arrives(Packet),
    Local {
        node: usize,
        process: u64,
        local: Local,
    },
    /// An address of this machine runs out.
    Kernel {
        node: usize,
    },
    /// The simulator's own time.
    Azure,
    /// The operator's own time.
    Operator {
        op: usize,
        attempt: u32,
    },
    /// A fault begins or ends, or a script goes on.
    Deed(Deed),
}

/// What is done to the world from outside of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// kill -9 of a process.
    Kill(usize),
    /// A process starts, where there is none.
    Start(usize),
    /// The machine loses power.
    PowerOff(usize),
    /// SIGSTOP.
    Stop(usize),
    /// SIGCONT.
    Continue(usize),
    /// The hypervisor pauses a machine.
    Pause(usize, PauseSeen),
    /// And lets it go on.
    Resume(usize),
    /// A link is cut in one direction.
    Cut(Spot, Spot),
    /// And joined again.
    Join(Spot, Spot),
    /// A link loses so many of a thousand and delays by up to so many milliseconds.
    Roughen(Spot, Spot, u64, u64),
    /// Somebody sets the wall clock.
    JumpWall(usize, i64),
    /// Flushes take so much longer (ms).
    SlowDisk(usize, u64),
    /// The disk is full, or no longer.
    FullDisk(usize, bool),
    /// Calls to the OS fail one in so many, and take up to so much longer (ms).
    BadOs(usize, u64, u64),
    /// The disk is replaced by an empty one; the process is killed.
    Wipe(usize),
    /// An operator stops an agent cleanly.
    CleanStop(usize),
    /// An operator asks the leader to step down.
    StepDown,
    /// Something is done to the simulator.
    Azure(AdminCommand),
    /// An operator asks for something, at this node first.
    Ask(usize, Ask),
    /// The timers are changed (there is no API for it yet: proposed at the leader).
    SetTiming(Timing),
}

/// What a rule of a script does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Pass,
    /// It is lost.
    Drop,
    /// It is kept until released.
    Keep,
}

type Rule = Box<dyn FnMut(Spot, Spot, &Kind) -> Verdict>;

/// See the module.
pub struct World {
    pub(crate) now: At,
    queue: BTreeMap<(At, u64), Event>,
    order: u64,
    setup: Setup,
    nics: BTreeMap<NodeId, NicRecord>,
    roster: Arc<Roster>,
    pub(crate) machines: Vec<Machine>,
    net: Net,
    pub(crate) azure: Azure,
    azure_due: Option<(At, u64)>,
    kernel_due: Vec<Option<(At, u64)>>,
    pub(crate) operator: Operator,
    pub(crate) oracle: Oracle,
    /// What really happened, and how often.
    pub sometimes: Sometimes,
    /// What happened, in words.
    pub timeline: Timeline,
    rule: Option<Rule>,
    kept: Vec<Packet>,
    chance: Chance,
    processes: u64,
    events: u64,
    /// A fingerprint of all that happened.
    fingerprint: u64,
    violation: Option<Violation>,
}

impl World {
    /// A world in which all processes have just been started.
    #[must_use]
    pub fn new(seed: u64, plan: &Plan) -> Self {
        let azure = azure_of(seed, plan);
        let nodes: Vec<(NodeId, Role)> =
            plan.nodes.iter().map(|(name, role)| (node_id(name), *role)).collect();
        let nics = nodes
            .iter()
            .filter(|(_, role)| role.may_hold())
            .map(|(node, _)| {
                let id = NicId::new(&azure.world.config().nic_id(&format!("{node}-nic")));
                (node.clone(), NicRecord { name: "eth0".to_owned(), id })
            })
            .collect();
        let founder = |(node, role): &(NodeId, Role)| Founder {
            node: node.clone(),
            role: *role,
            address: format!("{node}:7600"),
        };
        let setup = Setup {
            node: nodes[0].0.clone(),
            cluster: ClusterName::new("world").expect("a valid name"),
            timing: plan.timing,
            founders: nodes.iter().map(founder).collect(),
            api_version: "2024-05-01".to_owned(),
            trust_if_match: true,
        };
        let mut clocks = Chance::of(seed, stream::CLOCKS);
        let machines: Vec<Machine> = (0..)
            .zip(&nodes)
            .map(|(index, (name, _))| machine(seed, index, name, plan, &mut clocks))
            .collect();
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            order: 0,
            setup,
            nics,
            roster: Arc::new(Roster::new(&nodes)),
            kernel_due: vec![None; machines.len()],
            oracle: Oracle::new(&azure.world),
            machines,
            net: Net::new(Chance::of(seed, stream::NET)),
            azure,
            azure_due: None,
            operator: Operator::default(),
            sometimes: Sometimes::default(),
            timeline: Timeline::default(),
            rule: None,
            kept: Vec::new(),
            chance: Chance::of(seed, stream::WORLD),
            processes: 0,
            events: 0,
            fingerprint: 0xcbf2_9ce4_8422_2325,
            violation: None,
        };
        for index in 0..world.machines.len() {
            let at = world.chance.within(0, ms(300));
            world.at(at, Deed::Start(index));
        }
        world
    }

    // ---- what others see --------------------------------------------------------------------

    /// True time.
    #[must_use]
    pub fn now(&self) -> At {
        self.now
    }

    /// How many events there have been.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Equal for two runs only if they were the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What was violated, if something was. The world stands still then.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The index of a node.
    ///
    /// # Panics
    /// There is no such node.
    #[must_use]
    pub fn node(&self, name: &str) -> usize {
        let found = self.machines.iter().position(|machine| machine.name.as_str() == name);
        found.unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.machines.len()
    }

    /// The node that leads, by its own word and a majority's.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leads = |machine: &Machine| {
            machine.process.as_ref().is_some_and(|process| process.leadership().leading)
        };
        let term = |machine: &Machine| {
            machine.process.as_ref().map_or(0, |process| process.leadership().term.0)
        };
        (0..self.machines.len())
            .filter(|index| leads(&self.machines[*index]))
            .max_by_key(|index| term(&self.machines[*index]))
    }

    /// What the operator has asked for.
    #[must_use]
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// The nodes that have an address on their OS.
    #[must_use]
    pub fn holders(&self, address: IpAddr) -> Vec<String> {
        let has = self.machines.iter().filter(|machine| machine.kernel.has(address));
        has.map(|machine| machine.name.to_string()).collect()
    }

    // ---- time -------------------------------------------------------------------------------

    /// Something is done at a time.
    pub fn at(&mut self, at: At, deed: Deed) {
        self.push(at, Event::Deed(deed));
    }

    /// Runs for so long, or until something is violated.
    pub fn run(&mut self, span: u64) {
        self.run_until(span, |_| false);
    }

    /// Runs until something holds; whether it did within the span, and nothing was violated.
    pub fn run_until(&mut self, span: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + span;
        while self.violation.is_none() && !done(self) {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else {
                self.now = end;
                return done(self);
            };
            self.now = self.now.max(entry.key().0);
            let event = entry.remove();
            self.happen(event);
            self.look();
        }
        self.violation.is_none()
    }

    fn push(&mut self, at: At, event: Event) -> (At, u64) {
        self.order += 1;
        let key = (at.max(self.now), self.order);
        self.queue.insert(key, event);
        key
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(packet) => {
                self.count(1, packet.to_process.unwrap_or(0));
                self.arrive(packet);
            }
            Event::Local { node, process, local } => self.local(node, process, local),
            Event::Kernel { node } => {
                self.kernel_due[node] = None;
                self.count(3, node as u64);
                self.expire(node);
            }
            Event::Azure => {
                self.azure_due = None;
                self.count(4, 0);
                self.azure.world.advance(Duration::from_micros(self.now));
            }
            Event::Operator { op, attempt } => {
                self.count(5, attempt.into());
                self.operator_due(op, attempt);
            }
            Event::Deed(deed) => {
                self.count(6, 0);
                self.timeline.note(self.now, || format!("** {deed:?}"));
                self.do_deed(deed);
            }
        }
    }

    fn count(&mut self, kind: u64, detail: u64) {
        self.events += 1;
        for word in [self.now, kind, detail] {
            self.fingerprint = (self.fingerprint ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// After each event: Azure's answers and timers, and the oracle.
    fn look(&mut self) {
        for (waiting, answer) in self.azure.take_answers() {
            self.sometimes.saw("a request to Azure arrives late");
            self.answer_arm(waiting, Ok(answer));
        }
        self.follow_azure();
        let truth = Truth { now: self.now, machines: &self.machines, azure: &self.azure.world };
        if let Err(violation) = self.oracle.check(&truth, &mut self.sometimes, &mut self.timeline) {
            self.violate(violation);
        }
    }

    fn violate(&mut self, violation: Violation) {
        self.timeline.note(self.now, || format!("!! {violation}"));
        self.violation.get_or_insert(violation);
    }

    /// Says that something is violated that only the end of a run shows.
    pub fn blame(&mut self, violation: Violation) {
        self.violate(violation);
    }

    fn follow_azure(&mut self) {
        let due = self.azure.world.next_deadline();
        let due = due.map(|due| u64::try_from(due.as_micros()).unwrap_or(u64::MAX).max(self.now));
        if self.azure_due.map(|(at, _)| at) == due {
            return;
        }
        if let Some(key) = self.azure_due.take() {
            self.queue.remove(&key);
        }
        self.azure_due = due.map(|due| self.push(due, Event::Azure));
    }

    fn follow_kernel(&mut self, node: usize) {
        let machine = &self.machines[node];
        let next = machine.kernel.next().filter(|_| machine.paused.is_none() && !machine.off);
        let due = next.map(|mono| machine.clocks.when(mono).max(self.now));
        if self.kernel_due[node].map(|(at, _)| at) == due {
            return;
        }
        if let Some(key) = self.kernel_due[node].take() {
            self.queue.remove(&key);
        }
        self.kernel_due[node] = due.map(|due| self.push(due, Event::Kernel { node }));
    }

    fn expire(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let mono = machine.clocks.mono(self.now);
        for address in machine.kernel.expire(mono) {
            machine.excused.remove(&address);
            let name = machine.name.clone();
            let alone = machine.process.is_none() || machine.stopped;
            if alone {
                self.sometimes.saw("a lease expired by the kernel only");
            }
            self.timeline.note(self.now, || format!("{name}: the kernel drops {address}"));
            self.oracle.kernel_changed();
        }
        self.follow_kernel(node);
    }

    // ---- messages -----------------------------------------------------------------------------

    /// A rule for the messages from now on; it replaces the last one.
    pub fn rule(&mut self, rule: impl FnMut(Spot, Spot, &Kind) -> Verdict + 'static) {
        self.rule = Some(Box::new(rule));
    }

    /// No rule any more.
    pub fn no_rule(&mut self) {
        self.rule = None;
    }

    /// How many messages are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// What was kept arrives now, in the order in which it was sent.
    pub fn release(&mut self) {
        for packet in core::mem::take(&mut self.kept) {
            self.push(self.now, Event::Arrives(packet));
        }
    }

    /// What was kept arrives now, the newest first.
    pub fn release_backwards(&mut self) {
        self.kept.reverse();
        self.release();
    }

    /// What was kept is lost.
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    fn send(&mut self, packet: Packet) {
        if let Some(rule) = &mut self.rule {
            match rule(packet.from, packet.to, &Kind::of(&packet.message)) {
                Verdict::Pass => {}
                Verdict::Drop => return,
                Verdict::Keep => return self.kept.push(packet),
            }
        }
        match self.net.fate(packet.from, packet.to) {
            Fate::Lost => self.lose(packet),
            Fate::Arrives(after) => {
                for again in after.iter().skip(1) {
                    if let Some(copy) = copy_of(&packet) {
                        self.sometimes.saw("a message arrives twice");
                        self.push(self.now + again, Event::Arrives(copy));
                    }
                }
                self.push(self.now + after[0], Event::Arrives(packet));
            }
        }
    }

    /// TCP goes on trying: what was handed over to a cut link may still arrive when it is joined.
    fn lose(&mut self, packet: Packet) {
        self.sometimes.saw("a message is lost");
        let is_write =
            matches!(&packet.message, Message::Arm { request, .. } if request.method != "GET");
        if is_write && self.chance.one_in(2) {
            let late = self.chance.within(secs(1), secs(40));
            self.sometimes.saw("a request to Azure arrives late");
            self.push(self.now + late, Event::Arrives(packet));
        }
    }

    fn arrive(&mut self, packet: Packet) {
        match packet.to {
            Spot::Node(node) => self.arrive_at_node(node, packet),
            Spot::Arm => self.arrive_at_arm(packet),
            Spot::Imds(node) => self.arrive_at_imds(node, &packet),
            Spot::Operator => {
                if let Message::AskAnswer { op, attempt, answer } = packet.message {
                    self.operator_answered(op, attempt, *answer);
                }
            }
        }
    }

    fn arrive_at_node(&mut self, node: usize, packet: Packet) {
        let machine = &mut self.machines[node];
        let number = machine.process.as_ref().map(Process::number);
        let meant = packet.to_process.is_none_or(|process| number == Some(process));
        if number.is_none() || machine.off || !meant {
            return;
        }
        if !machine.runs() {
            return machine.waiting.push(Waits::Packet(Box::new(packet)));
        }
        if matches!(&packet.message, Message::BeatAnswer { answer: Ok(_), .. })
            && machine.memory.spent != Default::default()
        {
            self.sometimes.saw("a heartbeat answer arrives at a node that has spent epochs");
        }
        if matches!(&packet.message, Message::Raft { request: RaftRequest::Snapshot(_), .. }) {
            self.sometimes.saw("a follower is fed with a snapshot");
        }
        let mut out = Out::default();
        let (process, mut host) = machine.parts(self.now);
        if let Some(process) = process {
            process.receive(packet, &mut host, &mut out);
        }
        self.take_out(node, out);
    }

    fn arrive_at_arm(&mut self, packet: Packet) {
        let Message::Arm { id, request } = packet.message else { return };
        let waiting = Waiting { spot: packet.from, process: packet.from_process, id };
        match self.azure.arm(self.now, *request, waiting) {
            Arrival::Answer(answer) => self.answer_arm(waiting, Ok(answer)),
            Arrival::Closed => {
                let fault = HttpFault::Unknown("the connection was closed".to_owned());
                self.answer_arm(waiting, Err(fault));
            }
            Arrival::Silence => {}
        }
    }

    fn answer_arm(&mut self, waiting: Waiting, result: HttpResult) {
        let message = Message::ArmAnswer { id: waiting.id, result: Box::new(result) };
        self.send(Packet {
            from: Spot::Arm,
            from_process: 0,
            to: waiting.spot,
            to_process: Some(waiting.process),
            message,
        });
    }

    fn arrive_at_imds(&mut self, node: usize, packet: &Packet) {
        let name = self.machines[node].name.to_string();
        let Some(token) = self.azure.token(self.now, &name) else { return };
        // The agent compares with its own wall clock, in microseconds.
        let token = token.map(|(token, until)| (token, secs(until)));
        let message = Message::ImdsAnswer { token };
        let (to, to_process) = (packet.from, Some(packet.from_process));
        self.send(Packet { from: packet.to, from_process: 0, to, to_process, message });
    }

    // ---- processes ----------------------------------------------------------------------------

    fn local(&mut self, node: usize, process: u64, local: Local) {
        let machine = &mut self.machines[node];
        if machine.process.as_ref().map(Process::number) != Some(process) || machine.off {
            return;
        }
        if !machine.runs() {
            return machine.waiting.push(Waits::Local { process, local });
        }
        self.count(2, process);
        let mut out = Out::default();
        let (process, mut host) = self.machines[node].parts(self.now);
        if let Some(process) = process {
            process.due(local, &mut host, &mut out);
        }
        self.take_out(node, out);
    }

    /// Does something with a process that runs.
    fn with_process(
        &mut self,
        node: usize,
        what: impl FnOnce(&mut Process, &mut crate::process::Host<'_>, &mut Out),
    ) {
        if !self.machines[node].runs() {
            return;
        }
        let mut out = Out::default();
        let (process, mut host) = self.machines[node].parts(self.now);
        if let Some(process) = process {
            what(process, &mut host, &mut out);
        }
        self.take_out(node, out);
    }

    fn take_out(&mut self, node: usize, out: Out) {
        let Some(process) = self.machines[node].process.as_ref().map(Process::number) else {
            return;
        };
        let Out { packets, locals, facts } = out;
        let mut ends = false;
        for fact in facts {
            ends |= matches!(fact, Fact::RaftStopped(_) | Fact::AgentStopped);
            self.learn(node, process, fact);
        }
        let clocks = &self.machines[node].clocks;
        let mono = clocks.mono(self.now);
        let due: Vec<(At, Local)> = locals
            .into_iter()
            .map(|(wait, local)| (clocks.when(mono + wait).max(self.now + 1), local))
            .collect();
        for (at, local) in due {
            self.push(at, Event::Local { node, process, local });
        }
        for packet in packets {
            self.send(packet);
        }
        self.end_excuse(node, false);
        self.follow_kernel(node);
        if ends {
            self.kill(node);
            let back = self.now + ms(500);
            self.push(back, Event::Deed(Deed::Start(node)));
        }
    }

    fn learn(&mut self, node: usize, process: u64, fact: Fact) {
        if let Fact::Set { address, .. } | Fact::Dropped { address } = &fact
            && self.machines[node].excuse_ends == ExcuseEnds::Never
        {
            self.machines[node].excused.remove(address);
        }
        if let Fact::BeatAnswered { seq } = &fact {
            let seq = *seq;
            let machine = &mut self.machines[node];
            if let ExcuseEnds::AfterABeat { sent_after_seq } = machine.excuse_ends
                && sent_after_seq.is_none_or(|sent| seq > sent)
            {
                // The answer itself is the next step.
                machine.excuse_ends = ExcuseEnds::AfterAStep { steps: 0 };
            }
        }
        let truth = Truth { now: self.now, machines: &self.machines, azure: &self.azure.world };
        let learned = self.oracle.learn(
            &truth,
            (node, process),
            fact,
            &mut self.sometimes,
            &mut self.timeline,
        );
        if let Err(violation) = learned {
            self.violate(violation);
        }
    }

    fn end_excuse(&mut self, node: usize, anyway: bool) {
        let machine = &mut self.machines[node];
        let number = machine.process.as_ref().map(Process::number);
        if anyway {
            machine.excused.clear();
        }
        let over = match (machine.excuse_ends, &machine.process) {
            (ExcuseEnds::AfterAStep { steps }, Some(process)) => {
                let same = number == machine.excused_process;
                same && process.node_steps() > steps && !process.has_os_calls()
            }
            _ => false,
        };
        if anyway || over || number != machine.excused_process {
            machine.excuse_ends = ExcuseEnds::Never;
        }
    }

    fn start(&mut self, node: usize) {
        // Nothing happens on a machine that is paused.
        if self.machines[node].process.is_some() || self.machines[node].paused.is_some() {
            return;
        }
        if self.machines[node].off {
            self.machines[node].off = false;
            let error = self.chance.signed(-50_000, 50_000);
            self.machines[node].clocks.reboot(self.now, error);
        }
        self.processes += 1;
        let machine = &mut self.machines[node];
        machine.waiting.clear();
        machine.stopped = false;
        let me = Identity {
            index: node,
            node: machine.name.clone(),
            number: self.processes,
            nics: self.nics.get(&machine.name).cloned().into_iter().collect(),
            timing: self.setup.timing,
        };
        let setup = Setup { node: machine.name.clone(), ..self.setup.clone() };
        let raft_disk = Arc::clone(&machine.raft_disk);
        let mut out = Out::default();
        let (slot, mut host) = machine.parts(self.now);
        let process = Process::start(me, setup, &self.roster, &raft_disk, &mut host, &mut out);
        *slot = Some(process);
        self.take_out(node, out);
    }

    fn kill(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if let Some(process) = machine.process.take() {
            if process.leadership().leading {
                self.sometimes.saw("a leader is killed");
            }
            let number = process.number();
            process.killed(&mut machine.memory, &mut machine.chance);
            machine.raft_disk().crash();
            machine.waiting.clear();
            machine.stopped = false;
            self.oracle.process_ended(number, &mut self.sometimes);
        }
    }

    /// What waited for a process that runs again.
    fn wake(&mut self, node: usize) {
        for waits in core::mem::take(&mut self.machines[node].waiting) {
            let at = self.now + 1;
            match waits {
                Waits::Packet(packet) => self.push(at, Event::Arrives(*packet)),
                Waits::Local { process, local } => {
                    self.push(at, Event::Local { node, process, local })
                }
            };
        }
        self.follow_kernel(node);
    }

    // ---- deeds --------------------------------------------------------------------------------

    /// Does something to the world, now.
    pub fn do_deed(&mut self, deed: Deed) {
        match deed {
            Deed::Kill(node) => {
                if self.machines[node].paused.is_none() {
                    self.kill(node);
                }
            }
            Deed::Start(node) => self.start(node),
            Deed::PowerOff(node) => {
                self.kill(node);
                let machine = &mut self.machines[node];
                machine.kernel.clear();
                machine.paused = None;
                machine.off = true;
                self.end_excuse(node, true);
                self.oracle.kernel_changed();
                self.follow_kernel(node);
            }
            Deed::Stop(node) => {
                if self.machines[node].process.is_some() {
                    self.machines[node].stopped = true;
                    self.sometimes.saw("a process is stopped");
                }
            }
            Deed::Continue(node) => {
                self.machines[node].stopped = false;
                if self.machines[node].runs() {
                    self.wake(node);
                }
            }
            Deed::Pause(node, seen) => {
                let machine = &mut self.machines[node];
                if machine.paused.is_none() && !machine.off {
                    machine.paused = Some((self.now, seen));
                    self.sometimes.saw("a machine is paused");
                    self.follow_kernel(node);
                }
            }
            Deed::Resume(node) => self.resume(node),
            Deed::Cut(from, to) => self.net.cut(from, to, true),
            Deed::Join(from, to) => self.net.cut(from, to, false),
            Deed::Roughen(from, to, lost, delay) => self.net.roughen(from, to, lost, delay),
            Deed::JumpWall(node, by) => self.machines[node].clocks.jump_wall(self.now, by),
            Deed::SlowDisk(node, by) => {
                self.machines[node].raft_disk().health.slow_by = Duration::from_millis(by);
            }
            Deed::FullDisk(node, full) => self.machines[node].raft_disk().health.full = full,
            Deed::BadOs(node, fails, slow) => {
                (self.machines[node].os_fails, self.machines[node].os_slow_ms) = (fails, slow);
            }
            Deed::Wipe(node) => {
                self.kill(node);
                self.machines[node].raft_disk().wipe();
                self.machines[node].memory = Memory::default();
            }
            Deed::CleanStop(node) => self.with_process(node, |process, host, out| {
                process.stop(Duration::from_secs(8), host, out);
            }),
            Deed::StepDown => {
                if let Some(leader) = self.leader() {
                    self.with_process(leader, Process::step_down);
                }
            }
            Deed::Azure(command) => {
                let now = Duration::from_micros(self.now);
                self.oracle.outsider(&command);
                // A command that does not fit any more does nothing.
                let _ = self.azure.world.admin(now, command);
            }
            Deed::Ask(node, ask) => {
                self.ask(node, ask);
            }
            Deed::SetTiming(timing) => {
                let command = Command {
                    format: COMMAND_FORMAT,
                    at_ms: 0,
                    by: self.setup.node.clone(),
                    body: Body::SetTiming { timing },
                };
                if let Some(leader) = self.leader() {
                    self.with_process(leader, |process, host, out| {
                        process.propose(command, host, out);
                    });
                }
            }
        }
    }

    fn resume(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let Some((since, seen)) = machine.paused.take() else { return };
        machine.clocks.resume(self.now, self.now - since, seen);
        machine.excused = machine.kernel.all().collect();
        let seq = machine.process.as_ref().map(Process::last_seq);
        let steps = machine.process.as_ref().map_or(0, Process::node_steps);
        machine.excused_process = machine.process.as_ref().map(Process::number);
        machine.excuse_ends = match seen {
            PauseSeen::Shown => ExcuseEnds::AfterAStep { steps },
            PauseSeen::Hidden => ExcuseEnds::AfterABeat { sent_after_seq: seq },
        };
        if self.machines[node].runs() {
            self.wake(node);
        }
        self.follow_kernel(node);
        // Whatever should have been started meanwhile.
        self.start(node);
    }

    /// Everything works again, and stays so: links, disks, clocks, Azure; what is down starts.
    pub fn heal(&mut self) {
        self.timeline.note(self.now, || "** everything is healed".to_owned());
        self.net.heal();
        self.no_rule();
        self.release();
        // Faults that were planned for later do not come.
        let planned: Vec<(At, u64)> = self
            .queue
            .iter()
            .filter(|(_, event)| matches!(event, Event::Deed(_)))
            .map(|(key, _)| *key)
            .collect();
        for key in planned {
            self.queue.remove(&key);
        }
        for node in 0..self.machines.len() {
            self.machines[node].raft_disk().health = Default::default();
            (self.machines[node].os_fails, self.machines[node].os_slow_ms) = (0, 0);
            self.resume(node);
            self.machines[node].clocks.true_wall(self.now);
            self.do_deed(Deed::Continue(node));
            self.start(node);
            let name = self.machines[node].name.to_string();
            let node = || name.clone();
            let rights = azure_sim::Rights::default();
            for command in [
                AdminCommand::SetImds { node: node(), fault: None },
                AdminCommand::SetRights { node: node(), rights },
            ] {
                self.do_deed(Deed::Azure(command));
            }
        }
        for command in [
            AdminCommand::ClearFaults,
            AdminCommand::Unfreeze { nic: None },
            AdminCommand::Release { hold: None },
        ] {
            self.do_deed(Deed::Azure(command));
        }
    }

    // ---- the operator ---------------------------------------------------------------------------

    /// An operator asks for something, at this node first; returns the number of the call.
    pub fn ask(&mut self, node: usize, ask: Ask) -> usize {
        let op = self.operator.begin(self.now, node, ask);
        self.send_ask(op);
        op
    }

    /// An operator defines a VIP on this address, and lets the cluster place it.
    pub fn create(&mut self, node: usize, vip: &str, address: Ipv4Addr, to: Option<&str>) -> usize {
        let vip = VipName::new(vip).expect("a valid name");
        let request = self.operator.request();
        let ask = Ask::CreateVip {
            vip,
            spec: VipSpec::host(IpAddr::V4(address)),
            enabled: true,
            to: to.map(node_id),
            request,
        };
        self.ask(node, ask)
    }

    fn send_ask(&mut self, op: usize) {
        let (attempt, node, ask) = self.operator.attempt(op);
        let message = Message::Ask { op, attempt, ask: Box::new(ask) };
        let (from, to) = (Spot::Operator, Spot::Node(node));
        self.send(Packet { from, from_process: 0, to, to_process: None, message });
        let patience = self.now + ms(1_500);
        self.push(patience, Event::Operator { op, attempt });
    }

    fn operator_due(&mut self, op: usize, attempt: u32) {
        if self.operator.no_answer(self.now, op, attempt, self.machines.len()) {
            self.send_ask(op);
        }
    }

    fn operator_answered(
        &mut self,
        op: usize,
        attempt: u32,
        answer: Result<vipfence_coordinator_core::Reply, vipfence_coordinator_core::AskError>,
    ) {
        let names: Vec<NodeId> = self.machines.iter().map(|m| m.name.clone()).collect();
        if let Err(violation) = self.oracle.acknowledged(self.operator.asked(op), &answer) {
            self.violate(violation);
        }
        if let Some(wait) = self.operator.answered(self.now, op, attempt, answer, &names) {
            let at = self.now + wait;
            self.push(at, Event::Operator { op, attempt });
        }
    }
}

/// The name of a node.
pub(crate) fn node_id(name: &str) -> NodeId {
    NodeId::new(name).expect("a valid name")
}

fn azure_of(seed: u64, plan: &Plan) -> Azure {
    let mut config = WorldConfig { seed, settings: plan.azure.clone(), ..WorldConfig::default() };
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
    Azure::new(azure_sim::World::new(config).expect("a possible world"))
}

fn machine(seed: u64, index: u64, name: &NodeId, plan: &Plan, clocks: &mut Chance) -> Machine {
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
        excused: BTreeSet::new(),
        excuse_ends: ExcuseEnds::Never,
        excused_process: None,
    }
}

/// Messages that a network may repeat. Writes to ARM it may not: a request is sent once or not at
/// all over one connection.
fn copy_of(packet: &Packet) -> Option<Packet> {
    let message = match &packet.message {
        Message::Raft { call, request } => Message::Raft { call: *call, request: request.clone() },
        Message::Beat { heartbeat } => Message::Beat { heartbeat: heartbeat.clone() },
        Message::BeatAnswer { seq, answer } => {
            Message::BeatAnswer { seq: *seq, answer: answer.clone() }
        }
        Message::Nudge => Message::Nudge,
        Message::Ask { op, attempt, ask } => {
            Message::Ask { op: *op, attempt: *attempt, ask: ask.clone() }
        }
        Message::RaftAnswer { .. }
        | Message::Arm { .. }
        | Message::ArmAnswer { .. }
        | Message::Imds
        | Message::ImdsAnswer { .. }
        | Message::AskAnswer { .. } => return None,
    };
    let Packet { from, from_process, to, to_process, .. } = *packet;
    Some(Packet { from, from_process, to, to_process, message })
}

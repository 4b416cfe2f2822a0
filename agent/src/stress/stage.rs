//! The stage: what is true, whatever the nodes believe. Kernels, clocks, Azure and its roads, and the
//! oracle, which is told of everything as it happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use azure_sim::{AdminCommand, ArmRequest};
use tokio::sync::{Notify, oneshot};
use vipfence_agent_core::{HeldVip, Spent};
use vipfence_coordinator_core::{Confirmed, HttpFault, HttpId, HttpResult};
use vipfence_sim::azure::{Arrival, Azure, Waiting};
use vipfence_sim::chance::Chance;
use vipfence_sim::time::{At, MachineClocks, PauseSeen, ms};
use vipfence_sim::{Happening, Judge, Kernel, Node, Truth, Violation, Who};
use vipfence_types::{Clocks, Epoch, MoveId, NodeId, Term, VipEpoch, VipName};

use crate::clock::ClockSource;
use crate::node::NodeHandle;
use crate::node::state::Remembered;

use super::kernel::Asked;
use super::plan::Moment;

/// How many quorum rounds are remembered: far more than a writer has under way.
const ROUNDS_KEPT: usize = 64;

/// So long after a pause at most the agent has looked at its clocks (half a second of running time,
/// ADR 6), and its calls to the OS, which may hang, are done.
const PAUSE_DEALT_WITH: At = ms(2_000);

/// A process that runs on a node.
pub(super) struct Running {
    pub(super) who: Who,
    pub(super) handle: NodeHandle,
    /// Rung when an operator stops the agent cleanly.
    pub(super) stop: Arc<Notify>,
}

/// Why nothing runs on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Still {
    /// The process is stopped; kernel and clocks go on.
    Stopped,
    /// The hypervisor keeps the whole machine from running. Two of its clocks show it later.
    Paused,
}

/// Addresses whose lifetimes stood still with the machine, or that its kernel was just putting up: the
/// exception of I1 (ADR 6).
struct Excuse {
    until: At,
    /// Without this process nobody but the kernel takes them off.
    process: Option<u64>,
    addresses: BTreeSet<IpAddr>,
}

/// A machine: what outlives a process.
pub(super) struct Machine {
    pub(super) name: NodeId,
    pub(super) clocks: HostClocks,
    pub(super) kernel: Kernel,
    /// What the node has confirmed to some leader.
    confirmed: Spent,
    pub(super) process: Option<Running>,
    /// The process has ended cleanly and waits to be taken away.
    pub(super) ended: bool,
    /// Since when nothing runs on it, and why.
    pub(super) still: Option<(At, Still)>,
    excuse: Option<Excuse>,
    /// What its kernel was asked for and has not done yet, and by whom.
    pub(super) in_kernel: Option<(Who, Asked)>,
    /// Nothing gets to Azure, nor back.
    pub(super) arm_cut: bool,
    /// When its process was first seen in each term. A later process may be in an earlier term: what
    /// was not flushed is gone.
    terms: BTreeMap<Term, At>,
    /// The quorum rounds of its process that were confirmed, the last ones.
    rounds: VecDeque<(Clocks, Confirmed)>,
    /// The token, and until when it is good.
    token: Option<(String, At)>,
}

/// The clocks of a machine.
#[derive(Clone)]
pub(super) struct HostClocks {
    now: Arc<AtomicU64>,
    clocks: Arc<Mutex<MachineClocks>>,
}

impl HostClocks {
    fn clocks(&self) -> MutexGuard<'_, MachineClocks> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mono(&self) -> u64 {
        self.clocks().mono(self.now.load(Ordering::Relaxed))
    }

    /// Somebody sets the wall clock.
    pub(super) fn jump_wall(&self, by: i64) {
        self.clocks().jump_wall(self.now.load(Ordering::Relaxed), by);
    }
}

impl Machine {
    fn is_paused(&self) -> bool {
        self.still.is_some_and(|(_, why)| why == Still::Paused)
    }

    fn excused(&self) -> Option<&Excuse> {
        let process = self.process.as_ref().map(|process| process.who.process);
        let now = self.clocks.now.load(Ordering::Relaxed);
        self.excuse.as_ref().filter(|excuse| now < excuse.until || process != excuse.process)
    }

    fn counts_no_more_as_excused(&mut self, address: IpAddr) {
        if let Some(excuse) = &mut self.excuse {
            excuse.addresses.remove(&address);
        }
    }

    /// Whether it was in a later term by then.
    fn beyond(&self, term: Term, at: At) -> bool {
        self.terms.iter().any(|(seen, since)| *seen > term && *since < at)
    }
}

impl ClockSource for HostClocks {
    fn now(&self) -> Clocks {
        self.clocks().read(self.now.load(Ordering::Relaxed))
    }
}

impl Node for Machine {
    fn name(&self) -> &NodeId {
        &self.name
    }

    fn counts_as_having(&self, address: IpAddr) -> bool {
        let excused = self.excused().is_some_and(|excuse| excuse.addresses.contains(&address));
        self.kernel.has(address) && !self.is_paused() && !excused
    }

    fn entitled(&self, _now: At) -> Vec<HeldVip> {
        let running = self.process.as_ref().filter(|_| !self.is_paused());
        running.map(|process| process.handle.view().held).unwrap_or_default()
    }

    fn has_spent(&self, vip: &VipName, address: IpAddr, epoch: Epoch) -> bool {
        self.confirmed.forbids(vip, &[address], epoch)
    }

    fn is_excused(&self) -> bool {
        self.excused().is_some()
    }
}

/// See the module.
pub(super) struct Stage {
    now: Arc<AtomicU64>,
    pub(super) nodes: Vec<Machine>,
    pub(super) azure: Azure,
    pub(super) judge: Judge,
    pub(super) chance: Chance,
    /// The first violation of all.
    pub(super) violation: Option<Violation>,
    /// The moves that the operator was told of.
    pub(super) acknowledged: Vec<(MoveId, VipName)>,
    /// The operator's calls that go on.
    pub(super) calls_open: usize,
    /// What really happened, by how often.
    pub(super) happened: BTreeMap<&'static str, u64>,
    /// What happened since the run last looked.
    moments: BTreeSet<Moment>,
    processes: u64,
    /// Something is to be looked at by the oracle.
    changed: bool,
    order: u64,
    to_arm: BTreeMap<(At, u64), (Waiting, ArmRequest)>,
    from_arm: BTreeMap<(At, u64), (Waiting, HttpResult)>,
    waiting: BTreeMap<(u64, HttpId), oneshot::Sender<HttpResult>>,
}

/// The stage, for all who are on it. One thread runs them all, so nobody ever waits for it.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Stage>>);

impl Shared {
    pub(super) fn new(stage: Stage) -> Self {
        Self(Arc::new(Mutex::new(stage)))
    }

    pub(super) fn enter(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    pub(super) fn new(
        now: Arc<AtomicU64>,
        azure: Azure,
        nodes: Vec<(NodeId, MachineClocks)>,
        chance: Chance,
    ) -> Self {
        let machine = |(name, clocks)| Machine {
            name,
            clocks: HostClocks { now: Arc::clone(&now), clocks: Arc::new(Mutex::new(clocks)) },
            kernel: Kernel::default(),
            confirmed: Spent::default(),
            process: None,
            ended: false,
            still: None,
            excuse: None,
            in_kernel: None,
            arm_cut: false,
            terms: BTreeMap::new(),
            rounds: VecDeque::new(),
            token: None,
        };
        Self {
            nodes: nodes.into_iter().map(machine).collect(),
            now,
            judge: Judge::new(&azure.world),
            azure,
            chance,
            violation: None,
            acknowledged: Vec::new(),
            calls_open: 0,
            happened: BTreeMap::new(),
            moments: BTreeSet::new(),
            processes: 0,
            changed: false,
            order: 0,
            to_arm: BTreeMap::new(),
            from_arm: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    pub(super) fn now(&self) -> At {
        self.now.load(Ordering::Relaxed)
    }

    pub(super) fn saw(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// A moment that somebody may wait for.
    pub(super) fn happens(&mut self, moment: Moment) {
        self.moments.insert(moment);
    }

    /// What happened since the last look.
    pub(super) fn moments(&mut self) -> BTreeSet<Moment> {
        std::mem::take(&mut self.moments)
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now();
        self.judge.timeline.note(now, line);
    }

    pub(super) fn blame(&mut self, violation: Violation) {
        self.note(|| format!("!! {violation}"));
        self.violation.get_or_insert(violation);
    }

    // ---- what processes do ----------------------------------------------------------------------

    /// A process begins.
    pub(super) fn begins(&mut self, node: usize) -> Who {
        self.processes += 1;
        let who = Who { node, process: self.processes };
        self.nodes[node].rounds.clear();
        self.nodes[node].terms.clear();
        let name = self.nodes[node].name.clone();
        self.note(|| format!("{name}: process {} begins", who.process));
        who
    }

    /// I5: what was confirmed was on the disk, so every later start finds it there.
    pub(super) fn remembers(&mut self, who: Who, remembered: &Remembered) {
        let machine = &self.nodes[who.node];
        let lost = |(vip, epoch): &(&VipName, &Epoch)| !remembered.spent.forbids(vip, &[], **epoch);
        if let Some((vip, epoch)) = machine.confirmed.vips.iter().find(lost) {
            let what = format!("{} forgot that {vip} is spent at epoch {epoch}", machine.name);
            self.blame(Violation { invariant: "I5", what });
        }
    }

    /// A node confirms releases.
    pub(super) fn confirms(&mut self, who: Who, released: &[VipEpoch]) {
        for one in released {
            self.nodes[who.node].confirmed.spend(&one.vip, &[], one.epoch);
        }
    }

    /// A node knows of a term.
    pub(super) fn knows_term(&mut self, node: usize, term: Term) {
        let now = self.now();
        self.nodes[node].terms.entry(term).or_insert(now);
    }

    /// I7: a quorum round of a process was confirmed. A round is what a majority says after its
    /// beginning, and a node that was in a later term by then says nothing of the kind.
    pub(super) fn rounded(&mut self, who: Who, began: (At, Clocks), round: Confirmed) {
        self.saw("a quorum round was confirmed");
        let (at, clocks) = began;
        let beyond = self.nodes.iter().filter(|node| node.beyond(round.term, at)).count();
        if self.nodes.len() - beyond <= self.nodes.len() / 2 {
            let name = &self.nodes[who.node].name;
            let what = format!(
                "{name} has a quorum round of term {} that began at {at}, when {beyond} nodes were \
                 in a later one",
                round.term
            );
            self.blame(Violation { invariant: "I7", what });
        }
        let rounds = &mut self.nodes[who.node].rounds;
        rounds.push_back((clocks, round));
        if rounds.len() > ROUNDS_KEPT {
            rounds.pop_front();
        }
    }

    /// The rounds of the process that runs on a node.
    pub(super) fn rounds(&self, who: Who) -> Vec<(Clocks, Confirmed)> {
        self.nodes[who.node].rounds.iter().copied().collect()
    }

    /// The oracle learns of something.
    pub(super) fn learn(&mut self, who: Who, what: Happening) {
        self.changed = true;
        if let Happening::Applied { command: Some(command), .. } = &what {
            self.moments.extend(Moment::of(&command.body));
        }
        let now = self.now();
        let truth = Truth { now, machines: &self.nodes, azure: &self.azure.world };
        if let Err(violation) = self.judge.learn(&truth, who, what) {
            self.blame(violation);
        }
        self.look();
    }

    fn look(&mut self) {
        let truth = Truth { now: self.now(), machines: &self.nodes, azure: &self.azure.world };
        if let Err(violation) = self.judge.look(&truth) {
            self.blame(violation);
        }
        self.changed = false;
    }

    /// A kernel does what it was asked for.
    pub(super) fn kernel_does(&mut self, node: usize) {
        match self.nodes[node].in_kernel.take() {
            Some((who, Asked::Add(addition))) => {
                for one in &addition.addresses {
                    let under = (&addition.vip, addition.epoch);
                    self.set(who, under, one.address, addition.lifetime);
                }
            }
            Some((who, Asked::Remove(addresses))) => {
                addresses.into_iter().for_each(|address| self.take_off(who, address));
            }
            None => {}
        }
    }

    /// An address is put on an OS.
    fn set(
        &mut self,
        who: Who,
        (vip, epoch): (&VipName, Epoch),
        address: IpAddr,
        lifetime: Duration,
    ) {
        let now = self.now();
        let machine = &mut self.nodes[who.node];
        let mono = machine.clocks.mono();
        machine.kernel.set(mono, address, lifetime, &mut self.chance);
        // Within the time of grace it may still be what was asked for before the pause.
        let grace = machine.excuse.as_ref();
        if grace.is_some_and(|grace| now >= grace.until || grace.process != Some(who.process)) {
            machine.counts_no_more_as_excused(address);
        }
        self.learn(who, Happening::Set { vip: vip.clone(), epoch, address });
    }

    /// An address is taken off an OS.
    fn take_off(&mut self, who: Who, address: IpAddr) {
        if self.nodes[who.node].kernel.drop(address) {
            self.nodes[who.node].counts_no_more_as_excused(address);
            self.learn(who, Happening::Dropped { address });
        }
    }

    pub(super) fn found(&self, node: usize) -> Vec<vipfence_agent_core::Found> {
        let machine = &self.nodes[node];
        machine.kernel.found(machine.clocks.mono())
    }

    // ---- what is done to processes --------------------------------------------------------------

    /// The process of a node is gone.
    pub(super) fn gone(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        machine.ended = false;
        machine.in_kernel = None;
        if let Some(process) = machine.process.take() {
            self.judge.ended(process.who.process);
        }
    }

    /// The machine loses power: its kernel forgets.
    pub(super) fn power_off(&mut self, node: usize) {
        self.nodes[node].kernel.clear();
        self.nodes[node].excuse = None;
        self.judge.gone();
    }

    /// Nothing runs on a machine from now on.
    pub(super) fn stands_still(&mut self, node: usize, why: Still) {
        self.saw(match why {
            Still::Stopped => "a process is stopped",
            Still::Paused => "a machine is paused",
        });
        if why == Still::Stopped {
            self.kernel_does(node);
        }
        let now = self.now();
        self.nodes[node].still = Some((now, why));
        self.judge.gone();
    }

    /// It goes on; returns for how long its process has missed the monotonic clock.
    pub(super) fn goes_on(&mut self, node: usize) -> Option<Duration> {
        let now = self.now();
        let machine = &mut self.nodes[node];
        let (since, why) = machine.still.take()?;
        self.changed = true;
        self.judge.gone();
        if why == Still::Stopped {
            return Some(Duration::from_micros(now - since));
        }
        machine.clocks.clocks().resume(now, now - since, PauseSeen::Shown);
        let mut addresses: BTreeSet<IpAddr> = machine.kernel.all().collect();
        if let Some((_, Asked::Add(addition))) = &machine.in_kernel {
            addresses.extend(addition.addresses.iter().map(|one| one.address));
        }
        machine.excuse = Some(Excuse {
            until: now + PAUSE_DEALT_WITH,
            process: machine.process.as_ref().map(|process| process.who.process),
            addresses,
        });
        Some(Duration::ZERO)
    }

    // ---- Azure ----------------------------------------------------------------------------------

    /// A token of this node, if its metadata service gives one.
    pub(super) fn token(&mut self, node: usize) -> Option<String> {
        let now = self.now();
        if self.nodes[node].token.as_ref().is_none_or(|(_, until)| *until <= now) {
            let name = self.nodes[node].name.to_string();
            let (token, unix_s) = self.azure.token(now, &name)?.ok()?;
            let until = (unix_s * 1_000_000).saturating_sub(MachineClocks::EPOCH_US);
            self.nodes[node].token = Some((token, until));
        }
        self.nodes[node].token.as_ref().map(|(token, _)| token.clone())
    }

    /// A request sets out; the receiver gets what comes back. Nobody calls it back any more.
    pub(super) fn sets_out(
        &mut self,
        from: Waiting,
        request: ArmRequest,
    ) -> oneshot::Receiver<HttpResult> {
        let travel = match self.chance.within(0, 39) {
            // A write that arrives when its sender may long have been replaced.
            0 => {
                self.saw("a request to Azure arrives late");
                self.chance.within(ms(500), ms(9_000))
            }
            _ => self.chance.within(ms(1), ms(20)),
        };
        let at = (self.now() + travel, self.next());
        self.to_arm.insert(at, (from, request));
        let (answer, answered) = oneshot::channel();
        self.waiting.insert((from.process, from.id), answer);
        answered
    }

    fn next(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    fn answer(&mut self, to: Waiting, result: HttpResult) {
        if self.chance.one_in(40) {
            self.saw("an answer of Azure is lost");
            return;
        }
        let at = (self.now() + self.chance.within(ms(1), ms(20)), self.next());
        self.from_arm.insert(at, (to, result));
    }

    fn is_cut(&self, waiting: Waiting) -> bool {
        matches!(waiting.spot, vipfence_sim::Spot::Node(node) if self.nodes[node].arm_cut)
    }

    /// Something is done to the simulator.
    pub(super) fn admin(&mut self, command: AdminCommand) {
        let now = Duration::from_micros(self.now());
        // One that does not fit any more does nothing.
        let _ = self.azure.world.admin(now, command);
        self.changed = true;
    }

    // ---- time -----------------------------------------------------------------------------------

    /// Time has come to `now`: what is due by itself happens.
    pub(super) fn tick(&mut self, now: At) {
        self.now.store(now, Ordering::Relaxed);
        self.expire();
        self.carry();
        let due = self.azure.world.next_deadline();
        if due.is_some_and(|due| due <= Duration::from_micros(now)) {
            self.azure.world.advance(Duration::from_micros(now));
            self.changed = true;
        }
        for (waiting, answer) in self.azure.take_answers() {
            self.answer(waiting, Ok(answer));
        }
        if self.changed {
            self.look();
        }
    }

    fn expire(&mut self) {
        let now = self.now();
        for node in 0..self.nodes.len() {
            let machine = &mut self.nodes[node];
            let mono = machine.clocks.mono();
            if machine.excuse.as_ref().is_some_and(|excuse| excuse.until == now) {
                self.judge.gone();
                self.changed = true;
            }
            if machine.is_paused() || machine.kernel.next().is_none_or(|next| next > mono) {
                continue;
            }
            let alone = machine.process.is_none() || machine.still.is_some();
            for address in machine.kernel.expire(mono) {
                self.nodes[node].counts_no_more_as_excused(address);
                self.judge.gone();
                let name = self.nodes[node].name.clone();
                self.note(|| format!("{name}: the kernel drops {address}"));
                if alone {
                    self.saw("a lease expired by the kernel only");
                }
            }
            self.changed = true;
        }
    }

    fn carry(&mut self) {
        let now = self.now();
        while let Some(first) = self.to_arm.first_entry().filter(|first| first.key().0 <= now) {
            let (waiting, request) = first.remove();
            if self.is_cut(waiting) {
                continue;
            }
            self.changed = true;
            match self.azure.arm(now, request, waiting) {
                Arrival::Answer(answer) => self.answer(waiting, Ok(answer)),
                Arrival::Closed => {
                    let fault = HttpFault::Unknown("the connection was closed".to_owned());
                    self.answer(waiting, Err(fault));
                }
                Arrival::Silence => {}
            }
        }
        while let Some(first) = self.from_arm.first_entry().filter(|first| first.key().0 <= now) {
            let (waiting, result) = first.remove();
            if self.is_cut(waiting) {
                continue;
            }
            if let Some(to) = self.waiting.remove(&(waiting.process, waiting.id)) {
                // A process that is gone needs no answer.
                let _gone = to.send(result);
            }
        }
    }
}

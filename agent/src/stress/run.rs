//! A run: safety phase, heal, liveness phase.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::panic;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Once};
use std::time::Duration;

use azure_sim::{AdminCommand, World, WorldConfig};
use tempfile::TempDir;
use tokio::sync::mpsc;
use vipfence_coordinator::consensus::SnapshotLimits;
use vipfence_sim::azure::Azure;
use vipfence_sim::chance::Chance;
use vipfence_sim::time::{At, MachineClocks, ms, secs, us};
use vipfence_sim::{Truth, Violation};
use vipfence_types::{Mutation, NicId, NicRecord, NodeId};

use super::host::{self, Blueprint};
use super::net::{Closed, Net};
use super::operator;
use super::plan::{Ambush, Ask, Blow, Deed, NODES, Plan, Whom};
use super::process::Process;
use super::stage::{Shared, Stage, Still};

/// The longest latency of a message while nothing is wrong.
pub(super) const LATENCY_MS: u64 = 5;

/// Hosts run in turn for so long: what happens within it is not ordered in time between them, and a
/// message takes at least as long.
const TICK: Duration = Duration::from_millis(1);

/// Within so long after the faults everything is where it should be, and stays there.
const CONVERGE: At = secs(120);
const STAY: At = secs(2);

/// What came of a seed.
pub(super) struct Report {
    seed: u64,
    pub(super) problem: Option<String>,
    converged_after: Option<At>,
    simulated: At,
    took: Duration,
    pub(super) happened: BTreeMap<&'static str, u64>,
    words: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.words {
            writeln!(f, "{line}")?;
        }
        let Self { seed, simulated, took, .. } = self;
        let of_converging = self.converged_after.map_or("never".to_owned(), |after| {
            format!("{:.1} s after the faults", Duration::from_micros(after).as_secs_f64())
        });
        let simulated = simulated / 1_000_000;
        write!(f, "seed {seed}: {simulated} s simulated in {took:.1?}, converged {of_converging}")?;
        if let Some(problem) = &self.problem {
            write!(f, "; {problem}")?;
        }
        Ok(())
    }
}

/// Runs the faults of a seed with a rule broken; returns the violation that was noticed.
pub(super) fn broken(seed: u64, rule: Mutation) -> Option<String> {
    let mut run = Run::new(seed);
    Mutation::switch(Some(rule));
    let noticed = run.faults().err();
    Mutation::switch(None);
    noticed
}

/// Runs a seed.
#[expect(clippy::disallowed_methods, reason = "says how much real time a seed takes")]
pub(super) fn run(seed: u64, in_words: bool) -> Report {
    let begun = std::time::Instant::now();
    let mut run = Run::new(seed);
    let problem = run.all().err();
    let mut stage = run.stage.enter();
    let lines: Vec<String> = stage.judge.timeline.lines().collect();
    // Of one that went wrong the end, at least.
    let from = if in_words { 0 } else { lines.len().saturating_sub(60) };
    let shown = if in_words || problem.is_some() { &lines[from..] } else { &[] };
    let mut happened = std::mem::take(&mut stage.happened);
    for (what, times) in stage.judge.sometimes().iter() {
        *happened.entry(what).or_default() += times;
    }
    Report {
        seed,
        problem,
        converged_after: run.converged_after,
        simulated: stage.now(),
        took: begun.elapsed(),
        happened,
        words: shown.to_vec(),
    }
}

struct Run {
    plan: Plan,
    nodes: Vec<NodeId>,
    stage: Shared,
    net: Net,
    now: At,
    /// What runs on each host, if anything does: the nodes, then the operator.
    hosts: Vec<Option<Process>>,
    blueprints: Vec<Arc<Blueprint>>,
    /// In which order hosts run within a tick.
    order: Chance,
    asks: mpsc::UnboundedSender<Ask>,
    converged_after: Option<At>,
    /// Removed at the end.
    _dir: TempDir,
}

impl Run {
    fn new(seed: u64) -> Self {
        watch_panics();
        PANIC.take();
        let plan = Plan::draw(seed);
        let nodes: Vec<NodeId> = ["a", "b", "c"][..NODES]
            .iter()
            .map(|name| NodeId::new(name).expect("a valid name"))
            .collect();
        let azure = azure(seed, &plan, &nodes);
        let config = azure.config().clone();
        let mut clocks = Chance::of(seed, 2);
        let machines = nodes.iter().map(|node| (node.clone(), machine_clocks(&mut clocks)));
        let now = Arc::new(AtomicU64::new(0));
        let mut stage = Stage::new(now, Azure::new(azure), machines.collect(), Chance::of(seed, 3));
        stage.judge.timeline.keep();
        let stage = Shared::new(stage);
        let dir = folder();
        let net = Net::new(Chance::of(seed, 4), ms(LATENCY_MS));
        let blueprint = |(index, node): (usize, &NodeId)| {
            Arc::new(Blueprint {
                stage: stage.clone(),
                net: net.clone(),
                index,
                node: node.clone(),
                peers: nodes.clone(),
                dir: dir.path().join(node.as_str()),
                timing: plan.timing,
                nic: NicRecord {
                    name: "eth0".to_owned(),
                    id: NicId::new(&config.nic_id(&format!("{node}-nic"))),
                },
                snapshot: SnapshotLimits {
                    entries_between: plan.entries.0,
                    entries_kept: plan.entries.1,
                },
            })
        };
        let blueprints: Vec<_> = nodes.iter().enumerate().map(blueprint).collect();
        let (asks, asked) = mpsc::unbounded_channel();
        let operator = operator::operate(stage.clone(), net.clone(), nodes.clone(), asked);
        let processes = blueprints.iter().map(|host| Process::new(host::process(Arc::clone(host))));
        let mut hosts: Vec<_> = processes.map(Some).collect();
        hosts.push(Some(Process::new(operator)));
        let (order, now) = (Chance::of(seed, 5), 0);
        let _dir = dir;
        let converged_after = None;
        Self { plan, nodes, stage, net, now, hosts, blueprints, order, asks, converged_after, _dir }
    }

    fn all(&mut self) -> Result<(), String> {
        self.faults()?;
        self.heal();
        self.converge(self.now)?;
        let stage = self.stage.enter();
        let acknowledged = stage.acknowledged.iter().map(|(id, vip)| (*id, Some(vip)));
        stage.judge.at_the_end(acknowledged).map_err(|violation| violation.to_string())
    }

    fn faults(&mut self) -> Result<(), String> {
        // What would end after the faults are over is ended by the heal.
        while self.now < self.plan.until {
            self.step()?;
            self.spring();
            while let Some(deed) = self.due_deed() {
                self.stage.enter().note(|| format!("** {deed:?}"));
                self.act(deed);
            }
        }
        Ok(())
    }

    fn due_deed(&mut self) -> Option<Deed> {
        let due = self.plan.deeds.first().is_some_and(|(at, _)| *at <= self.now);
        due.then(|| self.plan.deeds.remove(0).1)
    }

    fn step(&mut self) -> Result<(), String> {
        // The threads that write to the disks: time does not wait for them.
        std::thread::yield_now();
        self.stage.enter().tick(self.now);
        self.net.pass(self.now);
        self.let_hosts_run()?;
        self.now += us(TICK);
        if let Some(panicked) = PANIC.take() {
            return Err(format!("a task has panicked: {panicked}"));
        }
        for node in 0..NODES {
            if self.stage.enter().nodes[node].ended {
                self.kill(node);
            }
        }
        match &self.stage.enter().violation {
            Some(violation) => Err(violation.to_string()),
            None => Ok(()),
        }
    }

    fn let_hosts_run(&mut self) -> Result<(), String> {
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        for left in (1..order.len()).rev() {
            order.swap(left, self.order.index(left + 1));
        }
        for host in order {
            let still = host < NODES && self.stage.enter().nodes[host].still.is_some();
            if let Some(process) = self.hosts[host].as_mut().filter(|_| !still) {
                process.run(TICK)?;
            }
        }
        Ok(())
    }

    /// Ambushes whose moment has come become deeds.
    fn spring(&mut self) {
        let moments = self.stage.enter().moments();
        if moments.is_empty() {
            return;
        }
        let now = self.now;
        let comes = |ambush: &mut Ambush| ambush.from <= now && moments.contains(&ambush.moment);
        let sprung: Vec<Ambush> = self.plan.ambushes.extract_if(.., comes).collect();
        self.add(sprung.into_iter().map(|ambush| (now + ambush.late, ambush.deed)));
    }

    fn add(&mut self, deeds: impl Iterator<Item = (At, Deed)>) {
        self.plan.deeds.extend(deeds);
        self.plan.deeds.sort_by_key(|(at, _)| *at);
    }

    // ---- deeds ----------------------------------------------------------------------------------

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Strike(whom, blow, span) => {
                if let Some(node) = self.whom(whom) {
                    self.strike(node, blow, span);
                }
            }
            Deed::Start(node) => self.start(node),
            Deed::GoOn(node) => self.go_on(node),
            Deed::Part(a, b) => self.close(a, b, Closed::Cut),
            Deed::PartOneWay(a, b) => self.net.close(a, b, Closed::Cut),
            Deed::Hold(a, b) => self.close(a, b, Closed::Held),
            Deed::Join(a, b) => self.net.open(a, b),
            Deed::Loss(parts) => self.net.lose(parts),
            Deed::Latency(most) => self.net.slow(us(most)),
            Deed::JumpWall(node, by) => self.stage.enter().nodes[node].clocks.jump_wall(by),
            Deed::MendArm(node) => self.stage.enter().nodes[node].arm_cut = false,
            Deed::Azure(command) => self.stage.enter().admin(command),
            Deed::Ask(ask) => {
                self.stage.enter().calls_open += 1;
                // The operator is there as long as the run.
                let _ = self.asks.send(ask);
            }
        }
    }

    fn whom(&self, whom: Whom) -> Option<usize> {
        let stage = self.stage.enter();
        let agreed = stage.judge.agreed();
        let name = match whom {
            Whom::Node(node) => return Some(node),
            Whom::Leader => agreed.leader.as_ref(),
            Whom::Holder(vip) => agreed.vip(&operator::vip_name(vip))?.holder(),
        };
        self.nodes.iter().position(|node| Some(node) == name)
    }

    /// A node is struck now, and what ends it waits for its time.
    fn strike(&mut self, node: usize, blow: Blow, span: At) {
        let still = self.stage.enter().nodes[node].still.map(|(_, why)| why);
        // Nobody does anything on a machine that is paused.
        if still == Some(Still::Paused) && !matches!(blow, Blow::Isolate | Blow::CutArm) {
            return;
        }
        let others = (0..NODES).filter(|other| *other != node);
        let over = match blow {
            Blow::Kill | Blow::PowerOff | Blow::CleanStop => vec![Deed::Start(node)],
            Blow::Stop | Blow::Pause => vec![Deed::GoOn(node)],
            Blow::Isolate => others.clone().map(|other| Deed::Join(node, other)).collect(),
            Blow::CutArm => vec![Deed::MendArm(node)],
        };
        let end = self.now + span;
        self.add(over.into_iter().map(|deed| (end, deed)));
        match blow {
            Blow::Kill => self.kill(node),
            Blow::PowerOff => {
                self.kill(node);
                self.stage.enter().power_off(node);
            }
            Blow::CleanStop => {
                if let Some(process) = &self.stage.enter().nodes[node].process {
                    process.stop.notify_one();
                }
            }
            Blow::Stop if still.is_none() => self.stand_still(node, Still::Stopped),
            Blow::Pause if still.is_none() => self.stand_still(node, Still::Paused),
            Blow::Stop | Blow::Pause => {}
            Blow::Isolate => others.for_each(|other| self.close(node, other, Closed::Cut)),
            Blow::CutArm => self.stage.enter().nodes[node].arm_cut = true,
        }
    }

    fn close(&self, a: usize, b: usize, how: Closed) {
        self.net.close(a, b, how);
        self.net.close(b, a, how);
    }

    fn stand_still(&self, node: usize, why: Still) {
        // What has no process has nothing to stop; a machine can be paused all the same.
        if why == Still::Paused || self.hosts[node].is_some() {
            self.stage.enter().stands_still(node, why);
            self.net.sleeps(node, why == Still::Paused);
        }
    }

    fn go_on(&mut self, node: usize) {
        let missed = self.stage.enter().goes_on(node);
        self.net.sleeps(node, false);
        if let (Some(missed), Some(process)) = (missed, &mut self.hosts[node]) {
            process.skip(missed);
        }
        // Whatever should have been started meanwhile.
        self.start(node);
    }

    fn kill(&mut self, node: usize) {
        // First what the stage has of it, so that nothing of the process outlives it.
        self.stage.enter().gone(node);
        self.hosts[node] = None;
        self.net.gone(node);
        // There is nothing left to go on.
        self.stage.enter().goes_on(node);
    }

    fn start(&mut self, node: usize) {
        let paused = self.stage.enter().nodes[node].still.is_some();
        if self.hosts[node].is_none() && !paused {
            let host = Arc::clone(&self.blueprints[node]);
            self.hosts[node] = Some(Process::new(host::process(host)));
        }
    }

    fn heal(&mut self) {
        self.stage.enter().note(|| "** healed".to_owned());
        self.act(Deed::Loss(0));
        self.act(Deed::Latency(Duration::from_millis(LATENCY_MS)));
        self.act(Deed::Azure(AdminCommand::ClearFaults));
        for node in 0..NODES {
            self.act(Deed::MendArm(node));
            self.act(Deed::GoOn(node));
            self.act(Deed::Start(node));
            for other in 0..node {
                self.act(Deed::Join(node, other));
            }
        }
        // Every VIP has to be held in the end; one that is enabled stays as it is.
        for vip in 0..self.plan.vips {
            let defined = self.stage.enter().judge.agreed().vip(&operator::vip_name(vip)).is_some();
            self.act(Deed::Ask(if defined { Ask::Enable(vip) } else { Ask::Create(vip) }));
        }
    }

    fn converge(&mut self, healed: At) -> Result<(), String> {
        let mut since = None;
        loop {
            self.step()?;
            let now = self.now;
            let missing = self.missing();
            match (missing, since) {
                (None, None) => since = Some(now),
                (None, Some(begun)) if now >= begun + STAY => {
                    self.converged_after = Some(begun - healed);
                    return Ok(());
                }
                (None, Some(_)) => {}
                (Some(_), _) if now < healed + CONVERGE => since = None,
                (Some(why), _) => {
                    let what = format!("{} s after the faults: {why}", CONVERGE / 1_000_000);
                    return Err(Violation { invariant: "I6", what }.to_string());
                }
            }
        }
    }

    fn missing(&self) -> Option<String> {
        let stage = self.stage.enter();
        if stage.calls_open > 0 {
            return Some("an operator's call goes on".to_owned());
        }
        if stage.judge.agreed().vips.len() < self.plan.vips {
            return Some("a VIP is not defined".to_owned());
        }
        let (machines, azure) = (&stage.nodes, &stage.azure.world);
        stage.judge.unconverged(&Truth { now: stage.now(), machines, azure })
    }
}

/// Simulated time does not wait for a disk: ten milliseconds of flushing are a tenth of a second on the
/// stage, and elections fail. So the files lie in memory where the system has a place for that.
fn folder() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

fn azure(seed: u64, plan: &Plan, nodes: &[NodeId]) -> World {
    let mut config = WorldConfig { seed, settings: plan.azure.clone(), ..WorldConfig::default() };
    config.started_unix_ms = MachineClocks::EPOCH_US / 1_000;
    for (last, node) in (4..).zip(nodes) {
        config = config.with_node(node.as_str(), Ipv4Addr::new(10, 5, 0, last));
    }
    World::new(config).expect("a possible world")
}

/// The truth lies between any two clocks: their rates are within ± 1 %.
fn machine_clocks(chance: &mut Chance) -> MachineClocks {
    let mut rate = || i32::try_from(chance.signed(-9_900, 9_900)).expect("a small number");
    let (slewed, crystal) = (rate(), rate());
    MachineClocks::booted(0, chance.signed(-200_000, 200_000), slewed, crystal)
}

thread_local! {
    /// What the first task that panicked on this thread has said: tokio keeps panics to itself.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANIC.with_borrow_mut(|panicked| {
                panicked.get_or_insert_with(|| info.to_string());
            });
            before(info);
        }));
    });
}

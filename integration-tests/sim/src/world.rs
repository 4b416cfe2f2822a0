//! The world: the event loop, and all that lies between the processes.
//!
//! One queue of events in true time; each is carried out whole, its results are queued, and the
//! oracle looks at the truth. Nothing else moves, so a seed and a schedule of faults give the same
//! run, byte for byte.
//!
//! Here is the queue and the turn of each event. What may happen stands in the modules: what a world
//! is made of in `plan`, faults in `deed`, messages in `post` and the rules for them in `rule`,
//! load balancers in `balancer`, traffic for VIPs in `traffic`, processes in `life`, the operator's calls in `operator`, what scripted scenarios use in `script`
//! and `coming`.

mod balancer;
mod coming;
mod deed;
mod life;
mod operator;
mod plan;
mod post;
mod rule;
mod script;
mod traffic;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use vipfence_coordinator_core::{Founder, Setup};
use vipfence_types::{ClusterName, NicRecord, NodeId, Role};

use crate::{
    azure::Azure,
    balancer::{Balancer, INTERVAL},
    chance::Chance,
    machine::Machine,
    net::{Net, Packet},
    operator::Operator,
    oracle::{Oracle, Truth, Violation},
    process::Local,
    seat::Roster,
    sometimes::Sometimes,
    time::{At, ms, secs},
    timeline::Timeline,
};

pub use coming::Coming;
pub use deed::Deed;
pub use plan::Plan;
pub(crate) use plan::node_id;
pub use rule::{Kind, Verdict};
pub use script::Wrote;

use plan::{azure_of, machine, stream};
use rule::Rule;

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
    /// A load balancer probes.
    Probes {
        front: usize,
    },
    /// A fault begins or ends, or a script goes on.
    Deed(Deed),
}

/// See the module.
pub struct World {
    pub(crate) now: At,
    queue: BTreeMap<(At, u64), Event>,
    order: u64,
    pub(crate) setup: Setup,
    /// See [`Plan`].
    pub(crate) only_time_clears: bool,
    nics: BTreeMap<NodeId, Vec<NicRecord>>,
    roster: Arc<Roster>,
    pub(crate) machines: Vec<Machine>,
    net: Net,
    pub(crate) azure: Azure,
    azure_due: Option<(At, u64)>,
    pub(crate) balancers: Vec<Balancer>,
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
            .map(|(node, _)| (node.clone(), plan::nics_of(azure.world.config(), node)))
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
            trust_if_match: plan.trust_if_match,
            epoch_tag: plan.epoch_tag,
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
            only_time_clears: plan.only_time_clears(),
            nics,
            roster: Arc::new(Roster::new(&nodes)),
            kernel_due: vec![None; machines.len()],
            oracle: Oracle::new(&azure.world),
            machines,
            net: Net::new(Chance::of(seed, stream::NET)),
            azure,
            azure_due: None,
            balancers: plan::balancers(plan),
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
        world.oracle.tasks.duties.clone_from(&plan.duties);
        for index in 0..world.machines.len() {
            let at = world.chance.within(0, ms(300));
            world.at(at, Deed::Start(index));
        }
        for front in 0..world.balancers.len() {
            let at = world.chance.within(secs(1), secs(1) + INTERVAL);
            world.push(at, Event::Probes { front });
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
            if self.queue.first_key_value().is_none_or(|((at, _), _)| *at > end) {
                self.now = end;
                return done(self);
            }
            self.step();
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
            Event::Probes { front } => {
                self.count(7, front as u64);
                self.probe(front);
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
}

//! The bench: one log, the machines of successive leaders, agents and ARM in simulated time. After
//! every event it checks what must never happen (I1, I2, I8).

use core::net::IpAddr;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use vipfence_types::{
    Answer, BootId, Clocks, ClusterName, NicId, NicRecord, NodeId, Profile, Refusal, Role, Term,
    Timing, VipName, VipSpec,
};

use super::{
    agent::Agent,
    arm::{Arm, GROUP},
};
use crate::coordinator::{
    AskId, BeatId, Confirmed, Coordinator, Effect, Input, ProposalId, ProposeFault, RoundId, Setup,
};
use crate::{
    ask::{Ask, AskError, Reply},
    nic::{HttpFault, HttpRequest, Method},
    registry::{
        Applied, Body, Cause, Command, EventKind, Expect, Founder, Intent, Registry, Request,
        Scope, Step, VipRecord,
    },
};

const CONSENSUS: Duration = Duration::from_millis(2);
const TO_ARM: Duration = Duration::from_millis(10);
const TO_LEADER: Duration = Duration::from_millis(1);
const ELECTION: Duration = Duration::from_millis(500);

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

pub(super) fn demo() -> VipName {
    VipName::new("demo").expect("a name")
}

pub(super) fn address() -> IpAddr {
    IpAddr::from([10, 5, 0, 110])
}

pub(super) fn nic_of(name: &str) -> NicId {
    NicId::new(&format!("{GROUP}/networkInterfaces/{name}-nic"))
}

fn nic(name: &str, id: NicId) -> NicRecord {
    NicRecord { name: name.to_owned(), id }
}

#[derive(Debug)]
enum Event {
    Input(usize, Box<Input>),
    Commit(usize, ProposalId, Box<Command>),
    RoundEnds(usize, RoundId),
    Arm(usize, Box<HttpRequest>, Duration),
    Beat(NodeId, bool),
    Answer(NodeId, String, Duration, Result<Answer, Refusal>),
    Wake(usize, Duration),
    Elected(NodeId),
}

struct Machine {
    core: Coordinator,
    node: NodeId,
    term: Term,
    running: bool,
    wake: Duration,
}

/// What becomes of a leader that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Old {
    /// It crashed, and nothing of what it had under way arrives.
    Crashes,
    /// It crashed; what it had under way arrives. Its NIC writes so much later.
    Lands(Duration),
    /// It runs on for two seconds, not knowing.
    Unaware,
}

/// Something that was seen, for the order of things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) at: Duration,
    pub(super) what: String,
}

/// See the module.
pub(super) struct Bench {
    pub(super) now: Duration,
    pub(super) log: Registry,
    pub(super) arm: Arm,
    pub(super) agents: BTreeMap<NodeId, Agent>,
    pub(super) sights: Vec<Sight>,
    pub(super) replies: BTreeMap<AskId, Result<Reply, AskError>>,
    pub(super) proposals: Vec<Command>,
    /// Proposals, rounds and requests so far.
    pub(super) effects: usize,
    pub(super) ticks: usize,
    /// Problems that were told, by kind.
    pub(super) problems: BTreeMap<&'static str, usize>,
    pub(super) answers: Vec<(Duration, NodeId, Result<Answer, Refusal>)>,
    /// Replaces the leader right after this effect.
    pub(super) replace_at: Option<(usize, Old, NodeId)>,
    /// Commits are not applied while this is set.
    pub(super) no_quorum: bool,
    queue: BTreeMap<(Duration, u64), Event>,
    order: u64,
    index: u64,
    term: u64,
    machines: Vec<Machine>,
    beats: BTreeMap<BeatId, (NodeId, String, Duration)>,
    next: u64,
    held_at: Option<Duration>,
    /// A write of a dead leader has landed: where the address is says nothing about the present one.
    landed: bool,
    setup: Setup,
}

impl Bench {
    /// Three members and a witness; `a` leads, nothing is defined.
    pub(super) fn new() -> Self {
        let mut arm = Arm::new();
        let mut agents = BTreeMap::new();
        let mut founders = Vec::new();
        for (at, name) in ["a", "b", "c", "w"].into_iter().enumerate() {
            let role = if name == "w" { Role::Witness } else { Role::Member };
            if role.may_hold() {
                let last = u8::try_from(at).expect("few") + 4;
                arm.add_nic(&format!("{name}-nic"), IpAddr::from([10, 5, 0, last]));
            }
            founders.push(Founder { node: node(name), role, address: format!("{name}:7600") });
            let agent = Agent {
                alive: true,
                connected: true,
                hangs: false,
                stopping: false,
                failing: None,
                unfit: None,
                serves_not: None,
                reaches: false,
                boot: format!("{name}1"),
                replaces: vec![],
                spent: BTreeMap::new(),
                refusal: None,
                seq: 0,
                holds: BTreeMap::new(),
                released: BTreeSet::new(),
                refused: BTreeSet::new(),
                not_taken: BTreeSet::new(),
                reached: vec![],
                cuts: vec![],
                nics: role.may_hold().then(|| nic("eth0", nic_of(name))).into_iter().collect(),
            };
            agents.insert(node(name), agent);
        }
        let setup = Setup {
            node: node("a"),
            cluster: ClusterName::new("demo").expect("a name"),
            timing: Timing::of(Profile::Fast),
            founders,
            api_version: "2024-05-01".into(),
            trust_if_match: true,
            epoch_tag: true,
        };
        let mut bench = Self {
            now: secs(1_000),
            log: Registry::default(),
            arm,
            agents,
            sights: vec![],
            replies: BTreeMap::new(),
            proposals: vec![],
            effects: 0,
            ticks: 0,
            problems: BTreeMap::new(),
            answers: vec![],
            replace_at: None,
            no_quorum: false,
            queue: BTreeMap::new(),
            order: 0,
            index: 0,
            term: 0,
            machines: vec![],
            beats: BTreeMap::new(),
            next: 0,
            held_at: None,
            landed: false,
            setup,
        };
        bench.elect(&node("a"));
        for name in bench.agents.keys().cloned().collect::<Vec<_>>() {
            bench.at(bench.now, Event::Beat(name, true));
        }
        bench.run(secs(2));
        bench
    }

    /// With the VIP `demo` held by `a`.
    pub(super) fn held_by_a() -> Self {
        Self::with(VipSpec::host(address()))
    }

    /// With the VIP `demo` of this definition held by `a`.
    pub(super) fn with(spec: VipSpec) -> Self {
        Self::new().holding(spec)
    }

    /// The same, where each member has a second NIC: `eth1`, in Azure `a-nic2` and so on.
    pub(super) fn with_two_nics(spec: VipSpec) -> Self {
        let mut bench = Self::new();
        for (name, last) in [("a", 24), ("b", 25), ("c", 26)] {
            bench.arm.add_nic(&format!("{name}-nic2"), IpAddr::from([10, 5, 0, last]));
            let agent = bench.agents.get_mut(&node(name)).expect("a member");
            let id = NicId::new(&format!("{GROUP}/networkInterfaces/{name}-nic2"));
            agent.nics.push(nic("eth1", id));
        }
        bench.run(secs(1));
        bench.holding(spec)
    }

    fn holding(self, spec: VipSpec) -> Self {
        let mut bench = self;
        bench.create(spec, Some("a"));
        assert!(bench.run_until(secs(20), |b| b.is_held_by("a")), "{}", bench.story());
        bench.run(secs(2));
        bench.sights.clear();
        bench.arm.writes.clear();
        bench.proposals.clear();
        bench.answers.clear();
        (bench.effects, bench.ticks) = (0, 0);
        bench
    }

    /// With the VIP `demo` held by `a`, where Azure does not honour `If-Match` and nobody relies on it.
    pub(super) fn without_if_match() -> Self {
        let mut bench = Self::held_by_a();
        bench.arm.honours_if_match = false;
        bench.setup.trust_if_match = false;
        bench.replace_leader(Old::Crashes, &node("c"));
        bench.run(secs(3));
        bench.sights.clear();
        bench
    }

    // ---- what callers do ------------------------------------------------------------------

    pub(super) fn ask(&mut self, ask: Ask) -> AskId {
        self.next += 1;
        let id = AskId(self.next);
        let leader = self.leader();
        self.step(leader, Input::Asked { id, ask });
        id
    }

    pub(super) fn create(&mut self, spec: VipSpec, to: Option<&str>) -> AskId {
        let (vip, to, request) = (demo(), to.map(node), Request::default());
        self.ask(Ask::CreateVip { vip, spec, enabled: true, to, request })
    }

    pub(super) fn define_disabled(&mut self) -> AskId {
        let (vip, spec, request) = (demo(), VipSpec::host(address()), Request::default());
        self.ask(Ask::CreateVip { vip, spec, enabled: false, to: None, request })
    }

    pub(super) fn move_to(&mut self, to: &str) -> AskId {
        self.move_with(Some(to), false)
    }

    pub(super) fn move_with(&mut self, to: Option<&str>, force: bool) -> AskId {
        let (vip, to, request) = (demo(), to.map(node), Request::default());
        let expect = Expect::default();
        self.ask(Ask::MoveVip { vip, to, expect, dry_run: false, force, request })
    }

    pub(super) fn intend(&mut self, intent: Intent) -> AskId {
        self.ask(Ask::SetIntent { vip: demo(), intent, request: Request::default() })
    }

    pub(super) fn pause(&mut self, scope: Scope, lasts: Option<Duration>) -> AskId {
        let (reason, by) = ("maintenance".to_owned(), "me".to_owned());
        self.ask(Ask::Pause { scope, lasts, reason, by })
    }

    pub(super) fn resume(&mut self, scope: Scope) -> AskId {
        self.ask(Ask::Resume { scope, by: "me".to_owned() })
    }

    pub(super) fn confirm(&mut self, go: bool) -> AskId {
        self.ask(Ask::Confirm { vip: demo(), go, by: "me".to_owned() })
    }

    /// The reply to an ask, which must have come.
    pub(super) fn reply(&mut self, id: AskId) -> Result<Reply, AskError> {
        self.run_until(secs(30), |b| b.replies.contains_key(&id));
        self.replies.get(&id).cloned().expect("a reply")
    }

    // ---- what is seen ---------------------------------------------------------------------

    pub(super) fn vip(&self) -> &VipRecord {
        self.log.vip(&demo()).expect("the VIP")
    }

    /// Reported as held by a node, and true: attached to its NIC alone, and on its OS alone.
    pub(super) fn is_held_by(&self, name: &str) -> bool {
        self.log.vip(&demo()).is_some_and(|record| {
            record.is_held()
                && record.holder() == Some(&node(name))
                && self.arm.attached(address()) == [format!("{name}-nic")]
                && self.holders() == [node(name)]
        })
    }

    /// The nodes with the address on their OS.
    pub(super) fn holders(&self) -> Vec<NodeId> {
        let has = |agent: &Agent| agent.has(self.now, &demo());
        self.agents.iter().filter(|(_, agent)| has(agent)).map(|(name, _)| name.clone()).collect()
    }

    /// When something was first seen.
    pub(super) fn when(&self, what: &str) -> Duration {
        let sight = self.sights.iter().find(|sight| sight.what.starts_with(what));
        sight.unwrap_or_else(|| panic!("no \"{what}\" in:\n{}", self.story())).at
    }

    pub(super) fn saw(&self, what: &str) -> bool {
        self.sights.iter().any(|sight| sight.what.starts_with(what))
    }

    /// How many events of a kind there have been.
    pub(super) fn events(&self, kind: EventKind) -> usize {
        self.log.events.iter().filter(|event| event.kind == kind).count()
    }

    pub(super) fn last_cause(&self) -> Option<Cause> {
        let log = self.log.logs.get(&demo())?;
        log.moves.back().map(|known| known.cause)
    }

    /// Why the VIP stays where it is although its holder should lose it; empty = it does not.
    pub(super) fn withheld(&self) -> String {
        let withheld = self.vip().restraint.withheld.as_ref();
        withheld.map_or(String::new(), |withheld| withheld.what.clone())
    }

    pub(super) fn blocked(&self) -> String {
        self.log.open_move(&demo()).map(|open| open.blocked_reason.clone()).unwrap_or_default()
    }

    pub(super) fn agent(&mut self, name: &str) -> &mut Agent {
        self.agents.get_mut(&node(name)).expect("an agent")
    }

    /// Everything that was seen, for a failed test.
    pub(super) fn story(&self) -> String {
        let mut told: Vec<String> = self
            .sights
            .iter()
            .map(|sight| format!("{:9.3} {}", sight.at.as_secs_f64(), sight.what))
            .collect();
        told.push(format!("now {:.3} {:#?}", self.now.as_secs_f64(), self.log.vip(&demo())));
        told.push(format!("{:?} {:?}", self.arm.attached(address()), self.holders()));
        told.push(format!("blocked: {}", self.blocked()));
        told.join("\n")
    }

    // ---- leaders --------------------------------------------------------------------------

    pub(super) fn leader(&self) -> usize {
        self.machines.len() - 1
    }

    /// Another node is elected; the old leader fares as said.
    pub(super) fn replace_leader(&mut self, old: Old, name: &NodeId) {
        let was = self.leader();
        self.term += 1;
        match old {
            Old::Crashes => {
                self.machines[was].running = false;
                self.drop_events(was, |_| false);
            }
            Old::Lands(late) => {
                self.machines[was].running = false;
                self.land(was, late);
            }
            Old::Unaware => {
                let gone = Input::Leadership {
                    term: Term(self.term),
                    leader: Some(name.clone()),
                    leading: false,
                };
                self.at(self.now + secs(2), Event::Input(was, Box::new(gone)));
            }
        }
        self.saw_now(format!("leader {} is replaced ({old:?})", self.machines[was].node));
        self.at(self.now + ELECTION, Event::Elected(name.clone()));
    }

    fn land(&mut self, was: usize, late: Duration) {
        let keys: Vec<(Duration, u64)> = self.queue.keys().copied().collect();
        for key in keys {
            let event = self.queue.remove(&key).expect("it is there");
            match event {
                Event::Commit(machine, _, command) if machine == was => {
                    self.apply(was, &command);
                }
                Event::Arm(machine, request, sent)
                    if machine == was && request.method != Method::Get =>
                {
                    self.at(key.0 + late, Event::Arm(machine, request, sent));
                }
                other => {
                    self.queue.insert(key, other);
                }
            }
        }
        self.drop_events(was, |event| matches!(event, Event::Arm(..)));
    }

    fn drop_events(&mut self, was: usize, keep: impl Fn(&Event) -> bool) {
        self.queue.retain(|_, event| match event {
            Event::Input(m, _)
            | Event::Commit(m, ..)
            | Event::RoundEnds(m, _)
            | Event::Arm(m, ..)
            | Event::Wake(m, _) => *m != was || keep(event),
            Event::Beat(..) | Event::Answer(..) | Event::Elected(_) => true,
        });
    }

    fn elect(&mut self, name: &NodeId) {
        if self.term == 0 {
            self.term = 1;
        }
        let setup = Setup { node: name.clone(), ..self.setup.clone() };
        let core = Coordinator::new(setup, Clocks::all_at(self.now));
        let term = Term(self.term);
        self.machines.push(Machine {
            core,
            node: name.clone(),
            term,
            running: true,
            wake: self.now,
        });
        let leader = self.leader();
        let state = Arc::new(self.log.clone());
        self.step(leader, Input::Applied { index: self.index, state });
        self.step(leader, Input::Leadership { term, leader: Some(name.clone()), leading: true });
    }

    // ---- time -----------------------------------------------------------------------------

    pub(super) fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Runs until something holds; whether it did within the span.
    pub(super) fn run_until(&mut self, span: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + span;
        while !done(self) {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else {
                self.now = end;
                return done(self);
            };
            self.now = self.now.max(entry.key().0);
            let event = entry.remove();
            self.happen(event);
            self.check();
        }
        true
    }

    fn at(&mut self, when: Duration, event: Event) {
        self.order += 1;
        self.queue.insert((when, self.order), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(machine, input) => self.step(machine, *input),
            Event::Wake(machine, when) => {
                if self.machines[machine].wake == when && self.machines[machine].running {
                    self.ticks += 1;
                    self.step(machine, Input::Tick);
                }
            }
            Event::Commit(machine, id, command) => self.commit(machine, id, &command),
            Event::RoundEnds(machine, id) => {
                let leads = self.leads(machine) && !self.no_quorum;
                let confirmed =
                    Confirmed { term: self.machines[machine].term, read_index: self.index };
                self.step(machine, Input::Round { id, result: leads.then_some(confirmed) });
            }
            Event::Arm(machine, request, sent) => self.reach_arm(machine, &request, sent),
            Event::Beat(name, regular) => self.beat(&name, regular),
            Event::Answer(name, boot, sent, answer) => self.answered(&name, &boot, sent, answer),
            Event::Elected(name) => self.elect(&name),
        }
    }

    fn leads(&self, machine: usize) -> bool {
        self.machines[machine].term == Term(self.term)
    }

    fn commit(&mut self, machine: usize, id: ProposalId, command: &Command) {
        let result = if self.leads(machine) && !self.no_quorum {
            Ok(self.apply(machine, command))
        } else {
            Err(ProposeFault::NotProposed)
        };
        self.step(machine, Input::Proposed { id, result });
    }

    fn apply(&mut self, machine: usize, command: &Command) -> (u64, Applied) {
        let applied = self.log.apply(self.machines[machine].term, command);
        self.index += 1;
        if let Body::Step { vip, step, .. } = &command.body {
            if !matches!(applied, Applied::Refused(_)) {
                self.saw_now(told(step));
            }
            let held = matches!((step, &applied), (Step::Held { .. }, Applied::Done));
            if held && *vip == demo() {
                self.held_at = Some(self.now);
                self.check_held();
            }
        }
        if let Body::StartMove { to, cause, .. } = &command.body {
            let to = to.as_ref().map_or("nobody", NodeId::as_str);
            self.saw_now(format!("move to {to}: {cause:?} {applied:?}"));
        }
        let (index, state) = (self.index, Arc::new(self.log.clone()));
        for at in 0..self.machines.len() {
            if self.machines[at].running {
                self.step(at, Input::Applied { index, state: Arc::clone(&state) });
            }
        }
        (index, applied)
    }

    fn reach_arm(&mut self, machine: usize, request: &HttpRequest, sent: Duration) {
        let writes = self.arm.writes.len();
        let result = self.arm.serve(self.now, request);
        if let Some(write) = self.arm.writes.get(writes).cloned() {
            let line = format!("{:?} {} {}", write.method, write.nic, write.status);
            self.saw_now(line);
            self.landed |= !self.machines[machine].running && write.before != write.after;
            let late = self.held_at.is_some_and(|held| sent < held);
            assert!(
                !late || write.before == write.after,
                "I2: a write sent at {sent:?} moved an address after Held\n{}",
                self.story()
            );
        }
        let input = Input::Http { id: request.id, result };
        self.at(self.now + TO_ARM, Event::Input(machine, Box::new(input)));
    }

    // ---- agents ---------------------------------------------------------------------------

    /// The agent's process ends; the kernel keeps the address for the rest of its lifetime.
    pub(super) fn kill(&mut self, name: &str) {
        self.saw_now(format!("{name} dies"));
        self.agent(name).alive = false;
    }

    /// A new boot of the agent, with what was on disk.
    pub(super) fn restart(&mut self, name: &str, replaces: Vec<BootId>) {
        let agent = self.agent(name);
        agent.boot.push('x');
        agent.replaces = replaces;
        agent.alive = true;
        agent.seq = 0;
        agent.holds.clear();
        agent.released.clear();
        agent.refused.clear();
        agent.not_taken.clear();
        self.at(self.now, Event::Beat(node(name), true));
    }

    fn beat(&mut self, name: &NodeId, regular: bool) {
        let now = self.now;
        let agent = self.agents.get_mut(name).expect("an agent");
        if !agent.alive {
            return;
        }
        if regular {
            let pace = Duration::from_millis(self.setup.timing.agent_heartbeat_ms);
            self.at(now + pace, Event::Beat(name.clone(), true));
        }
        let agent = self.agents.get_mut(name).expect("an agent");
        let heartbeat = agent.heartbeat(now, name);
        if !agent.connected {
            return;
        }
        self.next += 1;
        let id = BeatId(self.next);
        self.beats.insert(id, (name.clone(), agent.boot.clone(), now));
        let input = Input::Beat { id, heartbeat };
        let leader = self.leader();
        self.at(now + TO_LEADER, Event::Input(leader, Box::new(input)));
    }

    fn answered(
        &mut self,
        name: &NodeId,
        boot: &str,
        sent: Duration,
        answer: Result<Answer, Refusal>,
    ) {
        self.answers.push((self.now, name.clone(), answer.clone()));
        let agent = self.agents.get_mut(name).expect("an agent");
        if !agent.alive || !agent.connected || agent.boot != boot {
            return;
        }
        agent.refusal = answer.as_ref().err().cloned();
        let had = agent.has(self.now, &demo());
        let changed = answer.is_ok_and(|answer| agent.take(sent, &answer));
        let has = agent.has(self.now, &demo());
        if had != has {
            let verb = if has { "adds" } else { "drops" };
            self.saw_now(format!("{name} {verb}"));
        }
        if changed {
            self.at(self.now, Event::Beat(name.clone(), false));
        }
    }

    // ---- effects --------------------------------------------------------------------------

    pub(super) fn step(&mut self, machine: usize, input: Input) {
        if !self.machines[machine].running {
            return;
        }
        let clocks = Clocks::all_at(self.now);
        let effects = self.machines[machine].core.step(clocks, input);
        for effect in effects {
            let counts =
                matches!(effect, Effect::Propose { .. } | Effect::Round { .. } | Effect::Http(_));
            self.carry_out(machine, effect);
            if counts && machine == self.leader() {
                self.effects += 1;
                if let Some((_, old, to)) = self.replace_at.take_if(|(at, ..)| *at == self.effects)
                {
                    self.replace_leader(old, &to);
                    if old != Old::Unaware {
                        return;
                    }
                }
            }
        }
        if let Some(wake) = self.machines[machine].core.wake_in(clocks) {
            let when = self.now + wake;
            self.machines[machine].wake = when;
            self.at(when, Event::Wake(machine, when));
        }
    }

    fn carry_out(&mut self, machine: usize, effect: Effect) {
        match effect {
            Effect::Propose { id, command } => {
                // What a node stores and sends is the same command again.
                let text = serde_json::to_vec(&command).expect("text");
                assert_eq!(serde_json::from_slice::<Command>(&text).ok().as_ref(), Some(&command));
                self.proposals.push(command.clone());
                let event = Event::Commit(machine, id, Box::new(command));
                self.at(self.now + CONSENSUS, event);
            }
            Effect::Round { id, .. } => {
                self.at(self.now + CONSENSUS, Event::RoundEnds(machine, id))
            }
            Effect::Http(request) => self.send(machine, request),
            Effect::Answer { id, answer } => {
                let Some((name, boot, sent)) = self.beats.remove(&id) else { return };
                self.at(self.now + TO_LEADER, Event::Answer(name, boot, sent, answer));
            }
            Effect::Reply { id, reply } => {
                assert!(self.replies.insert(id, reply).is_none(), "{id:?} is answered twice");
            }
            Effect::Nudge { node } => self.at(self.now + TO_LEADER, Event::Beat(node, false)),
            Effect::Problem { kind } => *self.problems.entry(kind.name()).or_default() += 1,
            Effect::StepDown => self.saw_now(format!("{} steps down", self.machines[machine].node)),
        }
    }

    fn send(&mut self, machine: usize, request: HttpRequest) {
        if request.method != Method::Get {
            let window = request.send_before.expect("a write has a window");
            if !window.allows(Clocks::all_at(self.now)) {
                let result = Err(HttpFault::NotSent("too late".into()));
                let input = Input::Http { id: request.id, result };
                return self.at(self.now, Event::Input(machine, Box::new(input)));
            }
            self.check_order(&request);
        }
        self.at(self.now + TO_ARM, Event::Arm(machine, Box::new(request), self.now));
    }

    fn saw_now(&mut self, what: String) {
        self.sights.push(Sight { at: self.now, what });
    }

    // ---- what must never happen -------------------------------------------------------------

    /// I1.
    fn check(&self) {
        assert!(self.holders().len() <= 1, "I1: two holders\n{}", self.story());
    }

    /// I8: no attach is sent while the address is wanted on another member's NIC.
    fn check_order(&self, request: &HttpRequest) {
        let attach = request.body.as_ref().is_some_and(|body| {
            body.pointer("/properties/ipConfigurations")
                .is_some_and(|configs| configs.to_string().contains(&format!("\"{}\"", address())))
        });
        let path = request.path.split('?').next().unwrap_or_default();
        let others = self.arm.attached(address());
        let mut others = others.iter().filter(|nic| !path.ends_with(nic.as_str()));
        let member = |nic: &String| self.agents.keys().any(|n| *nic == format!("{n}-nic"));
        assert!(
            !attach || self.landed || !others.any(member),
            "I8: attach to {path} before the detach was accepted\n{}",
            self.story()
        );
    }

    /// I8: what Held reports is so.
    fn check_held(&self) {
        let record = self.vip();
        let holder = record.holder().expect("a holder");
        let attached = self.arm.attached(address());
        assert_eq!(attached, [format!("{holder}-nic")], "I8\n{}", self.story());
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::Target { node } => format!("target {node}"),
        Step::BeginDetach { .. } => "begin detach".into(),
        Step::BeginAttach { node, .. } => format!("begin attach {node}"),
        Step::Attached => "attached".into(),
        Step::Detached => "detached".into(),
        Step::Release { epoch } => format!("release {epoch}"),
        Step::Expire { epoch } => format!("expire {epoch}"),
        Step::Over { epoch, confirmed: true } => format!("confirmed {epoch}"),
        Step::Over { epoch, confirmed: false } => format!("over {epoch}"),
        Step::Grant { node, .. } => format!("grant {node}"),
        Step::Held { epoch, .. } => format!("held {epoch}"),
        Step::Ended { .. } => "ended".into(),
    }
}

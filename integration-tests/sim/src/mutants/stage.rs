//! The stage of a drama: a small cluster with one VIP, at rest; and what a script does with it.

use std::net::{IpAddr, Ipv4Addr};

use azure_sim::{AdminCommand, Fault, FaultEffect, Settings};
use vipfence_agent_core::Duties;
use vipfence_coordinator_core::{Ask, AzureTrack, Expect, GrantTrack, Intent, VipRecord};
use vipfence_types::{
    Candidate, DataPath, Epoch, Mode, Probe, ProbeProtocol, Profile, Release, Role, Timing,
    VipName, VipSpec,
};

use super::Seed;
use crate::{
    balancer::Frontend,
    machine::Waits,
    net::Spot,
    oracle::Violation,
    time::{ms, secs, us},
    world::{Deed, Kind, Plan, Verdict, World},
};

/// The VIP's address.
pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 5, 0, 110));

/// Who holds the VIP at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Leader,
    Other,
}

/// The fast profile, and no patience with silent nodes.
pub(super) fn hasty() -> Timing {
    Timing { profile: Profile::Custom, failover_after_ms: 900, ..Timing::of(Profile::Fast) }
}

/// The same with longer leases, so that what is done too early is far too early.
pub(super) fn hasty_with_lease(lease_ttl_ms: u64) -> Timing {
    Timing { lease_ttl_ms, ..hasty() }
}

/// A cluster with one VIP.
pub(super) struct Stage {
    pub(super) world: World,
    /// The node that leads at the beginning.
    pub(super) leader: usize,
    /// The node that holds the VIP.
    pub(super) holder: usize,
    /// The members that are neither.
    pub(super) others: Vec<usize>,
    release: Release,
    probe: Option<Probe>,
    data_path: DataPath,
}

/// What a stage is made of.
#[derive(Clone)]
pub(super) struct Set {
    plan: Plan,
    release: Release,
    holder: Holder,
    only_holder: bool,
    probe: Option<Probe>,
    data_path: DataPath,
}

impl Set {
    /// Three members; the VIP is held by a follower.
    pub(super) fn three(timing: Timing) -> Self {
        Self::of(Plan::three(timing))
    }

    /// Four members and a witness.
    pub(super) fn five(timing: Timing) -> Self {
        Self::of(Plan::with_witness(timing, 4))
    }

    /// Three members, and a learner that holds the VIP.
    pub(super) fn with_learner(timing: Timing) -> Self {
        let mut plan = Plan::three(timing);
        plan.nodes.push(("d".to_owned(), Role::Learner));
        Self::of(plan)
    }

    fn of(mut plan: Plan) -> Self {
        plan.azure = Settings { retry_after_s: None, operation_ms: 300, ..Settings::default() };
        let (release, holder) = (Release::Late, Holder::Other);
        let (only_holder, probe, data_path) = (false, None, DataPath::Off);
        Self { plan, release, holder, only_holder, probe, data_path }
    }

    /// The old holder lets go first.
    pub(super) fn early(mut self) -> Self {
        self.release = Release::Early;
        self
    }

    pub(super) fn held_by_leader(mut self) -> Self {
        self.holder = Holder::Leader;
        self
    }

    /// No other node is a candidate.
    pub(super) fn only_candidate(mut self) -> Self {
        self.only_holder = true;
        self
    }

    pub(super) fn azure(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.plan.azure);
        self
    }

    /// Azure does not look at `If-Match`, and the agents know it.
    pub(super) fn without_if_match(mut self) -> Self {
        self.plan.azure.put_honours_if_match = false;
        self.plan.azure.patch_honours_if_match = false;
        self.plan.trust_if_match = false;
        self
    }

    /// The VIP is behind a load balancer.
    pub(super) fn probed(mut self, protocol: ProbeProtocol) -> Self {
        let (port, reply) = (63_001, String::new());
        self.plan.frontends = vec![Frontend { address: ADDRESS, port }];
        self.probe = Some(Probe { port, protocol, reply });
        self
    }

    /// Other nodes are to reach the VIP.
    pub(super) fn data_path(mut self, kind: DataPath) -> Self {
        self.data_path = kind;
        self
    }

    /// What the nodes do around the VIP.
    pub(super) fn duties(mut self, duties: Duties) -> Self {
        self.plan.duties.insert(name("v1"), duties);
        self
    }

    /// The clocks of all nodes.
    pub(super) fn rates(mut self, rates: &[i32]) -> Self {
        self.plan.rates = rates.to_vec();
        self
    }

    /// An empty world, before anything has started.
    pub(super) fn world(&self, seed: Seed) -> World {
        let mut world = World::new(seed.number, &self.plan);
        world.oracle.only_consequences = seed.only_consequences;
        world.timeline.keep();
        world
    }

    /// The VIP is held, and all is calm.
    pub(super) fn play(&self, seed: Seed) -> Stage {
        self.play_in(self.world(seed))
    }

    pub(super) fn play_in(&self, mut world: World) -> Stage {
        world.run_until(secs(6), |world| world.leader().is_some());
        world.run(secs(1));
        let leader = world.leader().unwrap_or(0);
        let may_hold = |node: &usize| self.plan.nodes[*node].1.may_hold();
        let mut others: Vec<usize> =
            (0..world.nodes()).filter(|node| *node != leader).filter(may_hold).collect();
        let holder = match self.holder {
            Holder::Leader => leader,
            // A learner is the last.
            Holder::Other => others.pop().unwrap_or(0),
        };
        let Self { release, data_path, .. } = *self;
        let probe = self.probe.clone();
        let mut stage = Stage { world, leader, holder, others, release, probe, data_path };
        stage.create("v1", holder, self.only_holder);
        stage.until(20, |stage| stage.is_held());
        stage
    }
}

impl Stage {
    /// Defines a VIP with the one address.
    pub(super) fn create(&mut self, vip: &str, to: usize, only: bool) {
        let to = self.world.machines[to].name.clone();
        let mut spec = VipSpec { release: self.release, ..VipSpec::host(ADDRESS) };
        spec.release_timeout_ms = 1_000;
        spec.data_path = self.data_path;
        if let Some(probe) = &self.probe {
            (spec.mode, spec.probe) = (Mode::LoadBalancer, Some(probe.clone()));
        }
        if only {
            spec.candidates.insert(to.clone(), Candidate::default());
        }
        let (vip, request) = (name(vip), self.world.operator.request());
        let ask = Ask::CreateVip { vip, spec, enabled: true, to: Some(to), request };
        let at = self.asked_node();
        self.world.ask(at, ask);
    }

    fn asked_node(&self) -> usize {
        self.world.leader().unwrap_or(self.leader)
    }

    // ---- what is seen -----------------------------------------------------------------------

    pub(super) fn record(&self) -> Option<&VipRecord> {
        let vips = &self.world.oracle.log.registry.vips;
        vips.values().next().map(std::sync::Arc::as_ref)
    }

    pub(super) fn is_held(&self) -> bool {
        self.record().is_some_and(VipRecord::is_held)
    }

    pub(super) fn is_held_by(&self, node: usize) -> bool {
        let name = &self.world.machines[node].name;
        self.record().is_some_and(|record| record.is_held() && record.holder() == Some(name))
    }

    pub(super) fn is_releasing(&self) -> bool {
        self.record().is_some_and(|record| matches!(record.grant, GrantTrack::Releasing(_)))
    }

    pub(super) fn is_expiring(&self) -> bool {
        self.record().is_some_and(|record| matches!(record.grant, GrantTrack::Expiring(_)))
    }

    pub(super) fn is_detaching(&self) -> bool {
        self.record().is_some_and(|record| matches!(record.azure, AzureTrack::Detaching { .. }))
    }

    pub(super) fn is_attaching(&self) -> bool {
        self.record().is_some_and(|record| matches!(record.azure, AzureTrack::Attaching { .. }))
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.record().map_or(Epoch(0), VipRecord::epoch)
    }

    /// What is left of a node's lease, and its epoch.
    pub(super) fn lease(&self, node: usize) -> Option<(u64, Epoch)> {
        let machine = &self.world.machines[node];
        let view = machine.process.as_ref()?.holder().view(machine.read(self.world.now()));
        view.held.first().map(|held| (us(held.lease_left), held.epoch))
    }

    /// How long the kernel of a node keeps what it has, lateness included.
    pub(super) fn kernel_left(&self, node: usize) -> u64 {
        let machine = &self.world.machines[node];
        let mono = machine.clocks.mono(self.world.now());
        machine.kernel.next().map_or(0, |goes| goes.saturating_sub(mono))
    }

    /// Whether a node has added the address, and is about to answer the probe.
    pub(super) fn is_about_to_answer(&self, node: usize) -> bool {
        let process = self.world.machines[node].process.as_ref();
        process.is_some_and(crate::process::Process::is_about_to_answer)
    }

    pub(super) fn has_round_under_way(&self, node: usize) -> bool {
        let process = self.world.machines[node].process.as_ref();
        process.is_some_and(crate::process::Process::has_round_under_way)
    }

    // ---- what is done -----------------------------------------------------------------------

    /// Goes on until something holds, at most so many seconds. The stage is looked at after every
    /// event.
    pub(super) fn until(&mut self, seconds: u64, done: impl Fn(&Self) -> bool) {
        let end = self.world.now() + secs(seconds);
        while self.world.violation().is_none() && !done(self) && self.world.now() < end {
            let events = self.world.events();
            self.world
                .run_until(secs(1).min(end - self.world.now()), |world| world.events() > events);
        }
    }

    pub(super) fn wait_ms(&mut self, span: u64) {
        self.world.run(ms(span));
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.world.run(secs(seconds));
    }

    pub(super) fn deed(&mut self, deed: Deed) {
        // As an event of its own, so that the oracle sees what it changes before anything else does.
        let now = self.world.now();
        self.world.at(now, deed);
        self.world.run(0);
    }

    pub(super) fn kill(&mut self, node: usize) {
        self.deed(Deed::Kill(node));
    }

    /// A process that stands still will see its packets before its own timers and results: nothing
    /// says in which order it does.
    pub(super) fn reads_packets_first(&mut self, node: usize) {
        let waiting = &mut self.world.machines[node].waiting;
        waiting.sort_by_key(|waits| matches!(waits, Waits::Local { .. }));
    }

    /// Nobody reaches the VIP's address any more; or somebody may again.
    pub(super) fn dark(&mut self, dark: bool) {
        for node in (0..self.world.nodes()).map(Spot::Node) {
            let cut = if dark { Deed::Cut } else { Deed::Join };
            self.deed(cut(node, Spot::Fabric));
        }
    }

    /// Cuts two nodes from each other.
    pub(super) fn part(&mut self, one: usize, other: usize) {
        self.deed(Deed::Cut(Spot::Node(one), Spot::Node(other)));
        self.deed(Deed::Cut(Spot::Node(other), Spot::Node(one)));
    }

    /// Cuts a node from all others.
    pub(super) fn cut_off(&mut self, node: usize) {
        for other in (0..self.world.nodes()).filter(|other| *other != node) {
            self.part(node, other);
        }
    }

    /// The opposite.
    pub(super) fn join(&mut self, node: usize) {
        for other in (0..self.world.nodes()).filter(|other| *other != node) {
            self.deed(Deed::Join(Spot::Node(node), Spot::Node(other)));
            self.deed(Deed::Join(Spot::Node(other), Spot::Node(node)));
        }
    }

    pub(super) fn rule(&mut self, rule: impl FnMut(Spot, Spot, &Kind) -> Verdict + 'static) {
        self.world.rule(rule);
    }

    pub(super) fn move_ask(&mut self, to: usize) -> Ask {
        let to = Some(self.world.machines[to].name.clone());
        let (expect, request) = (Expect::default(), self.world.operator.request());
        Ask::MoveVip { vip: name("v1"), to, expect, dry_run: false, force: false, request }
    }

    /// An operator asks for a move.
    pub(super) fn move_to(&mut self, to: usize) {
        let ask = self.move_ask(to);
        let at = self.asked_node();
        self.world.ask(at, ask);
    }

    pub(super) fn delete(&mut self) {
        let request = self.world.operator.request();
        let ask = Ask::SetIntent { vip: name("v1"), intent: Intent::Deleted, request };
        let at = self.asked_node();
        self.world.ask(at, ask);
    }

    pub(super) fn nic(&self, node: usize) -> String {
        format!("{}-nic", self.world.machines[node].name)
    }

    /// Something is done to Azure.
    pub(super) fn azure(&mut self, command: AdminCommand) {
        self.deed(Deed::Azure(command));
    }

    /// A fault strikes writes of this method to a node's NIC, so many times.
    pub(super) fn fault(&mut self, node: usize, method: &str, times: u32, effect: FaultEffect) {
        let fault = Fault::once(effect).on_nic(&self.nic(node)).for_method(method).times(times);
        self.azure(AdminCommand::AddFault { fault });
    }

    /// The next PUT to a node's NIC is on its way for so long.
    pub(super) fn delay_put(&mut self, node: usize, seconds: u64) {
        self.fault(node, "PUT", 1, FaultEffect::Delay { ms: seconds * 1_000 });
    }

    /// Azure refuses writes of this method to a node's NIC.
    pub(super) fn refuse(&mut self, node: usize, method: &str, status: u16, code: &str) {
        let (code, message, retry_after_s) = (code.to_owned(), String::new(), None);
        let effect = FaultEffect::Refuse { status, code, message, retry_after_s };
        self.fault(node, method, 10_000, effect);
    }

    pub(super) fn third_party_detach(&mut self, node: usize) {
        let nic = self.nic(node);
        self.azure(AdminCommand::ThirdPartyDetach { nic, address: ADDRESS, immediate: true });
    }

    /// Somebody puts an address on a NIC.
    pub(super) fn third_party_attach(&mut self, nic: String, address: IpAddr) {
        let (ip_config, immediate) = (None, true);
        self.azure(AdminCommand::ThirdPartyAttach { nic, address, ip_config, immediate });
    }

    /// A stranger takes the VIP's address.
    pub(super) fn steal(&mut self) {
        self.third_party_detach(self.holder);
        self.third_party_attach("stranger-nic".to_owned(), ADDRESS);
    }

    /// I6, where a fault that stays is no excuse.
    pub(super) fn must_be_held_by(&mut self, node: usize, seconds: u64) {
        self.until(seconds, |stage| stage.is_held_by(node));
        if !self.is_held_by(node) {
            let name = &self.world.machines[node].name;
            let what = format!("after {seconds} s {name} does not hold the VIP");
            self.world.blame(Violation { invariant: "I6", what });
        }
    }

    /// The address stands on this NIC and on no other.
    pub(super) fn must_stand_on(&mut self, nic: &str) {
        let on = self.world.nics_with(ADDRESS);
        if on != [nic] {
            let what = format!("the address stands on {on:?} instead of {nic}");
            self.world.blame(Violation { invariant: "I6", what });
        }
    }

    pub(super) fn end(self) -> World {
        self.world
    }
}

fn name(text: &str) -> VipName {
    VipName::new(text).expect("a valid name")
}

/// Marks an epoch as spent on a node's disk before it starts, as if its cluster had been restored
/// from an old snapshot.
pub(super) fn remembers(world: &mut World, node: usize, epoch: u64) {
    world.machines[node].memory.spent.spend(&name("v1"), &[ADDRESS], Epoch(epoch));
}

//! A run: a seed from its first event to its verdict. Safety phase, heal, liveness phase.

use std::collections::BTreeMap;

use azure_sim::AdminCommand;
use vipfence_coordinator_core::{Ask, Request};
use vipfence_types::RequestId;

use crate::{
    oracle::{Truth, Violation, addresses_of, unconverged},
    schedule::{Length, Schedule},
    sometimes::Sometimes,
    time::{At, ms, secs},
    world::{Deed, World},
};

/// Within so long after the last fault every VIP is where it should be (I6). The longest that a
/// healthy cluster takes: an election, a lease wait of the tolerant profile, operations that were
/// slow when the faults ended, a pause that Azure has asked for, and the minute until drift is seen.
pub const CONVERGE: u64 = secs(180);
/// How often `azure_max` may be waited for beside that, where only time clears a NIC: once for what
/// the last leader left, once for what is found then.
const WAITS: u64 = 2;
/// How often a stranger looks whether he has taken something.
const SLICE: u64 = secs(5);
/// His NIC.
const STRANGER: &str = "stranger-nic";
/// How often it is looked whether all is as it should be.
const LOOK: u64 = ms(50);
/// It has to stay so.
const STAY: u64 = secs(3);

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was violated, if something was, and when.
    pub violation: Option<(At, Violation)>,
    /// Equal only for runs that were the same.
    pub fingerprint: u64,
    /// How many events there were.
    pub events: u64,
    /// How long it was, in simulated microseconds.
    pub simulated: u64,
    /// How long it took to converge after the last fault.
    pub converged_after: Option<u64>,
    /// The faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What really happened.
    pub sometimes: Sometimes,
    /// The operator's calls that ended ok, failed and unknown.
    pub calls: [usize; 3],
    /// What happened, in words; empty unless it was asked for.
    pub timeline: Vec<String>,
}

/// Runs a seed.
#[must_use]
pub fn run_seed(seed: u64, length: Length, words: bool) -> Report {
    run_schedule(seed, &Schedule::draw(seed, length), words)
}

/// Runs a schedule, whole or shrunk.
#[must_use]
pub fn run_schedule(seed: u64, schedule: &Schedule, words: bool) -> Report {
    let mut world = World::new(seed, &schedule.plan);
    if words {
        world.timeline.keep();
    }
    for (at, ask) in births(schedule) {
        world.at(at, ask);
    }
    for (at, deed) in schedule.strikes.iter().flat_map(|strike| &strike.deeds) {
        world.at(*at, deed.clone());
    }
    world.run(schedule.until);
    let mut converged_after = None;
    if world.violation().is_none() {
        converged_after = world.converge();
    }
    Report {
        seed,
        violation: world.violation().map(|violation| (world.now(), violation.clone())),
        fingerprint: world.fingerprint(),
        events: world.events(),
        simulated: world.now(),
        converged_after,
        faults: schedule.faults(),
        sometimes: world.sometimes.clone(),
        calls: world.operator().tally(),
        timeline: world.timeline.lines().collect(),
    }
}

/// The VIPs are defined while all is calm.
fn births(schedule: &Schedule) -> impl Iterator<Item = (At, Deed)> + '_ {
    (0..).zip(&schedule.vips).map(|(index, (vip, spec))| {
        let id = RequestId::from(format!("birth{index}"));
        let request = Request { id: Some(id), content: String::new(), caller: "operator".into() };
        let (vip, spec) = (vip.clone(), spec.clone());
        let ask = Ask::CreateVip { vip, spec, enabled: true, to: None, request };
        (secs(2) + index * ms(150), Deed::Ask(0, ask))
    })
}

impl World {
    /// Heals everything and waits until every VIP is where it should be, and the operator's calls
    /// have ended; how long that took. What is missing in the end is a violation of I6.
    pub fn converge(&mut self) -> Option<u64> {
        self.heal();
        let healed = self.now();
        let limit = self.converge_limit();
        while self.now() < healed + limit && self.violation().is_none() {
            self.strangers_let_go();
            if !self.looks_until(SLICE, |world| world.unconverged().is_none()) {
                continue;
            }
            let since = self.now();
            if self.looks_until(STAY, |world| world.unconverged().is_some()) {
                continue;
            }
            if self.violation().is_some() {
                return None;
            }
            if let Err(violation) = self.oracle.at_the_end(self.operator.acknowledged()) {
                self.blame(violation);
                return None;
            }
            return Some(since - healed);
        }
        if self.violation().is_none() {
            let why = self.unconverged().unwrap_or_else(|| "it does not stay".to_owned());
            let what = format!("{} s after the last fault: {why}", limit / 1_000_000);
            self.blame(Violation { invariant: "I6", what });
        }
        None
    }

    fn converge_limit(&self) -> u64 {
        match self.only_time_clears {
            true => CONVERGE + WAITS * ms(self.setup.timing.azure_max_ms),
            false => CONVERGE,
        }
    }

    /// Runs until something holds, looked at every now and then: it costs as much as many events.
    fn looks_until(&mut self, span: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now() + span;
        while self.now() < end && self.violation().is_none() && !done(self) {
            self.run(LOOK.min(end - self.now()));
        }
        self.violation().is_none() && done(self)
    }

    /// A stranger who has an address on his own NIC lets go of it: nothing takes it from him without
    /// force. Everything else that outsiders did is put right by drift repair.
    fn strangers_let_go(&mut self) {
        let records = self.oracle.log.registry.vips.values();
        let addresses = records.flat_map(|record| record.spec.addresses.clone());
        let document = self.azure.world.nic(STRANGER).unwrap_or_default();
        let on = addresses_of(&document);
        let deeds: Vec<AdminCommand> = addresses
            .filter(|entry| on.contains(&entry.address))
            .map(|entry| {
                let (nic, address) = (STRANGER.to_owned(), entry.address);
                AdminCommand::ThirdPartyDetach { nic, address, immediate: true }
            })
            .collect();
        for deed in deeds {
            self.timeline.note(self.now, || format!("** a stranger lets go: {deed:?}"));
            self.do_deed(Deed::Azure(deed));
        }
    }

    /// What is missing until the cluster has converged.
    #[must_use]
    pub fn unconverged(&self) -> Option<String> {
        if self.leader().is_none() {
            return Some("nobody leads".to_owned());
        }
        if self.operator().calls().iter().any(|call| call.ended.is_none()) {
            return Some("an operator's call goes on".to_owned());
        }
        let truth = Truth { now: self.now, machines: &self.machines, azure: &self.azure.world };
        unconverged(&truth, &self.oracle.log).or_else(|| self.astray())
    }
}

//! What a scripted scenario uses: it looks at the truth, and picks the messages that make its
//! schedule. Nothing here decides anything for the cluster.

use std::{net::IpAddr, time::Duration};

use azure_sim::JournalEvent;
use serde_json::Value;
use vipfence_agent_core::Spent;
use vipfence_coordinator_core::{
    Ask, Expect, GrantTrack, Intent, Method, Registry, Request, VipRecord,
};
use vipfence_types::{Epoch, VipName};

use super::{Deed, Event, Kind, Verdict, World};
use crate::{
    net::{Packet, Spot},
    operator::Ended,
    oracle::addresses_of,
    process::{Local, Process},
    time::{At, ms, secs},
};

/// A write that reached ARM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrote {
    /// When.
    pub at: At,
    /// The NIC.
    pub nic: String,
    /// PUT or PATCH.
    pub method: String,
    /// The status of the answer.
    pub status: u16,
}

impl World {
    // ---- the truth ----------------------------------------------------------------------------

    /// What the cluster has agreed on.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.oracle.log.registry
    }

    /// A VIP as agreed on.
    #[must_use]
    pub fn vip(&self, vip: &str) -> Option<&VipRecord> {
        self.registry().vip(&vip_name(vip))
    }

    /// The epoch of a VIP; 0 = nobody is entitled.
    #[must_use]
    pub fn epoch_of(&self, vip: &str) -> Epoch {
        self.vip(vip).map_or(Epoch(0), VipRecord::epoch)
    }

    /// Whether a VIP is held by a node, with its address on the OS there and nowhere else.
    #[must_use]
    pub fn is_held_by(&self, vip: &str, node: usize) -> bool {
        let name = self.machines[node].name.as_str();
        self.vip(vip).is_some_and(|record| {
            let on = |address| self.holders(address);
            record.is_held()
                && record.holder().is_some_and(|holder| holder.as_str() == name)
                && record.spec.addresses.iter().all(|entry| on(entry.address) == [name])
        })
    }

    /// Whether the grant of a VIP stands as it should.
    #[must_use]
    pub fn grant_is(&self, vip: &str, stands: fn(&GrantTrack) -> bool) -> bool {
        self.vip(vip).is_some_and(|record| stands(&record.grant))
    }

    /// Whether an address is on the OS of a node.
    #[must_use]
    pub fn has(&self, node: usize, address: IpAddr) -> bool {
        self.machines[node].kernel.has(address)
    }

    /// The NICs in whose documents an address stands.
    #[must_use]
    pub fn nics_with(&self, address: IpAddr) -> Vec<String> {
        let nics = self.azure.world.config().nics.iter().map(|nic| nic.name.clone());
        let lists = |nic: &String| {
            let document = self.azure.world.nic(nic).unwrap_or_default();
            addresses_of(&document).contains(&address)
        };
        nics.filter(lists).collect()
    }

    /// Azure itself: documents, settings, and the journal of what was asked of it.
    #[must_use]
    pub fn azure(&self) -> &azure_sim::World {
        &self.azure.world
    }

    /// The properties of the ipConfiguration that an address has on a NIC.
    #[must_use]
    pub fn properties(&self, nic: &str, address: IpAddr) -> Option<Value> {
        let document = self.azure.world.nic(nic)?;
        let configs = document.pointer("/properties/ipConfigurations")?.as_array()?;
        let text = address.to_string();
        let found = configs.iter().find(|c| c["properties"]["privateIPAddress"] == text.as_str());
        found.map(|config| config["properties"].clone())
    }

    /// What a node's heartbeats say of its way to ARM.
    #[must_use]
    pub fn arm_ok(&self, node: usize) -> Option<bool> {
        self.machines[node].process.as_ref().and_then(Process::arm_ok)
    }

    /// What a node has on disk as spent.
    #[must_use]
    pub fn spent(&self, node: usize) -> &Spent {
        &self.machines[node].memory.spent
    }

    /// What a node believes to be left of its lease; none = it does not believe to be entitled.
    #[must_use]
    pub fn lease_left(&self, node: usize, vip: &str) -> Option<Duration> {
        let machine = &self.machines[node];
        let view = machine.process.as_ref()?.holder().view(machine.read(self.now));
        let held = view.held.into_iter().find(|held| held.vip.as_str() == vip);
        held.map(|held| held.lease_left)
    }

    /// Whether a node leads and has committed that it does.
    #[must_use]
    pub fn leads(&self, node: usize) -> bool {
        let machine = &self.machines[node];
        let Some(process) = &machine.process else { return false };
        self.leader() == Some(node)
            && self.registry().leader.as_ref() == Some(&machine.name)
            && self.registry().term == process.leadership().term
    }

    /// Whether a write of this node has had its quorum round and is not sent yet.
    #[must_use]
    pub fn is_about_to_write(&self, node: usize) -> bool {
        self.queue.values().any(|event| {
            matches!(event, Event::Local { node: of, local: Local::Ready(asked), .. }
                if *of == node && asked.request.method != Method::Get)
        })
    }

    /// Whether a node has asked its OS for something that is not done yet.
    #[must_use]
    pub fn waits_for_its_os(&self, node: usize) -> bool {
        self.machines[node].process.as_ref().is_some_and(Process::has_os_calls)
    }

    /// The writes that reached ARM so far, outsiders' included.
    #[must_use]
    pub fn writes(&self) -> Vec<Wrote> {
        let writes = self.azure.world.journal_after(0).filter_map(|entry| match &entry.event {
            JournalEvent::Write(call) => Some(Wrote {
                at: ms(entry.at_ms),
                nic: call.resource.rsplit('/').next().unwrap_or_default().to_owned(),
                method: call.method.clone(),
                status: call.status,
            }),
            _ => None,
        });
        writes.collect()
    }

    /// How many lines of the timeline have all of this in them, from a moment on.
    #[must_use]
    pub fn told(&self, since: At, parts: &[&str]) -> usize {
        let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        self.timeline.since(since).filter(has_all).count()
    }

    /// What became of an operator's call; none = it goes on.
    #[must_use]
    pub fn ended(&self, op: usize) -> Option<&Ended> {
        self.operator.calls().get(op)?.ended.as_ref().map(|(_, ended)| ended)
    }

    // ---- what an operator asks for ------------------------------------------------------------

    /// Moves a VIP to a node; asked at the leader.
    pub fn ask_move(&mut self, vip: &str, to: usize) -> usize {
        let request = self.operator.request();
        self.ask_move_as(vip, to, request)
    }

    /// The same under a request id of one's own.
    pub fn ask_move_as(&mut self, vip: &str, to: usize, request: Request) -> usize {
        let ask = Ask::MoveVip {
            vip: vip_name(vip),
            to: Some(self.machines[to].name.clone()),
            expect: Expect::default(),
            dry_run: false,
            force: false,
            request,
        };
        self.ask(self.leader().unwrap_or(0), ask)
    }

    /// Enables, disables or deletes a VIP; asked at the leader.
    pub fn ask_intent(&mut self, vip: &str, intent: Intent) -> usize {
        let request = self.operator.request();
        let ask = Ask::SetIntent { vip: vip_name(vip), intent, request };
        self.ask(self.leader().unwrap_or(0), ask)
    }

    // ---- what a script arranges ---------------------------------------------------------------

    /// Sees to it that a node leads. The rule for messages is set aside meanwhile.
    pub fn elect(&mut self, node: usize) -> bool {
        let rule = self.rule.take();
        self.rule(move |from, _, kind| {
            let other = *kind == Kind::Vote && from != Spot::Node(node);
            if other { Verdict::Drop } else { Verdict::Pass }
        });
        for _ in 0..10 {
            if self.leads(node) || self.violation.is_some() {
                break;
            }
            if self.leader().is_some_and(|leader| leader != node) {
                self.do_deed(Deed::StepDown);
            }
            self.run_until(secs(4), |world| world.leads(node));
        }
        self.rule = rule;
        self.leads(node)
    }

    /// How many messages are kept that are like this.
    #[must_use]
    pub fn kept_like(&self, like: impl Fn(Spot, Spot, &Kind) -> bool) -> usize {
        let kept = self.kept.iter();
        kept.filter(|packet| like(packet.from, packet.to, &Kind::of(&packet.message))).count()
    }

    /// The oldest kept message that is like this arrives now; whether there was one.
    pub fn release_one(&mut self, like: impl Fn(Spot, Spot, &Kind) -> bool) -> bool {
        let found = self
            .kept
            .iter()
            .position(|packet| like(packet.from, packet.to, &Kind::of(&packet.message)));
        let Some(at) = found else { return false };
        let packet = self.kept.remove(at);
        self.timeline.note(self.now, || {
            format!("** released: {:?} from {:?}", Kind::of(&packet.message), packet.from)
        });
        self.push(self.now, Event::Arrives(packet));
        true
    }

    /// Of the kept messages that are like this only the newest is left.
    pub fn forget_all_but_the_newest(&mut self, like: impl Fn(Spot, Spot, &Kind) -> bool) {
        let is_like = |packet: &Packet| like(packet.from, packet.to, &Kind::of(&packet.message));
        let newest = self.kept.iter().rposition(is_like);
        let mut at = 0;
        self.kept.retain(|packet| {
            at += 1;
            Some(at - 1) == newest || !is_like(packet)
        });
    }

    /// The clocks of a machine run at these rates from now on, in parts per million: `slewed` those
    /// that the clock discipline steers, `crystal` the raw one.
    pub fn run_clocks_at(&mut self, node: usize, slewed: i32, crystal: i32) {
        self.machines[node].clocks.run_at(self.now, slewed, crystal);
        self.follow_kernel(node);
    }

    /// The kernel of a machine takes off addresses as late as any that was measured.
    pub fn slow_kernel(&mut self, node: usize) {
        self.machines[node].kernel.always_late = true;
    }

    /// An agent finds on its disk that it has spent this epoch of a VIP: the registry is older.
    pub fn has_spent(&mut self, node: usize, vip: &str, address: IpAddr, epoch: Epoch) {
        let memory = &mut self.machines[node].memory;
        memory.spent.spend(&vip_name(vip), &[address], epoch);
        memory.highest_epoch = memory.highest_epoch.max(epoch);
    }

    /// All processes are killed and the replicated state is lost everywhere; what the agents know is
    /// not. Started again, the cluster is born anew, as after the loss of a quorum.
    pub fn lose_the_log(&mut self) {
        for node in 0..self.machines.len() {
            self.kill(node);
            self.machines[node].raft_disk().wipe();
        }
        self.oracle.log_is_lost();
        self.operator.log_is_lost(self.now);
    }

    /// When something happens for the first time within a span; none = it does not.
    pub fn when(&mut self, span: u64, done: impl Fn(&Self) -> bool) -> Option<At> {
        (self.run_until(span, &done) && done(self)).then_some(self.now)
    }
}

fn vip_name(vip: &str) -> VipName {
    VipName::new(vip).expect("a valid name")
}

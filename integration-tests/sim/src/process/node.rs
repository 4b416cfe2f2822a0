//! The node's shell: the holder's effects are carried out, and its heartbeats find the leader.

use std::time::Duration;

use vipfence_agent_core as agent;
use vipfence_types::{Heartbeat, VipEpoch};

use super::{
    Fact, Host, LONGEST_SLEEP, Local, Out, Process,
    disk::DiskCall,
    os::{Addition, OsCall},
    spot_of,
    tasks::Run,
};
use crate::{
    net::{Message, Spot},
    time::{ms, us},
};

impl Process {
    pub(super) fn tell_node(&mut self, input: agent::Input, host: &mut Host<'_>, out: &mut Out) {
        if self.stopped {
            return;
        }
        self.node_steps += 1;
        let effects = self.holder.step(host.now, input);
        self.carry_out_node(effects, host, out);
    }

    pub(super) fn carry_out_node(
        &mut self,
        effects: Vec<agent::Effect>,
        host: &mut Host<'_>,
        out: &mut Out,
    ) {
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
                    probe,
                } => {
                    let addition = Addition {
                        call,
                        at: VipEpoch { vip, epoch },
                        addresses: addresses.iter().map(|one| one.address).collect(),
                        lifetime,
                        computed_at,
                        start_within,
                    };
                    self.ask_os(OsCall::Add(addition, probe), host, out);
                }
                agent::Effect::Drop { call, addresses, .. } => {
                    self.ask_os(OsCall::Remove { call, addresses }, host, out);
                }
                agent::Effect::Sweep { call, managed: _, keep } => {
                    self.ask_os(OsCall::Sweep { call, keep }, host, out);
                }
                agent::Effect::Tell { vip, connections, computed_at, start_within } => {
                    let call = OsCall::Tell { vip, connections, computed_at, start_within };
                    self.ask_os(call, host, out);
                }
                agent::Effect::PersistSpent { call, vip, addresses, epoch } => {
                    self.ask_disk(DiskCall::Spend { call, vip, addresses, epoch }, host, out);
                }
                agent::Effect::PersistHighest { epoch } => {
                    self.ask_disk(DiskCall::See(epoch), host, out);
                }
                agent::Effect::Run { call, vip, epoch, task, within } => {
                    let run = Run { call, vip, epoch, task, within };
                    self.ask_disk(DiskCall::Run(run), host, out);
                }
                agent::Effect::Abort { call } => self.abort_task(call, host, out),
                agent::Effect::NoteServing { vip, serving } => {
                    self.ask_disk(DiskCall::Note { vip, serving }, host, out);
                }
                agent::Effect::Reach { call, target, within } => {
                    self.reaching.insert(call);
                    let message = Message::Reach { call, address: target.ip() };
                    self.send(Spot::Fabric, None, message, out);
                    out.locals.push((us(within), Local::ReachTimeout(call)));
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
    pub(super) fn beat(
        &mut self,
        heartbeat: Box<Heartbeat>,
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
}

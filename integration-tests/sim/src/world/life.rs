//! The life of processes: they start, have their turn, are told what is due, and end.
//!
//! What a process leaves behind each time goes out from here: messages to the post, timers to the
//! queue, facts to the oracle.

use std::{sync::Arc, time::Duration};

use vipfence_coordinator_core::Setup;
use vipfence_types::{Epoch, VipName};

use super::{Deed, Event, World};
use crate::{
    machine::{ExcuseEnds, Waits},
    oracle::Truth,
    process::{Fact, Host, Identity, Local, Out, Process},
    time::{At, ms},
};

impl World {
    pub(super) fn local(&mut self, node: usize, process: u64, local: Local) {
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
    pub(super) fn with_process(
        &mut self,
        node: usize,
        what: impl FnOnce(&mut Process, &mut Host<'_>, &mut Out),
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

    pub(super) fn take_out(&mut self, node: usize, out: Out) {
        let Some(process) = self.machines[node].process.as_ref().map(Process::number) else {
            return;
        };
        let Out { packets, locals, facts } = out;
        let mut ends = false;
        for fact in facts {
            ends |= matches!(fact, Fact::RaftStopped(_) | Fact::AgentStopped);
            self.learn(node, process, fact);
        }
        if !self.machines[node].left_behind.is_empty() {
            // Whether it counts depends on what the process has done just now.
            self.oracle.kernel_changed();
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
            let down_for = self.machines[node].down_for.take();
            if down_for.is_some() && self.machines[node].kernel.all().next().is_some() {
                self.sometimes.saw("an agent ends and keeps an address");
            }
            self.kill(node);
            let back = self.now + ms(down_for.unwrap_or(500));
            self.push(back, Event::Deed(Deed::Start(node)));
        }
    }

    pub(super) fn learn(&mut self, node: usize, process: u64, fact: Fact) {
        if let Fact::Set { address, .. } = &fact {
            self.machines[node].set_by.insert(*address, process);
        }
        if let Fact::Set { address, .. } | Fact::Dropped { address } = &fact
            && self.machines[node].excuse_ends == ExcuseEnds::Never
        {
            self.machines[node].excused.remove(address);
        }
        if let Fact::Set { address, .. } | Fact::Dropped { address } = &fact {
            self.machines[node].left_behind.remove(address);
        }
        self.excuse(node, &fact);
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

    /// What is done under an epoch of before a pause that no clock shows is excused like what was
    /// done before it.
    fn excuse(&mut self, node: usize, fact: &Fact) {
        let machine = &mut self.machines[node];
        let before = |vip: &VipName, epoch: Epoch| {
            let mut held = machine.excused_epochs.iter();
            machine.excuse_ends != ExcuseEnds::Never
                && held.any(|held| held.vip == *vip && held.epoch == epoch)
        };
        match fact {
            Fact::Set { vip, epoch, address } if before(vip, *epoch) => {
                machine.excused.insert(*address);
            }
            Fact::Opened { vip, epoch, port } if before(vip, *epoch) => {
                machine.excused_ports.insert(*port);
            }
            _ => {}
        }
    }

    pub(super) fn end_excuse(&mut self, node: usize, anyway: bool) {
        let machine = &mut self.machines[node];
        let number = machine.process.as_ref().map(Process::number);
        if anyway {
            machine.excused.clear();
        }
        let over = match (machine.excuse_ends, &machine.process) {
            (ExcuseEnds::AfterAStep { steps }, Some(process)) => {
                let same = number == machine.excused_process;
                let acts = process.has_os_calls() || process.holder().is_dropping();
                same && process.node_steps() > steps && !acts
            }
            _ => false,
        };
        if anyway || over || number != machine.excused_process {
            machine.excuse_ends = ExcuseEnds::Never;
        }
    }

    pub(super) fn start(&mut self, node: usize) {
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
            nics: self.nics.get(&machine.name).cloned().unwrap_or_default(),
            timing: self.setup.timing,
        };
        let setup = Setup { node: machine.name.clone(), ..self.setup.clone() };
        let raft_disk = Arc::clone(&machine.raft_disk);
        let mut out = Out::default();
        let (slot, mut host) = machine.parts(self.now);
        let process = Process::start(me, setup, &self.roster, &raft_disk, &mut host, &mut out);
        *slot = Some(process);
        self.look_after(node);
        self.take_out(node, out);
    }

    /// Whether an agent is alive, with a disk that works: what can be asked of it depends on that.
    pub(super) fn look_after(&mut self, node: usize) {
        let machine = &self.machines[node];
        let health = machine.raft_disk().health;
        let well = machine.process.is_some()
            && machine.runs()
            && !health.full
            && health.slow_by == Duration::ZERO;
        self.oracle.tasks.is_well(node, self.now, well);
    }

    pub(super) fn kill(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if let Some(process) = machine.process.take() {
            if process.leadership().leading {
                self.sometimes.saw("a leader is killed");
            }
            let number = process.number();
            process.killed(&mut machine.memory, &mut machine.chance);
            machine.raft_disk().crash();
            machine.kernel.gate.process_ended();
            machine.waiting.clear();
            machine.stopped = false;
            self.oracle.tasks.killed(node);
            self.oracle.process_ended(number, &mut self.sometimes);
        }
    }

    /// What waited for a process that runs again.
    pub(super) fn wake(&mut self, node: usize) {
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
}

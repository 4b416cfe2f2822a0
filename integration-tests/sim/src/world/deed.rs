//! What is done to the world from outside of it: faults, and what an operator does by hand.
//!
//! A deed only changes the world; when it is done, and why, is up to schedules and scripts.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use azure_sim::{AdminCommand, Power};
use vipfence_agent_core::{OnStop, Sighting};
use vipfence_coordinator_core::{Ask, Body, COMMAND_FORMAT, Command, Scope};
use vipfence_types::{Timing, VipEpoch, VipName};

use super::{Event, World};
use crate::{
    machine::ExcuseEnds,
    net::Spot,
    oracle::Node,
    process::{Local, Memory, Process},
    time::{At, PauseSeen, ms, secs},
};

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
    /// What runs around VIPs fails, hangs or is late, one in so many.
    BadHooks(usize, u64),
    /// The health checks of a VIP fail on a node, or no longer.
    Check(usize, VipName, bool),
    /// The disk is replaced by an empty one; the process is killed.
    Wipe(usize),
    /// Somebody leaves an address without an end on a machine whose agent does not run.
    LeaveBehind(usize, IpAddr),
    /// Another program of the guest, such as cloud-init, adds an address, without an end.
    GuestAdds(usize, IpAddr),
    /// And takes one off.
    GuestDrops(usize, IpAddr),
    /// An operator stops an agent cleanly.
    CleanStop(usize),
    /// An agent is stopped, keeps its VIPs, and is started again so much later (ms).
    Upgrade(usize, u64),
    /// An operator asks the leader to step down.
    StepDown,
    /// Something is done to the simulator.
    Azure(AdminCommand),
    /// An operator asks for something, at this node first.
    Ask(usize, Ask),
    /// The timers are changed (there is no API for it yet: proposed at the leader).
    SetTiming(Timing),
}

impl World {
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
                machine.left_behind.clear();
                machine.paused = None;
                machine.off = true;
                // What was started is not there when it comes back; its shell knows that (boot id).
                machine.memory.serving.values_mut().for_each(|serving| serving.complete = false);
                self.oracle.tasks.switched_off(node);
                self.end_excuse(node, true);
                self.oracle.kernel_changed();
                self.follow_kernel(node);
            }
            Deed::Stop(node) => {
                if self.machines[node].process.is_some() {
                    self.machines[node].stopped = true;
                    self.oracle.tasks.is_well(node, self.now, false);
                    self.sometimes.saw("a process is stopped");
                }
            }
            Deed::Continue(node) => {
                self.machines[node].stopped = false;
                self.look_after(node);
                if self.machines[node].runs() {
                    self.wake(node);
                }
            }
            Deed::Pause(node, seen) => {
                let machine = &mut self.machines[node];
                if machine.paused.is_none() && !machine.off {
                    machine.paused = Some((self.now, seen));
                    self.oracle.tasks.is_well(node, self.now, false);
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
                self.look_after(node);
            }
            Deed::FullDisk(node, full) => {
                self.machines[node].raft_disk().health.full = full;
                self.look_after(node);
            }
            Deed::BadHooks(node, fail) => self.machines[node].hooks_fail = fail,
            Deed::Check(node, vip, fails) => {
                let machine = &mut self.machines[node];
                if fails {
                    machine.failing.insert(vip.clone());
                } else {
                    machine.failing.remove(&vip);
                }
                let failing = fails.then(|| "tcp check: refused".to_owned());
                self.with_process(node, |process, host, out| {
                    process.checked(vip, failing, host, out);
                });
            }
            Deed::BadOs(node, fails, slow) => {
                (self.machines[node].os_fails, self.machines[node].os_slow_ms) = (fails, slow);
            }
            Deed::Wipe(node) => {
                self.kill(node);
                self.machines[node].raft_disk().wipe();
                self.machines[node].memory = Memory::default();
                self.oracle.tasks.disk_is_lost(node);
            }
            Deed::LeaveBehind(node, address) => {
                if self.machines[node].process.is_none() {
                    self.guest_adds(node, address);
                }
            }
            Deed::GuestAdds(node, address) => self.guest_adds(node, address),
            Deed::GuestDrops(node, address) => {
                let machine = &mut self.machines[node];
                if machine.paused.is_none() && machine.kernel.drop(address) {
                    machine.left_behind.remove(&address);
                    machine.excused.remove(&address);
                    self.sometimes.saw("a guest program drops an address of ours");
                    self.sight(node, Sighting::Gone(address));
                }
            }
            Deed::CleanStop(node) => self.with_process(node, |process, host, out| {
                process.stop(OnStop::Move, Duration::from_secs(8), host, out);
            }),
            Deed::Upgrade(node, pause) => {
                self.machines[node].down_for = Some(pause);
                self.with_process(node, |process, host, out| {
                    process.step_down(host, out);
                    process.stop(OnStop::Keep, Duration::from_secs(1), host, out);
                });
            }
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

    fn guest_adds(&mut self, node: usize, address: IpAddr) {
        let machine = &mut self.machines[node];
        if machine.paused.is_some() || machine.off {
            return;
        }
        machine.kernel.set_for_ever(address);
        machine.left_behind.insert(address, machine.process.as_ref().map(Process::number));
        self.sometimes.saw(match &mut machine.process {
            Some(process) => {
                process.forget_sighting(address);
                "a guest program adds an address"
            }
            None => "an address without an end is left behind",
        });
        self.sight(node, Sighting::Foreign(address));
    }

    /// The agent looks at its OS a moment later.
    fn sight(&mut self, node: usize, sighting: Sighting) {
        self.oracle.kernel_changed();
        self.follow_kernel(node);
        if let Some(process) = self.machines[node].process.as_ref().map(Process::number) {
            let at = self.now + self.machines[node].chance.within(100, ms(30));
            self.push(at, Event::Local { node, process, local: Local::Sighted(sighting) });
        }
    }

    fn resume(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let Some((since, seen)) = machine.paused.take() else { return };
        machine.clocks.resume(self.now, self.now - since, seen);
        machine.excused = machine.kernel.all().collect();
        let mono = machine.clocks.mono(self.now);
        machine.excused_ports = machine.kernel.gate.answered(mono).collect();
        machine.excused_epochs = match seen {
            PauseSeen::Shown => vec![],
            PauseSeen::Hidden => {
                let held = machine.entitled(self.now).into_iter();
                held.map(|held| VipEpoch { vip: held.vip, epoch: held.epoch }).collect()
            }
        };
        let seq = machine.process.as_ref().map(Process::last_seq);
        let steps = machine.process.as_ref().map_or(0, Process::node_steps);
        machine.excused_process = machine.process.as_ref().map(Process::number);
        machine.excuse_ends = match seen {
            PauseSeen::Shown => ExcuseEnds::AfterAStep { steps },
            PauseSeen::Hidden => ExcuseEnds::AfterABeat { sent_after_seq: seq },
        };
        self.look_after(node);
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
            self.machines[node].hooks_fail = 0;
            (self.machines[node].os_fails, self.machines[node].os_slow_ms) = (0, 0);
            self.resume(node);
            self.machines[node].clocks.true_wall(self.now);
            self.do_deed(Deed::Continue(node));
            self.start(node);
            self.look_after(node);
            for vip in core::mem::take(&mut self.machines[node].failing) {
                self.do_deed(Deed::Check(node, vip, false));
            }
            let name = self.machines[node].name.to_string();
            let node = || name.clone();
            let rights = azure_sim::Rights::default();
            for command in [
                AdminCommand::SetImds { node: node(), fault: None },
                AdminCommand::SetRights { node: node(), rights },
                AdminCommand::SetPower { node: node(), power: Power::Running },
                AdminCommand::SetLock { nic: Some(format!("{name}-nic")), lock: None },
                AdminCommand::SetPolicy { nic: Some(format!("{name}-nic")), policy: None },
            ] {
                self.do_deed(Deed::Azure(command));
            }
        }
        for command in [
            AdminCommand::ClearFaults,
            AdminCommand::Unfreeze { nic: None },
            AdminCommand::Release { hold: None },
            AdminCommand::SetLock { nic: None, lock: None },
            AdminCommand::SetPolicy { nic: None, policy: None },
        ] {
            self.do_deed(Deed::Azure(command));
        }
        self.hands_on();
    }

    /// The operators resume what they have paused, until they are heard.
    fn hands_on(&mut self) {
        let paused = self.operator.calls().iter().filter_map(|call| match &call.ask {
            Ask::Pause { scope, .. } => Some(scope.clone()),
            _ => None,
        });
        let paused: BTreeSet<Scope> = paused.collect();
        for (scope, after) in
            paused.iter().flat_map(|scope| [1, 20, 60].map(|after| (scope, after)))
        {
            let resume = Ask::Resume { scope: scope.clone(), by: "operator".to_owned() };
            self.push(self.now + secs(after), Event::Deed(Deed::Ask(0, resume)));
        }
    }
}

//! The driver's shell: the coordinator's effects are carried out, and the applied state reaches it.

use vipfence_agent_core as agent;
use vipfence_coordinator_core as core;

use super::{Fact, Host, LONGEST_SLEEP, Local, Out, Process, spot_of};
use crate::{
    net::{Message, Spot},
    time::us,
};

impl Process {
    pub(super) fn driver_sees_applied(&mut self, host: &mut Host<'_>, out: &mut Out) {
        let Some((index, state)) = self.applied.take() else { return };
        let interval = state.timing.agent_heartbeat();
        if state.cluster.is_some() && self.heartbeat_every != Some(interval) {
            self.heartbeat_every = Some(interval);
            self.tell_node(agent::Input::HeartbeatEvery { interval }, host, out);
        }
        let specs = state.vips.values().map(|record| &record.spec.addresses);
        let managed = specs.flatten().map(|entry| entry.address).collect();
        if self.managed != managed {
            self.managed.clone_from(&managed);
            self.tell_node(agent::Input::Managed { addresses: managed }, host, out);
        }
        self.drive(core::Input::Applied { index, state }, host, out);
    }

    pub(super) fn drive(&mut self, input: core::Input, host: &mut Host<'_>, out: &mut Out) {
        let effects = self.coordinator.step(host.now, input);
        let mut raft = false;
        for effect in effects {
            raft |= self.carry_out_driver(effect, host, out);
        }
        self.driver_serial += 1;
        let wake = self.coordinator.wake_in(host.now).unwrap_or(LONGEST_SLEEP);
        out.locals.push((us(wake).max(1), Local::Driver(self.driver_serial)));
        if raft {
            self.run_raft(host, out);
        }
    }

    /// Returns whether Raft has something to do.
    pub(super) fn carry_out_driver(
        &mut self,
        effect: core::Effect,
        host: &mut Host<'_>,
        out: &mut Out,
    ) -> bool {
        match effect {
            core::Effect::Propose { id, command } => {
                self.seat.propose(id, command);
                return true;
            }
            core::Effect::Round { id, pace } => {
                self.rounds_begun.insert(id, host.now);
                self.seat.round(id, pace);
                return true;
            }
            core::Effect::Http(request) => self.connect(request, host, out),
            core::Effect::Answer { id, answer } => {
                if let Ok(answer) = &answer {
                    let grants = answer.grants.iter().map(|grant| grant.at.clone()).collect();
                    out.facts.push(Fact::BeatGranted { beat: id.0, grants });
                }
                if let Some((from, process, seq)) = self.beats.remove(&id) {
                    let message = Message::BeatAnswer { seq, answer };
                    self.send(from, Some(process), message, out);
                }
            }
            core::Effect::Reply { id, reply } => {
                if let Some((op, attempt)) = self.asks.remove(&id) {
                    let answer = Box::new(reply);
                    let message = Message::AskAnswer { op, attempt, answer };
                    self.send(Spot::Operator, None, message, out);
                }
            }
            core::Effect::Nudge { node } => {
                let to = spot_of(self.roster.id(&node));
                self.send(to, None, Message::Nudge, out);
            }
            // Nobody scrapes here.
            core::Effect::Problem { .. } => {}
            core::Effect::StepDown => {
                out.facts.push(Fact::MakesWay);
                self.seat.step_down(host.mono());
                return true;
            }
        }
        false
    }
}

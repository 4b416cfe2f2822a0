//! The post: how messages get from one spot to another, by the net's fate and a script's rule.
//!
//! What a message means is up to whom it reaches.

use vipfence_coordinator_core::{HttpFault, HttpResult};

use super::{Event, Kind, Verdict, World};
use crate::{
    azure::{Arrival, Waiting},
    machine::Waits,
    net::{Fate, Message, Packet, Spot},
    process::{Out, Process},
    seat::RaftRequest,
    time::secs,
};

impl World {
    /// A rule for the messages from now on; it replaces the last one.
    pub fn rule(&mut self, rule: impl FnMut(Spot, Spot, &Kind) -> Verdict + 'static) {
        self.rule = Some(Box::new(rule));
    }

    /// No rule any more.
    pub fn no_rule(&mut self) {
        self.rule = None;
    }

    /// How many messages are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// What was kept arrives now, in the order in which it was sent.
    pub fn release(&mut self) {
        for packet in core::mem::take(&mut self.kept) {
            self.push(self.now, Event::Arrives(packet));
        }
    }

    /// What was kept arrives now, the newest first.
    pub fn release_backwards(&mut self) {
        self.kept.reverse();
        self.release();
    }

    /// What was kept is lost.
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    pub(super) fn send(&mut self, packet: Packet) {
        if let Some(rule) = &mut self.rule {
            match rule(packet.from, packet.to, &Kind::of(&packet.message)) {
                Verdict::Pass => {}
                Verdict::Drop => return,
                Verdict::Keep => return self.kept.push(packet),
            }
        }
        match self.net.fate(packet.from, packet.to) {
            Fate::Lost => self.lose(packet),
            Fate::Arrives(after) => {
                for again in after.iter().skip(1) {
                    if let Some(copy) = copy_of(&packet) {
                        self.sometimes.saw("a message arrives twice");
                        self.push(self.now + again, Event::Arrives(copy));
                    }
                }
                self.push(self.now + after[0], Event::Arrives(packet));
            }
        }
    }

    /// TCP goes on trying: what was handed over to a cut link may still arrive when it is joined.
    pub(super) fn lose(&mut self, packet: Packet) {
        self.sometimes.saw("a message is lost");
        let is_write =
            matches!(&packet.message, Message::Arm { request, .. } if request.method != "GET");
        if is_write && self.chance.one_in(2) {
            let late = self.chance.within(secs(1), secs(40));
            self.sometimes.saw("a request to Azure arrives late");
            self.push(self.now + late, Event::Arrives(packet));
        }
    }

    pub(super) fn arrive(&mut self, packet: Packet) {
        match packet.to {
            Spot::Node(node) => match packet.message {
                Message::Probe { front, round } => self.probe_arrives(node, front, round),
                _ => self.arrive_at_node(node, packet),
            },
            Spot::Balancer => self.probe_answered(&packet),
            Spot::Fabric => self.fabric(&packet),
            Spot::Arm => self.arrive_at_arm(packet),
            Spot::Imds(node) => self.arrive_at_imds(node, &packet),
            Spot::Operator => {
                if let Message::AskAnswer { op, attempt, answer } = packet.message {
                    self.operator_answered(op, attempt, *answer);
                }
            }
        }
    }

    pub(super) fn arrive_at_node(&mut self, node: usize, packet: Packet) {
        let machine = &mut self.machines[node];
        let number = machine.process.as_ref().map(Process::number);
        let meant = packet.to_process.is_none_or(|process| number == Some(process));
        if number.is_none() || machine.off || !meant {
            return;
        }
        if !machine.runs() {
            return machine.waiting.push(Waits::Packet(Box::new(packet)));
        }
        if matches!(&packet.message, Message::BeatAnswer { answer: Ok(_), .. })
            && machine.memory.spent != Default::default()
        {
            self.sometimes.saw("a heartbeat answer arrives at a node that has spent epochs");
        }
        if matches!(&packet.message, Message::Raft { request: RaftRequest::Snapshot(_), .. }) {
            self.sometimes.saw("a follower is fed with a snapshot");
        }
        let mut out = Out::default();
        let (process, mut host) = machine.parts(self.now);
        if let Some(process) = process {
            process.receive(packet, &mut host, &mut out);
        }
        self.take_out(node, out);
    }

    pub(super) fn arrive_at_arm(&mut self, packet: Packet) {
        let Message::Arm { id, request } = packet.message else { return };
        let waiting = Waiting { spot: packet.from, process: packet.from_process, id };
        match self.azure.arm(self.now, *request, waiting) {
            Arrival::Answer(answer) => self.answer_arm(waiting, Ok(answer)),
            Arrival::Closed => {
                let fault = HttpFault::Unknown("the connection was closed".to_owned());
                self.answer_arm(waiting, Err(fault));
            }
            Arrival::Silence => {}
        }
    }

    pub(super) fn answer_arm(&mut self, waiting: Waiting, result: HttpResult) {
        let message = Message::ArmAnswer { id: waiting.id, result: Box::new(result) };
        self.send(Packet {
            from: Spot::Arm,
            from_process: 0,
            to: waiting.spot,
            to_process: Some(waiting.process),
            message,
        });
    }

    pub(super) fn arrive_at_imds(&mut self, node: usize, packet: &Packet) {
        let name = self.machines[node].name.to_string();
        let Some(token) = self.azure.token(self.now, &name) else { return };
        // The agent compares with its own wall clock, in microseconds.
        let token = token.map(|(token, until)| (token, secs(until)));
        let message = Message::ImdsAnswer { token };
        let (to, to_process) = (packet.from, Some(packet.from_process));
        self.send(Packet { from: packet.to, from_process: 0, to, to_process, message });
    }
}

/// Messages that a network may repeat. Writes to ARM it may not: a request is sent once or not at
/// all over one connection.
fn copy_of(packet: &Packet) -> Option<Packet> {
    let message = match &packet.message {
        Message::Raft { call, request } => Message::Raft { call: *call, request: request.clone() },
        Message::Beat { heartbeat } => Message::Beat { heartbeat: heartbeat.clone() },
        Message::BeatAnswer { seq, answer } => {
            Message::BeatAnswer { seq: *seq, answer: answer.clone() }
        }
        Message::Nudge => Message::Nudge,
        Message::Ask { op, attempt, ask } => {
            Message::Ask { op: *op, attempt: *attempt, ask: ask.clone() }
        }
        Message::RaftAnswer { .. }
        | Message::Arm { .. }
        | Message::ArmAnswer { .. }
        | Message::Imds
        | Message::ImdsAnswer { .. }
        | Message::AskAnswer { .. }
        | Message::Probe { .. }
        | Message::Reach { .. }
        | Message::Reached { .. }
        | Message::ProbeAnswer { .. } => return None,
    };
    let Packet { from, from_process, to, to_process, .. } = *packet;
    Some(Packet { from, from_process, to, to_process, message })
}

//! The load balancers' probes: they go out every 5 s, are answered by kernels or by processes, and the
//! answers come back, some of them late.
//!
//! Whether a probe is answered is up to the gate of the machine alone; who is then sent traffic, to the
//! load balancer.

use vipfence_types::Mode;

use super::{Event, World};
use crate::{
    balancer::{INTERVAL, Turn},
    gate::Answers,
    machine::Waits,
    net::{Message, Packet, Spot},
};

impl World {
    /// A load balancer probes all nodes.
    pub(super) fn probe(&mut self, front: usize) {
        self.push(self.now + INTERVAL, Event::Probes { front });
        let mut turns = Vec::new();
        let round = self.balancers[front].next_round(&mut turns);
        for turn in turns {
            self.turned(front, turn);
        }
        for node in self.balancers[front].nodes() {
            let (from, to) = (Spot::Balancer, Spot::Node(node));
            let message = Message::Probe { front, round };
            self.send(Packet { from, from_process: 0, to, to_process: None, message });
        }
    }

    /// A probe reaches a machine: its kernel answers or refuses, whatever becomes of the process.
    pub(super) fn probe_arrives(&mut self, node: usize, front: usize, round: u64) {
        let port = self.balancers[front].front.port;
        let machine = &mut self.machines[node];
        if machine.paused.is_some() || machine.off {
            return;
        }
        let answers = machine.kernel.gate.answers(machine.clocks.mono(self.now), port);
        if answers.is_none() && machine.stopped && machine.kernel.gate.has_listener(port) {
            self.sometimes.saw("a kernel refuses a probe before a process that is stopped");
        }
        // Who else answers at this moment?
        self.oracle.kernel_changed();
        let answer = |answered| Packet {
            from: Spot::Node(node),
            from_process: 0,
            to: Spot::Balancer,
            to_process: None,
            message: Message::ProbeAnswer { front, round, answered },
        };
        match answers {
            None => self.send(answer(false)),
            // It is taken in, and answered when the process goes on.
            Some(Answers::Process) if machine.stopped => {
                machine.waiting.push(Waits::Packet(Box::new(answer(true))));
            }
            Some(Answers::Kernel | Answers::Process) => self.send(answer(true)),
        }
    }

    pub(super) fn probe_answered(&mut self, packet: &Packet) {
        let (Spot::Node(node), Message::ProbeAnswer { front, round, answered }) =
            (packet.from, &packet.message)
        else {
            return;
        };
        if *answered && !self.answers(node, *front) {
            self.sometimes.saw("a probe's answer arrives when its node answers no more");
        }
        if let Some(turn) = self.balancers[*front].hears(node, *round, *answered) {
            self.turned(*front, turn);
        }
    }

    fn turned(&mut self, front: usize, turn: Turn) {
        let port = self.balancers[front].front.port;
        let (node, what) = match turn {
            Turn::In(node) => (node, "takes in"),
            Turn::Out(node) => (node, "takes out"),
        };
        self.sometimes.saw(match turn {
            Turn::In(_) => "a load balancer takes a node in",
            Turn::Out(_) => "a load balancer takes a node out",
        });
        let name = &self.machines[node].name;
        self.timeline.note(self.now, || format!("the load balancer of port {port} {what} {name}"));
    }

    /// Whether a node would answer the probe of a frontend now.
    fn answers(&self, node: usize, front: usize) -> bool {
        let (machine, port) = (&self.machines[node], self.balancers[front].front.port);
        machine.kernel.gate.answers(machine.clocks.mono(self.now), port).is_some()
    }

    /// I6 of this mode: the only node that is sent traffic is the holder.
    pub(crate) fn astray(&self) -> Option<String> {
        self.balancers.iter().find_map(|balancer| {
            let mut records = self.oracle.log.registry.vips.values();
            let port = balancer.front.port;
            let mine = records.find(|record| {
                record.spec.mode == Mode::LoadBalancer
                    && record.spec.probe.as_ref().is_some_and(|probe| probe.port == port)
            });
            let holder = mine.and_then(|record| record.holder());
            let healthy = balancer.healthy();
            let healthy: Vec<_> = healthy.iter().map(|node| &self.machines[*node].name).collect();
            (healthy != holder.into_iter().collect::<Vec<_>>())
                .then(|| format!("port {port} is held by {holder:?} and sent to {healthy:?}"))
        })
    }
}

//! What the world does for its operator: calls go out, answers come back, patience ends.
//!
//! What the operator then does is its own affair (`crate::operator`).

use std::net::{IpAddr, Ipv4Addr};

use vipfence_coordinator_core::{Ask, AskError, Reply};
use vipfence_types::{NodeId, VipName, VipSpec};

use super::{Event, World, plan::node_id};
use crate::{
    net::{Message, Packet, Spot},
    time::ms,
};

impl World {
    /// An operator asks for something, at this node first; returns the number of the call.
    pub fn ask(&mut self, node: usize, ask: Ask) -> usize {
        let op = self.operator.begin(self.now, node, ask);
        self.send_ask(op);
        op
    }

    /// An operator defines a VIP on this address, and lets the cluster place it.
    pub fn create(&mut self, node: usize, vip: &str, address: Ipv4Addr, to: Option<&str>) -> usize {
        let vip = VipName::new(vip).expect("a valid name");
        let request = self.operator.request();
        let ask = Ask::CreateVip {
            vip,
            spec: VipSpec::host(IpAddr::V4(address)),
            enabled: true,
            to: to.map(node_id),
            request,
        };
        self.ask(node, ask)
    }

    pub(super) fn send_ask(&mut self, op: usize) {
        let (attempt, node, ask) = self.operator.attempt(op);
        let message = Message::Ask { op, attempt, ask: Box::new(ask) };
        let (from, to) = (Spot::Operator, Spot::Node(node));
        self.send(Packet { from, from_process: 0, to, to_process: None, message });
        let patience = self.now + ms(1_500);
        self.push(patience, Event::Operator { op, attempt });
    }

    pub(super) fn operator_due(&mut self, op: usize, attempt: u32) {
        if self.operator.no_answer(self.now, op, attempt, self.machines.len()) {
            self.send_ask(op);
        }
    }

    pub(super) fn operator_answered(
        &mut self,
        op: usize,
        attempt: u32,
        answer: Result<Reply, AskError>,
    ) {
        let names: Vec<NodeId> = self.machines.iter().map(|m| m.name.clone()).collect();
        if let Err(violation) = self.oracle.acknowledged(self.operator.asked(op), &answer) {
            self.violate(violation);
        }
        if let Some(wait) = self.operator.answered(self.now, op, attempt, answer, &names) {
            let at = self.now + wait;
            self.push(at, Event::Operator { op, attempt });
        }
    }
}

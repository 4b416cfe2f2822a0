//! The data plane: connections to VIPs, which Azure sends to where an address is attached, or a load
//! balancer to a backend that it has in; and the answers of whoever has the address.
//!
//! A connection is answered by a kernel: its process may be stopped. What an attempt means is up to the
//! machine that asked for it.

use std::net::IpAddr;

use super::World;
use crate::{
    net::{Message, Packet, Spot, Tried},
    oracle::Node,
};

impl World {
    /// A connection is on its way through Azure.
    pub(super) fn fabric(&mut self, packet: &Packet) {
        let (Spot::Node(asks), Message::Reach { call, address }) = (packet.from, &packet.message)
        else {
            return;
        };
        let to = match self.machines[asks].kernel.has(*address) {
            // It does not leave the machine.
            true => Some(asks),
            false => self.routed(asks, *address),
        };
        let Some(to) = to else { return };
        let message = Message::Reach { call: *call, address: *address };
        let (from, from_process) = (packet.from, packet.from_process);
        let carried = Packet { from, from_process, to: Spot::Node(to), to_process: None, message };
        if to == asks || !self.net.is_cut(Spot::Fabric, Spot::Node(to)) {
            self.connects(to, &carried);
        }
    }

    /// The node to which Azure sends traffic for an address.
    fn routed(&mut self, asks: usize, address: IpAddr) -> Option<usize> {
        if let Some(balancer) = self.balancers.iter().find(|one| one.front.address == address) {
            let healthy = balancer.healthy();
            let at = (!healthy.is_empty()).then(|| self.chance.index(healthy.len()))?;
            // No backend reaches itself through its load balancer.
            return Some(healthy[at]).filter(|to| *to != asks);
        }
        let attachments = self.azure.world.attachments().attachments;
        let nic = attachments.get(&address)?.rsplit('/').next()?.to_ascii_lowercase();
        self.machines.iter().position(|machine| nic == format!("{}-nic", machine.name))
    }

    /// A connection arrives at a machine: its kernel takes or refuses it, where it has the address.
    fn connects(&mut self, node: usize, packet: &Packet) {
        let Message::Reach { call, address } = packet.message else { return };
        let machine = &self.machines[node];
        if machine.paused.is_some() || machine.off || !machine.kernel.has(address) {
            return;
        }
        let (at, counts) = (self.now, machine.counts_as_having(address));
        let tried = Tried { address, at, by: machine.name.clone(), counts };
        // Azure carries it back, unless the two do not hear each other anyway.
        let cut = self.net.is_cut(Spot::Node(node), packet.from);
        if cut && packet.from != Spot::Node(node) {
            return;
        }
        self.send(Packet {
            from: Spot::Fabric,
            from_process: 0,
            to: packet.from,
            to_process: Some(packet.from_process),
            message: Message::Reached { call, tried },
        });
    }
}

//! VIPs behind load balancers: which ones, and what goes wrong between their probes and the nodes.
//! Drawn from a stream of its own, so that everything else of a seed stays as it was.

use std::net::{IpAddr, Ipv4Addr};

use vipfence_types::{Mode, Probe, ProbeProtocol, VipAddress, VipName, VipSpec};

use super::{CALM, Strike, each_spec};
use crate::{
    balancer::Frontend,
    chance::Chance,
    net::Spot,
    time::{At, ms, secs},
    world::Deed,
};

const STREAM: u64 = 52;

/// See the module.
pub(super) struct Front {
    chance: Chance,
    /// Which VIPs, and how their probes are answered.
    vips: Vec<(VipName, Frontend, ProbeProtocol)>,
}

impl Front {
    /// In a third of the worlds some VIPs are behind load balancers, and stay so when they are created
    /// again.
    pub(super) fn of(seed: u64, vips: &[VipName]) -> Self {
        let mut chance = Chance::of(seed, STREAM);
        let some = chance.one_in(3);
        let mut drawn = Vec::new();
        for (index, vip) in (0..).zip(vips).filter(|_| some) {
            let protocol = *chance.pick(&[ProbeProtocol::Tcp, ProbeProtocol::Http]);
            if !chance.one_in(3) {
                let address = Ipv4Addr::new(10, 5, 0, 170 + index).into();
                let front = Frontend { address, port: 63_001 + u16::from(index) };
                drawn.push((vip.clone(), front, protocol));
            }
        }
        Self { chance, vips: drawn }
    }

    /// What Azure has for them.
    pub(super) fn frontends(&self) -> Vec<Frontend> {
        self.vips.iter().map(|(_, front, _)| *front).collect()
    }

    /// Puts the VIPs that the operator defines behind their load balancers.
    pub(super) fn define(&self, vips: &mut [(VipName, VipSpec)], strikes: &mut [Strike]) {
        each_spec(vips, strikes, |vip, spec| self.put(vip, spec));
    }

    fn put(&self, vip: &VipName, spec: &mut VipSpec) {
        let Some((_, front, protocol)) = self.vips.iter().find(|(known, ..)| known == vip) else {
            return;
        };
        let (port, protocol, reply) = (front.port, *protocol, String::new());
        spec.mode = Mode::LoadBalancer;
        spec.addresses = vec![VipAddress::host(front.address)];
        spec.probe = Some(Probe { port, protocol, reply });
    }

    /// Probes and their answers are lost or late, for longer than a round too; and programs of the
    /// guest that know the frontend's address.
    pub(super) fn strikes(&mut self, nodes: usize, until: At) -> Vec<Strike> {
        let addresses: Vec<IpAddr> = self.vips.iter().map(|(_, front, _)| front.address).collect();
        if addresses.is_empty() {
            return Vec::new();
        }
        let mut strikes = Vec::new();
        for _ in 0..self.chance.within(1, 4) {
            let (at, end) = self.span(until);
            let node = Spot::Node(self.chance.index(nodes));
            let (lost, delay) = (self.chance.within(0, 300), self.chance.within(500, 8_000));
            let both = [(Spot::Balancer, node), (node, Spot::Balancer)];
            let deed = |(from, to): (Spot, Spot), lost, delay| Deed::Roughen(from, to, lost, delay);
            let deeds = match self.chance.within(0, 2) {
                0 => vec![
                    (at, Deed::Cut(Spot::Balancer, node)),
                    (end, Deed::Join(Spot::Balancer, node)),
                ],
                1 => vec![(at, deed(both[1], lost, delay)), (end, deed(both[1], 0, 0))],
                _ => vec![
                    (at, deed(both[0], lost, delay)),
                    (at, deed(both[1], lost, delay)),
                    (end, deed(both[0], 0, 0)),
                    (end, deed(both[1], 0, 0)),
                ],
            };
            strikes.push(Strike { kind: "probes are late or lost", deeds });
        }
        for _ in 0..self.chance.within(0, 2) {
            let (at, _) = self.span(until);
            let (node, address) = (self.chance.index(nodes), *self.chance.pick(&addresses));
            let deed = match self.chance.one_in(2) {
                true => Deed::GuestAdds(node, address),
                false => Deed::GuestDrops(node, address),
            };
            let kind = "a guest program changes an address";
            strikes.push(Strike { kind, deeds: vec![(at, deed)] });
        }
        strikes
    }

    fn span(&mut self, until: At) -> (At, At) {
        let at = self.chance.within(CALM, until - secs(1));
        (at, (at + self.chance.within(ms(500), secs(40))).min(until))
    }
}

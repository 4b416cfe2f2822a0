//! The data path: which VIPs have it looked at, and what becomes of their traffic. Drawn from a stream
//! of its own, so that everything else of a seed stays as it was.

use vipfence_coordinator_core::{Ask, Expect, Request};
use vipfence_types::{DataPath, RequestId, VipName, VipSpec};

use super::{CALM, Strike, each_spec};
use crate::{
    chance::Chance,
    net::Spot,
    time::{At, ms, secs},
    world::Deed,
};

const STREAM: u64 = 53;

/// See the module.
pub(super) struct Path {
    chance: Chance,
    vips: Vec<(VipName, DataPath)>,
    asks: u64,
}

impl Path {
    /// Of every four VIPs one has it reported, and one requires it.
    pub(super) fn of(seed: u64, vips: &[VipName]) -> Self {
        let mut chance = Chance::of(seed, STREAM);
        let kinds = [DataPath::Off, DataPath::Off, DataPath::Report, DataPath::Required];
        let vips = vips.iter().map(|vip| (vip.clone(), *chance.pick(&kinds))).collect();
        Self { chance, vips, asks: 0 }
    }

    pub(super) fn define(&self, vips: &mut [(VipName, VipSpec)], strikes: &mut [Strike]) {
        each_spec(vips, strikes, |vip, spec| {
            if let Some((_, kind)) = self.vips.iter().find(|(known, _)| known == vip) {
                spec.data_path = *kind;
            }
        });
    }

    /// The data plane carries nothing from or to a node, or to nobody; or it loses much, and is slower
    /// than an attempt.
    pub(super) fn strikes(&mut self, nodes: usize, until: At) -> Vec<Strike> {
        if self.vips.iter().all(|(_, kind)| *kind == DataPath::Off) {
            return Vec::new();
        }
        let strikes = self.chance.within(1, 3);
        (0..strikes).map(|_| self.strike(nodes, until)).collect()
    }

    fn strike(&mut self, nodes: usize, until: At) -> Strike {
        let at = self.chance.within(CALM, until - secs(1));
        let end = (at + self.chance.within(ms(500), secs(40))).min(until);
        let node = Spot::Node(self.chance.index(nodes));
        let all = (0..nodes).map(Spot::Node);
        let links: Vec<(Spot, Spot)> = match self.chance.within(0, 3) {
            0 => vec![(node, Spot::Fabric)],
            1 => vec![(Spot::Fabric, node)],
            _ => all.map(|one| (Spot::Fabric, one)).collect(),
        };
        if self.chance.one_in(2) {
            let cut = links.iter().map(|(from, to)| (at, Deed::Cut(*from, *to)));
            let join = links.iter().map(|(from, to)| (end, Deed::Join(*from, *to)));
            return Strike { kind: "VIPs cannot be reached", deeds: cut.chain(join).collect() };
        }
        let (lost, delay) = (self.chance.within(0, 700), self.chance.within(200, 2_000));
        let bad = links.iter().map(|(from, to)| (at, Deed::Roughen(*from, *to, lost, delay)));
        let good = links.iter().map(|(from, to)| (end, Deed::Roughen(*from, *to, 0, 0)));
        let mut deeds: Vec<(At, Deed)> = bad.chain(good).collect();
        // And the VIP moves on before anybody has had an answer.
        let mut moves_at = at;
        for _ in 0..4 {
            moves_at += self.chance.within(ms(300), secs(3));
            deeds.push((moves_at, self.moves(nodes)));
        }
        Strike { kind: "VIPs are reached late", deeds }
    }

    fn moves(&mut self, nodes: usize) -> Deed {
        let looked_at = self.vips.iter().filter(|(_, kind)| *kind != DataPath::Off);
        let looked_at: Vec<VipName> = looked_at.map(|(vip, _)| vip.clone()).collect();
        let vip = self.chance.pick(&looked_at).clone();
        self.asks += 1;
        let id = Some(RequestId::from(format!("p{}", self.asks)));
        let request = Request { id, content: String::new(), caller: "operator".to_owned() };
        let (to, expect, dry_run, force) = (None, Expect::default(), false, false);
        let ask = Ask::MoveVip { vip, to, expect, dry_run, force, request };
        Deed::Ask(self.chance.index(nodes), ask)
    }
}

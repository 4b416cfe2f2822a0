//! What there is to do around VIPs, and what goes wrong with it: hooks that hang or fail, health checks
//! that flap; and operators who want no automatic moves for a while. Drawn from a stream of its own, so that everything else of a seed stays as it was.

use std::{collections::BTreeMap, time::Duration};

use vipfence_agent_core::{Duties, Task};
use vipfence_coordinator_core::{Ask, Scope};
use vipfence_types::{Failback, Failover, NodeId, Unanswered, VipName, VipSpec};

use super::{CALM, Strike};
use crate::{
    chance::Chance,
    time::{At, ms, secs},
    world::Deed,
};

const STREAM: u64 = 51;

/// See the module.
pub(super) struct Around {
    chance: Chance,
}

impl Around {
    pub(super) fn of(seed: u64) -> Self {
        Self { chance: Chance::of(seed, STREAM) }
    }

    /// Half of the VIPs have hooks, units or both. Half of those are served although `pre_acquire`
    /// fails; of the others it is up to the leader to find another candidate.
    pub(super) fn duties(&mut self, vips: &[VipName]) -> BTreeMap<VipName, Duties> {
        let hooks = [
            Task::PreAcquire,
            Task::PostAcquire,
            Task::PreRelease,
            Task::PostRelease,
            Task::OnFault,
        ];
        let mut all = BTreeMap::new();
        for vip in vips {
            let (has_hooks, has_units) = (self.chance.one_in(2), self.chance.one_in(2));
            let serve_all_the_same = self.chance.one_in(2);
            let mut duties = Duties { serve_all_the_same, ..Duties::default() };
            let hooks = hooks.iter().filter(|_| has_hooks);
            let units = [Task::StartUnits, Task::StopUnits];
            for task in hooks.chain(units.iter().filter(|_| has_units)) {
                let within = Duration::from_millis(self.chance.within(500, 2_000));
                duties.tasks.insert(*task, within);
            }
            if has_hooks || has_units {
                all.insert(vip.clone(), duties);
            }
        }
        all
    }

    /// Some VIPs go back by themselves, and of some somebody has to confirm a failover, which nobody
    /// does: their defaults take effect.
    pub(super) fn policies(&mut self, vips: &mut [(VipName, VipSpec)]) {
        for (_, spec) in vips {
            spec.failback = match self.chance.within(0, 5) {
                0 => Failback::Prefer,
                1 => Failback::After { ms: self.chance.within(1_000, 30_000) },
                _ => Failback::Manual,
            };
            if self.chance.one_in(4) {
                let timeout_ms = self.chance.within(1_000, 30_000);
                let stays = self.chance.one_in(2);
                let then = if stays { Unanswered::Stay } else { Unanswered::Move };
                spec.failover = Failover::Confirm { timeout_ms, then };
            }
        }
    }

    /// Bad hooks on some nodes, checks that flap as badly as they can, and hands off.
    pub(super) fn strikes(&mut self, nodes: &[NodeId], vips: &[VipName], until: At) -> Vec<Strike> {
        let pauses: Vec<Strike> =
            (0..self.chance.within(0, 2)).map(|_| self.hands_off(nodes, vips, until)).collect();
        let nodes = nodes.len();
        let (bad, flaps) = (self.chance.within(0, 3), self.chance.within(0, 2));
        let bad = (0..bad).map(|_| {
            let node = self.chance.index(nodes);
            let at = self.chance.within(0, until - secs(1));
            let end = (at + self.chance.within(secs(2), secs(60))).min(until);
            let one_in = self.chance.within(1, 4);
            let deeds = vec![(at, Deed::BadHooks(node, one_in)), (end, Deed::BadHooks(node, 0))];
            Strike { kind: "hooks hang or fail", deeds }
        });
        let mut strikes: Vec<Strike> = bad.collect();
        for _ in 0..flaps {
            let (node, vip) = (self.chance.index(nodes), self.chance.pick(vips).clone());
            let mut at = self.chance.within(CALM, until - secs(1));
            let mut deeds = Vec::new();
            for turn in 0..2 * self.chance.within(1, 6) {
                deeds.push((at.min(until), Deed::Check(node, vip.clone(), turn % 2 == 0)));
                at += self.chance.within(ms(200), secs(8));
            }
            strikes.push(Strike { kind: "a health check flaps", deeds });
        }
        strikes.extend(pauses);
        strikes
    }

    fn hands_off(&mut self, nodes: &[NodeId], vips: &[VipName], until: At) -> Strike {
        let scope = match self.chance.within(0, 3) {
            0 => Scope::Cluster,
            1 => Scope::Node(self.chance.pick(nodes).clone()),
            _ => Scope::Vip(self.chance.pick(vips).clone()),
        };
        let at = self.chance.within(CALM, until - secs(1));
        let lasts = Duration::from_millis(self.chance.within(2_000, 60_000));
        let (asked, by) = (self.chance.index(nodes.len()), "operator".to_owned());
        let pause = Ask::Pause {
            scope: scope.clone(),
            lasts: Some(lasts),
            reason: "maintenance".to_owned(),
            by: by.clone(),
        };
        let mut deeds = vec![(at, Deed::Ask(asked, pause))];
        if self.chance.one_in(2) {
            let over = (at + self.chance.within(ms(500), secs(60))).min(until);
            deeds.push((over, Deed::Ask(asked, Ask::Resume { scope, by })));
        }
        Strike { kind: "hands off", deeds }
    }
}

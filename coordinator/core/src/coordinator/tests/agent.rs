//! The agents of the bench: each keeps the node's side of the contract, briefly.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vipfence_types::{
    Answer, BootId, ClusterName, Connection, Cut, Epoch, Heartbeat, NicRecord, NodeHealth, NodeId,
    Refusal, VipEpoch, VipFailing, VipName, VipReport,
};

use super::bench::demo;

/// How late the kernel may be with the address of a dead agent.
const KERNEL_LATE: Duration = Duration::from_millis(1_350);

/// A node's agent.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) alive: bool,
    /// Heartbeats and answers get through.
    pub(super) connected: bool,
    /// Release hooks that never end.
    pub(super) hangs: bool,
    pub(super) stopping: bool,
    /// Why the health check of `demo` fails here.
    pub(super) failing: Option<&'static str>,
    /// Why what comes before an add fails here: grants are not taken.
    pub(super) unfit: Option<&'static str>,
    /// Why what comes after an add fails here: the address is there, and the service is not.
    pub(super) serves_not: Option<&'static str>,
    /// What it is asked to reach answers it.
    pub(super) reaches: bool,
    pub(super) boot: String,
    pub(super) replaces: Vec<BootId>,
    pub(super) spent: BTreeMap<VipName, Epoch>,
    pub(super) refusal: Option<Refusal>,
    pub(super) seq: u64,
    pub(super) holds: BTreeMap<VipName, (Epoch, Duration)>,
    pub(super) released: BTreeSet<VipEpoch>,
    pub(super) refused: BTreeSet<VipEpoch>,
    pub(super) not_taken: BTreeSet<VipEpoch>,
    pub(super) reached: Vec<VipEpoch>,
    /// What every release cuts.
    pub(super) cuts: Vec<Connection>,
    pub(super) nics: Vec<NicRecord>,
}

impl Agent {
    pub(super) fn has(&self, now: Duration, vip: &VipName) -> bool {
        let late = if self.alive { Duration::ZERO } else { KERNEL_LATE };
        self.holds.get(vip).is_some_and(|(_, until)| now < *until + late)
    }

    pub(super) fn heartbeat(&mut self, now: Duration, name: &NodeId) -> Heartbeat {
        self.seq += 1;
        self.holds.retain(|_, (_, until)| now < *until);
        let held = self.holds.iter().map(|(vip, (epoch, _))| VipReport {
            at: VipEpoch { vip: vip.clone(), epoch: *epoch },
            added: true,
            problem: String::new(),
            unfit: self.serves_not.unwrap_or_default().to_owned(),
        });
        let not_taken = self.not_taken.iter().map(|at| VipReport {
            at: at.clone(),
            added: false,
            problem: String::new(),
            unfit: self.unfit.unwrap_or("it failed").to_owned(),
        });
        let cut = self.released.iter().filter(|_| !self.cuts.is_empty());
        let cut = cut.map(|at| Cut { at: at.clone(), connections: self.cuts.clone() });
        let failing = self.failing.map(|why| VipFailing { vip: demo(), reason: why.to_owned() });
        let highest = self.spent.values().max().copied().unwrap_or_default();
        Heartbeat {
            cluster: ClusterName::new("demo").expect("a name"),
            node: name.clone(),
            boot: BootId::from(self.boot.as_str()),
            replaces: self.replaces.clone(),
            seq: self.seq,
            held: held.chain(not_taken).collect(),
            released: self.released.iter().cloned().collect(),
            cut: cut.collect(),
            refused: self.refused.iter().cloned().collect(),
            highest_epoch: highest,
            nics: self.nics.clone(),
            health: NodeHealth {
                stopping: self.stopping,
                arm_ok: Some(true),
                detail: String::new(),
            },
            failing: failing.into_iter().collect(),
            reached: self.reached.clone(),
            version: "test".into(),
        }
    }

    /// Returns whether something changed, so that it beats at once.
    pub(super) fn take(&mut self, sent: Duration, answer: &Answer) -> bool {
        let mut changed = false;
        let reached = answer.reach.iter().filter(|_| self.reaches).map(|reach| reach.at.clone());
        let reached: Vec<VipEpoch> = reached.collect();
        changed |= reached != self.reached;
        self.reached = reached;
        for grant in &answer.grants {
            let (vip, epoch) = (grant.at.vip.clone(), grant.at.epoch);
            if self.spent.get(&vip).is_some_and(|spent| epoch <= *spent) {
                changed |= self.refused.insert(grant.at.clone());
                continue;
            }
            let has = self.holds.get(&vip).is_some_and(|(known, _)| *known == epoch);
            if self.not_taken.contains(&grant.at) || (self.unfit.is_some() && !has) {
                changed |= self.not_taken.insert(grant.at.clone());
                self.holds.remove(&vip);
                continue;
            }
            let until = sent + Duration::from_millis(grant.lease_ttl_ms);
            let before = self.holds.insert(vip, (epoch, until));
            changed |= before.is_none_or(|(known, _)| known != epoch);
        }
        self.not_taken.retain(|at| answer.grants.iter().any(|grant| grant.at == *at));
        let granted: BTreeSet<&VipName> = answer.grants.iter().map(|g| &g.at.vip).collect();
        for at in answer.releasing.iter().filter(|_| !self.hangs) {
            let spent = self.spent.entry(at.vip.clone()).or_default();
            *spent = (*spent).max(at.epoch);
            self.holds.remove(&at.vip);
            changed |= self.released.insert(at.clone());
        }
        let dropped: Vec<VipName> =
            self.holds.keys().filter(|vip| !granted.contains(vip)).cloned().collect();
        for vip in dropped {
            self.holds.remove(&vip);
        }
        changed
    }
}

//! Answers to heartbeats: the contract on which I1 rests.

use std::collections::BTreeMap;

use vipfence_types::{Epoch, NodeId, VipEpoch, VipName};

use super::{Truth, Verdict, log::Log, violated};
use crate::time::At;

/// See the module.
#[derive(Default)]
pub(crate) struct Answers {
    /// The grants that are renewed, by the log.
    renewed: BTreeMap<VipName, Epoch>,
    /// When others were known to be renewed no more: by when the first node had applied that.
    ended: BTreeMap<(VipName, Epoch), At>,
    /// When each heartbeat reached its leader.
    taken: BTreeMap<(u64, u64), At>,
}

impl Answers {
    /// An entry is committed.
    pub(crate) fn entry(&mut self, truth: &Truth<'_>, log: &Log) {
        let records = log.registry.vips.values();
        let renewed: BTreeMap<VipName, Epoch> = records
            .filter_map(|record| Some((record.name.clone(), record.grant.renewed()?.epoch)))
            .collect();
        for (vip, epoch) in core::mem::replace(&mut self.renewed, renewed) {
            if self.renewed.get(&vip) != Some(&epoch) {
                self.ended.insert((vip, epoch), truth.now);
            }
        }
    }

    /// A leader receives a heartbeat.
    pub(crate) fn taken(&mut self, truth: &Truth<'_>, process: u64, beat: u64) {
        self.taken.insert((process, beat), truth.now);
    }

    /// "The leader answers only after a quorum round that began after it received the heartbeat,
    /// from state applied *at least* up to that round's read index. A grant is in an answer only
    /// while the applied state has it as Granted or Releasing."
    pub(crate) fn granted(
        &mut self,
        leader: &NodeId,
        process: u64,
        beat: u64,
        grants: &[VipEpoch],
    ) -> Verdict {
        let Some(taken) = self.taken.remove(&(process, beat)) else { return Ok(()) };
        for VipEpoch { vip, epoch } in grants {
            let ended = self.ended.get(&(vip.clone(), *epoch));
            if let Some(ended) = ended.filter(|ended| **ended < taken) {
                let what = format!(
                    "{leader} grants {vip} at epoch {epoch} to a heartbeat of {taken}; the grant \
                     was renewed until {ended}"
                );
                return violated("I1", what);
            }
        }
        Ok(())
    }
}

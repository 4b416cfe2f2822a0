//! The data-path check: whether traffic for a VIP reaches its new holder. On Azure's classic control
//! plane an operation is over before packets follow it.
//!
//! Every other node that beats is asked to open a connection, until one has had an answer at the
//! present epoch. While a grant to an earlier holder may live no new epoch is given, so that an
//! answer cannot be its. Keeps I8 where the VIP requires the check for Held.

use core::net::SocketAddr;

use vipfence_types::{DataPath, NodeId, Reach, VipEpoch};

use super::Lead;
use crate::registry::{GrantTrack, Registry, VipRecord};

impl VipRecord {
    /// The epoch at which another node has yet to reach the VIP; none = it has, or nobody asks.
    pub(crate) fn unreached(&self) -> Option<VipEpoch> {
        let GrantTrack::Granted(grant) = &self.grant else { return None };
        let asked = self.spec.data_path != DataPath::Off;
        let known = self.reached.as_ref().is_some_and(|reached| reached.epoch == grant.epoch);
        let at = || VipEpoch { vip: self.name.clone(), epoch: grant.epoch };
        (asked && !known).then(at)
    }
}

impl Lead {
    /// What a node is asked to reach: VIPs that others hold, by their first address.
    pub(super) fn to_reach(&self, state: &Registry, node: &NodeId) -> Vec<Reach> {
        let reach = |record: &VipRecord| {
            let at = record.unreached()?;
            let first = record.spec.addresses.first()?;
            let target = SocketAddr::new(first.address, record.spec.data_path_port);
            (record.holder() != Some(node)).then_some(Reach { at, target })
        };
        state.vips.values().filter_map(|record| reach(record)).collect()
    }

    /// A node that has reached the VIP at its present epoch, where that is not committed yet.
    pub(crate) fn newly_reached(&self, record: &VipRecord) -> Option<&NodeId> {
        let at = record.unreached()?;
        self.peers.who_reached(record.holder()?, &at)
    }
}

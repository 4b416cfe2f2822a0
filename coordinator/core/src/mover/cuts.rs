//! Connections that were cut, on their way from the node that let go of a VIP to its next holder,
//! which tells their other ends.
//!
//! Not replicated, and of no weight: they live in the memory of one leader, for the move in hand. A
//! node repeats them with its confirmation until the grant is over, so that a leader that is elected
//! before that hears them; one that is elected later does not, and those clients hear nothing. Nor do
//! those of a holder that never confirmed: it is dead, or cut off.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use vipfence_types::{Clocks, Connection, Heartbeat, NodeId, VipName};

use crate::registry::{GrantTrack, Intent, Registry, VipRecord};

/// How long the next holder's answers carry them: some of these may be lost.
const GIVEN_FOR: Duration = Duration::from_secs(5);

/// What is known of VIPs whose next holder has something to tell.
#[derive(Debug, Default)]
pub(super) struct Cuts(BTreeMap<VipName, Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    connections: BTreeSet<Connection>,
    /// When the next holder was first answered with them.
    given: Option<Clocks>,
}

impl Cuts {
    /// Takes what a node has cut, where its confirmation is the one that is waited for. What an
    /// earlier holder has cut, and nobody was told yet, stays.
    pub(super) fn heard(&mut self, state: &Registry, heartbeat: &Heartbeat) {
        for cut in &heartbeat.cut {
            let awaited = state.vip(&cut.at.vip).is_some_and(|record| match &record.grant {
                GrantTrack::Releasing(grant) | GrantTrack::Expiring(grant) => {
                    grant.node == heartbeat.node && grant.epoch == cut.at.epoch
                }
                GrantTrack::Over | GrantTrack::Granted(_) => false,
            });
            if !awaited || cut.connections.is_empty() || !heartbeat.released.contains(&cut.at) {
                continue;
            }
            let waiting = self.0.entry(cut.at.vip.clone()).or_default();
            if waiting.given.is_some() {
                *waiting = Waiting::default();
            }
            for connection in &cut.connections {
                if waiting.connections.len() < Connection::PER_VIP {
                    waiting.connections.insert(*connection);
                }
            }
        }
    }

    /// What a VIP's holder is to tell, now that the address is attached to it: before that nothing
    /// that it sends would arrive. `room` is what one message still takes.
    pub(super) fn give(
        &mut self,
        now: Clocks,
        record: &VipRecord,
        to: &NodeId,
        room: &mut usize,
    ) -> Vec<Connection> {
        if !arrived(record, to) {
            return vec![];
        }
        let Some(waiting) = self.0.get_mut(&record.name) else { return vec![] };
        let since = *waiting.given.get_or_insert(now);
        if now.mono_since(since) >= GIVEN_FOR {
            self.0.remove(&record.name);
            return vec![];
        }
        let given: Vec<Connection> = waiting.connections.iter().take(*room).copied().collect();
        *room -= given.len();
        given
    }

    /// Whether a VIP's holder could be told something new.
    pub(super) fn has_news(&self, record: &VipRecord) -> bool {
        let holder = record.holder().is_some_and(|holder| arrived(record, holder));
        holder && self.0.get(&record.name).is_some_and(|waiting| waiting.given.is_none())
    }

    /// What nobody is to hold any more has no next holder.
    pub(super) fn applied(&mut self, state: &Registry) {
        self.0.retain(|vip, _| state.vip(vip).is_some_and(|one| one.intent == Intent::Held));
    }
}

fn arrived(record: &VipRecord, node: &NodeId) -> bool {
    let granted = matches!(&record.grant, GrantTrack::Granted(grant) if grant.node == *node);
    granted && record.azure.attached_to() == Some(node)
}

//! Reach: a leader that Azure does not answer makes way for one that it may answer (design.md §6).
//!
//! Leading costs nothing and moving is what it is for: a witness without rights, or a node whose way
//! to ARM is cut, must not stay leader while a VIP waits (I6). Who leads next is the voters' affair;
//! the rule only makes way, at most once a minute, so that a cluster of which nobody reaches Azure
//! keeps its leader most of the time.

use core::time::Duration;

use vipfence_types::{Clocks, Mutation, Role};

use super::Coordinator;
use crate::{
    mover::NodeState,
    nic::{HttpFault, HttpResult},
};

/// At most once in so long a process makes way.
const PACE: Duration = Duration::from_secs(60);

/// How this process fares with Azure; it outlives terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// The first and the last of the calls that failed since one did not.
    failed: Option<(Clocks, Clocks)>,
    made_way_at: Option<Clocks>,
}

impl Reach {
    /// Takes note of what came of a call.
    pub(super) fn called(&mut self, now: Clocks, result: &HttpResult) {
        let first = self.failed.map_or(now, |(first, _)| first);
        self.failed = fails(result).then_some((first, now));
    }

    /// A new term is judged by its own calls.
    pub(super) fn elected(&mut self) {
        self.failed = None;
    }

    fn is_out_of(&self, now: Clocks, patience: Duration) -> bool {
        let failing = self.failed.is_some_and(|(first, last)| last.mono_since(first) >= patience);
        failing && self.made_way_at.is_none_or(|at| now.mono_since(at) >= PACE)
    }
}

/// A call that says that this node is of no use to Azure. Refusals of the request itself, throttling
/// included, meet every node alike.
fn fails(result: &HttpResult) -> bool {
    match result {
        Ok(answer) => matches!(answer.status, 401 | 403 | 500..),
        Err(HttpFault::NotSent(_) | HttpFault::Unknown(_)) => true,
    }
}

impl Coordinator {
    /// Whether to stop leading now, because a move is open, no call to Azure has gone through for
    /// twice `failover_after`, and another voter may do better: its fresh heartbeat says so, or that
    /// it has not tried.
    pub(super) fn makes_way(&mut self) -> bool {
        let patience = 2 * self.state.timing.failover_after();
        if !self.reach.is_out_of(self.now, patience) || Mutation::NoStepDownWithoutArm.is_on() {
            return false;
        }
        let waits = self.state.vips.values().any(|record| record.open.is_some());
        let view = self.mover.view(self.now, &self.state);
        let better = view.iter().any(|(node, seen)| {
            let role = self.state.nodes.get(node).map(|record| record.role);
            let votes = role.is_some_and(|role| role != Role::Learner);
            let fresh = seen.state == NodeState::Alive;
            *node != self.setup.node && votes && fresh && seen.arm_ok != Some(false)
        });
        if waits && better {
            self.reach.made_way_at = Some(self.now);
        }
        waits && better
    }
}

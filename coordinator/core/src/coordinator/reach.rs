//! Reach: a leader that Azure does not answer makes way for one that it may answer (design.md §6).
//!
//! Leading costs nothing and moving is what it is for: a witness without rights, or a node whose way
//! to ARM is cut, must not stay leader while a VIP waits (I6). Who leads next is the voters' affair;
//! the rule only makes way, at most once a minute, so that a cluster of which nobody reaches Azure
//! keeps its leader most of the time.

use core::time::Duration;
use std::collections::BTreeSet;

use vipfence_types::{Clocks, Mutation, Role};

use super::Coordinator;
use crate::{
    mover::NodeState,
    nic::{HttpFault, HttpId, HttpRequest, HttpResult, Method, Problem},
};

/// At most once in so long a process makes way.
const PACE: Duration = Duration::from_secs(60);

/// How this process fares with Azure; it outlives terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// The first and the last of the calls that failed since one did not.
    calls: Failing,
    /// The same of writes alone: who may only read is of no use either.
    writes: Failing,
    writing: BTreeSet<HttpId>,
    made_way_at: Option<Clocks>,
}

/// The first and the last of a row of failures.
type Failing = Option<(Clocks, Clocks)>;

impl Reach {
    /// Takes note of a request that is sent. Seals are no part of a move.
    pub(super) fn sent(&mut self, request: &HttpRequest) {
        if request.method == Method::Put {
            self.writing.insert(request.id);
        }
    }

    /// Takes note of what came of a call.
    pub(super) fn called(&mut self, now: Clocks, id: HttpId, result: &HttpResult) {
        let fails = fails(result);
        let next = |known: Failing| fails.then_some((known.map_or(now, |(first, _)| first), now));
        self.calls = next(self.calls);
        if self.writing.remove(&id) {
            self.writes = next(self.writes);
        }
    }

    /// A new term is judged by its own calls.
    pub(super) fn elected(&mut self) {
        (self.calls, self.writes) = (None, None);
    }

    fn is_out_of(&self, now: Clocks, patience: Duration, azure_max: Duration) -> bool {
        let long =
            |row: &Failing| row.is_some_and(|(first, last)| last.mono_since(first) >= patience);
        let rested = |pace| self.made_way_at.is_none_or(|at| now.mono_since(at) >= pace);
        // Refused writes may be the NIC's affair, and every new term begins to wait for what is
        // exposed anew: so seldom that such a wait comes to its end (L1).
        (long(&self.calls) && rested(PACE))
            || (long(&self.writes) && rested(PACE.max(2 * azure_max)))
    }
}

/// A call that says that this node is of no use to Azure.
fn fails(result: &HttpResult) -> bool {
    match result {
        Ok(answer) => Problem::of_the_way(answer).is_some(),
        Err(HttpFault::NotSent(_) | HttpFault::Unknown(_)) => true,
    }
}

impl Coordinator {
    /// Whether to stop leading now, because a move is open, no call to Azure has gone through for
    /// twice `failover_after`, and another voter may do better: its fresh heartbeat says so, or that
    /// it has not tried.
    pub(super) fn makes_way(&mut self) -> bool {
        let patience = 2 * self.state.timing.failover_after();
        let azure_max = self.state.timing.azure_max();
        if !self.reach.is_out_of(self.now, patience, azure_max)
            || Mutation::NoStepDownWithoutArm.is_on()
        {
            return false;
        }
        let waits = self.state.vips.values().any(|record| record.open.is_some());
        let view = self.mover.view(self.now, &self.state);
        let better = view.iter().any(|(node, seen)| {
            let role = self.state.nodes.get(node).map(|record| record.role);
            let votes = role.is_some_and(Role::votes);
            let fresh = seen.state == NodeState::Alive;
            *node != self.setup.node && votes && fresh && seen.arm_ok != Some(false)
        });
        if waits && better {
            self.reach.made_way_at = Some(self.now);
        }
        waits && better
    }
}

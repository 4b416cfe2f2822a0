//! What waits after a problem: the whole NIC, or one address of a batch; and for how long.

use core::{net::IpAddr, time::Duration};

use vipfence_types::{Clocks, VipName};

use super::{
    ATTACH_RETRY_MAX, NicWriter, POLL_MAX, POLL_MIN, Paused, Plan, Presence, READ_RETRY_MAX,
    RETRY_MAX, RETRY_MIN, Want,
};
use crate::nic::{
    problem::{AzureError, Problem, ProblemKind},
    wire::HttpAnswer,
};

impl NicWriter {
    /// Which addresses of a refused batch are at fault: those that the error names, or the only
    /// one; where none is named, the batch is halved (H15). Until the search is over it goes on at
    /// a steady pace. The problem of its pauses is of a kind by which no target has failed: nobody
    /// is known to be at fault.
    ///
    /// Where Azure has not let go of an address that a detach still takes off elsewhere, that is
    /// so for all that travel with it: they wait together, and one refused PUT is enough to learn it.
    pub(super) fn blame(
        &mut self,
        now: Clocks,
        plan: &Plan,
        answer: &HttpAnswer,
        problem: &Problem,
        after: Option<Duration>,
    ) {
        let of_item = matches!(
            problem.kind,
            ProblemKind::AddressInUse { .. } | ProblemKind::AddressCleaning | ProblemKind::Refused
        );
        let Plan::Put { items, .. } = plan else {
            return;
        };
        if !of_item {
            return;
        }
        let error = AzureError::read(&answer.body);
        let mut named: Vec<(&IpAddr, &Want)> = items
            .iter()
            .filter(|(address, want)| match &want.presence {
                Presence::Present { name, .. } => error.names(**address, name),
                Presence::Absent => error.names(**address, ""),
            })
            .collect();
        let taken = problem.kind != ProblemKind::Refused;
        if taken && named.iter().any(|(address, _)| self.not_freed.contains(address)) {
            named = items.iter().filter(|(address, _)| self.not_freed.contains(address)).collect();
        }
        let blamed = if !named.is_empty() {
            named
        } else if items.len() == 1 {
            items.iter().collect()
        } else {
            self.batch = (items.len() / 2).max(1);
            vec![]
        };
        for (address, want) in blamed {
            // What is no longer wanted has nothing to wait for.
            if self.wants.get(address) == Some(want) {
                self.pause_item(now, *address, problem.clone(), after);
            }
        }
        if self.batch < usize::MAX {
            let text = format!("looking for the address that Azure refuses: {problem}");
            let problem = Problem::new(ProblemKind::Later, text);
            self.paused = Some(paused(None, now, problem, after, RETRY_MIN));
        }
    }

    /// An accepted write answers a refused attach; how often an operation failed is remembered.
    pub(super) fn forget_refusal(&mut self, address: IpAddr) {
        let in_use = self.items_paused.get(&address).is_some_and(|paused| {
            matches!(
                paused.problem.kind,
                ProblemKind::AddressInUse { .. } | ProblemKind::AddressCleaning
            )
        });
        if in_use {
            self.items_paused.remove(&address);
        }
    }

    pub(super) fn forget_problems(&mut self, vips: &[VipName]) {
        let wants = &self.wants;
        self.items_paused
            .retain(|address, _| wants.get(address).is_some_and(|want| !vips.contains(&want.vip)));
    }

    pub(super) fn pause(
        &mut self,
        now: Clocks,
        problem: Problem,
        after: Option<Duration>,
        of_write: bool,
    ) {
        let most = if of_write { RETRY_MAX } else { READ_RETRY_MAX };
        let mut paused = paused(self.paused.as_ref(), now, problem, after, most);
        // A failed read in between does not make a write's problem a read's.
        paused.of_write = of_write || self.paused.as_ref().is_some_and(|known| known.of_write);
        self.paused = Some(paused);
    }

    /// Seals only: a lock or a policy that keeps tags from being written need not keep anything else
    /// on this NIC waiting.
    pub(super) fn pause_seals(&mut self, now: Clocks, problem: Problem, after: Option<Duration>) {
        let known = self.seals_paused.as_ref();
        self.seals_paused = Some(paused(known, now, problem, after, RETRY_MAX));
    }

    pub(super) fn pause_item(
        &mut self,
        now: Clocks,
        address: IpAddr,
        problem: Problem,
        after: Option<Duration>,
    ) {
        let most = match problem.kind {
            ProblemKind::AddressInUse { .. } | ProblemKind::AddressCleaning => ATTACH_RETRY_MAX,
            _ => RETRY_MAX,
        };
        let paused = paused(self.items_paused.get(&address), now, problem, after, most);
        self.items_paused.insert(address, paused);
    }
}

/// The next pause after one that is known: longer, and at least what Azure asks for.
fn paused(
    known: Option<&Paused>,
    now: Clocks,
    problem: Problem,
    after: Option<Duration>,
    most: Duration,
) -> Paused {
    let tries = known.map_or(0, |known| known.tries) + 1;
    let since = known.map_or(now, |known| known.since);
    let asked = after.unwrap_or_default();
    Paused {
        problem,
        since,
        met: now,
        until: now.plus(asked.max(back_off(tries, most))),
        least: now.plus(asked),
        tries,
        of_write: true,
    }
}

/// How long after `since` something that takes time is looked at again: about 7 % of its age, so
/// that polling loses at most so much of an operation, and costs few reads.
pub(super) fn pace(now: Clocks, since: Clocks) -> Duration {
    now.mono_since(since).mul_f64(0.07).clamp(POLL_MIN, POLL_MAX)
}

fn back_off(tries: u32, most: Duration) -> Duration {
    RETRY_MIN.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(most)
}

//! What waits after a problem: the whole NIC, or one address of a batch; and for how long.

use core::{net::IpAddr, time::Duration};

use vipfence_types::{Clocks, VipName};

use super::{
    ATTACH_RETRY_MAX, NicWriter, POLL_MAX, POLL_MIN, Paused, Plan, Presence, RETRY_MAX, RETRY_MIN,
};
use crate::nic::{
    problem::{AzureError, Problem, ProblemKind},
    wire::HttpAnswer,
};

impl NicWriter {
    /// Which addresses of a refused batch are at fault: those that the error names, or the only
    /// one; where none is named, the batch is halved (H15).
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
        let named: Vec<IpAddr> = items
            .iter()
            .filter(|(address, want)| match &want.presence {
                Presence::Present { name, .. } => error.names(**address, name),
                Presence::Absent => error.names(**address, ""),
            })
            .map(|(address, _)| *address)
            .collect();
        let blamed = if !named.is_empty() {
            named
        } else if items.len() == 1 {
            items.keys().copied().collect()
        } else {
            self.batch = (items.len() / 2).max(1);
            return;
        };
        for address in blamed {
            self.pause_item(now, address, problem.clone(), after);
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
        let tries = self.paused.as_ref().map_or(0, |paused| paused.tries) + 1;
        let since = self.paused.as_ref().map_or(now, |paused| paused.since);
        let wait = after.unwrap_or_default().max(back_off(tries, RETRY_MAX));
        // A failed read in between does not make a write's problem a read's.
        let of_write = of_write || self.paused.as_ref().is_some_and(|paused| paused.of_write);
        self.paused = Some(Paused { problem, since, until: now.plus(wait), tries, of_write });
    }

    /// Seals only: a lock or a policy that keeps tags from being written need not keep anything else
    /// on this NIC waiting.
    pub(super) fn pause_seals(&mut self, now: Clocks, problem: Problem, after: Option<Duration>) {
        let tries = self.seals_paused.as_ref().map_or(0, |paused| paused.tries) + 1;
        let since = self.seals_paused.as_ref().map_or(now, |paused| paused.since);
        let wait = after.unwrap_or_default().max(back_off(tries, RETRY_MAX));
        let paused = Paused { problem, since, until: now.plus(wait), tries, of_write: true };
        self.seals_paused = Some(paused);
    }

    pub(super) fn pause_item(
        &mut self,
        now: Clocks,
        address: IpAddr,
        problem: Problem,
        after: Option<Duration>,
    ) {
        let known = self.items_paused.get(&address);
        let tries = known.map_or(0, |paused| paused.tries) + 1;
        let since = known.map_or(now, |paused| paused.since);
        let most = match problem.kind {
            ProblemKind::AddressInUse { .. } | ProblemKind::AddressCleaning => ATTACH_RETRY_MAX,
            _ => RETRY_MAX,
        };
        let wait = after.unwrap_or_default().max(back_off(tries, most));
        let until = now.plus(wait);
        let paused = Paused { problem, since, until, tries, of_write: true };
        self.items_paused.insert(address, paused);
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

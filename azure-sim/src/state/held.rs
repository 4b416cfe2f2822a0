//! Requests that wait before they are processed, and answers that wait for whoever asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::http::{ArmRequest, ArmResponse};
use super::world::HoldId;

/// A request that was not processed yet.
#[derive(Debug, Clone)]
pub(crate) struct HeldRequest {
    pub(crate) request: ArmRequest,
    /// `None`: until it is released.
    pub(crate) due: Option<Duration>,
}

/// All of them.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    requests: BTreeMap<HoldId, HeldRequest>,
    answers: BTreeMap<HoldId, ArmResponse>,
    last: u64,
    limit: usize,
}

impl Held {
    pub(crate) fn new(limit: usize) -> Self {
        Self { requests: BTreeMap::new(), answers: BTreeMap::new(), last: 0, limit: limit.max(1) }
    }

    /// `None`: too many are held.
    pub(crate) fn hold(&mut self, request: ArmRequest, due: Option<Duration>) -> Option<HoldId> {
        if self.requests.len() >= self.limit {
            return None;
        }
        self.last += 1;
        self.requests.insert(HoldId(self.last), HeldRequest { request, due });
        Some(HoldId(self.last))
    }

    pub(crate) fn contains(&self, hold: HoldId) -> bool {
        self.requests.contains_key(&hold)
    }

    pub(crate) fn ids(&self) -> Vec<HoldId> {
        self.requests.keys().copied().collect()
    }

    pub(crate) fn requests(&self) -> impl Iterator<Item = (HoldId, &HeldRequest)> {
        self.requests.iter().map(|(hold, held)| (*hold, held))
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.requests.values().filter_map(|held| held.due).min()
    }

    pub(crate) fn due(&self, now: Duration) -> Option<HoldId> {
        let due = self.requests.iter().filter_map(|(hold, held)| Some((held.due?, *hold)));
        due.filter(|(due, _)| *due <= now).min().map(|(_, hold)| hold)
    }

    pub(crate) fn take(&mut self, hold: HoldId) -> Option<ArmRequest> {
        self.requests.remove(&hold).map(|held| held.request)
    }

    pub(crate) fn answer(&mut self, hold: HoldId, response: ArmResponse) {
        self.answers.insert(hold, response);
        while self.answers.len() > self.limit {
            self.answers.pop_first();
        }
    }

    pub(crate) fn take_answer(&mut self, hold: HoldId) -> Option<ArmResponse> {
        self.answers.remove(&hold)
    }
}

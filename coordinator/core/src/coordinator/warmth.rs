//! Warmth: a node that may lead knows how it fares with Azure before it leads.
//!
//! Where nothing else is asked of ARM, a NIC is read now and then: that keeps the token and the
//! connection ready, and its answer says whether this node, with its identity, reaches ARM at all. The
//! shell tells that to the node's agent, whose heartbeats carry it (`arm_ok`).
//!
//! It reads and never writes, one request at a time; nothing waits for it, and what comes back changes
//! nothing but when it looks again.

use core::time::Duration;

use vipfence_types::{Clocks, NicId, Role};

use super::{Coordinator, Effect};
use crate::nic::{
    HttpAnswer, HttpId, HttpRequest, HttpResult, Problem,
    budget::{Class, Urgency},
};

/// Without any other call it looks so often.
const EVERY: Duration = Duration::from_secs(60);
/// The same while the last call failed.
const AFTER_A_FAILURE: Duration = Duration::from_secs(30);

/// When this process was last in touch with ARM; it outlives terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Warmth {
    /// When a request was last made, of whatever kind.
    asked_at: Option<Clocks>,
    /// The last answer spoke against this node's way to ARM, or there was none.
    failed: bool,
    /// Its own request, while it is under way.
    own: Option<HttpId>,
}

impl Warmth {
    /// Takes note of any request that is made.
    pub(super) fn asked(&mut self, now: Clocks) {
        self.asked_at = Some(now);
    }

    /// Takes note of what came of a request. Whether it was its own.
    pub(super) fn answered(&mut self, id: HttpId, result: &HttpResult) -> bool {
        let is_bad = |answer: &HttpAnswer| Problem::of_the_way(answer).is_some();
        self.failed = result.as_ref().map_or(true, is_bad);
        self.own.take_if(|own| *own == id).is_some()
    }

    /// How long until it looks; none = its request is under way.
    pub(super) fn due_in(&self, now: Clocks) -> Option<Duration> {
        if self.own.is_some() {
            return None;
        }
        let pace = if self.failed { AFTER_A_FAILURE } else { EVERY };
        let passed = |at: Clocks| pace.saturating_sub(now.mono_since(at));
        Some(self.asked_at.map_or(Duration::ZERO, passed))
    }
}

impl Coordinator {
    /// Reads a NIC if it is time.
    pub(super) fn keep_warm(&mut self) {
        let now = self.now;
        if self.warmth.due_in(now) != Some(Duration::ZERO) {
            return;
        }
        let Some(nic) = self.nic_to_read().cloned() else { return };
        if !self.budget.take(now, Class::Read, Urgency::Upkeep) {
            return;
        }
        self.next += 1;
        let id = HttpId(self.next);
        self.warmth.asked(now);
        self.warmth.own = Some(id);
        self.sent.insert(id, Class::Read);
        self.effects.push(Effect::Http(HttpRequest::get(
            id,
            format!("{}?api-version={}", nic.as_str(), self.setup.api_version),
        )));
    }

    /// How long until a NIC is read; none = not before another input.
    pub(super) fn cools_in(&self, now: Clocks) -> Option<Duration> {
        self.nic_to_read()?;
        // What was due at the last step and not done waits for the budget.
        self.warmth.due_in(now).map(|wait| wait.max(Duration::from_millis(500)))
    }

    /// This node's own NIC, or any member's where it has none, if this node may lead.
    fn nic_to_read(&self) -> Option<&NicId> {
        let me = self.state.nodes.get(&self.setup.node)?;
        if !Role::votes(me.role) {
            return None;
        }
        let members = self.state.nodes.values().flat_map(|node| &node.nics);
        me.nics.iter().chain(members).next().map(|nic| &nic.id)
    }
}

//! Sometimes: how often the interesting things really happened. A run in which nothing happened
//! proves nothing.

use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sometimes(BTreeMap<&'static str, u64>);

/// Everything that has to happen in a run of many seeds; CI fails if one of them never did.
pub const MUST_HAPPEN: &[&str] = &[
    "a heartbeat answer arrives at a node that has spent epochs",
    "a leader is killed",
    "a leader is lost during an in-flight PUT",
    "a leader that Azure does not answer makes way",
    "a lease expired by the kernel only",
    "a machine is paused",
    "a message arrives twice",
    "a message is lost",
    "a move is superseded",
    "a node that returns has a later epoch",
    "a process is stopped",
    "a third party took the address",
    "drift is found",
    "drift is put right",
    "a third party wrote a NIC that we wrote",
    "a VIP failed over",
    "a request to Azure arrives late",
    "a write window passed",
    "an ask was repeated with its request id",
    "an attach is refused since the address is still allocated",
    "an operation was accepted and then failed",
    "an outcome is unknown",
    "a stale PUT is refused with 412",
    "a grant is over by waiting",
    "a grant is over by confirmation",
    "a VIP is disabled, enabled or deleted",
    "a NIC is sealed",
    "a follower is fed with a snapshot",
    "the timers are changed",
    "Azure throttled the leader's writes",
    "a write is refused for good by a lock or a policy",
    "a stale write changed a NIC without If-Match",
    "an agent ends and keeps an address",
    "an address without an end is left behind",
    "a guest program adds an address",
    "a guest program drops an address of ours",
    "a task around a VIP failed",
    "a task around a VIP was aborted",
    "a hook ran for a fault",
    "a hook ran after a planned release",
    "a VIP leaves a node where it is not well",
    "a VIP goes back by itself",
    "automatic moves are paused",
    "a failover waits for somebody's word",
    "a load balancer takes a node out",
    "a kernel refuses a probe before a process that is stopped",
    "a VIP is held once another node has reached it",
    "a VIP was said to be held before anybody had reached it",
    "a VIP is not reached in time",
    "an answer of an earlier holder comes late",
    "a probe's answer arrives when its node answers no more",
    "clients were told that their connections are over",
];

impl Sometimes {
    /// It happened.
    pub fn saw(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// How often it happened.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds up.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// All that happened.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(what, count)| (*what, *count))
    }

    /// What had to happen and did not.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        MUST_HAPPEN.iter().filter(|what| self.count(what) == 0).copied().collect()
    }
}

//! What a node knows of itself, for `status`: also, and above all, while no leader answers.

use core::time::Duration;

use serde::Serialize;
use vipfence_types::{BootId, Clocks, Epoch, NodeId, VipName};

use crate::Holder;
use crate::holder::Meddling;
use crate::pulse::Contact;
use crate::record::Record;
use crate::service::Service;

/// A VIP that this node is entitled to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldVip {
    /// The VIP.
    pub vip: VipName,
    /// The epoch.
    pub epoch: Epoch,
    /// The address was read back from the OS under this epoch, and its lifetime runs.
    pub added: bool,
    /// What is left of the lease.
    pub lease_left: Duration,
}

/// What a node knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalView {
    /// The node.
    pub node: NodeId,
    /// This start of the agent.
    pub boot: BootId,
    /// What it is entitled to now, ordered by name.
    pub held: Vec<HeldVip>,
    /// Why it holds nothing, or what hinders it; empty = nothing.
    pub detail: String,
    /// A leader has answered this start of the agent.
    pub joined: bool,
    /// The agent was told to stop.
    pub stopping: bool,
    /// Nothing that this node must not have stays on the OS although it was to go: what a watchdog
    /// is fed on. (A drop may take a second; what is granted is covered by its lease. Units and hooks
    /// do not count: they have time-outs of their own.)
    pub sound: bool,
    /// Something managed is, or may be, on the OS, or units run that were to be stopped.
    pub may_be_left: bool,
    /// A stopping node lets go of these although no other takes them over; and why.
    pub nowhere: Vec<(VipName, String)>,
}

impl Holder {
    /// What this node is entitled to at `now`, and what hinders it.
    #[must_use]
    pub fn view(&self, now: Clocks) -> LocalView {
        let held = self.records.iter().filter_map(|(vip, record)| {
            let Record::Holding(holding) = record else {
                return None;
            };
            // Asked between the end of a lease and the next step: the clock has the last word.
            (!holding.is_over(now)).then(|| HeldVip {
                vip: vip.clone(),
                epoch: holding.epoch,
                added: holding.is_added(now),
                lease_left: holding.lease.left(now),
            })
        });
        LocalView {
            node: self.node.clone(),
            boot: self.boot.clone(),
            held: held.collect(),
            detail: self.detail(now),
            joined: self.joined,
            stopping: self.is_stopping(),
            sound: self.is_sound(now),
            may_be_left: self.may_be_left(),
            nowhere: self.nowhere.iter().map(|(vip, why)| (vip.clone(), why.clone())).collect(),
        }
    }

    /// Whether an address is on its way off the OS, which may refuse to let go of it.
    #[must_use]
    pub fn is_dropping(&self) -> bool {
        let sweeps = self.sweep.wanted || self.sweep.call.is_some();
        sweeps || self.records.values().any(|record| matches!(record, Record::Dropping(_)))
    }

    fn is_sound(&self, now: Clocks) -> bool {
        let late = |record: &Record| match record {
            Record::Dropping(dropping) => dropping.is_late(now),
            Record::Holding(_) | Record::Spending(_) | Record::Confirming(_) => false,
        };
        !self.sweep.is_late(now) && !self.records.values().any(late)
    }

    fn may_be_left(&self) -> bool {
        let may = |record: &Record| matches!(record, Record::Holding(_) | Record::Dropping(_));
        let units = self.services.values().any(Service::may_run_units);
        units || self.sweep.may_find_something() || self.records.values().any(may)
    }

    fn detail(&self, now: Clocks) -> String {
        let mut parts = Vec::new();
        if self.is_stopping() {
            parts.push("the agent is stopping".to_owned());
        }
        if !self.sweep.problem.is_empty() {
            let stays_out =
                if self.sweep.before_joining { "; the node joins without them" } else { "" };
            let problem = &self.sweep.problem;
            parts.push(format!(
                "addresses that this node must not have stay on it: {problem}{stays_out}"
            ));
        }
        match &self.pulse.contact {
            Contact::NotYet if self.sweep.before_joining => {
                parts.push("what an earlier start left behind is dropped first".to_owned());
            }
            Contact::NotYet => parts.push("no leader has answered yet".to_owned()),
            Contact::Answered(_) => {}
            Contact::Silent(problem) if self.lapsed.is_empty() => {
                parts.push(format!("no leader answers: {problem}"));
            }
            Contact::Silent(problem) => {
                let names: Vec<&str> = self.lapsed.iter().map(VipName::as_str).collect();
                let names = names.join(", ");
                parts.push(format!("no quorum: the lease of {names} ended ({problem})"));
            }
            Contact::TurnedAway(refusal) => parts.push(refusal.to_string()),
        }
        for (vip, record) in &self.records {
            match record {
                Record::Holding(holding) => {
                    if holding.lease.local {
                        parts.push(format!("{vip} is held without a quorum"));
                    }
                    if !holding.kernel.problem.is_empty() {
                        parts.push(format!("{vip}: {}", holding.kernel.problem));
                    }
                }
                Record::Dropping(dropping) if !dropping.problem.is_empty() => {
                    parts.push(format!("{vip}: {}", dropping.problem));
                }
                Record::Dropping(_) | Record::Spending(_) | Record::Confirming(_) => {}
            }
        }
        parts.extend(self.services.values().flat_map(Service::detail));
        for (vip, reason) in &self.nowhere {
            parts.push(format!("{vip} has nowhere to go: {reason}"));
        }
        if let Some(meddling) = self.meddling.filter(|last| !last.shown.is_over(now)) {
            let Meddling { address, times, .. } = meddling;
            parts.push(format!(
                "something else on this machine changes addresses of VIPs (times since the agent has \
                 started: {times}; last: {address})"
            ));
        }
        for refused in &self.refused {
            parts.push(format!(
                "the grant of {} at epoch {} is not taken: this node is done with that epoch",
                refused.vip, refused.epoch
            ));
        }
        if !self.health.detail.is_empty() {
            parts.push(self.health.detail.clone());
        }
        parts.join("; ")
    }
}

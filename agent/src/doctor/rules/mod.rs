//! What the facts mean. Pure: the same facts give the same findings, in the same order.

mod addresses;
mod balancer;
mod cluster;
mod guest;
mod identity;
mod nics;
pub(super) mod rights;
#[cfg(test)]
mod tests;

use vipfence_types::Finding;

use super::facts::Facts;
pub(super) use cluster::{Roster, compare};

/// Everything that is wrong with a node, by its own look.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = identity::judge(facts);
    findings.extend(nics::judge(facts));
    findings.extend(rights::judge(facts));
    findings.extend(addresses::judge(facts));
    findings.extend(balancer::judge(facts));
    findings.extend(guest::judge(facts));
    findings
}

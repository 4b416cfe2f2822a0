//! Steps: what the Mover decided on is what its command is applied to (I7, I8).

use vipfence_coordinator_core::{Applied, Body};

use super::{
    Verdict,
    log::{Log, News},
    violated,
};

/// "Every command of the Mover names VIP, epoch and revision; `apply` refuses it when they changed."
pub(crate) fn found_unchanged(log: &Log, news: &News) -> Verdict {
    let Body::Step { vip, phase, step } = &news.command.body else { return Ok(()) };
    if matches!(news.applied, Applied::Refused(_)) {
        return Ok(());
    }
    let found = log.before.vip(vip).map(|record| record.phase);
    if found == Some(*phase) {
        return Ok(());
    }
    violated("I8", format!("{step:?} of {vip} was decided on phase {phase} and meets {found:?}"))
}

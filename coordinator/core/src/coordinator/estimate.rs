//! How long a move will probably take: from what earlier moves of the same kind took, or else from
//! the timers and from what an Azure operation takes. Shown to people; nothing is decided by it.
//!
//! ```text
//!   switchover  detach, then attach
//!   failover    failover_after and both operations, or lease_wait if that is longer: both begin
//!               with the silence
//!   placement   attach
//! ```
//!
//! A failover on record began when the silence was noticed, so that what is left of
//! `failover_after` is added to it.

use core::{fmt, time::Duration};
use std::{collections::BTreeSet, sync::Arc};

use vipfence_types::{NodeId, VipName, lease_wait};

use crate::{
    ask::{Estimate, PlannedWrite},
    mover::{NodeState, NodeView},
    registry::{Move, OperationKind, Outcome, Phase, Registry, VipRecord},
};

/// The most moves, or operations, whose median counts. Azure changes over the months.
const LAST: usize = 9;
/// An operation of Azure's classic control plane: 19 recordings, median 43 to 52 s
/// (azure-sim/docs/fidelity.md).
const CLASSIC: Duration = Duration::from_secs(45);

/// Moves that are alike in what they wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody has it.
    Placement,
    /// The holder lets go when it is asked to.
    Switchover,
    /// The holder's lease is waited out.
    Failover,
    /// It stays where it is; Azure is put right.
    Repair,
}

impl Kind {
    fn of(past: &Move) -> Self {
        let waited = past.phases.iter().any(|span| span.phase == Phase::Expiring);
        match &past.from_node {
            None => Self::Placement,
            Some(_) if waited => Self::Failover,
            Some(from) if past.to_node.as_ref() == Some(from) => Self::Repair,
            Some(_) => Self::Switchover,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Placement => "placement",
            Self::Switchover => "switchover",
            Self::Failover => "failover",
            Self::Repair => "repair",
        })
    }
}

/// Estimates a move of this VIP to this node that makes these writes. `holder` is how the leader
/// sees the node that has it.
pub(super) fn estimate(
    state: &Registry,
    record: &VipRecord,
    to: &NodeId,
    holder: Option<&NodeView>,
    writes: &[PlannedWrite],
) -> Estimate {
    let stays = record.holder() == Some(to);
    if stays && writes.is_empty() {
        let basis = "nothing is to be done".to_owned();
        return Estimate { takes: Duration::ZERO, moves: 0, basis };
    }
    let kind = match holder {
        None => Kind::Placement,
        Some(_) if stays => Kind::Repair,
        Some(seen) if is_quiet(seen) => Kind::Failover,
        Some(_) => Kind::Switchover,
    };
    let silence = holder.filter(|_| kind == Kind::Failover).map(|seen| Silence::of(state, seen));
    let Some(mut known) = from_history(state, &record.name, kind) else {
        return computed(state, record, silence.as_ref(), writes);
    };
    if let Some(left) = silence.map(|silence| silence.unnoticed).filter(|left| !left.is_zero()) {
        known.takes += left;
        let more = format!(", and {} until failover_after is over", seconds(left));
        known.basis.push_str(&more);
    }
    known
}

/// How long the holder has been silent.
struct Silence {
    /// None = not heard in this term.
    so_far: Option<Duration>,
    /// Until it is noticed.
    unnoticed: Duration,
}

impl Silence {
    fn of(state: &Registry, seen: &NodeView) -> Self {
        let so_far = seen.last_heard;
        let after = state.timing.failover_after();
        let unnoticed = so_far.map_or(Duration::ZERO, |so_far| after.saturating_sub(so_far));
        Self { so_far, unnoticed }
    }
}

/// The lease of a node like this has to be waited out.
pub(super) fn is_quiet(seen: &NodeView) -> bool {
    matches!(seen.state, NodeState::Suspect | NodeState::Silent)
}

fn from_history(state: &Registry, vip: &VipName, kind: Kind) -> Option<Estimate> {
    let took = |of: Option<&VipName>| {
        let logs = state.logs.iter().filter(|(name, _)| of.is_none_or(|vip| vip == *name));
        let alike = logs
            .flat_map(|(_, log)| &log.moves)
            .map(Arc::as_ref)
            .filter(|past| past.outcome == Some(Outcome::Done) && Kind::of(past) == kind);
        last(alike.filter_map(|past| Some((past.ended_ms?, past.started_ms))))
    };
    let (of_vip, of_all) = (took(Some(vip)), took(None));
    let (moves, rest) = if of_vip.is_empty() {
        (of_all, format!("in this cluster; none of {vip} is on record"))
    } else {
        (of_vip, format!("of {vip}"))
    };
    let takes = median(&moves)?;
    let basis = match moves.len() {
        1 => format!("the last {kind} {rest}"),
        count => format!("the median of the last {count} {kind}s {rest}"),
    };
    Some(Estimate { takes, moves: moves.len(), basis })
}

fn computed(
    state: &Registry,
    record: &VipRecord,
    silence: Option<&Silence>,
    writes: &[PlannedWrite],
) -> Estimate {
    // What is done at several NICs is done at the same time.
    let kinds: BTreeSet<bool> =
        writes.iter().map(|write| write.kind == OperationKind::Attach).collect();
    let seen = operations(state);
    let (each, whence) = match median(&seen) {
        Some(each) if seen.len() == 1 => (each, "as the last one took here".to_owned()),
        Some(each) => (each, format!("the median of the last {} here", seen.len())),
        None => (CLASSIC, "as is usual on Azure's classic control plane".to_owned()),
    };
    let count = u32::try_from(kinds.len()).unwrap_or(u32::MAX);
    let azure = each.saturating_mul(count);
    let plural = if count == 1 { "" } else { "s" };
    let told = format!("{count} Azure operation{plural} of {}, {whence}", seconds(each));
    let Some(silence) = silence else {
        return Estimate { takes: azure, moves: 0, basis: format!("no history: {told}") };
    };
    let granted = record.grant.grant().map(|grant| Duration::from_millis(grant.lease_ttl_ms));
    let wait = lease_wait(granted.unwrap_or(state.timing.lease_ttl()));
    let lease = wait.saturating_sub(silence.so_far.unwrap_or(Duration::ZERO));
    let basis = format!(
        "no history: failover_after ({}) and {told}, or lease_wait ({}) if that is longer, less \
         the silence so far",
        seconds(state.timing.failover_after()),
        seconds(wait)
    );
    Estimate { takes: lease.max(silence.unnoticed + azure), moves: 0, basis }
}

/// What the last operations took.
fn operations(state: &Registry) -> Vec<Duration> {
    let moves = state.logs.values().flat_map(|log| &log.moves);
    let all = moves.flat_map(|past| &past.operations);
    let moving = all.filter(|operation| operation.kind != OperationKind::Seal);
    last(moving.filter_map(|operation| Some((operation.ended_ms?, operation.started_ms))))
}

/// Of spans (end, begin), how long the last ones were.
fn last(spans: impl Iterator<Item = (u64, u64)>) -> Vec<Duration> {
    let mut spans: Vec<(u64, u64)> = spans.collect();
    spans.sort_unstable();
    let newest = spans.iter().rev().take(LAST);
    newest.map(|(end, begin)| Duration::from_millis(end.saturating_sub(*begin))).collect()
}

fn median(given: &[Duration]) -> Option<Duration> {
    let mut sorted = given.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests;

//! VIPs and moves, as they are shown.

use vipfence_coordinator_core::{
    self as core, Cause, Intent, MovePlan, OperationKind, Outcome, Phase, Registry, VipRecord,
};
use vipfence_proto::v1;
use vipfence_types::VipName;

use super::{
    duration,
    restraint::{self, pause_message},
    spec::spec_message,
    timestamp,
};

pub(in crate::api) fn vip_message(state: &Registry, record: &VipRecord) -> v1::Vip {
    let open = state.open_move(&record.name);
    // Where a load balancer sends traffic is not ours to say.
    let attached_to = record.azure.attached_to().filter(|_| !record.spec.on_nics().is_empty());
    let reached = record.reached.as_ref().filter(|reached| reached.epoch == record.epoch());
    v1::Vip {
        name: record.name.to_string(),
        spec: Some(spec_message(&record.spec)),
        enabled: record.intent == Intent::Held,
        phase: phase_message(record.shown_phase()).into(),
        holder: record.holder().map_or(String::new(), ToString::to_string),
        epoch: record.epoch().0,
        attached_to: attached_to.map_or(String::new(), ToString::to_string),
        revision: record.revision.0,
        current_move: open.map(|open| move_message(open)),
        blocked_reason: open
            .map_or_else(|| restraint::blocked(record), |open| open.blocked_reason.clone()),
        exposed_nics: record.exposed.iter().map(ToString::to_string).collect(),
        held_since: record.held_since_ms.map(timestamp),
        drift: record.drift.as_ref().map(|drift| drift.what.clone()).unwrap_or_default(),
        drift_since: record.drift.as_ref().map(|drift| timestamp(drift.since_ms)),
        pause: record.restraint.hold.as_ref().map(pause_message),
        paused: state.paused(record).unwrap_or_default(),
        withheld: record.restraint.withheld.as_ref().map(restraint::withheld_message),
        pending_failover: record.restraint.pending.as_ref().map(restraint::pending_message),
        budgeted_moves: record.restraint.flaps_ms.iter().copied().map(timestamp).collect(),
        // Only the leader has heard of it: see `health`.
        health: vec![],
        reached: reached.map(|reached| timestamp(reached.at_ms)),
        reached_by: reached.map_or(String::new(), |reached| reached.by.to_string()),
    }
}

pub(in crate::api) fn move_message(known: &core::Move) -> v1::Move {
    let phases = known.phases.iter().map(|span| v1::PhaseSpan {
        phase: phase_message(span.phase).into(),
        started: Some(timestamp(span.started_ms)),
        ended: span.ended_ms.map(timestamp),
    });
    let operations = known.operations.iter().map(|operation| v1::AzureOperation {
        nic: operation.nic.to_string(),
        kind: kind_message(operation.kind).into(),
        url: operation.url.clone(),
        status: operation.status.clone(),
        started: Some(timestamp(operation.started_ms)),
        ended: operation.ended_ms.map(timestamp),
    });
    let (outcome, superseded_by) = match known.outcome {
        None => (v1::MoveOutcome::Unspecified, String::new()),
        Some(Outcome::Done) => (v1::MoveOutcome::Done, String::new()),
        Some(Outcome::AlreadyHeld) => (v1::MoveOutcome::AlreadyHeld, String::new()),
        Some(Outcome::Superseded(by)) => (v1::MoveOutcome::Superseded, by.to_string()),
    };
    let phase =
        known.phases.last().map_or(v1::Phase::Unspecified, |span| phase_message(span.phase));
    v1::Move {
        id: known.id.to_string(),
        vip: known.vip.to_string(),
        epoch: known.epoch.0,
        from_node: known.from_node.as_ref().map_or(String::new(), ToString::to_string),
        to_node: known.to_node.as_ref().map_or(String::new(), ToString::to_string),
        cause: cause_message(known.cause).into(),
        caller: known.caller.clone(),
        request_id: known.request_id.as_ref().map_or(String::new(), ToString::to_string),
        phase: phase.into(),
        phase_history: phases.collect(),
        blocked_reason: known.blocked_reason.clone(),
        next_attempt: known.next_attempt_ms.map(timestamp),
        azure_operations: operations.collect(),
        outcome: outcome.into(),
        superseded_by,
        started: Some(timestamp(known.started_ms)),
        ended: known.ended_ms.map(timestamp),
        plan: None,
    }
}

/// The answer of a dry run: a Move that nobody has committed.
pub(in crate::api) fn plan_message(vip: &VipName, plan: &MovePlan) -> v1::Move {
    let writes = plan.writes.iter().map(|write| v1::PlannedWrite {
        nic: write.nic.to_string(),
        kind: kind_message(write.kind).into(),
        json_patch: write.patch.to_string(),
    });
    v1::Move {
        vip: vip.to_string(),
        from_node: plan.from_node.as_ref().map_or(String::new(), ToString::to_string),
        to_node: plan.to_node.to_string(),
        cause: v1::MoveCause::Request.into(),
        outcome: v1::MoveOutcome::Planned.into(),
        plan: Some(v1::MovePlan {
            phases: plan.phases.iter().map(|phase| phase_message(*phase).into()).collect(),
            writes: writes.collect(),
            expected_duration: Some(duration(plan.expected.takes)),
            expected_from_moves: u32::try_from(plan.expected.moves).unwrap_or(u32::MAX),
            expected_basis: plan.expected.basis.clone(),
        }),
        ..v1::Move::default()
    }
}

fn phase_message(phase: Phase) -> v1::Phase {
    match phase {
        Phase::Planned => v1::Phase::Planned,
        Phase::Releasing => v1::Phase::Releasing,
        Phase::Expiring => v1::Phase::Expiring,
        Phase::Detaching => v1::Phase::Detaching,
        Phase::Attaching => v1::Phase::Attaching,
        Phase::Granting => v1::Phase::Granting,
        Phase::Held => v1::Phase::Held,
        Phase::Detached => v1::Phase::Detached,
    }
}

fn kind_message(kind: OperationKind) -> v1::AzureOperationKind {
    match kind {
        OperationKind::Detach => v1::AzureOperationKind::Detach,
        OperationKind::Attach => v1::AzureOperationKind::Attach,
        OperationKind::Seal => v1::AzureOperationKind::Seal,
    }
}

pub(super) fn cause_message(cause: Cause) -> v1::MoveCause {
    match cause {
        Cause::Request => v1::MoveCause::Request,
        Cause::Created => v1::MoveCause::Created,
        Cause::HolderSilent => v1::MoveCause::HolderSilent,
        Cause::HolderStopping => v1::MoveCause::HolderStopping,
        Cause::Enabled => v1::MoveCause::Enabled,
        Cause::Disabled => v1::MoveCause::Disabled,
        Cause::Deleted => v1::MoveCause::Deleted,
        Cause::TargetFailed => v1::MoveCause::TargetFailed,
        Cause::Drift => v1::MoveCause::Drift,
        Cause::EpochRefused => v1::MoveCause::EpochRefused,
        Cause::HolderUnhealthy => v1::MoveCause::HolderUnhealthy,
        Cause::Failback => v1::MoveCause::Failback,
    }
}

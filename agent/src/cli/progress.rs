//! What a move is doing, in lines for people. Times come from the move itself (the leader's wall
//! clock), so that phases which went by while the stream was lost are shown with their own times.

use std::fmt::Write as _;

use vipfence_proto::v1::{Move, MoveCause, MoveOutcome, MovePlan, Phase};

use super::{exit::Exit, failure::Failure, table::one_line, words};

/// Remembers what has been shown of a move.
#[derive(Debug, Default)]
pub(super) struct Progress {
    shown: usize,
    phase: i32,
    blocked: String,
}

impl Progress {
    /// The lines that are new.
    pub(super) fn lines(&mut self, now: &Move) -> Vec<String> {
        let mut lines = Vec::new();
        for span in now.phase_history.iter().skip(self.shown) {
            let elapsed = match (&now.started, &span.started) {
                (Some(from), Some(to)) => words::duration(words::between(from, to)),
                _ => String::new(),
            };
            lines.push(format!("{elapsed:>10}  {}", words::phase(span.phase)));
            self.phase = span.phase;
        }
        self.shown = self.shown.max(now.phase_history.len());
        // A phase that the history does not have yet.
        if now.phase != self.phase && now.phase != i32::from(Phase::Unspecified) {
            lines.push(format!("{:>10}  {}", "", words::phase(now.phase)));
            self.phase = now.phase;
        }
        if now.blocked_reason != self.blocked {
            self.blocked.clone_from(&now.blocked_reason);
            if !now.blocked_reason.is_empty() {
                let mut line = format!("{:>10}  waits: {}", "", one_line(&now.blocked_reason));
                if let Some(next) = &now.next_attempt {
                    let _ = write!(line, "; next attempt at {}", words::time_of_day(next));
                }
                lines.push(line);
            }
        }
        lines
    }
}

/// Whether the move has ended.
pub(super) fn has_ended(now: &Move) -> bool {
    now.ended.is_some() || now.outcome != i32::from(MoveOutcome::Unspecified)
}

/// `move-12: demo n1 -> n2`.
pub(super) fn headline(now: &Move) -> String {
    let to = if now.to_node.is_empty() { "nowhere" } else { now.to_node.as_str() };
    match (now.from_node.as_str(), now.to_node.as_str()) {
        ("", _) => format!("{}: {} to {to}", now.id, now.vip),
        (from, _) => format!("{}: {} from {from} to {to}", now.id, now.vip),
    }
}

/// How an ended move ended: the last line, or a failure.
pub(super) fn ending(ended: &Move) -> Result<String, Failure> {
    let took = match (&ended.started, &ended.ended) {
        (Some(from), Some(to)) => format!(", after {}", words::duration(words::between(from, to))),
        _ => String::new(),
    };
    match ended.outcome() {
        MoveOutcome::AlreadyHeld => Ok(format!(
            "{} holds {} already, at epoch {}: nothing was done",
            ended.to_node, ended.vip, ended.epoch
        )),
        MoveOutcome::Done if ended.cause() == MoveCause::Deleted => {
            Ok(format!("{} is deleted{took}", ended.vip))
        }
        MoveOutcome::Done if ended.phase() == Phase::Detached => {
            Ok(format!("{} is detached{took}", ended.vip))
        }
        MoveOutcome::Done => {
            Ok(format!("{} is held by {} at epoch {}{took}", ended.vip, ended.to_node, ended.epoch))
        }
        MoveOutcome::Superseded => {
            let by = match ended.superseded_by.as_str() {
                "" => "a later move",
                id => id,
            };
            let failure =
                Failure::new(Exit::Failed, format!("{} was superseded by {by}", ended.id));
            Err(failure.help(format!("`vipfence history {}` shows both", ended.vip)))
        }
        MoveOutcome::Planned | MoveOutcome::Unspecified => {
            let message = format!("{} ended without saying how", ended.id);
            let help = format!("`vipfence vip show {}` shows where the VIP is", ended.vip);
            Err(Failure::new(Exit::Failed, message).help(help))
        }
    }
}

/// A plan for people.
pub(super) fn plan(planned: &Move) -> String {
    let to = if planned.to_node.is_empty() { "nowhere" } else { planned.to_node.as_str() };
    let from = words::or_none(&planned.from_node);
    let mut text = format!("plan: {} from {from} to {to}; nothing has been done", planned.vip);
    if planned.outcome() == MoveOutcome::AlreadyHeld {
        let _ = write!(text, ", and nothing would be: {to} holds it already");
    }
    if let Some(plan) = &planned.plan {
        let phases: Vec<String> = plan.phases.iter().map(|phase| words::phase(*phase)).collect();
        let _ = write!(text, "\nphases:   {}", phases.join(", "));
        let _ = write!(text, "\nexpected: {}", expected(plan));
        for write in &plan.writes {
            let kind = words::azure_operation(write.kind);
            let _ = write!(text, "\n{kind} at {}\n  {}", write.nic, one_line(&write.json_patch));
        }
    }
    if !planned.blocked_reason.is_empty() {
        let _ = write!(text, "\nhindered: {}", one_line(&planned.blocked_reason));
    }
    text
}

/// How long a planned move will probably take, and how that is known.
pub(super) fn expected(plan: &MovePlan) -> String {
    let known = plan.expected_duration.as_ref().and_then(words::span);
    let Some(takes) = known else { return "not known".to_owned() };
    let takes = words::duration(takes);
    match plan.expected_basis.as_str() {
        "" => takes,
        basis => format!("{takes} ({})", one_line(basis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{move_at, move_ended};

    #[test]
    fn every_phase_is_shown_once_with_its_own_time() {
        let mut progress = Progress::default();
        let first = move_at(&[(Phase::Planned, 0), (Phase::Detaching, 100)]);
        assert_eq!(progress.lines(&first), ["     0.0 s  planned", "     0.1 s  detaching"]);
        assert_eq!(progress.lines(&first), Vec::<String>::new());
        let later = move_at(&[
            (Phase::Planned, 0),
            (Phase::Detaching, 100),
            (Phase::Attaching, 1_200),
            (Phase::Held, 2_600),
        ]);
        assert_eq!(progress.lines(&later), ["     1.2 s  attaching", "     2.6 s  held"]);
    }

    #[test]
    fn what_a_move_waits_for_is_said_when_it_changes() {
        let mut progress = Progress::default();
        let mut now = move_at(&[(Phase::Attaching, 0)]);
        now.blocked_reason = "AnotherOperationInProgress".to_owned();
        now.next_attempt = Some(prost_types::Timestamp { seconds: 1_788_264_003, nanos: 0 });
        let waits = "            waits: AnotherOperationInProgress; next attempt at 12:00:03Z";
        assert_eq!(progress.lines(&now).last().map(String::as_str), Some(waits));
        assert!(progress.lines(&now).is_empty());
    }

    #[test]
    fn a_plan_shows_phases_writes_and_how_long_it_may_take() {
        use vipfence_proto::v1::{AzureOperationKind, PlannedWrite};
        let mut planned = move_at(&[]);
        planned.plan = Some(MovePlan {
            phases: vec![Phase::Detaching.into(), Phase::Attaching.into()],
            writes: vec![PlannedWrite {
                nic: "/subscriptions/s/n1-nic".to_owned(),
                kind: AzureOperationKind::Detach.into(),
                json_patch: "[]".to_owned(),
            }],
            expected_duration: Some(prost_types::Duration { seconds: 2, nanos: 100_000_000 }),
            expected_from_moves: 5,
            expected_basis: "the median of the last 5 switchovers of demo".to_owned(),
        });
        assert_eq!(
            plan(&planned),
            "plan: demo from n1 to n2; nothing has been done\nphases:   detaching, attaching\n\
             expected: 2.1 s (the median of the last 5 switchovers of demo)\ndetach at \
             /subscriptions/s/n1-nic\n  []"
        );
        // As a node of an earlier version answers.
        planned.plan.as_mut().expect("a plan").expected_duration = None;
        assert!(plan(&planned).contains("\nexpected: not known\n"));
    }

    #[test]
    fn every_outcome_has_its_last_line() {
        let of = |outcome| ending(&move_ended(outcome));
        assert_eq!(
            of(MoveOutcome::Done),
            Ok("demo is held by n2 at epoch 8, after 2.6 s".to_owned())
        );
        assert_eq!(
            of(MoveOutcome::AlreadyHeld),
            Ok("n2 holds demo already, at epoch 8: nothing was done".to_owned())
        );
        let superseded = of(MoveOutcome::Superseded).expect_err("a failure");
        assert_eq!(superseded.message, "move-12 was superseded by move-13");
        assert_eq!(superseded.exit, Exit::Failed);
        assert!(of(MoveOutcome::Unspecified).is_err());
    }
}

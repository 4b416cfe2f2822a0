//! Candidates and policies of a VIP: from what was typed into its definition, and written as they can be
//! typed again.

use std::time::Duration;

use vipfence_proto::v1::{
    Candidate, Confirmation, DataPathPolicy, DriftPolicy, FailbackPolicy,
    FlapBudget as FlapBudgetMessage, QuorumLossPolicy, ReleasePolicy, UnansweredPolicy, VipSpec,
};
use vipfence_types::{DataPath, Failback, Failover, Unanswered};

use super::{
    args::{DriftArg, PolicyArgs, QuorumLossArg, ReleaseArg},
    words,
};

/// Puts what was typed into a definition; what was not typed stays as it is.
pub(super) fn apply(args: &PolicyArgs, spec: &mut VipSpec) {
    if !args.candidates.is_empty() {
        let candidates = args.candidates.iter();
        spec.candidates = candidates
            .map(|given| Candidate { node: given.node.clone(), priority: given.priority })
            .collect();
    }
    if let Some(release) = args.release {
        let release = match release {
            ReleaseArg::Late => ReleasePolicy::Late,
            ReleaseArg::Early => ReleasePolicy::Early,
        };
        spec.release = release.into();
    }
    if let Some(timeout) = args.release_timeout {
        spec.release_timeout = span(timeout);
    }
    if let Some(policy) = args.on_quorum_loss {
        let policy = match policy {
            QuorumLossArg::Release => QuorumLossPolicy::Release,
            QuorumLossArg::Hold => QuorumLossPolicy::Hold,
        };
        spec.on_quorum_loss = policy.into();
    }
    if let Some(drift) = args.drift {
        let drift = match drift {
            DriftArg::Repair => DriftPolicy::Repair,
            DriftArg::Report => DriftPolicy::Report,
        };
        spec.drift = drift.into();
    }
    if let Some((policy, port)) = args.data_path {
        let policy = match policy {
            DataPath::Off => DataPathPolicy::Off,
            DataPath::Report => DataPathPolicy::Report,
            DataPath::Required => DataPathPolicy::Required,
        };
        spec.data_path = policy.into();
        spec.data_path_port = port.into();
    }
    if let Some(failback) = args.failback {
        let (policy, after) = match failback {
            Failback::Manual => (FailbackPolicy::Manual, None),
            Failback::Prefer => (FailbackPolicy::Prefer, None),
            Failback::After { ms } => (FailbackPolicy::After, span(Duration::from_millis(ms))),
        };
        (spec.failback, spec.failback_after) = (policy.into(), after);
    }
    if let Some(budget) = args.flap_budget {
        let window = span(Duration::from_millis(budget.window_ms));
        spec.flap_budget = Some(FlapBudgetMessage { moves: budget.moves, window });
    }
    if let Some(failover) = args.failover {
        spec.confirmation = confirmation(failover);
    }
}

fn confirmation(failover: Failover) -> Option<Confirmation> {
    let Failover::Confirm { timeout_ms, then } = failover else { return None };
    let unanswered = match then {
        Unanswered::Move => UnansweredPolicy::Move,
        Unanswered::Stay => UnansweredPolicy::Stay,
    };
    let timeout = span(Duration::from_millis(timeout_ms));
    Some(Confirmation { timeout, unanswered: unanswered.into() })
}

/// `parse::duration` takes no more than a day, which always fits.
fn span(given: Duration) -> Option<prost_types::Duration> {
    given.try_into().ok()
}

/// `after:10m`
pub(super) fn failback(spec: &VipSpec) -> String {
    match &spec.failback_after {
        Some(after) => format!("after:{}", typed(after)),
        None => words::failback(spec.failback),
    }
}

/// `3/10m`
pub(super) fn flap_budget(spec: &VipSpec) -> String {
    let Some(budget) = &spec.flap_budget else { return String::new() };
    format!("{}/{}", budget.moves, budget.window.as_ref().map(typed).unwrap_or_default())
}

/// `confirm:60s:move`
pub(super) fn failover(spec: &VipSpec) -> String {
    let Some(confirmation) = &spec.confirmation else { return "automatic".to_owned() };
    let timeout = confirmation.timeout.as_ref().map(typed).unwrap_or_default();
    format!("confirm:{timeout}:{}", words::unanswered(confirmation.unanswered))
}

/// `report:7600`
pub(super) fn data_path(spec: &VipSpec) -> String {
    let policy = words::data_path(spec.data_path);
    match spec.data_path() {
        DataPathPolicy::Unspecified | DataPathPolicy::Off => policy,
        DataPathPolicy::Report | DataPathPolicy::Required => {
            format!("{policy}:{}", spec.data_path_port)
        }
    }
}

/// A time as it can be typed: in the largest unit that it is a multiple of.
fn typed(given: &prost_types::Duration) -> String {
    let ms = words::span(given).unwrap_or_default().as_millis();
    match ms {
        0 => "0s".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse;

    #[test]
    fn policies_are_shown_as_they_are_typed() {
        for text in ["manual", "prefer", "after:10m", "after:90s", "after:0s"] {
            let failback = Some(parse::failback(text).expect(text));
            let mut spec = VipSpec::default();
            apply(&PolicyArgs { failback, ..PolicyArgs::default() }, &mut spec);
            assert_eq!(super::failback(&spec), text);
        }
        for text in ["automatic", "confirm:1m:move", "confirm:90s:stay"] {
            let failover = Some(parse::failover(text).expect(text));
            let mut spec = VipSpec::default();
            apply(&PolicyArgs { failover, ..PolicyArgs::default() }, &mut spec);
            assert_eq!(super::failover(&spec), text);
        }
        for text in ["off", "report:7600", "required:5432"] {
            let data_path = Some(parse::data_path(text).expect(text));
            let mut spec = VipSpec::default();
            apply(&PolicyArgs { data_path, ..PolicyArgs::default() }, &mut spec);
            assert_eq!(super::data_path(&spec), text);
        }
        let flap_budget = Some(parse::flap_budget("3/1500ms").expect("a budget"));
        let mut spec = VipSpec::default();
        apply(&PolicyArgs { flap_budget, ..PolicyArgs::default() }, &mut spec);
        assert_eq!(super::flap_budget(&spec), "3/1500ms");
    }

    #[test]
    fn what_was_not_typed_stays_as_it_is() {
        let release = ReleasePolicy::Early.into();
        let mut spec = VipSpec { release, ..VipSpec::default() };
        let failback = Some(Failback::Prefer);
        apply(&PolicyArgs { failback, ..PolicyArgs::default() }, &mut spec);
        let expected =
            VipSpec { release, failback: FailbackPolicy::Prefer.into(), ..VipSpec::default() };
        assert_eq!(spec, expected);
    }
}

//! Hands off, what keeps a VIP where it is, and where it is not well.

use std::{collections::BTreeMap, time::Duration};

use tonic::Status;
use vipfence_coordinator_core::{Hold, NodeView, Pending, Scope, VipRecord, Withheld, WithheldWhy};
use vipfence_proto::v1;
use vipfence_types::{NodeId, VipName};

use super::{millis, timestamp, vip::cause_message, vip_name};
use crate::api::errors::{invalid, invalid_name};

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MAX_REASON: usize = 200;

pub(in crate::api) fn scope(message: Option<&v1::PauseScope>) -> Result<Scope, Status> {
    let what = message.and_then(|message| message.of.as_ref());
    match what {
        Some(v1::pause_scope::Of::Vip(name)) => vip_name("scope.vip", name).map(Scope::Vip),
        Some(v1::pause_scope::Of::Node(name)) => {
            NodeId::new(name).map(Scope::Node).map_err(|error| invalid_name("scope.node", &error))
        }
        Some(v1::pause_scope::Of::Cluster(true)) => Ok(Scope::Cluster),
        Some(v1::pause_scope::Of::Cluster(false)) | None => {
            Err(invalid("INVALID_SCOPE", "scope", "name a VIP or a node, or set cluster to true"))
        }
    }
}

pub(in crate::api) fn pause_time(
    message: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Status> {
    let Some(message) = message else { return Ok(None) };
    let lasts = millis(message).map(Duration::from_millis);
    let fits = lasts.filter(|lasts| !lasts.is_zero() && *lasts <= YEAR);
    let problem = "it is not more than nothing and at most a year; leave it out to pause until \
                   somebody resumes";
    fits.map(Some).ok_or_else(|| invalid("INVALID_DURATION", "lasts", problem))
}

pub(in crate::api) fn pause_reason(given: &str) -> Result<String, Status> {
    if given.chars().count() > MAX_REASON {
        let problem = format!("it is longer than {MAX_REASON} characters");
        return Err(invalid("INVALID_REASON", "reason", problem));
    }
    Ok(given.to_owned())
}

pub(in crate::api) fn pause_message(hold: &Hold) -> v1::Pause {
    v1::Pause {
        since: Some(timestamp(hold.since_ms)),
        until: hold.until_ms.map(timestamp),
        reason: hold.reason.clone(),
        by: hold.by.clone(),
    }
}

pub(super) fn withheld_message(withheld: &Withheld) -> v1::Withheld {
    let reason = match withheld.why {
        WithheldWhy::NoCandidate => v1::WithheldReason::NoCandidate,
        WithheldWhy::FlapBudgetSpent => v1::WithheldReason::FlapBudgetSpent,
        WithheldWhy::Paused => v1::WithheldReason::Paused,
    };
    v1::Withheld {
        reason: reason.into(),
        message: withheld.what.clone(),
        since: Some(timestamp(withheld.since_ms)),
    }
}

pub(super) fn pending_message(pending: &Pending) -> v1::PendingFailover {
    let word = pending.answer.as_ref();
    v1::PendingFailover {
        cause: cause_message(pending.cause).into(),
        reason: pending.what.clone(),
        since: Some(timestamp(pending.since_ms)),
        until: Some(timestamp(pending.until_ms)),
        confirmed: word.map(|word| word.go),
        answered_by: word.map_or(String::new(), |word| word.by.clone()),
    }
}

/// Why a VIP at rest does not leave a holder that should lose it; empty = nothing keeps it.
pub(super) fn blocked(record: &VipRecord) -> String {
    let (restraint, vip) = (&record.restraint, &record.name);
    if let Some(withheld) = &restraint.withheld {
        return withheld.what.clone();
    }
    match &restraint.pending {
        None => String::new(),
        Some(Pending { what, answer: None, .. }) => {
            format!("{what}; the failover waits for `vipfence confirm {vip}`")
        }
        Some(Pending { what, answer: Some(word), .. }) if word.go => {
            format!("{what}; the failover is confirmed by {}", word.by)
        }
        Some(Pending { what, answer: Some(word), .. }) => {
            format!("{what}; it stays ({}), until `vipfence confirm {vip}`", word.by)
        }
    }
}

/// Where a VIP is not well, as the leader has heard.
pub(in crate::api) fn health(
    view: &BTreeMap<NodeId, NodeView>,
    vip: &VipName,
) -> Vec<v1::VipHealth> {
    let problems = view.iter().filter_map(|(node, seen)| Some((node, seen.failing.get(vip)?)));
    problems
        .map(|(node, problem)| v1::VipHealth { node: node.to_string(), problem: problem.clone() })
        .collect()
}

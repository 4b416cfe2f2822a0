//! What an answer of ARM means: to a read, to a write, to a poll of an operation.

use serde_json::Value;
use vipfence_types::{Clocks, Mutation, VipName};

use super::{
    EARLY_NOT_FOUND, MAX_MISSES, NicEffect, NicWriter, Operation, OperationNews, POLL_MAX,
    POLL_MIN, Plan, Presence, RETRY_MIN, Read, Sent, Want, pauses::pace,
};
use crate::{
    nic::{
        document::{NicDocument, Provisioning},
        problem::{Problem, ProblemKind, Remedy},
        wire::{HttpAnswer, HttpResult, Method},
    },
    registry::OperationKind,
};

impl NicWriter {
    pub(super) fn on_read(&mut self, now: Clocks, result: HttpResult) {
        let problem = match result {
            Ok(answer) if answer.status == 200 => match NicDocument::new(answer.body) {
                Ok(document) => return self.on_document(now, document),
                Err(error) => (Problem::new(ProblemKind::Unknown, error.to_string()), None),
            },
            Ok(answer) => Problem::of_answer(&answer),
            Err(fault) => (Problem::of_fault(&fault), None),
        };
        let (problem, after) = problem;
        self.met.push(problem.kind.clone());
        if problem.kind == ProblemKind::Gone {
            self.gone = true;
            self.unreadable = false;
            self.stale = false;
            self.read = None;
            self.paused = None;
            self.items_paused.clear();
            self.updating_since = None;
            return;
        }
        self.unreadable |= problem.kind.remedy() == Remedy::Human;
        self.pause(now, problem, after, false);
    }

    pub(super) fn on_document(&mut self, now: Clocks, document: NicDocument) {
        self.gone = false;
        self.unreadable = false;
        self.stale = false;
        if self.paused.as_ref().is_some_and(|paused| !paused.of_write) {
            self.paused = None;
        }
        if let Some((before, sealed_by)) = self.written_from.take() {
            // H7: a write that left the ETag alone has sealed nothing. It may still change with the
            // end of the operation.
            self.cleared = before != document.etag() || Mutation::SealBelieved.is_on();
            if !self.cleared && document.provisioning() == Provisioning::Updating {
                self.written_from = Some((before, sealed_by));
            } else if !self.cleared {
                self.seal_otherwise(now, sealed_by);
            }
        }
        let updating = document.provisioning() == Provisioning::Updating
            || document.configs().any(|config| {
                let wanted = |address| self.wants.contains_key(&address);
                config.provisioning == Provisioning::Updating && config.address.is_some_and(wanted)
            });
        self.updating_since = updating.then(|| self.updating_since.unwrap_or(now));
        self.read = Some(Read { document, asked_at: self.asked_at });
    }

    /// A seal has changed nothing: another kind of it may.
    fn seal_otherwise(&mut self, now: Clocks, sealed_by: Option<Method>) {
        match sealed_by {
            None => {}
            Some(Method::Patch) => self.patch_seals_nothing = true,
            Some(_) => {
                let text = "Azure took a PUT of the NIC and left its ETag as it was: only time \
                            makes earlier writes harmless there";
                self.pause_seals(now, Problem::new(ProblemKind::Refused, text), None);
            }
        }
    }

    pub(super) fn on_written(
        &mut self,
        now: Clocks,
        sent: Sent,
        result: HttpResult,
        effects: &mut Vec<NicEffect>,
    ) {
        let (problem, after) = match result {
            Ok(answer) if matches!(answer.status, 200..=202) => {
                return self.on_accepted(now, sent, &answer, effects);
            }
            Ok(answer) => {
                let (problem, after) = Problem::of_answer(&answer);
                self.blame(now, &sent.plan, &answer, &problem, after);
                (problem, after)
            }
            Err(fault) => (Problem::of_fault(&fault), None),
        };
        self.met.push(problem.kind.clone());
        // A write of known outcome leaves the NIC as clear as it was.
        let harmless = match problem.kind {
            ProblemKind::Unknown => Mutation::ClearedDespiteUnknown.is_on(),
            _ => true,
        };
        self.cleared = sent.was_cleared && harmless || Mutation::OwnUnknownHarmless.is_on();
        let sealing = matches!(sent.plan, Plan::Seal { .. });
        match problem.kind {
            ProblemKind::Unknown => {
                self.last_unknown = Some(now);
                self.sealing_since = None;
                self.pause(now, problem, after, true);
            }
            // The fresh document, which is read next in any case, decides. `Gone` may be another
            // resource, one that the document names.
            ProblemKind::Changed | ProblemKind::Gone => {
                self.surprises += 1;
                if self.surprises > 1 {
                    self.pause(now, problem, after, true);
                }
            }
            ProblemKind::Later | ProblemKind::Unauthorized => self.pause(now, problem, after, true),
            // Whether for good nobody knows: it is tried again, while the bound runs.
            ProblemKind::Forbidden
            | ProblemKind::Barred
            | ProblemKind::AddressInUse { .. }
            | ProblemKind::AddressCleaning
            | ProblemKind::Refused
                if sealing =>
            {
                self.pause_seals(now, problem, after);
            }
            ProblemKind::Forbidden | ProblemKind::Barred => self.pause(now, problem, after, true),
            ProblemKind::AddressInUse { .. }
            | ProblemKind::AddressCleaning
            | ProblemKind::Refused => {}
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        now: Clocks,
        sent: Sent,
        answer: &HttpAnswer,
        effects: &mut Vec<NicEffect>,
    ) {
        // It counts only after a read has shown another ETag: then nothing that was made from an
        // older document is taken any more (I2).
        let sealed_by = match &sent.plan {
            Plan::Put { .. } => None,
            Plan::Seal { whole: false, .. } => Some(Method::Patch),
            Plan::Seal { whole: true, .. } => Some(Method::Put),
        };
        self.written_from = Some((sent.etag, sealed_by));
        self.cleared = false;
        self.stale = true;
        self.batch = usize::MAX;
        self.surprises = 0;
        self.paused = None;
        if sealed_by != Some(Method::Put) {
            self.seals_paused = None;
        }
        let (kind, vips): (_, Vec<VipName>) = match sent.plan {
            Plan::Put { items, .. } => {
                let attach = |want: &Want| matches!(want.presence, Presence::Present { .. });
                let kind = if items.values().any(attach) {
                    OperationKind::Attach
                } else {
                    OperationKind::Detach
                };
                let vips = items.values().map(|want| want.vip.clone()).collect();
                for (address, want) in items {
                    self.forget_refusal(address);
                    self.accepted.insert(address, want);
                }
                (kind, vips)
            }
            Plan::Seal { asked, .. } => (OperationKind::Seal, asked.into_keys().collect()),
        };
        let url = answer.headers.get("azure-asyncoperation").cloned().unwrap_or_default();
        let over = url.is_empty();
        let started_ms = now.wall_us / 1_000;
        let news = OperationNews {
            kind,
            url: url.clone(),
            status: if over { "Succeeded" } else { "InProgress" }.to_owned(),
            started_ms,
            ended_ms: over.then_some(started_ms),
        };

        effects.push(NicEffect::Operation { vips: vips.clone(), news });
        if !over {
            self.operation = Some(Operation {
                url,
                kind,
                vips,
                started_ms,
                started: now,
                early_until: now.plus(EARLY_NOT_FOUND),
                next_poll: now.plus(POLL_MIN),
                misses: 0,
            });
        }
    }

    pub(super) fn on_poll(
        &mut self,
        now: Clocks,
        result: HttpResult,
        effects: &mut Vec<NicEffect>,
    ) {
        let Some(mut operation) = self.operation.take() else {
            return;
        };
        let wait = match result {
            Ok(answer) if answer.status == 200 && has_status(&answer) => {
                let status = answer.body.get("status").and_then(Value::as_str).unwrap_or_default();
                match status {
                    "Succeeded" => {
                        self.forget_problems(&operation.vips);
                        return self.ended(now, &operation, status, effects);
                    }
                    "Failed" | "Canceled" => {
                        let problem = Problem::of_operation(status, &answer.body);
                        self.met.push(problem.kind.clone());
                        for (address, want) in self.wants.clone() {
                            if operation.vips.contains(&want.vip) {
                                self.accepted.remove(&address);
                                self.pause_item(now, address, problem.clone(), None);
                            }
                        }
                        return self.ended(now, &operation, status, effects);
                    }
                    _ => {
                        operation.misses = 0;
                        pace(now, operation.started)
                    }
                }
            }
            Ok(answer) if answer.status == 404 && operation.early_until.later_than(now) => {
                pace(now, operation.started)
            }
            // Asked too often: that says nothing of the operation.
            Ok(answer) if answer.status == 429 => {
                answer.retry_after().unwrap_or(POLL_MAX).max(pace(now, operation.started))
            }
            // The URL is lost, or nobody answers there in words: the NIC itself says when it is no longer
            // Updating.
            _ if operation.misses >= MAX_MISSES => {
                return self.ended(now, &operation, "Unknown", effects);
            }
            Ok(answer) => {
                operation.misses += 1;
                answer.retry_after().unwrap_or(RETRY_MIN)
            }
            Err(_) => {
                operation.misses += 1;
                RETRY_MIN
            }
        };
        operation.next_poll = now.plus(wait);
        self.operation = Some(operation);
    }

    pub(super) fn ended(
        &mut self,
        now: Clocks,
        operation: &Operation,
        status: &str,
        effects: &mut Vec<NicEffect>,
    ) {
        self.stale = true;
        effects.push(NicEffect::Operation {
            vips: operation.vips.clone(),
            news: OperationNews {
                kind: operation.kind,
                url: operation.url.clone(),
                status: status.to_owned(),
                started_ms: operation.started_ms,
                ended_ms: Some(now.wall_us / 1_000),
            },
        });
    }
}

/// A 200 of something that is not ARM (a proxy's page) says nothing of the operation. A word that
/// is not known does: it is one of a later version, and the operation is not over.
fn has_status(answer: &HttpAnswer) -> bool {
    answer.body.get("status").is_some_and(Value::is_string)
}

//! Whether the holder of a VIP at rest should lose it, and what keeps the leader from moving it: hands
//! off, nobody to take it, a spent flap budget, a question to an operator (`registry::restraint`).
//!
//! A holder that is silent loses its grant by waiting for the lease; one that is alive, and only not
//! well, is asked to let go like in any planned move. None of this decides about a lease: a VIP that is
//! kept at a silent holder stays granted to it, and to nobody else (I1).

use vipfence_types::{Clocks, Failover, NodeId, Unanswered, VipEpoch};

use super::{Decision, Facts};
use crate::{
    mover::target::no_candidate,
    registry::{Body, Cause, Granted, Pending, VipRecord, Withheld, WithheldWhy, Word},
};

/// A text that only changed is committed at most once in so long, in milliseconds.
const RETOLD_MS: u64 = 10_000;

/// Why a holder should lose the VIP.
struct Trouble {
    cause: Cause,
    what: String,
    /// It does not take the epoch that it was granted, but may take another one.
    unfit: bool,
}

/// What is done about it.
enum Course {
    /// The VIP moves; without a target where nobody is eligible.
    Move(Option<NodeId>),
    /// Somebody is asked, or has been, or has declined.
    Ask(Pending),
    /// It stays.
    Withhold(WithheldWhy, String),
}

impl Facts<'_> {
    /// Looks for a reason to move the VIP to another node.
    pub(super) fn look_for_holder(&self, record: &VipRecord, decision: &mut Decision) {
        let Some(grant) = record.grant.grant() else { return };
        let holder = &grant.node;
        let at = VipEpoch { vip: record.name.clone(), epoch: grant.epoch };
        let silent = self.lead.is_silent(self.now, self.state, holder);
        if !silent && self.lead.peers.refuses(holder, &at) {
            return self.renew_epoch(record, holder, decision);
        }
        let Some(trouble) = self.trouble(grant, &at, silent) else {
            self.restrain(record, None, self.still_spent(record), decision);
            return self.fail_back(record, decision);
        };
        match self.course(record, holder, &trouble) {
            Course::Move(to) => {
                if trouble.cause == Cause::HolderUnhealthy {
                    // Its check may not run there once it has lost the VIP: not back at once.
                    let why = format!("it has just left {holder}: {}", trouble.what);
                    decision.failed = Some((holder.clone(), why));
                }
                self.start(record, to, trouble.cause, decision);
            }
            // Nobody else: once in a while it may try again.
            Course::Withhold(..)
                if trouble.unfit && self.lead.is_worth_another_try(self.now, &at) =>
            {
                self.renew_epoch(record, holder, decision);
            }
            Course::Withhold(why, what) => {
                let pending = record.restraint.pending.clone();
                let pending = pending.filter(|_| why == WithheldWhy::NoCandidate);
                let withheld = self.withheld(record, why, what);
                self.restrain(record, pending, Some(withheld), decision);
            }
            Course::Ask(pending) => {
                self.restrain(record, Some(pending), self.still_spent(record), decision);
            }
        }
    }

    /// The holder cannot use its epoch: a new one, here if it may still hold the VIP. That is done
    /// while moves are paused, too: it is how a restarted agent gets its VIPs back.
    fn renew_epoch(&self, record: &VipRecord, holder: &NodeId, decision: &mut Decision) {
        let stays = self.state.check_may_hold(record, holder).is_ok();
        let to = if stays { Some(holder.clone()) } else { self.best_but(record, holder) };
        self.start(record, to, Cause::EpochRefused, decision);
    }

    pub(super) fn best_but(&self, record: &VipRecord, holder: &NodeId) -> Option<NodeId> {
        self.lead.best(self.now, self.state, record, Some(holder)).ok()
    }

    fn trouble(&self, grant: &Granted, at: &VipEpoch, silent: bool) -> Option<Trouble> {
        let (holder, peers) = (&grant.node, &self.lead.peers);
        if silent {
            let what = format!("{holder} is silent");
            return Some(Trouble { cause: Cause::HolderSilent, what, unfit: false });
        }
        if peers.latest(holder).is_some_and(|beat| beat.health.stopping) {
            let what = format!("{holder} is stopping");
            return Some(Trouble { cause: Cause::HolderStopping, what, unfit: false });
        }
        let unfit = peers.unfit(holder, at);
        let is_unfit = unfit.is_some();
        let what = unfit.or_else(|| peers.failing(holder, &at.vip))?;
        Some(Trouble { cause: Cause::HolderUnhealthy, what, unfit: is_unfit })
    }

    fn course(&self, record: &VipRecord, holder: &NodeId, trouble: &Trouble) -> Course {
        let what = &trouble.what;
        if let Some(paused) = self.state.paused(record) {
            return Course::Withhold(WithheldWhy::Paused, format!("{what}; {paused}"));
        }
        let to = match self.lead.best(self.now, self.state, record, Some(holder)) {
            Ok(node) => Some(node),
            // A silent holder loses its grant whether or not somebody can take over.
            Err(_) if trouble.cause == Cause::HolderSilent => None,
            Err(others) => {
                let why = format!("{what}, and {}", no_candidate(&others));
                return Course::Withhold(WithheldWhy::NoCandidate, why);
            }
        };
        // Another trouble is another question.
        let pending = record.restraint.pending.as_ref().filter(|p| p.cause == trouble.cause);
        let word = pending.and_then(|pending| pending.answer.as_ref());
        if word.is_some_and(|word| word.go) {
            return Course::Move(to);
        }
        if trouble.cause == Cause::HolderUnhealthy && self.is_budget_spent(record) {
            return Course::Withhold(WithheldWhy::FlapBudgetSpent, self.spent(record, what));
        }
        match (record.spec.failover, trouble.cause) {
            (
                Failover::Confirm { timeout_ms, then },
                Cause::HolderSilent | Cause::HolderUnhealthy,
            ) => self.ask(pending, trouble, timeout_ms, then).map_or(Course::Move(to), Course::Ask),
            (Failover::Automatic | Failover::Confirm { .. }, _) => Course::Move(to),
        }
    }

    /// The question as it stands now; none = nobody has answered in time, and it moves.
    fn ask(
        &self,
        pending: Option<&Pending>,
        trouble: &Trouble,
        timeout_ms: u64,
        then: Unanswered,
    ) -> Option<Pending> {
        let now_ms = wall_ms(self.now);
        let Some(pending) = pending else {
            return Some(Pending {
                cause: trouble.cause,
                what: trouble.what.clone(),
                since_ms: now_ms,
                until_ms: now_ms.saturating_add(timeout_ms),
                answer: None,
            });
        };
        if pending.answer.is_some() || now_ms < pending.until_ms {
            return Some(pending.clone());
        }
        match then {
            Unanswered::Move => None,
            Unanswered::Stay => {
                let by = "nobody answered in time".to_owned();
                Some(Pending { answer: Some(Word { go: false, by }), ..pending.clone() })
            }
        }
    }

    // ---- the flap budget ------------------------------------------------------------------------

    fn is_budget_spent(&self, record: &VipRecord) -> bool {
        let (budget, flaps) = (record.spec.flap_budget, &record.restraint.flaps_ms);
        budget.is_spent(flaps, wall_ms(self.now))
    }

    fn spent(&self, record: &VipRecord, what: &str) -> String {
        let (budget, vip) = (record.spec.flap_budget, &record.name);
        format!(
            "{what}, and its health has moved it {} times within {} s: it stays until that is \
             longer ago, or `vipfence resume --vip {vip}` or `vipfence move {vip}`",
            budget.moves,
            budget.window_ms / 1_000
        )
    }

    /// The alarm of a spent budget outlasts the moments in which the holder is well.
    fn still_spent(&self, record: &VipRecord) -> Option<Withheld> {
        let known = record.restraint.withheld.as_ref()?;
        let stands = known.why == WithheldWhy::FlapBudgetSpent && self.is_budget_spent(record);
        stands.then(|| known.clone())
    }

    // ---- what is told -----------------------------------------------------------------------------

    fn withheld(&self, record: &VipRecord, why: WithheldWhy, what: String) -> Withheld {
        let now_ms = wall_ms(self.now);
        match record.restraint.withheld.as_ref().filter(|known| known.why == why) {
            Some(known) if known.what == what || now_ms.abs_diff(known.told_ms) < RETOLD_MS => {
                known.clone()
            }
            Some(known) => Withheld { what, told_ms: now_ms, ..known.clone() },
            None => Withheld { why, what, since_ms: now_ms, told_ms: now_ms },
        }
    }

    /// Commits what keeps the VIP where it is, when that is not what is committed.
    fn restrain(
        &self,
        record: &VipRecord,
        pending: Option<Pending>,
        withheld: Option<Withheld>,
        decision: &mut Decision,
    ) {
        let known = &record.restraint;
        if (&known.pending, &known.withheld) != (&pending, &withheld) {
            let (vip, phase) = (record.name.clone(), record.phase);
            decision.step.get_or_insert(Body::Restrain { vip, phase, pending, withheld });
        }
    }

    // ---- the way back -----------------------------------------------------------------------------

    /// Back to a candidate of higher priority that has been eligible for long enough. The best one is
    /// waited for: a lesser one in between would be one more move.
    fn fail_back(&self, record: &VipRecord, decision: &mut Decision) {
        let Some(wait) = record.spec.failback.wait() else { return };
        let best = self.lead.preferred_to_holder(self.now, self.state, record).next();
        let Some(best) = best else { return };
        let since = self.lead.preferred.get(&(record.name.clone(), best.clone()));
        let settled = since.is_some_and(|since| self.now.mono_since(*since) >= wait);
        let free = self.state.hold_on(record).is_none() && !self.is_budget_spent(record);
        if settled && free {
            self.start(record, Some(best.clone()), Cause::Failback, decision);
        }
    }
}

fn wall_ms(now: Clocks) -> u64 {
    now.wall_us / 1_000
}

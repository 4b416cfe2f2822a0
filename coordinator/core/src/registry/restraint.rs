//! What keeps the leader from moving a VIP by itself: hands off, nobody to take it, a spent flap
//! budget, a question to an operator.
//!
//! Times in here are readings of the proposers' wall clocks. They decide when something is moved by
//! itself and nothing else: who may hold a VIP rests on leases and epochs (I1, I5), and a clock that
//! jumps costs a move too many or too few. Callers are not restrained: what they ask for is done.
//!
//! What is changed here also changes the phase revision of the VIPs at rest that it is about, so that
//! a move which was decided before is not started after. Open moves go on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vipfence_types::{Epoch, FlapBudget, NodeId, Revision, VipName};

use super::{Applied, Cause, Entry, EventKind, Intent, Refused, Registry, VipRecord};

/// What automatic moves are paused for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// One VIP.
    Vip(VipName),
    /// One node: what it holds stays, and nothing comes to it by itself.
    Node(NodeId),
    /// Everything.
    Cluster,
}

/// Hands off: automatic moves are paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Until when; none = until somebody resumes.
    pub until_ms: Option<u64>,
    /// What for, for people; may be empty.
    pub reason: String,
    /// Who asked.
    pub by: String,
}

/// What restrains the leader in the matter of one VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restraint {
    /// Automatic moves of this VIP are paused.
    pub hold: Option<Hold>,
    /// When its health, or its way back, moved it by itself, oldest first, in milliseconds since
    /// 1970: what counts against its flap budget.
    pub flaps_ms: Vec<u64>,
    /// A failover that waits for somebody's word.
    pub pending: Option<Pending>,
    /// Why it stays where it is although its holder should lose it.
    pub withheld: Option<Withheld>,
}

/// A failover that waits for somebody's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The cause that the move will have.
    pub cause: Cause,
    /// What is wrong with the holder, for people.
    pub what: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// When the VIP's default takes effect.
    pub until_ms: u64,
    /// What was answered; none = nothing yet.
    pub answer: Option<Word>,
}

/// What somebody said to a pending failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The VIP is to move.
    pub go: bool,
    /// Who said so.
    pub by: String,
}

/// Why a VIP stays where it is although its holder should lose it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// What keeps it there.
    pub why: WithheldWhy,
    /// What is wrong and what keeps it there, for people.
    pub what: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// When `what` was last brought up to date.
    pub told_ms: u64,
}

/// What keeps a VIP at a holder that should lose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WithheldWhy {
    /// No other candidate is eligible.
    NoCandidate,
    /// Its health has moved it too often.
    FlapBudgetSpent,
    /// Automatic moves are paused.
    Paused,
}

impl Cause {
    /// Whether moves of this cause count against a flap budget.
    #[must_use]
    pub fn is_budgeted(self) -> bool {
        match self {
            Self::HolderUnhealthy | Self::Failback => true,
            Self::Request
            | Self::Created
            | Self::HolderSilent
            | Self::HolderStopping
            | Self::Enabled
            | Self::Disabled
            | Self::Deleted
            | Self::TargetFailed
            | Self::Drift
            | Self::EpochRefused => false,
        }
    }
}

impl Scope {
    /// Whether a VIP is meant.
    fn is_about(&self, record: &VipRecord) -> bool {
        match self {
            Self::Vip(vip) => record.name == *vip,
            Self::Node(node) => record.holder() == Some(node),
            Self::Cluster => true,
        }
    }

    /// For people: "of VIP demo".
    fn told(&self) -> String {
        match self {
            Self::Vip(vip) => format!("of VIP {vip}"),
            Self::Node(node) => format!("of node {node}"),
            Self::Cluster => "of the cluster".to_owned(),
        }
    }
}

impl Restraint {
    /// A move begins: nothing keeps the VIP where it is any more.
    pub(super) fn move_begins(&mut self, entry: Entry<'_>, cause: Cause, budget: FlapBudget) {
        (self.pending, self.withheld) = (None, None);
        if cause.is_budgeted() {
            self.flaps_ms.retain(|at| entry.at_ms.abs_diff(*at) < budget.window_ms);
            self.flaps_ms.push(entry.at_ms);
            let most = usize::try_from(FlapBudget::MAX_MOVES).unwrap_or(usize::MAX);
            let excess = self.flaps_ms.len().saturating_sub(most);
            self.flaps_ms.drain(..excess);
        }
    }
}

impl Registry {
    /// What pauses the automatic moves of a VIP: its own hold, that of its holder, or the cluster's.
    #[must_use]
    pub fn hold_on<'a>(&'a self, record: &'a VipRecord) -> Option<(Scope, &'a Hold)> {
        let of_vip = || {
            let hold = record.restraint.hold.as_ref()?;
            Some((Scope::Vip(record.name.clone()), hold))
        };
        let of_holder = || {
            let node = record.holder()?;
            Some((Scope::Node(node.clone()), self.nodes.get(node)?.hold.as_ref()?))
        };
        let of_all = || Some((Scope::Cluster, self.hold.as_ref()?));
        of_vip().or_else(of_holder).or_else(of_all)
    }

    /// Why automatic moves of a VIP are paused, for people; none = they are not.
    #[must_use]
    pub fn paused(&self, record: &VipRecord) -> Option<String> {
        let (scope, hold) = self.hold_on(record)?;
        Some(format!("automatic moves {} are paused{}", scope.told(), hold.told()))
    }

    /// Everything that is paused, but for what is being deleted.
    #[must_use]
    pub fn holds(&self) -> Vec<(Scope, &Hold)> {
        let staying = self.vips.values().filter(|record| record.intent != Intent::Deleted);
        let vips = staying.filter_map(|record| {
            let hold = record.restraint.hold.as_ref()?;
            Some((Scope::Vip(record.name.clone()), hold))
        });
        let nodes = self
            .nodes
            .iter()
            .filter_map(|(node, record)| Some((Scope::Node(node.clone()), record.hold.as_ref()?)));
        let all = self.hold.as_ref().map(|hold| (Scope::Cluster, hold));
        vips.chain(nodes).chain(all).collect()
    }

    pub(super) fn pause(
        &mut self,
        entry: Entry<'_>,
        scope: &Scope,
        until_ms: Option<u64>,
        reason: &str,
        by: &str,
    ) -> Result<Applied, Refused> {
        let (reason, by) = (reason.to_owned(), by.to_owned());
        let hold = Hold { since_ms: entry.at_ms, until_ms, reason, by };
        let message = format!("automatic moves {} are paused{}", scope.told(), hold.told());
        *self.hold_of(scope)? = Some(hold);
        self.restrained(entry, scope);
        self.record_scope(entry, EventKind::Paused, scope, message);
        Ok(Applied::Done)
    }

    /// `over` names the hold whose time is over; none = somebody asked, which is never refused and
    /// also clears what has been counted against a VIP's flap budget.
    pub(super) fn resume(
        &mut self,
        entry: Entry<'_>,
        scope: &Scope,
        over: Option<u64>,
        by: &str,
    ) -> Result<Applied, Refused> {
        let hold = self.hold_of(scope)?;
        if over.is_some() && hold.as_ref().map(|hold| hold.since_ms) != over {
            return Err(Refused::Stale);
        }
        let was_paused = hold.take().is_some();
        if let (Scope::Vip(vip), None) = (scope, over)
            && let Some(record) = self.vips.get_mut(vip)
        {
            let restraint = &mut Arc::make_mut(record).restraint;
            restraint.flaps_ms.clear();
            restraint.withheld = None;
        }
        self.restrained(entry, scope);
        if was_paused {
            let why = match over {
                Some(_) => "the time is over".to_owned(),
                None => format!("asked for by {by}"),
            };
            let message = format!("automatic moves {} go on: {why}", scope.told());
            self.record_scope(entry, EventKind::Resumed, scope, message);
        }
        Ok(Applied::Done)
    }

    fn hold_of(&mut self, scope: &Scope) -> Result<&mut Option<Hold>, Refused> {
        match scope {
            Scope::Vip(vip) => {
                self.living(vip)?;
                let record = self.vips.get_mut(vip);
                let record = record.ok_or_else(|| Refused::VipNotFound(vip.clone()))?;
                Ok(&mut Arc::make_mut(record).restraint.hold)
            }
            Scope::Node(node) => {
                let record = self.nodes.get_mut(node);
                let record = record.ok_or_else(|| Refused::NodeNotFound(node.clone()))?;
                Ok(&mut Arc::make_mut(record).hold)
            }
            Scope::Cluster => Ok(&mut self.hold),
        }
    }

    /// What was decided about VIPs at rest before this entry is void.
    fn restrained(&mut self, entry: Entry<'_>, scope: &Scope) {
        for record in self.vips.values_mut().filter(|record| scope.is_about(record)) {
            let record = Arc::make_mut(record);
            record.revision = entry.revision;
            if record.open.is_none() {
                record.phase = entry.revision;
            }
        }
    }

    fn record_scope(&mut self, entry: Entry<'_>, kind: EventKind, scope: &Scope, message: String) {
        let (vip, node) = match scope {
            Scope::Vip(vip) => (Some(vip), None),
            Scope::Node(node) => (None, Some(node.clone())),
            Scope::Cluster => (None, None),
        };
        self.record(entry, kind, vip, node, Epoch(0), message);
    }

    /// What the leader found to keep a VIP at rest where it is.
    pub(super) fn restrain(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        phase: Revision,
        pending: Option<&Pending>,
        withheld: Option<&Withheld>,
    ) -> Result<Applied, Refused> {
        let record = self.vips.get_mut(vip).ok_or_else(|| Refused::VipNotFound(vip.clone()))?;
        if record.phase != phase || record.open.is_some() {
            return Err(Refused::Stale);
        }
        let record = Arc::make_mut(record);
        record.revision = entry.revision;
        let restraint = &mut record.restraint;
        let was = (restraint.pending.take(), restraint.withheld.take());
        restraint.pending = pending.cloned();
        restraint.withheld = withheld.cloned();
        let (node, epoch) = (record.holder().cloned(), record.epoch());
        for (kind, message) in news(vip, &was, (pending, withheld)) {
            self.record(entry, kind, Some(vip), node.clone(), epoch, message);
        }
        Ok(Applied::Done)
    }

    pub(super) fn confirm(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        go: bool,
        by: &str,
    ) -> Result<Applied, Refused> {
        self.living(vip)?;
        let record = self.vips.get_mut(vip).ok_or_else(|| Refused::VipNotFound(vip.clone()))?;
        if record.restraint.pending.is_none() {
            return Err(Refused::NothingPending(vip.clone()));
        }
        let record = Arc::make_mut(record);
        if let Some(pending) = &mut record.restraint.pending {
            pending.answer = Some(Word { go, by: by.to_owned() });
        }
        let (node, epoch) = (record.holder().cloned(), record.epoch());
        self.restrained(entry, &Scope::Vip(vip.clone()));
        let (kind, what) = answered(go);
        let message = format!("the failover of VIP {vip} is {what} by {by}");
        self.record(entry, kind, Some(vip), node, epoch, message);
        Ok(Applied::Done)
    }
}

impl Hold {
    /// Who and what for, for people.
    fn told(&self) -> String {
        let reason = if self.reason.is_empty() { "" } else { ": " };
        format!(" by {}{reason}{}", self.by, self.reason)
    }
}

fn answered(go: bool) -> (EventKind, &'static str) {
    if go {
        (EventKind::FailoverConfirmed, "confirmed")
    } else {
        (EventKind::FailoverDeclined, "declined")
    }
}

/// What to tell of a change. A text that was only brought up to date is no news.
fn news(
    vip: &VipName,
    was: &(Option<Pending>, Option<Withheld>),
    is: (Option<&Pending>, Option<&Withheld>),
) -> Vec<(EventKind, String)> {
    let mut news = Vec::new();
    match (&was.0, is.0) {
        (known, Some(pending))
            if known.as_ref().map(|known| known.cause) != Some(pending.cause) =>
        {
            let patience = pending.until_ms.saturating_sub(pending.since_ms) / 1_000;
            let message = format!(
                "{}: the failover of VIP {vip} waits {patience} s for `vipfence confirm {vip}`",
                pending.what
            );
            news.push((EventKind::FailoverWaits, message));
        }
        (Some(known), Some(pending)) if known.answer != pending.answer => {
            if let Some(word) = &pending.answer {
                let (kind, what) = answered(word.go);
                let message = format!("the failover of VIP {vip} is {what}: {}", word.by);
                news.push((kind, message));
            }
        }
        _ => {}
    }
    match (&was.1, is.1) {
        (known, Some(withheld)) if known.as_ref().map(|known| known.why) != Some(withheld.why) => {
            let kind = match withheld.why {
                WithheldWhy::FlapBudgetSpent => EventKind::FlapBudgetSpent,
                WithheldWhy::NoCandidate | WithheldWhy::Paused => EventKind::Withheld,
            };
            news.push((kind, format!("VIP {vip} stays: {}", withheld.what)));
        }
        _ => {}
    }
    let restrained = |pending: bool, withheld: bool| pending || withheld;
    let before = restrained(was.0.is_some(), was.1.is_some());
    if before && !restrained(is.0.is_some(), is.1.is_some()) {
        // The alarm of a spent budget outlasts what was wrong.
        let spent = WithheldWhy::FlapBudgetSpent;
        let message = if was.1.as_ref().is_some_and(|known| known.why == spent) {
            format!("VIP {vip} may be moved by its health again")
        } else {
            format!("VIP {vip}: what was wrong with its holder is gone")
        };
        news.push((EventKind::WithheldOver, message));
    }
    news
}

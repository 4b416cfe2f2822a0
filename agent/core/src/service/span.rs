//! How far one entitlement has come with its tasks; the diagram stands at [`super`].

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vipfence_types::{Clocks, Epoch};

use crate::lease::Timer;
use crate::record::Record;
use crate::{Call, Task};

/// How long an aborted task gets to end, before the next one begins all the same.
const ABORT_WITHIN: Duration = Duration::from_secs(1);

pub(super) const ACQUIRE: [Task; 3] = [Task::PreAcquire, Task::StartUnits, Task::PostAcquire];

/// One entitlement, from its first task to its last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Span {
    pub(super) epoch: Epoch,
    pub(super) leg: Leg,
    pub(super) begun: BTreeSet<Task>,
    pub(super) failed: BTreeMap<Task, String>,
    /// The address may be on the OS: `PreAcquire` is no obstacle, and was none.
    pub(super) admitted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) enum Leg {
    Acquiring,
    Releasing,
    Released,
    /// Not entitled, but the same epoch may come back. With nobody to hear from, that is hoped for
    /// until the timer is over.
    Adrift(Timer),
    Faulted,
    Starting,
}

impl Leg {
    pub(super) fn tasks(self) -> &'static [Task] {
        match self {
            Self::Acquiring => &ACQUIRE,
            Self::Releasing => &[Task::PreRelease, Task::StopUnits],
            Self::Released => &[Task::PostRelease],
            Self::Adrift(_) => &[],
            Self::Faulted => &[Task::StopUnits, Task::OnFault],
            Self::Starting => &[Task::StopUnits],
        }
    }

    /// Whether the node is entitled.
    pub(super) fn is_entitled(self) -> bool {
        matches!(self, Self::Acquiring | Self::Releasing)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Running {
    pub(super) call: Call,
    pub(super) epoch: Epoch,
    pub(super) task: Task,
    pub(super) since: Clocks,
    pub(super) within: Duration,
    /// When it was aborted, and why.
    pub(super) aborted: Option<(Clocks, String)>,
}

impl Running {
    /// By a clock that nobody steps: what a task gets is not shortened with a lease.
    pub(super) fn left(&self, now: Clocks) -> Duration {
        let (since, span) =
            self.aborted.as_ref().map_or((self.since, self.within), |(at, _)| (*at, ABORT_WITHIN));
        span.saturating_sub(now.mono_since(since))
    }
}

/// What the node's record of the VIP means to its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Entitled { epoch: Epoch, added: bool, leaving: bool },
    Dropping,
    Gone,
}

impl Standing {
    pub(crate) fn of(record: Option<&Record>, now: Clocks) -> Self {
        match record {
            Some(Record::Holding(holding)) => Self::Entitled {
                epoch: holding.epoch,
                added: holding.is_added(now),
                leaving: holding.leaving.is_some(),
            },
            Some(Record::Dropping(_)) => Self::Dropping,
            Some(Record::Spending(_) | Record::Confirming(_)) | None => Self::Gone,
        }
    }

    /// Whether the address is where this task needs it.
    pub(super) fn is_time_for(self, task: Task) -> bool {
        match task {
            Task::StartUnits | Task::PostAcquire => {
                matches!(self, Self::Entitled { added: true, .. })
            }
            Task::PostRelease => self != Self::Dropping,
            Task::PreAcquire | Task::PreRelease | Task::StopUnits | Task::OnFault => true,
        }
    }
}

impl Span {
    pub(super) fn new(epoch: Epoch, leg: Leg) -> Self {
        Self { epoch, leg, begun: BTreeSet::new(), failed: BTreeMap::new(), admitted: false }
    }

    /// Whether the entitlement goes no further: what failed is not tried again for its epoch.
    pub(super) fn is_stuck(&self) -> bool {
        let has_failed = |task| self.failed.contains_key(&task);
        let unfit = has_failed(Task::PreAcquire) && !self.admitted;
        self.leg == Leg::Acquiring && (unfit || has_failed(Task::StartUnits))
    }
}

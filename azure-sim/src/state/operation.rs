//! Long-running operations: from the acceptance of a PUT to `Succeeded`, `Failed` or `Canceled`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::error::ArmError;
use super::nic::Goal;

/// An operation on a NIC.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) guid: String,
    /// Key of its NIC.
    pub(crate) nic: String,
    pub(crate) resource: String,
    pub(crate) principal: Option<String>,
    pub(crate) accepted: Duration,
    pub(crate) due: Duration,
    /// What the data plane is to do for the NIC.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// What the document was before.
    pub(crate) previous: Option<Goal>,
    /// Decided at acceptance: it will end in this failure; `true` = the data plane changes all
    /// the same.
    pub(crate) failure: Option<(ArmError, bool)>,
    /// Unfinished polls answered so far.
    pub(crate) polls: u32,
    pub(crate) status: OperationStatus,
}

/// Where an operation stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OperationStatus {
    Running,
    Succeeded,
    Failed(ArmError),
    Canceled(ArmError),
}

impl OperationStatus {
    /// The word of a poll. `[W]`
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed(_) => "Failed",
            Self::Canceled(_) => "Canceled",
        }
    }

    pub(crate) fn error(&self) -> Option<&ArmError> {
        match self {
            Self::Running | Self::Succeeded => None,
            Self::Failed(error) | Self::Canceled(error) => Some(error),
        }
    }
}

/// All operations that anybody may still ask for.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    all: BTreeMap<String, Operation>,
    /// Running ones by due time, then by the order of acceptance.
    running: BTreeMap<(Duration, u64), String>,
    finished: VecDeque<String>,
    accepted: u64,
    limit: usize,
    /// Operations do not end while this holds.
    pub(crate) all_frozen: bool,
    /// Keys of NICs whose operations do not end.
    pub(crate) frozen: BTreeSet<String>,
}

impl Operations {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            running: BTreeMap::new(),
            finished: VecDeque::new(),
            accepted: 0,
            limit: limit.max(1),
            all_frozen: false,
            frozen: BTreeSet::new(),
        }
    }

    pub(crate) fn insert(&mut self, operation: Operation) {
        self.accepted += 1;
        let guid = operation.guid.clone();
        if operation.status == OperationStatus::Running {
            self.running.insert((operation.due, self.accepted), guid.clone());
        } else {
            self.remember(guid.clone());
        }
        self.all.insert(guid, operation);
    }

    pub(crate) fn get(&self, guid: &str) -> Option<&Operation> {
        self.all.get(&guid.to_ascii_lowercase())
    }

    pub(crate) fn get_mut(&mut self, guid: &str) -> Option<&mut Operation> {
        self.all.get_mut(&guid.to_ascii_lowercase())
    }

    /// Those that run, by the time they are due.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Operation> {
        self.running.values().filter_map(|guid| self.all.get(guid))
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.thawed().map(|((due, _), _)| *due).next()
    }

    /// The operation that is due at `now`, if any.
    pub(crate) fn due(&self, now: Duration) -> Option<String> {
        self.thawed().next().filter(|((due, _), _)| *due <= now).map(|(_, guid)| guid.clone())
    }

    fn thawed(&self) -> impl Iterator<Item = (&(Duration, u64), &String)> {
        self.running.iter().filter(|(_, guid)| {
            !self.all_frozen && self.all.get(*guid).is_some_and(|op| !self.frozen.contains(&op.nic))
        })
    }

    /// Ends a running operation and returns it as it ended.
    pub(crate) fn end(&mut self, guid: &str, status: OperationStatus) -> Option<Operation> {
        self.running.retain(|_, running| running != guid);
        let operation = self.all.get_mut(guid)?;
        operation.status = status;
        let ended = operation.clone();
        // Only a running one needs to know the way back.
        operation.previous = None;
        self.remember(guid.to_owned());
        Some(ended)
    }

    fn remember(&mut self, guid: String) {
        self.finished.push_back(guid);
        while self.finished.len() > self.limit {
            if let Some(oldest) = self.finished.pop_front() {
                self.all.remove(&oldest);
            }
        }
    }
}

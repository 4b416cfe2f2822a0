//! A virtual machine: its power, and what its IMDS says about it.

use serde::{Deserialize, Serialize};

use super::guid::Guids;

/// Scheduled events of one VM at once.
const MAX_EVENTS: usize = 16;

/// Power state of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Running: a PUT on its NIC is an operation. `[W]`
    Running,
    /// Stopped, but still allocated: see [`TenantUpdate`](super::TenantUpdate). `[I]`
    Stopped,
    /// Deallocated: the same, usually a PUT on its NIC succeeds at once. `[I]`
    Deallocated,
    /// Being deleted: an operation on its NIC ends `Failed` with `OperationNotAllowed`. `[R]`
    Deleting,
}

/// What is wrong with the IMDS of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImdsFault {
    /// The connection is closed without an answer.
    Down,
    /// It never answers.
    Silent,
    /// It answers with this status; 410 means "being updated, up to 70 s". `[S]`
    Status(u16),
}

/// A virtual machine.
#[derive(Debug, Clone)]
pub(crate) struct Vm {
    pub(crate) name: String,
    pub(crate) vm_id: String,
    pub(crate) zone: String,
    pub(crate) power: Power,
    pub(crate) imds_fault: Option<ImdsFault>,
    pub(crate) events: Vec<ScheduledEvent>,
    /// Keys of its user-assigned identities.
    pub(crate) identities: Vec<String>,
    /// `DocumentIncarnation`: changes only when the events change. `[S]`
    pub(crate) incarnation: u64,
}

/// A scheduled event; `[S]` unless noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScheduledEvent {
    pub(crate) id: String,
    /// `Reboot`, `Redeploy`, `Freeze`, `Preempt`, `Terminate`
    pub(crate) kind: String,
    /// Unix milliseconds; `None` once started.
    pub(crate) not_before_ms: Option<u64>,
}

impl Vm {
    pub(crate) fn schedule(&mut self, kind: String, not_before_ms: u64, guids: &mut Guids) {
        let not_before_ms = Some(not_before_ms);
        self.events.push(ScheduledEvent { id: guids.next(), kind, not_before_ms });
        if self.events.len() > MAX_EVENTS {
            self.events.remove(0);
        }
        self.incarnation += 1;
    }

    pub(crate) fn end_events(&mut self) {
        if !self.events.is_empty() {
            self.events.clear();
            self.incarnation += 1;
        }
    }

    /// Starts every event for which `starts` holds.
    pub(crate) fn start_events(&mut self, starts: impl Fn(&ScheduledEvent) -> bool) {
        let mut changed = false;
        for event in self.events.iter_mut().filter(|e| e.not_before_ms.is_some()) {
            if starts(event) {
                event.not_before_ms = None;
                changed = true;
            }
        }
        self.incarnation += u64::from(changed);
    }

    pub(crate) fn next_event_ms(&self) -> Option<u64> {
        self.events.iter().filter_map(|event| event.not_before_ms).min()
    }
}

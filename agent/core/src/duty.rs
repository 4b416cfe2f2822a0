//! What a node does around a VIP beside its address: hooks, and the units that start and stop with it.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use serde::Serialize;
use vipfence_types::Epoch;

/// One thing to do around a VIP, in the order in which an entitlement goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Before the address is added. Where it fails, this node may not be able to serve.
    PreAcquire,
    /// After the address was added: the units of the VIP start, in order.
    StartUnits,
    /// After the units have started.
    PostAcquire,
    /// A planned release: the address is still there.
    PreRelease,
    /// The units stop, in the opposite order.
    StopUnits,
    /// After the address was read back as gone.
    PostRelease,
    /// The entitlement ended without being asked for: the address is dropped, or on its way off.
    OnFault,
}

impl Task {
    /// All of them, in that order.
    pub const ALL: [Self; 7] = [
        Self::PreAcquire,
        Self::StartUnits,
        Self::PostAcquire,
        Self::PreRelease,
        Self::StopUnits,
        Self::PostRelease,
        Self::OnFault,
    ];
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreAcquire => "pre_acquire",
            Self::StartUnits => "start_units",
            Self::PostAcquire => "post_acquire",
            Self::PreRelease => "pre_release",
            Self::StopUnits => "stop_units",
            Self::PostRelease => "post_release",
            Self::OnFault => "on_fault",
        })
    }
}

/// What is to be done around one VIP on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Duties {
    /// The tasks that there are, with the time that each may take.
    pub tasks: BTreeMap<Task, Duration>,
    /// Where `PreAcquire` fails: serve all the same (true), or leave the VIP to the next candidate.
    pub serve_all_the_same: bool,
}

/// What an earlier start of the agent has done around a VIP, from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// The epoch for which its acquire tasks were begun. It stays there when they are over: their
    /// epoch is not taken again.
    pub epoch: Epoch,
    /// All of them ended well, and none that ends an entitlement was begun.
    pub complete: bool,
}

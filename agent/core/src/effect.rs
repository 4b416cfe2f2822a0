//! Everything a [`Holder`](crate::Holder) can ask for.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeSet;

use serde::Serialize;
use vipfence_types::{Clocks, Connection, Epoch, Heartbeat, Probe, VipAddress, VipName};

use crate::{Event, Serving, Task};

/// Names one call to the OS or to the disk, so that its outcome finds its way back. The outcome of
/// a call that was superseded is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Call(pub u64);

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.0)
    }
}

/// What the shell has to do.
///
/// The calls to the OS (`Add`, `Drop`, `Sweep`, `Tell`) are executed one after the other, in this order:
/// a drop that was asked for before an add must not overtake it. Heartbeats and the disk may
/// proceed beside them. Every effect is idempotent; a crash between any two is safe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Send a heartbeat to the leader. All that it confirms is already on disk and read back.
    /// Answer with `Answered`, `Refused` or `Unreachable`.
    Send {
        /// The heartbeat.
        heartbeat: Box<Heartbeat>,
        /// Give up waiting then; the machine has, too.
        give_up_after: Duration,
    },
    /// Put the addresses on the OS, or set their lifetime anew where they are there already
    /// ("set with replace"), and read them back. Answer with `Added` or `AddFailed`.
    Add {
        /// The call.
        call: Call,
        /// The VIP.
        vip: VipName,
        /// The epoch under which it is held.
        epoch: Epoch,
        /// The addresses.
        addresses: Vec<VipAddress>,
        /// The valid lifetime: whole seconds, at least one.
        lifetime: Duration,
        /// The clocks from which `lifetime` was computed.
        computed_at: Clocks,
        /// Do not start later than so long after `computed_at` (longest of all clocks).
        start_within: Duration,
        /// The load balancer's probe to answer under the same lifetime.
        probe: Option<Probe>,
    },
    /// Cut the connections to the addresses, take these off the OS, and read back that they are gone.
    /// Answer with `Cut`, where there were any, and then with `Dropped` or `DropFailed`.
    Drop {
        /// The call.
        call: Call,
        /// The VIP.
        vip: VipName,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// Take off the OS, but for those to keep, every address that this program has put there and
    /// every one of `managed`, and read back that they are gone. Answer with `Dropped` or
    /// `DropFailed`.
    Sweep {
        /// The call.
        call: Call,
        /// The addresses of VIPs, whoever put them on the OS.
        managed: BTreeSet<IpAddr>,
        /// What stays.
        keep: BTreeSet<IpAddr>,
    },
    /// Write to disk, and flush, that this epoch and all below it are spent, for the VIP and for
    /// each address. Answer with `Persisted` or `PersistFailed`.
    PersistSpent {
        /// The call.
        call: Call,
        /// The VIP.
        vip: VipName,
        /// Its addresses, as far as they are known.
        addresses: Vec<IpAddr>,
        /// The epoch.
        epoch: Epoch,
    },
    /// Write to disk, without haste, the highest epoch seen. Nothing waits for it: it keeps a
    /// restored cluster from handing out an epoch twice, and each heartbeat says it, too.
    PersistHighest {
        /// The epoch.
        epoch: Epoch,
    },
    /// Do this around a VIP. Answer with `Ran`, also after an `Abort`.
    Run {
        /// The call.
        call: Call,
        /// The VIP.
        vip: VipName,
        /// The epoch: the fencing token. 0 = none: units are stopped when the agent starts.
        epoch: Epoch,
        /// What to do.
        task: Task,
        /// How long it may take: then an `Abort` follows.
        within: Duration,
    },
    /// Kill what this call runs, with all that it has started. What it has not begun yet, it does not
    /// begin.
    Abort {
        /// The call.
        call: Call,
    },
    /// Write to disk, and flush, what is done around a VIP. Precedes the `Run` that it is about;
    /// calls to the disk are in order, and a `Run` waits for those before it. Where it cannot be
    /// written, a `Run` that follows tries once more, and fails with that reason; but for `StopUnits`,
    /// which may run twice.
    NoteServing {
        /// The VIP.
        vip: VipName,
        /// None = nothing any more.
        serving: Option<Serving>,
    },
    /// Open a TCP connection there, and close it again. Answer with `Reached`.
    Reach {
        /// The call.
        call: Call,
        /// Where.
        target: SocketAddr,
        /// How long it may take.
        within: Duration,
    },
    /// Send the other end of each connection one ACK that fits into none, from the VIP's address.
    Tell {
        /// The VIP.
        vip: VipName,
        /// Connections that an earlier holder has cut.
        connections: Vec<Connection>,
        /// The clocks from which `start_within` counts.
        computed_at: Clocks,
        /// Do not start later than so long after (longest of all clocks): the node may not be
        /// entitled any more.
        start_within: Duration,
    },
    /// Tell those who watch.
    Event(Event),
    /// The clean stop is complete: end the process. Nothing comes after it.
    Stopped,
}

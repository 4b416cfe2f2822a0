//! What the lease model remembers. All times are ages in ticks, so that a state has no date and
//! the search needs no horizon.

/// The most nodes that a model can have.
pub(super) const NODES: usize = 3;
/// The processes that can lead; each leads as often as it is elected.
pub(super) const PROCESSES: usize = 2;
/// Their numbers.
pub(super) const ALL_PROCESSES: [u8; PROCESSES] = [0, 1];
/// An age that was never started.
pub(super) const NEVER: u8 = u8::MAX;
/// A kernel lifetime without an end.
pub(super) const FOREVER: u8 = u8::MAX;

/// The grant track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The node is entitled.
    #[default]
    Granted,
    /// Still renewed, and asked to release.
    Releasing,
    /// Renewed no more.
    Expiring,
}

/// The grant of the one address, as committed or as applied by a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Grant {
    pub(super) revision: u8,
    pub(super) phase: Phase,
    pub(super) node: u8,
    pub(super) epoch: u8,
}

/// A node: its kernel, its disk, its agent. An agent may be frozen at any time for any time:
/// nothing that it does is sure to happen, only what the kernel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Node {
    /// Ticks until the kernel has removed the address, at the latest. 0: it does not have it.
    pub(super) kernel: u8,
    /// The highest epoch under which it has the address.
    pub(super) under: u8,
    /// On disk.
    pub(super) spent: u8,
    /// What the agent remembers: the epoch that it was asked to release.
    pub(super) asked: u8,
    /// What the agent remembers: that it has added the address.
    pub(super) remembers: bool,
}

/// A process that leads, or has led and may not know that it no longer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// The term that it leads or led; 0: none.
    pub(super) term: u8,
    /// Since it observed itself as elected.
    pub(super) elected: u8,
    /// Per node, since the receipt recorded as last answered with a grant.
    pub(super) answered: [u8; NODES],
    /// The epoch of that answer; kept only where `AnyEpoch` is dropped.
    pub(super) answered_epoch: [u8; NODES],
    /// Since Expiring of this epoch was first in the applied state.
    pub(super) expiring: (u8, u8),
    /// The applied state, of a leader.
    pub(super) applied: Grant,
    /// The revision on which it has decided that the grant is over; its entry is under way.
    pub(super) over: Option<u8>,
    /// An answer that is not recorded yet: node and age. Only without `RecordWithAnswer`.
    pub(super) unrecorded: Option<(u8, u8)>,
    /// A round that has its quorum and hangs; its read index. Only without `RoundAfterReceipt`.
    pub(super) hanging_round: Option<u8>,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            term: 0,
            elected: 0,
            answered: [NEVER; NODES],
            answered_epoch: [0; NODES],
            expiring: (0, NEVER),
            applied: Grant::default(),
            over: None,
            unrecorded: None,
            hanging_round: None,
        }
    }
}

/// A heartbeat on its way, from its being sent to its answer. The order of arrival is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Beat {
    /// Who sent it.
    pub node: u8,
    /// Since it was sent.
    pub sent: u8,
    /// How far it is.
    pub at: At,
}

/// How far a heartbeat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// On its way to a leader.
    Up {
        /// The epoch that the node confirms as released.
        released: u8,
    },
    /// Received by a process, waiting for its quorum round.
    Received {
        /// By which process.
        by: u8,
        /// Since when.
        age: u8,
    },
    /// A quorum round that began after the receipt has succeeded.
    Confirmed {
        /// By which process it was received.
        by: u8,
        /// Since when.
        age: u8,
        /// The round's read index.
        index: u8,
    },
    /// The answer, on its way to the node.
    Down {
        /// The epoch that is granted.
        grant: u8,
        /// The epoch that is to be released.
        releasing: u8,
    },
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) term: u8,
    pub(super) committed: Grant,
    pub(super) nodes: [Node; NODES],
    pub(super) processes: [Process; PROCESSES],
    pub(super) beats: Vec<Beat>,
}

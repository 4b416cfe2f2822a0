//! What the writes model remembers.

/// The most NICs that a model can have.
pub(super) const NICS: usize = 3;

/// An operation of Azure on a NIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Operation {
    /// `Succeeded`.
    #[default]
    Idle,
    /// `Updating`: accepted, and not yet done.
    Running,
    /// `Failed`: the document shows a goal that was not reached.
    Failed,
}

/// A NIC, as far as the one VIP goes. Its ETag is not here: all that matters is whether a write was
/// made from the present document, and a write that was not is thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Nic {
    /// The document lists the address: what a GET shows.
    pub(super) goal: bool,
    /// Azure routes the address here.
    pub(super) real: bool,
    pub(super) operation: Operation,
}

impl Nic {
    /// Azure's address uniqueness sees the address here.
    pub(super) fn uses_address(self) -> bool {
        self.goal || self.real
    }
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The NIC gets the ipConfiguration.
    Attach,
    /// The NIC loses it.
    Detach,
    /// Only our tag changes, and with it the ETag.
    Seal,
}

/// A write that may have been handed to a socket. It arrives at any later time, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Write {
    /// Where.
    pub nic: u8,
    /// What.
    pub kind: Kind,
    /// The leader waits for the answer; else its outcome is unknown, or nobody is left to know it.
    pub awaited: bool,
    /// Decided before the latest report of Held.
    pub stale: bool,
}

/// A write that is decided, and whose GET is yet to come. Only where the order GET, quorum round,
/// PUT is dropped: with it, what a late GET would see is what a later decision sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Draft {
    /// Where.
    pub nic: u8,
    /// What.
    pub kind: Kind,
    /// Of the leader of the newest term.
    pub mine: bool,
    /// Decided before the latest report of Held.
    pub stale: bool,
}

/// The Azure track, as committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    /// Attached, or about to leave.
    Rest,
    Detaching,
    Attaching,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) nics: [Nic; NICS],
    pub(super) writes: Vec<Write>,
    pub(super) drafts: Vec<Draft>,
    /// Committed: the phase, the target, the exposed NICs (a bit each), and whether Held was
    /// reported and nothing was asked for since.
    pub(super) phase: Phase,
    pub(super) to: u8,
    pub(super) exposed: u8,
    pub(super) held: bool,
    /// In this Attaching the address was seen to have left every other NIC.
    pub(super) detached: bool,
    /// The leader's own memory: NICs that it has cleared in this term, and whether it has read
    /// back the target since its last write there.
    pub(super) cleared: u8,
    pub(super) read: bool,
    pub(super) term: u8,
    pub(super) moves: u8,
    pub(super) failures: u8,
    pub(super) outsiders: u8,
    /// What went wrong, for the properties.
    pub(super) stale_write_moved_it: bool,
    pub(super) attached_too_early: bool,
}

impl State {
    /// The VIP is held on NIC 0.
    pub(super) fn begin() -> Self {
        let mut nics = [Nic::default(); NICS];
        (nics[0].goal, nics[0].real) = (true, true);
        Self {
            nics,
            writes: Vec::new(),
            drafts: Vec::new(),
            phase: Phase::Rest,
            to: 0,
            exposed: 0,
            held: true,
            detached: false,
            cleared: 0,
            read: false,
            term: 1,
            moves: 0,
            failures: 0,
            outsiders: 0,
            stale_write_moved_it: false,
            attached_too_early: false,
        }
    }

    pub(super) fn nic(&self, nic: u8) -> Nic {
        self.nics[usize::from(nic)]
    }

    pub(super) fn target(&self) -> Nic {
        self.nic(self.to)
    }

    pub(super) fn is_exposed(&self, nic: u8) -> bool {
        self.exposed & bit(nic) != 0
    }

    pub(super) fn awaits(&self, nic: u8) -> bool {
        self.writes.iter().any(|write| write.nic == nic && write.awaited)
    }
}

/// A set of one NIC.
pub(super) const fn bit(nic: u8) -> u8 {
    1 << nic
}

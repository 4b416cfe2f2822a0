//! The writes model: where Azure has the address, and what writes that arrive late do to it (I2, I8).
//!
//! One VIP, two or three NICs. Moves are asked for, and supersede each other, at any moment; leaders
//! change at any moment. A leader reads a NIC, asks its quorum, and sends a PUT with `If-Match`; the
//! PUT arrives at any later time or never, its answer may be lost, its operation may fail after it
//! was accepted. The registry keeps the set of exposed NICs; NICs are sealed.
//!
//! Consensus is abstract: one committed state, which only the leader of the newest term changes. A
//! deposed leader, and a sender that is frozen after its last check, is a write that is still to
//! arrive. An ETag is not a number: a write that was made from an older document is refused, so it
//! is thrown away as soon as the document changes. So the number of retries has no bound, and
//! neither has time.
//!
//! Not here: several VIPs in one PUT, foreign content of a NIC (I3), NICs that vanish, refusals for
//! good, throttling, the grant track, members that come and go. Azure accepts no write while an
//! operation of the NIC runs, and no attach while the address is in use elsewhere; nothing is
//! shown about an Azure that does otherwise.

mod rules;
mod state;
mod steps;

use stateright::{Model, Property};

pub use rules::{LOAD_BEARING, NOTHING_SHOWS, Rule};
pub use state::{Draft, Kind, State, Write};
pub use steps::Step;

use crate::{Rules, check::chosen};

/// What fences a write that arrives late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// `If-Match`, and seals.
    IfMatch,
    /// `trust_if_match = false`: Azure does not look at `If-Match`; the leader waits
    /// `write_window + azure_max` instead of sealing, and then nothing that was sent before can
    /// arrive any more.
    BoundedWait,
    /// The same wait, but a sender may be frozen between its last check and the send, or Azure may
    /// execute a request as late as it likes.
    UnboundedWait,
}

/// What an outsider does to the VIP's attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outsider {
    /// Nothing.
    None,
    /// Detaches the VIP or takes it elsewhere, but only while no NIC is exposed to a stale write.
    AfterSeals,
    /// The same at any time, which ends the promise of I2 until Held is reported again.
    Reopens,
    /// The same at any time, with I2 expected to hold all the same.
    AnyTime,
}

/// What bounds the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// NICs: 2 or 3.
    pub nics: u8,
    /// Terms.
    pub terms: u8,
    /// Moves that are asked for.
    pub moves: u8,
    /// Operations that fail after they were accepted.
    pub failures: u8,
    /// What fences.
    pub trust: Trust,
    /// One act of an outsider, or none.
    pub outsider: Outsider,
}

const fn bounds(terms: u8, moves: u8) -> Bounds {
    let (trust, outsider) = (Trust::IfMatch, Outsider::None);
    Bounds { nics: 3, terms, moves, failures: 0, trust, outsider }
}

/// What the tests search.
pub const SMALL: &[(&str, Bounds)] = &[
    ("writes: 2 terms, 3 moves", bounds(2, 3)),
    ("writes: 3 terms, 2 moves", bounds(3, 2)),
    ("writes: 3 terms, 3 moves, 1 failure", Bounds { failures: 1, ..bounds(3, 3) }),
    (
        "writes: 2 terms, 3 moves, outsider after the seals",
        Bounds { outsider: Outsider::AfterSeals, ..bounds(2, 3) },
    ),
    (
        "writes: 2 terms, 3 moves, outsider reopens I2",
        Bounds { outsider: Outsider::Reopens, ..bounds(2, 3) },
    ),
    (
        "writes: 2 terms, 3 moves, bounded wait",
        Bounds { trust: Trust::BoundedWait, ..bounds(2, 3) },
    ),
    (
        "writes: 3 terms, 2 moves, bounded wait",
        Bounds { trust: Trust::BoundedWait, ..bounds(3, 2) },
    ),
];

/// What takes longer.
pub const LARGE: &[(&str, Bounds)] = &[
    ("writes: 4 terms, 5 moves", bounds(4, 5)),
    ("writes: 5 terms, 4 moves", bounds(5, 4)),
    ("writes: 4 terms, 4 moves, 2 failures", Bounds { failures: 2, ..bounds(4, 4) }),
    (
        "writes: 3 terms, 4 moves, 1 failure, outsider after the seals",
        Bounds { failures: 1, outsider: Outsider::AfterSeals, ..bounds(3, 4) },
    ),
    (
        "writes: 3 terms, 4 moves, 1 failure, outsider reopens I2",
        Bounds { failures: 1, outsider: Outsider::Reopens, ..bounds(3, 4) },
    ),
    (
        "writes: 3 terms, 4 moves, 1 failure, bounded wait",
        Bounds { failures: 1, trust: Trust::BoundedWait, ..bounds(3, 4) },
    ),
];

/// What is not promised (design §11 b), and is seen to break I2 with all rules kept.
pub const NOT_PROMISED: &[(&str, Bounds)] = &[
    (
        "writes: an outsider before the seals are done",
        Bounds { outsider: Outsider::AnyTime, ..bounds(1, 2) },
    ),
    (
        "writes: no trust in If-Match, and a frozen sender or a late execution",
        Bounds { trust: Trust::UnboundedWait, ..bounds(2, 2) },
    ),
];

/// The model: rules and bounds.
#[derive(Clone, Debug)]
pub struct Writes {
    /// Which rules are kept.
    pub rules: Rules<Rule>,
    /// What bounds the search.
    pub bounds: Bounds,
    /// The one property that is looked at; none: all of them.
    pub only: Option<&'static str>,
}

/// The name of I2.
pub const I2: &str = "I2 no stale write";
/// The name of the part of I8 that is about Held.
pub const HELD: &str = "I8 Held is true";
/// The name of the part of I8 that is about the order of writes.
pub const I8: &str = "I8 detach before attach";

/// I2: "Once a VIP has been reported as held, no write started before that report, by any leader
/// (the same one included), changes where it is attached."
fn no_stale_write(_: &Writes, state: &State) -> bool {
    !state.stale_write_moved_it
}

/// I8: "Held is reported only after the attach was read back at the target's NIC": while Held
/// stands, Azure routes the address there.
fn held_is_true(_: &Writes, state: &State) -> bool {
    !state.held || (state.target().goal && state.target().real)
}

/// I8: "No attach PUT is sent before Azure has accepted the detach PUT of the same VIP."
fn detach_before_attach(_: &Writes, state: &State) -> bool {
    !state.attached_too_early
}

/// Not an invariant: without this, everything else would hold for want of any event.
fn the_last_move_is_held(model: &Writes, state: &State) -> bool {
    state.moves == model.bounds.moves && state.held && state.to != 0
}

/// Not an invariant: the leader of the last term finishes a move.
fn a_later_leader_reports_held(model: &Writes, state: &State) -> bool {
    state.term == model.bounds.terms && state.held && state.moves > 0
}

impl Model for Writes {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::begin()]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        self.steps(state, steps);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        self.take(&mut next, step);
        self.tidy(&mut next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let all = vec![
            Property::always(I2, no_stale_write),
            Property::always(HELD, held_is_true),
            Property::always(I8, detach_before_attach),
            Property::sometimes("the last move is held", the_last_move_is_held),
            Property::sometimes("a later leader reports Held", a_later_leader_reports_held),
        ];
        chosen(all, self.only)
    }
}

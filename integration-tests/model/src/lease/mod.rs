//! The lease model: who has the address on its OS, and when another node may get it (I1, I5).
//!
//! One address. Nodes send heartbeats; a leader receives them, asks its quorum, answers with a grant
//! or without; the node adds the address for what is left of the lease, counted from the sending.
//! Moves, failovers, moves back and elections happen at any moment.
//!
//! Consensus is abstract: there is one committed state, and a quorum round succeeds while its term
//! is the newest. A deposed leader goes on answering what it had confirmed. A process applies what
//! is committed whenever it likes. Time is counted in ticks, and every state holds ages only: the
//! search has no horizon. Frozen agents and leaders, lost messages: no step but the tick and the
//! kernel's removal is ever sure to happen, so each may be delayed for ever.
//!
//! Not here: clock rates other than 1, fractions of a tick, changes of the lease's duration, several
//! addresses, membership, `on_quorum_loss = hold`, Azure. Boot ids and the order of answers are not
//! here either, on purpose: what holds without them does not need them.

mod rules;
mod state;
mod steps;
mod tidy;

use stateright::{Model, Property};

pub use rules::{LOAD_BEARING, NOTHING_SHOWS, Rule};
pub use state::{At, Beat, Phase, State};
pub use steps::Step;

use crate::{Rules, check::chosen};

/// The duration of a lease in ticks.
const TTL: u8 = 2;
/// How late the kernel may remove an address, in ticks.
const SLACK: u8 = 1;
/// `lease_wait`; ages are not counted further than this.
const WAIT: u8 = TTL + SLACK;

/// What bounds the search. Time, restarts and pauses have no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Nodes: 2 or 3.
    pub nodes: u8,
    /// Heartbeats that are under way at once: of node 0, and of each other node.
    pub beats: [u8; 2],
    /// Whether nodes that are not granted beat too. What they hear leads to nothing, but a
    /// heartbeat that was sent before the grant may be answered after it.
    pub all_beat: bool,
    /// Grants in all, the first one included: the highest epoch.
    pub grants: u8,
    /// Terms.
    pub terms: u8,
}

const fn bounds(nodes: u8, beats: [u8; 2], all_beat: bool, grants: u8, terms: u8) -> Bounds {
    Bounds { nodes, beats, all_beat, grants, terms }
}

/// What the tests search.
pub const SMALL: &[(&str, Bounds)] = &[
    ("lease: 3 grants, 2 terms", bounds(2, [1, 1], false, 3, 2)),
    ("lease: 2 grants, 2 terms, every node beats", bounds(2, [1, 1], true, 2, 2)),
    ("lease: 2 grants, 2 terms, 2 heartbeats", bounds(2, [2, 1], false, 2, 2)),
];

/// What takes longer.
pub const LARGE: &[(&str, Bounds)] = &[
    ("lease: 3 grants, 2 terms, every node beats", bounds(2, [1, 1], true, 3, 2)),
    ("lease: 3 grants, 3 terms", bounds(2, [1, 1], false, 3, 3)),
    ("lease: 4 grants, 2 terms", bounds(2, [1, 1], false, 4, 2)),
    ("lease: 3 nodes, 3 grants, 2 terms", bounds(3, [1, 1], false, 3, 2)),
    ("lease: 3 grants, 2 terms, 2 heartbeats", bounds(2, [2, 1], false, 3, 2)),
    (
        "lease: 2 grants, 2 terms, 2 heartbeats each, every node beats",
        bounds(2, [2, 2], true, 2, 2),
    ),
];

/// The model: rules and bounds.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Which rules are kept.
    pub rules: Rules<Rule>,
    /// What bounds the search.
    pub bounds: Bounds,
    /// The one property that is looked at; none: all of them.
    pub only: Option<&'static str>,
}

/// The name of I1.
pub const I1: &str = "I1 one holder";
/// The name of the part of I5 that a leader keeps.
pub const I5_FRESH: &str = "I5 a granted epoch is not spent";
/// The name of the part of I5 that a node keeps.
pub const I5_REFUSED: &str = "I5 a spent epoch is refused";

/// I1: "At no instant do two nodes both have a VIP's address on their OS."
fn one_holder(_: &Lease, state: &State) -> bool {
    state.nodes.iter().filter(|node| node.kernel > 0).count() <= 1
}

/// I5: "Epochs strictly increase and each belongs to one node": what is granted was never given
/// back by the node that is to have it.
fn a_granted_epoch_is_not_spent(_: &Lease, state: &State) -> bool {
    let grant = state.committed;
    grant.phase != Phase::Granted || state.nodes[usize::from(grant.node)].spent < grant.epoch
}

/// I5: "A node refuses, for an address, every epoch at or below the highest that it has spent."
fn a_spent_epoch_is_refused(_: &Lease, state: &State) -> bool {
    state.nodes.iter().all(|node| node.kernel == 0 || node.under > node.spent)
}

/// Not an invariant: without this, everything else would hold for want of any event.
fn another_node_has_it(_: &Lease, state: &State) -> bool {
    state.nodes[1].kernel > 0
}

/// Not an invariant: a leader of the last term lets another node have the address.
fn a_later_leader_grants(model: &Lease, state: &State) -> bool {
    state.term == model.bounds.terms && state.committed.node == 1 && state.nodes[1].kernel > 0
}

impl Model for Lease {
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
            Property::always(I1, one_holder),
            Property::always(I5_FRESH, a_granted_epoch_is_not_spent),
            Property::always(I5_REFUSED, a_spent_epoch_is_refused),
            Property::sometimes("another node has it", another_node_has_it),
            Property::sometimes("a later leader grants", a_later_leader_grants),
        ];
        chosen(all, self.only)
    }
}

//! The rules of the lease model, each with the sentence of the design that it stands for.

use super::{Bounds, I1, I5_FRESH};

/// A rule of design §6 that can be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// "The leader answers only after a quorum round."
    QuorumRound,
    /// "... that began after it received the heartbeat."
    RoundAfterReceipt,
    /// "... from state applied at least up to that round's read index."
    ReadIndex,
    /// "The node counts the lease from the moment it first sent that heartbeat."
    LeaseFromSend,
    /// "... or, if there is none, the moment this process observed itself as elected."
    WaitFromElection,
    /// "(never the start of its candidacy)"
    ElectedNotCandidate,
    /// "The latest receipt of any heartbeat", not the receipt of the latest answered.
    LatestReceipt,
    /// "... with a grant of this address, at any epoch."
    AnyEpoch,
    /// "... which this leader answered in this term."
    AnsweredInThisTerm,
    /// A heartbeat that was received before this process was elected is not answered by it as
    /// leader. (Implied by "this leader answered", nowhere said.)
    ReceivedInThisTerm,
    /// "A grant is in an answer only while the applied state has it as Granted or Releasing."
    NoGrantInExpiring,
    /// "Deciding that and recording the receipt as last answered is one step."
    RecordWithAnswer,
    /// "It never adds that address under it [the spent epoch], or a lower one, again."
    Spent,
    /// "Before a node sends `released` it has the epoch as spent on disk."
    SpentDurable,
    /// "It confirms only after the kernel was read back without the address, also when it has no
    /// memory of having added it."
    KernelReadBack,
    /// "The leader accepts a confirmation only for the epoch that stands in the way."
    ConfirmationNamesEpoch,
    /// "Moving back to the node that still has the grant needs no wait, only a new epoch."
    NewEpochOnReturn,
    /// "Addresses are added with a valid lifetime of the remaining lease."
    KernelLifetime,
    /// `kernel_slack` is part of `lease_wait`.
    KernelSlack,
    /// (ii) counts from Expiring "in its applied state", not from its being proposed.
    ExpiringApplied,
    /// (ii) counts from Expiring, not from Releasing.
    ExpiringNotReleasing,
    /// (ii) counts from Expiring "of this epoch".
    ExpiringOfThisEpoch,
    /// "Every command of the Mover names VIP, epoch and revision."
    CommandsNameRevision,
    /// "On the node, elapsed lease time is the largest of [its clocks'] differences."
    NodeLongestClock,
    /// "The leader counts `lease_wait` as the smallest of its [clocks'] differences."
    LeaderShortestClock,
    /// "In neither list: dropped at once."
    DropWhenUnlisted,
    /// "... as of the earlier of two moments": (ii) may end the wait at all.
    ExpiringEndsWait,
}

/// Two nodes, and only the one that is granted beats.
const fn least(beats: u8, grants: u8, terms: u8) -> Bounds {
    Bounds { nodes: 2, beats: [beats, 1], all_beat: false, grants, terms }
}

/// The rules without which an invariant breaks, the invariant, and the least bounds at which it was
/// seen to.
pub const LOAD_BEARING: &[(Rule, &str, Bounds)] = &[
    (Rule::QuorumRound, I1, least(1, 2, 2)),
    (Rule::RoundAfterReceipt, I1, least(1, 2, 2)),
    (Rule::ReadIndex, I1, least(1, 2, 2)),
    (Rule::LeaseFromSend, I1, least(1, 2, 1)),
    (Rule::WaitFromElection, I1, least(1, 2, 2)),
    (Rule::ElectedNotCandidate, I1, least(1, 2, 2)),
    (Rule::LatestReceipt, I1, least(2, 2, 1)),
    (Rule::AnyEpoch, I1, least(1, 3, 1)),
    (Rule::AnsweredInThisTerm, I1, least(1, 2, 3)),
    (Rule::ReceivedInThisTerm, I1, least(2, 2, 2)),
    (Rule::NoGrantInExpiring, I1, least(1, 2, 1)),
    (Rule::RecordWithAnswer, I1, least(1, 2, 1)),
    (Rule::Spent, I1, least(2, 2, 1)),
    (Rule::SpentDurable, I1, least(2, 2, 1)),
    (Rule::KernelReadBack, I1, least(1, 2, 1)),
    (Rule::ConfirmationNamesEpoch, I1, least(1, 3, 1)),
    (Rule::NewEpochOnReturn, I5_FRESH, least(1, 2, 1)),
    (Rule::KernelLifetime, I1, least(1, 2, 1)),
    (Rule::KernelSlack, I1, least(1, 2, 1)),
    (Rule::ExpiringApplied, I1, least(1, 2, 1)),
    (Rule::ExpiringNotReleasing, I1, least(1, 2, 1)),
    (Rule::ExpiringOfThisEpoch, I1, least(1, 3, 1)),
    (Rule::CommandsNameRevision, I1, least(1, 3, 1)),
    (Rule::NodeLongestClock, I1, least(1, 2, 1)),
    (Rule::LeaderShortestClock, I1, least(1, 2, 1)),
];

/// The rules whose absence breaks nothing here, and what they are for.
pub const NOTHING_SHOWS: &[(Rule, &str)] = &[
    (Rule::DropWhenUnlisted, "it makes an address leave sooner; the lease ends it anyway"),
    (Rule::ExpiringEndsWait, "it shortens the wait after an election; without it one waits longer"),
];

//! The rules of the writes model, each with the sentence of the design that it stands for.

use super::{Bounds, HELD, I2, I8, Outsider, Trust};

/// A rule of design §5 and §6 that can be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// "PUT with `If-Match`", and nothing in its place.
    IfMatch,
    /// "... then the quorum round, then PUT."
    QuorumRound,
    /// "GET the NIC (its ETag), then the quorum round", in this order.
    RoundAfterGet,
    /// The quorum round "found the phase revision unchanged" (I7).
    RevisionAfterRound,
    /// "A NIC is in the committed set before any write to it is sent."
    ExposedBeforeWrite,
    /// "Superseding adds to the set, never clears it."
    SupersedingAdds,
    /// "Only the entries that report Held or begin a detach take cleared NICs out."
    EntriesClear,
    /// A NIC is cleared while the leader's "own *latest* write or seal there in this term was
    /// accepted": not while one is under way.
    PendingExposes,
    /// "... and none of unknown outcome was sent after it."
    OwnUnknownExposes,
    /// "Before Held, the NIC on which the VIP now stands must not be exposed."
    SealTarget,
    /// "The others are sealed [...] at the latest before the next detach or attach of this VIP."
    SealOthers,
    /// "... drift repair included."
    SealBeforeRepair,
    /// "If the ETag did not change, the seal has failed."
    SealChecksETag,
    /// "Read back = the operation has reached `Succeeded`, and then a fresh GET."
    ReadBackSucceeded,
    /// Held is reported after a read back "later than our last write or seal there" (I8).
    ReadBackAfterWrite,
    /// "No attach PUT is sent before Azure has accepted the detach PUT" (I8).
    AttachAfterDetach,
    /// The exposed set holds "third-party places included".
    ThirdPartyExposed,
}

/// The rules without which an invariant breaks, the invariant, and bounds at which it was seen to.
pub const LOAD_BEARING: &[(Rule, &str, Bounds)] = &[
    (Rule::IfMatch, I2, least(2, 2)),
    (Rule::QuorumRound, I2, least(2, 2)),
    (Rule::RoundAfterGet, I2, least(2, 2)),
    (Rule::RevisionAfterRound, I2, least(1, 3)),
    (Rule::ExposedBeforeWrite, I2, least(2, 2)),
    (Rule::SupersedingAdds, I2, least(1, 3)),
    (Rule::EntriesClear, I2, Bounds { failures: 1, ..least(1, 3) }),
    (Rule::PendingExposes, I2, least(1, 3)),
    (Rule::OwnUnknownExposes, I2, least(1, 3)),
    (Rule::SealTarget, I2, least(2, 2)),
    (Rule::SealOthers, I2, least(2, 3)),
    (Rule::SealChecksETag, I2, least(2, 2)),
    (Rule::ReadBackSucceeded, HELD, Bounds { failures: 1, ..least(1, 1) }),
    (Rule::ReadBackAfterWrite, HELD, least(1, 2)),
    (Rule::AttachAfterDetach, I8, least(1, 1)),
];

/// The rules whose absence breaks nothing here, and why.
pub const NOTHING_SHOWS: &[(Rule, &str)] = &[
    (
        Rule::SealBeforeRepair,
        "a repair begins after an outsider's detach, and until the VIP is attached again I2 is not \
         promised; once it is, a stale attach elsewhere is refused because the address is in use",
    ),
    (
        Rule::ThirdPartyExposed,
        "all that we write at such a place is a detach; it does harm only where the VIP comes to \
         stand there again, and then the place is exposed by the attach",
    ),
];

/// Three NICs, If-Match, no outsider, no operation that fails.
const fn least(terms: u8, moves: u8) -> Bounds {
    let (trust, outsider) = (Trust::IfMatch, Outsider::None);
    Bounds { nics: 3, terms, moves, failures: 0, trust, outsider }
}

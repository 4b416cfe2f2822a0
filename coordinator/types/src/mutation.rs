//! Deliberate faults in the machines, for the deterministic world: it must notice each of them.
//!
//! A rule that no test misses when it is gone is not known to be there. So each rule of design.md §6
//! can be broken, one at a time, while a test runs. The switch exists only with the cargo feature
//! `mutations`, which packages do not have; without it [`Mutation::is_on`] is `false` for the
//! compiler, too.

macro_rules! mutations {
    ($($name:ident, $invariant:literal, $what:literal;)+) => {
        /// A rule that can be broken. Numbered `M1`, `M2`, … in this order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutation {
            $(#[doc = concat!($invariant, ": ", $what, ".")] $name,)+
        }

        impl Mutation {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The invariant that is broken in the end.
            #[must_use]
            pub fn invariant(self) -> &'static str {
                match self { $(Self::$name => $invariant),+ }
            }

            /// What is done wrong.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what),+ }
            }
        }
    };
}

mutations! {
    NoRoundBeforeAnswer, "I1", "no quorum round before a heartbeat is answered";
    SharedEarlierRound, "I1", "a heartbeat shares a round that began before it was received";
    StateBeforeReadIndex, "I1", "a heartbeat is answered from state older than the round's read index";
    LeaseFromReceipt, "I1", "a node counts its lease from the receipt of the answer";
    LeaseByOneClock, "I1", "a node counts its lease by its monotonic clock alone";
    LeaseIgnored, "I1", "a node drops on command only, whatever its lease";
    WaitSkippedAfterElection, "I1", "a new leader does not wait for the leases of its predecessor";
    WaitFromCandidacy, "I1", "a new leader waits from its candidacy on, not from its election";
    WaitPerEpoch, "I1", "the wait is counted per epoch instead of per address";
    WaitByWallClock, "I1", "a leader counts the wait by its wall clock";
    WaitWithoutDrift, "I1", "the wait allows nothing for clocks of different rates";
    ReceiptMovesBack, "I1", "a late answer moves the receipt time of a heartbeat back";
    GrantWhileExpiring, "I1", "a grant is still answered while it is Expiring";
    OverWithoutRevision, "I1", "\"over\" is applied without comparing the revision";
    LeaseLoweredAtOnce, "I1", "a change of profile lowers the lease of a grant at once";
    SpentInMemory, "I1", "what is spent is kept in memory only";
    SpentAccepted, "I1", "a spent epoch is accepted again, and answers in any order";
    ConfirmedWithoutReadBack, "I1", "a release is confirmed before the kernel was read back";
    ConfirmationWithoutEpoch, "I1", "a confirmation is taken for any epoch";
    SecondBootAccepted, "I1", "a second live boot of a node is accepted";
    SameEpochOnReturn, "I5", "a node that gets a VIP back gets the same epoch";
    EpochReset, "I5", "delete and create reset the counter of epochs";
    HighestEpochIgnored, "I5", "the highest epochs that nodes report are ignored";
    AddressInTwoRecords, "I5", "an address may be in two VIP records";
    LifetimeAtLeastOne, "I1", "a kernel lifetime is at least one second";
    LifetimeUncapped, "I1", "a kernel lifetime may be longer than the cap";
    NoKernelSlack, "I1", "the wait allows nothing for a late kernel";
    LateAddKept, "I1", "an address call that came late is neither repeated nor undone";
    NoIfMatch, "I2", "a NIC is written without If-Match";
    RoundBeforeGet, "I2", "the quorum round is made before the NIC is read";
    WindowUnchecked, "I7", "the write window is not checked when the bytes are handed over";
    NoRoundBeforeWrite, "I7", "a NIC is written without a quorum round";
    NoRecommit, "I7", "a new leader goes on from a step that it has not committed again";
    TermResumed, "I7", "a leader that restarts goes on leading its term";
    NoSeal, "I2", "exposed NICs are not sealed";
    SealBelieved, "I2", "a seal is believed although the ETag did not change";
    RefusedSealBelieved, "I2", "a NIC that refuses to be sealed counts as cleared at once";
    SealsPutOff, "I2", "an attach from rest does not wait for the seals";
    ExposedClearedBySuperseding, "I2", "a superseding move clears the set of exposed NICs";
    ClearedDespiteUnknown, "I2", "a NIC counts as cleared although a write of unknown outcome followed";
    OwnUnknownHarmless, "I2", "an own write of unknown outcome is taken as not done";
    NotExposedBeforeWrite, "I2", "a NIC is written before it is in the committed set of exposed ones";
    ReadBackWhileUpdating, "I8", "a GET is taken as read back while the NIC is Updating";
    AttachBeforeDetach, "I8", "an attach is sent before the detach was accepted";
    HeldBeforeAdd, "I8", "Held is reported before the holder has added the address";
    ForeignDetached, "I3", "an address is taken off a NIC of no member without force";
    NicFromModel, "I3", "a NIC is written from a model instead of from its JSON";
    PrimaryDropped, "I3", "a write leaves out the primary ipConfiguration";
    RequestIdsForgotten, "I4", "request ids are forgotten";
    AcknowledgedBeforeCommit, "I4", "a move is acknowledged before it is committed";
    NoStepDownWithoutArm, "I6", "a leader that cannot reach ARM goes on leading";
    LateWritesForgotten, "I2", "without If-Match, nobody waits for writes that may still come";
    DriftIgnored, "I6", "what an outsider did to a VIP at rest is not put right";
    ThrottlingIgnored, "Budget", "a write is begun before the time that a throttling answer names";
    JoinedBeforeSweep, "I1", "a node joins before it has dropped what an earlier start left without an end";
    KeptForEver, "I1", "an agent that ends and keeps its VIPs leaves them without an end";
    StraysStay, "I1", "what another program adds to the OS of a node without a grant stays there";
    ServingInMemory, "Tasks", "what is done around a VIP is noted in memory only";
    EpochServedTwice, "Tasks", "an epoch that has had its tasks is taken again";
    AddedBeforePreAcquire, "Tasks", "an address is added before its pre_acquire has ended";
    ConfirmedWhileUnitsRun, "Tasks", "neither a drop nor a confirmation waits until the units were stopped";
    UnitsLeftRunning, "Tasks", "an agent that starts does not stop the units of an earlier one";
    AnsweredWithoutEnd, "I1", "what lets a load balancer's probe in does not end with the lease";
    AnsweredTooLate, "I1", "a probe is answered for a lifetime that was computed long before";
    AnsweredAfterDrop, "I1", "a node that has let go of an address goes on answering the probe";
    HeldBeforeReached, "I8", "a VIP that another node must reach is held before one has";
    ReachedAtAnyEpoch, "I8", "a node that has reached an earlier holder counts as having reached this one";
    AttemptKept, "I8", "an attempt to reach an earlier holder counts for the present one";
    ToldLate, "Told", "clients are told that their connections are over although the time for it has passed";
    AcksForEver, "I1", "a follower's answer counts for every later round of the term, whenever it was asked";
}

impl Mutation {
    /// Its number, as in `M7`.
    #[must_use]
    pub fn number(self) -> usize {
        Self::ALL.iter().position(|known| *known == self).map_or(0, |at| at + 1)
    }
}

#[cfg(feature = "mutations")]
mod switch {
    use core::cell::Cell;

    use super::Mutation;

    thread_local! {
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    impl Mutation {
        /// Breaks one rule on this thread, or none.
        pub fn switch(on: Option<Self>) {
            ON.set(on);
        }

        /// Whether this rule is broken.
        #[must_use]
        pub fn is_on(self) -> bool {
            ON.get() == Some(self)
        }
    }
}

#[cfg(not(feature = "mutations"))]
impl Mutation {
    /// Whether this rule is broken: never.
    #[must_use]
    #[inline(always)]
    #[allow(
        clippy::unused_self,
        clippy::inline_always,
        reason = "the same call as with the feature"
    )]
    pub const fn is_on(self) -> bool {
        false
    }
}

//! The four counters. They never mix: each is a type of its own.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next value.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

counter!(
    /// The fencing token: a new one for every entry of a node into entitlement, from one
    /// cluster-wide counter that is never reset (I5). 0 means "none yet".
    Epoch,
    ""
);
counter!(
    /// A Raft leadership period. 0 is before the first election.
    Term,
    ""
);
counter!(
    /// Counts the changes of the replicated state. A VIP's phase revision is the revision of the
    /// last change to that VIP.
    Revision,
    ""
);
counter!(
    /// Names a move within the cluster, for ever.
    MoveId,
    "move-"
);

impl MoveId {
    /// Reads the form that `Display` writes (`move-7`); the bare number is understood as well.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("move-").unwrap_or(text).parse().ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_id_reads_what_it_writes() {
        assert_eq!(MoveId::parse(&MoveId(7).to_string()), Some(MoveId(7)));
        assert_eq!(MoveId::parse("8"), Some(MoveId(8)));
        assert_eq!(MoveId::parse("move-x"), None);
    }
}

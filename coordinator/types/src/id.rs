//! Names and ids, checked where they enter.
//!
//! Node names, VIP names and cluster names are DNS labels in lower case; upper case is accepted
//! and folded (node names compare case-insensitively, peers.md: host names in the wrong case broke
//! other products). NIC ids are ARM resource ids and compare case-insensitively too.

use core::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a name was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} \"{given}\" is not valid: {problem}; use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
)]
pub struct InvalidName {
    /// What kind of name it was to be.
    pub what: &'static str,
    /// What was given, shortened.
    pub given: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Checks a bare id against `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`, folding upper case.
///
/// # Errors
/// Says what is wrong and what a name looks like.
pub fn validate_name(what: &'static str, given: &str) -> Result<Arc<str>, InvalidName> {
    let fail = |problem| {
        let given = given.chars().take(80).collect();
        Err(InvalidName { what, given, problem })
    };
    let name = given.to_ascii_lowercase();
    if name.is_empty() {
        return fail("it is empty");
    }
    if name.len() > 63 {
        return fail("it is longer than 63 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return fail("it has a character that is not allowed");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return fail("it begins or ends with '-'");
    }
    Ok(name.into())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and folds a name.
            ///
            /// # Errors
            /// Says what is wrong and what a name looks like.
            pub fn new(given: &str) -> Result<Self, InvalidName> {
                validate_name($what, given).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(given: String) -> Result<Self, InvalidName> {
                Self::new(&given)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a node of the cluster.
    NodeId,
    "node name"
);
name!(
    /// The name of a VIP.
    VipName,
    "VIP name"
);
name!(
    /// The name of the cluster. Nodes of another cluster are refused.
    ClusterName,
    "cluster name"
);

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Arc<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// Names one start of an agent process on a node; random, never used twice.
    BootId
);
text!(
    /// A caller's name for one request, so that a repeated request is executed once (I4).
    RequestId
);

/// The ARM resource id of a network interface, kept as written and compared without case, as ARM
/// compares ids.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct NicId {
    written: Arc<str>,
    folded: Arc<str>,
}

impl NicId {
    /// Takes an ARM resource id as it is; `is_well_formed` tells whether it can be one of a NIC.
    #[must_use]
    pub fn new(id: &str) -> Self {
        let written = id.trim_end_matches('/');
        Self { written: written.into(), folded: written.to_ascii_lowercase().into() }
    }

    /// The id as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The id in lower case: what two ids are compared by.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// The last segment: the NIC's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.written.rsplit('/').next().unwrap_or_default()
    }

    /// Whether this looks like
    /// `/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/networkInterfaces/N`.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let parts: Vec<&str> = self.folded.split('/').collect();
        matches!(
            parts.as_slice(),
            ["", "subscriptions", s, "resourcegroups", g, "providers", "microsoft.network",
             "networkinterfaces", n] if !s.is_empty() && !g.is_empty() && !n.is_empty()
        )
    }
}

impl PartialEq for NicId {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}
impl Eq for NicId {}
impl PartialOrd for NicId {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for NicId {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.folded.cmp(&other.folded)
    }
}
impl core::hash::Hash for NicId {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}
impl From<String> for NicId {
    fn from(id: String) -> Self {
        Self::new(&id)
    }
}
impl From<NicId> for String {
    fn from(id: NicId) -> Self {
        id.written.to_string()
    }
}
impl fmt::Display for NicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}
impl fmt::Debug for NicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// A NIC of a node, as its configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NicRecord {
    /// The node's own short name for it; VIP addresses select a NIC by it.
    pub name: String,
    /// Its ARM resource id.
    pub id: NicId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_checked() {
        assert_eq!(NodeId::new("Node-A").map(|n| n.to_string()), Ok("node-a".to_owned()));
        for bad in ["", "-a", "a-", "a_b", "a.b", "ä", &"x".repeat(64)] {
            let error = NodeId::new(bad).expect_err(bad);
            assert!(error.to_string().contains("use 1 to 63"), "{error}");
        }
    }

    #[test]
    fn nic_ids_compare_without_case_and_keep_their_writing() {
        let a = NicId::new(
            "/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/networkInterfaces/n1-nic",
        );
        let b = NicId::new(
            "/subscriptions/s/resourcegroups/g/providers/microsoft.network/networkinterfaces/N1-NIC/",
        );
        assert_eq!(a, b);
        assert_eq!(a.name(), "n1-nic");
        assert!(a.is_well_formed() && b.is_well_formed());
        assert!(!NicId::new("/subscriptions/s/n1").is_well_formed());
    }
}

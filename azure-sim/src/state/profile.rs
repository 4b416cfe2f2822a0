//! Whole sets of settings under one name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::settings::{AddressFreed, ConcurrentWrite, PatchTags, Settings, TenantUpdate};
use super::throttle::Throttling;

/// A kind of Azure to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Nothing takes any time. No Azure is like that; for tests of everything else.
    Instant,
    /// The control plane that F5 measured in early access: a move of two operations in 6 to 7 s.
    NewControlPlane,
    /// The control plane that most recordings are from.
    Classic,
    /// Classic, and everything that is possible goes against the client at once.
    BadDay,
}

/// A name that is no profile's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no profile; there are instant, new-control-plane, classic and bad-day")]
pub struct ProfileError(String);

impl Profile {
    /// All of them, from the mildest on.
    pub const ALL: [Self; 4] = [Self::Instant, Self::NewControlPlane, Self::Classic, Self::BadDay];

    /// Its name on the command line, in files and in commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::NewControlPlane => "new-control-plane",
            Self::Classic => "classic",
            Self::BadDay => "bad-day",
        }
    }

    /// The settings it stands for.
    #[must_use]
    pub fn settings(self) -> Settings {
        match self {
            Self::Instant => instant(),
            Self::NewControlPlane => new_control_plane(),
            Self::Classic => classic(),
            Self::BadDay => bad_day(),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|profile| profile.name() == text);
        found.ok_or_else(|| ProfileError(text.to_owned()))
    }
}

/// `operation_ms` 0 and `Retry-After` 0 are ours: a client that obeys the header does not wait
/// either (without one the SDKs wait 30 s `[W]`).
fn instant() -> Settings {
    Settings { operation_ms: 0, retry_after_s: Some(0), ..Settings::default() }
}

/// - `operation_ms` 3,500: `[R]` F5's guide, 6 to 7 s for a detach and an attach.
/// - `data_plane_lag_ms` 0: `[R]` there, traffic passes "almost immediately".
/// - `retry_after_s` 10: `[W]` on a PUT; that it grows: `[W]` the gaps, `[I]` the header.
/// - `tenant_update` running: `[W]` that those are updated, `[I]` that no others are.
/// - `throttling`: `[S]`; it is ARM's, not the control plane's.
/// - Everything else is the default, with its mark there.
fn new_control_plane() -> Settings {
    Settings {
        operation_ms: 3_500,
        data_plane_lag_ms: 0,
        retry_after_s: Some(10),
        retry_after_grows: true,
        tenant_update: TenantUpdate::Running,
        throttling: Throttling::documented(),
        ..Settings::default()
    }
}

/// As the new control plane, but:
/// - `operation_ms` 45,000: `[W]` 19 recordings, median 43 to 52 s.
/// - `data_plane_lag_ms` 5,000: `[R]` F5, "Succeeded" comes before the data plane; `[I]` the number.
fn classic() -> Settings {
    Settings { operation_ms: 45_000, data_plane_lag_ms: 5_000, ..new_control_plane() }
}

/// As classic, but:
/// - `operation_ms` 61,000 and `detach_operation_ms` 277,000: `[R]` F5, 60.8 and 276.7 s.
/// - `request_ms` 1,000: `[I]`.
/// - `early_operation_404_ms` 3,000: `[R]` that there were such, 2017; `[I]` how long.
/// - `tenant_update` allocated: `[I]`.
/// - `concurrent_write` `fail_later`: `[R]` that operations end so.
/// - `etag_changes_on_completion`: `[I]`.
/// - `patch_changes_etag` off, `patch_waits_for_operation` off: `[I]`, a tag seals nothing then.
/// - `patch_tags` replace: `[I]`.
/// - `address_freed` at completion, and `cleanup_ms` 30,000 after that: `[R]` that there is such a
///   time, `[I]` how long.
/// - `failed_goal_stays`: `[I]`.
/// - `data_plane_lag_ms` 10,000: `[I]` the number.
/// - `primary_first`: `[W]` once.
/// - `throttling`: `[I]`, a tenth of what is documented.
fn bad_day() -> Settings {
    Settings {
        operation_ms: 61_000,
        detach_operation_ms: Some(277_000),
        request_ms: 1_000,
        early_operation_404_ms: 3_000,
        tenant_update: TenantUpdate::Allocated,
        concurrent_write: ConcurrentWrite::FailLater,
        etag_changes_on_completion: true,
        patch_changes_etag: false,
        patch_waits_for_operation: false,
        patch_tags: PatchTags::Replace,
        address_freed: AddressFreed::AtCompletion,
        cleanup_ms: 30_000,
        failed_goal_stays: true,
        data_plane_lag_ms: 10_000,
        primary_first: true,
        throttling: Throttling::tight(),
        ..classic()
    }
}

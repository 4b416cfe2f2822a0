//! What the simulator does where Azure's behaviour is a parameter, or is not known.
//!
//! Everything that `azure.md` marks `[I]` (inferred) and that a client could come to rely on is a
//! field here, so that a test can run the same story under both answers.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::profile::Profile;
use super::throttle::Throttling;

/// Behaviour that can be changed while the simulator runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long an operation on the NIC of a VM runs. `[W]`: classic Azure took 10 to 71 s, `[R]`: the
    /// new control plane 6 to 7 s for two operations.
    pub operation_ms: u64,
    /// The same for an operation that only takes addresses away; `None` = `operation_ms`.
    pub detach_operation_ms: Option<u64>,
    /// How long a request waits before it is looked at at all. 0 = answered at once.
    pub request_ms: u64,
    /// The `Retry-After` of an accepted PUT and of an unfinished poll. `[W]` 10 on the PUT, `[I]` polls.
    pub retry_after_s: Option<u64>,
    /// Each unfinished poll is told a longer one than the answer before: 2, 4, 8, 16 and then 10
    /// times the first. `[W]` the gaps of clients since September 2020, `[I]` that the header said so.
    pub retry_after_grows: bool,
    /// For so long after a PUT its operation URL answers 404. `[R]` 2017.
    pub early_operation_404_ms: u64,
    /// Which VMs are updated by a PUT on their NIC; the others' PUTs succeed at once.
    pub tenant_update: TenantUpdate,
    /// What a write to a NIC meets whose operation still runs. 429 is `[W]` for subnets.
    pub concurrent_write: ConcurrentWrite,
    /// A tag PATCH to such a NIC is refused alike; otherwise it is taken. `[I]`
    pub patch_waits_for_operation: bool,
    /// `If-Match` counts on a PUT. `[R]`, undeclared in the specification: hence a setting.
    pub put_honours_if_match: bool,
    /// `If-Match` counts on a tag PATCH. `[I]`
    pub patch_honours_if_match: bool,
    /// The `etag` in the body of a PUT counts like `If-Match`, which comes before it. `[I]`: it is
    /// ignored when it is the present one `[W]`; an old one was never seen.
    pub body_etag_counts: bool,
    /// The ETag changes once more when the operation ends. `[I]`
    pub etag_changes_on_completion: bool,
    /// A PUT of what the NIC is already changes the ETag. `[I]`
    pub same_put_changes_etag: bool,
    /// A tag PATCH changes the ETag. `[I]`
    pub patch_changes_etag: bool,
    /// What a tag PATCH does to tags that it does not name. `[I]`
    pub patch_tags: PatchTags,
    /// When a detached address becomes free for another NIC. `[I]`
    pub address_freed: AddressFreed,
    /// For so long after that it is refused with `PrivateIPAddressIsBeingCleanedUp`. `[R]` exists,
    /// duration unknown.
    pub cleanup_ms: u64,
    /// HTTP status of that refusal. `[I]`
    pub cleanup_status: u16,
    /// A failed operation leaves its goal in the NIC's document, otherwise the old document
    /// returns. `[I]`
    pub failed_goal_stays: bool,
    /// Polling an operation needs `Microsoft.Network/locations/operations/read` in the subscription.
    /// `[R]` azure-xplat-cli#2051, taskcluster#8594; `[I]` not, since roles without it work.
    pub polling_needs_right: bool,
    /// How far the data plane lags behind the end of an operation. `[R]` seconds on classic Azure.
    pub data_plane_lag_ms: u64,
    /// A document lists the primary ipConfiguration first, otherwise in the order of the PUT. `[W]`
    /// once.
    pub primary_first: bool,
    /// Limits of ARM and of the network provider.
    pub throttling: Throttling,
    /// Life of a token. `[S]` 24 h with managed identities.
    pub token_life_s: u64,
    /// IMDS hands out the same token until a twelfth of its life is left. `[S]` "caches for ~24 h".
    pub imds_caches_tokens: bool,
    /// Entries on one page of a list; `None` = everything on one page.
    pub page_size: Option<usize>,
    /// Reads go to the journal too; they are always counted.
    pub journal_reads: bool,
}

impl Settings {
    /// These settings with some changed by name. `profile` among the changes means: that
    /// [`Profile`]'s settings instead, and the other changes over them.
    ///
    /// # Errors
    /// A name or a value does not exist.
    pub fn changed(&self, mut changes: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let base = match changes.remove("profile") {
            Some(profile) => serde_json::from_value::<Profile>(profile)?.settings(),
            None => self.clone(),
        };
        let mut all = serde_json::to_value(base)?;
        if let Some(all) = all.as_object_mut() {
            all.extend(changes);
        }
        serde_json::from_value(all)
    }

    /// Reads the settings of a world: those that are not named are the defaults, or `profile`'s.
    pub(crate) fn of_world<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let changes = Map::deserialize(from)?;
        Self::default().changed(changes).map_err(serde::de::Error::custom)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            operation_ms: 1_000,
            detach_operation_ms: None,
            request_ms: 0,
            retry_after_s: Some(10),
            retry_after_grows: false,
            early_operation_404_ms: 0,
            tenant_update: TenantUpdate::Allocated,
            concurrent_write: ConcurrentWrite::Retryable429,
            patch_waits_for_operation: true,
            put_honours_if_match: true,
            patch_honours_if_match: true,
            body_etag_counts: false,
            etag_changes_on_completion: true,
            same_put_changes_etag: true,
            patch_changes_etag: true,
            patch_tags: PatchTags::Replace,
            address_freed: AddressFreed::AtCompletion,
            cleanup_ms: 0,
            cleanup_status: 400,
            failed_goal_stays: true,
            polling_needs_right: false,
            data_plane_lag_ms: 0,
            primary_first: false,
            throttling: Throttling::default(),
            token_life_s: 86_400,
            imds_caches_tokens: true,
            page_size: None,
            journal_reads: false,
        }
    }
}

/// What a write to a NIC meets whose operation still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConcurrentWrite {
    /// 429 `RetryableError`, details `RetryableErrorDueToAnotherOperation`. `[W]`
    #[serde(rename = "retryable_429")]
    Retryable429,
    /// 409 `AnotherOperationInProgress`. `[R]` for subnets.
    #[serde(rename = "conflict_409")]
    Conflict409,
    /// The same with status 429. `[R]`
    #[serde(rename = "in_progress_429")]
    InProgress429,
    /// A PUT is taken, its operation ends `Failed` with `AnotherOperationInProgress`, and nothing
    /// comes of it. `[R]` the end; `[I]` that only the answer to the PUT shows its goal. Other
    /// writes are refused with 409.
    FailLater,
    /// It is taken and the older operation ends `Canceled`. `[R]` for networks, not seen for NICs.
    Supersede,
}

/// Which VMs are updated by a PUT on their NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantUpdate {
    /// Running ones only. `[W]` that those are.
    Running,
    /// Stopped ones too, unless they are deallocated. `[I]`
    Allocated,
    /// Deallocated ones too. `[I]`
    Always,
}

/// What a tag PATCH does to tags that it does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchTags {
    /// They go: the body's `tags` are the NIC's tags. `[I]` The default, since it is what hurts a
    /// client that sends its own tag alone.
    Replace,
    /// They stay.
    Merge,
}

/// When a detached address becomes free for another NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressFreed {
    /// When the operation of the detach has succeeded.
    AtCompletion,
    /// As soon as the PUT of the detach was accepted.
    AtAccept,
}

//! Token buckets: ARM's per identity and per subscription, the network provider's per subscription.
//!
//! Whoever was refused and comes back before `Retry-After` has passed is refused again, and the
//! wait begins anew. `[S]` Not modelled: another connection may reach another instance of ARM,
//! which has buckets of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ArmError;
use super::wall;

/// Size and refill of a token bucket; a request takes one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Tokens when full.
    pub size: u32,
    /// So many tokens come back,
    pub refill: u32,
    /// evenly over so many seconds.
    pub every_s: u32,
}

/// Which buckets there are; `None` = no such limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttling {
    /// GET, per identity.
    pub arm_reads: Option<Bucket>,
    /// PUT and PATCH, per identity.
    pub arm_writes: Option<Bucket>,
    /// DELETE, per identity.
    pub arm_deletes: Option<Bucket>,
    /// The subscription as a whole has so many times that.
    pub subscription_factor: u32,
    /// Everything but GET below `Microsoft.Network`, per subscription.
    pub network_writes: Option<Bucket>,
    /// GET below `Microsoft.Network`, polls included, per subscription.
    pub network_reads: Option<Bucket>,
    /// `Retry-After` of a refusal. `[S]` it exists; `[I]` that it is always the same.
    pub retry_after_s: u32,
}

impl Default for Throttling {
    /// No limits.
    fn default() -> Self {
        Self {
            arm_reads: None,
            arm_writes: None,
            arm_deletes: None,
            subscription_factor: 15,
            network_writes: None,
            network_reads: None,
            retry_after_s: 10,
        }
    }
}

impl Throttling {
    /// What Microsoft documents. `[S]` ARM: today's buckets; the network provider: text of
    /// December 2020, as windows of five minutes. `[I]` that those refill evenly.
    #[must_use]
    pub fn documented() -> Self {
        let bucket = |size, refill, every_s| Some(Bucket { size, refill, every_s });
        Self {
            arm_reads: bucket(250, 25, 1),
            arm_writes: bucket(200, 10, 1),
            arm_deletes: bucket(200, 10, 1),
            network_writes: bucket(1_000, 1_000, 300),
            network_reads: bucket(10_000, 10_000, 300),
            ..Self::default()
        }
    }

    /// A tenth of it, as if others had used up the rest. `[I]`
    #[must_use]
    pub fn tight() -> Self {
        let tenth = |bucket: Option<Bucket>| {
            bucket.map(|bucket| Bucket {
                size: bucket.size / 10,
                refill: bucket.refill / 10,
                ..bucket
            })
        };
        let all = Self::documented();
        Self {
            arm_reads: tenth(all.arm_reads),
            arm_writes: tenth(all.arm_writes),
            arm_deletes: tenth(all.arm_deletes),
            network_writes: tenth(all.network_writes),
            network_reads: tenth(all.network_reads),
            ..all
        }
    }
}

/// What ARM counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Read,
    Write,
    Delete,
}

impl Kind {
    pub(crate) fn of(method: &str) -> Self {
        match method {
            "GET" => Self::Read,
            "DELETE" => Self::Delete,
            _ => Self::Write,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }

    /// `[W]`
    fn header(self) -> &'static str {
        match self {
            Self::Read => "x-ms-ratelimit-remaining-subscription-reads",
            Self::Write => "x-ms-ratelimit-remaining-subscription-writes",
            Self::Delete => "x-ms-ratelimit-remaining-subscription-deletes",
        }
    }
}

/// Whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// Object id of an identity.
    Actor(String, Kind),
    Subscription(Kind),
    NetworkReads,
    NetworkWrites,
}

/// The bucket is empty, or its wait is not over.
struct Shut;

/// A bucket in use. The level is in parts of which `every_s` * 1,000 make a token, so that
/// `refill` of them come back each millisecond.
#[derive(Debug, Clone, Copy)]
struct Level {
    parts: u64,
    /// Milliseconds since the world began.
    at_ms: u64,
    /// Nothing passes before.
    shut_until_ms: u64,
}

impl Bucket {
    fn token(self) -> u64 {
        u64::from(self.every_s.max(1)) * 1_000
    }

    fn full(self) -> u64 {
        u64::from(self.size) * self.token()
    }

    fn level(self, before: Option<Level>, now_ms: u64) -> Level {
        let Some(before) = before else {
            return Level { parts: self.full(), at_ms: now_ms, shut_until_ms: 0 };
        };
        let back = now_ms.saturating_sub(before.at_ms).saturating_mul(u64::from(self.refill));
        let parts = before.parts.saturating_add(back).min(self.full());
        Level { parts, at_ms: now_ms, ..before }
    }
}

/// A request that wants in.
#[derive(Clone, Copy)]
pub(crate) struct Entrant<'a> {
    pub(crate) kind: Kind,
    /// Object id of the identity.
    pub(crate) actor: &'a str,
    pub(crate) subscription: &'a str,
    /// It goes on to the network provider.
    pub(crate) to_network: bool,
}

/// All buckets that were ever touched: a few per identity.
#[derive(Debug, Clone, Default)]
pub(crate) struct Throttle {
    levels: BTreeMap<Owner, Level>,
}

impl Throttle {
    /// Takes a token from every bucket that counts. The answer is the header that tells what is
    /// left, if ARM counts at all.
    pub(crate) fn admit(
        &mut self,
        now: Duration,
        limits: &Throttling,
        entrant: Entrant<'_>,
    ) -> Result<Option<(&'static str, String)>, ArmError> {
        let now_ms = wall::millis(now);
        let Entrant { kind, actor, .. } = entrant;
        let arm = match kind {
            Kind::Read => limits.arm_reads,
            Kind::Write => limits.arm_writes,
            Kind::Delete => limits.arm_deletes,
        };
        let wait = limits.retry_after_s;
        let mut left = None;
        if let Some(bucket) = arm {
            let whole = Bucket {
                size: bucket.size.saturating_mul(limits.subscription_factor),
                refill: bucket.refill.saturating_mul(limits.subscription_factor),
                ..bucket
            };
            let tokens = self
                .take(Owner::Actor(actor.to_owned(), kind), bucket, now_ms, wait)
                .and_then(|tokens| {
                    self.take(Owner::Subscription(kind), whole, now_ms, wait).map(|_| tokens)
                })
                .map_err(|Shut| arm_refusal(entrant, wait))?;
            left = Some((kind.header(), tokens.to_string()));
        }
        let (owner, bucket) = match kind {
            Kind::Read => (Owner::NetworkReads, limits.network_reads),
            Kind::Write | Kind::Delete => (Owner::NetworkWrites, limits.network_writes),
        };
        if let Some(bucket) = bucket.filter(|_| entrant.to_network) {
            self.take(owner, bucket, now_ms, wait)
                .map_err(|Shut| network_refusal(kind, bucket, wait))?;
        }
        Ok(left)
    }

    /// The tokens that are left.
    fn take(
        &mut self,
        owner: Owner,
        bucket: Bucket,
        now_ms: u64,
        wait_s: u32,
    ) -> Result<u64, Shut> {
        let mut level = bucket.level(self.levels.get(&owner).copied(), now_ms);
        let result = match level.parts.checked_sub(bucket.token()) {
            Some(rest) if now_ms >= level.shut_until_ms => {
                level.parts = rest;
                Ok(rest / bucket.token())
            }
            Some(_) | None => {
                level.shut_until_ms = now_ms.saturating_add(u64::from(wait_s) * 1_000);
                Err(Shut)
            }
        };
        self.levels.insert(owner, level);
        result
    }

    /// Nothing is left in the ARM buckets of this identity.
    pub(crate) fn drain(&mut self, now: Duration, actor: &str) {
        let empty = Level { parts: 0, at_ms: wall::millis(now), shut_until_ms: 0 };
        for kind in [Kind::Read, Kind::Write, Kind::Delete] {
            self.levels.insert(Owner::Actor(actor.to_owned(), kind), empty);
        }
    }
}

/// `[R]` two verbatim bodies in public code.
fn arm_refusal(entrant: Entrant<'_>, wait_s: u32) -> ArmError {
    let Entrant { kind, actor, subscription, .. } = entrant;
    ArmError::front_door(
        429,
        "SubscriptionRequestsThrottled",
        format!(
            "Number of '{}' requests for subscription '{subscription}' actor '{actor}' exceeded. \
             Please try again after '{wait_s}' seconds.",
            kind.word()
        ),
    )
    .with_header("Retry-After", wait_s.to_string())
    .with_header(kind.header(), "0")
}

/// `[R]` Azure/azqr#34, for another provider.
fn network_refusal(kind: Kind, bucket: Bucket, wait_s: u32) -> ArmError {
    let (minutes, seconds) = (bucket.every_s / 60, bucket.every_s % 60);
    ArmError::front_door(
        429,
        "ResourceRequestsThrottled",
        format!(
            "Number of requests for action 'Microsoft.Network/networkInterfaces/{}' exceeded the \
             limit of '{}' for time interval '00:{minutes:02}:{seconds:02}'. Please try again \
             after '{wait_s}' seconds.",
            kind.word(),
            bucket.size
        ),
    )
    .with_header("Retry-After", wait_s.to_string())
}

//! Budget: what Azure lets one identity ask for, so that we are never throttled.
//!
//! ARM gives each principal a bucket of tokens per kind of request, and the network provider counts
//! beside it (azure.md §4, `[S]`). A token is taken *before* a request; where there is none, the
//! request waits. What Azure says of its own count (`x-ms-ratelimit-remaining-…`) lowers ours, since
//! an earlier leader, or somebody else, may use the same identity. After a 429 that throttles,
//! nothing of that kind is sent before the time it names: an early retry is refused and counts.
//!
//! What can wait (looks at what is at rest, polls, repetitions of a refused attach) leaves a reserve
//! to what a move waits for. The budget belongs to the process and outlives terms.

use core::time::Duration;

use vipfence_types::{Clocks, Mutation};

use super::{
    problem::AzureError,
    wire::{HttpAnswer, HttpResult, Method},
};

/// One token, in the unit in which levels are kept; as many as a second has microseconds, so that a
/// rate in tokens is one in units per microsecond.
const TOKEN: u64 = 1_000_000;
/// This part of a bucket is left to what a move waits for.
const RESERVE: u64 = 5;
/// A throttled client waits longer by this part: by a clock that runs fast it would come back too
/// early again and again, and be refused each time.
const CLOCKS_ERR: u32 = 20;
/// After a throttling answer that names no time.
const THROTTLED: Duration = Duration::from_secs(10);

/// What a request costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// GET, polls included.
    Read,
    /// PUT and PATCH.
    Write,
}

impl Class {
    /// The class of a method.
    pub(crate) fn of(method: Method) -> Self {
        match method {
            Method::Get => Self::Read,
            Method::Put | Method::Patch => Self::Write,
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::Read => "x-ms-ratelimit-remaining-subscription-reads",
            Self::Write => "x-ms-ratelimit-remaining-subscription-writes",
        }
    }
}

/// Whether a move waits for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It does.
    Move,
    /// It can wait.
    Upkeep,
}

/// A bucket that fills steadily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    most: u64,
    /// In units a second.
    per_second: u64,
    level: u64,
    filled: Clocks,
}

impl Bucket {
    fn full(now: Clocks, tokens: u64, per_second: u64) -> Self {
        Self { most: tokens * TOKEN, per_second, level: tokens * TOKEN, filled: now }
    }

    /// The slowest of the clocks counts: no clock may give what Azure has not given yet.
    fn fill(&mut self, now: Clocks) {
        let passed = now.shortest_since(self.filled);
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(self.per_second) / TOKEN;
        if more > 0 {
            self.level = self.level.saturating_add(more).min(self.most);
            self.filled = now;
        }
    }

    fn has(&self, urgency: Urgency) -> bool {
        let reserve = match urgency {
            Urgency::Move => 0,
            Urgency::Upkeep => self.most / RESERVE,
        };
        self.level >= reserve + TOKEN
    }

    fn take(&mut self) {
        self.level = self.level.saturating_sub(TOKEN);
    }

    fn lower(&mut self, tokens: u64) {
        self.level = self.level.min(tokens.saturating_mul(TOKEN));
    }
}

/// What is left of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Purse {
    arm: Bucket,
    provider: Bucket,
    /// When Azure last refused a request of this class, and for how long none is sent then.
    throttled: Option<(Clocks, Duration)>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    reads: Purse,
    writes: Purse,
}

impl Budget {
    /// A full budget, with the limits that Microsoft documents.
    pub(crate) fn new(now: Clocks) -> Self {
        let purse = |arm, provider| Purse { arm, provider, throttled: None };
        // Five minutes of the provider: half at once and half at its pace, so that no five minutes
        // see more.
        let five_minutes = |all: u64| Bucket::full(now, all / 2, all / 2 * TOKEN / 300);
        Self {
            reads: purse(Bucket::full(now, 250, 25 * TOKEN), five_minutes(10_000)),
            writes: purse(Bucket::full(now, 200, 10 * TOKEN), five_minutes(1_000)),
        }
    }

    /// Takes a token for a request that is about to be sent. Without one it must wait.
    pub(crate) fn take(&mut self, now: Clocks, class: Class, urgency: Urgency) -> bool {
        let purse = self.purse(class);
        purse.arm.fill(now);
        purse.provider.fill(now);
        // By the slowest of the clocks, like everything that Azure gives.
        let throttled = purse.throttled.is_some_and(|(at, wait)| now.shortest_since(at) < wait);
        if throttled && !Mutation::ThrottlingIgnored.is_on() {
            return false;
        }
        let has = purse.arm.has(urgency) && purse.provider.has(urgency);
        if has {
            purse.arm.take();
            purse.provider.take();
        }
        has
    }

    /// Counts a request that somebody waits for and that is sent in any case.
    pub(crate) fn charge(&mut self, now: Clocks, class: Class) {
        let purse = self.purse(class);
        for bucket in [&mut purse.arm, &mut purse.provider] {
            bucket.fill(now);
            bucket.take();
        }
    }

    /// Takes note of what Azure says of its own count.
    pub(crate) fn learn(&mut self, now: Clocks, class: Class, result: &HttpResult) {
        let Ok(answer) = result else { return };
        let purse = self.purse(class);
        let told = answer.headers.get(class.header());
        if let Some(left) = told.and_then(|left| left.trim().parse().ok()) {
            purse.arm.fill(now);
            purse.arm.lower(left);
        }
        if is_throttled(answer) {
            let wait = answer.retry_after().unwrap_or(THROTTLED);
            purse.throttled = Some((now, wait + wait / CLOCKS_ERR));
        }
    }

    fn purse(&mut self, class: Class) -> &mut Purse {
        match class {
            Class::Read => &mut self.reads,
            Class::Write => &mut self.writes,
        }
    }
}

/// A 429 that says that we asked too often, and not that a resource is busy.
fn is_throttled(answer: &HttpAnswer) -> bool {
    answer.status == 429 && !AzureError::read(&answer.body).is_busy()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn at(ms: u64) -> Clocks {
        Clocks::all_at(Duration::from_millis(1_000_000 + ms))
    }

    fn answer(status: u16, header: (&str, &str), body: Value) -> HttpResult {
        let headers = BTreeMap::from([(header.0.to_owned(), header.1.to_owned())]);
        Ok(HttpAnswer { status, headers, body })
    }

    /// How many requests go through at one moment.
    fn drained(budget: &mut Budget, ms: u64, class: Class, urgency: Urgency) -> usize {
        (0..20_000).take_while(|_| budget.take(at(ms), class, urgency)).count()
    }

    #[test]
    fn a_full_budget_is_what_azure_gives_and_fills_at_its_pace() {
        let mut budget = Budget::new(at(0));
        assert_eq!(drained(&mut budget, 0, Class::Write, Urgency::Move), 200);
        assert_eq!(drained(&mut budget, 99, Class::Write, Urgency::Move), 0);
        assert_eq!(drained(&mut budget, 100, Class::Write, Urgency::Move), 1);
        assert_eq!(drained(&mut budget, 5_100, Class::Write, Urgency::Move), 50);
        assert_eq!(drained(&mut budget, 5_100, Class::Read, Urgency::Move), 250);
        assert_eq!(drained(&mut budget, 6_100, Class::Read, Urgency::Move), 25);
    }

    #[test]
    fn five_minutes_of_writes_stay_below_what_the_provider_counts() {
        let mut budget = Budget::new(at(0));
        let ms = (0..300_000).step_by(10);
        let sent: usize =
            ms.map(|ms| usize::from(budget.take(at(ms), Class::Write, Urgency::Move))).sum();
        assert!((950..=1_000).contains(&sent), "{sent}");
    }

    #[test]
    fn what_can_wait_leaves_a_fifth_to_moves() {
        let mut budget = Budget::new(at(0));
        assert_eq!(drained(&mut budget, 0, Class::Write, Urgency::Upkeep), 160);
        assert_eq!(drained(&mut budget, 0, Class::Write, Urgency::Move), 40);
    }

    #[test]
    fn a_lower_count_of_azure_is_believed_and_a_higher_one_is_not() {
        let mut budget = Budget::new(at(0));
        let told =
            |left| answer(200, ("x-ms-ratelimit-remaining-subscription-writes", left), json!({}));
        budget.learn(at(0), Class::Write, &told("3"));
        budget.learn(at(0), Class::Write, &told("1199"));
        budget.learn(at(0), Class::Write, &told("many"));
        assert_eq!(drained(&mut budget, 0, Class::Write, Urgency::Move), 3);
    }

    #[test]
    fn after_a_throttled_request_nothing_of_its_kind_is_sent_before_its_time() {
        let mut budget = Budget::new(at(0));
        let body = json!({"error": {"code": "SubscriptionRequestsThrottled", "message": "x"}});
        budget.learn(at(0), Class::Read, &answer(429, ("retry-after", "7"), body));
        assert!(!budget.take(at(6_999), Class::Read, Urgency::Move));
        assert!(budget.take(at(6_999), Class::Write, Urgency::Move));
        assert!(budget.take(at(7_350), Class::Read, Urgency::Move));
    }

    #[test]
    fn a_clock_that_runs_fast_does_not_come_back_too_early() {
        let mut budget = Budget::new(at(0));
        let body = json!({"error": {"code": "SubscriptionRequestsThrottled", "message": "x"}});
        budget.learn(at(0), Class::Read, &answer(429, ("retry-after", "10"), body));
        // One percent fast: Azure has counted 10 s when all clocks here show 10.1 s.
        assert!(!budget.take(at(10_100), Class::Read, Urgency::Move));
        let slow_raw = Clocks { raw_us: at(10_400).raw_us, ..at(11_000) };
        assert!(!budget.take(slow_raw, Class::Read, Urgency::Move), "the slowest clock counts");
        assert!(budget.take(at(10_500), Class::Read, Urgency::Move));
    }

    #[test]
    fn a_busy_nic_throttles_nobody() {
        let mut budget = Budget::new(at(0));
        let body = json!({"error": {"code": "RetryableError", "message": "x", "details": [
            {"code": "RetryableErrorDueToAnotherOperation", "message": "y"}]}});
        budget.learn(at(0), Class::Write, &answer(429, ("retry-after", "10"), body));
        assert!(budget.take(at(0), Class::Write, Urgency::Move));
    }
}

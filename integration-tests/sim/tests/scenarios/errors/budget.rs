//! What Azure lets one identity ask for (azure.md §4, throttling): alone we never ask for more, and
//! where others use it up we come back when we are told to.

use std::collections::BTreeMap;

use azure_sim::{AdminCommand, Call, JournalEvent, Throttling};
use vipfence_sim::{
    Deed, Plan, World,
    time::{At, ms, secs},
};

use super::{WITHIN, somebody_holds};
use crate::{foreign_parts::*, stage::*};

/// What was on its way to Azure when the refusal came: two ways and a new connection.
const ON_ITS_WAY: u64 = ms(1_600);

fn throttled_by(throttling: Throttling) -> Plan {
    with_azure(plan_with_foreign_parts(), |azure| {
        azure.throttling = throttling;
        azure.journal_reads = true;
        // Long operations: the attach is tried often while the address is still allocated.
        azure.operation_ms = 4_000;
    })
}

/// All requests of the cluster, in order.
fn requests(world: &World) -> Vec<(At, Call)> {
    let calls = world.azure().journal_after(0).filter_map(|entry| match &entry.event {
        JournalEvent::Write(call) | JournalEvent::Read(call) => {
            Some((ms(entry.at_ms), call.clone()))
        }
        _ => None,
    });
    calls.filter(|(_, call)| call.principal.as_deref() != Some(azure_sim::THIRD_PARTY)).collect()
}

fn is_throttled(call: &Call) -> bool {
    let code = call.error_code.as_deref();
    matches!(code, Some("SubscriptionRequestsThrottled" | "ResourceRequestsThrottled"))
}

/// Reads and writes have buckets of their own, and so has every identity.
fn class(call: &Call) -> (String, bool) {
    (call.principal.clone().unwrap_or_default(), call.method == "GET")
}

/// Forty moves, some of which have the time to attach and are refused meanwhile; then two thousand as
/// fast as anybody may ask for them. Most supersede the one before. Each wants its NICs read anew:
/// without a budget that is more than Azure gives.
fn a_burst(world: &mut World) -> Story {
    let pauses = (0..40_u32).map(|number| if number % 4 == 0 { secs(6) } else { ms(300) });
    let pauses = pauses.chain(core::iter::repeat_n(ms(20), 2_000));
    for (pause, to) in pauses.zip([B, C, A].into_iter().cycle()) {
        world.ask_move("demo", to);
        world.run(pause);
    }
    until(world, WITHIN, "somebody holds it", somebody_holds)
}

/// The most of one bucket that was asked for at once: what of the requests of a class by one node
/// had not come back by the time of the last of them.
fn deepest(requests: &[(At, Call)], reads: bool, per_second: u64) -> u64 {
    let mut levels: BTreeMap<String, (At, u64)> = BTreeMap::new();
    let mut deepest = 0;
    for (at, call) in requests.iter().filter(|(_, call)| class(call).1 == reads) {
        let (last, level) = levels.entry(class(call).0).or_insert((*at, 0));
        // In millionths of a request, as time is in millionths of a second.
        *level = level.saturating_sub((at - *last) * per_second) + 1_000_000;
        *last = *at;
        deepest = deepest.max(*level / 1_000_000);
    }
    deepest
}

#[test]
fn a_burst_of_moves_never_asks_for_more_than_azure_gives() {
    with_fence(&throttled_by(Throttling::documented()), |world| {
        a_holds(world, C)?;
        let before = foreign_parts(world);
        a_burst(world)?;
        let requests = requests(world);
        let refused = |code: &str| {
            let refused = requests.iter().filter(|(_, c)| c.error_code.as_deref() == Some(code));
            refused.count()
        };
        let tried = refused("PrivateIPAddressIsAllocated");
        check(world, tried >= 20, &format!("the attach is tried again and again: {tried}"))?;
        let (reads, writes) = (deepest(&requests, true, 25), deepest(&requests, false, 10));
        let near = (200..=250).contains(&reads);
        check(world, near, &format!("it comes near the limit: {reads} reads, {writes} writes"))?;
        let over = requests.iter().filter(|(_, call)| is_throttled(call)).count();
        check(world, over == 0, &format!("nothing is throttled: {over}"))?;
        is_untouched(world, &before)
    });
}

/// After each refusal nothing of its kind comes before it may, but for what was on its way.
fn comes_back_when_told(world: &World, wait: u64) -> Story {
    let mut told: BTreeMap<(String, bool), At> = BTreeMap::new();
    let mut refusals = 0;
    for (at, call) in requests(world) {
        let early = told
            .get(&class(&call))
            .is_some_and(|since| *since + ON_ITS_WAY < at && at < *since + wait);
        let who = class(&call);
        check(world, !early, &format!("{who:?} comes back too early, at {} ms", at / 1_000))?;
        if is_throttled(&call) {
            refusals += 1;
            told.insert(who, at);
        }
    }
    check(world, refusals > 0, "something was throttled")
}

fn used_up(throttling: Throttling) {
    let wait = secs(throttling.retry_after_s.into());
    with_fence(&throttled_by(throttling), |world| {
        a_holds(world, C)?;
        let before = foreign_parts(world);
        for (round, to) in (0..8_u32).zip([B, C, A].into_iter().cycle()) {
            world.ask_move("demo", to);
            if round % 2 == 0 {
                // Somebody with the same identities takes whatever comes back, for a second.
                for _ in 0..50 {
                    world.do_deed(Deed::Azure(AdminCommand::DrainBuckets { node: None }));
                    world.run(ms(20));
                }
            }
            world.run(secs(5));
        }
        until(world, secs(60), "somebody holds it", somebody_holds)?;
        comes_back_when_told(world, wait)?;
        is_untouched(world, &before)
    });
}

#[test]
fn where_others_use_the_budget_up_nothing_is_sent_before_its_time() {
    used_up(Throttling::documented());
}

#[test]
fn with_a_tenth_of_the_budget_nothing_is_sent_before_its_time() {
    used_up(Throttling::tight());
}

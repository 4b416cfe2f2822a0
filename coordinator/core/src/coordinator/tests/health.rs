//! The holder is alive and the VIP is not well there: who takes over, how often, and what is said.

use std::time::Duration;

use vipfence_types::{Candidate, Epoch, VipSpec};

use super::bench::{Bench, Old, address, node, secs};
use crate::{
    ask::AskError,
    registry::{Body, Cause, EventKind, WithheldWhy},
};

/// The window of the default flap budget, and its moves.
const WINDOW: Duration = Duration::from_secs(600);
const MOVES: usize = 3;

fn two() -> VipSpec {
    let candidates = ["a", "b"].map(|name| (node(name), Candidate { priority: 0 }));
    VipSpec { candidates: candidates.into(), ..VipSpec::host(address()) }
}

impl Bench {
    fn holder(&self) -> String {
        self.vip().holder().map(ToString::to_string).unwrap_or_default()
    }

    /// The VIP's check begins to fail at its holder, until it has moved or the time is over.
    fn fail_at_holder(&mut self, span: Duration) {
        let holder = self.holder();
        self.agent(&holder).failing = Some("HTTP 503");
        self.run(span);
        self.agent(&holder).failing = None;
    }

    /// When moves because of its health began.
    fn health_moves(&self) -> Vec<Duration> {
        let moves =
            self.sights.iter().filter(|sight| sight.what.contains(": HolderUnhealthy Move"));
        moves.map(|sight| sight.at).collect()
    }

    /// Moves the VIP by its health until the budget is spent.
    fn spend_the_budget(&mut self) {
        for _ in 0..MOVES {
            self.fail_at_holder(secs(5));
            // A node that the VIP has left because of its health is no target for a minute.
            self.run(secs(30));
        }
        assert_eq!(self.health_moves().len(), MOVES, "{}", self.story());
    }
}

#[test]
fn a_holder_whose_check_fails_hands_over_at_once_and_the_vip_does_not_come_back_at_once() {
    let mut bench = Bench::held_by_a();
    bench.agent("a").failing = Some("HTTP 503");
    let began = bench.now;
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    assert_eq!(bench.last_cause(), Some(Cause::HolderUnhealthy));
    // One heartbeat, and then as in any planned move: late release, no lease is waited for.
    assert!(bench.when("move to b") - began < Duration::from_millis(600), "{}", bench.story());
    assert!(bench.when("release 1") - bench.when("Put a-nic 200") >= secs(1), "{}", bench.story());
    assert!(!bench.saw("expire") && bench.saw("confirmed 1"), "{}", bench.story());
    // The check does not run where the VIP is not, and b begins to fail: not back to a by itself.
    bench.agent("a").failing = None;
    bench.agent("b").failing = Some("HTTP 503");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("c")), "{}", bench.story());
}

#[test]
fn a_vip_that_is_well_nowhere_stays_and_says_why_once() {
    let mut bench = Bench::with(two());
    bench.agent("b").failing = Some("timed out");
    bench.run(secs(1));
    bench.agent("a").failing = Some("HTTP 503");
    bench.run(secs(30));
    assert!(bench.is_held_by("a") && !bench.saw("move"), "{}", bench.story());
    let why = "its health check fails on a (HTTP 503), and no candidate is eligible: its health \
               check fails on b (timed out)";
    assert_eq!(bench.withheld(), why);
    let told = bench.proposals.iter().filter(|one| matches!(one.body, Body::Restrain { .. }));
    assert_eq!(told.count(), 1);
    assert_eq!(bench.events(EventKind::Withheld), 1);
    bench.agent("b").failing = None;
    assert!(bench.run_until(secs(10), |b| b.is_held_by("b")), "{}", bench.story());
    assert_eq!(bench.withheld(), "");
}

#[test]
fn a_vip_that_gets_well_where_it_stayed_says_so() {
    let mut bench = Bench::with(two());
    bench.agent("b").failing = Some("timed out");
    bench.run(secs(1));
    bench.agent("a").failing = Some("HTTP 503");
    bench.run(secs(5));
    bench.agent("a").failing = None;
    bench.run(secs(5));
    assert_eq!((bench.withheld().as_str(), bench.events(EventKind::WithheldOver)), ("", 1));
    assert!(bench.is_held_by("a"), "{}", bench.story());
}

#[test]
fn a_node_where_the_check_fails_is_no_target() {
    let mut bench = Bench::held_by_a();
    bench.agent("b").failing = Some("HTTP 503");
    bench.run(secs(1));
    let refused = bench.move_to("b");
    let reasons = vec![(node("b"), "its health check fails on b (HTTP 503)".to_owned())];
    let vip = bench.vip().name.clone();
    assert_eq!(bench.reply(refused), Err(AskError::NotEligible { vip, reasons }));
    bench.kill("a");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("c")), "{}", bench.story());
}

#[test]
fn a_grant_that_is_not_taken_goes_to_the_next_candidate() {
    let mut bench = Bench::held_by_a();
    bench.agent("b").unfit = Some("pre_acquire exited with 1");
    bench.kill("a");
    assert!(bench.run_until(secs(30), |b| b.is_held_by("c")), "{}", bench.story());
    assert!(bench.saw("move to c: TargetFailed"), "{}", bench.story());
}

#[test]
fn a_grant_that_nobody_takes_is_given_again_after_a_while() {
    let mut bench = Bench::with(two());
    bench.agent("b").unfit = Some("pre_acquire exited with 1");
    bench.kill("a");
    bench.run(secs(30));
    let why =
        "b does not take it (pre_acquire exited with 1); no candidate is eligible: a is silent";
    assert_eq!(bench.blocked(), why, "{}", bench.story());
    let epoch = bench.vip().epoch();
    bench.agent("b").unfit = None;
    assert!(bench.run_until(secs(60), |b| b.is_held_by("b")), "{}", bench.story());
    assert!(bench.vip().epoch() > epoch);
}

#[test]
fn a_holder_that_comes_back_and_does_not_take_its_vip_loses_it() {
    let mut bench = Bench::held_by_a();
    bench.kill("a");
    bench.agent("a").unfit = Some("pre_acquire exited with 1");
    bench.restart("a", vec!["a1".into()]);
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
    assert_eq!(bench.last_cause(), Some(Cause::HolderUnhealthy));
}

#[test]
fn a_holder_that_nobody_can_follow_gets_a_new_epoch_once_a_minute_and_no_more_often() {
    let mut bench = Bench::with(two());
    bench.kill("b");
    bench.run(secs(5));
    bench.agent("a").serves_not = Some("db.service failed");
    bench.run(secs(10));
    let why = "a does not take it (db.service failed), and no candidate is eligible: b is silent";
    assert_eq!(bench.withheld(), why);
    assert_eq!(bench.vip().epoch(), Epoch(1));
    bench.run(secs(290));
    let epoch = bench.vip().epoch();
    assert!((Epoch(4)..=Epoch(6)).contains(&epoch), "{}", bench.story());
    assert!(bench.is_held_by("a"), "{}", bench.story());
}

#[test]
fn a_service_that_flaps_as_badly_as_it_can_moves_no_more_than_its_budget() {
    let mut bench = Bench::held_by_a();
    for _ in 0..1_000 {
        bench.fail_at_holder(secs(5));
        bench.run(secs(5));
    }
    let moves = bench.health_moves();
    let within =
        |from: Duration| moves.iter().filter(|at| (from..from + WINDOW).contains(*at)).count();
    assert!(moves.iter().all(|from| within(*from) <= MOVES), "{moves:?}");
    // It had ten thousand seconds for it.
    assert!(moves.len() >= 16 * MOVES, "{moves:?}");
    // No fencing token was lost, or given twice: one per grant, from 2 on.
    let grants = bench.sights.iter().filter(|sight| sight.what.starts_with("grant ")).count();
    assert_eq!(bench.vip().epoch(), Epoch(1 + u64::try_from(grants).expect("few")));
    assert_eq!(grants, moves.len());
    let spent = bench.proposals.iter().filter(|one| match &one.body {
        Body::Restrain { withheld: Some(withheld), .. } => {
            withheld.why == WithheldWhy::FlapBudgetSpent
        }
        _ => false,
    });
    // Once each time: the alarm outlasts the moments in which the holder is well.
    let spent = spent.count();
    assert!((16..=moves.len()).contains(&spent), "{spent}");
}

#[test]
fn a_spent_budget_is_an_alarm_until_it_is_there_again_whoever_leads() {
    let mut bench = Bench::held_by_a();
    bench.fail_at_holder(secs(5));
    bench.fail_at_holder(secs(5));
    bench.replace_leader(Old::Crashes, &node("w"));
    bench.run(secs(2));
    bench.fail_at_holder(secs(5));
    assert_eq!(bench.health_moves().len(), MOVES, "{}", bench.story());
    bench.run(secs(60));
    bench.fail_at_holder(secs(20));
    assert!(bench.withheld().contains("its health has moved it 3 times within 600 s"));
    bench.run(secs(60));
    bench.fail_at_holder(secs(5));
    assert_eq!(bench.health_moves().len(), MOVES, "{}", bench.story());
    assert_eq!(bench.events(EventKind::FlapBudgetSpent), 1, "{}", bench.story());
    let holder = bench.holder();
    bench.agent(&holder).failing = Some("HTTP 503");
    let moved = |b: &Bench| b.health_moves().len() > MOVES;
    assert!(bench.run_until(WINDOW, moved), "{}", bench.story());
    bench.run(secs(10));
    assert_eq!(bench.withheld(), "");
}

#[test]
fn a_spent_budget_is_in_the_way_of_no_failover_no_stop_and_no_operator() {
    let mut bench = Bench::held_by_a();
    bench.spend_the_budget();
    assert!(bench.is_held_by("a") || bench.is_held_by("b") || bench.is_held_by("c"));
    let dead = bench.holder();
    bench.kill(&dead);
    let elsewhere = |b: &Bench| b.vip().is_held() && b.holder() != dead;
    assert!(bench.run_until(secs(90), elsewhere), "{}", bench.story());
    assert_eq!(bench.last_cause(), Some(Cause::HolderSilent));
    bench.restart(&dead, vec![]);
    bench.run(secs(90));
    let stopping = bench.holder();
    bench.agent(&stopping).stopping = true;
    let elsewhere = |b: &Bench| b.vip().is_held() && b.holder() != stopping;
    assert!(bench.run_until(secs(20), elsewhere), "{}", bench.story());
    assert_eq!(bench.last_cause(), Some(Cause::HolderStopping));
    bench.agent(&stopping).stopping = false;
    bench.run(secs(2));
    bench.move_to(&stopping);
    assert!(bench.run_until(secs(20), |b| b.is_held_by(&stopping)), "{}", bench.story());
}

#[test]
fn whoever_resumes_a_vip_has_its_budget_back() {
    let mut bench = Bench::held_by_a();
    bench.spend_the_budget();
    bench.run(secs(60));
    bench.fail_at_holder(secs(5));
    assert_eq!(bench.health_moves().len(), MOVES, "{}", bench.story());
    let vip = bench.vip().name.clone();
    bench.resume(crate::registry::Scope::Vip(vip));
    bench.fail_at_holder(secs(5));
    assert_eq!(bench.health_moves().len(), MOVES + 1, "{}", bench.story());
}

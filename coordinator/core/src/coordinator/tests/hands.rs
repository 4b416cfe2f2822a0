//! Hands off, and failovers that wait for somebody's word.

use std::time::Duration;

use vipfence_types::{Epoch, Failover, Unanswered, VipSpec};

use super::bench::{Bench, Old, address, demo, node, secs};
use crate::{
    ask::AskError,
    registry::{Cause, EventKind, Pending, Refused, Scope},
};

fn asking(then: Unanswered) -> VipSpec {
    let failover = Failover::Confirm { timeout_ms: 60_000, then };
    VipSpec { failover, ..VipSpec::host(address()) }
}

impl Bench {
    fn pending(&self) -> Option<&Pending> {
        self.vip().restraint.pending.as_ref()
    }
}

// ---- hands off ----------------------------------------------------------------------------------

#[test]
fn a_paused_vip_is_not_moved_by_itself_and_says_so_until_somebody_resumes() {
    let mut bench = Bench::held_by_a();
    bench.pause(Scope::Vip(demo()), None);
    bench.kill("a");
    bench.run(secs(60));
    assert!(!bench.saw("move"), "{}", bench.story());
    let why = "a is silent; automatic moves of VIP demo are paused by me: maintenance";
    assert_eq!(bench.withheld(), why);
    assert_eq!(bench.events(EventKind::Withheld), 1);
    bench.replace_leader(Old::Crashes, &node("c"));
    bench.run(secs(20));
    assert!(!bench.saw("move"), "it outlives the leader\n{}", bench.story());
    bench.resume(Scope::Vip(demo()));
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn a_paused_node_keeps_what_it_holds_and_gets_nothing_by_itself() {
    let mut bench = Bench::held_by_a();
    bench.pause(Scope::Node(node("b")), None);
    bench.agent("a").failing = Some("HTTP 503");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("c")), "{}", bench.story());
    bench.pause(Scope::Node(node("c")), None);
    bench.agent("c").failing = Some("HTTP 503");
    bench.run(secs(90));
    assert!(bench.is_held_by("c"), "{}", bench.story());
    assert!(bench.withheld().contains("automatic moves of node c are paused"), "{}", bench.story());
    // An operator may.
    bench.move_to("b");
    assert!(bench.run_until(secs(20), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn a_pause_ends_by_the_leaders_wall_clock() {
    let mut bench = Bench::held_by_a();
    bench.pause(Scope::Cluster, Some(secs(40)));
    bench.agent("a").failing = Some("HTTP 503");
    bench.run(secs(39));
    assert!(bench.is_held_by("a"), "{}", bench.story());
    assert!(bench.run_until(secs(5), |b| b.saw("move to b: HolderUnhealthy")), "{}", bench.story());
    assert_eq!((bench.events(EventKind::Paused), bench.events(EventKind::Resumed)), (1, 1));
    assert_eq!(bench.log.hold, None);
}

#[test]
fn an_agent_that_is_stopped_in_maintenance_has_its_vip_back_when_it_returns() {
    let mut bench = Bench::held_by_a();
    bench.pause(Scope::Node(node("a")), None);
    bench.agent("a").stopping = true;
    bench.run(secs(2));
    let told = bench.answers.iter().filter(|(_, name, _)| *name == node("a"));
    let mut told = told.filter_map(|(_, _, answer)| answer.as_ref().ok()?.nowhere.first());
    let why = "automatic moves of node a are paused by me: maintenance";
    assert_eq!(told.next_back().map(|one| one.reason.as_str()), Some(why));
    // It lets go by itself, and is gone for long.
    bench.agent("a").spent.insert(demo(), Epoch(1));
    bench.kill("a");
    bench.run(secs(60));
    bench.agent("a").stopping = false;
    bench.restart("a", vec!["a1".into()]);
    assert!(bench.run_until(secs(10), |b| b.is_held_by("a")), "{}", bench.story());
    assert_eq!((bench.last_cause(), bench.vip().epoch()), (Some(Cause::EpochRefused), Epoch(2)));
    assert_eq!(bench.arm.writes.len(), 0, "Azure was left alone\n{}", bench.story());
}

#[test]
fn a_pause_is_in_the_way_of_no_operator_and_of_no_open_move() {
    let mut bench = Bench::held_by_a();
    bench.move_to("b");
    assert!(bench.run_until(secs(5), |b| b.saw("begin detach")), "{}", bench.story());
    bench.pause(Scope::Cluster, None);
    bench.kill("b");
    let onward = |b: &Bench| b.is_held_by("a") || b.is_held_by("c");
    assert!(bench.run_until(secs(40), onward), "{}", bench.story());
    let there = if bench.is_held_by("a") { "c" } else { "a" };
    bench.move_to(there);
    assert!(bench.run_until(secs(20), |b| b.is_held_by(there)), "{}", bench.story());
}

#[test]
fn drift_of_a_paused_vip_is_shown_and_left_alone() {
    let mut bench = Bench::held_by_a();
    bench.pause(Scope::Vip(demo()), None);
    bench.arm.outsider_detaches("a-nic", address());
    bench.run(secs(130));
    assert!(bench.vip().drift.is_some() && !bench.saw("move"), "{}", bench.story());
    bench.resume(Scope::Vip(demo()));
    assert!(bench.run_until(secs(70), |b| b.is_held_by("a")), "{}", bench.story());
}

#[test]
fn what_does_not_exist_is_not_paused() {
    let mut bench = Bench::held_by_a();
    let nobody = bench.pause(Scope::Node(node("x")), None);
    let refused = Refused::NodeNotFound(node("x"));
    assert_eq!(bench.reply(nobody), Err(AskError::Refused(refused)));
}

// ---- failovers that wait --------------------------------------------------------------------------

#[test]
fn a_failover_that_is_to_be_confirmed_waits_for_the_word() {
    for confirmed in [true, false] {
        let mut bench = Bench::with(asking(Unanswered::Stay));
        bench.kill("a");
        bench.run(secs(30));
        assert!(!bench.saw("move") && bench.pending().is_some(), "{}", bench.story());
        assert_eq!(bench.events(EventKind::FailoverWaits), 1);
        bench.replace_leader(Old::Crashes, &node("w"));
        bench.run(secs(5));
        bench.confirm(confirmed);
        bench.run(secs(40));
        assert_eq!(bench.is_held_by("b"), confirmed, "{}", bench.story());
        assert_eq!(bench.events(EventKind::FailoverConfirmed), usize::from(confirmed));
        assert_eq!(bench.events(EventKind::FailoverDeclined), usize::from(!confirmed));
    }
}

#[test]
fn a_failover_that_nobody_confirms_in_time_does_what_the_vip_says() {
    for then in [Unanswered::Move, Unanswered::Stay] {
        let mut bench = Bench::with(asking(then));
        bench.agent("a").failing = Some("HTTP 503");
        bench.run(secs(50));
        assert!(bench.is_held_by("a"), "{}", bench.story());
        bench.run(secs(30));
        let moved = bench.is_held_by("b");
        assert_eq!(moved, then == Unanswered::Move, "{}", bench.story());
        if !moved {
            let word = bench.pending().and_then(|pending| pending.answer.clone());
            assert_eq!(word.map(|word| word.by).as_deref(), Some("nobody answered in time"));
            // Better late.
            bench.confirm(true);
            assert!(bench.run_until(secs(10), |b| b.is_held_by("b")), "{}", bench.story());
        }
    }
}

#[test]
fn a_question_is_gone_with_its_reason_and_asked_anew_about_another() {
    let mut bench = Bench::with(asking(Unanswered::Stay));
    bench.agent("a").failing = Some("HTTP 503");
    bench.run(secs(5));
    bench.confirm(false);
    bench.run(secs(5));
    // That it stays although it is not well says nothing about a node that is gone.
    bench.kill("a");
    bench.run(secs(10));
    let pending = bench.pending().map(|pending| (pending.cause, pending.answer.clone()));
    assert_eq!(pending, Some((Cause::HolderSilent, None)), "{}", bench.story());
    bench.agent("a").failing = None;
    bench.restart("a", vec!["a1".into()]);
    bench.run(secs(5));
    assert_eq!(bench.pending(), None, "{}", bench.story());
    assert!(bench.is_held_by("a"), "{}", bench.story());
    let nothing = bench.confirm(true);
    let refused = Refused::NothingPending(demo());
    assert_eq!(bench.reply(nothing), Err(AskError::Refused(refused)));
}

#[test]
fn a_clean_stop_is_not_asked_about() {
    let mut bench = Bench::with(asking(Unanswered::Stay));
    bench.agent("a").stopping = true;
    assert!(bench.run_until(secs(10), |b| b.is_held_by("b")), "{}", bench.story());
}

#[test]
fn pausing_takes_a_question_back() {
    let mut bench = Bench::with(asking(Unanswered::Move));
    bench.kill("a");
    bench.run(secs(20));
    bench.pause(Scope::Cluster, None);
    bench.run(secs(90));
    assert!(bench.pending().is_none() && !bench.saw("move"), "{}", bench.story());
    bench.resume(Scope::Cluster);
    assert!(bench.run_until(secs(1), |b| b.pending().is_some()), "{}", bench.story());
    let moved = |b: &Bench| b.is_held_by("b");
    assert!(bench.run_until(secs(70) + Duration::from_millis(500), moved), "{}", bench.story());
}

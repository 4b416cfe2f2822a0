//! Operations that are followed to their end, or get lost.

use super::*;

/// An attach that was accepted, its operation to be polled now.
fn attaching() -> Bench {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(accepted_with(URL));
    bench.later(50);
    bench
}

/// A detach as an earlier leader committed it.
fn committed() -> AzureOperation {
    AzureOperation {
        nic: NicId::new(NIC),
        kind: OperationKind::Detach,
        url: URL.to_owned(),
        status: "InProgress".to_owned(),
        started_ms: 990_000,
        ended_ms: None,
    }
}

fn ended_as(effects: &[NicEffect]) -> Option<&str> {
    match effects {
        [NicEffect::Operation { news, .. }] if news.ended_ms.is_some() => Some(&news.status),
        _ => None,
    }
}

#[test]
fn a_failed_operation_is_put_again_with_growing_back_off() {
    let mut bench = attaching();
    for wait_ms in [200, 400, 800, 1_600] {
        let failed = json!({"status": "Failed", "error": {"code": "InternalServerError"}});
        let effects = bench.polls(ok(200, failed));
        assert_eq!(ended_as(&effects), Some("Failed"));
        let want = present(110, bench.phase(110)).1;
        assert!(!bench.writer.is_accepted(ip(110), &want));
        bench.reads(ok(200, nic_in("Failed", "2", &[110])));
        assert_eq!(bench.writer.lists(ip(110)), None, "H14");
        bench.quiet();
        assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_millis(wait_ms)));
        bench.later(wait_ms);
        bench.writes();
        bench.answer(accepted_with(URL));
        bench.later(50);
    }
    bench.polls(status("Succeeded"));
    bench.reads(nic("3", &[110]));
    assert_eq!(bench.writer.problem(ip(110)), None);
    assert_eq!(bench.writer.lists(ip(110)), Some(true));
}

#[test]
fn an_operation_that_is_not_known_yet_is_polled_on() {
    let mut bench = attaching();
    for _ in 0..20 {
        assert_eq!(bench.polls(error(404, "NotFound", "")), vec![]);
        bench.now = bench.now.plus(bench.writer.wake_in(bench.now).expect("a poll"));
    }
    let effects = bench.polls(status("Succeeded"));
    assert_eq!(ended_as(&effects), Some("Succeeded"));
}

#[test]
fn where_the_url_is_lost_the_nic_itself_says_when_it_is_done() {
    for miss in [error(404, "NotFound", ""), lost(), ok(202, Value::Null)] {
        let mut bench = attaching();
        bench.later(10_000);
        for _ in 0..5 {
            assert_eq!(bench.polls(miss.clone()), vec![]);
            bench.later(200);
        }
        let effects = bench.polls(miss);
        assert_eq!(ended_as(&effects), Some("Unknown"));
        bench.reads(ok(200, nic_in("Updating", "2", &[110])));
        assert_eq!(bench.writer.lists(ip(110)), None);
        bench.later(50);
        bench.reads(nic("3", &[110]));
        assert_eq!(bench.writer.lists(ip(110)), Some(true));
    }
}

#[test]
fn the_operation_of_an_earlier_leader_is_followed_before_the_first_read() {
    let mut bench = Bench::new();
    bench.writer.follow(&committed(), &name(110), bench.now);
    let effects = bench.polls(status("Succeeded"));
    assert_eq!(ended_as(&effects), Some("Succeeded"));
    bench.reads(nic("2", &[]));
    assert_eq!(bench.writer.lists(ip(110)), Some(false));
    assert!(!bench.cleared(), "it was not our write");
}

#[test]
fn a_lost_operation_of_an_earlier_leader_is_not_waited_for_as_if_it_were_new() {
    let mut bench = Bench::new();
    bench.writer.follow(&committed(), &name(110), bench.now);
    let began = bench.now;
    let mut effects = vec![];
    while effects.is_empty() {
        effects = bench.polls(error(404, "NotFound", ""));
        bench.later(200);
    }
    assert_eq!(ended_as(&effects), Some("Unknown"));
    assert!(bench.now.mono_since(began) <= Duration::from_millis(1_400), "a second or so");
}

#[test]
fn news_of_a_followed_operation_are_of_the_same_operation_and_for_all_its_vips() {
    let mut bench = Bench::new();
    bench.writer.follow(&committed(), &name(110), bench.now);
    bench.writer.follow(&committed(), &name(111), bench.now);
    let another = AzureOperation { url: format!("{URL}2"), ..committed() };
    bench.writer.follow(&another, &name(112), bench.now);
    let effects = bench.polls(status("Succeeded"));
    let [NicEffect::Operation { vips, news }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(*vips, [name(110), name(111)]);
    assert_eq!((news.started_ms, news.ended_ms), (990_000, Some(1_000_000)));
}

#[test]
fn only_polls_in_a_row_without_news_give_up_the_url() {
    let mut bench = attaching();
    bench.later(10_000);
    for _ in 0..12 {
        assert_eq!(bench.polls(lost()), vec![]);
        bench.later(200);
        assert_eq!(bench.polls(status("InProgress")), vec![]);
        bench.now = bench.now.plus(bench.writer.wake_in(bench.now).expect("a poll"));
    }
    assert_eq!(ended_as(&bench.polls(status("Succeeded"))), Some("Succeeded"));
}

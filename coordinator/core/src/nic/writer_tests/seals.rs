//! Seals, and what clears a NIC.

use super::*;

#[test]
fn a_seal_carries_all_tags_and_counts_once_another_etag_was_read() {
    let mut bench = Bench::new();
    bench.want_seal(110);
    bench.reads(nic("1", &[110]));
    let patch = bench.writes();
    assert_eq!(patch.method, Method::Patch);
    assert_eq!(patch.headers.get("if-match").map(String::as_str), Some("1"));
    assert_eq!(patch.body, Some(json!({"tags": {"owner": "them", "vipfence": "c:3.1"}})));
    assert_eq!(patch.send_before, Some(SendBefore { began: bench.now, window: WINDOW }));
    bench.answer(ok(200, json!({})));
    assert!(!bench.cleared(), "H7: not before another ETag was read");
    bench.reads(nic("2", &[110]));
    assert!(bench.cleared());
    bench.quiet();
}

#[test]
fn a_tag_patch_that_leaves_the_etag_alone_is_followed_by_a_whole_put() {
    let mut bench = Bench::new();
    bench.want_seal(110);
    bench.reads(nic("1", &[110]));
    bench.writes();
    bench.answer(ok(200, json!({})));
    bench.reads(nic("1", &[110]));
    assert!(!bench.cleared());
    let put = bench.writes();
    assert_eq!(put.method, Method::Put);
    let mut whole = nic_in("Succeeded", "1", &[110]);
    *whole.pointer_mut("/tags").expect("tags") = json!({"owner": "them", "vipfence": "c:3.2"});
    assert_eq!(put.body, Some(whole));
    bench.answer(ok(200, json!({})));
    bench.reads(nic("2", &[110]));
    assert!(bench.cleared());
}

#[test]
fn without_our_tag_a_seal_is_a_put_of_the_document_as_it_is() {
    let mut bench = Bench::new();
    bench.writer.setup.epoch_tag = false;
    bench.want_seal(110);
    bench.reads(nic("1", &[110]));
    let put = bench.writes();
    assert_eq!((put.method, put.body), (Method::Put, Some(nic_in("Succeeded", "1", &[110]))));
    bench.answer(ok(200, json!({})));
    // It may still change with the end of its operation.
    bench.reads(ok(200, nic_in("Updating", "1", &[110])));
    assert!(!bench.cleared());
    bench.later(1_000);
    bench.reads(nic("2", &[110]));
    assert!(bench.cleared());
    bench.quiet();
}

#[test]
fn a_put_that_leaves_the_etag_alone_seals_nothing_and_only_time_clears() {
    let mut bench = Bench::new();
    bench.writer.setup.epoch_tag = false;
    bench.want_seal(110);
    bench.reads(nic("1", &[110]));
    bench.writes();
    bench.answer(ok(200, json!({})));
    bench.reads(nic("1", &[110]));
    assert!(!bench.cleared());
    bench.quiet();
    bench.later(301_000);
    assert!(bench.cleared(), "no earlier write can hit any more");
}

#[test]
fn a_seal_is_void_when_every_phase_that_asks_has_changed() {
    let mut bench = Bench::new();
    bench.want_seal(110);
    bench.reads(nic("1", &[110]));
    assert_eq!(bench.tick(), vec![NicEffect::Round]);
    bench.bump(110);
    assert_eq!(bench.round(), vec![]);
}

#[test]
fn an_edit_that_is_due_makes_a_seal_needless() {
    let mut bench = Bench::new();
    let seals = BTreeMap::from([(name(111), bench.phase(111))]);
    let wants = BTreeMap::from([present(110, bench.phase(110))]);
    bench.writer.want(wants, seals, bench.now);
    bench.reads(nic("1", &[]));
    assert_eq!(bench.writes().method, Method::Put);
    bench.answer(ok(200, json!({})));
    bench.reads(nic("2", &[110]));
    assert!(bench.cleared());
    bench.quiet();
}

#[test]
fn where_a_seal_is_refused_for_good_only_time_clears() {
    for refusal in [error(403, "AuthorizationFailed", ""), error(409, "ScopeLocked", "")] {
        let mut bench = Bench::new();
        bench.want_seal(110);
        bench.reads(nic("1", &[110]));
        bench.writes();
        bench.answer(refusal);
        assert!(!bench.cleared());
        bench.later(300_999);
        assert!(!bench.cleared());
        bench.later(1);
        assert!(bench.cleared(), "write_window + azure_max after the election");
    }
}

#[test]
fn the_bound_counts_anew_from_a_write_of_unknown_outcome_and_never_holds_during_one() {
    let mut bench = Bench::new();
    bench.want_seal(110);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(error(409, "ScopeLocked", ""));
    bench.later(301_000);
    assert!(bench.cleared());
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    assert!(!bench.cleared(), "a write is in flight");
    bench.answer(lost());
    assert!(!bench.cleared());
    bench.later(300_999);
    assert!(!bench.cleared());
    bench.later(1);
    assert!(bench.cleared());
}

#[test]
fn a_seal_that_is_throttled_is_tried_again_and_leaves_no_ticks_behind() {
    let mut bench = Bench::new();
    bench.want_seal(110);
    bench.reads(nic("1", &[110]));
    bench.writes();
    bench.answer(error(429, "RetryableError", ""));
    bench.later(200);
    bench.reads(nic("1", &[110]));
    assert_eq!(bench.tick(), vec![NicEffect::Round]);
    bench.writer.want(BTreeMap::new(), BTreeMap::new(), bench.now);
    bench.writer.on_round(bench.now, None, &mut bench.next);
    bench.later(10_000);
    bench.quiet();
    assert_eq!(bench.writer.wake_in(bench.now), None);
}

#[test]
fn a_seal_that_was_refused_is_tried_again_within_the_bound() {
    for refusal in [error(403, "AuthorizationFailed", ""), error(409, "ScopeLocked", "")] {
        let mut bench = Bench::new();
        bench.want_seal(110);
        bench.reads(nic("1", &[110]));
        for wait_ms in [200, 400, 800] {
            bench.writes();
            bench.answer(refusal.clone());
            bench.reads(nic("1", &[110]));
            bench.quiet();
            assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_millis(wait_ms)));
            bench.later(wait_ms);
        }
        bench.writes();
        bench.answer(ok(200, json!({})));
        bench.reads(nic("2", &[110]));
        assert!(bench.cleared());
        assert_eq!(bench.writer.wake_in(bench.now), None);
    }
}

#[test]
fn a_refused_seal_holds_up_nothing_else() {
    let mut bench = Bench::new();
    let seals = BTreeMap::from([(name(111), bench.phase(111))]);
    bench.writer.want(BTreeMap::new(), seals.clone(), bench.now);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(error(409, "ScopeLocked", ""));
    bench.reads(nic("1", &[]));
    bench.quiet();
    bench.later(1);
    bench.writer.read_after(Some(bench.now), Urgency::Move);
    bench.reads(nic("1", &[]));
    bench.writer.want(BTreeMap::from([present(110, bench.phase(110))]), seals, bench.now);
    assert_eq!(bench.writes().method, Method::Put);
}

#[test]
fn an_accepted_write_ends_a_refusal_of_seals() {
    let mut bench = Bench::new();
    bench.want_seal(110);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(error(409, "ScopeLocked", ""));
    // The lock is gone.
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(ok(200, json!({})));
    bench.reads(nic("2", &[110]));
    bench.want_present(&[110, 111]);
    bench.writes();
    bench.answer(lost());
    bench.later(301_000);
    assert!(!bench.cleared(), "no seal was refused since");
    bench.want_seal(110);
    bench.reads(nic("2", &[110]));
    assert_eq!(bench.writes().method, Method::Patch);
}

#[test]
fn a_nic_that_could_not_be_read_for_a_while_is_sealed_once_it_can_be() {
    let mut bench = Bench::new();
    bench.want_seal(110);
    bench.reads(error(403, "AuthorizationFailed", ""));
    assert!(!bench.cleared());
    bench.later(200);
    bench.reads(nic("1", &[110]));
    assert_eq!(bench.writes().method, Method::Patch);
}

#[test]
fn a_nic_that_may_not_be_read_counts_as_one_that_may_not_be_sealed() {
    let mut bench = Bench::new();
    bench.later(200_000);
    bench.want_seal(110);
    bench.reads(error(403, "AuthorizationFailed", ""));
    bench.later(100_999);
    assert!(!bench.cleared());
    bench.later(1);
    assert!(bench.cleared(), "write_window + azure_max after the election");
}

#[test]
fn the_bound_holds_on_when_nobody_asks_for_the_seal_any_more() {
    let mut bench = Bench::new();
    bench.want_seal(110);
    bench.reads(ok(200, nic_in("Updating", "1", &[110])));
    bench.later(301_000);
    assert!(bench.cleared(), "it never came to rest");
    // The Mover asks no more for a seal of a NIC that counts as cleared.
    bench.want(&[]);
    assert!(bench.cleared());
}

// ---- where If-Match is not relied on --------------------------------------------------------

#[test]
fn without_if_match_nothing_is_sealed_and_only_time_and_a_read_after_it_clear() {
    let mut bench = Bench::new();
    bench.writer.setup.trust_if_match = false;
    bench.reads(nic("1", &[]));
    bench.want_seal(110);
    bench.quiet();
    bench.later(300_999);
    assert!(!bench.cleared());
    bench.quiet();
    bench.later(2);
    assert!(!bench.cleared(), "it may have been hit after it was read");
    bench.reads(nic("2", &[]));
    assert!(bench.cleared());
    bench.quiet();
}

#[test]
fn without_if_match_a_nic_is_read_once_the_wait_is_over_by_every_clock() {
    let mut bench = Bench::new();
    bench.writer.setup.trust_if_match = false;
    bench.reads(nic("1", &[]));
    bench.want_seal(110);
    // Two clocks show that the bound has passed; the third is a percent slower.
    bench.later(302_000);
    bench.now.raw_us -= 3_000_000;
    bench.quiet();
    bench.later(4_000);
    bench.reads(nic("2", &[]));
    assert!(bench.cleared());
    bench.quiet();
}

#[test]
fn without_if_match_a_nic_is_read_after_the_wait_also_where_nobody_wants_a_seal() {
    let mut bench = Bench::new();
    bench.writer.setup.trust_if_match = false;
    bench.reads(nic("1", &[]));
    bench.quiet();
    bench.later(301_001);
    bench.reads(nic("2", &[]));
    assert!(bench.cleared(), "the NIC on which a VIP arrives is not sealed");
}

#[test]
fn without_if_match_a_nic_that_nothing_can_hit_is_clear_until_an_own_write_is_unknown() {
    let mut bench = Bench::new();
    bench.writer.setup.trust_if_match = false;
    bench.writer.setup.exposed = false;
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    assert!(bench.cleared());
    bench.writes();
    assert!(!bench.cleared(), "a write is in flight");
    bench.answer(lost());
    assert!(!bench.cleared());
    bench.later(1_000);
    bench.reads(nic("2", &[110]));
    assert!(!bench.cleared());
    bench.want_seal(110);
    bench.later(300_001);
    bench.reads(nic("2", &[110]));
    assert!(bench.cleared());
}

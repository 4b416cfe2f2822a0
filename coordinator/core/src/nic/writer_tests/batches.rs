//! Batches that Azure refuses, and the pace of what is tried again.

use std::collections::BTreeSet;

use super::{super::budget::Class, *};

#[test]
fn an_address_that_the_refusal_names_leaves_the_batch() {
    let mut bench = Bench::new();
    bench.want_present(&[110, 111, 112]);
    bench.reads(nic("1", &[]));
    bench.writes();
    let text = "IP configuration x is using the private IP address 10.5.0.111 which is taken.";
    bench.answer(error(400, "PrivateIPAddressIsAllocated", text));
    bench.reads(nic("1", &[]));
    assert_eq!(addresses(bench.writes().body.as_ref()), ["10.5.0.110", "10.5.0.112"]);
    let problem = bench.writer.problem(ip(111)).expect("a problem");
    assert_eq!(problem.kind, ProblemKind::AddressInUse { holder: None });
    assert_eq!(bench.writer.problem(ip(110)), None);
}

#[test]
fn a_batch_is_halved_when_the_refusal_names_none() {
    let mut bench = Bench::new();
    bench.want_present(&[110, 111, 112, 113]);
    let mut sizes = Vec::new();
    // 10.5.0.111 is at fault, and Azure does not say so.
    for _ in 0..6 {
        bench.reads(nic("1", &[]));
        let put = bench.writes();
        let batch = addresses(put.body.as_ref());
        sizes.push(batch.len());
        if batch.iter().any(|address| address == "10.5.0.111") {
            bench.answer(error(400, "SomethingBad", "no name"));
            let whole = bench.writer.problem(ip(110)).map(|p| &p.kind);
            assert!(batch.len() == 1 || whole == Some(&ProblemKind::Later), "nobody is at fault");
        } else {
            bench.answer(error(429, "RetryableError", ""));
        }
        bench.later(200);
        if bench.writer.problem(ip(111)).is_some_and(|p| p.kind == ProblemKind::Refused) {
            break;
        }
        bench.want_present(&[110, 111, 112, 113]);
        if sizes.len() == 3 {
            // The first of two was innocent and went alone; let it be attached.
            bench.want_present(&[111, 112, 113]);
        }
    }
    assert_eq!(sizes, [4, 2, 1, 1]);
    let innocent = bench.writer.problem(ip(112)).map(|p| &p.kind);
    assert_eq!(innocent, Some(&ProblemKind::Later), "it waits for the search");
}

/// Answers every request at once and counts the PUTs of 60 s.
fn puts_in_a_minute(
    bench: &mut Bench,
    mut arm: impl FnMut(Clocks, &HttpRequest) -> HttpResult,
) -> usize {
    let end = bench.now.plus(Duration::from_secs(60));
    let mut puts = 0;
    let mut steps = 0;
    while end.later_than(bench.now) {
        steps += 1;
        assert!(steps < 5_000, "a hot loop: {:?}", bench.writer);
        let mut effects = bench.tick();
        if effects == [NicEffect::Round] {
            effects = bench.round();
        }
        if effects.is_empty() {
            let wake = bench.writer.wake_in(bench.now).unwrap_or(Duration::from_secs(1));
            bench.now = bench.now.plus(wake);
            continue;
        }
        let request = one_request(effects);
        puts += usize::from(request.method != Method::Get);
        bench.later(20);
        let result = arm(bench.now, &request);
        bench.answer(result);
    }
    puts
}

#[test]
fn an_address_that_a_stranger_has_is_asked_for_at_a_bounded_pace() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    let puts = puts_in_a_minute(&mut bench, |_, request| match request.method {
        Method::Get => nic("1", &[]),
        Method::Put | Method::Patch => error(400, "PrivateIPAddressIsAllocated", "10.5.0.110"),
    });
    assert!((10..=20).contains(&puts), "{puts} PUTs");
}

#[test]
fn a_nic_that_somebody_else_changes_all_the_time_is_written_at_a_bounded_pace() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    let puts = puts_in_a_minute(&mut bench, |_, request| match request.method {
        Method::Get => nic("1", &[]),
        Method::Put | Method::Patch => error(412, "PreconditionFailed", ""),
    });
    assert!((5..=40).contains(&puts), "{puts} PUTs");
}

#[test]
fn a_locked_nic_with_many_vips_is_written_at_a_bounded_pace() {
    let mut bench = Bench::new();
    bench.want_present(&[110, 111, 112, 113, 114]);
    let puts = puts_in_a_minute(&mut bench, |_, request| match request.method {
        Method::Get => nic("1", &[]),
        Method::Put | Method::Patch => error(409, "ScopeLocked", "a lock"),
    });
    assert!((5..=15).contains(&puts), "{puts} PUTs");
}

#[test]
fn a_batch_that_is_refused_as_a_whole_is_halved_at_a_bounded_pace() {
    let mut bench = Bench::new();
    bench.want_present(&[110, 111, 112, 113, 114]);
    let mut first_second = 0;
    let begun = bench.now;
    let puts = puts_in_a_minute(&mut bench, |now, request| match request.method {
        Method::Get => nic("1", &[]),
        Method::Put | Method::Patch => {
            first_second += usize::from(now.mono_since(begun) <= Duration::from_secs(1));
            error(400, "SomethingBad", "no name")
        }
    });
    assert!((5..=60).contains(&puts), "{puts} PUTs");
    assert!(first_second <= 6, "{first_second} PUTs in the first second");
}

#[test]
fn a_refusal_of_what_is_no_longer_wanted_leaves_no_ticks_behind() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.want(&[]);
    bench.answer(error(400, "SomethingBad", ""));
    bench.reads(nic("1", &[]));
    bench.later(10_000);
    bench.quiet();
    assert_eq!(bench.writer.wake_in(bench.now), None);
    assert_eq!(bench.writer.problem(ip(110)), None);
}

#[test]
fn an_edit_that_touches_a_primary_is_never_sent() {
    let mut bench = Bench::new();
    let vip = name(110);
    let want = Want { vip, phase: bench.phase(110), presence: Presence::Absent };
    bench.want(&[(ip(4), want)]);
    bench.reads(nic("1", &[110]));
    bench.quiet();
    assert_eq!(bench.writer.problem(ip(4)).map(|p| &p.kind), Some(&ProblemKind::Refused));
}

#[test]
fn a_nic_that_stays_failed_is_not_written_in_a_hot_loop() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    let puts = puts_in_a_minute(&mut bench, |_, request| match request.method {
        Method::Get => ok(200, nic_in("Failed", "1", &[110])),
        Method::Put | Method::Patch => ok(200, json!({})),
    });
    assert!((3..=20).contains(&puts), "{puts} PUTs");
}

#[test]
fn a_wait_that_azure_asked_for_outlives_a_change_of_the_wants() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    let mut throttled = error(429, "SubscriptionRequestsThrottled", "");
    if let Ok(answer) = &mut throttled {
        answer.headers.insert("retry-after".into(), "7".into());
    }
    bench.answer(throttled);
    bench.want_present(&[110, 111]);
    bench.quiet();
    bench.later(6_999);
    bench.quiet();
    bench.later(1);
    bench.reads(nic("1", &[]));
    assert_eq!(addresses(bench.writes().body.as_ref()).len(), 2);
}

#[test]
fn a_back_off_of_our_own_ends_when_something_else_is_wanted() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(error(409, "AnotherOperationInProgress", ""));
    bench.quiet();
    bench.want_present(&[110, 111]);
    bench.reads(nic("1", &[]));
    assert_eq!(addresses(bench.writes().body.as_ref()).len(), 2);
}

#[test]
fn a_put_that_names_a_missing_resource_is_tried_again_at_a_bounded_pace() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    // The NIC is there; the public IP that belongs to the address is not.
    let puts = puts_in_a_minute(&mut bench, |_, request| match request.method {
        Method::Get => nic("1", &[]),
        Method::Put | Method::Patch => error(404, "NotFound", "Resource /pip not found."),
    });
    assert!((5..=20).contains(&puts), "{puts} PUTs");
}

#[test]
fn a_write_that_azure_accepts_and_forgets_is_repeated_at_a_bounded_pace() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    let puts = puts_in_a_minute(&mut bench, |_, request| match request.method {
        Method::Get => nic("1", &[]),
        Method::Put | Method::Patch => ok(200, json!({})),
    });
    assert!((5..=20).contains(&puts), "{puts} PUTs");
}

#[test]
fn a_read_that_fails_is_repeated_every_few_seconds() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    for _ in 0..10 {
        bench.reads(error(403, "AuthorizationFailed", ""));
        let wait = bench.writer.wake_in(bench.now).expect("another read");
        assert!(wait <= Duration::from_secs(5), "{wait:?}");
        bench.now = bench.now.plus(wait);
    }
}

#[test]
fn a_write_that_waits_does_not_keep_a_move_from_looking_at_the_nic() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(error(403, "AuthorizationFailed", ""));
    bench.later(1);
    bench.quiet();
    bench.writer.read_after(Some(bench.now), Urgency::Move);
    bench.reads(lost());
    bench.quiet();
    bench.later(1);
    bench.writer.read_after(Some(bench.now), Urgency::Move);
    bench.reads(nic("2", &[]));
    assert!(bench.writer.document_since(bench.now).is_some());
    bench.quiet();
    assert!(bench.writer.problem(ip(110)).is_some(), "the write still waits");
}

#[test]
fn without_budget_nothing_is_sent_and_the_reason_is_told() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    while bench.budget.take(bench.now, Class::Write, Urgency::Move) {}
    bench.quiet();
    let problem = bench.writer.problem(ip(110)).expect("a reason");
    assert!(problem.to_string().contains("throttled"), "{problem}");
    bench.later(100);
    bench.writes();
    assert_eq!(bench.writer.problem(ip(110)), None);
}

#[test]
fn a_repetition_of_a_refused_attach_leaves_what_is_left_to_moves() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    while bench.budget.take(bench.now, Class::Write, Urgency::Upkeep) {}
    bench.writes();
    bench.answer(error(400, "PrivateIPAddressIsAllocated", "10.5.0.110 is in use"));
    bench.later(300);
    bench.reads(nic("1", &[]));
    while bench.budget.take(bench.now, Class::Write, Urgency::Upkeep) {}
    bench.quiet();
    let another = present(111, bench.phase(111));
    bench.want(&[present(110, bench.phase(110)), another]);
    bench.writes();
}

#[test]
fn a_vip_that_is_superseded_inside_a_batch_leaves_it_and_the_others_go_on() {
    let mut bench = Bench::new();
    bench.want_present(&[110, 111]);
    bench.reads(nic("1", &[]));
    assert_eq!(bench.tick(), vec![NicEffect::Round]);
    // While the round is under way somebody else's move takes one of them back.
    bench.bump(111);
    assert_eq!(bench.round(), vec![], "I7: the batch as it was made is void");
    bench.want_present(&[110]);
    let sent = bench.writes();
    assert_eq!(addresses(sent.body.as_ref()), ["10.5.0.110"]);
    bench.answer(ok(200, json!({})));
    bench.reads(nic("2", &[110]));
    assert_eq!(bench.writer.lists(ip(110)), Some(true));
}

#[test]
fn a_write_waits_for_the_vips_that_are_about_to_join_it() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writer.expect(true, BTreeSet::new());
    bench.quiet();
    bench.later(400);
    bench.want_present(&[110, 111]);
    bench.quiet();
    bench.later(400);
    bench.quiet();
    bench.want_present(&[110, 111, 112]);
    bench.writer.expect(false, BTreeSet::new());
    assert_eq!(addresses(bench.writes().body.as_ref()).len(), 3);
}

#[test]
fn a_write_does_not_wait_long_for_vips_that_do_not_come() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writer.expect(true, BTreeSet::new());
    bench.quiet();
    bench.later(499);
    bench.quiet();
    bench.later(1);
    bench.writes();
}

#[test]
fn a_write_waits_five_seconds_at_most_however_many_come() {
    let mut bench = Bench::new();
    bench.reads(nic("1", &[]));
    bench.writer.expect(true, BTreeSet::new());
    let mut waited = 0;
    loop {
        // Their number changes all the time.
        bench.want_present(if waited % 800 == 0 { &[110] } else { &[110, 111] });
        if bench.tick() == [NicEffect::Round] {
            break;
        }
        bench.later(400);
        waited += 400;
        assert!(waited <= 5_200, "it still waits");
    }
    assert!(waited >= 4_800, "{waited}");
}

#[test]
fn addresses_that_azure_has_not_freed_yet_wait_together() {
    let mut bench = Bench::new();
    bench.want_present(&[110, 111, 112, 113]);
    bench.writer.expect(false, BTreeSet::from([ip(110), ip(111), ip(112)]));
    bench.reads(nic("1", &[]));
    bench.writes();
    let text = "IP configuration x is using the private IP address 10.5.0.110 which is taken.";
    bench.answer(error(400, "PrivateIPAddressIsAllocated", text));
    bench.reads(nic("1", &[]));
    // The one that comes from nowhere goes on alone.
    assert_eq!(addresses(bench.writes().body.as_ref()), ["10.5.0.113"]);
    bench.answer(error(412, "PreconditionFailed", ""));
    bench.writer.retry_attach(ip(110));
    bench.writer.retry_attach(ip(111));
    bench.writer.retry_attach(ip(112));
    bench.reads(nic("2", &[]));
    assert_eq!(addresses(bench.writes().body.as_ref()).len(), 4, "and then all at once");
}

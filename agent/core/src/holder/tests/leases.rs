//! Entitlement and the kernel's lifetimes.

use vipfence_types::{Epoch, Refusal, Term, VipAddress};

use super::bench::*;
use crate::{Effect, EndCause, Event, Found, Input, Start};

#[test]
fn a_grant_adds_the_address_under_the_whole_seconds_of_the_remaining_lease() {
    let mut bench = Bench::new();
    bench.now = bench.now.plus(ms(300));
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert_eq!(
        effects,
        [
            Effect::Event(Event::LeaderAnswers { term: Term(3) }),
            Effect::PersistHighest { epoch: Epoch(5) },
            entitled(5),
            Effect::Add {
                call: crate::Call(1),
                vip: name("demo"),
                epoch: Epoch(5),
                addresses: vec![VipAddress::host(address("demo"))],
                lifetime: secs(9),
                computed_at: bench.now,
                start_within: ms(100),
                probe: None,
            },
        ]
    );
    assert_eq!(bench.held(), [("demo".to_owned(), 5, false)]);
    assert_eq!(bench.holder.view(bench.now).held[0].lease_left, ms(9_700));
}

#[test]
fn an_add_is_reported_at_once_and_only_after_the_read_back() {
    let mut bench = Bench::new();
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert!(beats(&effects).is_empty());
    let effects = bench.added(add_call(&effects));
    let beats = beats(&effects);
    assert_eq!(beats.len(), 1);
    assert_eq!(beats[0].held[0].at, at("demo", 5));
    assert!(beats[0].held[0].added);
    assert_eq!(beats[0].highest_epoch, Epoch(5));
}

#[test]
fn the_lease_counts_from_the_sending_of_the_heartbeat_and_not_from_its_answer() {
    let mut bench = Bench::new();
    let late = bench.seq;
    bench.run(secs(8));
    let effects = bench.answer_to(late, &[grant("demo", 5)], &[]);
    assert_eq!(adds(&effects)[0].2, secs(2));
}

#[test]
fn an_answer_whose_lease_is_over_entitles_to_nothing() {
    let mut bench = Bench::new();
    bench.now = bench.now.plus(secs(10));
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert!(adds(&effects).is_empty());
    assert_eq!(bench.held(), []);
}

#[test]
fn a_renewal_waits_until_half_of_the_lifetime_is_gone() {
    let mut bench = Bench::holding();
    for _ in 0..4 {
        let effects = bench.beat_and_answer(&[grant("demo", 5)], &[]);
        assert!(adds(&effects).is_empty());
    }
    let effects = bench.pass(secs(1));
    assert_eq!(adds(&effects).len(), 1, "5 of 10 s are gone");
    assert_eq!(adds(&effects)[0].2, secs(9));
}

#[test]
fn a_long_lease_is_given_to_the_kernel_in_pieces_of_12_seconds() {
    let mut bench = Bench::new();
    let mut long = grant("demo", 5);
    long.lease_ttl_ms = 30_000;
    let effects = bench.answer(&[long], &[]);
    assert_eq!(adds(&effects)[0].2, secs(12));
    bench.added(add_call(&effects));
    let effects = bench.run(secs(6));
    assert_eq!(adds(&effects)[0].2, secs(12), "from its own lease, unasked");
}

#[test]
fn without_answers_the_lease_ends_by_itself_and_the_reason_is_shown() {
    let mut bench = Bench::holding();
    bench.pass(secs(1));
    bench.refuse(Refusal::NoQuorum);
    assert_eq!(bench.detail(), "no leader answers: the leader could not reach a majority");
    let effects = bench.pass(secs(9));
    let drop = drop_call(&effects);
    assert!(effects.contains(&ended(5, EndCause::LeaseEnded)));
    assert!(effects.contains(&drop_of(drop)));
    assert_eq!(bench.held(), []);
    assert_eq!(
        bench.detail(),
        "no quorum: the lease of demo ended (the leader could not reach a majority)"
    );
}

#[test]
fn the_view_between_two_steps_goes_by_the_clock() {
    let bench = Bench::holding();
    let later = bench.now.plus(secs(10));
    assert_eq!(bench.holder.view(later).held, []);
}

#[test]
fn after_its_lease_ended_a_node_may_be_granted_the_same_epoch_again() {
    let mut bench = Bench::holding();
    let effects = bench.pass(secs(10));
    bench.step(Input::Dropped { call: drop_call(&effects) });
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert_eq!(adds(&effects)[0].1, 5);
}

#[test]
fn a_clock_step_forward_ends_the_lease_and_a_step_back_does_not_lengthen_it() {
    let mut bench = Bench::holding();
    bench.now.wall_us -= 900_000_000;
    bench.pass(secs(9));
    assert_eq!(bench.held().len(), 1);
    assert_eq!(bench.holder.view(bench.now).held[0].lease_left, secs(1));
    let mut bench = Bench::holding();
    bench.now.wall_us += 10_000_000;
    let effects = bench.step(Input::Tick);
    assert!(effects.contains(&ended(5, EndCause::LeaseEnded)));
}

#[test]
fn a_new_epoch_keeps_the_address_and_is_read_back_anew() {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[grant("demo", 7)], &[]);
    let acts = acts(&effects);
    assert!(acts.contains(&entitled(7)));
    assert!(!acts.iter().any(|e| matches!(e, Effect::Drop { .. })));
    assert_eq!(adds(&effects)[0].1, 7);
    assert_eq!(bench.held(), [("demo".to_owned(), 7, false)]);
    bench.added(add_call(&effects));
    assert_eq!(bench.held(), [("demo".to_owned(), 7, true)]);
}

#[test]
fn an_epoch_below_the_one_held_is_refused_and_the_lease_runs_on() {
    let mut bench = Bench::holding();
    let effects = bench.beat_and_answer(&[grant("demo", 4)], &[]);
    let said = beats(&effects).last().cloned().unwrap();
    assert_eq!(said.refused, [at("demo", 4)]);
    assert_eq!(said.held[0].at, at("demo", 5));
    assert_eq!(said.highest_epoch, Epoch(5));
    assert_eq!(bench.holder.view(bench.now).held[0].lease_left, secs(9));
}

#[test]
fn other_addresses_of_the_same_vip_wait_until_the_old_ones_are_gone() {
    let mut bench = Bench::holding();
    let mut other = grant("demo", 7);
    other.addresses = vec![VipAddress::host(address("other"))];
    let effects = bench.beat_and_answer(std::slice::from_ref(&other), &[]);
    assert!(adds(&effects).is_empty());
    let drop = drop_call(&effects);
    bench.step(Input::Dropped { call: drop });
    let effects = bench.answer(&[other], &[]);
    assert_eq!(adds(&effects)[0].1, 7);
}

#[test]
fn an_add_that_came_late_is_repeated_or_the_address_dropped() {
    let mut bench = Bench::new();
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    bench.now = bench.now.plus(ms(101));
    let effects = bench.step(Input::Added { call: add_call(&effects), at: bench.now });
    assert_eq!(adds(&effects)[0].2, secs(9));
    assert_eq!(bench.held(), [("demo".to_owned(), 5, false)]);
    bench.now = bench.now.plus(ms(9_100));
    let effects = bench.step(Input::Added { call: add_call(&effects), at: bench.now });
    assert!(adds(&effects).is_empty());
    drop_call(&effects);
}

#[test]
fn an_add_that_failed_is_shown_and_repeated() {
    let mut bench = Bench::new();
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    let effects = bench
        .step(Input::AddFailed { call: add_call(&effects), problem: "no interface nic7".into() });
    assert_eq!(beats(&effects)[0].held[0].problem, "no interface nic7");
    assert_eq!(bench.detail(), "demo: no interface nic7");
    let effects = bench.run(ms(250));
    let effects = bench.added(add_call(&effects));
    assert!(effects.contains(&Effect::Event(Event::Added { vip: name("demo"), epoch: Epoch(5) })));
    assert_eq!(bench.detail(), "");
}

#[test]
fn hold_without_quorum_renews_locally_while_no_answer_comes() {
    let mut bench = Bench::new();
    let mut held = grant("demo", 5);
    held.hold_without_quorum = true;
    let effects = bench.answer(&[held], &[]);
    bench.added(add_call(&effects));
    let mut all = Vec::new();
    for _ in 0..60 {
        let effects = bench.run(secs(1));
        for (call, ..) in adds(&effects) {
            bench.added(call);
        }
        all.extend(effects);
    }
    assert_eq!(bench.held(), [("demo".to_owned(), 5, true)]);
    assert!(bench.detail().contains("demo is held without a quorum"));
    let told = |e: &&Effect| matches!(e, Effect::Event(Event::HeldWithoutQuorum { .. }));
    assert_eq!(all.iter().filter(told).count(), 1);

    let effects = bench.answer(&[], &[]);
    assert!(effects.contains(&ended(5, EndCause::NotGranted)));
    assert_eq!(bench.held(), []);
}

#[test]
fn hold_without_quorum_does_not_outlive_a_pause_longer_than_the_lease() {
    let mut bench = Bench::new();
    let mut held = grant("demo", 5);
    held.hold_without_quorum = true;
    bench.answer(&[held], &[]);
    bench.run(secs(7));
    bench.pass(secs(20));
    assert_eq!(bench.held(), []);
}

#[test]
fn a_starting_agent_is_entitled_to_nothing_and_sweeps_what_has_no_end() {
    let found = |last, lifetime_left| Found {
        address: std::net::IpAddr::from([10, 5, 0, last]),
        lifetime_left,
    };
    let (mut bench, effects) = Bench::from(Start {
        found: vec![
            found(110, Some(secs(3))),
            found(111, Some(secs(3))),
            found(112, None),
            found(113, Some(secs(900))),
        ],
        ..start()
    });
    let keep = [110, 111].map(|last| std::net::IpAddr::from([10, 5, 0, last]));
    assert_eq!(
        acts(&effects),
        [Effect::Sweep { call: crate::Call(1), managed: [].into(), keep: keep.into() }]
    );
    assert_eq!(beats(&effects), Vec::<&vipfence_types::Heartbeat>::new());
    let effects = bench.step(Input::Dropped { call: crate::Call(1) });
    assert_eq!(beats(&effects).len(), 1, "{effects:?}");
    assert_eq!(bench.held(), []);
    // The first answer says which of the others go.
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    let sweep =
        Effect::Sweep { call: crate::Call(2), managed: [].into(), keep: [address("demo")].into() };
    assert!(effects.contains(&sweep));
    assert_eq!(adds(&effects).len(), 1);
}

#[test]
fn a_node_that_cannot_drop_what_it_found_stays_out_and_says_why() {
    let found = vec![Found { address: address("demo"), lifetime_left: None }];
    let (mut bench, effects) = Bench::from(Start { found, ..start() });
    let mut call = drop_call(&effects);
    let problem = || "Operation not permitted".to_owned();
    let said = Effect::Event(Event::DropFailed { vip: None, problem: problem() });
    for round in 0..40 {
        let effects = bench.step(Input::DropFailed { call, problem: problem() });
        assert_eq!(acts(&effects).contains(&said), round == 0, "said once");
        let effects = bench.pass(ms(250));
        assert_eq!(beats(&effects).len(), 0, "a nudge or time does not make it join");
        assert_eq!(bench.step(Input::Nudged), []);
        call = drop_call(&effects);
    }
    let detail = bench.detail();
    assert!(detail.contains("Operation not permitted; the node joins without them"), "{detail}");
    // Whoever stops it need not wait: there is nobody to tell.
    let mut stopping = bench.clone();
    let effects = stopping.step(Input::Stop { on_stop: crate::OnStop::Move, within: secs(30) });
    assert_eq!(effects, [Effect::Stopped]);
    let effects = bench.step(Input::Dropped { call });
    assert_eq!(beats(&effects).len(), 1);
    assert!(!bench.detail().contains("not permitted"));
}

#[test]
fn a_pause_is_said_and_what_it_ended_is_dropped_in_the_same_step() {
    let mut bench = Bench::holding();
    let said = bench.gaps.len();
    for _ in 0..6 {
        bench.pass(ms(500));
        bench.answer(&[grant("demo", 5)], &[]);
    }
    assert_eq!(bench.gaps.len(), said, "looking twice a second is no pause");
    // The machine sleeps: only wall and boot clock go on.
    bench.now.wall_us += 12_000_000;
    bench.now.boot_us += 12_000_000;
    let effects = bench.step(Input::Nudged);
    assert!(effects.contains(&ended(5, EndCause::LeaseEnded)));
    assert!(effects.contains(&drop_of(drop_call(&effects))));
    let paused = Event::Paused { gap: secs(12), held: vec![name("demo")] };
    assert_eq!(bench.gaps.split_off(said), [Effect::Event(paused)]);
}

#[test]
fn a_step_of_the_wall_clock_is_said_and_forward_it_ends_the_lease() {
    let mut bench = Bench::holding();
    let said = bench.gaps.len();
    bench.now.wall_us -= 60_000_000;
    bench.step(Input::Tick);
    assert_eq!(bench.held().len(), 1, "backward it changes nothing");
    bench.now.wall_us += 120_000_000;
    bench.step(Input::Tick);
    assert_eq!(bench.held().len(), 0);
    let by = |by_us| Effect::Event(Event::WallStepped { by_us });
    assert_eq!(bench.gaps.split_off(said), [by(-60_000_000), by(120_000_000)]);
}

#[test]
fn the_leases_are_sound_unless_an_address_stays_for_a_second_after_it_was_to_go() {
    let sound = |bench: &Bench| bench.holder.view(bench.now).sound;
    let mut bench = Bench::holding();
    assert!(sound(&bench) && bench.holder.view(bench.now).may_be_left);
    let effects = bench.beat_and_answer(&[], &[]);
    let mut call = drop_call(&effects);
    assert!(sound(&bench), "a drop takes a moment");
    for _ in 0..4 {
        bench.step(Input::DropFailed { call, problem: "busy".into() });
        call = drop_call(&bench.pass(ms(250)));
    }
    assert!(!sound(&bench) && bench.holder.view(bench.now).may_be_left);
    bench.step(Input::Dropped { call });
    let view = bench.holder.view(bench.now);
    assert!(view.sound && !view.may_be_left);
}

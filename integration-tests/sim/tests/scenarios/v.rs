//! The second round of attacks.

use azure_sim::{AdminCommand, Fault, FaultEffect};
use vipfence_coordinator_core::Intent;
use vipfence_sim::{
    Deed, Kind, Spot, Verdict, World,
    time::{ms, secs},
};
use vipfence_types::{Mutation, Profile, Timing, VipSpec};

use crate::stage::*;

/// V1: the epoch that expires was never answered; an earlier one of the same stay was. What counts is
/// the last grant of the address, at any epoch.
fn v01(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    world.slow_kernel(A);
    let first = world.epoch_of("demo");
    just_renewed(world, A, 10_000)?;
    agent_is_cut_off(world, A);
    let cut = world.now();
    for (to, what) in [(B, "it is asked back"), (A, "it is granted anew"), (B, "and asked back")] {
        let before = world.vip("demo").map(|vip| vip.grant.clone());
        world.ask_move("demo", to);
        until(world, ms(1_700), what, |world| {
            world.vip("demo").map(|vip| vip.grant.clone()) != before
        })?;
    }
    check(world, world.epoch_of("demo") == next(first), "the second epoch is asked back")?;
    left_to_expire(world, secs(3))?;
    killed_at_the_end_of_its_lease(world)?;
    b_takes_over_after(world, cut, ms(10_000))
}

#[test]
fn v01_a_grant_that_was_never_answered_is_waited_for_as_the_one_before_it() {
    with_fence(&three(Profile::Standard), v01);
}

#[test]
fn v01_a_grant_that_was_never_answered_is_waited_for_as_the_one_before_it_without_wait_per_epoch() {
    without(Mutation::WaitPerEpoch, &three(Profile::Standard), v01);
}

/// V1b: an older heartbeat is answered after a newer one. (Since one round is under way at a time, a
/// leader answers in the order of receipt; that a record moves back can only be shown on the table of
/// receipts itself.)
#[test]
fn v01b_an_older_heartbeat_that_is_answered_later_does_not_shorten_the_wait() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds_as(world, C, early)?;
        world.slow_kernel(A);
        let mut seen = 0;
        world.rule(move |from, _, kind| {
            let beat = from == Spot::Node(A) && matches!(kind, Kind::Beat { .. });
            seen += u32::from(beat);
            if beat && seen == 1 { Verdict::Keep } else { Verdict::Pass }
        });
        until(world, secs(3), "a heartbeat hangs", |world| world.kept() == 1)?;
        let hangs = world.now();
        until(world, secs(3), "a newer one is answered", |world| {
            world.now() > hangs + ms(500)
                && world.lease_left(A, "demo").is_some_and(|left| left.as_millis() > 3_880)
        })?;
        let renewed = world.now();
        arrives(world, "the older heartbeat", |_, _, kind| matches!(kind, Kind::Beat { .. }))?;
        world.run(ms(20));
        agent_is_cut_off(world, A);
        world.ask_move("demo", B);
        killed_at_the_end_of_its_lease(world)?;
        b_takes_over_after(world, renewed, ms(5_500))
    });
}

/// V2: an agent has confirmed and crashes; its next start is answered from a state in which the end of
/// the grant is decided and not committed yet.
fn v02(world: &mut World) -> Story {
    a_holds(world, C)?;
    let old = world.epoch_of("demo");
    world.rule(|_, _, kind| if carries_over(kind) { Verdict::Keep } else { Verdict::Pass });
    world.ask_move("demo", B);
    its_end_is_decided(world, secs(10))?;
    world.do_deed(Deed::Kill(A));
    world.do_deed(Deed::Start(A));
    let mut answered = false;
    world.rule(move |_, to, kind| {
        let granted = to == Spot::Node(A) && grants(kind);
        let first = granted && !core::mem::replace(&mut answered, granted);
        if carries_over(kind) || first { Verdict::Keep } else { Verdict::Pass }
    });
    until(world, ms(300), "the new start is answered with the old grant", |world| {
        world.kept_like(|_, _, kind| grants(kind)) == 1
    })?;
    check(world, world.grant_is("demo", is_releasing), "the end is not committed")?;
    arrives(world, "the answer", |_, _, kind| grants(kind))?;
    world.no_rule();
    world.forget();
    until(world, secs(10), "b has the address", |world| world.has(B, ADDRESS))?;
    check(world, world.spent(A).highest() == old, "a has spent the old epoch on disk")?;
    always(world, secs(3), "a does not add", |world| !world.has(A, ADDRESS))
}

#[test]
fn v02_a_restart_does_not_forget_what_was_confirmed() {
    with_fence(&three(Profile::Fast), v02);
}

#[test]
fn v02_a_restart_does_not_forget_what_was_confirmed_without_spent_in_memory() {
    noticed_without(Mutation::SpentInMemory, &three(Profile::Fast), v02);
}

/// V3: the leader's wall clock is stepped forward while it waits.
fn v03(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    world.slow_kernel(A);
    just_renewed(world, A, 4_000)?;
    agent_is_cut_off(world, A);
    let cut = world.now();
    world.ask_move("demo", B);
    left_to_expire(world, secs(3))?;
    world.do_deed(Deed::JumpWall(C, 20_000_000));
    // The other way round at the holder: its lease is not longer for it.
    world.do_deed(Deed::JumpWall(A, -20_000_000));
    killed_at_the_end_of_its_lease(world)?;
    check(world, since(world, cut) < ms(4_050), "the lease of a ended in time")?;
    b_takes_over_after(world, cut, ms(5_500))
}

#[test]
fn v03_a_step_of_the_wall_clock_does_not_shorten_the_wait() {
    with_fence(&three(Profile::Fast), v03);
}

#[test]
fn v03_a_step_of_the_wall_clock_does_not_shorten_the_wait_without_wait_by_wall_clock() {
    without(Mutation::WaitByWallClock, &three(Profile::Fast), v03);
}

/// V3: the leader's clocks are slewed far beyond what is allowed; the raw one is not.
#[test]
fn v03_a_leader_whose_clocks_are_slewed_counts_by_the_slowest_of_them() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds_as(world, C, early)?;
        world.run_clocks_at(C, 80_000, 0);
        an_unheard_release(world, 4_000)
    });
}

/// V4: the timers are made short; the leader that knew of the long lease is one no more. Its
/// successor finds the long one in the grant.
fn v04(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    world.slow_kernel(A);
    just_renewed(world, A, 30_000)?;
    agent_is_cut_off(world, A);
    let cut = world.now();
    world.do_deed(Deed::SetTiming(Timing::of(Profile::Fast)));
    until(world, secs(2), "the short timers are in force", |world| {
        world.registry().timing.lease_ttl_ms == 4_000
    })?;
    world.rule(|from, to, kind| {
        let its = from == Spot::Node(A) || to == Spot::Node(A);
        let vote = from != Spot::Node(B) && *kind == Kind::Vote;
        if (its && kind.is_beat()) || vote { Verdict::Drop } else { Verdict::Pass }
    });
    world.do_deed(Deed::StepDown);
    until(world, secs(15), "b leads", |world| world.leads(B))?;
    left_to_expire(world, secs(10))?;
    killed_at_the_end_of_its_lease(world)?;
    until(world, secs(60), "another node has the address", |world| {
        world.has(B, ADDRESS) || world.has(C, ADDRESS)
    })?;
    check(world, since(world, cut) > secs(30), "the long lease was waited for")
}

#[test]
fn v04_a_shorter_profile_does_not_shorten_a_lease_that_was_given() {
    with_fence(&three(Profile::Tolerant), v04);
}

#[test]
fn v04_a_shorter_profile_does_not_shorten_a_lease_that_was_given_without_lease_lowered_at_once() {
    without(Mutation::LeaseLoweredAtOnce, &three(Profile::Tolerant), v04);
}

/// V5: a second VIP on the address of a first one, which at the moment stands nowhere.
fn v05(world: &mut World) -> Story {
    a_holds(world, C)?;
    world.ask_intent("demo", Intent::Disabled);
    until(world, secs(20), "demo is held by nobody", |world| {
        world.vip("demo").is_some_and(|vip| vip.open.is_none())
            && world.nics_with(ADDRESS).is_empty()
            && !world.has(A, ADDRESS)
    })?;
    let second = define(world, "other", VipSpec::host(ADDRESS), "b");
    until(world, secs(5), "the second is refused", |world| is_refused(world, second))?;
    world.ask_intent("demo", Intent::Held);
    until(world, secs(20), "the first is held again", |world| {
        world.vip("demo").is_some_and(vipfence_coordinator_core::VipRecord::is_held)
    })
}

#[test]
fn v05_an_address_is_in_one_record_only() {
    with_fence(&three(Profile::Fast), v05);
}

#[test]
fn v05_an_address_is_in_one_record_only_without_address_in_two_records() {
    without(Mutation::AddressInTwoRecords, &three(Profile::Fast), v05);
}

/// V6: one leader, one term. Its writes to b were accepted; then an attach there hangs, and is
/// superseded. Two moves later the VIP is nowhere for a moment. (The attack has the first attach fail:
/// a NIC that is Failed is written once more before the next step, which seals it by itself.)
fn v06(world: &mut World) -> Story {
    a_holds(world, W)?;
    moves(world, B, secs(20))?;
    moves(world, A, secs(20))?;
    world.run(secs(2));
    writes_hang(world, "b-nic");
    world.ask_move("demo", B);
    until(world, secs(20), "the attach to b hangs", |world| {
        world.kept_like(|_, _, kind| kind.writes("b-nic")) == 1
    })?;
    // Before its time is over, so that it is not repeated.
    world.run(secs(28));
    world.ask_move("demo", C);
    world.run(secs(3));
    check(world, world.sometimes.count("an outcome is unknown") == 1, "its outcome is unknown")?;
    world.no_rule();
    until(world, secs(30), "c holds it", |world| world.is_held_by("demo", C))?;
    check(world, world.leads(W), "the same leader")?;
    nowhere_on_the_way_to(world, A, "a-nic")?;
    arrives_and_is_stale(world, "b-nic")
}

#[test]
fn v06_an_accepted_write_does_not_clear_a_nic_of_a_later_one_of_unknown_outcome() {
    with_fence(&four(Profile::Fast), v06);
}

#[test]
fn v06_an_accepted_write_does_not_clear_a_nic_of_a_later_one_of_unknown_outcome_without_cleared_despite_unknown()
 {
    without(Mutation::ClearedDespiteUnknown, &four(Profile::Fast), v06);
}

/// V7: after Held the other NICs are sealed in the background, so that an outsider's detach a while
/// later does not let the attach of a dead leader in. (Drift repair puts the VIP back, within a
/// minute.)
fn v07(world: &mut World) -> Story {
    a_holds(world, W)?;
    the_attach_to_b_hangs(world)?;
    superseded_by_a_move_back(world)?;
    world.do_deed(Deed::Kill(W));
    world.no_rule();
    until(world, secs(30), "a holds it again", |world| world.is_held_by("demo", A))?;
    let held = world.now();
    until(world, secs(5), "b is sealed", |world| world.told(held, &["PATCH b-nic", ": 200"]) > 0)?;
    outsider_detaches(world, "a-nic", DEMO);
    arrives_and_is_stale(world, "b-nic")?;
    check(world, world.nics_with(ADDRESS).is_empty(), "it stands where the outsider left it")
}

#[test]
fn v07_nics_are_sealed_while_held() {
    with_fence(&four(Profile::Fast), v07);
}

/// V7: a VIP at rest nowhere is attached from there; what is still exposed is sealed before, even if
/// Azure has the seal wait.
fn v07_from_rest(world: &mut World) -> Story {
    a_holds(world, C)?;
    the_attach_to_b_hangs(world)?;
    let (code, message) = ("TooManyRequests".to_owned(), String::new());
    let wait = FaultEffect::Refuse { status: 429, code, message, retry_after_s: Some(1) };
    azure_fails(world, Fault::once(wait).on_nic("b-nic").for_method("PATCH").times(10_000));
    world.ask_intent("demo", Intent::Disabled);
    world.run(secs(28));
    world.no_rule();
    until(world, secs(60), "it is detached, and the seal is waited for", |world| {
        world.vip("demo").is_some_and(|vip| {
            vip.azure == vipfence_coordinator_core::AzureTrack::Detached && vip.open.is_some()
        })
    })?;
    world.ask_intent("demo", Intent::Held);
    always(world, secs(15), "nothing is attached before the seal", |world| {
        world.nics_with(ADDRESS).is_empty()
    })?;
    world.do_deed(Deed::Azure(AdminCommand::ClearFaults));
    until(world, secs(40), "it is held", |world| {
        world.vip("demo").is_some_and(vipfence_coordinator_core::VipRecord::is_held)
    })?;
    arrives_and_is_stale(world, "b-nic")
}

#[test]
fn v07_an_attach_from_rest_waits_for_the_seals() {
    with_fence(&three(Profile::Fast), v07_from_rest);
}

#[test]
fn v07_an_attach_from_rest_waits_for_the_seals_without_seals_put_off() {
    noticed_without(Mutation::SealsPutOff, &three(Profile::Fast), v07_from_rest);
}

/// V8: a grant that was asked back goes back to the node that still has it: a new epoch and no wait,
/// and the address is there all the time. (What counts from Releasing instead of from Expiring can
/// only be shown with hooks, which keep an address beyond the first.)
#[test]
fn v08_moving_back_needs_no_wait() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds_as(world, C, |spec| spec.release = vipfence_types::Release::Early)?;
        let old = world.epoch_of("demo");
        just_renewed(world, A, 4_000)?;
        // The leader hears a, and a hears nothing of the release.
        world.rule(|_, to, kind| {
            if to == Spot::Node(A) && kind.is_beat() { Verdict::Drop } else { Verdict::Pass }
        });
        world.ask_move("demo", B);
        until(world, ms(1_800), "it is asked back", |world| world.grant_is("demo", is_releasing))?;
        world.ask_move("demo", A);
        until(world, ms(500), "it is granted anew", |world| world.epoch_of("demo") == next(old))?;
        world.no_rule();
        always(world, secs(5), "a has the address", |world| world.has(A, ADDRESS))?;
        check(world, world.is_held_by("demo", A), "a holds it")
    });
}

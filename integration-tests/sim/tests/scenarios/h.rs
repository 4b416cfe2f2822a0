//! The first round of attacks, H1 to H12: leases, epochs and stale writes.

use vipfence_coordinator_core::Intent;
use vipfence_sim::{
    Deed, Kind, Spot, Verdict, World,
    time::{ms, secs},
};
use vipfence_types::{Mutation, Profile, Release, Timing, VipSpec};

use crate::stage::*;

/// H1: an answer that carries a grant hangs in the network while its grant is asked back, confirmed
/// and given to another node. Then it arrives, with most of its lease left.
fn h01(world: &mut World) -> Story {
    a_holds_as(world, C, |spec| spec.release = Release::Early)?;
    let old = world.epoch_of("demo");
    let mut hangs = false;
    world.rule(move |_, to, kind| {
        let first = to == Spot::Node(A) && grants(kind) && !hangs;
        hangs |= first;
        if first { Verdict::Keep } else { Verdict::Pass }
    });
    until(world, secs(2), "an answer hangs", |world| world.kept() == 1)?;
    world.ask_move("demo", B);
    until(world, secs(2), "b has the address", |world| world.has(B, ADDRESS))?;
    check(world, world.spent(A).highest() == old, "the old epoch is spent at a")?;
    arrives(world, "an answer with the grant", |_, _, kind| grants(kind))?;
    always(world, secs(3), "a does not add again", |world| !world.has(A, ADDRESS))
}

/// H1, the other way: the answer is newer than any that the node has used, so that order alone does
/// not keep it out. It was sent while a waited for its disk, before it could confirm.
fn h01_newer(world: &mut World) -> Story {
    a_holds(world, C)?;
    let old = world.epoch_of("demo");
    world.do_deed(Deed::SlowDisk(A, 800));
    let mut asked = false;
    world.rule(move |_, to, kind| match kind {
        Kind::BeatAnswer { .. } if to == Spot::Node(A) && asked => Verdict::Keep,
        Kind::BeatAnswer { releasing, .. } if to == Spot::Node(A) => {
            asked = !releasing.is_empty();
            Verdict::Pass
        }
        _ => Verdict::Pass,
    });
    world.ask_move("demo", B);
    until(world, secs(10), "b has the address", |world| world.has(B, ADDRESS))?;
    check(world, world.spent(A).highest() == old, "the old epoch is spent at a")?;
    arrives(world, "an answer with the grant", |_, _, kind| grants(kind))?;
    always(world, secs(3), "a does not add again", |world| !world.has(A, ADDRESS))
}

#[test]
fn h01_an_answer_of_the_time_of_the_release_cannot_revive_the_grant() {
    with_fence(&three(Profile::Fast), h01_newer);
}

#[test]
fn h01_a_delayed_answer_cannot_revive_a_released_grant() {
    with_fence(&three(Profile::Fast), h01);
}

#[test]
fn h01_a_delayed_answer_cannot_revive_a_released_grant_without_spent_accepted() {
    without(Mutation::SpentAccepted, &three(Profile::Fast), h01);
}

/// H1: an answer that hung for three seconds renews the lease by what is left of it, no more: the lease
/// counts from the sending of the heartbeat.
fn h01_late(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    world.slow_kernel(A);
    let mut hangs = false;
    world.rule(move |from, to, kind| {
        let first = to == Spot::Node(A) && grants(kind) && !hangs;
        let later = hangs && (from == Spot::Node(A) || to == Spot::Node(A)) && kind.is_beat();
        hangs |= first;
        match (first, later) {
            (true, _) => Verdict::Keep,
            (false, true) => Verdict::Drop,
            (false, false) => Verdict::Pass,
        }
    });
    until(world, secs(2), "an answer hangs", |world| world.kept() == 1)?;
    let answered = world.now();
    world.ask_move("demo", B);
    world.run(ms(3_000));
    check(world, world.has(A, ADDRESS), "a has the address")?;
    arrives(world, "the answer", |_, _, kind| grants(kind))?;
    world.run(ms(1));
    let left = world.lease_left(A, "demo").map_or(0, |left| left.as_millis());
    check(world, (880..1_010).contains(&left), "a has what is left of the lease")?;
    b_takes_over_after(world, answered, ms(5_500))
}

#[test]
fn h01_a_late_answer_does_not_lengthen_a_lease() {
    with_fence(&three(Profile::Fast), h01_late);
}

#[test]
fn h01_a_late_answer_does_not_lengthen_a_lease_without_lease_from_receipt() {
    noticed_without(Mutation::LeaseFromReceipt, &three(Profile::Fast), h01_late);
}

/// H2: the confirmation of an earlier stay arrives while a later stay of the same node is asked back.
fn h02(world: &mut World) -> Story {
    a_holds_as(world, C, |spec| spec.release = Release::Early)?;
    let old = world.epoch_of("demo");
    let from_a = |from, kind: &Kind| from == Spot::Node(A) && confirms(kind);
    world.rule(move |from, _, kind| if from_a(from, kind) { Verdict::Keep } else { Verdict::Pass });
    world.ask_move("demo", B);
    // Two heartbeats confirm: one brings a its new grant, the other one is the late word.
    until(world, secs(4), "a has confirmed twice", |world| {
        world.kept_like(|from, _, kind| from_a(from, kind)) == 2
    })?;
    world.ask_move("demo", A);
    until(world, secs(1), "a is entitled anew", |world| world.epoch_of("demo") != old)?;
    check(world, world.epoch_of("demo") == next(old), "at a new epoch")?;
    world.rule(move |from, to, kind| {
        let late = from == Spot::Node(A) && matches!(kind, Kind::Beat { .. });
        let hint = to == Spot::Node(A) && *kind == Kind::Nudge;
        if late || hint { Verdict::Drop } else { Verdict::Pass }
    });
    arrives(world, "a confirmation", |from, _, kind| from_a(from, kind))?;
    until(world, ms(200), "a has the address again", |world| world.has(A, ADDRESS))?;
    agent_is_cut_off(world, A);
    world.ask_move("demo", B);
    until(world, ms(1_600), "the new stay is asked back", |world| {
        world.grant_is("demo", is_releasing) && world.epoch_of("demo") == next(old)
    })?;
    arrives(world, "the late confirmation", |from, _, kind| from_a(from, kind))?;
    always(world, ms(900), "it ends nothing", |world| {
        world.epoch_of("demo") == next(old) && world.has(A, ADDRESS) && !world.has(B, ADDRESS)
    })?;
    world.no_rule();
    until(world, secs(10), "b holds it in the end", |world| world.is_held_by("demo", B))
}

#[test]
fn h02_the_confirmation_of_an_earlier_stay_does_not_end_a_later_one() {
    with_fence(&three(Profile::Fast), h02);
}

#[test]
fn h02_the_confirmation_of_an_earlier_stay_does_not_end_a_later_one_without_confirmation_without_epoch()
 {
    without(Mutation::ConfirmationWithoutEpoch, &three(Profile::Fast), h02);
}

#[test]
fn h02_the_confirmation_of_an_earlier_stay_does_not_end_a_later_one_without_same_epoch_on_return() {
    noticed_without(Mutation::SameEpochOnReturn, &three(Profile::Fast), h02);
}

/// H3: with less than a second of the lease left, a kernel lifetime of at least one second outlives
/// what a leader waits for. Clocks are as far apart as they may be.
fn h03(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    world.run_clocks_at(A, -9_900, -9_900);
    world.run_clocks_at(C, 9_900, 9_900);
    an_unheard_release(world, 4_000)
}

#[test]
fn h03_the_last_part_of_a_second_is_not_rounded_up() {
    with_fence(&three(Profile::Fast), h03);
}

#[test]
fn h03_the_last_part_of_a_second_is_not_rounded_up_without_lifetime_at_least_one() {
    without(Mutation::LifetimeAtLeastOne, &three(Profile::Fast), h03);
}

/// H4: the kernel is up to 2.3 s late with lifetimes from 16 s on, so none is longer than 12 s. The
/// agent is killed right after its kernel was given the longest lifetime. (That the figures still
/// hold is measured anew elsewhere, on a real kernel.)
fn h04(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    world.run_clocks_at(A, -9_900, -9_900);
    world.run_clocks_at(C, 9_900, 9_900);
    world.slow_kernel(A);
    // Its lease ends, and before anybody gives it up a is heard again: it adds with a whole lease.
    agent_is_cut_off(world, A);
    until(world, secs(33), "the lease of a has ended", |world| !world.has(A, ADDRESS))?;
    world.no_rule();
    until(world, secs(3), "a adds again", |world| world.has(A, ADDRESS))?;
    agent_is_cut_off(world, A);
    let cut = world.now();
    world.ask_move("demo", B);
    world.run(ms(40));
    check(world, world.has(A, ADDRESS), "a has the address")?;
    world.do_deed(Deed::Kill(A));
    let gone = world.when(secs(40), |world| !world.has(A, ADDRESS));
    b_takes_over_after(world, cut, ms(LONG_LEASE_MS))?;
    let capped = gone.is_some_and(|gone| gone - cut < ms(13_500));
    check(world, capped, "the kernel of a took it off within 12 s and its slack")
}

/// Leaves whole seconds after the first heartbeat's way.
const LONG_LEASE_MS: u64 = 30_050;

fn long_leases() -> vipfence_sim::Plan {
    let mut plan = three(Profile::Tolerant);
    plan.timing = Timing { profile: Profile::Custom, lease_ttl_ms: LONG_LEASE_MS, ..plan.timing };
    plan
}

#[test]
fn h04_no_kernel_lifetime_is_so_long_that_the_kernel_is_later_than_waited_for() {
    with_fence(&long_leases(), h04);
}

#[test]
fn h04_no_kernel_lifetime_is_so_long_that_the_kernel_is_later_than_waited_for_without_lifetime_uncapped()
 {
    without(Mutation::LifetimeUncapped, &long_leases(), h04);
}

/// H4 and H12: without an allowance for a late kernel the wait is too short.
#[test]
fn h04_a_late_kernel_is_allowed_for_without_no_kernel_slack() {
    without(Mutation::NoKernelSlack, &three(Profile::Standard), h12_standard);
}

/// H5: the leader's own detach travels on after its time-out. The VIP goes back to its holder, is
/// reported as held, and then the PUT lands.
fn h05(world: &mut World) -> Story {
    a_holds(world, C)?;
    writes_hang(world, "a-nic");
    world.ask_move("demo", B);
    until(world, secs(5), "the detach is on its way", |world| world.kept() == 1)?;
    nobody_waits_for_it_any_more(world)?;
    world.no_rule();
    world.ask_move("demo", A);
    until(world, secs(20), "a holds it again", |world| world.is_held_by("demo", A))?;
    arrives_and_is_stale(world, "a-nic")?;
    always(world, secs(3), "it stays where it is", |world| world.nics_with(ADDRESS) == ["a-nic"])
}

#[test]
fn h05_an_own_write_of_unknown_outcome_cannot_land_after_held() {
    with_fence(&three(Profile::Fast), h05);
}

#[test]
fn h05_an_own_write_of_unknown_outcome_cannot_land_after_held_without_own_unknown_harmless() {
    without(Mutation::OwnUnknownHarmless, &three(Profile::Fast), h05);
}

/// H6: a leader is frozen between its last check and the sending of an attach to b. The move is
/// superseded back to a, and only a third move leaves the VIP nowhere, so that the old attach fits.
fn h06(world: &mut World) -> Story {
    a_holds(world, W)?;
    the_attach_to_b_hangs(world)?;
    superseded_by_a_move_back(world)?;
    world.do_deed(Deed::Stop(W));
    world.no_rule();
    another_node_leads(world)?;
    until(world, secs(30), "a holds it again", |world| world.is_held_by("demo", A))?;
    let b_nic = |kind: &Kind| kind.writes("b-nic");
    nowhere_on_the_way_to(world, C, "c-nic")?;
    check(world, world.kept_like(|_, _, kind| b_nic(kind)) == 1, "the old attach hangs")?;
    arrives_and_is_stale(world, "b-nic")?;
    world.no_rule();
    world.release();
    world.do_deed(Deed::Continue(W));
    until(world, secs(40), "c holds it", |world| world.is_held_by("demo", C))
}

#[test]
fn h06_an_attach_of_a_frozen_leader_is_remembered_over_superseding_moves() {
    with_fence(&four(Profile::Fast), h06);
}

#[test]
fn h06_an_attach_of_a_frozen_leader_is_remembered_over_superseding_moves_without_not_exposed_before_write()
 {
    without(Mutation::NotExposedBeforeWrite, &four(Profile::Fast), h06);
}

/// H6: the seal of b hangs, too. A next move waits for it, and so does the one that supersedes that.
fn h06_superseding(world: &mut World) -> Story {
    a_holds(world, C)?;
    the_attach_to_b_hangs(world)?;
    nobody_waits_for_it_any_more(world)?;
    world.ask_move("demo", A);
    until(world, secs(30), "a holds it again", |world| world.is_held_by("demo", A))?;
    let held = world.now();
    for to in [C, A, C] {
        world.ask_move("demo", to);
        world.run(ms(100));
    }
    // With the fence it waits for the seal of b; without, it is on no NIC for a while.
    until(world, secs(3), "it waits for the seal of b", |world| {
        world.told(held, &["Blocked", "sealing NIC b-nic first"]) > 0
            || world.nics_with(ADDRESS).is_empty()
    })?;
    world.run_until(secs(5), |world| {
        world.told(held, &["the operation on a-nic has Succeeded"]) > 0
    });
    arrives(world, "the attach to b", |_, to, kind| to == Spot::Arm && kind.writes("b-nic"))?;
    always(world, ms(500), "it stays on a", |world| world.nics_with(ADDRESS) == ["a-nic"])?;
    world.no_rule();
    world.release();
    until(world, secs(60), "c holds it", |world| world.is_held_by("demo", C))
}

#[test]
fn h06_superseding_moves_do_not_forget_an_exposed_nic() {
    with_fence(&three(Profile::Fast), h06_superseding);
}

#[test]
fn h06_superseding_moves_do_not_forget_an_exposed_nic_without_exposed_cleared_by_superseding() {
    without(Mutation::ExposedClearedBySuperseding, &three(Profile::Fast), h06_superseding);
}

#[test]
fn h06_an_attach_of_a_frozen_leader_is_remembered_over_superseding_moves_without_no_seal() {
    without(Mutation::NoSeal, &four(Profile::Fast), h06);
}

#[test]
fn h06_an_attach_of_a_frozen_leader_is_remembered_over_superseding_moves_without_no_if_match() {
    without(Mutation::NoIfMatch, &four(Profile::Fast), h06);
}

/// H7: the same where a PATCH of tags leaves the ETag alone: only a whole PUT seals.
fn tags_leave_the_etag_alone() -> vipfence_sim::Plan {
    with_azure(four(Profile::Fast), |azure| azure.patch_changes_etag = false)
}

fn h07(world: &mut World) -> Story {
    h06(world)?;
    let sealed = |write: &vipfence_sim::Wrote| write.method == "PATCH" && write.status < 300;
    check(world, world.writes().iter().any(sealed), "a seal left the ETag alone")
}

#[test]
fn h07_a_seal_that_left_the_etag_alone_is_not_believed() {
    with_fence(&tags_leave_the_etag_alone(), h07);
}

#[test]
fn h07_a_seal_that_left_the_etag_alone_is_not_believed_without_seal_believed() {
    without(Mutation::SealBelieved, &tags_leave_the_etag_alone(), h07);
}

/// H8: a leader is frozen after its quorum round and before the first byte, long enough for a
/// successor to report Held. It must not send when it wakes. (`trust_if_match = false` waits for
/// that setting.)
fn h08(world: &mut World) -> Story {
    a_holds(world, W)?;
    world.ask_move("demo", B);
    until(world, secs(10), "a write is about to be sent", |world| world.is_about_to_write(W))?;
    world.do_deed(Deed::Stop(W));
    another_node_leads(world)?;
    until(world, secs(30), "b holds it", |world| world.is_held_by("demo", B))?;
    let passed = world.sometimes.count("a write window passed");
    world.do_deed(Deed::Continue(W));
    until(world, secs(1), "the frozen leader finds its window passed", |world| {
        world.sometimes.count("a write window passed") > passed
    })
}

#[test]
fn h08_a_frozen_leader_does_not_send_when_it_wakes() {
    with_fence(&four(Profile::Fast), h08);
}

#[test]
fn h08_a_frozen_leader_does_not_send_when_it_wakes_without_window_unchecked() {
    without(Mutation::WindowUnchecked, &four(Profile::Fast), h08);
}

/// H9: a VIP is deleted and another one created on its address, while the old holder is cut off and
/// still has the address.
fn h09(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    let old = world.epoch_of("demo");
    just_renewed(world, A, 4_000)?;
    is_partitioned(world, A);
    world.ask_intent("demo", Intent::Deleted);
    world.run(ms(100));
    let too_early = define(world, "other", VipSpec::host(ADDRESS), "b");
    until(world, secs(5), "the address is not free yet", |world| is_refused(world, too_early))?;
    check(world, world.has(A, ADDRESS), "a has the address meanwhile")?;
    until(world, secs(30), "the old VIP is gone", |world| world.vip("demo").is_none())?;
    check(world, !world.has(A, ADDRESS), "its lease was waited for")?;
    // A leader that has heard nothing of the old epoch.
    let elected = world.elect(B);
    check(world, elected, "b leads")?;
    world.run(secs(2));
    let again = define(world, "other", VipSpec::host(ADDRESS), "b");
    until(world, secs(30), "b holds the new one", |world| world.is_held_by("other", B))?;
    check(world, is_ok(world, again), "it is defined")?;
    check(world, world.epoch_of("other") > old, "epochs go on")
}

#[test]
fn h09_delete_and_create_do_not_break_the_chain_of_leases() {
    with_fence(&three(Profile::Fast), h09);
}

#[test]
fn h09_delete_and_create_do_not_break_the_chain_of_leases_without_address_in_two_records() {
    without(Mutation::AddressInTwoRecords, &three(Profile::Fast), h09);
}

#[test]
fn h09_delete_and_create_do_not_break_the_chain_of_leases_without_epoch_reset() {
    without(Mutation::EpochReset, &three(Profile::Fast), h09);
}

#[test]
fn h09_delete_and_create_do_not_break_the_chain_of_leases_without_lease_ignored() {
    noticed_without(Mutation::LeaseIgnored, &three(Profile::Fast), h09);
}

/// H10: b is a candidate for a long time, while the leader that it does not hear goes on answering
/// the holder. What b waits for as leader counts from its election.
fn h10(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    world.slow_kernel(A);
    world.rule(|from, to, kind| {
        let of_b = from == Spot::Node(B) || to == Spot::Node(B);
        if of_b && kind.is_raft() { Verdict::Drop } else { Verdict::Pass }
    });
    world.run(secs(3));
    check(world, world.leads(C), "b stands for election in vain")?;
    just_renewed(world, A, 4_000)?;
    let renewed = world.now();
    world.do_deed(Deed::Kill(C));
    agent_is_cut_off(world, A);
    until(world, secs(3), "b is elected", |world| world.leads(B))?;
    world.do_deed(Deed::Stop(A));
    check(world, world.has(A, ADDRESS), "a had the address when it froze")?;
    // Asked at once, so that nothing but the lease is waited for; a's vote is needed no more.
    world.do_deed(Deed::Start(C));
    world.ask_move("demo", B);
    b_takes_over_after(world, renewed, ms(5_400))?;
    world.do_deed(Deed::Continue(A));
    Ok(())
}

#[test]
fn h10_a_leader_counts_from_its_election_and_not_from_its_candidacy() {
    with_fence(&three(Profile::Fast), h10);
}

#[test]
fn h10_a_leader_counts_from_its_election_and_not_from_its_candidacy_without_wait_from_candidacy() {
    without(Mutation::WaitFromCandidacy, &three(Profile::Fast), h10);
}

#[test]
fn h10_a_leader_counts_from_its_election_and_not_from_its_candidacy_without_wait_skipped_after_election()
 {
    noticed_without(Mutation::WaitSkippedAfterElection, &three(Profile::Fast), h10);
}

/// H11: a grant is found to be over; before that is committed, its node is heard again. Its answer
/// must not carry the grant.
fn h11(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    let from_a = |from, kind: &Kind| from == Spot::Node(A) && matches!(kind, Kind::Beat { .. });
    world.rule(move |from, to, kind| {
        if carries_over(kind) || from_a(from, kind) {
            Verdict::Keep
        } else if to == Spot::Node(A) && kind.is_beat() {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    });
    world.ask_move("demo", B);
    its_end_is_decided(world, secs(12))?;
    // Now a is heard; its answer is kept to be looked at.
    world.rule(move |_, to, kind| {
        let answer = to == Spot::Node(A) && matches!(kind, Kind::BeatAnswer { .. });
        if carries_over(kind) || answer { Verdict::Keep } else { Verdict::Pass }
    });
    world.forget_all_but_the_newest(|from, _, kind| from_a(from, kind));
    arrives(world, "a heartbeat of a", |from, _, kind| from_a(from, kind))?;
    until(world, ms(300), "a is answered", |world| world.kept_like(is_answer) == 1)?;
    check(world, world.grant_is("demo", is_expiring), "the end is not committed")?;
    let granted = world.kept_like(|_, _, kind| grants(kind)) > 0;
    arrives(world, "the answer", is_answer)?;
    world.no_rule();
    world.forget();
    until(world, secs(10), "b has the address", |world| world.has(B, ADDRESS))?;
    check(world, !granted, "the answer carried no grant")
}

/// An answer that says what is granted, or is wanted back.
fn is_answer(_: Spot, _: Spot, kind: &Kind) -> bool {
    let says = |grants: usize, releasing: usize| grants + releasing > 0;
    matches!(kind, Kind::BeatAnswer { grants, releasing } if says(grants.len(), releasing.len()))
}

#[test]
fn h11_nothing_is_granted_while_a_grant_expires() {
    with_fence(&three(Profile::Fast), h11);
}

#[test]
fn h11_nothing_is_granted_while_a_grant_expires_without_grant_while_expiring() {
    without(Mutation::GrantWhileExpiring, &three(Profile::Fast), h11);
}

/// H11, the other half: the end of a grant is decided, and the entry before it has moved the VIP
/// back. The end names a revision that is no more.
fn h11_revision(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    // The leader hears a, and a hears nothing.
    let unheard = |to, kind: &Kind| to == Spot::Node(A) && kind.is_beat();
    world.rule(move |_, to, kind| if unheard(to, kind) { Verdict::Drop } else { Verdict::Pass });
    world.ask_move("demo", B);
    left_to_expire(world, secs(5))?;
    // A moment before its end the operator asks for a again, and entries are not committed now.
    until(world, secs(8), "its end is near", ends_soon)?;
    let stuck = |kind: &Kind| matches!(kind, Kind::Append(bodies) if !bodies.is_empty());
    world.rule(
        move |_, to, kind| {
            if stuck(kind) || unheard(to, kind) { Verdict::Keep } else { Verdict::Pass }
        },
    );
    let (epoch, asked) = (world.epoch_of("demo"), world.now());
    world.ask_move("demo", A);
    its_end_is_decided(world, secs(2))?;
    world.no_rule();
    world.forget();
    until(world, secs(20), "a holds it at a new epoch", |world| {
        world.is_held_by("demo", A) && world.epoch_of("demo") > epoch
    })?;
    check(world, world.told(asked, &["demo: Over", "REFUSED"]) == 1, "the end was refused")
}

/// The leader has said when it goes on, and that is soon. A leader whose entries are stuck for longer
/// than an election value steps down.
fn ends_soon(world: &World) -> bool {
    let demo = vipfence_types::VipName::new("demo").expect("a valid name");
    let next = world.registry().open_move(&demo).and_then(|open| open.next_attempt_ms);
    let now = 1_760_000_000_000 + world.now() / 1_000;
    next.is_some_and(|next| next < now + 150)
}

#[test]
fn h11_an_end_that_was_decided_before_a_move_back_ends_nothing() {
    with_fence(&three(Profile::Fast), h11_revision);
}

#[test]
fn h11_an_end_that_was_decided_before_a_move_back_ends_nothing_without_over_without_revision() {
    noticed_without(Mutation::OverWithoutRevision, &three(Profile::Fast), h11_revision);
}

/// H12: the holder's clocks run 1 % slow, the leader's 1 % fast. Of the relative drift nothing may be
/// forgotten.
fn h12(world: &mut World, lease_ms: u64) -> Story {
    a_holds_as(world, C, early)?;
    world.run_clocks_at(A, -9_900, -9_900);
    world.run_clocks_at(C, 9_900, 9_900);
    an_unheard_release(world, lease_ms)
}

fn h12_tolerant(world: &mut World) -> Story {
    h12(world, 30_000)
}

fn h12_standard(world: &mut World) -> Story {
    h12(world, 10_000)
}

#[test]
fn h12_clocks_one_percent_off_on_both_sides_are_allowed_for() {
    with_fence(&three(Profile::Tolerant), h12_tolerant);
    with_fence(&three(Profile::Standard), h12_standard);
}

#[test]
fn h12_clocks_one_percent_off_on_both_sides_are_allowed_for_without_wait_without_drift() {
    without(Mutation::WaitWithoutDrift, &three(Profile::Tolerant), h12_tolerant);
}

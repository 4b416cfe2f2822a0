//! The first round of attacks.

use std::net::Ipv4Addr;

use azure_sim::{AdminCommand, Fault, FaultEffect};
use vipfence_coordinator_core::{Intent, Request};
use vipfence_sim::{
    Deed, Kind, Spot, Verdict, World,
    time::{PauseSeen, ms, secs},
};
use vipfence_types::{Mutation, Profile, Release, Timing, VipSpec};

use crate::stage::*;

const OPERATION_FAILS: FaultEffect =
    FaultEffect::FailOperation { code: String::new(), message: String::new(), takes_effect: false };

/// H1: an answer that carries a grant hangs in the network while its grant is released. It is newer
/// than any answer that the node has used, so that order alone does not keep it out.
fn h01(world: &mut World) -> Story {
    a_holds(world, C)?;
    let old = world.epoch_of("demo");
    // The release reaches a; while it waits for its disk, a beats again, and is granted again.
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
fn h01_a_delayed_answer_cannot_revive_a_released_grant() {
    with_fence(&three(Profile::Fast), h01);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h01_a_delayed_answer_cannot_revive_a_released_grant_without_spent_accepted() {
    without(Mutation::SpentAccepted, &three(Profile::Fast), h01);
}

/// H2: the confirmation of an earlier stay arrives while a later stay of the same node is asked back.
fn h02(world: &mut World) -> Story {
    a_holds_as(world, C, |spec| spec.release = Release::Early)?;
    let old = world.epoch_of("demo");
    let from_a = |from, kind: &Kind| from == Spot::Node(A) && confirms(kind);
    world.rule(move |from, _, kind| if from_a(from, kind) { Verdict::Keep } else { Verdict::Pass });
    world.ask_move("demo", B);
    // Two heartbeats confirm: one brings a its new grant, the other one is the late word.
    until(world, secs(2), "a has confirmed twice", |world| {
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
    until(world, ms(500), "the new stay is asked back", |world| {
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
#[ignore = "the mutation is not in the machines yet"]
fn h02_the_confirmation_of_an_earlier_stay_does_not_end_a_later_one_without_confirmation_without_epoch()
 {
    without(Mutation::ConfirmationWithoutEpoch, &three(Profile::Fast), h02);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h02_the_confirmation_of_an_earlier_stay_does_not_end_a_later_one_without_same_epoch_on_return() {
    without(Mutation::SameEpochOnReturn, &three(Profile::Fast), h02);
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
#[ignore = "the mutation is not in the machines yet"]
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
    // Longer than the half of any lifetime without a renewal; then one heartbeat gets through.
    agent_is_cut_off(world, A);
    world.run(secs(16));
    world.no_rule();
    just_renewed(world, A, LONG_LEASE_MS)?;
    agent_is_cut_off(world, A);
    let cut = world.now();
    world.ask_move("demo", B);
    world.run(ms(40));
    check(world, world.has(A, ADDRESS), "a has the address")?;
    world.do_deed(Deed::Kill(A));
    let gone = world.when(secs(40), |world| !world.has(A, ADDRESS));
    let capped = gone.is_some_and(|gone| gone - cut < ms(13_500));
    check(world, capped, "the kernel of a takes it off within 12 s and its slack")?;
    b_takes_over_after(world, cut, ms(LONG_LEASE_MS))
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
#[ignore = "the mutation is not in the machines yet"]
fn h04_no_kernel_lifetime_is_so_long_that_the_kernel_is_later_than_waited_for_without_lifetime_uncapped()
 {
    without(Mutation::LifetimeUncapped, &long_leases(), h04);
}

/// H4 and H12: without an allowance for a late kernel the wait is too short.
#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h04_a_late_kernel_is_allowed_for_without_no_kernel_slack() {
    without(Mutation::NoKernelSlack, &three(Profile::Standard), h12_standard);
}

/// H5: the leader's own detach travels on after its time-out. The VIP goes back to its holder, is
/// reported as held, and then the PUT lands.
fn h05(world: &mut World) -> Story {
    a_holds(world, C)?;
    writes_hang(world, &["a-nic"]);
    world.ask_move("demo", B);
    until(world, secs(5), "the detach is on its way", |world| world.kept() == 1)?;
    until(world, secs(40), "nobody waits for it any more", |world| {
        world.sometimes.count("an outcome is unknown") > 0
    })?;
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
#[ignore = "the mutation is not in the machines yet"]
fn h05_an_own_write_of_unknown_outcome_cannot_land_after_held_without_own_unknown_harmless() {
    without(Mutation::OwnUnknownHarmless, &three(Profile::Fast), h05);
}

/// H6: a leader is frozen between its last check and the sending of an attach to b. The move is
/// superseded back to a, and only a third move leaves the VIP nowhere, so that the old attach fits.
fn h06(world: &mut World) -> Story {
    a_holds(world, W)?;
    writes_hang(world, &["b-nic"]);
    world.ask_move("demo", B);
    until(world, secs(10), "the attach to b is on its way", |world| world.kept() == 1)?;
    world.ask_move("demo", A);
    until(world, secs(1), "it is superseded", |world| {
        world
            .vip("demo")
            .is_some_and(|vip| vip.target.as_ref().is_some_and(|to| to.as_str() == "a"))
    })?;
    world.do_deed(Deed::Stop(W));
    world.no_rule();
    another_node_leads(world)?;
    until(world, secs(30), "a holds it again", |world| world.is_held_by("demo", A))?;
    let b_nic = |kind: &Kind| kind.writes("b-nic");
    nowhere_on_the_way_to_c(world)?;
    check(world, world.kept_like(|_, _, kind| b_nic(kind)) == 1, "the old attach hangs")?;
    arrives_and_is_stale(world, "b-nic")?;
    world.no_rule();
    world.release();
    world.do_deed(Deed::Continue(W));
    until(world, secs(40), "c holds it", |world| world.is_held_by("demo", C))
}

/// Another node than the witness leads.
fn another_node_leads(world: &mut World) -> Story {
    until(world, secs(10), "another node leads", |world| {
        world.leader().is_some_and(|leader| leader != W && world.leads(leader))
    })
}

/// A move to c: it has been detached, and is attached nowhere yet.
fn nowhere_on_the_way_to_c(world: &mut World) -> Story {
    writes_hang(world, &["c-nic"]);
    world.ask_move("demo", C);
    until(world, secs(40), "it is on no NIC", |world| {
        world.nics_with(ADDRESS).is_empty()
            && world.kept_like(|_, _, kind| kind.writes("c-nic")) > 0
    })?;
    // The detach is done for good.
    world.run(secs(3));
    Ok(())
}

#[test]
fn h06_an_attach_of_a_frozen_leader_is_remembered_over_superseding_moves() {
    with_fence(&four(Profile::Fast), h06);
}

/// H6: the seal of b hangs, too. A next move waits for it, and so does the one that supersedes that.
fn h06_superseding(world: &mut World) -> Story {
    a_holds(world, C)?;
    writes_hang(world, &["b-nic"]);
    world.ask_move("demo", B);
    until(world, secs(10), "the attach to b is on its way", |world| world.kept() == 1)?;
    until(world, secs(40), "nobody waits for it any more", |world| {
        world.sometimes.count("an outcome is unknown") > 0
    })?;
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
#[ignore = "the mutation is not in the machines yet"]
fn h06_superseding_moves_do_not_forget_an_exposed_nic_without_exposed_cleared_by_superseding() {
    without(Mutation::ExposedClearedBySuperseding, &three(Profile::Fast), h06_superseding);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h06_an_attach_of_a_frozen_leader_is_remembered_over_superseding_moves_without_no_seal() {
    without(Mutation::NoSeal, &four(Profile::Fast), h06);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
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
#[ignore = "the mutation is not in the machines yet"]
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
#[ignore = "the mutation is not in the machines yet"]
fn h08_a_frozen_leader_does_not_send_when_it_wakes_without_window_unchecked() {
    without(Mutation::WindowUnchecked, &four(Profile::Fast), h08);
}

/// H9: a VIP is deleted and another one created on its address, while the old holder is cut off and
/// still has the address.
fn h09(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    let old = world.epoch_of("demo");
    just_renewed(world, A, 4_000)?;
    agent_is_cut_off(world, A);
    world.ask_intent("demo", Intent::Deleted);
    world.run(ms(100));
    let too_early = define(world, "other", VipSpec::host(ADDRESS), "b");
    until(world, secs(5), "the address is not free yet", |world| is_refused(world, too_early))?;
    check(world, world.has(A, ADDRESS), "a has the address meanwhile")?;
    until(world, secs(30), "the old VIP is gone", |world| world.vip("demo").is_none())?;
    check(world, !world.has(A, ADDRESS), "its lease was waited for")?;
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
#[ignore = "the mutation is not in the machines yet"]
fn h09_delete_and_create_do_not_break_the_chain_of_leases_without_address_in_two_records() {
    without(Mutation::AddressInTwoRecords, &three(Profile::Fast), h09);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h09_delete_and_create_do_not_break_the_chain_of_leases_without_epoch_reset() {
    without(Mutation::EpochReset, &three(Profile::Fast), h09);
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
#[ignore = "the mutation is not in the machines yet"]
fn h10_a_leader_counts_from_its_election_and_not_from_its_candidacy_without_wait_from_candidacy() {
    without(Mutation::WaitFromCandidacy, &three(Profile::Fast), h10);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h10_a_leader_counts_from_its_election_and_not_from_its_candidacy_without_wait_skipped_after_election()
 {
    without(Mutation::WaitSkippedAfterElection, &three(Profile::Fast), h10);
}

/// H11: a grant is found to be over; before that is committed, its node is heard again. Its answer
/// must not carry the grant.
fn h11(world: &mut World) -> Story {
    a_holds_as(world, C, early)?;
    agent_is_cut_off(world, A);
    world.ask_move("demo", B);
    until(world, secs(5), "the grant is left to expire", |world| {
        world.grant_is("demo", is_expiring)
    })?;
    let cut =
        |from, to, kind: &Kind| (from == Spot::Node(A) || to == Spot::Node(A)) && kind.is_beat();
    world.rule(move |from, to, kind| {
        if carries_over(kind) {
            Verdict::Keep
        } else if cut(from, to, kind) {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    });
    until(world, secs(10), "its end is decided", |world| {
        world.kept_like(|_, _, kind| carries_over(kind)) > 0
    })?;
    // Now a is heard; its answers are kept to be looked at, and reach it.
    world.rule(move |_, to, kind| {
        let answer = to == Spot::Node(A) && matches!(kind, Kind::BeatAnswer { .. });
        if carries_over(kind) || answer { Verdict::Keep } else { Verdict::Pass }
    });
    until(world, secs(2), "a is answered", |world| {
        world.kept_like(|_, to, kind| to == Spot::Node(A) && !kind.is_raft()) > 0
    })?;
    check(world, world.grant_is("demo", is_expiring), "the end is not committed")?;
    let granted = world.kept_like(|_, _, kind| grants(kind)) > 0;
    arrives(world, "the answer", |_, to, kind| to == Spot::Node(A) && !kind.is_raft())?;
    world.no_rule();
    world.release();
    until(world, secs(10), "b has the address", |world| world.has(B, ADDRESS))?;
    check(world, !granted, "the answer carried no grant")
}

#[test]
fn h11_nothing_is_granted_while_a_grant_expires() {
    with_fence(&three(Profile::Fast), h11);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
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
    until(world, secs(5), "the grant is left to expire", |world| {
        world.grant_is("demo", is_expiring)
    })?;
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
    until(world, secs(2), "the end of the grant is decided, too", |world| {
        world.kept_like(|_, _, kind| carries_over(kind)) > 0
    })?;
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
#[ignore = "the mutation is not in the machines yet"]
fn h11_an_end_that_was_decided_before_a_move_back_ends_nothing_without_over_without_revision() {
    without(Mutation::OverWithoutRevision, &three(Profile::Fast), h11_revision);
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
#[ignore = "the mutation is not in the machines yet"]
fn h12_clocks_one_percent_off_on_both_sides_are_allowed_for_without_wait_without_drift() {
    without(Mutation::WaitWithoutDrift, &three(Profile::Tolerant), h12_tolerant);
}

/// H13: the attach is pipelined, and then the operation of the detach fails. Attaching finds the way
/// back.
fn h13(world: &mut World) -> Story {
    a_holds(world, C)?;
    azure_fails(world, Fault::once(OPERATION_FAILS).on_nic("a-nic"));
    let began = world.now();
    moves(world, B, secs(60))?;
    let failed = world.told(began, &["the operation on a-nic has Failed"]);
    check(world, failed == 1, "the detach failed")?;
    check(world, world.told(began, &["PUT a-nic", "-[10.5.0.110]"]) == 2, "and was sent again")
}

#[test]
fn h13_an_attach_whose_detach_failed_goes_back_to_it() {
    let plan = with_azure(three(Profile::Fast), |azure| azure.failed_goal_stays = false);
    with_fence(&plan, h13);
}

/// H13, the other half: right after the detach a third party takes the address to another NIC.
fn h13_third_party(world: &mut World, nic: &str) -> Story {
    a_holds(world, C)?;
    let began = world.now();
    world.ask_move("demo", B);
    until(world, secs(20), "the detach is done", |world| {
        world.told(began, &["the operation on a-nic has Succeeded"]) > 0
    })?;
    outsider_attaches(world, nic, DEMO);
    check(world, world.nics_with(ADDRESS) == [nic], "a third party has the address")
}

fn outsider_attaches(world: &mut World, nic: &str, address: Ipv4Addr) {
    let (nic, ip_config) = (nic.to_owned(), None);
    let taken = AdminCommand::ThirdPartyAttach { nic, address, ip_config, immediate: true };
    world.do_deed(Deed::Azure(taken));
}

fn outsider_detaches(world: &mut World, nic: &str, address: Ipv4Addr) {
    let detach = AdminCommand::ThirdPartyDetach { nic: nic.to_owned(), address, immediate: true };
    world.do_deed(Deed::Azure(detach));
}

#[test]
fn h13_an_address_that_a_member_got_meanwhile_is_taken_off_it() {
    with_fence(&three(Profile::Fast), |world| {
        h13_third_party(world, "c-nic")?;
        until(world, secs(60), "b holds it", |world| world.is_held_by("demo", B))
    });
}

#[test]
fn h13_an_address_that_a_stranger_took_blocks_the_move_until_it_is_free() {
    with_fence(&three(Profile::Fast), |world| {
        h13_third_party(world, "stranger-nic")?;
        until(world, secs(30), "the move says why it waits", |world| {
            world.told(0, &["Blocked", "stranger-nic"]) > 0
        })?;
        check(world, world.nics_with(ADDRESS) == ["stranger-nic"], "nothing foreign is taken")?;
        outsider_detaches(world, "stranger-nic", DEMO);
        until(world, secs(60), "b holds it", |world| world.is_held_by("demo", B))
    });
}

/// H14: the NIC shows the goal at once, and still after the operation has failed. Neither is Held.
fn h14(world: &mut World) -> Story {
    a_holds(world, C)?;
    azure_fails(world, Fault::once(OPERATION_FAILS).on_nic("b-nic"));
    world.ask_move("demo", B);
    until(world, secs(30), "the NIC shows the goal", |world| {
        world.nics_with(ADDRESS) == ["b-nic"] && world.has(B, ADDRESS)
    })?;
    always(world, ms(2_500), "it is not held", |world| !world.is_held_by("demo", B))?;
    until(world, secs(60), "b holds it", |world| world.is_held_by("demo", B))?;
    let failed = world.told(0, &["the operation on b-nic has Failed"]);
    check(world, failed == 1, "the attach failed")?;
    let puts = world
        .writes()
        .into_iter()
        .filter(|write| write.nic == "b-nic" && write.method == "PUT" && write.status < 300);
    check(world, puts.count() == 2, "it was put again")
}

fn slow_azure() -> vipfence_sim::Plan {
    with_azure(three(Profile::Fast), |azure| azure.operation_ms = 3_000)
}

#[test]
fn h14_a_goal_that_a_nic_shows_is_not_taken_as_done() {
    with_fence(&slow_azure(), h14);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h14_a_goal_that_a_nic_shows_is_not_taken_as_done_without_read_back_while_updating() {
    without(Mutation::ReadBackWhileUpdating, &slow_azure(), h14);
}

/// H15: four VIPs go to b in one PUT; the address of one of them was taken by a stranger. The others
/// do not wait for it.
fn h15(world: &mut World) -> Story {
    a_holds(world, C)?;
    let others = ["v2", "v3", "v4"];
    for (vip, last) in others.into_iter().zip(112..) {
        define(world, vip, VipSpec::host(Ipv4Addr::new(10, 5, 0, last).into()), "a");
    }
    until(world, secs(40), "a holds all four", |world| {
        others.iter().all(|vip| world.is_held_by(vip, A))
    })?;
    world.run(secs(3));
    world.do_deed(Deed::PowerOff(A));
    until(world, secs(20), "they are detached", |world| world.nics_with(ADDRESS).is_empty())?;
    until(world, secs(20), "for good", |world| {
        let lines: Vec<String> = world.timeline.lines().collect();
        lines.last().is_some_and(|line| line.contains("goes to nobody"))
    })?;
    outsider_attaches(world, "stranger-nic", DEMO);
    until(world, secs(30), "the other three are held", |world| {
        others.iter().all(|vip| world.is_held_by(vip, B))
    })?;
    check(world, world.nics_with(ADDRESS) == ["stranger-nic"], "the one was taken")?;
    outsider_detaches(world, "stranger-nic", DEMO);
    until(world, secs(60), "and then that one", |world| world.is_held_by("demo", B))
}

#[test]
fn h15_one_refused_vip_does_not_hold_up_the_others_of_its_batch() {
    with_fence(&three(Profile::Fast), h15);
}

/// H16 (a): no clock shows that the machine was paused. This is the named exception of I1; one
/// heartbeat ends it.
#[test]
fn h16_after_a_pause_that_no_clock_shows_one_heartbeat_ends_it() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        just_renewed(world, A, 4_000)?;
        world.do_deed(Deed::Pause(A, PauseSeen::Hidden));
        until(world, secs(30), "b holds it", |world| {
            world.vip("demo").is_some_and(|vip| vip.is_held()) && world.has(B, ADDRESS)
        })?;
        world.do_deed(Deed::Resume(A));
        check(world, world.lease_left(A, "demo").is_some(), "a believes its old lease")?;
        check(world, world.has(A, ADDRESS), "and has the address")?;
        until(world, ms(600), "one heartbeat ends it", |world| !world.has(A, ADDRESS))
    });
}

/// H16: a pause that the boot clock shows ends the lease before anything else, also where no leader
/// is heard.
fn h16_shown(world: &mut World) -> Story {
    a_holds(world, C)?;
    just_renewed(world, A, 4_000)?;
    world.do_deed(Deed::Pause(A, PauseSeen::Shown));
    until(world, secs(30), "b has the address", |world| world.has(B, ADDRESS))?;
    agent_is_cut_off(world, A);
    world.do_deed(Deed::Resume(A));
    check(world, world.has(A, ADDRESS), "the kernel of a did not see the time pass")?;
    until(world, ms(20), "a drops it", |world| !world.has(A, ADDRESS))?;
    always(world, secs(4), "and does not add it", |world| !world.has(A, ADDRESS))
}

#[test]
fn h16_a_pause_that_a_clock_shows_ends_the_lease_at_once() {
    with_fence(&three(Profile::Fast), h16_shown);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h16_a_pause_that_a_clock_shows_ends_the_lease_at_once_without_lease_by_one_clock() {
    without(Mutation::LeaseByOneClock, &three(Profile::Fast), h16_shown);
}

/// H16 (b): the agent is frozen between the computing of a lifetime and the call to the kernel.
#[test]
fn h16_a_lifetime_that_was_computed_before_a_freeze_is_not_set_after_it() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        until(world, secs(3), "a renews its address", |world| world.waits_for_its_os(A))?;
        world.do_deed(Deed::Stop(A));
        check(world, world.has(A, ADDRESS), "a has the address")?;
        until(world, secs(30), "b holds it", |world| world.is_held_by("demo", B))?;
        world.do_deed(Deed::Continue(A));
        always(world, secs(2), "a does not set it", |world| !world.has(A, ADDRESS))
    });
}

/// H17: a request that was executed is repeated after other moves, and after a change of leader.
fn h17(world: &mut World) -> Story {
    a_holds(world, C)?;
    let request = Request { id: Some("r".into()), content: String::new(), caller: "x".to_owned() };
    let first = world.ask_move_as("demo", B, request.clone());
    until(world, secs(20), "b holds it", |world| world.is_held_by("demo", B))?;
    moves(world, A, secs(20))?;
    let elected = world.elect(B);
    check(world, elected, "another node leads")?;
    let again = world.ask_move_as("demo", B, request);
    until(world, secs(5), "the repetition is answered", |world| world.ended(again).is_some())?;
    check(world, world.ended(again) == world.ended(first), "with the same move")?;
    always(world, secs(5), "and moves nothing", |world| world.is_held_by("demo", A))
}

#[test]
fn h17_a_repeated_request_is_not_executed_twice() {
    with_fence(&three(Profile::Fast), h17);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h17_a_repeated_request_is_not_executed_twice_without_request_ids_forgotten() {
    without(Mutation::RequestIdsForgotten, &three(Profile::Fast), h17);
}

/// H18: the replicated state is lost, the agents' memory is not. (Restoring a snapshot waits for its
/// feature; the loss of the whole log asks for the same.)
fn h18(world: &mut World) -> Story {
    a_holds(world, C)?;
    moves(world, B, secs(20))?;
    let old = world.epoch_of("demo");
    world.lose_the_log();
    until(world, secs(10), "the cluster is born anew", |world| world.leader().is_some())?;
    world.run(secs(2));
    check(world, world.vip("demo").is_none(), "and knows no VIP")?;
    define(world, "demo", VipSpec::host(ADDRESS), "a");
    until(world, secs(30), "a holds it", |world| world.is_held_by("demo", A))?;
    check(world, world.epoch_of("demo") > old, "the epochs go on")
}

#[test]
fn h18_a_cluster_that_lost_its_log_does_not_grant_old_epochs() {
    with_fence(&three(Profile::Fast), h18);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h18_a_cluster_that_lost_its_log_does_not_grant_old_epochs_without_highest_epoch_ignored() {
    without(Mutation::HighestEpochIgnored, &three(Profile::Fast), h18);
}

/// H19: the leader, which holds nothing, is killed at any moment of the holder's heartbeat.
#[test]
fn h19_the_death_of_a_leader_costs_a_healthy_holder_nothing() {
    for profile in [Profile::Fast, Profile::Standard, Profile::Tolerant] {
        for after in [0, 200, 400, 600, 800] {
            with_fence(&three(profile), |world| {
                a_holds(world, C)?;
                let epoch = world.epoch_of("demo");
                just_renewed(world, A, world.registry().timing.lease_ttl_ms)?;
                world.run(ms(after));
                world.do_deed(Deed::Kill(C));
                always(world, secs(40), "a has the address", |world| world.has(A, ADDRESS))?;
                check(world, world.leader().is_some(), "another node leads")?;
                check(world, world.epoch_of("demo") == epoch, "nothing moved")
            });
        }
    }
}

/// H20: a leader dies right after its detach was accepted; the next one commits the open step anew in
/// its own term and goes on from it.
fn h20(world: &mut World) -> Story {
    a_holds(world, W)?;
    let term = world.registry().term;
    world.ask_move("demo", B);
    until(world, secs(10), "the detach was accepted", |world| world.nics_with(ADDRESS).is_empty())?;
    world.do_deed(Deed::Kill(W));
    until(world, secs(30), "b holds it", |world| world.is_held_by("demo", B))?;
    check(world, world.registry().term > term, "under another leader")
}

#[test]
fn h20_a_new_leader_commits_an_open_step_again_before_it_goes_on() {
    with_fence(&four(Profile::Fast), h20);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h20_a_new_leader_commits_an_open_step_again_before_it_goes_on_without_no_recommit() {
    without(Mutation::NoRecommit, &four(Profile::Fast), h20);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h20_a_new_leader_commits_an_open_step_again_before_it_goes_on_without_no_round_before_write() {
    without(Mutation::NoRoundBeforeWrite, &four(Profile::Fast), h20);
}

/// H20: a leader that was deposed without having noticed finds out in its quorum round: the term has
/// changed. It sends nothing.
#[test]
fn h20_a_deposed_leader_sends_nothing() {
    with_fence(&four(Profile::Fast), |world| {
        a_holds(world, W)?;
        // The old leader hears nobody; its callers reach it.
        world.rule(|from, to, kind| {
            let of_w = (from == Spot::Node(W)) != (to == Spot::Node(W));
            if of_w && (kind.is_raft() || kind.is_beat()) { Verdict::Drop } else { Verdict::Pass }
        });
        let cut = world.now();
        world.ask(W, move_ask(B));
        until(world, secs(10), "another node leads", |world| {
            world.leader().is_some_and(|leader| leader != W && world.leads(leader))
        })?;
        world.run(secs(3));
        check(world, world.told(cut, &["w: sends"]) == 0, "the old one writes nothing")
    });
}

fn move_ask(to: usize) -> vipfence_coordinator_core::Ask {
    let names = ["a", "b", "c", "w"];
    vipfence_coordinator_core::Ask::MoveVip {
        vip: vipfence_types::VipName::new("demo").expect("a valid name"),
        to: Some(vipfence_types::NodeId::new(names[to]).expect("a valid name")),
        expect: vipfence_coordinator_core::Expect::default(),
        dry_run: false,
        force: false,
        request: Request { id: Some("deposed".into()), content: String::new(), caller: "x".into() },
    }
}

/// H20: the process of a leader restarts at once; it must not go on leading its term.
fn h20_restart(world: &mut World) -> Story {
    a_holds(world, C)?;
    let term = world.registry().term;
    world.ask_move("demo", B);
    until(world, secs(10), "the detach was accepted", |world| world.nics_with(ADDRESS).is_empty())?;
    world.do_deed(Deed::Kill(C));
    world.do_deed(Deed::Start(C));
    until(world, secs(30), "b holds it", |world| world.is_held_by("demo", B))?;
    check(world, world.registry().term > term, "in a later term")
}

#[test]
fn h20_a_leader_that_restarts_does_not_go_on_in_its_term() {
    with_fence(&three(Profile::Fast), h20_restart);
}

#[test]
#[ignore = "the mutation is not in the machines yet"]
fn h20_a_leader_that_restarts_does_not_go_on_in_its_term_without_term_resumed() {
    without(Mutation::TermResumed, &three(Profile::Fast), h20_restart);
}

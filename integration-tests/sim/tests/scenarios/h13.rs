//! The first round of attacks, H13 to H20: what Azure and the machines do, and what is remembered.

use std::net::{IpAddr, Ipv4Addr};

use azure_sim::{AdminCommand, Fault, FaultEffect};
use vipfence_coordinator_core::Request;
use vipfence_sim::{
    Deed, Spot, Verdict, World,
    time::{PauseSeen, ms, secs},
};
use vipfence_types::{Mutation, Profile, VipSpec};

use crate::stage::*;

const OPERATION_FAILS: FaultEffect =
    FaultEffect::FailOperation { code: String::new(), message: String::new(), takes_effect: false };

/// H13: the attach is pipelined, and then the operation of the detach fails. Attaching finds the way
/// back.
fn h13(world: &mut World) -> Story {
    a_holds(world, C)?;
    azure_fails(world, Fault::once(OPERATION_FAILS).on_nic("a-nic"));
    writes_hang(world, "a-nic");
    let began = world.now();
    world.ask_move("demo", B);
    until(world, secs(5), "the detach is on its way", |world| world.kept() == 1)?;
    always(world, secs(2), "no attach before it is accepted", |world| {
        world.told(began, &["sends Put b-nic"]) == 0
    })?;
    world.no_rule();
    world.release();
    until(world, secs(60), "b holds it", |world| world.is_held_by("demo", B))?;
    let failed = world.told(began, &["the operation on a-nic has Failed"]);
    check(world, failed == 1, "the detach failed")?;
    check(world, world.told(began, &["PUT a-nic", "-[10.5.0.110]"]) == 2, "and was sent again")
}

fn failures_roll_back() -> vipfence_sim::Plan {
    with_azure(three(Profile::Fast), |azure| azure.failed_goal_stays = false)
}

#[test]
fn h13_an_attach_whose_detach_failed_goes_back_to_it() {
    with_fence(&failures_roll_back(), h13);
}

#[test]
fn h13_an_attach_whose_detach_failed_goes_back_to_it_without_attach_before_detach() {
    without(Mutation::AttachBeforeDetach, &failures_roll_back(), h13);
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

fn outsider_attaches(world: &mut World, nic: &str, address: impl Into<IpAddr>) {
    let (nic, address, ip_config) = (nic.to_owned(), address.into(), None);
    let taken = AdminCommand::ThirdPartyAttach { nic, address, ip_config, immediate: true };
    world.do_deed(Deed::Azure(taken));
}

#[test]
fn h13_an_address_that_a_member_got_meanwhile_is_taken_off_it() {
    with_fence(&three(Profile::Fast), |world| {
        h13_third_party(world, "c-nic")?;
        until(world, secs(60), "b holds it", |world| world.is_held_by("demo", B))
    });
}

fn h13_stranger(world: &mut World) -> Story {
    h13_third_party(world, "stranger-nic")?;
    until(world, secs(30), "the move says why it waits", |world| {
        world.told(0, &["Blocked", "stranger-nic"]) > 0
    })?;
    world.run(secs(5));
    check(world, world.nics_with(ADDRESS) == ["stranger-nic"], "nothing foreign is taken")?;
    outsider_detaches(world, "stranger-nic", DEMO);
    until(world, secs(60), "b holds it", |world| world.is_held_by("demo", B))
}

#[test]
fn h13_an_address_that_a_stranger_took_blocks_the_move_until_it_is_free() {
    with_fence(&three(Profile::Fast), h13_stranger);
}

#[test]
fn h13_an_address_that_a_stranger_took_blocks_the_move_until_it_is_free_without_foreign_detached() {
    noticed_without(Mutation::ForeignDetached, &three(Profile::Fast), h13_stranger);
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
fn h14_a_goal_that_a_nic_shows_is_not_taken_as_done_without_read_back_while_updating() {
    without(Mutation::ReadBackWhileUpdating, &slow_azure(), h14);
}

/// H14, the other track: Azure is done and shows it, and the target's OS refuses the address.
fn h14_no_add(world: &mut World) -> Story {
    a_holds(world, C)?;
    world.do_deed(Deed::BadOs(B, 1, 0));
    let began = world.now();
    world.ask_move("demo", B);
    until(world, secs(20), "the attach is done", |world| {
        world.told(began, &["the operation on b-nic has Succeeded"]) > 0
    })?;
    always(world, secs(4), "it is not held", |world| {
        world.vip("demo").is_some_and(|vip| !vip.is_held())
    })?;
    world.do_deed(Deed::BadOs(B, 0, 0));
    until(world, secs(5), "b holds it", |world| world.is_held_by("demo", B))
}

#[test]
fn h14_held_waits_for_the_add_too() {
    with_fence(&three(Profile::Fast), h14_no_add);
}

#[test]
fn h14_held_waits_for_the_add_too_without_held_before_add() {
    noticed_without(Mutation::HeldBeforeAdd, &three(Profile::Fast), h14_no_add);
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
fn h16_a_pause_that_a_clock_shows_ends_the_lease_at_once_without_lease_by_one_clock() {
    without(Mutation::LeaseByOneClock, &three(Profile::Fast), h16_shown);
}

/// H16 (b): the agent is frozen between the computing of a lifetime and the call to the kernel.
fn h16_late_add(world: &mut World) -> Story {
    a_holds(world, C)?;
    until(world, secs(3), "a renews its address", |world| world.waits_for_its_os(A))?;
    world.do_deed(Deed::Stop(A));
    check(world, world.has(A, ADDRESS), "a has the address")?;
    until(world, secs(30), "b holds it", |world| world.is_held_by("demo", B))?;
    world.do_deed(Deed::Continue(A));
    always(world, secs(2), "a does not set it", |world| !world.has(A, ADDRESS))
}

#[test]
fn h16_a_lifetime_that_was_computed_before_a_freeze_is_not_set_after_it() {
    with_fence(&three(Profile::Fast), h16_late_add);
}

#[test]
fn h16_a_late_call_to_the_kernel_is_noticed_without_late_add_kept() {
    without(Mutation::LateAddKept, &three(Profile::Fast), h16_late_add);
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
    world.run(secs(2));
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
    // What is on its way comes to nobody.
    world.run(secs(2));
    for node in [A, B, C] {
        world.do_deed(Deed::Start(node));
    }
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
    // Between two heartbeats of the nodes: a round that is made for them would serve a write, too.
    world.run(ms(250));
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
fn h20_a_new_leader_commits_an_open_step_again_before_it_goes_on_without_no_recommit() {
    without(Mutation::NoRecommit, &four(Profile::Fast), h20);
}

#[test]
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
        another_node_leads(world)?;
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
fn h20_a_leader_that_restarts_does_not_go_on_in_its_term_without_term_resumed() {
    without(Mutation::TermResumed, &three(Profile::Fast), h20_restart);
}

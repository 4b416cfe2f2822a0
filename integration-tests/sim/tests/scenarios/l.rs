//! The traps in which nothing moves any more. Each says within how long it gets through.

use azure_sim::{AdminCommand, Fault, FaultEffect, Rights};
use vipfence_sim::{
    Deed, Plan, Spot, Verdict, World,
    time::{ms, secs},
};
use vipfence_types::{Epoch, Mutation, Profile, Release, Timing};

use crate::stage::*;

fn refused(status: u16, code: &str) -> FaultEffect {
    let (code, message) = (code.to_owned(), String::new());
    FaultEffect::Refuse { status, code, message, retry_after_s: None }
}

/// Azure may take 20 s to execute a request, not five minutes.
fn quick_azure_max() -> Plan {
    let mut plan = three(Profile::Fast);
    plan.timing = Timing { azure_max_ms: 20_000, ..plan.timing };
    plan
}

/// An attach to b is of unknown outcome; from then on b cannot be sealed. c holds the VIP.
fn b_is_exposed_and(world: &mut World, unsealable: impl FnOnce(&mut World)) -> Story {
    a_holds(world, C)?;
    writes_hang(world, "b-nic");
    world.ask_move("demo", B);
    until(world, secs(10), "the attach to b is on its way", |world| world.kept() == 1)?;
    world.run(secs(28));
    unsealable(world);
    world.ask_move("demo", C);
    world.run(secs(3));
    check(world, world.sometimes.count("an outcome is unknown") > 0, "its outcome is unknown")?;
    world.no_rule();
    until(world, secs(30), "c holds it", |world| world.is_held_by("demo", C))
}

/// L1: a NIC that was written with unknown outcome is deleted: nothing can hit it any more.
#[test]
fn l01_a_nic_that_is_gone_does_not_keep_a_vip_from_moving_for_30_s() {
    with_fence(&three(Profile::Fast), |world| {
        b_is_exposed_and(world, |world| {
            let delete = AdminCommand::DeleteNic { nic: "b-nic".to_owned() };
            world.do_deed(Deed::Azure(delete));
        })?;
        moves(world, A, secs(30))
    });
}

/// L1: writes to it are refused for good: only time clears it, and that is bounded. Until then it may
/// still be hit, and the VIP stays where it is.
fn l01_forbidden(world: &mut World) -> Story {
    b_is_exposed_and(world, |world| {
        let fault = Fault::once(refused(403, "AuthorizationFailed")).on_nic("b-nic");
        azure_fails(world, fault.times(10_000));
    })?;
    world.ask_move("demo", A);
    always(world, secs(10), "it waits", |world| {
        world.nics_with(ADDRESS) == ["c-nic"] && world.has(C, ADDRESS)
    })?;
    until(world, secs(11 + 10), "a holds it", |world| world.is_held_by("demo", A))
}

#[test]
fn l01_a_nic_that_may_not_be_written_keeps_a_vip_for_azure_max_and_no_longer() {
    with_fence(&quick_azure_max(), l01_forbidden);
}

/// L1: the same for a failover.
#[test]
fn l01_a_nic_that_may_not_be_written_keeps_a_vip_for_azure_max_without_refused_seal_believed() {
    noticed_without(Mutation::RefusedSealBelieved, &quick_azure_max(), l01_forbidden);
}

#[test]
fn l01_a_failover_waits_no_longer_for_a_nic_that_may_not_be_written() {
    with_fence(&quick_azure_max(), |world| {
        b_is_exposed_and(world, |world| {
            let fault = Fault::once(refused(403, "AuthorizationFailed")).on_nic("b-nic");
            azure_fails(world, fault.times(10_000));
        })?;
        world.do_deed(Deed::PowerOff(C));
        // An election, and then a whole azure_max counts anew.
        until(world, secs(45), "a holds it", |world| world.is_held_by("demo", A))
    });
}

/// L2: the NIC that the VIP leaves is gone with its VM.
#[test]
fn l02_a_nic_that_is_gone_lists_nothing_and_blocks_no_failover() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        world.do_deed(Deed::PowerOff(A));
        world.do_deed(Deed::Azure(AdminCommand::DeleteNic { nic: "a-nic".to_owned() }));
        until(world, secs(15), "b holds it", |world| world.is_held_by("demo", B))
    });
}

/// L2: the NIC that the VIP leaves stays Failed for ever; the attach succeeds all the same.
#[test]
fn l02_a_nic_that_stays_failed_does_not_block_held_elsewhere() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        let (code, message) = (String::new(), String::new());
        let fails = FaultEffect::FailOperation { code, message, takes_effect: true };
        azure_fails(world, Fault::once(fails).on_nic("a-nic").times(10_000));
        moves(world, B, secs(60))?;
        let failed = world.told(0, &["the operation on a-nic has Failed"]);
        check(world, failed > 0, "the detach never succeeded")
    });
}

/// L3: an agent restarts: its new boot names the one it replaces, and is heard at once. The kernel
/// keeps the address meanwhile.
#[test]
fn l03_a_restarted_agent_is_accepted_at_once_and_costs_nothing() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        just_renewed(world, A, 4_000)?;
        let epoch = world.epoch_of("demo");
        world.do_deed(Deed::Kill(A));
        world.run(ms(500));
        world.do_deed(Deed::Start(A));
        let answered = world.run_until(ms(700), |world| world.lease_left(A, "demo").is_some());
        check(world, answered && world.has(A, ADDRESS), "it is granted again within 0.7 s")?;
        always(world, secs(10), "the address stays", |world| world.has(A, ADDRESS))?;
        check(world, world.epoch_of("demo") == epoch, "nothing moved")
    });
}

/// L4: the registry grants an epoch that its node has spent long ago. The node refuses, is alive, and
/// nobody moves; the leader comes up with a higher one by itself.
fn l04(world: &mut World) -> Story {
    a_holds(world, C)?;
    let far = Epoch(world.epoch_of("demo").0 + 1_000_000);
    world.do_deed(Deed::Kill(A));
    world.has_spent(A, "demo", ADDRESS, far);
    world.do_deed(Deed::Start(A));
    until(world, secs(3), "a refuses its epoch", |world| world.told(0, &["a: GrantRefused"]) > 0)?;
    until(world, secs(5), "a holds it at a later one", |world| {
        world.is_held_by("demo", A) && world.epoch_of("demo") > far
    })
}

#[test]
fn l04_a_node_that_refuses_its_epoch_gets_a_later_one_within_5_s() {
    with_fence(&three(Profile::Fast), l04);
}

#[test]
fn l04_a_node_that_refuses_its_epoch_gets_a_later_one_within_5_s_without_highest_epoch_ignored() {
    noticed_without(Mutation::HighestEpochIgnored, &three(Profile::Fast), l04);
}

/// L5: a leader that may not use Azure's API goes on leading, and nothing moves.
fn l05(world: &mut World) -> Story {
    a_holds(world, W)?;
    let rights = Rights { read: false, write: false, ..Rights::default() };
    world.do_deed(Deed::Azure(AdminCommand::SetRights { node: "w".to_owned(), rights }));
    world.ask_move("demo", B);
    until(world, secs(30), "b holds it", |world| world.is_held_by("demo", B))?;
    check(world, !world.leads(W), "another node leads")
}

#[test]
fn l05_a_leader_that_cannot_use_arm_gives_way_and_the_move_is_done_within_30_s() {
    with_fence(&four(Profile::Fast), l05);
}

#[test]
fn l05_a_leader_that_cannot_use_arm_gives_way_without_no_step_down_without_arm() {
    noticed_without(Mutation::NoStepDownWithoutArm, &four(Profile::Fast), l05);
}

/// L6: the target's NIC refuses the address for good, after the detach.
fn l06(world: &mut World, status: u16, code: &str) -> Story {
    a_holds(world, C)?;
    let fault = Fault::once(refused(status, code)).on_nic("b-nic").for_method("PUT");
    azure_fails(world, fault.times(10_000));
    let asked = world.now();
    world.ask_move("demo", B);
    until(world, secs(10), "the target is given up", |world| {
        world.told(asked, &["StartMove", "TargetFailed"]) > 0
    })?;
    until(world, secs(10), "another candidate holds it", |world| {
        world.is_held_by("demo", A) || world.is_held_by("demo", C)
    })
}

#[test]
fn l06_a_target_that_azure_refuses_for_good_is_given_up_within_20_s() {
    with_fence(&three(Profile::Fast), |world| l06(world, 403, "AuthorizationFailed"));
    with_fence(&three(Profile::Fast), |world| l06(world, 400, "PrivateIPAddressNotInSubnet"));
}

/// L6: and so in a failover, towards the third node.
#[test]
fn l06_a_failover_goes_on_to_the_third_node_within_20_s() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        let fault = Fault::once(refused(403, "AuthorizationFailed")).on_nic("b-nic");
        azure_fails(world, fault.for_method("PUT").times(10_000));
        world.do_deed(Deed::PowerOff(A));
        until(world, secs(20), "c holds it", |world| world.is_held_by("demo", C))
    });
}

/// L7: the holder leads, too, and dies: with nothing exposed there is nothing but the lease and an
/// election to wait for. (`trust_if_match = false` waits for that setting.)
#[test]
fn l07_the_failover_of_a_holder_that_leads_waits_for_no_azure_bound() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, A)?;
        world.do_deed(Deed::PowerOff(A));
        until(world, secs(15), "b holds it", |world| world.is_held_by("demo", B))
    });
}

/// L8: the old holder goes silent in an open move, while its detach is stuck in Azure.
#[test]
fn l08_silence_of_the_old_holder_during_a_stuck_detach_leads_to_expiring_within_4_s() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        stuck(world, "a-nic");
        world.ask_move("demo", B);
        until(world, secs(5), "the detach was accepted", |world| {
            world.nics_with(ADDRESS).is_empty()
        })?;
        check(world, world.has(A, ADDRESS), "a serves meanwhile")?;
        goes_silent(world, A)
    });
}

fn stuck(world: &mut World, nic: &str) {
    world.do_deed(Deed::Azure(AdminCommand::Freeze { nic: Some(nic.to_owned()) }));
}

/// A node stops; its grant is left to expire `failover_after` later.
fn goes_silent(world: &mut World, node: usize) -> Story {
    let stopped = world.now();
    world.do_deed(Deed::Stop(node));
    until(world, secs(4), "its grant is left to expire", |world| {
        world.grant_is("demo", is_expiring)
    })?;
    check(world, since(world, stopped) > ms(2_400), "after failover_after, and not at once")
}

/// L8: it goes silent while it is asked to let go.
#[test]
fn l08_silence_in_releasing_leads_to_expiring_within_4_s() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds_as(world, C, |spec| spec.release = Release::Early)?;
        // It is slow to spend the epoch, so it does not confirm.
        world.do_deed(Deed::SlowDisk(A, 30_000));
        world.ask_move("demo", B);
        until(world, secs(2), "a has dropped it", |world| {
            world.grant_is("demo", is_releasing) && !world.has(A, ADDRESS)
        })?;
        world.run(secs(1));
        check(world, world.grant_is("demo", is_releasing), "and does not confirm")?;
        goes_silent(world, A)
    });
}

/// L8: the new holder goes silent while its attach is stuck in Azure.
#[test]
fn l08_silence_of_the_new_holder_in_attaching_leads_to_expiring_within_4_s() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        stuck(world, "b-nic");
        world.ask_move("demo", B);
        until(world, secs(10), "b has the address and its attach is stuck", |world| {
            world.has(B, ADDRESS) && world.nics_with(ADDRESS) == ["b-nic"]
        })?;
        goes_silent(world, B)
    });
}

/// L9: a node that is heard again while its grant expires is told so: it drops and confirms, and
/// nobody waits for its lease. (A hook that hung waits for hooks.)
#[test]
fn l09_a_live_node_confirms_while_its_grant_expires() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds_as(world, C, early)?;
        just_renewed(world, A, 4_000)?;
        world.rule(|_, to, kind| {
            if to == Spot::Node(A) && kind.is_beat() { Verdict::Drop } else { Verdict::Pass }
        });
        world.ask_move("demo", B);
        until(world, secs(3), "the grant is left to expire", |world| {
            world.grant_is("demo", is_expiring)
        })?;
        let expiring = world.now();
        check(world, world.has(A, ADDRESS), "a has the address")?;
        world.no_rule();
        until(world, ms(1_500), "a confirms", |world| {
            world.told(expiring, &["demo: Over", "confirmed: true"]) == 1
        })?;
        until(world, ms(100), "b has the address", |world| world.has(B, ADDRESS))
    });
}

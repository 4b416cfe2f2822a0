//! The end of an agent and its quick restart: what is kept, and for how long.

use vipfence_sim::{
    Deed, World,
    time::{At, ms, secs},
};
use vipfence_types::{Candidate, Mutation, NodeId, Profile};

use crate::stage::*;

/// The holder's agent ends, keeps the VIP, and is away for so long.
fn upgrade(world: &mut World, away: u64) -> Result<At, String> {
    a_holds(world, C)?;
    let now = world.now();
    world.at(now, Deed::Upgrade(A, away));
    until(world, secs(2), "the agent ends", |world| {
        world.told(now, &["a: the agent has stopped"]) == 1
    })?;
    check(world, world.has(A, ADDRESS), "the address stays")?;
    Ok(now)
}

fn an_upgrade_within_the_lease(world: &mut World) -> Story {
    a_holds(world, C)?;
    // The background seals are done.
    world.run(secs(5));
    let (epoch, writes, now) = (world.epoch_of("demo"), world.writes().len(), world.now());
    world.at(now, Deed::Upgrade(A, 2_000));
    always(world, secs(15), "the address is there", |world| world.has(A, ADDRESS))?;
    check(world, world.told(now, &["a: the agent has stopped"]) == 1, "the agent ended")?;
    check(world, world.is_held_by("demo", A), "it is held as before")?;
    check(world, world.epoch_of("demo") == epoch, "under the same epoch")?;
    check(world, world.writes().len() == writes, "nothing was written to Azure")
}

#[test]
fn an_upgrade_within_the_lease_moves_nothing_and_the_address_is_never_gone() {
    with_fence(&three(Profile::Standard), an_upgrade_within_the_lease);
}

#[test]
fn an_upgrade_that_takes_longer_than_the_lease_ends_as_a_failover() {
    with_fence(&three(Profile::Fast), |world| {
        let began = upgrade(world, 20_000)?;
        until(world, secs(12), "b or c takes over", |world| {
            world.is_held_by("demo", B) || world.is_held_by("demo", C)
        })?;
        check(world, world.now() - began > ms(3_000), "after the lease, not before")?;
        check(world, !world.has(A, ADDRESS), "the kernel took it off with no agent there")
    });
}

#[test]
fn an_upgrade_that_takes_longer_than_the_lease_ends_as_a_failover_without_an_end_of_the_lifetime() {
    without(Mutation::KeptForEver, &three(Profile::Fast), |world| {
        upgrade(world, 20_000)?;
        world.run(secs(15));
        Ok(())
    });
}

#[test]
fn what_an_agent_left_behind_without_an_end_is_gone_before_the_node_is_heard_again() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        let now = world.now();
        for deed in [Deed::Kill(A), Deed::LeaveBehind(A, ADDRESS)] {
            world.at(now, deed);
        }
        let before = world.epoch_of("demo");
        until(world, secs(12), "another holds it", |world| {
            world.epoch_of("demo") > before && world.vip("demo").is_some_and(|vip| vip.is_held())
        })?;
        check(world, world.has(A, ADDRESS), "nobody took it off meanwhile")?;
        let now = world.now();
        world.at(now, Deed::Start(A));
        until(world, secs(2), "it is dropped", |world| !world.has(A, ADDRESS))
    });
}

#[test]
fn a_node_whose_vip_has_nowhere_to_go_stops_at_once() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds_as(world, C, |spec| {
            spec.candidates.insert(NodeId::new("a").expect("a name"), Candidate::default());
        })?;
        let now = world.now();
        world.at(now, Deed::CleanStop(A));
        // It would have given the leader eight seconds.
        until(world, secs(1), "it stops", |world| {
            world.told(now, &["a: the agent has stopped"]) == 1
        })?;
        check(
            world,
            world.told(now, &["a: Nowhere", "no candidate is eligible"]) == 1,
            "it says so",
        )?;
        check(world, !world.has(A, ADDRESS), "nothing is left behind")
    });
}

#[test]
fn what_a_guest_program_adds_is_dropped_and_what_it_drops_is_put_back_at_once() {
    with_fence(&three(Profile::Fast), |world| {
        a_holds(world, C)?;
        let now = world.now();
        world.at(now, Deed::GuestAdds(B, ADDRESS));
        world.at(now, Deed::GuestDrops(A, ADDRESS));
        until(world, ms(1), "it happens", |world| world.has(B, ADDRESS) && !world.has(A, ADDRESS))?;
        until(world, ms(100), "b drops it", |world| !world.has(B, ADDRESS))?;
        until(world, ms(100), "a has it again", |world| world.has(A, ADDRESS))?;
        check(world, world.is_held_by("demo", A), "nothing has moved")
    });
}

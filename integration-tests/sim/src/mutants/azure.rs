//! Dramas about writes to Azure: stale ones, foreign things, the order (I2, I3, I7, I8).

use std::net::{IpAddr, Ipv4Addr};

use azure_sim::{AddressFreed, AdminCommand, Bucket, Throttling};
use vipfence_types::{Mutation, Timing};

use super::{
    Drama, Seed,
    stage::{Set, Stage, hasty},
};
use crate::{
    net::Spot,
    world::{Deed, Kind, Verdict, World},
};

/// An address of somebody else.
const FOREIGN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 5, 0, 77));

pub(super) fn drama(mutation: Mutation) -> Option<Drama> {
    Some(match mutation {
        Mutation::NoIfMatch => an_outsider_between_read_and_write,
        Mutation::RoundBeforeGet => a_read_that_hangs,
        Mutation::WindowUnchecked => a_narrow_window,
        Mutation::NoRoundBeforeWrite
        | Mutation::NotExposedBeforeWrite
        | Mutation::AttachBeforeDetach
        | Mutation::NicFromModel
        | Mutation::PrimaryDropped => there_and_elsewhere,
        Mutation::ReadBackWhileUpdating => an_operation_that_nobody_follows,
        Mutation::NoSeal => |seed| a_detach_of_a_dead_leader(seed, |_| {}, true),
        Mutation::SealBelieved => |seed| a_detach_of_a_dead_leader(seed, |_| {}, false),
        Mutation::RefusedSealBelieved => |seed| {
            let refuse = |stage: &mut Stage| {
                stage.refuse(stage.holder, "PATCH", 403, "AuthorizationFailed");
            };
            a_detach_of_a_dead_leader(seed, refuse, true)
        },
        Mutation::SealsPutOff => |seed| an_attach_of_a_dead_leader(seed, true, false),
        Mutation::ExposedClearedBySuperseding => {
            |seed| an_attach_of_a_dead_leader(seed, true, true)
        }
        Mutation::ClearedDespiteUnknown => an_own_attach_that_is_late,
        Mutation::OwnUnknownHarmless => an_own_detach_that_is_late,
        Mutation::HeldBeforeAdd => a_dead_holder,
        Mutation::ForeignDetached => a_stranger_has_it,
        Mutation::NoStepDownWithoutArm => a_leader_without_azure,
        Mutation::LateWritesForgotten => a_late_detach_without_if_match,
        Mutation::DriftIgnored => an_outsider_at_rest,
        Mutation::ThrottlingIgnored => a_budget_that_is_used_up,
        _ => return None,
    })
}

fn there_and_elsewhere(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.move_to(stage.others[0]);
    stage.wait(6);
    stage.end()
}

/// Somebody without manners writes the NIC after we have read it.
fn an_outsider_between_read_and_write(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.rule(|_, to, kind| match kind {
        Kind::ArmWrite { .. } if to == Spot::Arm => Verdict::Keep,
        _ => Verdict::Pass,
    });
    stage.move_to(stage.others[0]);
    stage.until(3, |stage| stage.world.kept() > 0);
    let nic = stage.nic(stage.holder);
    stage.third_party_attach(nic, FOREIGN);
    stage.world.no_rule();
    stage.world.release();
    stage.wait(6);
    stage.end()
}

/// A deposed leader's read, made after its quorum round, hangs until its successor has sealed the
/// NIC. (The window is wide, or there would be no time for all that.)
fn a_read_that_hangs(seed: Seed) -> World {
    let timing = Timing { write_window_ms: 30_000, ..hasty() };
    let mut stage = Set::three(timing).play(seed);
    let (leader, holder) = (stage.leader, stage.holder);
    stage.move_to(stage.others[0]);
    stage.until(3, |stage| stage.is_detaching());
    let me = Spot::Node(leader);
    stage.rule(move |from, _, kind| match kind {
        Kind::ArmRead if from == me => Verdict::Keep,
        _ => Verdict::Pass,
    });
    stage.wait_ms(40);
    stage.cut_off(leader);
    stage.wait(3);
    stage.move_to(holder);
    stage.until(12, |stage| stage.is_held_by(holder));
    stage.world.no_rule();
    stage.world.release();
    stage.wait(2);
    stage.end()
}

/// The write window is shorter than what a connection takes.
fn a_narrow_window(seed: Seed) -> World {
    let timing = Timing { write_window_ms: 4, ..hasty() };
    let mut stage = Set::three(timing).play(seed);
    stage.move_to(stage.others[0]);
    stage.wait(3);
    stage.end()
}

/// H5, H6: a leader dies while its detach is on its way. Its successor is asked to leave the VIP
/// where it is; then the detach arrives.
fn a_detach_of_a_dead_leader(seed: Seed, more: fn(&mut Stage), patch_changes_etag: bool) -> World {
    let set = Set::three(hasty()).azure(|azure| azure.patch_changes_etag = patch_changes_etag);
    let mut stage = set.play(seed);
    let (leader, holder) = (stage.leader, stage.holder);
    stage.delay_put(holder, 14);
    stage.move_to(stage.others[0]);
    stage.until(3, |stage| stage.is_detaching());
    stage.wait_ms(200);
    stage.kill(leader);
    stage.refuse(holder, "PUT", 429, "TooManyRequests");
    more(&mut stage);
    stage.wait(3);
    stage.move_to(holder);
    stage.wait(16);
    stage.end()
}

/// The URL of the attach's operation leads nowhere, and the operation takes its time. The NIC shows
/// its goal meanwhile.
fn an_operation_that_nobody_follows(seed: Seed) -> World {
    let mut stage = Set::three(hasty())
        .azure(|azure| {
            azure.early_operation_404_ms = 60_000;
            azure.address_freed = AddressFreed::AtAccept;
        })
        .play(seed);
    stage.azure(AdminCommand::SetOperationMs { ms: 40_000 });
    stage.move_to(stage.others[0]);
    stage.wait(30);
    stage.end()
}

/// V6: a leader dies while its attach is on its way; the VIP goes elsewhere, and from there on. In
/// between it is nowhere, and the old attach arrives. The operator may change its mind on the way.
fn an_attach_of_a_dead_leader(seed: Seed, patches_refused: bool, undecided: bool) -> World {
    let mut stage = Set::five(hasty()).play(seed);
    let (leader, holder) = (stage.leader, stage.holder);
    let (other, last) = (stage.others[0], stage.others[1]);
    stage.delay_put(other, 20);
    stage.move_to(other);
    stage.until(3, |stage| stage.is_attaching());
    stage.wait_ms(150);
    stage.kill(leader);
    // Its successor does not get to write there.
    stage.refuse(other, "PUT", 429, "TooManyRequests");
    if patches_refused {
        stage.refuse(other, "PATCH", 429, "TooManyRequests");
    }
    stage.wait(3);
    stage.move_to(holder);
    stage.until(9, |stage| stage.is_held_by(holder));
    stage.refuse(last, "PUT", 429, "TooManyRequests");
    stage.move_to(last);
    if undecided {
        stage.wait_ms(50);
        stage.move_to(holder);
        stage.wait_ms(50);
        stage.move_to(last);
    }
    stage.wait(20);
    stage.end()
}

/// H5: a detach of our own is on its way for longer than anybody waits; meanwhile the VIP is to stay.
fn an_own_detach_that_is_late(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.delay_put(stage.holder, 40);
    stage.move_to(stage.others[0]);
    stage.until(3, |stage| stage.is_detaching());
    stage.wait(2);
    stage.move_to(stage.holder);
    stage.wait(42);
    stage.end()
}

/// V6, with one leader: an attach of our own, to a NIC that we had cleared before.
fn an_own_attach_that_is_late(seed: Seed) -> World {
    let mut stage = Set::five(hasty()).play(seed);
    let (holder, other, last) = (stage.holder, stage.others[0], stage.others[1]);
    stage.move_to(other);
    stage.until(8, |stage| stage.is_held_by(other));
    stage.move_to(holder);
    stage.until(8, |stage| stage.is_held_by(holder));
    stage.delay_put(other, 50);
    stage.move_to(other);
    stage.until(3, |stage| stage.is_attaching());
    stage.wait(2);
    stage.move_to(holder);
    stage.until(36, |stage| stage.is_held_by(holder));
    stage.wait(1);
    stage.refuse(last, "PUT", 429, "TooManyRequests");
    stage.move_to(last);
    stage.wait(25);
    stage.end()
}

/// Azure is done before the old lease is over.
fn a_dead_holder(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.kill(stage.holder);
    stage.wait(10);
    stage.end()
}

/// I3: the address stands on the NIC of somebody who is no member.
fn a_stranger_has_it(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.steal();
    stage.move_to(stage.others[0]);
    stage.wait(8);
    stage.end()
}

/// The leader's way to Azure is cut, the other nodes' is not.
fn a_leader_without_azure(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    let (leader, other) = (stage.leader, stage.others[0]);
    stage.deed(Deed::Cut(Spot::Node(leader), Spot::Arm));
    stage.deed(Deed::Cut(Spot::Arm, Spot::Node(leader)));
    stage.move_to(other);
    stage.must_be_held_by(other, 60);
    stage.end()
}

/// H5 where Azure does not look at `If-Match`: a leader dies while its detach is on its way, and the
/// VIP is to stay where it is.
fn a_late_detach_without_if_match(seed: Seed) -> World {
    let timing = Timing { azure_max_ms: 25_000, ..hasty() };
    let set = Set::three(timing).without_if_match();
    let mut stage = set.play(seed);
    let (leader, holder) = (stage.leader, stage.holder);
    stage.delay_put(holder, 20);
    stage.move_to(stage.others[0]);
    stage.until(3, |stage| stage.is_detaching());
    stage.wait_ms(200);
    stage.kill(leader);
    stage.refuse(holder, "PUT", 409, "AnotherOperationInProgress");
    stage.wait(3);
    stage.move_to(holder);
    stage.wait(40);
    stage.end()
}

/// Somebody takes the address off the NIC of its holder.
fn an_outsider_at_rest(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    let holder = stage.holder;
    stage.third_party_detach(holder);
    stage.wait(70);
    let nic = stage.nic(holder);
    stage.must_stand_on(&nic);
    stage.end()
}

/// Somebody uses up what Azure allows while the VIP moves. The refused attach waits; then the VIP is
/// to go elsewhere, to a NIC that has refused nothing.
fn a_budget_that_is_used_up(seed: Seed) -> World {
    let writes = Some(Bucket { size: 200, refill: 1, every_s: 10 });
    let throttling = Throttling { arm_writes: writes, ..Throttling::default() };
    let mut stage = Set::five(hasty()).azure(|azure| azure.throttling = throttling).play(seed);
    stage.move_to(stage.others[0]);
    stage.until(3, |stage| stage.is_detaching());
    stage.wait_ms(100);
    stage.azure(AdminCommand::DrainBuckets { node: None });
    stage.wait(1);
    stage.move_to(stage.others[1]);
    stage.wait(20);
    stage.end()
}

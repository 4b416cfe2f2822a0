//! Dramas about releases, epochs, the log and acknowledgements (I1, I4, I5, I7).

use vipfence_types::{Mutation, Timing};

use super::{
    Drama, Seed,
    stage::{Set, hasty, hasty_with_lease, remembers},
};
use crate::{
    net::Spot,
    world::{Deed, Kind, Verdict, World},
};

pub(super) fn drama(mutation: Mutation) -> Option<Drama> {
    Some(match mutation {
        Mutation::OverWithoutRevision => superseded_while_it_is_over,
        Mutation::SpentInMemory => a_plain_move,
        Mutation::SpentAccepted => an_answer_from_before_the_release,
        Mutation::ConfirmedWithoutReadBack => an_os_that_fails,
        Mutation::ConfirmationWithoutEpoch => a_confirmation_of_an_earlier_stay,
        Mutation::SameEpochOnReturn => there_and_back,
        Mutation::EpochReset => deleted_and_created,
        Mutation::HighestEpochIgnored => a_restored_cluster,
        Mutation::AddressInTwoRecords => two_vips_of_one_address,
        Mutation::NoRecommit => a_leader_killed_in_a_move,
        Mutation::TermResumed => a_leader_restarted_at_once,
        Mutation::RequestIdsForgotten => the_same_request_twice,
        Mutation::AcknowledgedBeforeCommit => a_plain_move,
        _ => return None,
    })
}

fn a_plain_move(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).early().play(seed);
    stage.move_to(stage.others[0]);
    stage.wait(6);
    stage.end()
}

/// H11: moves are asked for while the entry that says "over" is on its way.
fn superseded_while_it_is_over(seed: Seed) -> World {
    // Raft that puts up with slow disks.
    let timing = Timing {
        raft_heartbeat_ms: 500,
        election_min_ms: 1_500,
        election_max_ms: 2_000,
        ..hasty_with_lease(12_000)
    };
    let mut stage = Set::three(timing).play(seed);
    let (holder, leader, other) = (stage.holder, stage.leader, stage.others[0]);
    stage.cut_off(holder);
    stage.until(4, |stage| stage.is_expiring());
    stage.wait(11);
    stage.deed(Deed::SlowDisk(leader, 25));
    stage.deed(Deed::SlowDisk(other, 25));
    for turn in 0..60 {
        if stage.is_expiring() {
            stage.move_to(if turn % 2 == 0 { leader } else { other });
            stage.wait_ms(80);
        }
    }
    stage.wait(2);
    stage.end()
}

/// H1: an answer with the grant arrives after the release was confirmed.
fn an_answer_from_before_the_release(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).early().play(seed);
    let (me, mut kept) = (Spot::Node(stage.holder), false);
    stage.rule(move |_, to, kind| match kind {
        Kind::BeatAnswer { grants, .. } if to == me && !kept && !grants.is_empty() => {
            kept = true;
            Verdict::Keep
        }
        _ => Verdict::Pass,
    });
    stage.until(2, |stage| stage.world.kept() > 0);
    let (holder, other) = (stage.holder, stage.others[0]);
    stage.move_to(other);
    stage.until(3, |stage| stage.lease(other).is_some());
    stage.world.release();
    stage.until(1, |stage| stage.lease(holder).is_some());
    stage.wait(2);
    stage.end()
}

/// Calls to the holder's OS fail.
fn an_os_that_fails(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).early().play(seed);
    stage.deed(Deed::BadOs(stage.holder, 1, 0));
    stage.move_to(stage.others[0]);
    stage.wait(8);
    stage.end()
}

/// H2: the node confirms, gets the VIP back, and its confirmation is still the last word that the
/// leader has of it when it is to release again.
fn a_confirmation_of_an_earlier_stay(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).early().play(seed);
    let (holder, other) = (stage.holder, stage.others[0]);
    for node in 0..stage.world.nodes() {
        stage.deed(Deed::SlowDisk(node, 120));
    }
    let epoch = stage.epoch();
    stage.move_to(other);
    stage.until(3, |stage| stage.is_releasing());
    stage.move_to(holder);
    stage.until(3, |stage| stage.lease(holder).is_some_and(|(_, held)| held > epoch));
    let me = Spot::Node(holder);
    stage.rule(move |from, _, kind| match kind {
        Kind::Beat { .. } if from == me => Verdict::Drop,
        _ => Verdict::Pass,
    });
    stage.move_to(other);
    stage.wait(6);
    stage.end()
}

/// A move is asked for, and taken back before the holder has heard of it.
fn there_and_back(seed: Seed) -> World {
    let mut stage = Set::three(hasty_with_lease(8_000)).early().play(seed);
    stage.cut_off(stage.holder);
    stage.move_to(stage.others[0]);
    stage.until(1, |stage| stage.is_releasing());
    stage.move_to(stage.holder);
    stage.wait(3);
    stage.end()
}

/// H9: the VIP is deleted, the only node that saw its epochs dies, and it is created anew.
fn deleted_and_created(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).held_by_leader().only_candidate().play(seed);
    stage.delete();
    stage.until(15, |stage| stage.record().is_none());
    stage.kill(stage.leader);
    stage.wait(3);
    stage.create("v2", stage.others[1], true);
    stage.wait(8);
    stage.end()
}

/// H18: a node remembers epochs that the cluster does not know any more.
fn a_restored_cluster(seed: Seed) -> World {
    let set = Set::three(hasty());
    let mut world = set.world(seed);
    for node in 0..world.nodes() {
        remembers(&mut world, node, 50);
    }
    let mut stage = set.play_in(world);
    stage.wait(1);
    stage.end()
}

/// H9, V5: two records would have two grants.
fn two_vips_of_one_address(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.create("v2", stage.others[0], false);
    stage.wait(5);
    stage.end()
}

fn a_leader_killed_in_a_move(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.move_to(stage.others[0]);
    stage.until(3, |stage| stage.is_detaching());
    stage.kill(stage.leader);
    stage.wait(8);
    stage.end()
}

/// A leader is back before anybody else was elected.
fn a_leader_restarted_at_once(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.kill(stage.leader);
    stage.wait_ms(20);
    stage.deed(Deed::Start(stage.leader));
    stage.wait(4);
    stage.end()
}

/// A client that had no answer asks again.
fn the_same_request_twice(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    let ask = stage.move_ask(stage.others[0]);
    let leader = stage.leader;
    stage.world.ask(leader, ask.clone());
    stage.wait(5);
    stage.world.ask(leader, ask);
    stage.wait(2);
    stage.end()
}

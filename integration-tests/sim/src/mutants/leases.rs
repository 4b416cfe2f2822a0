//! Dramas about leases, waits and kernels: who may still believe that it holds the VIP (I1).

use vipfence_types::{Mutation, Timing};

use super::{
    Drama, Seed,
    stage::{ADDRESS, Set, Stage, hasty, hasty_with_lease},
};
use crate::{
    net::Spot,
    time::{PauseSeen, ms, secs},
    world::{Deed, Kind, Verdict, World},
};

pub(super) fn drama(mutation: Mutation) -> Option<Drama> {
    Some(match mutation {
        Mutation::NoRoundBeforeAnswer => a_leader_without_a_quorum,
        Mutation::SharedEarlierRound => a_leader_frozen_in_a_round,
        Mutation::AcksForEver => a_leader_frozen_while_another_is_elected,
        Mutation::LeaseFromReceipt => an_answer_that_comes_late,
        Mutation::LeaseByOneClock => a_paused_holder,
        Mutation::LeaseIgnored => a_holder_cut_off,
        Mutation::WaitSkippedAfterElection => a_leader_killed_and_its_holder_cut_off,
        Mutation::WaitFromCandidacy => a_candidate_of_long_standing,
        Mutation::WaitPerEpoch => an_epoch_that_nobody_heard,
        Mutation::WaitByWallClock => a_wall_clock_that_jumps,
        Mutation::WaitWithoutDrift => a_slow_holder_and_a_fast_leader,
        Mutation::ReceiptMovesBack => answers_after_hanging_rounds,
        Mutation::GrantWhileExpiring => a_holder_that_comes_back,
        Mutation::LeaseLoweredAtOnce => shorter_timers,
        Mutation::LifetimeAtLeastOne => a_holder_stopped_at_the_last_moment,
        Mutation::LifetimeUncapped => a_long_lifetime,
        Mutation::NoKernelSlack => a_holder_stopped_and_a_late_kernel,
        Mutation::LateAddKept => a_slow_os,
        Mutation::JoinedBeforeSweep => an_address_that_was_left_behind,
        Mutation::KeptForEver => an_agent_that_does_not_come_back,
        Mutation::StraysStay => a_guest_program_that_adds_the_address,
        Mutation::ToldLate => a_new_holder_whose_os_is_slow_to_tell,
        _ => return None,
    })
}

/// The leader holds the VIP and is cut off: it must not renew its own lease.
fn a_leader_without_a_quorum(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).held_by_leader().play(seed);
    stage.cut_off(stage.leader);
    stage.wait(15);
    stage.end()
}

/// A leader is frozen right before it takes in the result of a quorum round. It wakes up deposed,
/// and meets heartbeats first that were sent long after.
fn a_leader_frozen_in_a_round(seed: Seed) -> World {
    let mut stage = Set::with_learner(hasty()).play(seed);
    let (leader, holder) = (stage.leader, stage.holder);
    stage.until(5, |stage| stage.has_round_under_way(leader));
    stage.until(5, |stage| !stage.has_round_under_way(leader));
    stage.deed(Deed::Stop(leader));
    for other in stage.others.clone() {
        stage.part(leader, other);
        stage.part(holder, other);
    }
    stage.wait(10);
    stage.reads_packets_first(leader);
    stage.deed(Deed::Continue(leader));
    stage.wait(2);
    stage.end()
}

/// A leader is frozen for less than a lease. When it wakes up another one leads and has given the
/// holder up, of which one heartbeat waits, and says nothing new.
fn a_leader_frozen_while_another_is_elected(seed: Seed) -> World {
    let mut stage = Set::with_learner(hasty()).play(seed);
    let (leader, holder) = (stage.leader, stage.holder);
    // Until nothing is to be done any more.
    stage.wait(5);
    for other in stage.others.clone() {
        stage.part(leader, other);
        stage.part(holder, other);
    }
    stage.wait_ms(60);
    stage.deed(Deed::Stop(leader));
    stage.part(leader, holder);
    stage.until(3, Stage::is_expiring);
    stage.join(holder);
    for other in stage.others.clone() {
        stage.part(holder, other);
    }
    stage.wait_ms(450);
    stage.reads_packets_first(leader);
    stage.deed(Deed::Continue(leader));
    stage.wait(12);
    stage.end()
}

/// H1: the answer to a heartbeat hangs in the network for most of its lease.
fn an_answer_that_comes_late(seed: Seed) -> World {
    let mut stage = Set::with_learner(hasty()).play(seed);
    let me = Spot::Node(stage.holder);
    let mut kept = false;
    stage.rule(move |from, to, kind| match kind {
        Kind::BeatAnswer { grants, .. } if to == me && !kept && !grants.is_empty() => {
            kept = true;
            Verdict::Keep
        }
        _ if kept && (from == me || to == me) => Verdict::Drop,
        _ => Verdict::Pass,
    });
    stage.until(3, |stage| stage.world.kept() > 0);
    stage.wait_ms(3_500);
    stage.world.release();
    stage.wait(6);
    stage.end()
}

/// The holder's machine is paused for longer than its lease, and its boot clock shows it.
fn a_paused_holder(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.deed(Deed::Pause(stage.holder, PauseSeen::Shown));
    stage.wait(9);
    stage.cut_off(stage.holder);
    stage.deed(Deed::Resume(stage.holder));
    stage.wait(3);
    stage.end()
}

fn a_holder_cut_off(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.cut_off(stage.holder);
    stage.wait(15);
    stage.end()
}

/// The next leader has answered nobody yet.
fn a_leader_killed_and_its_holder_cut_off(seed: Seed) -> World {
    let mut stage = Set::with_learner(hasty_with_lease(8_000)).play(seed);
    stage.cut_off(stage.holder);
    stage.kill(stage.leader);
    stage.wait(15);
    stage.end()
}

/// H10: a node stands for election for long, while the leader still renews its own lease with the
/// votes of the third one.
fn a_candidate_of_long_standing(seed: Seed) -> World {
    let mut stage = Set::three(hasty_with_lease(8_000)).held_by_leader().play(seed);
    let (leader, others) = (stage.leader, stage.others.clone());
    stage.part(leader, others[0]);
    stage.wait(14);
    if stage.world.leader() == Some(leader) {
        stage.part(leader, others[1]);
    }
    stage.wait(14);
    stage.end()
}

/// V1: the holder is granted a new epoch of which it never hears; its lease of the old one runs.
fn an_epoch_that_nobody_heard(seed: Seed) -> World {
    let mut stage = Set::three(hasty_with_lease(8_000)).early().play(seed);
    let (holder, other) = (stage.holder, stage.others[0]);
    stage.wait(12);
    stage.cut_off(holder);
    stage.move_to(other);
    stage.until(1, |stage| stage.is_releasing());
    let epoch = stage.epoch();
    stage.move_to(holder);
    stage.until(1, |stage| stage.epoch() > epoch);
    stage.wait(14);
    stage.end()
}

/// V3: the leader's wall clock is set forward while it waits.
fn a_wall_clock_that_jumps(seed: Seed) -> World {
    let mut stage = Set::three(hasty_with_lease(8_000)).play(seed);
    stage.cut_off(stage.holder);
    stage.until(3, |stage| stage.is_expiring());
    stage.deed(Deed::JumpWall(stage.leader, 60_000_000));
    stage.wait(14);
    stage.end()
}

/// H12: the holder's clock is one per cent slow, the leader's one per cent fast.
fn a_slow_holder_and_a_fast_leader(seed: Seed) -> World {
    let set = Set::three(hasty_with_lease(60_000)).rates(&[9_900, 9_900, -9_900]);
    let mut stage = set.play(seed);
    let holder = stage.holder;
    stage.cut_off(holder);
    stage.until(70, |stage| stage.lease(holder).is_none_or(|(left, _)| left < secs(1)));
    stage.deed(Deed::Stop(holder));
    stage.wait(6);
    stage.end()
}

/// V1b: no quorum round ends for a while, and then all heartbeats are answered at once.
fn answers_after_hanging_rounds(seed: Seed) -> World {
    // Nobody stands for election meanwhile.
    let timing = Timing {
        raft_heartbeat_ms: 100,
        election_min_ms: 3_200,
        election_max_ms: 3_600,
        ..hasty_with_lease(20_000)
    };
    let mut stage = Set::three(timing).play(seed);
    let me = Spot::Node(stage.holder);
    stage.rule(|_, _, kind| if kind.is_raft() { Verdict::Drop } else { Verdict::Pass });
    stage.wait_ms(2_600);
    stage.rule(move |from, _, kind| match kind {
        Kind::Beat { .. } if from == me => Verdict::Drop,
        _ => Verdict::Pass,
    });
    stage.wait_ms(700);
    stage.cut_off(stage.holder);
    stage.wait(26);
    stage.end()
}

/// H11: a node whose grant is left to expire is heard again.
fn a_holder_that_comes_back(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.cut_off(stage.holder);
    stage.until(4, |stage| stage.is_expiring());
    stage.join(stage.holder);
    stage.wait(10);
    stage.end()
}

/// V4: the profile changes while a node holds a lease of the old one.
fn shorter_timers(seed: Seed) -> World {
    let mut stage = Set::three(hasty_with_lease(30_000)).play(seed);
    stage.cut_off(stage.holder);
    stage.deed(Deed::SetTiming(hasty()));
    stage.wait(12);
    stage.end()
}

/// H3: the agent stops right after its last call to the kernel, with next to nothing left.
fn a_holder_stopped_at_the_last_moment(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    let holder = stage.holder;
    stage.cut_off(holder);
    stage.until(6, |stage| stage.lease(holder).is_none_or(|(left, _)| left < ms(120)));
    stage.deed(Deed::Stop(holder));
    stage.wait(5);
    stage.end()
}

/// H4: a lifetime of half a minute, for which the kernel's timers are coarser.
fn a_long_lifetime(seed: Seed) -> World {
    let set = Set::three(hasty_with_lease(30_040)).rates(&[9_900, 9_900, -9_900]);
    let mut stage = set.play(seed);
    let holder = stage.holder;
    stage.until(20, |stage| stage.kernel_left(holder) > secs(30));
    stage.cut_off(holder);
    stage.deed(Deed::Stop(holder));
    stage.wait(36);
    stage.end()
}

/// The agent is stopped, and the kernel takes its time.
fn a_holder_stopped_and_a_late_kernel(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    let holder = stage.holder;
    stage.cut_off(holder);
    stage.until(6, |stage| stage.lease(holder).is_none_or(|(left, _)| left < ms(500)));
    stage.deed(Deed::Stop(holder));
    stage.wait(5);
    stage.end()
}

/// H16 (b): calls to the kernel take seconds.
fn a_slow_os(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.deed(Deed::BadOs(stage.holder, 0, 5_000));
    stage.wait_ms(1_600);
    stage.cut_off(stage.holder);
    stage.wait(12);
    stage.end()
}

/// A node has just got the VIP, and clients to tell. Its OS takes its time, and it loses the VIP again.
fn a_new_holder_whose_os_is_slow_to_tell(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    let other = stage.others[0];
    stage.move_to(other);
    stage.until(30, |stage| stage.is_held_by(other));
    stage.wait_ms(150);
    stage.deed(Deed::BadOs(other, 0, 20_000));
    stage.cut_off(other);
    stage.wait(40);
    stage.end()
}

/// An agent finds the address without an end, and its OS takes its time to let go of it.
fn an_address_that_was_left_behind(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    let other = stage.others[0];
    stage.kill(other);
    stage.deed(Deed::LeaveBehind(other, ADDRESS));
    stage.deed(Deed::BadOs(other, 0, 5_000));
    stage.deed(Deed::Start(other));
    stage.wait(3);
    stage.end()
}

/// An agent ends, keeps its VIP, and is away for far longer than its lease.
fn an_agent_that_does_not_come_back(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.deed(Deed::Upgrade(stage.holder, 60_000));
    stage.wait(12);
    stage.end()
}

/// Cloud-init and its kind: another node gets the address from a program of its own guest.
fn a_guest_program_that_adds_the_address(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).play(seed);
    stage.deed(Deed::GuestAdds(stage.others[0], ADDRESS));
    stage.wait(3);
    stage.end()
}

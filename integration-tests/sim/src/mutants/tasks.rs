//! Dramas about hooks and units: in which order they run, how often, and what waits for them.

use std::time::Duration;

use vipfence_agent_core::{Duties, Task};
use vipfence_types::{Mutation, Timing};

use super::{
    Drama, Seed,
    stage::{Set, Stage, hasty},
};
use crate::world::{Deed, World};

pub(super) fn drama(mutation: Mutation) -> Option<Drama> {
    Some(match mutation {
        Mutation::ServingInMemory => an_agent_that_is_back_at_once,
        Mutation::EpochServedTwice => a_holder_that_is_heard_again,
        Mutation::AddedBeforePreAcquire => a_first_grant,
        Mutation::ConfirmedWhileUnitsRun => a_planned_move,
        Mutation::UnitsLeftRunning => units_of_an_agent_that_was_killed,
        _ => return None,
    })
}

/// Three members, a VIP with hooks and units, and this much patience with silent nodes.
fn play(failover_after_ms: u64, seed: Seed) -> Stage {
    let tasks = Task::ALL.map(|task| (task, Duration::from_secs(1))).into();
    let duties = Duties { tasks, serve_all_the_same: false };
    Set::three(Timing { failover_after_ms, ..hasty() }).duties(duties).play(seed)
}

/// The holder's agent is killed, and started again before anybody misses it.
fn an_agent_that_is_back_at_once(seed: Seed) -> World {
    let mut stage = play(6_000, seed);
    stage.wait(1);
    stage.kill(stage.holder);
    stage.wait_ms(300);
    stage.deed(Deed::Start(stage.holder));
    stage.wait(8);
    stage.end()
}

/// The holder is cut off for longer than its lease, and the leader is patient.
fn a_holder_that_is_heard_again(seed: Seed) -> World {
    let mut stage = play(60_000, seed);
    stage.wait(1);
    stage.cut_off(stage.holder);
    stage.wait(8);
    stage.join(stage.holder);
    stage.wait(6);
    stage.end()
}

/// Nothing happens, but that a node gets a VIP.
fn a_first_grant(seed: Seed) -> World {
    let mut stage = play(900, seed);
    stage.wait(1);
    stage.end()
}

fn a_planned_move(seed: Seed) -> World {
    let mut stage = play(900, seed);
    stage.wait(1);
    stage.move_to(stage.others[0]);
    stage.wait(8);
    stage.end()
}

/// The holder's agent is killed in the middle of a release, and comes back when another node has the
/// VIP, which then moves on.
fn units_of_an_agent_that_was_killed(seed: Seed) -> World {
    let mut stage = play(900, seed);
    stage.wait(1);
    let (first, leader, other) = (stage.holder, stage.leader, stage.others[0]);
    stage.move_to(other);
    stage.until(5, |stage| stage.is_releasing());
    stage.wait_ms(100);
    stage.kill(first);
    stage.until(20, |stage| stage.is_held() && !stage.is_held_by(first));
    stage.deed(Deed::Start(first));
    stage.wait(12);
    let next = if stage.is_held_by(leader) { other } else { leader };
    stage.move_to(next);
    stage.wait(8);
    stage.end()
}

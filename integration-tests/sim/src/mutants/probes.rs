//! Dramas about VIPs behind load balancers: who may still answer the probe (I1).

use vipfence_types::{Mutation, ProbeProtocol};

use super::{
    Drama, Seed,
    stage::{Set, hasty},
};
use crate::world::{Deed, World};

pub(super) fn drama(mutation: Mutation) -> Option<Drama> {
    Some(match mutation {
        Mutation::AnsweredWithoutEnd => a_holder_that_is_stopped,
        Mutation::AnsweredTooLate => a_holder_stopped_before_its_gate_opens,
        Mutation::AnsweredAfterDrop => a_planned_move,
        _ => return None,
    })
}

/// The holder's process is stopped for good: its kernel goes on completing handshakes.
fn a_holder_that_is_stopped(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).probed(ProbeProtocol::Tcp).play(seed);
    stage.wait(1);
    stage.deed(Deed::Stop(stage.holder));
    stage.wait(15);
    stage.end()
}

/// The holder's process is stopped in the middle of an add, and goes on when another node has the VIP.
fn a_holder_stopped_before_its_gate_opens(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).probed(ProbeProtocol::Tcp).play(seed);
    let holder = stage.holder;
    stage.wait(1);
    stage.until(10, |stage| stage.is_about_to_answer(holder));
    stage.deed(Deed::Stop(holder));
    stage.until(15, |stage| stage.is_held() && !stage.is_held_by(holder));
    stage.wait(1);
    stage.deed(Deed::Continue(holder));
    stage.wait(1);
    stage.end()
}

fn a_planned_move(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).probed(ProbeProtocol::Tcp).play(seed);
    stage.wait(1);
    stage.move_to(stage.others[0]);
    stage.wait(5);
    stage.end()
}

//! Dramas about the data-path check: whose answer counts, and when (I8).

use vipfence_types::{DataPath, Mutation};

use super::{
    Drama, Seed,
    stage::{Set, hasty},
};
use crate::{
    net::Spot,
    world::{Kind, Verdict, World},
};

pub(super) fn drama(mutation: Mutation) -> Option<Drama> {
    Some(match mutation {
        Mutation::HeldBeforeReached => a_holder_that_nobody_reaches,
        Mutation::ReachedAtAnyEpoch => a_node_that_is_not_heard_again,
        Mutation::AttemptKept => an_answer_of_the_holder_before,
        _ => return None,
    })
}

fn a_holder_that_nobody_reaches(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).data_path(DataPath::Required).play(seed);
    stage.dark(true);
    stage.move_to(stage.others[0]);
    stage.wait(8);
    stage.end()
}

/// The only node that reaches the second holder says so, and is not heard of again.
fn a_node_that_is_not_heard_again(seed: Seed) -> World {
    let mut stage = Set::five(hasty()).data_path(DataPath::Required).play(seed);
    let (first, second, says) = (stage.holder, stage.others[0], stage.others[1]);
    let mut said = false;
    stage.rule(move |from, _, kind| match kind {
        Kind::Beat { .. } if said && from == Spot::Node(says) => Verdict::Drop,
        Kind::Beat { reached, .. } if reached.is_empty() => Verdict::Pass,
        Kind::Beat { .. } if from == Spot::Node(says) => {
            said = true;
            Verdict::Pass
        }
        Kind::Beat { .. } => Verdict::Drop,
        _ => Verdict::Pass,
    });
    stage.move_to(second);
    stage.until(10, |stage| stage.is_held_by(second));
    let silent = move |from| from == Spot::Node(says);
    stage.rule(move |from, _, kind| match kind {
        Kind::Beat { .. } if silent(from) => Verdict::Drop,
        _ => Verdict::Pass,
    });
    stage.wait(2);
    stage.dark(true);
    stage.move_to(first);
    stage.wait(8);
    stage.end()
}

/// A VIP moves on before anybody has reached it, and what its holder has answered comes after that.
fn an_answer_of_the_holder_before(seed: Seed) -> World {
    let mut stage = Set::three(hasty()).early().data_path(DataPath::Report).play(seed);
    let (first, second) = (stage.holder, stage.others[0]);
    stage.wait(1);
    stage.dark(true);
    stage.move_to(second);
    stage.until(10, |stage| stage.is_held_by(second));
    stage.wait(1);
    stage.rule(|_, _, kind| match kind {
        Kind::Reached => Verdict::Keep,
        _ => Verdict::Pass,
    });
    stage.dark(false);
    stage.until(3, |stage| stage.world.kept() > 0);
    let epoch = stage.epoch();
    stage.move_to(first);
    stage.until(5, |stage| stage.epoch() > epoch);
    stage.wait_ms(550);
    stage.world.release();
    stage.dark(true);
    stage.wait(4);
    stage.end()
}

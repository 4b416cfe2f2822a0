//! Every error case of Azure (`table`), alone and in random sequences: the move completes when the
//! cause goes away, people can read what it is meanwhile, and nothing foreign on any NIC changes.
//! What we may ask of Azure in what time stands in `budget`.

mod budget;
mod causes;
mod table;

use vipfence_coordinator_core::{Cause as MoveCause, Move};
use vipfence_sim::{
    Deed, World,
    chance::Chance,
    time::{ms, secs},
};

use crate::{foreign_parts::*, stage::*};

use table::{At, Cause, ROWS, Row, Then};

/// So long a cause lasts when it comes alone: longer than the silence after which a node is given up.
const LASTS: u64 = secs(12);
/// Within so long after it the move is done: no pause between attempts is longer than 30 s, nor is a
/// write whose answer is lost waited for longer, and pauses double, so that none is longer than what
/// has passed since the first refusal. Then two operations of a second each follow.
const WITHIN: u64 = secs(35);
/// The same after a sequence, in which a pause and a lost answer may follow each other.
const WITHIN_AFTER_ALL: u64 = secs(70);
/// How often something is done again.
const STEP: u64 = ms(500);

const SEED: u64 = 4_000;
/// The stream of chance from which sequences are drawn.
const STREAM: u64 = 60;

// ---- causes begin and end -----------------------------------------------------------------------------

fn do_all(world: &mut World, commands: Vec<azure_sim::AdminCommand>) {
    for command in commands {
        world.do_deed(Deed::Azure(command));
    }
}

/// A cause ends; those that go on are as they were.
fn ends(world: &mut World, row: &Row, at: At, others: &[(&Row, At)]) {
    do_all(world, vec![azure_sim::AdminCommand::ClearFaults]);
    do_all(world, row.end(at));
    for (other, at) in others {
        let goes_on = matches!(other.cause, Cause::Stands { .. });
        match other.fault(*at) {
            Some(fault) => azure_fails(world, fault),
            None if goes_on => do_all(world, other.begin(*at)),
            None => {}
        }
    }
}

// ---- what can be seen ---------------------------------------------------------------------------------

fn moves_of_demo(world: &World) -> impl Iterator<Item = &Move> {
    let logs = world.registry().logs.iter().filter(|(vip, _)| vip.as_str() == "demo");
    logs.flat_map(|(_, log)| log.moves.iter().map(AsRef::as_ref))
}

/// Whether the open move says that it waits for this.
fn says(world: &World, what: &str) -> bool {
    let open = moves_of_demo(world).filter(|known| known.outcome.is_none());
    open.into_iter().any(|known| !what.is_empty() && known.blocked_reason.contains(what))
}

/// Whether the history says that a target could not take the VIP.
fn was_redirected(world: &World) -> bool {
    moves_of_demo(world).any(|known| known.cause == MoveCause::TargetFailed)
}

fn somebody_holds(world: &World) -> bool {
    [A, B, C].into_iter().any(|node| world.is_held_by("demo", node))
}

// ---- alone ----------------------------------------------------------------------------------------------

/// A cause begins, a move is asked for, the cause goes away, the move is done.
fn alone(world: &mut World, row: &Row, at: At) -> Story {
    a_holds(world, C)?;
    let before = foreign_parts(world);
    do_all(world, row.begin(at));
    let call = world.ask_move("demo", B);
    let mut is_named = false;
    let end = world.now() + LASTS;
    while world.now() < end && world.violation().is_none() {
        let step = world.now() + STEP;
        world.run_until(STEP, |world| !is_named && says(world, row.says));
        is_named |= says(world, row.says);
        world.run(step - world.now());
        do_all(world, row.again(at));
    }
    check(world, is_ok(world, call), "the move is acknowledged")?;
    let hindered = !world.is_held_by("demo", B);
    ends(world, row, at, &[]);
    let elsewhere = at != At::Source && row.then == Then::MayGoElsewhere && was_redirected(world);
    if hindered && !elsewhere && !row.says.is_empty() {
        check(world, is_named, &format!("the move says {} while it lasts", row.says))?;
    }
    if elsewhere {
        until(world, WITHIN, "another candidate holds it", somebody_holds)?;
    } else {
        until(world, WITHIN, "b holds it", |world| world.is_held_by("demo", B))?;
    }
    is_untouched(world, &before)
}

/// Runs a part of the table: the rows that chance does not decide about are all run.
fn rows_alone(at: At) {
    let mut problems = Vec::new();
    for (number, row) in (0..).zip(ROWS).filter(|(_, row)| row.at.contains(&at)) {
        let plan = plan_with_foreign_parts();
        if let Err(problem) = one_of_many(SEED + number, &plan, |world| alone(world, row, at)) {
            problems.push(format!("{problem}\n^^^ row {number}, {at:?}: {row:?}\n"));
        }
    }
    assert!(problems.is_empty(), "{}\n{} rows", problems.join("\n"), problems.len());
}

#[test]
fn a_move_outlasts_every_error_on_the_nic_that_the_vip_comes_from() {
    rows_alone(At::Source);
}

#[test]
fn a_move_outlasts_every_error_on_the_nic_that_the_vip_goes_to_or_goes_elsewhere() {
    rows_alone(At::Target);
}

#[test]
fn a_move_outlasts_every_error_that_meets_all_nics() {
    rows_alone(At::Everywhere);
}

// ---- what the table has found -----------------------------------------------------------------------

/// A row alone, while which the move says this.
fn says_while_it_lasts(row: &Row, what: &str) {
    with_fence(&plan_with_foreign_parts(), |world| {
        a_holds(world, C)?;
        do_all(world, row.begin(At::Source));
        world.ask_move("demo", B);
        until(world, secs(6), &format!("the move says {what}"), |world| says(world, what))?;
        ends(world, row, At::Source, &[]);
        until(world, WITHIN, "b holds it", |world| world.is_held_by("demo", B))
    });
}

#[test]
fn a_move_says_why_its_detach_fails_while_the_attach_is_tried() {
    let row = ROWS.iter().find(|row| matches!(row.cause, Cause::Fails { .. }));
    let row = row.expect("operations fail");
    says_while_it_lasts(row, &format!("NIC a-nic: operation Failed: {}", row.code));
}

#[test]
fn a_move_says_that_the_nic_which_it_leaves_is_being_changed() {
    let row = ROWS.iter().find(|row| row.says == table::ANOTHER);
    says_while_it_lasts(row.expect("somebody else's operation"), "NIC a-nic is being changed");
}

/// The rights come back for all NICs at once, but that of the holder is read first: what Azure said
/// of the other one before is no reason to call the move off.
#[test]
fn rights_that_come_back_do_not_turn_a_move_around() {
    let row = &table::UNREADABLE;
    for seed in 0..12 {
        let played = one_of_many(seed, &plan_with_foreign_parts(), |world| {
            a_holds(world, C)?;
            do_all(world, row.begin(At::Everywhere));
            world.ask_move("demo", B);
            world.run(ms(2_500));
            ends(world, row, At::Everywhere, &[]);
            until(world, WITHIN, "b holds it", |world| world.is_held_by("demo", B))?;
            check(world, !was_redirected(world), "it went nowhere else in between")
        });
        played.unwrap_or_else(|problem| panic!("{problem}\n^^^ seed {seed}"));
    }
}

// ---- in sequences ---------------------------------------------------------------------------------------

/// One cause of a sequence: from which step to which.
#[derive(Debug)]
struct Spell {
    row: &'static Row,
    at: At,
    from: u64,
    to: u64,
}

/// What a seed draws: causes, and moves by the step in which they are asked for.
#[derive(Debug)]
struct Sequence {
    spells: Vec<Spell>,
    moves: Vec<(u64, usize)>,
}

impl Sequence {
    /// Steps in which causes begin.
    const STEPS: u64 = 40;

    fn draw(seed: u64) -> Self {
        let mut chance = Chance::of(seed, STREAM);
        // A NIC that is deleted does not come back; and that of a holder is there.
        let repeatable = |row: &&Row| !matches!(row.at, [At::Source | At::Target]);
        let rows: Vec<&Row> = ROWS.iter().filter(repeatable).collect();
        let spells = (0..chance.within(3, 8)).map(|_| {
            let row = chance.pick(&rows);
            let from = chance.within(0, Self::STEPS);
            Spell { row, at: *chance.pick(row.at), from, to: from + chance.within(1, 20) }
        });
        let spells = spells.collect();
        let moves = (0..chance.within(2, 6))
            .map(|_| (chance.within(0, Self::STEPS), chance.index(3)))
            .collect();
        Self { spells, moves }
    }

    fn active(&self, step: u64) -> Vec<(&'static Row, At)> {
        let active = self.spells.iter().filter(|spell| spell.from <= step && step < spell.to);
        active.map(|spell| (spell.row, spell.at)).collect()
    }

    fn play(&self, world: &mut World) -> Story {
        a_holds(world, C)?;
        let before = foreign_parts(world);
        let last = self.spells.iter().map(|spell| spell.to).max().unwrap_or(0);
        for step in 0..=last {
            for spell in self.spells.iter().filter(|spell| spell.to == step) {
                ends(world, spell.row, spell.at, &self.active(step));
            }
            for spell in self.spells.iter().filter(|spell| spell.from == step) {
                do_all(world, spell.row.begin(spell.at));
            }
            for (row, at) in self.active(step) {
                do_all(world, row.again(at));
            }
            for (_, to) in self.moves.iter().filter(|(when, _)| *when == step) {
                world.ask_move("demo", *to);
            }
            world.run(STEP);
        }
        until(world, WITHIN_AFTER_ALL, "somebody holds it", somebody_holds)?;
        is_untouched(world, &before)?;
        let to = [B, C, A].into_iter().find(|node| !world.is_held_by("demo", *node));
        moves(world, to.expect("one of them does not hold it"), WITHIN)?;
        is_untouched(world, &before)
    }
}

#[test]
fn moves_outlast_any_sequence_of_errors() {
    let mut problems = Vec::new();
    for seed in 0..60 {
        let sequence = Sequence::draw(seed);
        let played = one_of_many(seed, &plan_with_foreign_parts(), |world| sequence.play(world));
        if let Err(problem) = played {
            problems.push(format!("{problem}\n^^^ seed {seed}: {sequence:#?}\n"));
        }
    }
    assert!(problems.is_empty(), "{}\n{} seeds", problems.join("\n"), problems.len());
}

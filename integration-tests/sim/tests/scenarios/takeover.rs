//! The leader is lost at every instant of a move: between every request to Azure and its sending,
//! arrival and answer, between every entry's replication, commit and application, and between a
//! grant or a confirmation and its way.
//!
//! Nothing is drawn. A move is run once and every instant at which it gets on is written down; then
//! the same seed is run anew for each of them, and struck there. The move is done all the same, in
//! bounded time, nothing is violated, and nothing foreign has changed.

use vipfence_sim::{
    Coming, Deed, Kind, Plan, Spot, World,
    time::{ms, secs},
};

use crate::{foreign_parts::*, stage::*};

const SEED: u64 = 7_000;
/// So long the leader is away. Longer than an election, shorter than the silence (3 s) after which it
/// would be given up as a holder or target too.
const AWAY: u64 = ms(2_500);
/// The move itself, with its background seals, takes less.
const MOVE: u64 = secs(30);
/// Within so long after the blow the move is done.
const WITHIN: u64 = secs(15);

/// How the leader is lost.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// It is killed, and started again.
    Killed,
    /// It is stopped and goes on where it was, not knowing that it was replaced.
    Frozen,
    /// Nobody hears it and it hears nobody; it reaches Azure all the time.
    CutOff,
}

impl Blow {
    fn strike(self, world: &mut World, leader: usize) {
        let back = world.now() + AWAY;
        match self {
            Self::Killed => {
                world.do_deed(Deed::Kill(leader));
                world.at(back, Deed::Start(leader));
            }
            Self::Frozen => {
                world.do_deed(Deed::Stop(leader));
                world.at(back, Deed::Continue(leader));
            }
            Self::CutOff => {
                is_partitioned(world, leader);
                for other in (0..world.nodes()).filter(|other| *other != leader) {
                    let (one, other) = (Spot::Node(leader), Spot::Node(other));
                    world.at(back, Deed::Join(one, other));
                    world.at(back, Deed::Join(other, one));
                }
            }
        }
    }
}

/// A move to run and to strike.
#[derive(Clone, Copy)]
struct Scene {
    /// Who leads when it begins.
    leader: usize,
    /// What Azure is like.
    azure: fn(&mut azure_sim::Settings),
    /// What starts it.
    start: fn(&mut World),
    /// It has done what it was to do.
    done: fn(&World) -> bool,
}

impl Scene {
    fn plan(&self) -> Plan {
        with_azure(plan_with_foreign_parts(), self.azure)
    }

    fn begin(&self, world: &mut World) -> Story {
        a_holds(world, self.leader)?;
        (self.start)(world);
        Ok(())
    }

    /// How many events there are before each one by which something gets on, and before the end.
    /// What lies between two of them leaves the move as it was.
    fn instants(&self) -> Vec<usize> {
        let mut world = World::new(SEED, &self.plan());
        self.begin(&mut world).expect("the usual beginning");
        let (begun, mut number) = (world.now(), 0);
        let mut instants = vec![0];
        // The background seals belong to it.
        let mut rest = None;
        while rest.is_none_or(|rest| world.now() < rest + secs(2)) {
            assert!(world.now() < begun + MOVE, "the move is done without a blow");
            let coming = world.coming().expect("the world goes on");
            let before = world.registry().revision;
            assert!(world.step(), "{:?}", world.violation());
            number += 1;
            if self.gets_on(&coming) || world.registry().revision != before {
                instants.push(number - 1);
            }
            if (self.done)(&world) {
                rest.get_or_insert(world.now());
            }
        }
        instants.push(number);
        instants.dedup();
        instants
    }

    /// Whether the move gets on by this event, as far as the leader is concerned.
    fn gets_on(&self, coming: &Coming) -> bool {
        let leader = Spot::Node(self.leader);
        match coming {
            Coming::Message { from, to, kind } => match kind {
                Kind::ArmRead | Kind::ArmWrite { .. } => *from == leader,
                Kind::ArmAnswer => *to == leader,
                Kind::Append(bodies) => !bodies.is_empty(),
                Kind::Beat { released, .. } => !released.is_empty(),
                Kind::BeatAnswer { releasing, .. } => !releasing.is_empty(),
                Kind::Vote
                | Kind::Snapshot
                | Kind::RaftAnswer
                | Kind::Nudge
                | Kind::Reached
                | Kind::Other => false,
            },
            Coming::Sends { node } | Coming::Applied { node } => *node == self.leader,
            Coming::Flushed { .. } => true,
            Coming::Other => false,
        }
    }

    /// The move is struck after so many events.
    fn struck(&self, world: &mut World, after: usize, blow: Blow) -> Story {
        self.begin(world)?;
        let before = foreign_parts(world);
        for _ in 0..after {
            world.step();
        }
        check(world, world.leads(self.leader), "the leader of the script leads")?;
        blow.strike(world, self.leader);
        // It is seen to be gone: what is done after that, others do.
        world.run(AWAY);
        until(world, WITHIN, "the move is done", self.done)?;
        is_untouched(world, &before)
    }

    /// Struck at every instant.
    fn outlives(&self, blow: Blow) {
        let instants = self.instants();
        assert!(instants.len() > 60, "a move has many instants, not {}", instants.len());
        let mut problems = Vec::new();
        for after in &instants {
            let played = one_of_many(SEED, &self.plan(), |world| self.struck(world, *after, blow));
            if let Err(problem) = played {
                problems.push(format!("{problem}\n^^^ {blow:?} after {after} events\n"));
            }
        }
        let (all, bad) = (instants.len(), problems.len());
        assert!(problems.is_empty(), "{}\n{bad} of {all} instants", problems.join("\n"));
    }
}

fn as_usual(_: &mut azure_sim::Settings) {}

/// Azure lets go of the address late: the attach is refused for a while.
fn frees_late(azure: &mut azure_sim::Settings) {
    azure.detach_operation_ms = Some(2_500);
}

fn asked_for_b(world: &mut World) {
    world.ask_move("demo", B);
}

fn a_dies(world: &mut World) {
    world.do_deed(Deed::PowerOff(A));
}

/// Or the move was refused before anything was promised: its target is not heard.
fn b_holds_it(world: &World) -> bool {
    let last = world.operator().calls().len() - 1;
    world.is_held_by("demo", B) || (is_refused(world, last) && world.is_held_by("demo", A))
}

fn another_holds_it(world: &World) -> bool {
    world.is_held_by("demo", B) || world.is_held_by("demo", C)
}

const MOVE_TO_B: Scene = Scene { leader: C, azure: as_usual, start: asked_for_b, done: b_holds_it };
const REFUSED_FOR_A_WHILE: Scene = Scene { azure: frees_late, ..MOVE_TO_B };
const FAILOVER: Scene = Scene { start: a_dies, done: another_holds_it, ..MOVE_TO_B };

#[test]
fn a_move_outlives_the_death_of_its_leader_at_every_instant() {
    MOVE_TO_B.outlives(Blow::Killed);
}

#[test]
fn a_move_outlives_a_leader_that_freezes_at_any_instant_and_thaws() {
    MOVE_TO_B.outlives(Blow::Frozen);
}

#[test]
fn a_move_outlives_a_leader_that_only_azure_hears_from_any_instant_on() {
    MOVE_TO_B.outlives(Blow::CutOff);
}

#[test]
fn a_move_outlives_the_death_of_a_leader_that_is_its_holder_at_every_instant() {
    Scene { leader: A, ..MOVE_TO_B }.outlives(Blow::Killed);
}

#[test]
fn a_move_outlives_the_death_of_a_leader_that_is_its_target_at_every_instant() {
    Scene { leader: B, ..MOVE_TO_B }.outlives(Blow::Killed);
}

#[test]
fn an_attach_that_is_refused_for_a_while_outlives_the_death_of_its_leader_at_every_instant() {
    REFUSED_FOR_A_WHILE.outlives(Blow::Killed);
}

#[test]
fn an_attach_that_is_refused_for_a_while_outlives_a_leader_that_freezes_at_any_instant() {
    REFUSED_FOR_A_WHILE.outlives(Blow::Frozen);
}

#[test]
fn a_failover_outlives_the_death_of_its_leader_at_every_instant() {
    FAILOVER.outlives(Blow::Killed);
}

#[test]
fn a_failover_outlives_a_leader_that_freezes_at_any_instant_and_thaws() {
    FAILOVER.outlives(Blow::Frozen);
}

#[test]
fn a_failover_outlives_a_leader_that_only_azure_hears_from_any_instant_on() {
    FAILOVER.outlives(Blow::CutOff);
}

//! The stage: what all scenarios begin with, and how a script is run with and without a fence.
//!
//! The nodes are `a`, `b`, `c` and sometimes a witness `w`. Unless a script says otherwise the VIP
//! `demo` is held by `a`, and somebody else leads.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
};

use azure_sim::{AdminCommand, Fault};
use vipfence_coordinator_core::{Ask, Body, GrantTrack, Step};
use vipfence_sim::{
    Deed, Ended, Kind, Plan, Spot, Verdict, World,
    mutants::Broken,
    time::{At, ms, secs},
};
use vipfence_types::{Epoch, Mutation, Profile, Release, Timing, VipName, VipSpec};

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;
pub(crate) const C: usize = 2;
/// The witness, where there is one.
pub(crate) const W: usize = 3;

pub(crate) const DEMO: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 110);
pub(crate) const ADDRESS: IpAddr = IpAddr::V4(DEMO);

/// A script goes on as long as it goes as written.
pub(crate) type Story = Result<(), String>;

const SEED: u64 = 20_250;

/// The timers of a profile.
pub(crate) fn timers(profile: Profile) -> Timing {
    Timing::of(profile)
}

/// Three members; all clocks are right.
pub(crate) fn three(profile: Profile) -> Plan {
    Plan { clocks_err: false, ..Plan::three(timers(profile)) }
}

/// Three members and a witness; all clocks are right.
pub(crate) fn four(profile: Profile) -> Plan {
    Plan { clocks_err: false, ..Plan::with_witness(timers(profile), 3) }
}

/// The same with other manners of Azure.
pub(crate) fn with_azure(plan: Plan, change: impl FnOnce(&mut azure_sim::Settings)) -> Plan {
    let mut plan = plan;
    change(&mut plan.azure);
    plan
}

/// The script goes as written, violates nothing, and the cluster converges after it.
pub(crate) fn with_fence(plan: &Plan, script: impl FnOnce(&mut World) -> Story) {
    let mut world = begin(plan);
    if let Err(problem) = play(&mut world, script) {
        panic!("{}\n{problem}", tail(&world));
    }
}

/// The same for one of many: what goes wrong, if anything does, with the end of the timeline.
pub(crate) fn one_of_many(
    seed: u64,
    plan: &Plan,
    script: impl Fn(&mut World) -> Story,
) -> Result<(), String> {
    // Words cost time: the run is repeated if they are needed.
    if play(&mut World::new(seed, plan), &script).is_ok() {
        return Ok(());
    }
    let mut world = World::new(seed, plan);
    world.timeline.keep();
    let problem = play(&mut world, script).expect_err("the same seed gives the same run");
    Err(format!("{}\n{problem}", tail(&world)))
}

fn play(world: &mut World, script: impl FnOnce(&mut World) -> Story) -> Story {
    let story = script(world);
    if let Some(violation) = world.violation() {
        return Err(violation.to_string());
    }
    story.map_err(|problem| format!("the script does not go as written: {problem}"))?;
    match world.converge() {
        Some(_) => Ok(()),
        None => Err(format!("it does not converge: {:?}", world.violation())),
    }
}

/// Without the fence that keeps it out, something is violated in the same script.
pub(crate) fn without(mutation: Mutation, plan: &Plan, script: impl FnOnce(&mut World) -> Story) {
    let _broken = Broken::rule(mutation);
    let mut world = begin(plan);
    let story = script(&mut world);
    if world.violation().is_none() {
        world.converge();
    }
    let found = world.violation().cloned();
    assert!(
        found.is_some(),
        "{}\nM{} ({}) is not noticed; the script: {story:?}",
        tail(&world),
        mutation.number(),
        mutation.what()
    );
}

/// Without the fence the script does not go as written, or something is violated. For rules that are
/// promised for themselves (what is on disk before it is said, a stale entry that changes nothing):
/// other rules behind them keep the invariants.
pub(crate) fn noticed_without(
    mutation: Mutation,
    plan: &Plan,
    script: impl FnOnce(&mut World) -> Story,
) {
    let _broken = Broken::rule(mutation);
    let mut world = begin(plan);
    let story = script(&mut world);
    let (number, what) = (mutation.number(), mutation.what());
    assert!(story.is_err(), "{}\nM{number} ({what}) is not noticed", tail(&world));
}

/// `VIPFENCE_SEED=7` shows whether a script rests on chance.
fn begin(plan: &Plan) -> World {
    let seed = std::env::var("VIPFENCE_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut world = World::new(seed.unwrap_or(SEED), plan);
    world.timeline.keep();
    world
}

/// The end of the timeline, for whoever reads why a scenario failed; `VIPFENCE_TIMELINE=1` shows all.
fn tail(world: &World) -> String {
    let lines: Vec<String> = world.timeline.lines().collect();
    let all = std::env::var_os("VIPFENCE_TIMELINE").is_some();
    let skip = if all { 0 } else { lines.len().saturating_sub(80) };
    lines[skip..].join("\n")
}

/// Runs until something holds; it must within the span.
pub(crate) fn until(
    world: &mut World,
    span: u64,
    what: &str,
    done: impl Fn(&World) -> bool,
) -> Story {
    let reached = world.run_until(span, &done) && done(world);
    check(world, reached, &format!("within {} ms: {what}", span / 1_000))
}

/// Runs for a span in which something must hold all the time.
pub(crate) fn always(
    world: &mut World,
    span: u64,
    what: &str,
    holds: impl Fn(&World) -> bool,
) -> Story {
    let broken = world.run_until(span, |world| !holds(world)) && !holds(world);
    check(world, !broken, &format!("for {} ms: {what}", span / 1_000))
}

/// Something must be so now.
pub(crate) fn check(world: &World, is_so: bool, what: &str) -> Story {
    match world.violation() {
        Some(violation) => Err(violation.to_string()),
        None if is_so => Ok(()),
        None => Err(format!("not so at {} ms: {what}", world.now() / 1_000)),
    }
}

// ---- the usual beginning ----------------------------------------------------------------------

/// `demo` is held by `a`; `leader` leads.
pub(crate) fn a_holds(world: &mut World, leader: usize) -> Story {
    a_holds_as(world, leader, |_| {})
}

/// The same with another definition.
pub(crate) fn a_holds_as(
    world: &mut World,
    leader: usize,
    change: impl FnOnce(&mut VipSpec),
) -> Story {
    let elected = world.elect(leader);
    check(world, elected, "the leader of the script is elected")?;
    // The nodes have reported their NICs.
    world.run(secs(2));
    let mut spec = VipSpec::host(ADDRESS);
    change(&mut spec);
    define(world, "demo", spec, "a");
    until(world, secs(20), "a holds demo", |world| world.is_held_by("demo", A))?;
    // The background seals of the first attach.
    world.run(secs(2));
    Ok(())
}

/// Services stop first, and a holder that does not answer has a second to do so.
pub(crate) fn early(spec: &mut VipSpec) {
    spec.release = Release::Early;
    spec.release_timeout_ms = 1_000;
}

/// Defines a VIP, at the leader; returns the call.
pub(crate) fn define(world: &mut World, vip: &str, spec: VipSpec, to: &str) -> usize {
    let request = vipfence_coordinator_core::Request {
        id: Some(format!("define-{vip}-{}", world.now()).into()),
        content: String::new(),
        caller: "operator".to_owned(),
    };
    let ask = Ask::CreateVip {
        vip: VipName::new(vip).expect("a valid name"),
        spec,
        enabled: true,
        to: Some(vipfence_types::NodeId::new(to).expect("a valid name")),
        request,
    };
    world.ask(world.leader().unwrap_or(0), ask)
}

// ---- repeated steps -----------------------------------------------------------------------------

/// How long the answer to a heartbeat that says nothing new takes at most, in any profile: the
/// leader waits for Raft's next heartbeat.
const ANSWERED_MS: u64 = 400;

/// Waits until the agent of `node` has just been answered with a lease of `demo`.
pub(crate) fn just_renewed(world: &mut World, node: usize, lease_ms: u64) -> Story {
    let (before, renewed) = (Cell::new(u128::MAX), Cell::new(false));
    until(world, secs(3), "the lease is renewed", |world| {
        let left = world.lease_left(node, "demo").map_or(0, |left| left.as_millis());
        let longer = left > before.replace(left) && left >= u128::from(lease_ms - ANSWERED_MS);
        renewed.set(renewed.get() || longer);
        renewed.get()
    })
}

/// From now on no heartbeat of `node` gets through, nor an answer; Raft does.
pub(crate) fn agent_is_cut_off(world: &mut World, node: usize) {
    world.rule(move |from, to, kind| {
        let its = from == Spot::Node(node) || to == Spot::Node(node);
        if its && kind.is_beat() { Verdict::Drop } else { Verdict::Pass }
    });
}

/// Everything between `node` and the other nodes is cut.
pub(crate) fn is_partitioned(world: &mut World, node: usize) {
    for other in (0..world.nodes()).filter(|other| *other != node) {
        world.do_deed(Deed::Cut(Spot::Node(node), Spot::Node(other)));
        world.do_deed(Deed::Cut(Spot::Node(other), Spot::Node(node)));
    }
}

pub(crate) fn is_expiring(grant: &GrantTrack) -> bool {
    matches!(grant, GrantTrack::Expiring(_))
}

pub(crate) fn is_releasing(grant: &GrantTrack) -> bool {
    matches!(grant, GrantTrack::Releasing(_))
}

/// Whether an append carries the end of a grant.
pub(crate) fn carries_over(kind: &Kind) -> bool {
    let ends = |body: &Body| matches!(body, Body::Step { step: Step::Over { .. }, .. });
    matches!(kind, Kind::Append(bodies) if bodies.iter().any(ends))
}

/// A fault of Azure.
pub(crate) fn azure_fails(world: &mut World, fault: Fault) {
    world.do_deed(Deed::Azure(AdminCommand::AddFault { fault }));
}

/// Keeps every write to this NIC on its way.
pub(crate) fn writes_hang(world: &mut World, nic: &'static str) {
    world.rule(move |_, to, kind| {
        let hangs = to == Spot::Arm && kind.writes(nic);
        if hangs { Verdict::Keep } else { Verdict::Pass }
    });
}

/// A write that hung for so long reaches ARM now, and is refused: the NIC has changed since.
pub(crate) fn arrives_and_is_stale(world: &mut World, nic: &'static str) -> Story {
    let stale = |world: &World| {
        let writes = world.writes();
        writes.iter().filter(|write| write.nic == nic && write.status == 412).count()
    };
    let before = stale(world);
    let there = world.release_one(|_, to, kind| to == Spot::Arm && kind.writes(nic));
    check(world, there, "a write hangs")?;
    until(world, ms(100), "the late write is refused as stale", |world| stale(world) > before)
}

/// The holder of `demo` before; then `to` holds it.
pub(crate) fn moves(world: &mut World, to: usize, within: u64) -> Story {
    world.ask_move("demo", to);
    until(world, within, "the move is done", |world| world.is_held_by("demo", to))
}

/// Whether a call was done.
pub(crate) fn is_ok(world: &World, op: usize) -> bool {
    matches!(world.ended(op), Some(Ended::Ok(_)))
}

/// Whether a call was refused.
pub(crate) fn is_refused(world: &World, op: usize) -> bool {
    matches!(world.ended(op), Some(Ended::Failed(_)))
}

/// The epoch after.
pub(crate) fn next(epoch: Epoch) -> Epoch {
    Epoch(epoch.0 + 1)
}

/// How long ago.
pub(crate) fn since(world: &World, at: At) -> u64 {
    world.now() - at
}

/// The oldest kept message of this kind arrives now.
pub(crate) fn arrives(
    world: &mut World,
    what: &str,
    like: impl Fn(Spot, Spot, &Kind) -> bool,
) -> Story {
    let there = world.release_one(like);
    check(world, there, &format!("kept: {what}"))
}

/// An answer that grants something.
pub(crate) fn grants(kind: &Kind) -> bool {
    matches!(kind, Kind::BeatAnswer { grants, .. } if !grants.is_empty())
}

/// A heartbeat that confirms something.
pub(crate) fn confirms(kind: &Kind) -> bool {
    matches!(kind, Kind::Beat { released, .. } if !released.is_empty())
}

/// A holder is asked to let go and hears nothing of it; right before its lease ends it is killed, and
/// its kernel is as late as one may be. Nobody else may add before that kernel is done.
pub(crate) fn an_unheard_release(world: &mut World, lease_ms: u64) -> Story {
    world.slow_kernel(A);
    just_renewed(world, A, lease_ms)?;
    agent_is_cut_off(world, A);
    let cut = world.now();
    world.ask_move("demo", B);
    left_to_expire(world, secs(3))?;
    killed_at_the_end_of_its_lease(world)?;
    b_takes_over_after(world, cut, ms(lease_ms))
}

/// The agent of `a` is killed while 30 ms of its lease are left, with the address on its OS.
pub(crate) fn killed_at_the_end_of_its_lease(world: &mut World) -> Story {
    until(world, secs(40), "the lease of a is all but over", |world| {
        world.lease_left(A, "demo").is_none_or(|left| left.as_millis() < 30)
    })?;
    check(world, world.has(A, ADDRESS), "a has the address to the end of its lease")?;
    world.do_deed(Deed::Kill(A));
    Ok(())
}

/// `b` adds, and not before `least` after `cut`.
pub(crate) fn b_takes_over_after(world: &mut World, cut: At, least: u64) -> Story {
    until(world, secs(60), "b has the address", |world| world.has(B, ADDRESS))?;
    check(world, since(world, cut) > least, "the lease was waited for")?;
    check(world, !world.has(A, ADDRESS), "the kernel of a was waited for")
}

/// A grant is asked back, and the node that has it is not heard.
pub(crate) fn left_to_expire(world: &mut World, within: u64) -> Story {
    until(world, within, "the grant is left to expire", |world| world.grant_is("demo", is_expiring))
}

/// The leader has decided that a grant is over; a rule keeps that from being committed.
pub(crate) fn its_end_is_decided(world: &mut World, within: u64) -> Story {
    until(world, within, "the end of the grant is decided", |world| {
        world.kept_like(|_, _, kind| carries_over(kind)) > 0
    })
}

/// A move to `b`, whose attach is kept on its way.
pub(crate) fn the_attach_to_b_hangs(world: &mut World) -> Story {
    writes_hang(world, "b-nic");
    world.ask_move("demo", B);
    until(world, secs(10), "the attach to b is on its way", |world| world.kept() == 1)
}

/// The move that is under way gives way to one back to `a`.
pub(crate) fn superseded_by_a_move_back(world: &mut World) -> Story {
    world.ask_move("demo", A);
    until(world, secs(1), "it is superseded", |world| {
        let target = world.vip("demo").and_then(|vip| vip.target.as_ref());
        target.is_some_and(|to| to.as_str() == "a")
    })
}

/// The write that hangs has timed out.
pub(crate) fn nobody_waits_for_it_any_more(world: &mut World) -> Story {
    until(world, secs(40), "nobody waits for it any more", |world| {
        world.sometimes.count("an outcome is unknown") > 0
    })
}

/// A move to a node whose attach hangs: `demo` has been detached for good, and is attached nowhere.
pub(crate) fn nowhere_on_the_way_to(world: &mut World, to: usize, nic: &'static str) -> Story {
    writes_hang(world, nic);
    world.ask_move("demo", to);
    until(world, secs(40), "it is on no NIC", |world| {
        world.nics_with(ADDRESS).is_empty() && world.kept_like(|_, _, kind| kind.writes(nic)) > 0
    })?;
    // The detach is done for good.
    world.run(secs(3));
    Ok(())
}

/// Another node than the witness leads.
pub(crate) fn another_node_leads(world: &mut World) -> Story {
    until(world, secs(10), "another node leads", |world| {
        world.leader().is_some_and(|leader| leader != W && world.leads(leader))
    })
}

/// Somebody else takes an address off a NIC.
pub(crate) fn outsider_detaches(world: &mut World, nic: &str, address: impl Into<IpAddr>) {
    let (nic, address) = (nic.to_owned(), address.into());
    let detach = AdminCommand::ThirdPartyDetach { nic, address, immediate: true };
    world.do_deed(Deed::Azure(detach));
}

//! Fifty moves ordered with real grpcurl while nodes are killed and stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use integration_tests::v1::{Event, Move, MoveCause, MoveOutcome, NodeState};
use integration_tests::{Dev, DevOptions, Dice, Grpcurl, JournalEntry, Turn, VIP, wait_until};
use rustix::process::Signal;
use serde_json::json;

const MOVES: usize = 50;
/// Longer than the lease (4 s) and than its wait at the leader (5.6 s) of the fast profile: when
/// the stopped node goes on, another one has been the holder for a while.
const STOPPED_FOR: Duration = Duration::from_secs(7);

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Holder,
    Leader,
    Third,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Kill,
    Stop,
}

/// Ten blows: every kind at every part that a node can play, the rest at random.
fn blows(dice: &mut Dice) -> Vec<(Victim, Blow)> {
    let mut blows = vec![
        (Victim::Holder, Blow::Stop),
        (Victim::Leader, Blow::Stop),
        (Victim::Holder, Blow::Kill),
        (Victim::Holder, Blow::Kill),
        (Victim::Leader, Blow::Kill),
        (Victim::Leader, Blow::Kill),
        (Victim::Third, Blow::Kill),
    ];
    while blows.len() < 10 {
        let victim = *dice.pick(&[Victim::Holder, Victim::Leader, Victim::Third]);
        blows.push((victim, Blow::Kill));
    }
    dice.shuffle(&mut blows);
    blows
}

/// What was ordered and acknowledged.
#[derive(Debug)]
struct Acknowledged {
    id: String,
    target: String,
    request_id: String,
}

struct Storm<'a> {
    dev: &'a Dev,
    grpcurl: Grpcurl,
    dice: Dice,
    /// Stopped, until then.
    stopped: Option<(String, Instant)>,
    /// Who was hit last, and may not be back yet.
    down: Option<String>,
    acknowledged: Vec<Acknowledged>,
    refused: usize,
    repeated: usize,
}

impl Storm<'_> {
    /// Orders a move until it is acknowledged. A target that is refused is another one's turn.
    fn order(&mut self, number: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let names = self.dev.names();
        for attempt in 0.. {
            let target = self.dice.pick(&names).clone();
            let request_id = format!("storm-{number}-{attempt}");
            if let Some(id) = self.acknowledge(&target, &request_id, deadline) {
                self.acknowledged.push(Acknowledged { id, target, request_id });
                return;
            }
            self.refused += 1;
        }
    }

    /// The id of the move; none = refused.
    fn acknowledge(&mut self, target: &str, request_id: &str, deadline: Instant) -> Option<String> {
        let body = json!({"vip": VIP, "targetNode": target, "requestId": request_id});
        let mut nodes = self.dev.names();
        self.dice.shuffle(&mut nodes);
        for node in nodes.iter().cycle() {
            self.wake();
            // A call to a stopped node would take the whole of grpcurl's patience.
            if self.stopped.as_ref().is_some_and(|(stopped, _)| stopped == node) {
                continue;
            }
            let method = "vipfence.v1.VipService/MoveVip";
            let answer = self.dev.grpcurl(&self.grpcurl, node, method, &body);
            if answer.ok {
                let id = answer.json()["id"].as_str().expect("a move has an id").to_owned();
                return Some(id);
            }
            if answer.code() == "FailedPrecondition" {
                return None;
            }
            let passing = ["Unavailable", "DeadlineExceeded", ""].contains(&answer.code());
            assert!(passing, "{}", answer.err);
            assert!(Instant::now() < deadline, "no acknowledgement: {}", answer.err);
            self.repeated += 1;
        }
        unreachable!("the nodes are asked in a circle")
    }

    fn strike(&mut self, victim: Victim, blow: Blow) {
        self.all_alive();
        let status = self.dev.status();
        let vip = self.dev.vip();
        let (leader, holder) = (status.leader, &vip.holder);
        let third = self.dev.names_but(&[&leader, holder]).remove(0);
        let victim = match victim {
            // Between two holders the VIP may have none.
            Victim::Holder if holder.is_empty() => third,
            Victim::Holder => holder.clone(),
            Victim::Leader => leader.clone(),
            Victim::Third => third,
        };
        println!("{blow:?} {victim} (leader {leader}, VIP {:?} at {:?})", vip.phase(), vip.holder);
        match blow {
            Blow::Kill => {
                self.dev.kill(&victim);
            }
            Blow::Stop => {
                self.dev.signal(&victim, Signal::STOP);
                self.stopped = Some((victim.clone(), Instant::now() + STOPPED_FOR));
            }
        }
        self.down = Some(victim);
    }

    /// Lets a stopped node go on when its time has come.
    fn wake(&mut self) {
        if let Some((node, until)) = self.stopped.take() {
            if Instant::now() < until {
                self.stopped = Some((node, until));
            } else {
                self.dev.signal(&node, Signal::CONT);
            }
        }
    }

    /// Waits until whoever was hit is back: never two at once.
    fn all_alive(&mut self) {
        if let Some((_, until)) = &self.stopped {
            thread::sleep(until.saturating_duration_since(Instant::now()));
            self.wake();
        }
        let Some(down) = self.down.take() else { return };
        wait_until("the node that was hit is back", Duration::from_secs(30), || {
            let status = self.dev.status();
            let node = status.nodes.iter().find(|node| node.name == down).expect("a member");
            if node.state() == NodeState::Alive { Ok(()) } else { Err(format!("{node:?}")) }
        });
    }
}

#[test]
fn fifty_moves_survive_ten_blows() {
    let _turn = Turn::alone();
    let Some(grpcurl) = Grpcurl::find() else { return };
    let mut dice = Dice::new();
    let restart_after = Some(Duration::from_millis(500));
    let dev = Dev::start(DevOptions { restart_after, ..DevOptions::quick() });
    dev.settled();
    let observer = dev.observer();
    let mut plan = blows(&mut dice);
    let mut storm = Storm {
        dev: &dev,
        grpcurl,
        dice,
        stopped: None,
        down: None,
        acknowledged: Vec::new(),
        refused: 0,
        repeated: 0,
    };
    for number in 0..MOVES {
        storm.order(number);
        // Anywhere in a move, which takes about half a second.
        thread::sleep(storm.dice.time_below(Duration::from_millis(700)));
        if number % (MOVES / 10) == 2
            && let Some((victim, blow)) = plan.pop()
        {
            storm.strike(victim, blow);
        }
    }
    assert!(plan.is_empty(), "every blow has fallen");
    storm.all_alive();
    let status = dev.settled();
    let sightings = observer.stop();
    println!(
        "{} acknowledged, {} refused, {} repeated; responders asked {} times, {} good answers",
        storm.acknowledged.len(),
        storm.refused,
        storm.repeated,
        sightings.asked,
        sightings.seen.len()
    );

    // No two responders ever.
    let holders = sightings.holders().unwrap_or_else(|two| panic!("{two}"));
    assert!(holders.len() >= 10, "{holders:?}");

    let api = dev.any_api();
    let moves = api.moves(VIP).expect("the moves");
    no_acknowledged_move_is_lost(&storm.acknowledged, &moves, &status.vips[0].holder);
    let events = api.events().expect("the events");
    assert_eq!(events[0].number, 1, "no event is forgotten yet");
    epochs_rise(&events, &holders);
    every_write_is_the_leaders(&events, &dev.simulator().writes_after(0));
}

fn no_acknowledged_move_is_lost(acknowledged: &[Acknowledged], moves: &[Move], holder: &str) {
    let by_id: BTreeMap<&str, &Move> =
        moves.iter().map(|known| (known.id.as_str(), known)).collect();
    let find = |id: &str| *by_id.get(id).unwrap_or_else(|| panic!("{id} is lost"));
    for order in acknowledged {
        let known = find(&order.id);
        assert_eq!(known.to_node, order.target, "{known:?}");
        let ended = [MoveOutcome::Done, MoveOutcome::Superseded, MoveOutcome::AlreadyHeld];
        assert!(ended.contains(&known.outcome()), "{order:?}: {known:?}");
        if known.outcome() == MoveOutcome::Superseded {
            find(&known.superseded_by);
        }
    }
    // From the last one that was acknowledged on, only the cluster itself may have decided; or an
    // order of ours of which no acknowledgement arrived, but of those there is none.
    let ours: BTreeSet<&str> = acknowledged.iter().map(|order| order.request_id.as_str()).collect();
    let last = acknowledged.last().expect("there are fifty");
    let number = |id: &str| -> u64 { id.rsplit('-').next().unwrap().parse().expect("move-N") };
    let mut end = find(&last.id);
    for later in moves.iter().rev().filter(|other| number(&other.id) > number(&last.id)) {
        assert_ne!(later.cause(), MoveCause::Request, "{later:?} came after {last:?}");
        end = later;
    }
    assert_eq!(end.to_node, holder, "the last move says where the VIP is");
    for known in moves.iter().filter(|known| known.cause() == MoveCause::Request) {
        assert!(ours.contains(known.request_id.as_str()), "nobody ordered {known:?}");
    }
}

/// I5, and that the responders and the events tell the same story.
fn epochs_rise(events: &[Event], seen: &BTreeMap<u64, String>) {
    let granted: Vec<(u64, &str)> = events
        .iter()
        .filter(|event| event.kind == "GRANTED")
        .map(|event| (event.epoch, event.node.as_str()))
        .collect();
    assert!(granted.windows(2).all(|pair| pair[0].0 < pair[1].0), "{granted:?}");
    let granted: BTreeMap<u64, &str> = granted.into_iter().collect();
    for (epoch, node) in seen {
        assert_eq!(granted.get(epoch), Some(&node.as_str()), "epoch {epoch}");
    }
}

/// I7: by who was elected for the term that the request names.
fn every_write_is_the_leaders(events: &[Event], writes: &[JournalEntry]) {
    let leaders: BTreeMap<u64, &str> = events
        .iter()
        .filter(|event| event.kind == "LEADER_ELECTED")
        .map(|event| (event.term, event.node.as_str()))
        .collect();
    assert!(leaders.len() >= 3, "leaders were killed: {leaders:?}");
    let mut latest: BTreeMap<&str, u64> = BTreeMap::new();
    for write in writes {
        let term = write.term().unwrap_or_else(|| panic!("a write without a term: {write:?}"));
        let leader = leaders.get(&term).copied();
        assert_eq!(write.principal.as_deref(), leader, "{write:?} in {leaders:?}");
        assert!(write.if_match.is_some(), "a write that compares nothing: {write:?}");
        if write.is_accepted() {
            let latest = latest.entry(write.resource.as_str()).or_default();
            assert!(term >= *latest, "a stale leader's write was accepted: {write:?}");
            *latest = term;
        }
    }
    println!("{} NIC writes by {} leaders", writes.len(), leaders.len());
}

//! Moves that somebody asked for, and leaders that hold nothing.

use std::time::{Duration, Instant};

use integration_tests::{
    ClusterOptions, FabricCluster, Fault, in_enclosure, leader_dies, planned_move,
};

use super::{LIMIT, PLANNED, cluster, tell, within_twice};

#[test]
fn a_planned_move_costs_clients_about_one_operation() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let from = cluster.vip().holder;
        let to = cluster.another(&[&from]);
        let outcome = planned_move(&cluster, &to);
        tell(&outcome);
        within_twice("outage of a planned move", outcome.outage, PLANNED);
        let history = cluster.proves_one_holder();
        assert_eq!(history.passed_through(), [from, to]);
    });
}

#[test]
fn a_killed_leader_that_holds_nothing_costs_not_one_packet() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let (leader, holder) = cluster.leader_apart();
        let (before, moved) = (cluster.vip(), cluster.history().passed_through().len());
        // Longer than a lease and than the silence after which a holder is replaced.
        let outcome = leader_dies(&cluster, &leader, Duration::from_secs(6));
        tell(&outcome);
        assert_eq!(outcome.lost, 0);
        let after = cluster.vip();
        assert_eq!((after.holder, after.epoch), (holder, before.epoch));
        assert_eq!(cluster.proves_one_holder().passed_through().len(), moved);
    });
}

#[test]
fn a_dead_third_node_that_drops_everything_does_not_slow_a_move() {
    in_enclosure(LIMIT, || {
        let cluster = FabricCluster::start(&ClusterOptions::default());
        let (leader, holder) = cluster.leader_apart();
        // Of the other two one is to be the target, and the leader is among them.
        let timed = |to: &str| {
            let asked = Instant::now();
            cluster.move_to(to);
            (asked.elapsed(), to.to_owned())
        };
        let with_all = [timed(&leader), timed(&holder)];
        let third = cluster.another(&[&leader, &holder]);
        let _ = cluster.cut(&third);
        // At once, while nobody knows; then, when all know.
        let unknown = [timed(&leader), timed(&holder)];
        cluster.settled_without(&[&third]);
        let known = [timed(&leader), timed(&holder)];
        println!("all alive {with_all:.2?}, {third} just gone {unknown:.2?}, known {known:.2?}");
        let longest = |moves: &[(Duration, String)]| moves.iter().map(|(took, _)| *took).max();
        let bound = longest(&with_all).unwrap() + Duration::from_secs(1);
        assert!(longest(&unknown).unwrap() <= bound, "{unknown:?}");
        assert!(longest(&known).unwrap() <= bound, "{known:?}");
        cluster.fabric.heal_if(|fault| *fault == Fault::Cut(third.clone()));
        cluster.settled();
        cluster.proves_one_holder();
    });
}

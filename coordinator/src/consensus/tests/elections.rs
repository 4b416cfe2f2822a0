//! Who leads, and when that changes.

use super::*;
use crate::consensus::{ProposeError, RoundError};

#[tokio::test]
async fn three_nodes_elect_a_leader_and_a_proposal_reaches_all_of_them() {
    let cluster = Cluster::of_three().await;
    let (leader, committed) = cluster.commit(1).await;
    for index in 0..3 {
        cluster.applied(index, committed.index).await;
    }
    let confirmed = cluster.node(leader).confirm_leadership().await;
    let confirmed = confirmed.expect("a majority is there");
    assert!(confirmed.term >= committed.term);
    assert!(confirmed.read_index >= committed.index);
    let by_heartbeat = cluster.node(leader).confirm_with_heartbeat().await;
    assert_eq!(by_heartbeat, Ok(confirmed), "nothing was committed in between");
    let follower = cluster.node((leader + 1) % 3).confirm_with_heartbeat().await;
    assert_eq!(follower, Err(RoundError::NotLeader { leader: Some(name(leader)) }));
    let states: Vec<_> =
        (0..3).map(|index| cluster.node(index).applied().borrow().state.clone()).collect();
    assert_eq!(states[0], states[1]);
    assert_eq!(states[0], states[2]);
}

#[tokio::test]
async fn a_follower_refuses_a_proposal_and_names_the_leader() {
    let cluster = Cluster::of_three().await;
    let (leader, committed) = cluster.commit(1).await;
    let follower = (leader + 1) % 3;
    cluster.applied(follower, committed.index).await;
    let error = cluster.node(follower).propose(command(2)).await;
    let error = error.expect_err("it does not lead");
    assert_eq!(error, ProposeError::NotLeader { leader: Some(name(leader)) });
    assert!(error.certainly_not_proposed());
}

#[tokio::test]
async fn another_node_leads_soon_after_the_leader_died() {
    let mut cluster = Cluster::start(&[Role::Member; 3], Profile::Fast).await;
    let (leader, before) = cluster.commit(1).await;
    cluster.kill(leader).await;
    let start = now();
    let next = cluster.leader().await;
    println!("fast: n{} led after {:?}", next + 1, since(start));
    assert_ne!(next, leader);
    let (_, after) = cluster.commit(2).await;
    assert!(after.term > before.term);
    assert!(after.index > before.index);
    println!("fast: committed again after {:?}", since(start));
    assert!(since(start) < Duration::from_secs(10));
}

#[tokio::test]
async fn stepping_down_moves_the_leadership() {
    let cluster = Cluster::start(&[Role::Member; 3], Profile::Fast).await;
    let (leader, _) = cluster.commit(1).await;
    let start = now();
    let next = cluster.node(leader).step_down().await;
    println!("fast: {next:?} led after {:?}", since(start));
    assert!(next.is_some_and(|next| next != name(leader)));
    let (_, committed) = cluster.commit(2).await;
    cluster.applied(leader, committed.index).await;
}

#[tokio::test]
async fn a_leader_whom_nobody_can_replace_leads_on() {
    let alone = Cluster::start(&[Role::Member], Profile::Fast).await;
    alone.commit(1).await;
    assert_eq!(alone.node(0).step_down().await, Some(name(0)));
    alone.commit(2).await;

    let mut pair = Cluster::start(&[Role::Member, Role::Member], Profile::Fast).await;
    let (leader, _) = pair.commit(1).await;
    pair.kill(1 - leader).await;
    pair.node(leader).step_down().await;
    pair.run(1 - leader).await;
    pair.commit(2).await;
}

#[tokio::test]
async fn a_learner_replicates_from_birth_and_never_leads() {
    let cluster = Cluster::start(&[Role::Learner, Role::Member], Profile::Fast).await;
    let (leader, committed) = cluster.commit(1).await;
    assert_eq!(leader, 1);
    cluster.applied(0, committed.index).await;
}

#[tokio::test]
async fn a_leader_that_restarts_never_leads_in_its_old_term_again() {
    let mut cluster = Cluster::new(&[Role::Member], Profile::Fast);
    let mut last = 0;
    for round in 0..3 {
        cluster.run(0).await;
        let (_, committed) = cluster.commit(round).await;
        assert!(committed.term.0 > last, "led in term {last} again");
        last = committed.term.0;
        cluster.kill(0).await;
    }
}

#[tokio::test]
async fn a_leader_that_restarts_at_once_does_not_lead_in_its_old_term_of_three() {
    let mut cluster = Cluster::start(&[Role::Member; 3], Profile::Fast).await;
    let (leader, before) = cluster.commit(1).await;
    cluster.kill(leader).await;
    let start = now();
    cluster.run(leader).await;
    let (_, after) = cluster.commit(2).await;
    println!("fast: committed again {:?} after the restart", since(start));
    assert!(after.term > before.term);
}

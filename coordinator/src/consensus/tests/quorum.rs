//! Without a majority, and when it comes back.

use tonic::Code;
use vipfence_proto::v1::{RaftFrame, raft_service_client::RaftServiceClient};

use super::*;
use crate::consensus::{ProposeError, RoundError};

#[tokio::test]
async fn a_leader_without_a_majority_confirms_nothing_and_says_so_in_time() {
    let mut cluster = Cluster::of_three().await;
    let (leader, _) = cluster.commit(1).await;
    cluster.kill((leader + 1) % 3).await;
    cluster.kill((leader + 2) % 3).await;
    let start = now();
    let node = cluster.node(leader);
    // What followers answered before they died confirms nothing.
    let rounds = tokio::join!(node.confirm_leadership(), node.confirm_with_heartbeat());
    let took = since(start);
    assert_eq!(rounds, (Err(RoundError::NoQuorum), Err(RoundError::NoQuorum)));
    assert!(took < Duration::from_secs(2), "{took:?}");

    let node = cluster.node(leader);
    let error = node.propose(command(2)).await.expect_err("no majority");
    assert!(!error.certainly_not_proposed(), "it is in this node's log");
    assert!(node.leadership().borrow().leading, "nobody else leads");
    let silent = async { while node.propose(command(3)).await != Err(ProposeError::NoQuorum) {} };
    tokio::time::timeout(LONG, silent).await.expect("it goes silent, and refuses for certain");
}

#[tokio::test]
async fn a_leader_is_there_soon_after_the_majority_came_back() {
    let mut cluster = Cluster::of_three().await;
    let (leader, _) = cluster.commit(1).await;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    for other in others {
        cluster.kill(other).await;
    }
    until_silent(cluster.node(leader)).await;
    for other in others {
        cluster.run(other).await;
    }
    let start = now();
    let (_, committed) = cluster.commit(2).await;
    println!("standard: committed again after {:?}", since(start));
    assert!(since(start) < Duration::from_secs(10));
    cluster.applied(leader, committed.index).await;
}

/// The one voter that comes back can never be elected, since the leader's log is longer; and the
/// leader, being the leader, does not stand for election.
#[tokio::test]
async fn a_silent_leader_with_the_longer_log_speaks_again_when_one_voter_came_back() {
    let mut cluster = Cluster::of_three().await;
    let (leader, _) = cluster.commit(1).await;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    for other in others {
        cluster.kill(other).await;
    }
    let error = cluster.node(leader).propose(command(2)).await;
    assert!(error.is_err(), "no majority");
    until_silent(cluster.node(leader)).await;
    cluster.run(others[0]).await;
    let start = now();
    let (_, committed) = cluster.commit(3).await;
    println!("standard: committed again after {:?}", since(start));
    assert!(since(start) < Duration::from_secs(15));
    cluster.applied(others[0], committed.index).await;
}

#[tokio::test]
async fn a_restarted_peer_is_reached_again_by_the_first_or_second_call() {
    let mut cluster = Cluster::new(&[Role::Member, Role::Member], Profile::Standard);
    cluster.run(0).await;
    cluster.run(1).await;
    let channel = cluster.node(0).channel(&name(1)).expect("it is a peer");
    let mut client = RaftServiceClient::new(channel);
    // Refused by the service: that is an answer, so the peer was reached.
    let foreign = RaftFrame { format: 1, body: Vec::new(), cluster: "other".to_owned() };
    let reaches = async |client: &mut RaftServiceClient<_>| {
        let answer = client.vote(foreign.clone()).await;
        answer.expect_err("it is refused").code() == Code::PermissionDenied
    };
    assert!(reaches(&mut client).await);
    cluster.kill(1).await;
    assert!(!reaches(&mut client).await);
    cluster.run(1).await;
    let start = now();
    let reached = reaches(&mut client).await || reaches(&mut client).await;
    assert!(reached, "two calls did not reach it");
    println!("reached again after {:?}", since(start));
}

#[tokio::test]
async fn a_frame_of_another_cluster_or_of_a_later_format_is_refused() {
    let cluster = Cluster::start(&[Role::Member], Profile::Fast).await;
    let channel = cluster.node(0).channel(&name(0)).expect("itself");
    let mut client = RaftServiceClient::new(channel);
    let frame = RaftFrame { format: 1, body: b"{}".to_vec(), cluster: "other".to_owned() };
    let status = client.append_entries(frame.clone()).await;
    let status = status.expect_err("another cluster");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("\"other\""), "{status}");

    let later = RaftFrame { format: 9, cluster: "test".to_owned(), ..frame };
    let status = client.install_snapshot(later).await.expect_err("unknown");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("format 9"), "{status}");
}

#[tokio::test]
async fn nodes_of_two_clusters_do_not_elect_each_other() {
    let mut cluster = Cluster::new(&[Role::Member, Role::Member], Profile::Fast);
    cluster.run(0).await;
    let stranger = ConsensusConfig {
        cluster: ClusterName::new("other").expect("a valid name"),
        ..cluster.config(1)
    };
    let listener = cluster.slots[1].listener.take().expect("not used yet");
    let _stranger = serve(stranger, listener).await.expect("it starts");
    // Several elections on both sides.
    let mut leadership = cluster.node(0).leadership();
    let elections = leadership.wait_for(|now| now.term.0 > 3 || now.leading);
    let seen = tokio::time::timeout(LONG, elections).await;
    assert!(!seen.expect("in time").expect("it runs").leading);
}

#[tokio::test]
async fn a_command_that_fits_no_message_is_refused_before_it_is_proposed() {
    let cluster = Cluster::start(&[Role::Member], Profile::Fast).await;
    cluster.commit(1).await;
    let huge = Command { body: Body::Unknown("x".repeat(2 << 20).into()), ..command(2) };
    let error = cluster.node(0).propose(huge).await.expect_err("too large");
    assert!(matches!(error, ProposeError::TooLarge { .. }), "{error}");
    assert!(error.certainly_not_proposed());
}

async fn until_silent(node: &Consensus) {
    let silent = async {
        while !node.node.voice.is_silent() {
            // Fails at once when silent, and within a round's time-out otherwise.
            let _ = node.confirm_leadership().await;
        }
    };
    tokio::time::timeout(LONG, silent).await.expect("silent");
}

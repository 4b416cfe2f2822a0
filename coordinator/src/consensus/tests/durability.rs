//! What survives.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command as Process, Stdio},
};

use openraft::storage::RaftLogStorage as _;

use super::*;
use crate::consensus::store::{LogStore, Store};

#[tokio::test]
async fn committed_entries_survive_a_restart_of_one_two_and_all_nodes() {
    let mut cluster = Cluster::of_three().await;
    let mut last = cluster.commit(1).await.1;
    for restarted in [vec![0], vec![1, 2], vec![0, 1, 2]] {
        for index in &restarted {
            cluster.kill(*index).await;
        }
        for index in &restarted {
            cluster.run(*index).await;
        }
        for index in 0..3 {
            cluster.applied(index, last.index).await;
        }
        let next = cluster.commit(2).await.1;
        assert!(next.index > last.index, "restarted {restarted:?}");
        last = next;
    }
}

#[tokio::test]
async fn a_node_restarted_without_a_quorum_shows_what_it_knew_last() {
    let mut cluster = Cluster::of_three().await;
    let (leader, first) = cluster.commit(1).await;
    // The commit index reaches the disk with the next append.
    cluster.commit(2).await;
    for index in 0..3 {
        cluster.kill(index).await;
    }
    cluster.run(leader).await;
    let shown = cluster.node(leader).applied().borrow().index;
    assert!(shown >= first.index, "shows {shown} of {}", first.index);
}

#[tokio::test]
async fn the_log_stays_bounded_and_a_restart_works_from_the_snapshot() {
    let mut cluster = Cluster::new(&[Role::Member], Profile::Fast);
    cluster.snapshot = SnapshotLimits { entries_between: 200, entries_kept: 50 };
    cluster.run(0).await;
    let start = now();
    for number in 0..3_000 {
        cluster.commit(number).await;
    }
    let last = cluster.commit(3_000).await.1;
    println!("3000 entries took {:?}", since(start));
    let before = cluster.node(0).applied().borrow().state.clone();
    cluster.kill(0).await;

    let rows = disk::log_rows(cluster.slots[0].disk.path());
    assert!(rows <= 2 * 200 + 50, "{rows} rows");
    let file = cluster.slots[0].disk.path().join("raft.redb");
    let bytes = std::fs::metadata(file).expect("it is there").len();
    println!("{rows} rows, {bytes} bytes");
    assert!(bytes < 8 << 20, "{bytes} bytes");

    cluster.run(0).await;
    cluster.applied(0, last.index).await;
    assert_eq!(*before, *cluster.node(0).applied().borrow().state);
    cluster.commit(3_001).await;
}

#[tokio::test]
async fn a_follower_that_missed_the_log_gets_the_snapshot() {
    let mut cluster = Cluster::new(&[Role::Member; 3], Profile::Standard);
    cluster.snapshot = SnapshotLimits { entries_between: 40, entries_kept: 10 };
    for index in 0..3 {
        cluster.run(index).await;
    }
    let (leader, _) = cluster.commit(0).await;
    let absent = (leader + 1) % 3;
    cluster.kill(absent).await;
    for number in 1..200 {
        cluster.commit(number).await;
    }
    cluster.run(absent).await;
    let (leader, last) = cluster.commit(200).await;
    cluster.applied(absent, last.index).await;
    cluster.applied(leader, last.index).await;
    assert_eq!(
        cluster.node(leader).applied().borrow().state,
        cluster.node(absent).applied().borrow().state
    );
}

/// A node that lost its disk may not help to elect a node that lacks what it had acknowledged.
#[tokio::test]
async fn a_node_that_lost_its_disk_votes_only_after_a_leader_has_filled_it() {
    let mut cluster = Cluster::of_three().await;
    let (leader, _) = cluster.commit(1).await;
    let (wiped, behind) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(behind).await;
    let (_, last) = cluster.commit(2).await;
    cluster.kill(leader).await;
    cluster.kill(wiped).await;
    cluster.slots[wiped].disk = TempDir::new().expect("a temporary folder");

    cluster.run(behind).await;
    cluster.run(wiped).await;
    let mut leadership = cluster.node(behind).leadership();
    let first = leadership.borrow().term;
    let several = leadership.wait_for(|now| now.term.0 > first.0 + 3 || now.leading);
    let seen = tokio::time::timeout(LONG, several).await;
    assert!(!seen.expect("in time").expect("it runs").leading);

    cluster.run(leader).await;
    for index in 0..3 {
        cluster.applied(index, last.index).await;
    }
    cluster.commit(3).await;
}

/// openraft's leader panics (debug) or never sends again (release) when a follower that it knows
/// has lost entries, unless it is built with `loosen-follower-log-revert`.
#[tokio::test]
async fn a_leader_fills_a_follower_that_lost_its_disk() {
    let mut cluster = Cluster::of_three().await;
    let (leader, committed) = cluster.commit(1).await;
    let wiped = (leader + 1) % 3;
    cluster.applied(wiped, committed.index).await;
    cluster.kill(wiped).await;
    cluster.slots[wiped].disk = TempDir::new().expect("a temporary folder");
    cluster.run(wiped).await;
    let (_, last) = cluster.commit(2).await;
    cluster.applied(wiped, last.index).await;
}

#[tokio::test]
async fn acknowledged_entries_survive_kill_9() {
    let disk = TempDir::new().expect("a temporary folder");
    let mut acknowledged = 0;
    for round in 0..3 {
        let mut child = Process::new(std::env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
            .arg("consensus::tests::durability::the_process_that_is_killed")
            .env("VIPFENCE_TEST_DISK", disk.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut heard = 0;
        for line in lines {
            let line = line.expect("text");
            if let Some((_, index)) = line.rsplit_once("committed ") {
                acknowledged = index.trim().parse().expect("a number");
                heard += 1;
                if heard == 100 {
                    break;
                }
            }
        }
        assert_eq!(heard, 100, "the child ended early in round {round}");
        child.kill().expect("SIGKILL");
        child.wait().expect("it is dead");
    }
    let mut cluster = Cluster::new(&[Role::Member], Profile::Fast);
    cluster.slots[0].disk = disk;
    cluster.run(0).await;
    cluster.applied(0, acknowledged).await;
}

/// Commits for ever and says so.
#[tokio::test]
#[ignore = "started by acknowledged_entries_survive_kill_9, which kills it"]
async fn the_process_that_is_killed() {
    let Ok(disk) = std::env::var("VIPFENCE_TEST_DISK") else {
        return;
    };
    let cluster = Cluster::new(&[Role::Member], Profile::Fast);
    let config = ConsensusConfig { data_dir: disk.into(), ..cluster.config(0) };
    let consensus = Consensus::start(config).await.expect("it starts");
    let mut leadership = consensus.leadership();
    let led = leadership.wait_for(|now| now.leading);
    tokio::time::timeout(LONG, led).await.expect("a leader").expect("it runs");
    for number in 0.. {
        let committed = consensus.propose(command(number)).await.expect("alone");
        println!("committed {}", committed.index);
    }
}

/// openraft cuts the log and writes the snapshot that it was sent at once: a crash in between leaves
/// a log that begins behind what is applied.
#[tokio::test]
async fn a_node_that_crashed_between_the_cut_and_the_snapshot_is_filled_again() {
    let mut cluster = Cluster::of_three().await;
    let (leader, first) = cluster.commit(1).await;
    let follower = (0..3).find(|index| *index != leader).expect("three nodes");
    cluster.applied(follower, first.index).await;
    cluster.kill(follower).await;
    {
        let (store, closing) = Store::open(cluster.slots[follower].disk.path()).expect("free");
        let mut log = LogStore::new(store);
        log.purge(openraft::testing::log_id(9, 1, 1_000)).await.expect("cut");
        drop(log);
        closing.wait(Duration::from_secs(5)).await;
    }
    cluster.run(follower).await;
    let (_, next) = cluster.commit(2).await;
    cluster.applied(follower, next.index).await;
}

//! `cargo xtask bench leader`: from the death of a leader to the next acknowledged write.
//!
//! Three agents as packaged, standard profile, and Debian's etcd with the same heartbeat and the
//! same shortest election time-out, side by side and in turn: the leader is killed (`kill -9`), and
//! from then on a new write is begun every 20 ms at one of the other two, each on a connection of its
//! own. What counts is when the first of them was acknowledged.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration_tests::v1::{CreateVipRequest, UpdateVipRequest, VipAddress, VipSpec};
use integration_tests::{Binaries, ByHand, Etcd, Profile};

use super::load;

/// The VIP that is written: defined, and placed nowhere, so that a write is a log entry and no more.
const WRITTEN: &str = "written";
const HEARTBEAT: Duration = Duration::from_millis(100);
/// The standard profile draws from 500 to 800 ms, etcd from its election time-out to twice that.
const ELECTION: Duration = Duration::from_millis(500);
const PACE: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(20);

/// How the death of a leader is measured.
#[derive(clap::Args)]
pub(crate) struct LeaderArgs {
    /// How often each leader is killed
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// 3 runs
    #[arg(long)]
    quick: bool,
    /// Leave out of the result that etcd was faster: only print it
    #[arg(long)]
    no_fail: bool,
}

/// Measures.
pub(super) fn run(args: &LeaderArgs) -> Result<()> {
    let runs = if args.quick { 3 } else { args.runs };
    // The first to ask decides which build it is.
    println!("measuring {}", Binaries::of(Profile::Packaged).vipfence.display());
    let version = Etcd::version();
    let mut etcd = version.as_ref().ok().map(|_| Etcd::start(HEARTBEAT, ELECTION));
    let mut cluster = ByHand::members("standard");
    define(&cluster)?;
    println!("load: {}", load());
    let (mut ours, mut theirs) = (vec![], vec![]);
    for run in 1..=runs {
        ours.push(our_leader_dies(&mut cluster)?);
        if let Some(etcd) = &mut etcd {
            theirs.push(etcd_leader_dies(etcd)?);
        }
        println!("run {run} of {runs}: {:?}, etcd {:?}", ours.last(), theirs.last());
    }
    println!("load: {}\n", load());
    print("vipfence", &mut ours);
    match version {
        Err(remedy) => {
            println!("etcd was not measured: {remedy}");
            return Ok(());
        }
        Ok(version) => print(&format!("etcd {version}"), &mut theirs),
    }
    let kept = median(&ours) <= median(&theirs);
    println!("{}", if kept { "not slower than etcd: kept" } else { "slower than etcd: NOT KEPT" });
    ensure!(kept || args.no_fail, "slower than etcd on this machine");
    Ok(())
}

/// Of sorted figures.
fn median(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn print(what: &str, took: &mut [Duration]) {
    took.sort_unstable();
    let (least, most) = (took.first().copied(), took.last().copied());
    println!(
        "{what:<16} leader killed -> next acknowledged write: median {:.3} s, {:.3} to {:.3} s",
        median(took).as_secs_f64(),
        least.unwrap_or_default().as_secs_f64(),
        most.unwrap_or_default().as_secs_f64(),
    );
}

fn spec() -> VipSpec {
    let address = VipAddress { address: "10.5.1.1".to_owned(), ..VipAddress::default() };
    VipSpec { addresses: vec![address], ..VipSpec::default() }
}

fn define(cluster: &ByHand) -> Result<()> {
    let status = cluster.ready();
    let request = CreateVipRequest {
        name: WRITTEN.to_owned(),
        spec: Some(spec()),
        disabled: true,
        ..CreateVipRequest::default()
    };
    let made = cluster.api(cluster.place(&status.leader)).create_vip(request);
    made.context("a VIP is not defined").map(drop)
}

fn our_leader_dies(cluster: &mut ByHand) -> Result<Duration> {
    let leader = cluster.place(&cluster.ready().leader);
    let others = others(leader).map(|at| cluster.api(at));
    let write = |number: usize| {
        let request =
            UpdateVipRequest { name: WRITTEN.to_owned(), spec: Some(spec()), ..Default::default() };
        others[number % 2].update_vip(request).is_ok()
    };
    let agent = &mut cluster.agents[leader];
    let took = first_acknowledged(|| agent.kill(), write)?;
    cluster.start_again(leader);
    Ok(took)
}

fn etcd_leader_dies(etcd: &mut Etcd) -> Result<Duration> {
    let leader = etcd.ready();
    let others = others(leader);
    let mut dying = etcd.take(leader);
    let write = |number: usize| etcd.put(others[number % 2]);
    let took = first_acknowledged(|| dying.kill(), write)?;
    etcd.start_again(leader);
    Ok(took)
}

fn others(leader: usize) -> [usize; 2] {
    [(leader + 1) % 3, (leader + 2) % 3]
}

/// From the kill to the first write that was begun after it and acknowledged.
fn first_acknowledged(
    kill: impl FnOnce(),
    write: impl Fn(usize) -> bool + Sync,
) -> Result<Duration> {
    let killed = Instant::now();
    kill();
    let first: Mutex<Option<Duration>> = Mutex::new(None);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut number = 0;
        while !done.load(Ordering::Acquire) && killed.elapsed() < LIMIT {
            let (write, first, done) = (&write, &first, &done);
            scope.spawn(move || {
                if !write(number) {
                    return;
                }
                let took = killed.elapsed();
                if let Ok(mut first) = first.lock() {
                    *first = Some(first.map_or(took, |earlier| earlier.min(took)));
                }
                done.store(true, Ordering::Release);
            });
            number += 1;
            thread::sleep(PACE);
        }
    });
    match first.into_inner() {
        Ok(Some(took)) => Ok(took),
        _ => bail!("no write was acknowledged within {LIMIT:?} of the leader's death"),
    }
}

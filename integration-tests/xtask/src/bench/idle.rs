//! `cargo xtask bench idle`: what a cluster that has nothing to do costs.
//!
//! Three agents as packaged, standard profile, against the simulated Azure; measured is the one that
//! leads and holds all VIPs, once with 1 VIP and once with 250, and the leader of Debian's etcd with
//! the same timers. All stand side by side, rest together and are measured over the same time.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration_tests::v1::{
    Candidate, Consistency, CreateVipRequest, GetStatusResponse, VipAddress, VipSpec,
};
use integration_tests::{Binaries, ByHand, Etcd, Profile, wait_until};

use super::load;
use super::usage::{Mark, Usage};

/// How large the packaged program may be.
const BINARY_MIB: f64 = 20.0;
/// Raft timers of the standard profile. etcd draws between the second and twice the second.
const HEARTBEAT: Duration = Duration::from_millis(100);
const ELECTION: Duration = Duration::from_millis(500);
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// How idling is measured.
#[derive(clap::Args)]
pub(crate) struct IdleArgs {
    /// 20 s after 20 quiet seconds, in place of 120 s after 10 quiet minutes
    #[arg(long)]
    quick: bool,
    /// Leave out of the result what is over its promise: only print it
    #[arg(long)]
    no_fail: bool,
}

/// What is promised of so many VIPs.
struct Promise {
    vips: u8,
    resident_mib: f64,
    cpu_percent: f64,
}

const PROMISES: [Promise; 2] = [
    Promise { vips: 1, resident_mib: 20.0, cpu_percent: 0.5 },
    Promise { vips: 250, resident_mib: 40.0, cpu_percent: 2.0 },
];

/// A cluster at rest, of which one node leads and holds everything.
struct Resting<'a> {
    promise: &'a Promise,
    cluster: ByHand,
    leader: usize,
}

/// Measures.
pub(super) fn run(args: &IdleArgs) -> Result<()> {
    let (quiet, over) = if args.quick { (20, 20) } else { (600, 120) };
    // The first to ask decides which build it is.
    let program = &Binaries::of(Profile::Packaged).vipfence;
    println!("measuring {}", program.display());
    let size = mib(std::fs::metadata(program)?.len());
    let etcd = Etcd::version();
    let beside = etcd.as_ref().ok().map(|_| Etcd::start(HEARTBEAT, ELECTION));
    let resting = PROMISES.iter().map(Resting::of).collect::<Result<Vec<_>>>()?;
    println!("load: {}; all is quiet for {quiet} s", load());
    thread::sleep(Duration::from_secs(quiet));
    let etcd_leader = beside.as_ref().map(Etcd::ready);
    let mut marks = resting.iter().map(Resting::mark).collect::<Result<Vec<_>>>()?;
    if let (Some(etcd), Some(leader)) = (&beside, etcd_leader) {
        marks.push(Mark::of(etcd.pid(leader))?);
    }
    thread::sleep(Duration::from_secs(over));
    let usages = marks.iter().map(Mark::usage).collect::<Result<Vec<_>>>()?;
    println!("load: {}\n", load());
    // Whoever lost its office meanwhile was not what is promised.
    resting.iter().try_for_each(Resting::still_leads)?;

    println!(
        "{:<44} {:>19} {:>19}",
        "leader and holder in one, at rest", "resident", "of one core"
    );
    let mut kept = resting.iter().zip(&usages).fold(true, |kept, (one, usage)| {
        let promise = one.promise;
        let good =
            usage.resident_mib <= promise.resident_mib && usage.cpu_percent <= promise.cpu_percent;
        let vips = if promise.vips == 1 { "1 VIP" } else { "250 VIPs" };
        print(vips, usage, Some(promise));
        kept && good
    });
    match (etcd, usages.get(PROMISES.len())) {
        (Ok(version), Some(usage)) => print(&format!("leader of etcd {version}"), usage, None),
        (Err(remedy), _) => println!("etcd was not measured: {remedy}"),
        (Ok(_), None) => bail!("etcd was started and not measured"),
    }
    println!("\nthe program: {size:.1} MiB (asked: at most {BINARY_MIB:.0})");
    kept &= size <= BINARY_MIB;
    ensure!(kept || args.no_fail, "not all promises are kept on this machine");
    Ok(())
}

fn print(what: &str, usage: &Usage, promise: Option<&Promise>) {
    let asked = |limit: Option<f64>| limit.map_or(String::new(), |limit| format!("/ {limit}"));
    println!(
        "{what:<44} {:>8.1} {:<6} MiB {:>10.2} {:<6} %   (anonymous {:.1} MiB, over {:.0} s)",
        usage.resident_mib,
        asked(promise.map(|promise| promise.resident_mib)),
        usage.cpu_percent,
        asked(promise.map(|promise| promise.cpu_percent)),
        usage.anonymous_mib,
        usage.over.as_secs_f64(),
    );
}

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl<'a> Resting<'a> {
    /// Starts a cluster and puts all VIPs on its leader.
    fn of(promise: &'a Promise) -> Result<Self> {
        let cluster = ByHand::members("standard");
        let status = cluster.ready();
        let leader = cluster.place(&status.leader);
        for number in 1..=promise.vips {
            let request = definition(number, &status.leader);
            wait_until("a VIP is defined", Duration::from_secs(60), || {
                cluster.api(leader).create_vip(request.clone()).map_err(|error| error.to_string())
            });
        }
        let resting = Self { promise, cluster, leader };
        resting.cluster.status(leader, |status| resting.is_at_rest(status));
        Ok(resting)
    }

    fn is_at_rest(&self, status: &GetStatusResponse) -> bool {
        let name = NAMES[self.leader];
        status.leader == name
            && status.vips.len() == usize::from(self.promise.vips)
            && status.vips.iter().all(|vip| vip.holder == name && vip.current_move.is_none())
    }

    fn mark(&self) -> Result<Mark> {
        self.still_leads()?;
        Mark::of(self.cluster.agents[self.leader].pid())
    }

    fn still_leads(&self) -> Result<()> {
        let status = self.cluster.api(self.leader).status(Consistency::Linearizable);
        let status = status.context("the cluster does not answer")?;
        ensure!(self.is_at_rest(&status), "the cluster did not rest: another leader or holder");
        Ok(())
    }
}

fn definition(number: u8, on: &str) -> CreateVipRequest {
    let candidates = NAMES.map(|node| Candidate { node: node.to_owned(), priority: 1 });
    CreateVipRequest {
        name: format!("v{number:03}"),
        spec: Some(VipSpec {
            addresses: vec![VipAddress {
                address: format!("10.5.1.{number}"),
                ..VipAddress::default()
            }],
            candidates: candidates.to_vec(),
            ..VipSpec::default()
        }),
        target_node: on.to_owned(),
        // A repetition is safe.
        request_id: format!("bench-{number}"),
        ..CreateVipRequest::default()
    }
}

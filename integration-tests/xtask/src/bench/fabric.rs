//! `cargo xtask bench fabric`: how long clients wait, with real kernel addresses and real links.
//!
//! One cluster of release builds in network namespaces, fast profile, operations of 2 s. A client
//! sends a datagram every 10 ms; every figure is what it saw. All the while I1 is proved by the
//! kernels' own events. With `--balancer` the VIP is behind a load balancer, which probes every 5 s. What the fabric itself adds (its routes follow the simulator by one
//! transaction of nft) is printed beside the figures, and not taken off.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use integration_tests::{
    Binaries, Blow, ClusterOptions, Dice, FabricCluster, Outcome, Profile, enclose_this_program,
    failover, leader_dies, partition, planned_move, stir,
};

use super::keepalived;

const OPERATION: Duration = Duration::from_secs(2);
/// Of the fast profile.
const FAILOVER_AFTER: Duration = Duration::from_secs(3);
const LEASE_WAIT: Duration = Duration::from_millis(5_611);
/// An election: what the slowest of three nodes waits, and another's vote.
const ELECTION: Duration = Duration::from_millis(900);
const PARTED: Duration = Duration::from_secs(25);

/// Three failures of a check every 0.5 s.
const DETECTION: Duration = Duration::from_millis(1_500);
/// A load balancer notices a change with the second probe, at most.
const TWO_PROBES: Duration = Duration::from_secs(10);
const PROBE_PORT: u16 = 63_001;

/// How the fabric is measured.
#[derive(clap::Args)]
pub(crate) struct FabricArgs {
    /// How often; medians count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Measure nothing: stir a cluster at random for so many minutes, and prove I1
    /// (VIPFENCE_SEED repeats the faults)
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["rounds", "only"])]
    chaos: Option<u32>,
    /// The VIP is behind a load balancer that follows the holder's answers to its probe
    #[arg(long, conflicts_with = "chaos")]
    balancer: bool,
    /// Measure keepalived with a script that moves the address in Azure, once, for comparison
    #[arg(long, conflicts_with_all = ["rounds", "only", "chaos", "balancer"])]
    keepalived: bool,
    /// Leave out of the result what is over its promise: only print it
    #[arg(long)]
    no_fail: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Somebody moves the VIP
    Planned,
    /// kill -9 of the holder's agent
    Killed,
    /// The link of the holder is cut
    Cut,
    /// Every process of the holder is stopped
    Stopped,
    /// kill -9 of the service behind the VIP; its node lives
    Service,
    /// kill -9 of holder and leader in one
    Both,
    /// The holder is parted from its peers; all reach Azure
    Parted,
    /// kill -9 of a leader that holds nothing
    Leader,
}

const PARTS: [Part; 8] = [
    Part::Planned,
    Part::Killed,
    Part::Cut,
    Part::Stopped,
    Part::Service,
    Part::Both,
    Part::Parted,
    Part::Leader,
];

impl Part {
    fn what(self) -> &'static str {
        match self {
            Self::Planned => "planned move: outage",
            Self::Killed => "kill -9 of the holder's agent: until another answers",
            Self::Cut => "link of the holder cut: the same",
            Self::Stopped => "all processes of the holder stopped: the same",
            Self::Service => "kill -9 of the service behind the VIP: outage",
            Self::Both => "kill -9 of holder and leader in one: the same",
            Self::Parted => "25 s partition, all reach Azure: the same",
            Self::Leader => "kill -9 of a leader without VIPs: outage",
        }
    }

    /// What Azure and the timers alone take.
    fn floor(self, balanced: bool) -> Duration {
        let failover = LEASE_WAIT.max(FAILOVER_AFTER + 2 * OPERATION);
        match self {
            // Any answer to the very next probe would do.
            Self::Planned if balanced => Duration::ZERO,
            Self::Service if balanced => DETECTION,
            _ if balanced => LEASE_WAIT.max(FAILOVER_AFTER),
            Self::Planned => OPERATION,
            Self::Service => DETECTION + 2 * OPERATION,
            Self::Killed | Self::Cut | Self::Stopped => failover,
            Self::Both | Self::Parted => failover + ELECTION,
            Self::Leader => Duration::ZERO,
        }
    }

    /// What is promised.
    fn promise(self, balanced: bool) -> Option<Duration> {
        let failover = LEASE_WAIT.max(FAILOVER_AFTER + (2 * OPERATION).mul_f64(1.1));
        let failover = failover + Duration::from_millis(500);
        match self {
            Self::Planned if balanced => Some(TWO_PROBES),
            Self::Service if balanced => Some(DETECTION + TWO_PROBES),
            _ if balanced => Some(LEASE_WAIT.max(FAILOVER_AFTER) + TWO_PROBES),
            Self::Service => {
                Some(DETECTION + (2 * OPERATION).mul_f64(1.1) + Duration::from_millis(500))
            }
            Self::Planned => Some(OPERATION.mul_f64(1.1) + Duration::from_millis(200)),
            Self::Killed | Self::Cut | Self::Stopped => Some(failover),
            // An election more; nothing is promised of the partition but that there are never two
            // holders.
            Self::Both => Some(failover + ELECTION),
            Self::Parted | Self::Leader => None,
        }
    }

    fn measure(self, cluster: &FabricCluster) -> Outcome {
        let hit = |blow| {
            let (_, holder) = cluster.leader_apart();
            failover(cluster, &holder, blow)
        };
        match self {
            Self::Planned => {
                let holder = cluster.vip().holder;
                planned_move(cluster, &cluster.another(&[&holder]))
            }
            Self::Killed => hit(Blow::KillAgent),
            Self::Cut => hit(Blow::CutLink),
            Self::Stopped => hit(Blow::FreezeNode),
            Self::Service => hit(Blow::KillService),
            Self::Both => failover(cluster, &cluster.leader_holds(), Blow::KillAgent),
            Self::Parted => partition(cluster, &cluster.leader_holds(), PARTED),
            Self::Leader => {
                let (leader, _) = cluster.leader_apart();
                leader_dies(cluster, &leader, Duration::from_secs(6))
            }
        }
    }

    /// The figure that counts.
    fn figure(self, outcome: &Outcome) -> Duration {
        match self {
            Self::Planned | Self::Leader | Self::Service => outcome.outage,
            Self::Killed | Self::Cut | Self::Stopped | Self::Both | Self::Parted => {
                outcome.replaced_after
            }
        }
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Measures, or stirs.
pub(crate) fn run(args: &FabricArgs) -> Result<()> {
    let built = Binaries::of(Profile::Release);
    match enclose_this_program(built) {
        Ok(None) => {}
        Ok(Some(0)) => return Ok(()),
        Ok(Some(code)) => bail!("it ended with {code}"),
        Err(why) => bail!("{why}"),
    }
    if let Some(minutes) = args.chaos {
        let options =
            ClusterOptions { operation: Duration::from_millis(500), ..ClusterOptions::default() };
        let length = Duration::from_secs(60 * u64::from(minutes));
        let turmoil = stir(FabricCluster::start(&options), &mut Dice::new(), length);
        println!("{turmoil:#?}\nno two nodes had the address at once, and the cluster settled");
        return Ok(());
    }
    if args.keepalived {
        let seen = keepalived::measure(OPERATION)?;
        println!(
            "keepalived and a script: planned move {:.1?}, link cut {:.1?}; partition of 25 s: two \
             holders for {:.1?}, afterwards {}",
            seen.planned,
            seen.cut,
            seen.two_holders,
            if seen.healed { "served" } else { "NOT served" }
        );
        return Ok(());
    }
    println!("measuring {}", built.vipfence.display());
    measure(args)
}

fn measure(args: &FabricArgs) -> Result<()> {
    let probe_port = args.balancer.then_some(PROBE_PORT);
    let cluster = FabricCluster::start(&ClusterOptions {
        probe_port,
        checked: true,
        ..ClusterOptions::default()
    });
    let all = if args.balancer { &PARTS[..5] } else { &PARTS[..] };
    let wanted = |part: &&Part| args.only.is_empty() || args.only.contains(part);
    let parts: Vec<Part> = all.iter().filter(wanted).copied().collect();
    let mut measured: Vec<Vec<Outcome>> = vec![Vec::new(); parts.len()];
    for round in 1..=args.rounds {
        for (part, into) in parts.iter().zip(&mut measured) {
            let outcome = part.measure(&cluster);
            println!("round {round}  {part:?}  {outcome:.2?}");
            into.push(outcome);
        }
    }
    let lag: Vec<Duration> = cluster.fabric.rerouted().iter().map(|change| change.took).collect();
    let slowest = lag.iter().max().copied().unwrap_or_default();
    let moves = cluster.proves_one_holder().passed_through().len() - 1;
    println!(
        "\n{:<56} {:>8} {:>8} {:>8} {:>8} {:>6}",
        "", "asked", "median", "worst", "outage", "ratio"
    );
    let mut kept = true;
    for (part, outcomes) in parts.iter().zip(&measured) {
        kept &= print(*part, args.balancer, outcomes);
    }
    println!("\n{moves} times the address came to another node; never did two have it.");
    println!(
        "The fabric followed Azure within {:.1?} (median), {slowest:.1?} at most.",
        median(lag)
    );
    ensure!(kept || args.no_fail, "not all promises are kept on this machine");
    Ok(())
}

/// One line; whether its promise is kept.
fn print(part: Part, balanced: bool, outcomes: &[Outcome]) -> bool {
    let figures: Vec<Duration> = outcomes.iter().map(|outcome| part.figure(outcome)).collect();
    let worst = figures.iter().max().copied().unwrap_or_default();
    let (median_figure, asked) = (median(figures), part.promise(balanced));
    let outage = median(outcomes.iter().map(|outcome| outcome.outage).collect());
    let lost: usize = outcomes.iter().map(|outcome| outcome.lost).sum();
    let kept = match part {
        Part::Leader => lost == 0,
        _ => asked.is_none_or(|asked| median_figure <= asked),
    };
    let floor = part.floor(balanced).as_secs_f64();
    let ratio = if floor > 0.0 {
        format!("{:.2}", median_figure.as_secs_f64() / floor)
    } else {
        format!("{lost} lost")
    };
    println!(
        "{:<56} {:>8} {:>6.2} s {:>6.2} s {:>6.2} s {ratio:>6}  {}",
        part.what(),
        asked.map(|asked| format!("{:.2} s", asked.as_secs_f64())).unwrap_or_default(),
        median_figure.as_secs_f64(),
        worst.as_secs_f64(),
        outage.as_secs_f64(),
        if kept { "kept" } else { "NOT KEPT" }
    );
    kept
}

//! `cargo xtask bench azure`: what a move costs in Azure, over what the operations themselves take.
//!
//! Real agents against the simulated Azure (`vipfence dev`). Every figure is computed from the
//! simulator's journal, reads included: from the acceptance of the first PUT to the GET that shows
//! the attach as done. The floor is what the detach and the attach took from accept to effect.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration_tests::v1::{
    Candidate, Consistency, CreateVipRequest, ListVipsRequest, MoveVipRequest, Phase, Vip,
    VipAddress, VipSpec,
};
use integration_tests::{Api, Binaries, Dev, DevOptions, Profile, Simulator, VIP};
use serde_json::json;

use super::journal::{Span, seconds, span, told};
use super::load;

/// How many VIPs die with a node.
const MANY: u8 = 250;
/// What one VIP may cost over the floor when the many do: 1.2 times.
const MANY_RATIO: f64 = 1.2;
/// How many callers define them at once.
const CALLERS: u8 = 4;
const LOOK: Duration = Duration::from_millis(200);

/// What others take, for comparison: measured elsewhere with real clients, not by this command.
const COMPARISON: [(&str, f64); 2] =
    [("az in a script (NEC style), 2 s operations", 5.9), ("Python SDK, 2 s operations", 5.0)];

/// How moves are measured.
#[derive(clap::Args)]
pub(crate) struct AzureArgs {
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// One run of each part, no operations above 10 s
    #[arg(long)]
    quick: bool,
    /// Leave out of the result what is over its promise: only print it
    #[arg(long)]
    no_fail: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// One VIP, operations of 0.2 s
    #[value(name = "0.2s")]
    Fifth,
    #[value(name = "2s")]
    Two,
    #[value(name = "10s")]
    Ten,
    #[value(name = "45s")]
    FortyFive,
    /// The address is free as soon as the detach is accepted
    #[value(name = "10s-freed")]
    TenFreed,
    #[value(name = "45s-freed")]
    FortyFiveFreed,
    /// 250 VIPs of a node that dies, to one node
    #[value(name = "250")]
    Many,
    /// The same, to four nodes
    #[value(name = "250-to-4")]
    ManyToFour,
}

/// One VIP: how it is moved, and what is promised.
struct Single {
    part: Part,
    operation_ms: u64,
    freed_at_accept: bool,
    runs: u32,
    limit: f64,
}

const SINGLES: [Single; 6] = [
    Single { part: Part::Fifth, operation_ms: 200, freed_at_accept: false, runs: 7, limit: 1.6 },
    Single { part: Part::Two, operation_ms: 2_000, freed_at_accept: false, runs: 5, limit: 1.1 },
    Single { part: Part::Ten, operation_ms: 10_000, freed_at_accept: false, runs: 3, limit: 1.1 },
    Single {
        part: Part::FortyFive,
        operation_ms: 45_000,
        freed_at_accept: false,
        runs: 3,
        limit: 1.1,
    },
    Single {
        part: Part::TenFreed,
        operation_ms: 10_000,
        freed_at_accept: true,
        runs: 3,
        limit: 0.65,
    },
    Single {
        part: Part::FortyFiveFreed,
        operation_ms: 45_000,
        freed_at_accept: true,
        runs: 3,
        limit: 0.65,
    },
];

/// Runs of longer operations stand side by side, each with a cluster of its own: they wait.
const SIDE_BY_SIDE_FROM_MS: u64 = 45_000;

/// One line of the result.
struct Row {
    what: String,
    asked: f64,
    measured: Vec<Span>,
    /// Ratios, where the floor is not the span's own.
    ratios: Vec<f64>,
    /// PUTs that Azure may accept.
    puts: usize,
}

impl Row {
    fn median(&self) -> f64 {
        let mut sorted = self.ratios.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::INFINITY)
    }

    fn is_kept(&self) -> bool {
        self.median() <= self.asked && self.measured.iter().all(|span| span.accepted <= self.puts)
    }

    fn print(&self) {
        let all: Vec<String> = self.ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
        let puts = |of: fn(&Span) -> usize| self.measured.iter().map(of).max().unwrap_or_default();
        let mut took: Vec<u64> = self.measured.iter().map(|span| span.took_ms).collect();
        took.sort_unstable();
        let took = took.get(took.len() / 2).copied().unwrap_or_default();
        println!(
            "{:<42} {:>5.2} {:>7.3} {:>8.2} s {:>5}/{} {:>8}  {:<8} {}",
            self.what,
            self.asked,
            self.median(),
            seconds(took),
            puts(|span| span.accepted),
            self.puts,
            puts(|span| span.refused),
            if self.is_kept() { "kept" } else { "NOT KEPT" },
            all.join(" ")
        );
    }
}

/// Measures.
pub(super) fn run(args: &AzureArgs) -> Result<()> {
    // The first to ask decides which build it is.
    println!("measuring {}", Binaries::of(Profile::Release).vipfence.display());
    println!("load: {}", load());
    let wanted = |part: Part| {
        let named = args.only.is_empty() || args.only.contains(&part);
        let long = matches!(part, Part::FortyFive | Part::FortyFiveFreed);
        named && !(args.quick && long && args.only.is_empty())
    };
    let mut rows = Vec::new();
    for single in SINGLES.iter().filter(|single| wanted(single.part)) {
        rows.push(one_vip(single, if args.quick { 1 } else { single.runs })?);
        rows.last().into_iter().for_each(Row::print);
    }
    for (part, receivers) in [(Part::Many, 1), (Part::ManyToFour, 4)] {
        if wanted(part) {
            rows.push(many_vips(receivers, if args.quick { 2_000 } else { 10_000 })?);
            rows.last().into_iter().for_each(Row::print);
        }
    }
    println!(
        "\n{:<42} {:>5} {:>7} {:>10} {:>7} {:>8}",
        "time over the operations' own", "asked", "median", "median", "PUTs", "refused"
    );
    rows.iter().for_each(Row::print);
    for (what, ratio) in COMPARISON {
        println!("{what:<42} {:>5} {ratio:>7.1}   (not measured here)", "");
    }
    println!("load: {}", load());
    let kept = rows.iter().all(Row::is_kept);
    ensure!(kept || args.no_fail, "not all promises are kept on this machine");
    Ok(())
}

// ---- one VIP ------------------------------------------------------------------------------------

fn one_vip(single: &Single, runs: u32) -> Result<Row> {
    let measured = if single.operation_ms >= SIDE_BY_SIDE_FROM_MS {
        thread::scope(|scope| {
            let all: Vec<_> = (0..runs).map(|_| scope.spawn(|| moves(single, 1))).collect();
            let joined = all.into_iter().map(|run| match run.join() {
                Ok(spans) => spans,
                Err(_) => bail!("a run has failed"),
            });
            joined.collect::<Result<Vec<_>>>()
        })?
        .concat()
    } else {
        moves(single, runs)?
    };
    let freed = if single.freed_at_accept { ", freed at accept" } else { "" };
    Ok(Row {
        what: format!("one VIP, operations of {} s{freed}", seconds(single.operation_ms)),
        asked: single.limit,
        ratios: measured.iter().map(Span::ratio).collect(),
        measured,
        puts: 2,
    })
}

/// Moves the VIP of `vipfence dev` to and fro.
fn moves(single: &Single, runs: u32) -> Result<Vec<Span>> {
    let dev = Dev::start(DevOptions::quick());
    dev.settled();
    set(&dev.simulator(), single.operation_ms, single.freed_at_accept);
    (0..runs).map(|_| one_move(&dev, single.operation_ms)).collect()
}

fn one_move(dev: &Dev, operation_ms: u64) -> Result<Span> {
    let simulator = dev.simulator();
    let vip = dev.vip();
    let address = vip.spec.into_iter().flat_map(|spec| spec.addresses).next();
    let address = vec![address.context("the VIP has an address")?.address];
    let after = simulator.last_entry();
    let target = dev.names_but(&[&vip.holder]).remove(0);
    let request =
        MoveVipRequest { vip: VIP.into(), target_node: target, ..MoveVipRequest::default() };
    dev.any_api().move_vip(request)?;
    let limit = Duration::from_millis(operation_ms * 4) + Duration::from_secs(30);
    let found =
        until("the VIP is moved", limit, || span(&simulator.journal_after(after), &address));
    let found = found?;
    // The seals in the background belong to this move, and must not meet the next.
    until("the VIP is at rest", limit, || {
        let vip = dev.vip();
        (vip.phase() == Phase::Held && vip.current_move.is_none()).then_some(())
    })?;
    quiet(&simulator, limit)?;
    Ok(found)
}

/// Operations of this length from now on, and reads in the journal.
fn set(simulator: &Simulator, operation_ms: u64, freed_at_accept: bool) {
    let freed = if freed_at_accept { "at_accept" } else { "at_completion" };
    let changes =
        json!({"operation_ms": operation_ms, "journal_reads": true, "address_freed": freed});
    simulator.command(&json!({"command": "change_settings", "changes": changes}));
}

/// Waits until no NIC was written for a second and a half.
fn quiet(simulator: &Simulator, limit: Duration) -> Result<()> {
    let mut last = (0, Instant::now());
    until("nothing is written any more", limit, || {
        let writes = simulator.writes_after(0).len();
        if writes != last.0 {
            last = (writes, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(1_500)).then_some(())
    })
}

fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = ask() {
            return Ok(found);
        }
        ensure!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        thread::sleep(LOOK);
    }
}

// ---- 250 VIPs -----------------------------------------------------------------------------------

/// All VIPs of a node that is killed.
fn many_vips(receivers: usize, operation_ms: u64) -> Result<Row> {
    let nodes = if receivers == 1 { 3 } else { 5 };
    let options = DevOptions { nodes, profile: Some("standard"), ..DevOptions::quick() };
    let dev = Dev::start(options);
    let leader = dev.settled().leader;
    // The one that dies neither leads nor holds the VIP of `vipfence dev`.
    let mut others = dev.names_but(&[&leader]);
    let dead = others.remove(0);
    if dev.holder() == dead {
        dev.move_to(&leader);
        dev.settled();
    }
    let to: Vec<String> = others.into_iter().chain([leader]).take(receivers).collect();
    let simulator = dev.simulator();
    set(&simulator, 100, false);
    define(&dev, &dead, &to)?;
    let spec = Duration::from_secs(180);
    until("all VIPs are held", spec, || all_at_rest(&dev, |vip| vip.holder == dead))?;
    quiet(&simulator, spec)?;
    println!("    {MANY} VIPs are held by {dead}; load: {}", load());
    // The budget of requests is what it is when nothing has happened for a while.
    thread::sleep(Duration::from_secs(12));

    set(&simulator, operation_ms, false);
    let one = one_move_without(&dev, &dead, operation_ms)?;
    let after = simulator.last_entry();
    dev.kill(&dead);
    let limit = Duration::from_millis(operation_ms * 6) + Duration::from_secs(90);
    let addresses: Vec<String> = (1..=MANY).map(address).collect();
    let found =
        until("all VIPs are moved", limit, || span(&simulator.journal_after(after), &addresses))?;
    until("all VIPs are held", limit, || all_at_rest(&dev, |vip| to.contains(&vip.holder)))?;
    for line in told(&simulator.journal_after(after)) {
        println!("    {line}");
    }
    let ratio = seconds(found.took_ms) / seconds(one.took_ms.max(1));
    println!("    one VIP: {:.2} s; {MANY}: {:.2} s", seconds(one.took_ms), seconds(found.took_ms));
    Ok(Row {
        what: format!("{MANY} VIPs to {receivers} NIC(s), over one VIP"),
        asked: MANY_RATIO,
        ratios: vec![ratio],
        measured: vec![found],
        puts: receivers + 1,
    })
}

/// Moves the VIP of `vipfence dev` between nodes that go on living.
fn one_move_without(dev: &Dev, dead: &str, operation_ms: u64) -> Result<Span> {
    let before = dev.vip().holder;
    ensure!(before != dead, "the VIP of dev is where it should not be");
    let found = one_move(dev, operation_ms)?;
    if dev.vip().holder == dead {
        let target = dev.names_but(&[dead]).remove(0);
        dev.move_to(&target);
        quiet(&dev.simulator(), Duration::from_secs(60))?;
    }
    Ok(found)
}

fn name(number: u8) -> String {
    format!("v{number:03}")
}

fn address(number: u8) -> String {
    format!("10.5.1.{number}")
}

/// Defines the VIPs on one node, each with one other node that may take it.
fn define(dev: &Dev, on: &str, to: &[String]) -> Result<()> {
    let api = dev.any_api();
    thread::scope(|scope| {
        let caller = |first: u8| {
            let api = &api;
            move || -> Result<()> {
                for number in (first..=MANY).step_by(usize::from(CALLERS)) {
                    let receiver = &to[usize::from(number) % to.len()];
                    define_one(api, number, on, receiver)?;
                }
                Ok(())
            }
        };
        let all: Vec<_> = (1..=CALLERS).map(|first| scope.spawn(caller(first))).collect();
        for one in all {
            match one.join() {
                Ok(done) => done?,
                Err(_) => bail!("a caller has failed"),
            }
        }
        Ok(())
    })
}

fn define_one(api: &Api, number: u8, on: &str, receiver: &str) -> Result<()> {
    let candidate = |node: &str, priority| Candidate { node: node.to_owned(), priority };
    let spec = VipSpec {
        addresses: vec![VipAddress { address: address(number), ..VipAddress::default() }],
        candidates: vec![candidate(on, 10), candidate(receiver, 5)],
        ..VipSpec::default()
    };
    let request = CreateVipRequest {
        name: name(number),
        spec: Some(spec),
        target_node: on.to_owned(),
        request_id: format!("bench-{number}"),
        ..CreateVipRequest::default()
    };
    let mut last = String::new();
    // The id makes a repetition safe.
    until("a VIP is defined", Duration::from_secs(60), || match api.create_vip(request.clone()) {
        Ok(_) => Some(()),
        Err(status) => {
            last = format!("{status:?}");
            None
        }
    })
    .with_context(|| last.clone())
}

/// Whether the many are held where they should be, with nothing under way.
fn all_at_rest(dev: &Dev, there: impl Fn(&Vip) -> bool) -> Option<()> {
    thread::sleep(Duration::from_millis(500));
    let request =
        ListVipsRequest { consistency: Consistency::Local.into(), ..ListVipsRequest::default() };
    let leader = dev.leader();
    let vips = dev.api(&leader).list_vips(request).ok()?.vips;
    let mut many = vips.iter().filter(|vip| vip.name != VIP);
    let at_rest =
        |vip: &Vip| vip.phase() == Phase::Held && vip.current_move.is_none() && there(vip);
    (vips.len() > usize::from(MANY) && many.all(at_rest)).then_some(())
}

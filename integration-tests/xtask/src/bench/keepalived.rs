//! For comparison: keepalived with a notify script that moves the address in Azure, on the same
//! fabric. What many run today.
//!
//! Two nodes, VRRP over unicast (Azure has no multicast), one advertisement a second, no preemption.
//! The script makes az's requests and waits as Azure asks, without az's own start-up time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::{Fabric, Fault, GROUP, Process, VIPS, eventually};
use rustix::process::Signal;

const NODES: [&str; 2] = ["n1", "n2"];
const ARM: &str = "http://192.0.2.10:8600";
const KEEPALIVED: &str = "/usr/sbin/keepalived";
/// Until VRRP and the scripts have come to rest.
const REST: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(90);

struct Peers {
    fabric: Fabric,
    folder: PathBuf,
    keepalived: Vec<Process>,
    /// The services, and the scripts.
    _others: Vec<Process>,
}

/// What a client of it saw.
pub(super) struct Seen {
    pub(super) planned: Duration,
    pub(super) cut: Duration,
    /// For how long two nodes had the address.
    pub(super) two_holders: Duration,
    /// Whether the VIP still answered 30 s after the partition had healed.
    pub(super) healed: bool,
}

fn config(fifo: &Path, fabric: &Fabric, at: usize) -> String {
    let [own, other] = [NODES[at], NODES[1 - at]].map(|node| fabric.address(node));
    let (vip, priority, fifo) = (VIPS[0], 150 - 50 * at, fifo.display());
    format!(
        "global_defs {{\n  vrrp_notify_fifo {fifo}\n}}\n\
         vrrp_instance vip {{\n  state BACKUP\n  nopreempt\n  interface eth0\n  \
         virtual_router_id 51\n  priority {priority}\n  advert_int 1\n  \
         unicast_src_ip {own}\n  unicast_peer {{\n    {other}\n  }}\n  \
         virtual_ipaddress {{\n    {vip}/32 dev eth0\n  }}\n}}\n"
    )
}

impl Peers {
    fn start(folder: &Path, operation: Duration) -> Result<Self> {
        let fabric = Fabric::start(&NODES, 1, operation);
        let mut others: Vec<Process> = NODES.iter().map(|node| fabric.echo(node)).collect();
        for (at, node) in NODES.iter().enumerate() {
            let fifo = folder.join(format!("{node}.fifo"));
            let text = config(&fifo, &fabric, at);
            std::fs::write(folder.join(format!("{node}.conf")), text).context("a file")?;
            others.push(notified(&fabric, node, &fifo));
        }
        let folder = folder.to_path_buf();
        Ok(Self { fabric, folder, keepalived: Vec::new(), _others: others })
    }

    fn keepalived(&self, node: &str) -> Process {
        let file = |kind: &str| self.folder.join(format!("{node}.{kind}"));
        let mut command = Command::new(KEEPALIVED);
        command.args(["--dont-fork", "--log-console", "--vrrp"]);
        command.arg("--use-file").arg(file("conf")).arg("--pid").arg(file("pid"));
        command.arg("--vrrp_pid").arg(file("vrrp.pid"));
        self.fabric.namespace(node).start(&format!("keepalived of {node}"), command)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // Of SIGKILL its child would not die.
        for keepalived in &mut self.keepalived {
            keepalived.signal(Signal::TERM);
            keepalived.end(PATIENCE);
        }
    }
}

/// Runs the script whenever keepalived becomes master, as `notify_master` would: keepalived itself
/// starts no script in a user namespace (it calls setgroups).
fn notified(fabric: &Fabric, node: &str, fifo: &Path) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../judges/az_move.py");
    let nic = format!("{GROUP}/providers/Microsoft.Network/networkInterfaces/{node}-nic");
    let mut command = Command::new("sh");
    let reader = "mkfifo \"$1\" && exec 3<>\"$1\" && while read -r _ _ state _ <&3; do \
                  [ \"$state\" = MASTER ] && python3 \"$2\" \"$3\" \"$4\" \"$5\"; done";
    command.args(["-c", reader, "sh"]).arg(fifo).arg(script);
    command.args([ARM, &nic, &VIPS[0].to_string()]);
    fabric.namespace(node).start(&format!("script of {node}"), command)
}

/// Waits until so much time has gone.
fn pass(time: Duration) {
    let start = Instant::now();
    eventually("time passes", time * 2, || start.elapsed() >= time);
}

/// Measures it once.
pub(super) fn measure(operation: Duration) -> Result<Seen> {
    ensure!(Path::new(KEEPALIVED).exists(), "there is no {KEEPALIVED}: apt-get install keepalived");
    let folder = tempfile::TempDir::new()?;
    let mut peers = Peers::start(folder.path(), operation)?;
    let observer = peers.fabric.observer();
    for node in NODES {
        let process = peers.keepalived(node);
        peers.keepalived.push(process);
    }
    let pinger = peers.fabric.pinger(VIPS[0]);
    pinger.answer(Instant::now(), PATIENCE, |node| node == "n1");

    println!("planned: the holder is told to stop, and gives way at once");
    let told = Instant::now();
    peers.keepalived[0].signal(Signal::TERM);
    let planned = pinger.answer(told, PATIENCE, |node| node == "n2") - told;
    peers.keepalived[0] = peers.keepalived("n1");
    pass(REST);

    println!("the link of the holder is cut");
    let cut_at = Instant::now();
    peers.fabric.suffer([Fault::Cut("n2".to_owned())]);
    let cut = pinger.answer(cut_at, PATIENCE, |node| node == "n1") - cut_at;
    let one_by_one = observer.so_far().time_with_two();
    peers.fabric.heal();
    pass(REST);
    println!("(meanwhile two had it for {one_by_one:.1?})");

    println!("25 s partition, both reach Azure");
    peers.fabric.suffer(Fault::between("n1", "n2"));
    pass(Duration::from_secs(25));
    peers.fabric.heal();
    pass(Duration::from_secs(30));
    let two_holders = observer.so_far().time_with_two().saturating_sub(one_by_one);
    let end = Instant::now();
    let answers = pinger.stop().0.into_iter().filter_map(|ping| ping.answer);
    let last = answers.map(|(at, _)| at).max();
    let healed = last.is_some_and(|last| end.saturating_duration_since(last) < REST);
    Ok(Seen { planned, cut, two_holders, healed })
}

//! A running `vipfence dev`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use vipfence_proto::v1::{Consistency, GetStatusResponse, NodeState, Phase, Vip};

use crate::process::send;
use crate::{
    Api, Binaries, Cli, Grpcurl, HttpAnswer, Manifest, ManifestNode, Observer, Prober, Process,
    Simulator, get, wait_until,
};

/// The VIP that `vipfence dev` makes.
pub const VIP: &str = "demo";

/// Generous: a debug build on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A failover with all its seals, twice over.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);

/// A seal is two requests, begun right after the VIP is held.
const QUIET_FOR: Duration = Duration::from_secs(1);

/// How to start it.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// How many nodes.
    pub nodes: u16,
    /// How long an operation takes.
    pub operation: Duration,
    /// When a dead node is started again; none = not.
    pub restart_after: Option<Duration>,
    /// The folder; none = a temporary one.
    pub dir: Option<PathBuf>,
    /// Goes on with what is in the folder.
    pub keep: bool,
    /// The timers; none = those of `vipfence dev`.
    pub profile: Option<&'static str>,
}

impl Default for DevOptions {
    fn default() -> Self {
        let operation = Duration::from_secs(1);
        Self { nodes: 3, operation, restart_after: None, dir: None, keep: false, profile: None }
    }
}

impl DevOptions {
    /// Operations that take 0.2 s: for tests that measure nothing.
    #[must_use]
    pub fn quick() -> Self {
        Self { operation: Duration::from_millis(200), ..Self::default() }
    }
}

/// A running `vipfence dev`. Goes when it is dropped, and everything that it started goes with it;
/// where a test fails, its folder stays and the ends of its logs are shown.
#[derive(Debug)]
pub struct Dev {
    process: Mutex<Process>,
    /// Nodes that were started by hand, in place of the ones that `dev` started.
    by_hand: Mutex<BTreeMap<String, Process>>,
    dir: PathBuf,
    temporary: Option<TempDir>,
    ready_after: Duration,
}

impl Dev {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready; its output is shown.
    #[must_use]
    pub fn start(options: DevOptions) -> Self {
        let temporary = options.dir.is_none().then(|| TempDir::new().expect("a folder"));
        let dir = match (&options.dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(temporary)) => temporary.path().to_path_buf(),
            (None, None) => unreachable!("one of them is there"),
        };
        let mut command = Command::new(&Binaries::get().vipfence);
        command.args(["dev", "--base-port", "0", "--dir"]).arg(&dir);
        command.args(["--nodes", &options.nodes.to_string()]);
        command.arg("--arm-latency").arg(in_ms(options.operation));
        if let Some(after) = options.restart_after {
            command.arg("--restart-after").arg(in_ms(after));
        }
        if let Some(profile) = options.profile {
            command.args(["--profile", profile]);
        }
        if options.keep {
            command.arg("--keep");
        }
        // One that was killed has left its word behind that it is ready.
        let manifest = dir.join("dev.json");
        let _ = std::fs::remove_file(&manifest);
        let start = Instant::now();
        let mut process = Process::start("vipfence dev", command);
        wait_until("`vipfence dev` is ready", READY_WITHIN, || {
            if let Some(status) = process.ended() {
                panic!("`vipfence dev` has ended: {status}\n{}", process.output());
            }
            if manifest.exists() { Ok(()) } else { Err(process.output()) }
        });
        Self {
            process: Mutex::new(process),
            by_hand: Mutex::default(),
            dir,
            temporary,
            ready_after: start.elapsed(),
        }
    }

    /// How long it took until `dev.json` was there.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All that it has printed.
    #[must_use]
    pub fn output(&self) -> String {
        lock(&self.process).output()
    }

    /// The process of `vipfence dev` itself.
    pub fn process(&self) -> MutexGuard<'_, Process> {
        lock(&self.process)
    }

    /// `dev.json`, as it is now.
    ///
    /// # Panics
    /// If it is not as the contract says.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let text = std::fs::read_to_string(self.dir.join("dev.json")).expect("dev.json");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("dev.json: {error}\n{text}"))
    }

    /// A node.
    ///
    /// # Panics
    /// If there is none of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> ManifestNode {
        let mut nodes = self.manifest().nodes.into_iter();
        nodes.find(|node| node.name == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// The names of the nodes.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.manifest().nodes.into_iter().map(|node| node.name).collect()
    }

    /// The names of the nodes that are none of these.
    #[must_use]
    pub fn names_but(&self, not: &[&str]) -> Vec<String> {
        let mut names = self.names();
        names.retain(|name| !not.contains(&name.as_str()));
        names
    }

    /// Where the VIP is served.
    #[must_use]
    pub fn vip_url(&self) -> String {
        self.manifest().vip.url
    }

    /// The simulated Azure.
    #[must_use]
    pub fn simulator(&self) -> Simulator {
        Simulator::at(&self.manifest().arm.admin)
    }

    /// The API of a node.
    #[must_use]
    pub fn api(&self, node: &str) -> Api {
        Api::at(&self.node(node).grpc)
    }

    /// The API of the first node that answers with a quorum behind it.
    #[must_use]
    pub fn any_api(&self) -> Api {
        let (name, _) = self.answering();
        self.api(&name)
    }

    /// The command line with all nodes as endpoints.
    #[must_use]
    pub fn cli(&self) -> Cli {
        let manifest = self.manifest();
        Cli::of(manifest.nodes.iter().map(|node| node.grpc.as_str()))
    }

    /// The command line with one node as endpoint.
    #[must_use]
    pub fn cli_at(&self, node: &str) -> Cli {
        Cli::of([self.node(node).grpc.as_str()])
    }

    /// Calls a method with grpcurl, at a node.
    pub fn grpcurl(
        &self,
        grpcurl: &Grpcurl,
        node: &str,
        method: &str,
        body: &serde_json::Value,
    ) -> crate::GrpcurlAnswer {
        grpcurl.call(&self.node(node).grpc, method, body)
    }

    /// A client of the VIP.
    #[must_use]
    pub fn prober(&self) -> Prober {
        Prober::start(&self.vip_url())
    }

    /// Somebody who watches all responders.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer::start(&self.manifest().nodes, VIP)
    }

    /// What a node's responder answers for the VIP.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn responder(&self, node: &str) -> std::io::Result<HttpAnswer> {
        get(&format!("{}/{VIP}", self.node(node).responder))
    }

    // ---- what is going on ---------------------------------------------------------------------

    /// The status with a quorum, from the first node that can give it.
    ///
    /// # Panics
    /// If none can within 20 s.
    #[must_use]
    pub fn status(&self) -> GetStatusResponse {
        self.answering().1
    }

    fn answering(&self) -> (String, GetStatusResponse) {
        wait_until("a node answers with a quorum", Duration::from_secs(20), || self.ask_status())
    }

    fn ask_status(&self) -> Result<(String, GetStatusResponse), String> {
        let mut errors = Vec::new();
        for node in self.manifest().nodes {
            // One that is stopped would only cost time.
            if !is_running(self.pid(&node.name)) {
                errors.push(format!("{} is not running", node.name));
                continue;
            }
            match Api::at(&node.grpc).status(Consistency::Linearizable) {
                Ok(status) if status.quorum => return Ok((node.name, status)),
                Ok(status) => errors.push(format!("{}: no quorum: {status:?}", node.name)),
                Err(error) => errors.push(format!("{}: {error}", node.name)),
            }
        }
        Err(errors.join("; "))
    }

    /// The VIP, from the first node that can tell.
    #[must_use]
    pub fn vip(&self) -> Vip {
        let status = self.status();
        status.vips.into_iter().find(|vip| vip.name == VIP).expect("the VIP of dev")
    }

    /// Who holds the VIP.
    #[must_use]
    pub fn holder(&self) -> String {
        self.vip().holder
    }

    /// Who leads.
    #[must_use]
    pub fn leader(&self) -> String {
        self.status().leader
    }

    /// Waits until all nodes are alive, every enabled VIP is held without a move under way, and
    /// nothing is written to NICs any more.
    ///
    /// # Panics
    /// If that does not come about within 40 s.
    pub fn settled(&self) -> GetStatusResponse {
        self.settled_without(&[])
    }

    /// The same, where some nodes are known to be dead.
    ///
    /// # Panics
    /// If that does not come about within 40 s.
    pub fn settled_without(&self, dead: &[&str]) -> GetStatusResponse {
        let simulator = self.simulator();
        let mut quiet = (0, Instant::now());
        wait_until("the cluster has settled", SETTLED_WITHIN, || {
            let (_, status) = self.ask_status()?;
            let not_alive = status.nodes.iter().find(|node| {
                !dead.contains(&node.name.as_str()) && node.state() != NodeState::Alive
            });
            if let Some(node) = not_alive {
                return Err(format!("{} is {:?}: {}", node.name, node.state(), node.detail));
            }
            if let Some(vip) = status.vips.iter().find(|vip| !is_settled(vip)) {
                return Err(format!("{vip:?}"));
            }
            // What the status calls exposed may be sealed already (only the next move takes it
            // out), or be about to be.
            let exposed = status.vips.iter().any(|vip| !vip.exposed_nics.is_empty());
            let written = simulator.writes_after(0).len();
            if written != quiet.0 {
                quiet = (written, Instant::now());
            }
            if exposed && quiet.1.elapsed() < QUIET_FOR {
                return Err("seals may be under way".to_owned());
            }
            Ok(status)
        })
    }

    // ---- what is done to it -------------------------------------------------------------------

    /// The process of a node.
    #[must_use]
    pub fn pid(&self, node: &str) -> u32 {
        let by_hand = lock(&self.by_hand).get(node).map(Process::pid);
        by_hand.unwrap_or_else(|| self.node(node).pid)
    }

    /// Sends a node a signal.
    pub fn signal(&self, node: &str, signal: Signal) {
        match lock(&self.by_hand).get_mut(node) {
            Some(process) => process.signal(signal),
            None => send(self.node(node).pid, signal),
        }
    }

    /// `kill -9`. Returns the moment at which it was sent.
    pub fn kill(&self, node: &str) -> Instant {
        let now = Instant::now();
        self.signal(node, Signal::KILL);
        now
    }

    /// Starts a dead node by hand, as a supervisor would: when the old process is gone, which is
    /// later than its last answer.
    ///
    /// # Panics
    /// If it is not gone within 5 s.
    pub fn start_node(&self, node: &str) {
        let old = self.pid(node);
        match lock(&self.by_hand).remove(node) {
            Some(mut process) => process.kill(),
            // `dev` is its parent and takes note of its end.
            None => crate::eventually("the node is gone", Duration::from_secs(5), || {
                !Path::new(&format!("/proc/{old}")).exists()
            }),
        }
        let mut command = Command::new(&Binaries::get().vipfence);
        command.args(["agent", "--config"]).arg(self.dir.join(node).join("agent.toml"));
        let process = Process::start(node, command);
        lock(&self.by_hand).insert(node.to_owned(), process);
    }

    /// Sees to it that the leader does not hold the VIP. Returns (leader, holder).
    ///
    /// # Panics
    /// If that does not come about.
    #[must_use]
    pub fn leader_apart(&self) -> (String, String) {
        let status = self.settled();
        let holder = self.holder();
        if status.leader != holder {
            return (status.leader, holder);
        }
        let target = self.names_but(&[&holder]).remove(0);
        self.move_to(&target);
        let status = self.settled();
        assert_ne!(status.leader, target, "a move does not move the leadership");
        (status.leader, target)
    }

    /// Sees to it that the leader holds the VIP. Returns it.
    ///
    /// # Panics
    /// If that does not come about.
    #[must_use]
    pub fn leader_holds(&self) -> String {
        let status = self.settled();
        if status.leader != self.holder() {
            self.move_to(&status.leader);
            let now = self.settled();
            assert_eq!(now.leader, status.leader, "a move does not move the leadership");
        }
        status.leader
    }

    /// Moves the VIP with the command line, and waits until it is held there.
    ///
    /// # Panics
    /// If that fails.
    pub fn move_to(&self, node: &str) {
        let answer = self.cli().run(["move", VIP, "--to", node, "--timeout", "30s"]);
        assert_eq!(answer.exit, 0, "move to {node}: {}", answer.output);
    }

    fn logs(&self) -> String {
        let mut logs = vec![("dev".to_owned(), self.output())];
        for (name, process) in lock(&self.by_hand).iter() {
            logs.push((format!("{name} (by hand)"), process.output()));
        }
        for name in (1..=9).map(|number| format!("n{number}")) {
            if let Ok(log) = std::fs::read_to_string(self.dir.join(&name).join("agent.log")) {
                logs.push((name, log));
            }
        }
        let mut text = String::new();
        for (name, log) in logs {
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            text.push_str(&format!("---- {name}\n{}\n", last.join("\n")));
        }
        text
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
            if let Some(temporary) = &mut self.temporary {
                temporary.disable_cleanup(true);
                eprintln!("the folder stays: {}", self.dir.display());
            }
        }
        lock(&self.by_hand).clear();
        lock(&self.process).kill();
    }
}

fn is_settled(vip: &Vip) -> bool {
    let there = if vip.enabled { Phase::Held } else { Phase::Detached };
    vip.phase() == there && vip.current_move.is_none()
}

/// Alive, and not stopped by a signal.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X' | 'T'))
}

fn in_ms(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A few agents on the fabric, each with a service behind its VIPs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use vipfence_proto::v1::{Consistency, GetStatusResponse, NodeRole, NodeState, Phase, Vip};

use super::options::{ClusterOptions, VIP, is_witness};
use super::{AddressObserver, Fabric, Fault, History, KeptConnection, LoadBalancer, Pinger, VIPS};
use crate::{Api, Binaries, Cli, CliAnswer, Process, wait_until};

/// Generous: debug builds on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);
/// A seal is two requests, begun right after the VIP is held.
const QUIET_FOR: Duration = Duration::from_secs(1);

/// The processes of one node.
#[derive(Debug)]
struct Machine {
    agent: Process,
    echo: Process,
    is_stopped: bool,
}

/// A cluster with one VIP. Everything goes when it is dropped.
#[derive(Debug)]
pub struct FabricCluster {
    /// Its network.
    pub fabric: Fabric,
    machines: Mutex<BTreeMap<String, Machine>>,
    /// From before the first address to the end.
    observer: Option<AddressObserver>,
    _balancer: Option<LoadBalancer>,
    folder: TempDir,
    vip_address: IpAddr,
}

impl FabricCluster {
    /// Starts it, and waits until the VIP is held.
    ///
    /// # Panics
    /// If that does not come about.
    #[must_use]
    pub fn start(options: &ClusterOptions) -> Self {
        let fabric = Fabric::start(options.nodes, options.nics, options.operation);
        let folder = TempDir::new().expect("a folder");
        let observer = Some(fabric.observer());
        let balancer = options.probe_port.map(|port| fabric.balance(VIPS[0], port));
        let vip_address = options.vip_address();
        let machines = Mutex::default();
        let cluster = Self { fabric, machines, observer, _balancer: balancer, folder, vip_address };
        for node in options.nodes {
            let text = options.node_file(&cluster.fabric, node);
            std::fs::write(cluster.folder.path().join(format!("{node}.toml")), text)
                .expect("a file");
            let agent = cluster.agent(node);
            let machine = Machine { agent, echo: cluster.fabric.echo(node), is_stopped: false };
            cluster.machines().insert((*node).to_owned(), machine);
        }
        cluster.wait_for("all nodes are there", &[], |status| {
            let told = status.nodes.iter().all(|node| {
                node.role() == NodeRole::Witness
                    || (node.state() == NodeState::Alive && !node.nics.is_empty())
            });
            if told { Ok(()) } else { Err(format!("{:?}", status.nodes)) }
        });
        let probe = options.probe_port.map(|port| format!("--probe=tcp:{port}"));
        let words = ["vip", "create", VIP].into_iter();
        let addresses = options.addresses.iter().flat_map(|address| ["--address", address]);
        // However often it is asked to die.
        let budget = options.checked.then_some("--flap-budget=32/1m");
        let words: Vec<&str> =
            words.chain(addresses).chain(probe.as_deref()).chain(budget).collect();
        let made = cluster.command(&words);
        assert_eq!(made.exit, 0, "{}", made.output);
        cluster.settled();
        cluster
    }

    /// The address of its VIP, the first of several.
    #[must_use]
    pub fn vip_address(&self) -> IpAddr {
        self.vip_address
    }

    fn agent(&self, node: &str) -> Process {
        let mut command = Command::new(&Binaries::get().vipfence);
        command.args(["agent", "--config"]).arg(self.folder.path().join(format!("{node}.toml")));
        self.fabric.namespace(node).start(&format!("agent of {node}"), command)
    }

    fn machines(&self) -> MutexGuard<'_, BTreeMap<String, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, node: &str, act: impl FnOnce(&mut Machine) -> T) -> T {
        act(self.machines().get_mut(node).unwrap_or_else(|| panic!("no node {node}")))
    }

    // ---- what is going on ---------------------------------------------------------------------

    /// The API of a node.
    #[must_use]
    pub fn api(&self, node: &str) -> Api {
        Api::at(&format!("{}:7600", self.fabric.address(node)))
    }

    /// The nodes that can be asked: they run, and nothing isolates them.
    #[must_use]
    pub fn reachable(&self) -> Vec<String> {
        let mut machines = self.machines();
        let mut up = Vec::new();
        for (node, machine) in machines.iter_mut() {
            let runs = !machine.is_stopped && machine.agent.ended().is_none();
            if runs && !self.fabric.is_isolated(node) {
                up.push(node.clone());
            }
        }
        up
    }

    /// The command line, with all nodes that can be asked as endpoints.
    pub fn command(&self, words: &[&str]) -> CliAnswer {
        let nodes = self.reachable();
        let at: Vec<String> =
            nodes.iter().map(|node| format!("{}:7600", self.fabric.address(node))).collect();
        Cli::of(at.iter().map(String::as_str)).run(words)
    }

    fn ask_status(&self) -> Result<GetStatusResponse, String> {
        let mut errors = Vec::new();
        for node in self.reachable() {
            match self.api(&node).status(Consistency::Linearizable) {
                Ok(status) if status.quorum => return Ok(status),
                Ok(_) => errors.push(format!("{node}: no quorum")),
                Err(error) => errors.push(format!("{node}: {error}")),
            }
        }
        Err(errors.join("; "))
    }

    /// The status, as soon as it fits.
    ///
    /// # Panics
    /// If it does not within 40 s; what stood in the way is shown.
    pub fn wait_for<E: Into<String>>(
        &self,
        what: &str,
        dead: &[&str],
        fits: impl Fn(&GetStatusResponse) -> Result<(), E>,
    ) -> GetStatusResponse {
        wait_until(what, SETTLED_WITHIN, || {
            let status = self.ask_status()?;
            let not_alive = status.nodes.iter().find(|node| {
                !dead.contains(&node.name.as_str()) && node.state() != NodeState::Alive
            });
            if let Some(node) = not_alive {
                return Err(format!("{} is {:?}: {}", node.name, node.state(), node.detail));
            }
            fits(&status).map_err(Into::into)?;
            Ok(status)
        })
    }

    /// Waits until all nodes are alive, the VIP is held without a move under way, and nothing is
    /// written to NICs any more.
    ///
    /// # Panics
    /// If that does not come about within 40 s.
    pub fn settled(&self) -> GetStatusResponse {
        self.settled_without(&[])
    }

    /// The same, where some nodes are known to be away.
    ///
    /// # Panics
    /// If that does not come about within 40 s.
    pub fn settled_without(&self, dead: &[&str]) -> GetStatusResponse {
        let written = || self.fabric.simulator().writes_after(0).len();
        let quiet = Mutex::new((0, Instant::now()));
        self.wait_for("the cluster has settled", dead, |status| {
            let held = |vip: &&Vip| vip.phase() == Phase::Held && vip.current_move.is_none();
            let vip = status.vips.iter().find(held).ok_or_else(|| format!("{:?}", status.vips))?;
            let mut quiet = quiet.lock().unwrap_or_else(PoisonError::into_inner);
            let now = written();
            if now != quiet.0 {
                *quiet = (now, Instant::now());
            }
            if !vip.exposed_nics.is_empty() && quiet.1.elapsed() < QUIET_FOR {
                return Err("seals may be under way".to_owned());
            }
            Ok(())
        })
    }

    /// The VIP.
    ///
    /// # Panics
    /// If nobody can tell within 20 s.
    #[must_use]
    pub fn vip(&self) -> Vip {
        let status = wait_until("a quorum answers", Duration::from_secs(20), || self.ask_status());
        status.vips.into_iter().find(|vip| vip.name == VIP).expect("the VIP")
    }

    /// Who leads.
    ///
    /// # Panics
    /// If nobody can tell within 20 s.
    #[must_use]
    pub fn leader(&self) -> String {
        wait_until("a quorum answers", Duration::from_secs(20), || self.ask_status()).leader
    }

    /// A member that is none of these.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn another(&self, not: &[&str]) -> String {
        let names = self.fabric.names();
        let mut others =
            names.into_iter().filter(|name| !is_witness(name) && !not.contains(&&**name));
        others.next().expect("another node")
    }

    // ---- what is done to it -------------------------------------------------------------------

    /// Moves the VIP, and waits until it is held there.
    ///
    /// # Panics
    /// If that fails.
    pub fn move_to(&self, node: &str) {
        let answer = self.command(&["move", VIP, "--to", node, "--timeout", "40s"]);
        assert_eq!(answer.exit, 0, "move to {node}: {}", answer.output);
    }

    /// Sees to it that the leader does not hold the VIP. Returns (leader, holder).
    #[must_use]
    pub fn leader_apart(&self) -> (String, String) {
        let leader = self.settled().leader;
        let holder = self.vip().holder;
        if leader != holder {
            return (leader, holder);
        }
        let target = self.another(&[&holder]);
        self.move_to(&target);
        (self.settled().leader, target)
    }

    /// Sees to it that the leader holds the VIP. Returns it.
    #[must_use]
    pub fn leader_holds(&self) -> String {
        let leader = self.settled().leader;
        if leader != self.vip().holder {
            self.move_to(&leader);
            self.settled();
        }
        leader
    }

    /// Sees to it that this node leads, whatever its rank: whoever else could take over stands still
    /// for that moment, which is shorter than the silence after which a holder is replaced.
    ///
    /// # Panics
    /// If it does not come to lead.
    pub fn lead(&self, node: &str) {
        let leader = self.settled().leader;
        if leader == node {
            return;
        }
        let mut others = self.fabric.names();
        others.retain(|other| *other != leader && other != node);
        for other in &others {
            let _ = self.freeze_agent(other);
        }
        let _ = self.api(&leader).step_down();
        wait_until("the next one leads", SETTLED_WITHIN, || match self.leader() {
            leads if leads == node => Ok(()),
            other => Err(other),
        });
        for other in &others {
            self.thaw(other);
        }
        assert_eq!(self.settled().leader, node);
    }

    /// `kill -9` of a node's agent. Returns the moment before.
    #[must_use]
    pub fn kill_agent(&self, node: &str) -> Instant {
        let now = Instant::now();
        self.with(node, |machine| machine.agent.kill());
        now
    }

    /// `kill -9` of every process of a node. Returns the moment before.
    #[must_use]
    pub fn kill_node(&self, node: &str) -> Instant {
        let now = self.kill_agent(node);
        self.with(node, |machine| machine.echo.kill());
        now
    }

    /// `kill -9` of the service behind the VIP on a node. Returns the moment before.
    #[must_use]
    pub fn kill_service(&self, node: &str) -> Instant {
        let now = Instant::now();
        self.with(node, |machine| machine.echo.kill());
        now
    }

    /// Starts the service again.
    pub fn start_service(&self, node: &str) {
        let echo = self.fabric.echo(node);
        self.with(node, |machine| machine.echo = echo);
    }

    /// SIGTERM to the agent of a node whose file says `on_stop = "keep"`, and waits until it has ended.
    /// Returns the moment before.
    ///
    /// # Panics
    /// If it does not end within 5 s.
    #[must_use]
    pub fn stop_agent(&self, node: &str) -> Instant {
        let now = Instant::now();
        self.with(node, |machine| {
            machine.agent.signal(Signal::TERM);
            let _ = machine.agent.end(Duration::from_secs(5));
        });
        now
    }

    /// From its next start on, the node's agent keeps its VIPs when it stops.
    ///
    /// # Panics
    /// If its file cannot be written.
    pub fn keeps_on_stop(&self, node: &str) {
        let file = self.folder.path().join(format!("{node}.toml"));
        let text = std::fs::read_to_string(&file).expect("its file");
        let text = text.replacen("[node]\n", "[node]\non_stop = \"keep\"\n", 1);
        std::fs::write(&file, text).expect("a file");
    }

    /// Starts every process of a node that was killed.
    pub fn start_node(&self, node: &str) {
        let echo = self.fabric.echo(node);
        self.with(node, |machine| machine.echo = echo);
        self.start_agent(node);
    }

    /// Starts the agent of a node where it has ended.
    pub fn start_agent(&self, node: &str) {
        let agent = self.agent(node);
        self.with(node, |machine| {
            machine.agent = agent;
            machine.is_stopped = false;
        });
    }

    /// SIGSTOP of the agent; the service goes on. Returns the moment before.
    #[must_use]
    pub fn freeze_agent(&self, node: &str) -> Instant {
        let now = Instant::now();
        self.with(node, |machine| {
            machine.agent.signal(Signal::STOP);
            machine.is_stopped = true;
        });
        now
    }

    /// SIGSTOP of every process of a node. Its kernel goes on. Returns the moment before.
    #[must_use]
    pub fn freeze_node(&self, node: &str) -> Instant {
        let now = self.freeze_agent(node);
        self.with(node, |machine| machine.echo.signal(Signal::STOP));
        now
    }

    /// SIGCONT of every process of a node.
    pub fn thaw(&self, node: &str) {
        self.with(node, |machine| {
            machine.echo.signal(Signal::CONT);
            machine.agent.signal(Signal::CONT);
            machine.is_stopped = false;
        });
    }

    /// Nothing gets to the node or from it. Returns the moment before.
    #[must_use]
    pub fn cut(&self, node: &str) -> Instant {
        let now = Instant::now();
        self.fabric.suffer([Fault::Cut(node.to_owned())]);
        now
    }

    /// A client of the VIP, which is answered.
    #[must_use]
    pub fn pinger(&self) -> Pinger {
        let pinger = self.fabric.pinger(self.vip_address());
        // A load balancer may have to notice first who holds it.
        pinger.answer(Instant::now(), Duration::from_secs(15), |_| true);
        pinger
    }

    /// A kept TCP connection to the VIP.
    #[must_use]
    pub fn connect(&self) -> KeptConnection {
        self.fabric.connect(self.vip_address())
    }

    /// Where the VIP's address was so far, by the kernels.
    ///
    /// # Panics
    /// Never: the observer watches until the end.
    #[must_use]
    pub fn history(&self) -> History {
        self.observer.as_ref().expect("it watches until the end").so_far()
    }

    /// Ends it: the whole history, in which no two nodes had the address at once (I1).
    ///
    /// # Panics
    /// If two had, or if the observer cannot vouch for it.
    pub fn proves_one_holder(mut self) -> History {
        self.observer.take().expect("it watches until the end").proves_one_holder()
    }

    /// All that a node's agent has printed.
    #[must_use]
    pub fn log(&self, node: &str) -> String {
        self.with(node, |machine| machine.agent.output())
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for (node, machine) in self.machines().iter() {
            let log = machine.agent.output();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            let _ = write!(text, "---- {node}\n{}\n", last.join("\n"));
        }
        text
    }
}

impl Drop for FabricCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

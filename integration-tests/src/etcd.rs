//! Debian's etcd, as what others do with Raft: three nodes on loopback, to be measured beside ours.
//!
//! It is spoken to by its JSON gateway. Its timers are given by whoever starts it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ports::free_ports;
use crate::{Process, post, wait_until};

const NODES: usize = 3;
/// How to get it.
const REMEDY: &str = "there is no etcd here; `apt-get install etcd-server` brings it";

/// A running etcd of three nodes. Goes when it is dropped.
#[derive(Debug)]
pub struct Etcd {
    /// The processes; none = taken out.
    nodes: Vec<Option<Process>>,
    timers: [Duration; 2],
    /// For clients, for peers.
    ports: Vec<[u16; 2]>,
    folder: TempDir,
}

impl Etcd {
    /// Its version, where it is installed.
    ///
    /// # Errors
    /// Says how to get it.
    pub fn version() -> Result<String, &'static str> {
        let asked = Command::new("etcd").arg("--version").stderr(Stdio::null()).output();
        let said = asked.map_err(|_| REMEDY)?.stdout;
        let said = String::from_utf8_lossy(&said);
        let version = said.lines().find_map(|line| line.strip_prefix("etcd Version: "));
        version.map(str::to_owned).ok_or(REMEDY)
    }

    /// Starts three nodes with these timers, and waits until one leads.
    ///
    /// # Panics
    /// If they do not start.
    #[must_use]
    pub fn start(heartbeat: Duration, election: Duration) -> Self {
        let ports = free_ports(2 * NODES).chunks(2).map(|pair| [pair[0], pair[1]]).collect();
        let folder = TempDir::new().expect("a folder");
        let mut etcd = Self { nodes: vec![], timers: [heartbeat, election], ports, folder };
        etcd.nodes = (0..NODES).map(|at| Some(etcd.node(at))).collect();
        let _ = etcd.ready();
        etcd
    }

    fn node(&self, at: usize) -> Process {
        let [clients, peers] = self.ports[at].map(|port| format!("http://127.0.0.1:{port}"));
        let mut cluster = String::new();
        for (other, [_, port]) in self.ports.iter().enumerate() {
            let _ = write!(cluster, "e{other}=http://127.0.0.1:{port},");
        }
        let [heartbeat, election] = self.timers.map(|timer| timer.as_millis().to_string());
        let folder: &Path = self.folder.path();
        let name = format!("e{at}");
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.join(&name)).args(["--name", &name]);
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", cluster.trim_end_matches(','), "--logger", "zap"]);
        command.args(["--initial-cluster-state", "new", "--log-level", "error"]);
        command.args(["--heartbeat-interval", &heartbeat, "--election-timeout", &election]);
        Process::start(&name, command)
    }

    /// Takes a node out, to be killed; [`Self::start_again`] puts it back.
    ///
    /// # Panics
    /// If it is out already.
    #[must_use]
    pub fn take(&mut self, at: usize) -> Process {
        self.nodes[at].take().unwrap_or_else(|| panic!("e{at} is out"))
    }

    /// Starts a node again that was taken out.
    pub fn start_again(&mut self, at: usize) {
        self.nodes[at] = Some(self.node(at));
    }

    /// The process id of a node.
    ///
    /// # Panics
    /// If it is out.
    #[must_use]
    pub fn pid(&self, at: usize) -> u32 {
        self.nodes[at].as_ref().map_or_else(|| panic!("e{at} is out"), Process::pid)
    }

    fn ask(&self, at: usize, what: &str, body: &Value) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/v3/{what}", self.ports[at][0]);
        let answer = post(&url, &body.to_string()).ok().filter(|answer| answer.status == 200)?;
        serde_json::from_str(&answer.body).ok()
    }

    /// The place of the node that leads, as soon as all three agree on it.
    ///
    /// # Panics
    /// If they do not within 30 s.
    pub fn ready(&self) -> usize {
        wait_until("etcd agrees on a leader", Duration::from_secs(30), || {
            let outputs = || self.nodes.iter().flatten().map(Process::output).collect::<String>();
            let all: Option<Vec<Value>> =
                (0..NODES).map(|at| self.ask(at, "maintenance/status", &json!({}))).collect();
            let all = all.ok_or_else(outputs)?;
            let leader = all[0]["leader"].as_str().filter(|leader| *leader != "0");
            let same = all.iter().all(|one| one["leader"].as_str() == leader);
            let leads = |one: &Value| one["header"]["member_id"].as_str() == leader;
            let place = all.iter().position(leads).filter(|_| same);
            place.ok_or_else(|| format!("{all:?}"))
        })
    }

    /// Whether a node acknowledges a write, within 2 s.
    #[must_use]
    pub fn put(&self, at: usize) -> bool {
        // Base64 of "a".
        self.ask(at, "kv/put", &json!({"key": "YQ==", "value": "YQ=="})).is_some()
    }
}

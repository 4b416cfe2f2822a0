//! Three agents by hand, as the README shows: two members and a witness, without `vipfence dev`.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use vipfence_proto::v1::{Consistency, GetStatusResponse, Node, NodeRole, NodeState};

use crate::{Api, AzureSim, Binaries, Cli, GROUP, Process, get, wait_until};

const NODES: [&str; 3] = ["n1", "n2", "w1"];

/// A simulator and the agents of n1, n2 (members) and w1 (a witness, by its VM the third).
#[derive(Debug)]
pub struct ByHand {
    /// Its Azure.
    pub azure: AzureSim,
    /// In the order of their names.
    pub agents: Vec<Process>,
    /// Base ports: gRPC, HTTP, responder.
    ports: Vec<[u16; 3]>,
    folder: TempDir,
}

fn free_ports(count: usize) -> Vec<u16> {
    // All at once, so that no two are the same.
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn config(ports: &[[u16; 3]], at: usize, azure: &AzureSim) -> String {
    let name = NODES[at];
    let [grpc, http, responder] = ports[at];
    let mut text =
        format!("cluster = \"by-hand\"\nprofile = \"fast\"\n\n[node]\nname = \"{name}\"\n");
    let _ = writeln!(text, "data_dir = \"{name}\"\n\n[listen]\ngrpc = \"127.0.0.1:{grpc}\"");
    let _ = writeln!(text, "http = \"127.0.0.1:{http}\"\n");
    for (peer, [grpc, ..]) in NODES.iter().zip(ports) {
        let role = if peer.starts_with('w') { "witness" } else { "member" };
        let _ = writeln!(
            text,
            "[[peers]]\nname = \"{peer}\"\naddress = \"127.0.0.1:{grpc}\"\nrole = \"{role}\"\n"
        );
    }
    if !name.starts_with('w') {
        let id = format!("{GROUP}/providers/Microsoft.Network/networkInterfaces/{name}-nic");
        let _ = writeln!(text, "[[nics]]\nid = \"{id}\"\n");
    }
    // A witness reaches Azure with an identity of its own, too: it may lead.
    let (arm, imds) = (azure.arm(), azure.imds(name));
    let _ = writeln!(text, "[azure]\narm = \"{arm}\"\nimds = \"{imds}\"\n");
    let _ = writeln!(text, "[os]\ndriver = \"userspace\"\nresponder = \"127.0.0.1:{responder}\"");
    text
}

fn agent(folder: &Path, name: &str) -> Process {
    let mut command = Command::new(&Binaries::get().vipfence);
    command.args(["agent", "--config"]).arg(folder.join(format!("{name}.toml")));
    Process::start(name, command)
}

impl ByHand {
    /// Starts all of them. Operations take 0.2 s.
    ///
    /// # Panics
    /// If something does not start.
    #[must_use]
    pub fn start() -> Self {
        let azure = AzureSim::start(&["--nodes=2", "--node=w1=10.5.0.9", "--latency=200ms"]);
        let ports: Vec<[u16; 3]> =
            free_ports(9).chunks(3).map(|ports| [ports[0], ports[1], ports[2]]).collect();
        let folder = TempDir::new().expect("a folder");
        for (at, name) in NODES.iter().enumerate() {
            let text = config(&ports, at, &azure);
            std::fs::write(folder.path().join(format!("{name}.toml")), text).expect("a file");
        }
        let agents = NODES.iter().map(|name| agent(folder.path(), name)).collect();
        Self { azure, agents, ports, folder }
    }

    /// Starts a second agent of a node, in the same folder.
    #[must_use]
    pub fn second_agent(&self, name: &str) -> Process {
        agent(self.folder.path(), name)
    }

    /// The API of a node, by its place.
    #[must_use]
    pub fn api(&self, at: usize) -> Api {
        Api::at(&format!("127.0.0.1:{}", self.ports[at][0]))
    }

    /// The command line with all nodes as endpoints.
    #[must_use]
    pub fn cli(&self) -> Cli {
        let addresses: Vec<String> =
            self.ports.iter().map(|ports| format!("127.0.0.1:{}", ports[0])).collect();
        Cli::of(addresses.iter().map(String::as_str))
    }

    /// The status with which a node's responder answers for a VIP; 0 = not at all.
    #[must_use]
    pub fn responder(&self, at: usize, vip: &str) -> u16 {
        get(&format!("http://127.0.0.1:{}/{vip}", self.ports[at][2])).map_or(0, |got| got.status)
    }

    /// The status of the cluster as soon as it fits, by what the node at this place says.
    ///
    /// # Panics
    /// If it does not fit within 30 s.
    pub fn status(
        &self,
        at: usize,
        fits: impl Fn(&GetStatusResponse) -> bool,
    ) -> GetStatusResponse {
        let outputs = || -> String { self.agents.iter().map(Process::output).collect() };
        wait_until("the cluster is as it should be", Duration::from_secs(30), || {
            let status = self.api(at).status(Consistency::Linearizable);
            let status = status.map_err(|error| format!("{error}\n{}", outputs()))?;
            if fits(&status) { Ok(status) } else { Err(format!("{status:?}\n{}", outputs())) }
        })
    }

    /// The status as soon as all three are alive and the members have told their NICs, which
    /// they do a moment later.
    ///
    /// # Panics
    /// If they are not within 30 s.
    pub fn ready(&self) -> GetStatusResponse {
        let ready = |node: &Node| {
            let told = node.role() == NodeRole::Witness || !node.nics.is_empty();
            node.state() == NodeState::Alive && told
        };
        self.status(2, |status| status.nodes.len() == NODES.len() && status.nodes.iter().all(ready))
    }
}

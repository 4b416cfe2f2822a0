//! Three agents by hand, as the README shows, without `vipfence dev`: two members and a witness, or
//! three members.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vipfence_proto::v1::{Consistency, GetStatusResponse, Node, NodeRole, NodeState};

use crate::ports::free_ports;
use crate::{Api, AzureSim, Binaries, Cli, GROUP, Process, get, wait_until};

/// Two members and a witness.
const WITH_WITNESS: [&str; 3] = ["n1", "n2", "w1"];
/// Three members.
const MEMBERS: [&str; 3] = ["n1", "n2", "n3"];

/// A simulator and the agents of three nodes. Those whose names begin with `w` are witnesses.
#[derive(Debug)]
pub struct ByHand {
    /// Its Azure.
    pub azure: AzureSim,
    /// In the order of their names.
    pub agents: Vec<Process>,
    names: [&'static str; 3],
    /// Base ports: gRPC, HTTP, responder.
    ports: Vec<[u16; 3]>,
    folder: TempDir,
}

fn config(
    names: &[&str; 3],
    profile: &str,
    ports: &[[u16; 3]],
    at: usize,
    azure: &AzureSim,
) -> String {
    let name = names[at];
    let [grpc, http, responder] = ports[at];
    let mut text =
        format!("cluster = \"by-hand\"\nprofile = \"{profile}\"\n\n[node]\nname = \"{name}\"\n");
    let _ = writeln!(text, "data_dir = \"{name}\"\n\n[listen]\ngrpc = \"127.0.0.1:{grpc}\"");
    let _ = writeln!(text, "http = \"127.0.0.1:{http}\"\n");
    for (peer, [grpc, ..]) in names.iter().zip(ports) {
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

/// A VM and a NIC for each; operations take 0.2 s.
fn world(names: &[&str]) -> Value {
    let vms: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    let nic = |(host, name): (u8, &&str)| {
        json!({"name": format!("{name}-nic"), "vm": name, "virtual_network": "vnet",
            "subnet": "subnet", "primary_address": format!("10.5.0.{host}")})
    };
    let nics: Vec<Value> = (4..).zip(names).map(nic).collect();
    let subnets = json!([{"name": "subnet", "prefix": "10.5.0.0/22"}]);
    json!({"virtual_networks": [{"name": "vnet", "subnets": subnets}], "vms": vms, "nics": nics,
        "settings": {"operation_ms": 200}})
}

fn command(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(&Binaries::get().vipfence);
    command.args(["agent", "--config"]).arg(folder.join(format!("{name}.toml")));
    command
}

fn agent(folder: &Path, name: &str) -> Process {
    Process::start(name, command(folder, name))
}

impl ByHand {
    /// Two members and a witness, fast profile. Operations take 0.2 s.
    ///
    /// # Panics
    /// If something does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(WITH_WITNESS, "fast")
    }

    /// Three members with the timers of a profile, and room for 250 VIPs. Operations take 0.2 s.
    ///
    /// # Panics
    /// If something does not start.
    #[must_use]
    pub fn members(profile: &str) -> Self {
        Self::start_as(MEMBERS, profile)
    }

    fn start_as(names: [&'static str; 3], profile: &str) -> Self {
        let azure = AzureSim::of_world(&world(&names));
        let folder = TempDir::new().expect("a folder");
        let ports: Vec<[u16; 3]> =
            free_ports(9).chunks(3).map(|ports| [ports[0], ports[1], ports[2]]).collect();
        for (at, name) in names.iter().enumerate() {
            let text = config(&names, profile, &ports, at, &azure);
            std::fs::write(folder.path().join(format!("{name}.toml")), text).expect("a file");
        }
        let agents = names.iter().map(|name| agent(folder.path(), name)).collect();
        Self { azure, agents, names, ports, folder }
    }

    /// Starts the agent of a node again that was killed.
    pub fn start_again(&mut self, at: usize) {
        self.agents[at] = agent(self.folder.path(), self.names[at]);
    }

    /// Adds a section to the file of a node, for its next start.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn add_to_file(&self, name: &str, section: &str) {
        let file = self.folder.path().join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&file).expect("its file");
        std::fs::write(&file, format!("{text}\n{section}")).expect("a file");
    }

    /// The state directory of a node.
    #[must_use]
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The place of a node.
    ///
    /// # Panics
    /// If there is none of this name.
    #[must_use]
    pub fn place(&self, name: &str) -> usize {
        let mut names = self.names.iter();
        names.position(|known| *known == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// Starts a second agent of a node, in the same folder.
    #[must_use]
    pub fn second_agent(&self, name: &str) -> Process {
        agent(self.folder.path(), name)
    }

    /// Starts an agent of a node that was killed, with these variables in its environment.
    #[must_use]
    pub fn agent_with(&self, name: &str, environment: &[(&str, &str)]) -> Process {
        let mut command = command(self.folder.path(), name);
        command.envs(environment.iter().copied());
        Process::start(name, command)
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
        self.status(2, |status| {
            status.nodes.len() == self.names.len() && status.nodes.iter().all(ready)
        })
    }
}

//! Three agents by hand, as the README shows: two members and a witness, without `vipfence dev`.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use integration_tests::v1::{Consistency, GetStatusResponse, NodeRole, NodeState};
use integration_tests::{Api, Binaries, Cli, Process, Simulator, Turn, get, wait_until};
use serde_json::Value;

const NODES: [&str; 3] = ["n1", "n2", "w1"];

struct Hand {
    simulator: Simulator,
    _azure: Process,
    /// Base ports: gRPC, HTTP, responder.
    ports: Vec<[u16; 3]>,
    agents: Vec<Process>,
    _folder: tempfile::TempDir,
}

fn free_ports(count: usize) -> Vec<u16> {
    // All at once, so that no two are the same.
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn config(ports: &[[u16; 3]], at: usize, azure: &Value) -> String {
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
        let id = format!(
            "/subscriptions/00000000-0000-4000-8000-0000000000a5/resourceGroups/vipfence/\
             providers/Microsoft.Network/networkInterfaces/{name}-nic"
        );
        let _ = writeln!(text, "[[nics]]\nid = \"{id}\"\n");
    }
    // A witness reaches Azure with an identity of its own, too: it may lead.
    let imds = azure["imds"][name].as_str().expect("each VM has one");
    let arm = azure["arm"].as_str().expect("a URL");
    let _ = writeln!(text, "[azure]\narm = \"{arm}\"\nimds = \"{imds}\"\n");
    let _ = writeln!(text, "[os]\ndriver = \"userspace\"\nresponder = \"127.0.0.1:{responder}\"");
    text
}

fn agent(folder: &Path, name: &str) -> Process {
    let mut command = Command::new(&Binaries::get().vipfence);
    command.args(["agent", "--config"]).arg(folder.join(format!("{name}.toml")));
    Process::start(name, command)
}

impl Hand {
    fn start() -> Self {
        let mut command = Command::new(&Binaries::get().azure_sim);
        command.args(["serve", "--arm", "127.0.0.1:0", "--imds-base-port", "0", "--nodes", "2"]);
        command.args(["--node", "w1=10.5.0.9", "--latency", "200ms"]);
        let azure = Process::start("azure-sim", command);
        let said: Value = wait_until("the simulator is there", Duration::from_secs(10), || {
            let output = azure.output();
            let line = output.lines().find(|line| line.starts_with('{')).ok_or("no line yet")?;
            serde_json::from_str(line).map_err(|_| "not a whole line yet")
        });
        let ports: Vec<[u16; 3]> =
            free_ports(9).chunks(3).map(|ports| [ports[0], ports[1], ports[2]]).collect();
        let folder = tempfile::tempdir().unwrap();
        for (at, name) in NODES.iter().enumerate() {
            let text = config(&ports, at, &said);
            std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
        }
        let agents = NODES.iter().map(|name| agent(folder.path(), name)).collect();
        let simulator = Simulator::at(said["admin"].as_str().expect("a URL"));
        Self { simulator, _azure: azure, ports, agents, _folder: folder }
    }

    fn api(&self, at: usize) -> Api {
        Api::at(&format!("127.0.0.1:{}", self.ports[at][0]))
    }

    fn cli(&self) -> Cli {
        let addresses: Vec<String> =
            self.ports.iter().map(|ports| format!("127.0.0.1:{}", ports[0])).collect();
        Cli::of(addresses.iter().map(String::as_str))
    }

    fn responder(&self, at: usize) -> u16 {
        get(&format!("http://127.0.0.1:{}/web", self.ports[at][2])).map_or(0, |got| got.status)
    }

    /// The status as soon as it fits.
    fn status(&self, at: usize, fits: impl Fn(&GetStatusResponse) -> bool) -> GetStatusResponse {
        let outputs = || -> String { self.agents.iter().map(Process::output).collect() };
        wait_until("the cluster is as it should be", Duration::from_secs(30), || {
            let status = self.api(at).status(Consistency::Linearizable);
            let status = status.map_err(|error| format!("{error}\n{}", outputs()))?;
            if fits(&status) { Ok(status) } else { Err(format!("{status:?}\n{}", outputs())) }
        })
    }
}

#[test]
fn two_members_and_a_witness_by_hand() {
    let _turn = Turn::alone();
    let mut hand = Hand::start();
    let status = hand.status(2, |status| {
        status.nodes.len() == 3 && status.nodes.iter().all(|node| node.state() == NodeState::Alive)
    });
    let roles: Vec<NodeRole> = status.nodes.iter().map(|node| node.role()).collect();
    assert_eq!(roles, [NodeRole::Member, NodeRole::Member, NodeRole::Witness]);
    assert_eq!(status.cluster, "by-hand");

    let made = hand.cli().run(["vip", "create", "web", "--address", "10.5.0.110", "--to", "n1"]);
    assert_eq!(made.exit, 0, "{}", made.output);
    assert_eq!((hand.responder(0), hand.responder(1), hand.responder(2)), (200, 503, 503));

    // The witness never holds a VIP.
    let before = hand.api(0).vip("web").unwrap();
    let refused = hand.cli().run(["move", "web", "--to", "w1"]);
    assert_eq!(refused.exit, 3, "{}", refused.output);
    assert!(
        refused.output.contains("w1") && refused.output.contains("witness"),
        "{}",
        refused.output
    );
    let forced = hand.cli().run(["move", "web", "--to", "w1", "--force"]);
    assert_eq!(forced.exit, 3, "{}", forced.output);
    assert_eq!(hand.api(0).vip("web").unwrap(), before, "nothing has changed");

    // With its vote the other member takes over.
    hand.agents[0].kill();
    let held = |status: &GetStatusResponse| {
        status.vips.iter().any(|vip| vip.holder == "n2" && vip.current_move.is_none())
    };
    let status = hand.status(1, held);
    assert!(status.vips[0].epoch > before.epoch);
    assert_eq!(hand.responder(1), 200);
    let attached = hand.simulator.attachments();
    assert!(attached["10.5.0.110"].ends_with("/n2-nic"), "{attached:?}");

    // A second agent of the same node in the same folder touches nothing.
    let mut second = agent(hand._folder.path(), "n2");
    let status = second.end(Duration::from_secs(10));
    assert_ne!(status.code(), Some(0), "{}", second.output());
    assert_eq!(hand.responder(1), 200);
}

//! A machine that is about to become a node, with the Azure that it is in: files, peers, a world.
//! All is well until a case makes something wrong.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use integration_tests::{AzureSim, Binaries, GROUP, Process};
use rustix::net;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough for whatever does not answer.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What is prepared before anything runs.
pub(crate) struct Setup {
    /// `azure-sim serve --world`.
    pub(crate) world: Value,
    /// Commands to the simulator once it runs.
    pub(crate) commands: Vec<Value>,
    /// Addresses that are to become VIPs.
    pub(crate) addresses: Vec<String>,
    /// A frontend of a load balancer and the port of its probe.
    pub(crate) frontend: Option<(String, u16)>,
    /// The NICs of the agent's file.
    pub(crate) nics: Vec<String>,
    /// The interface that it names for them.
    pub(crate) interface: String,
    /// Further lines of the section `[azure]`.
    pub(crate) azure_lines: String,
    /// ARM's URL; none = the simulator's.
    pub(crate) arm: Option<String>,
    /// The addresses of the peers.
    pub(crate) peers: Vec<String>,
    /// `node.data_dir`.
    pub(crate) data_dir: String,
    folder: TempDir,
    _listeners: Vec<TcpListener>,
    _deaf: Option<Deaf>,
}

/// An address at which nothing answers: its queue is full, so that the kernel drops what else comes.
struct Deaf {
    _socket: OwnedFd,
    _in_the_queue: Vec<TcpStream>,
}

impl Deaf {
    fn new() -> (Self, SocketAddr) {
        let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        net::bind(&socket, &any_port).unwrap();
        net::listen(&socket, 0).unwrap();
        let address = SocketAddr::try_from(net::getsockname(&socket).unwrap()).unwrap();
        let short = Duration::from_millis(300);
        let connect = || TcpStream::connect_timeout(&address, short).ok();
        let in_the_queue: Vec<TcpStream> = std::iter::from_fn(connect).take(16).collect();
        assert!(in_the_queue.len() < 16, "the queue does not fill");
        (Self { _socket: socket, _in_the_queue: in_the_queue }, address)
    }
}

/// What the doctor said.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    /// The checks that found something, in alphabetical order.
    pub(crate) checks: Vec<String>,
    /// The exit code.
    pub(crate) exit: i32,
    /// All that was printed.
    pub(crate) output: String,
}

/// The id of a NIC of the world.
pub(crate) fn nic(name: &str) -> String {
    format!("{GROUP}/providers/Microsoft.Network/networkInterfaces/{name}")
}

impl Setup {
    pub(crate) fn good() -> Self {
        let listeners: Vec<TcpListener> =
            (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let peers = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        let folder = TempDir::new().unwrap();
        let setup = Self {
            world: json!({
                "vms": [{"name": "n1"}, {"name": "n2"}],
                "nics": [a_nic("n1-nic", Some("n1"), "10.5.0.4"),
                         a_nic("n2-nic", Some("n2"), "10.5.0.5"),
                         a_nic("stranger", None, "10.5.0.50")],
            }),
            commands: vec![],
            addresses: vec!["10.5.0.110".to_owned()],
            frontend: None,
            nics: vec![nic("n1-nic")],
            interface: "eth0".to_owned(),
            azure_lines: String::new(),
            arm: None,
            peers,
            data_dir: "data".to_owned(),
            folder,
            _listeners: listeners,
            _deaf: None,
        };
        setup.write("etc/cloud/cloud.cfg", "datasource_list: [ Azure ]\n");
        setup.write(
            "etc/cloud/cloud.cfg.d/90-vipfence.cfg",
            "datasource:\n  Azure:\n    apply_network_config_for_secondary_ips: false # ours\n",
        );
        setup.write("etc/chrony/chrony.conf", "pool ntp.example iburst\nmaxslewrate 5000\n");
        setup.write("proc/sys/net/ipv4/ip_nonlocal_bind", "1\n");
        for interface in ["all", "default", "lo", "eth0"] {
            setup.write(&format!("proc/sys/net/ipv4/conf/{interface}/rp_filter"), "2\n");
        }
        setup.write("sys/class/net/eth0/address", "00:0d:3a:00:00:01\n");
        setup
    }

    /// One peer's address does not answer.
    pub(crate) fn deafen_a_peer(&mut self) {
        let (deaf, address) = Deaf::new();
        self.peers[1] = address.to_string();
        self._deaf = Some(deaf);
    }

    /// A load balancer in front of n1, whose probe asks port 61000, is asked about.
    pub(crate) fn behind_a_load_balancer(&mut self) {
        let id = format!("{GROUP}/providers/Microsoft.Network/loadBalancers/lb");
        let part = |kind: &str| json!({"id": format!("{id}/{kind}/one"), "name": "one"});
        let (mut rule, mut probe) = (part("loadBalancingRules"), part("probes"));
        probe["properties"] = json!({"protocol": "Tcp", "port": 61_000});
        rule["properties"] = json!({
            "frontendIPConfiguration": part("frontendIPConfigurations"),
            "backendAddressPool": part("backendAddressPools"),
            "probe": part("probes"), "enableFloatingIP": true,
        });
        self.world["load_balancers"] = json!([{"id": id, "name": "lb", "properties": {
            "frontendIPConfigurations": [part("frontendIPConfigurations")],
            "loadBalancingRules": [rule], "probes": [probe],
        }}]);
        let pools = json!({"loadBalancerBackendAddressPools": [part("backendAddressPools")]});
        self.world["nics"][0]["ip_config_properties"] = json!({"ipconfig1": pools});
        self.frontend = Some((format!("{id}/frontendIPConfigurations/one"), 61_000));
    }

    /// The load balancer's only rule.
    pub(crate) fn rule(&mut self) -> &mut Value {
        &mut self.world["load_balancers"][0]["properties"]["loadBalancingRules"][0]["properties"]
    }

    /// The machine's root.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Writes a file of the machine.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let file = self.root().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Writes a file beside the agent's.
    pub(crate) fn write_beside(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Takes a file of the machine away.
    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.root().join(path)).unwrap();
    }

    /// Gives the identity of n1 this role at the resource group, and nothing else.
    pub(crate) fn only(&mut self, actions: &[&str]) {
        let role = json!({"name": "test", "actions": actions});
        self.world["vms"][0]["roles"] = json!([{"role": role, "scope": GROUP}]);
    }

    /// Runs the doctor on it.
    pub(crate) fn diagnose(&self) -> Diagnosis {
        let azure = AzureSim::of_world(&self.world);
        for command in &self.commands {
            azure.simulator().command(command);
        }
        let file = self.folder.path().join("agent.toml");
        fs::write(&file, self.agent_file(&azure)).unwrap();
        run(&file, &self.root(), self)
    }

    fn agent_file(&self, azure: &AzureSim) -> String {
        let mut text = String::from("cluster = \"c\"\n\n[node]\nname = \"n1\"\n");
        let _ = writeln!(text, "data_dir = \"{}\"\n", self.data_dir);
        text.push_str("[listen]\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:1\"\n\n");
        text.push_str("[[peers]]\nname = \"n1\"\naddress = \"127.0.0.1:1\"\n\n");
        for (at, address) in self.peers.iter().enumerate() {
            let name = format!("n{}", at + 2);
            let _ = writeln!(text, "[[peers]]\nname = \"{name}\"\naddress = \"{address}\"\n");
        }
        for id in &self.nics {
            let _ = writeln!(text, "[[nics]]\nid = \"{id}\"\ninterface = \"{}\"\n", self.interface);
        }
        let arm = self.arm.as_deref().unwrap_or(azure.arm());
        let _ = writeln!(text, "[azure]\narm = \"{arm}\"\nimds = \"{}\"", azure.imds("n1"));
        let _ = writeln!(text, "authority = \"{}\"\n{}\n", azure.arm(), self.azure_lines);
        text.push_str("[os]\ndriver = \"linux\"\n");
        text
    }
}

fn a_nic(name: &str, vm: Option<&str>, address: &str) -> Value {
    json!({
        "name": name, "vm": vm, "virtual_network": "vnet", "subnet": "subnet",
        "primary_address": address, "static_primary": true,
    })
}

fn run(file: &Path, root: &Path, setup: &Setup) -> Diagnosis {
    let mut command = Command::new(&Binaries::get().vipfence);
    command.args(["doctor", "--json", "--config"]).arg(file).arg("--root").arg(root);
    for address in &setup.addresses {
        command.args(["--address", address]);
    }
    if let Some((id, port)) = &setup.frontend {
        command.args(["--load-balancer", id, "--probe-port", &port.to_string()]);
    }
    command.env("NO_COLOR", "1");
    let ended = Process::start("doctor", command).end_with_output(ENDS_WITHIN);
    let json: Value = serde_json::from_str(&ended.out).unwrap_or_default();
    let findings = json.pointer("/nodes/0/findings").and_then(Value::as_array);
    let findings: Vec<&Value> = findings.into_iter().flatten().collect();
    for finding in &findings {
        for field in ["subject", "message", "remedy"] {
            assert!(finding[field].as_str().is_some_and(|text| !text.is_empty()), "{finding}");
        }
    }
    let mut checks: Vec<String> =
        findings.iter().map(|finding| finding["check"].as_str().unwrap().to_owned()).collect();
    checks.sort();
    Diagnosis { checks, exit: ended.status.code().unwrap(), output: ended.output }
}

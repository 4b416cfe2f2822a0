//! `DIR/dev.json`: where everything is, for scripts. It appears when the cluster is ready, as a
//! whole, and is rewritten when a node restarts. Its shape is a contract (design.md §9).

use std::path::Path;

use serde::Serialize;

use super::plan::{Plan, VIP_ADDRESS, VIP_NAME};

/// The file.
#[derive(Debug, Serialize)]
pub(super) struct Manifest {
    vip: Vip,
    arm: Arm,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Vip {
    name: String,
    address: String,
    /// The forwarder.
    url: String,
}

#[derive(Debug, Serialize)]
struct Arm {
    endpoint: String,
    admin: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    name: String,
    /// The one it was started with; a node that is dead keeps it.
    pid: u32,
    grpc: String,
    http: String,
    responder: String,
    imds: String,
    nic_id: String,
}

impl Manifest {
    /// `pids` are in the order of the plan's nodes.
    pub(super) fn new(plan: &Plan, pids: &[u32]) -> Self {
        let nodes = plan.nodes.iter().zip(pids).map(|(node, pid)| Node {
            name: node.name.clone(),
            pid: *pid,
            grpc: node.grpc.to_string(),
            http: format!("http://{}", node.http),
            responder: format!("http://{}", node.responder),
            imds: format!("http://{}", node.imds),
            nic_id: node.nic_id.clone(),
        });
        Self {
            vip: Vip {
                name: VIP_NAME.to_owned(),
                address: VIP_ADDRESS.to_string(),
                url: plan.vip_url(),
            },
            arm: Arm { endpoint: plan.arm_url(), admin: plan.admin_url() },
            nodes: nodes.collect(),
        }
    }

    /// Writes the file so that a reader sees all of it or the one before.
    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        write_json(path, self)
    }
}

/// Writes a document beside its place and moves it there.
pub(super) fn write_json(path: &Path, document: &impl Serialize) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    let beside = path.with_extension("json.new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use vipfence_types::Profile;

    use super::*;
    use crate::dev::ports::Ports;

    #[test]
    fn the_file_is_exactly_the_documented_one() {
        let ports = Ports::at(7600, 1).unwrap();
        let plan = Plan::new(&ports, Profile::Fast, Duration::from_secs(1));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dev.json");
        Manifest::new(&plan, &[17]).write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "vip": {"name": "demo", "address": "10.5.0.110", "url": "http://127.0.0.1:8001"},
            "arm": {"endpoint": "http://127.0.0.1:8000", "admin": "http://127.0.0.1:8000/admin"},
            "nodes": [{
                "name": "n1",
                "pid": 17,
                "grpc": "127.0.0.1:7600",
                "http": "http://127.0.0.1:7700",
                "responder": "http://127.0.0.1:7800",
                "imds": "http://127.0.0.1:7900",
                "nicId": plan.world.nic_id("n1-nic"),
            }],
        });
        assert_eq!(found, expected);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

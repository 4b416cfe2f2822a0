//! The simulated Azure: its file, and the process that serves it (`vipfence dev-simulator FILE`,
//! a subcommand that no help shows).
//!
//! It is a process of its own so that it can be stopped and killed like the nodes, and so that
//! nothing of it is linked into what an agent does.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use azure_sim::{
    Attachments, WorldConfig,
    server::{self, ServerConfig, ServerError},
};
use serde::{Deserialize, Serialize};

use super::plan::{Plan, VIP_ADDRESS, VIP_NAME};

/// The hidden subcommand.
pub(super) const SUBCOMMAND: &str = "dev-simulator";

/// `DIR/azure/simulator.json`
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setup {
    arm: SocketAddr,
    /// By node.
    imds: BTreeMap<String, SocketAddr>,
    world: WorldConfig,
}

/// Why the simulator does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum SimulatorError {
    /// It is no command for people.
    #[error("`{SUBCOMMAND}` is started by `vipfence dev`, with a file that says what to simulate")]
    NoFile,
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is not what `vipfence dev` writes.
    #[error("{path} is not what `vipfence dev` writes")]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// The system refuses.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// The simulator says why.
    #[error("the simulated Azure does not run")]
    Server(#[from] ServerError),
}

impl Setup {
    /// `before` is what an earlier run left behind, for `--keep`: Azure forgets nothing when VMs
    /// restart.
    pub(super) fn new(plan: &Plan, before: &Attachments) -> Self {
        let mut world = plan.world.clone();
        for (address, nic_id) in &before.attachments {
            attach(&mut world, *address, nic_id);
        }
        let imds = plan.nodes.iter().map(|node| (node.name.clone(), node.imds));
        Self { arm: plan.arm, imds: imds.collect(), world }
    }
}

/// Puts an address on a NIC of the world, if it can be there.
fn attach(world: &mut WorldConfig, address: IpAddr, nic_id: &str) {
    let Some(at) =
        world.nics.iter().position(|nic| world.nic_id(&nic.name).eq_ignore_ascii_case(nic_id))
    else {
        return;
    };
    if world.nics.iter().any(|nic| nic.primary_address == address) {
        return;
    }
    // What else its name was is not known from here: ours is told by the address.
    let name = match address {
        VIP_ADDRESS => format!("vipfence-{VIP_NAME}"),
        other => format!("kept-{}", other.to_string().replace(['.', ':'], "-")),
    };
    if let Some(nic) = world.nics.get_mut(at) {
        nic.secondary.insert(name, address);
    }
}

/// Serves until the process is ended.
pub(super) fn run(file: Option<OsString>) -> Result<(), SimulatorError> {
    let file = PathBuf::from(file.ok_or(SimulatorError::NoFile)?);
    let setup = read(&file)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("VIPFENCE_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SimulatorError::Runtime)?;
    runtime.block_on(serve(setup))
}

async fn serve(setup: Setup) -> Result<(), SimulatorError> {
    let imds = setup.imds.into_iter().collect();
    let running =
        server::run(ServerConfig { arm: setup.arm, imds, tls: None, world: setup.world }).await?;
    tracing::info!(arm = %running.arm, "the simulated Azure answers");
    std::future::pending::<()>().await;
    drop(running);
    Ok(())
}

fn read(path: &Path) -> Result<Setup, SimulatorError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SimulatorError::Unreadable { path: path.to_path_buf(), source })?;
    serde_json::from_str(&text)
        .map_err(|source| SimulatorError::Damaged { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vipfence_types::Profile;

    use super::*;
    use crate::dev::{manifest::write_json, ports::Ports};

    #[test]
    fn the_file_comes_back_as_it_was_with_what_was_attached_before() {
        let plan = Plan::new(&Ports::at(7600, 2).unwrap(), Profile::Fast, Duration::ZERO);
        let attachments = plan.nodes.iter().map(|node| node.nic_id.clone());
        let primary = IpAddr::from([10, 5, 0, 4]);
        let before = Attachments {
            version: 3,
            attachments: [primary, VIP_ADDRESS].into_iter().zip(attachments).collect(),
        };
        let setup = Setup::new(&plan, &before);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("simulator.json");
        write_json(&path, &setup).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found, setup);
        let secondary: Vec<_> = found.world.nics.iter().map(|nic| nic.secondary.clone()).collect();
        assert!(secondary[0].is_empty());
        assert_eq!(secondary[1].get("vipfence-demo"), Some(&VIP_ADDRESS));
        azure_sim::World::new(found.world).expect("a possible world");
    }

    #[test]
    fn without_its_file_it_says_who_starts_it() {
        let text = run(None).unwrap_err().to_string();
        assert!(text.contains("started by `vipfence dev`"), "{text}");
    }
}

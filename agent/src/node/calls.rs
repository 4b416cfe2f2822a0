//! The two queues of a node: calls to the OS, and calls to the disk. Each is worked off in the
//! order in which the machine asked; neither waits for the other.
//!
//! The queues have no limit of their own: the machine has at most one call of each kind under way
//! per VIP.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use tokio::task::spawn_blocking;
use tracing::warn;
use vipfence_agent_core::{Call, Input};
use vipfence_types::{Clocks, Epoch, VipName};

use super::state::{NodeState, StateError};
use crate::clock::ClockSource;
use crate::os::{Addition, AddressDriver, OsError};

/// A call to the OS.
pub(super) enum OsCall {
    Add { call: Call, addition: Addition, computed_at: Clocks, start_within: Duration },
    Remove { call: Call, addresses: Vec<IpAddr> },
    Sweep { call: Call, keep: BTreeSet<IpAddr> },
}

/// A call to the disk.
pub(super) enum DiskCall {
    Spend { call: Call, vip: VipName, addresses: Vec<IpAddr>, epoch: Epoch },
    See(Epoch),
}

/// Works off the calls to the OS until the node ends.
pub(super) async fn work_os(
    mut calls: UnboundedReceiver<OsCall>,
    driver: Arc<dyn AddressDriver>,
    clocks: Arc<dyn ClockSource>,
    outcomes: Sender<Input>,
) {
    while let Some(call) = calls.recv().await {
        let outcome = execute(call, &*driver, &*clocks).await;
        if outcomes.send(outcome).await.is_err() {
            return;
        }
    }
}

async fn execute(call: OsCall, driver: &dyn AddressDriver, clocks: &dyn ClockSource) -> Input {
    match call {
        OsCall::Add { call, addition, computed_at, start_within } => {
            let waited = clocks.now().longest_since(computed_at);
            if waited > start_within {
                let waited = waited.as_millis();
                let problem = format!("the OS was busy for {waited} ms");
                return Input::AddFailed { call, problem };
            }
            match driver.add(addition).await {
                Ok(()) => Input::Added { call, at: clocks.now() },
                Err(OsError { problem }) => Input::AddFailed { call, problem },
            }
        }
        OsCall::Remove { call, addresses } => removed(call, driver.remove(addresses).await),
        OsCall::Sweep { call, keep } => removed(call, sweep(driver, &keep).await),
    }
}

fn removed(call: Call, outcome: Result<(), OsError>) -> Input {
    match outcome {
        Ok(()) => Input::Dropped { call },
        Err(OsError { problem }) => Input::DropFailed { call, problem },
    }
}

/// Takes off all managed addresses but these, and reads back.
async fn sweep(driver: &dyn AddressDriver, keep: &BTreeSet<IpAddr>) -> Result<(), OsError> {
    let strays = strays(driver, keep).await?;
    if strays.is_empty() {
        return Ok(());
    }
    driver.remove(strays).await?;
    match self::strays(driver, keep).await?.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(OsError { problem: format!("{first} is still there") }),
    }
}

async fn strays(
    driver: &dyn AddressDriver,
    keep: &BTreeSet<IpAddr>,
) -> Result<Vec<IpAddr>, OsError> {
    let found = driver.found().await?;
    let strays = found.iter().map(|one| one.address);
    Ok(strays.filter(|one| !keep.contains(one)).collect())
}

/// Works off the calls to the disk until the node ends. Has the state directory meanwhile.
pub(super) async fn work_disk(
    mut calls: UnboundedReceiver<DiskCall>,
    state: NodeState,
    outcomes: Sender<Input>,
) {
    let state = Arc::new(state);
    while let Some(call) = calls.recv().await {
        let state = Arc::clone(&state);
        match call {
            DiskCall::Spend { call, vip, addresses, epoch } => {
                let written = flush(move || state.spend(&vip, &addresses, epoch)).await;
                let outcome = match written {
                    Ok(()) => Input::Persisted { call },
                    Err(problem) => Input::PersistFailed { call, problem },
                };
                if outcomes.send(outcome).await.is_err() {
                    return;
                }
            }
            DiskCall::See(epoch) => {
                if let Err(problem) = flush(move || state.see(epoch)).await {
                    warn!(%epoch, "cannot write the highest epoch: {problem}");
                }
            }
        }
    }
}

async fn flush(
    write: impl FnOnce() -> Result<(), StateError> + Send + 'static,
) -> Result<(), String> {
    match spawn_blocking(write).await {
        Ok(written) => written.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

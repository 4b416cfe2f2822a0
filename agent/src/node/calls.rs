//! The two queues of a node: calls to the OS, and calls to the disk. Each is worked off in the
//! order in which the machine asked; neither waits for the other.
//!
//! The queues have no limit of their own: the machine has at most one call of each kind under way
//! per VIP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tracing::{error, warn};
use vipfence_agent_core::{Call, Input, Serving};
use vipfence_types::{Connection, Epoch, VipName};

use super::state::{NodeState, StateError};
use crate::clock::ClockSource;
use crate::os::{Addition, AddressDriver, Deadline, OsError};

/// A call to the OS.
pub(super) enum OsCall {
    Add(AddCall),
    /// Before that, where it is wanted, connections to the addresses are reset.
    Remove {
        call: Call,
        addresses: Vec<IpAddr>,
        reset: bool,
    },
    Sweep {
        call: Call,
        managed: BTreeSet<IpAddr>,
        keep: BTreeSet<IpAddr>,
    },
    /// Left out where it is too late.
    Tell {
        connections: Vec<Connection>,
        deadline: Deadline,
    },
}

/// Addresses to put on the OS.
pub(super) struct AddCall {
    pub(super) call: Call,
    pub(super) addition: Addition,
}

/// A call to the disk.
pub(super) enum DiskCall {
    Spend {
        call: Call,
        vip: VipName,
        addresses: Vec<IpAddr>,
        epoch: Epoch,
    },
    See(Epoch),
    Serve(VipName, Option<Serving>),
    Token(VipName, Option<Epoch>),
    /// All before it is done; what could not be noted of this VIP is tried once more. An error: it is
    /// still not on disk.
    Reached(VipName, oneshot::Sender<Result<(), String>>),
}

/// Works off the calls to the OS until the node ends.
pub(super) async fn work_os(
    mut calls: UnboundedReceiver<OsCall>,
    driver: Arc<dyn AddressDriver>,
    clocks: Arc<dyn ClockSource>,
    outcomes: Sender<Input>,
) {
    let mut next = None;
    loop {
        let call = match next.take() {
            Some(call) => call,
            None => match calls.recv().await {
                Some(call) => call,
                None => return,
            },
        };
        let ended = match call {
            OsCall::Add(add) => {
                // Adds that wait behind one another cost one look at the OS, not one each.
                let mut adds = vec![add];
                while next.is_none() {
                    match calls.try_recv() {
                        Ok(OsCall::Add(add)) => adds.push(add),
                        Ok(other) => next = Some(other),
                        Err(_) => break,
                    }
                }
                add_all(adds, &*driver, &*clocks).await
            }
            OsCall::Remove { call, addresses, reset } => {
                let cut =
                    if reset { driver.reset_connections(&addresses).await } else { Vec::new() };
                let cut = (!cut.is_empty()).then_some(Input::Cut { call, connections: cut });
                let removed = removed(call, driver.remove(addresses).await);
                cut.into_iter().chain([removed]).collect()
            }
            OsCall::Tell { connections, deadline } => {
                if deadline.check().is_ok() {
                    driver.tell(&connections).await;
                }
                vec![]
            }
            OsCall::Sweep { call, managed, keep } => {
                vec![removed(call, sweep(&*driver, &managed, &keep).await)]
            }
        };
        for outcome in ended {
            if outcomes.send(outcome).await.is_err() {
                return;
            }
        }
    }
}

/// Tells the machine what somebody else changed on the OS, until the node ends.
pub(super) async fn watch_os(driver: Arc<dyn AddressDriver>, outcomes: Sender<Input>) {
    while outcomes.send(Input::Sighted(driver.sighted().await)).await.is_ok() {}
}

async fn add_all(
    adds: Vec<AddCall>,
    driver: &dyn AddressDriver,
    clocks: &dyn ClockSource,
) -> Vec<Input> {
    let mut outcomes = Vec::new();
    let mut begun = Vec::new();
    let mut additions = Vec::new();
    for AddCall { call, addition } in adds {
        match addition.deadline.check() {
            Err(OsError { problem }) => outcomes.push(Input::AddFailed { call, problem }),
            Ok(()) => {
                begun.push(call);
                additions.push(addition);
            }
        }
    }
    if additions.is_empty() {
        return outcomes;
    }
    let ended = driver.add(additions).await;
    let at = clocks.now();
    outcomes.extend(begun.into_iter().zip(ended).map(|(call, outcome)| match outcome {
        Ok(()) => Input::Added { call, at },
        Err(OsError { problem }) => Input::AddFailed { call, problem },
    }));
    outcomes
}

fn removed(call: Call, outcome: Result<(), OsError>) -> Input {
    match outcome {
        Ok(()) => Input::Dropped { call },
        Err(OsError { problem }) => Input::DropFailed { call, problem },
    }
}

/// Takes off all managed addresses but those to keep, and reads back.
async fn sweep(
    driver: &dyn AddressDriver,
    managed: &BTreeSet<IpAddr>,
    keep: &BTreeSet<IpAddr>,
) -> Result<(), OsError> {
    let strays = strays(driver, managed, keep).await?;
    if strays.is_empty() {
        return Ok(());
    }
    driver.remove(strays).await?;
    match self::strays(driver, managed, keep).await?.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(OsError { problem: format!("{first} is still there") }),
    }
}

async fn strays(
    driver: &dyn AddressDriver,
    managed: &BTreeSet<IpAddr>,
    keep: &BTreeSet<IpAddr>,
) -> Result<Vec<IpAddr>, OsError> {
    let found = driver.found(managed).await?;
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
    let mut unwritten: BTreeMap<VipName, Option<Serving>> = BTreeMap::new();
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
            DiskCall::Serve(vip, serving) => {
                unwritten.remove(&vip);
                if let Err(problem) = serve(&state, &vip, serving).await {
                    error!(%vip, "cannot write what is done around the VIP: {problem}");
                    unwritten.insert(vip, serving);
                }
            }
            DiskCall::Token(vip, epoch) => {
                let named = vip.clone();
                if let Err(problem) = flush(move || state.token(&named, epoch)).await {
                    error!(%vip, "cannot write the fencing token, or take it away: {problem}");
                }
            }
            DiskCall::Reached(vip, reached) => {
                let written = match unwritten.get(&vip) {
                    Some(serving) => serve(&state, &vip, *serving).await,
                    None => Ok(()),
                };
                if written.is_ok() {
                    unwritten.remove(&vip);
                }
                // Nobody waits any more where the node has ended.
                let _ended = reached.send(written);
            }
        }
    }
}

async fn serve(
    state: &Arc<NodeState>,
    vip: &VipName,
    serving: Option<Serving>,
) -> Result<(), String> {
    let (state, vip) = (Arc::clone(state), vip.clone());
    flush(move || state.serve(&vip, serving)).await
}

async fn flush(
    write: impl FnOnce() -> Result<(), StateError> + Send + 'static,
) -> Result<(), String> {
    match spawn_blocking(write).await {
        Ok(written) => written.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

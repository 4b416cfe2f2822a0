//! The driver of `vipfence dev`: no root, no kernel addresses. "Having" an address means an entry
//! with an expiry in a table, and an HTTP responder that answers from that table.
//!
//! The responder **checks the lifetime at every answer**, by the longest of all clocks, as the
//! last thing before the answer: a process that was stopped and goes on later finds its entry
//! expired before it says anything (I1). The table dies with the process, as nothing else could
//! clean it up.
//!
//! ```text
//! GET /        the first VIP by name; the one that `Host` names, if it names one that is here
//! GET /NAME    that VIP
//! 200 {"node":"n1","vip":"demo","epoch":7}      503 {"node":"n1","reason":"..."}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::net::TcpListener;
use vipfence_agent_core::{Found, Sighting};
use vipfence_types::{Clocks, Epoch, NodeId, VipName};

use super::{Addition, AddressDriver, OsError};
use crate::clock::ClockSource;

/// The table of addresses, and the responder that answers from it. A clone shares the table.
#[derive(Clone)]
pub(crate) struct Userspace {
    node: NodeId,
    clocks: Arc<dyn ClockSource>,
    table: Arc<Mutex<BTreeMap<IpAddr, Entry>>>,
}

/// An address that this node has, while its lifetime lasts.
#[derive(Clone, Debug)]
struct Entry {
    vip: VipName,
    epoch: Epoch,
    set_at: Clocks,
    lifetime: Duration,
}

impl Entry {
    fn left(&self, now: Clocks) -> Duration {
        self.lifetime.saturating_sub(now.longest_since(self.set_at))
    }
}

/// The answer of a holder. The order of the fields is part of the contract (design.md §9).
#[derive(Serialize)]
struct Served<'a> {
    node: &'a str,
    vip: &'a str,
    epoch: u64,
}

/// The answer of a node that does not have the VIP.
#[derive(Serialize)]
struct NotServed<'a> {
    node: &'a str,
    reason: String,
}

impl Userspace {
    /// A driver without any address.
    pub(crate) fn new(node: NodeId, clocks: Arc<dyn ClockSource>) -> Self {
        Self { node, clocks, table: Arc::default() }
    }

    /// Binds the responder and returns where it listens, and the future that serves it until it
    /// is dropped.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn bind(
        &self,
        listen: SocketAddr,
    ) -> io::Result<(SocketAddr, impl Future<Output = io::Result<()>> + Send + use<>)> {
        let listener = TcpListener::bind(listen).await?;
        let bound = listener.local_addr()?;
        let router = Router::new()
            .route("/", get(first))
            .route("/{vip}", get(named))
            .with_state(self.clone());
        Ok((bound, async move { axum::serve(listener, router).await }))
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Entry>> {
        // Each change of the table is one call on the map: it is whole even after a panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry that `pick` prefers among those that live at this moment.
    fn answer(&self, pick: impl Fn(&[(IpAddr, Entry)]) -> Option<usize>) -> Response {
        let mut entries: Vec<(IpAddr, Entry)> =
            self.table().iter().map(|(address, entry)| (*address, entry.clone())).collect();
        entries.sort_by(|(_, a), (_, b)| a.vip.cmp(&b.vip));
        // The clocks are read after the table, and nothing waits between here and the answer.
        let now = self.clocks.now();
        entries.retain(|(_, entry)| !entry.left(now).is_zero());
        match pick(&entries).and_then(|at| entries.get(at)) {
            Some((_, entry)) => json(
                StatusCode::OK,
                &Served { node: self.node.as_str(), vip: entry.vip.as_str(), epoch: entry.epoch.0 },
            ),
            None => {
                let node = self.node.as_str();
                let reason = match entries.first() {
                    None => format!("no VIP is on {node}"),
                    Some(_) => format!("this VIP is not on {node}"),
                };
                json(StatusCode::SERVICE_UNAVAILABLE, &NotServed { node, reason })
            }
        }
    }
}

async fn first(State(driver): State<Userspace>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.map_or("", without_port).to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    driver.answer(|entries| {
        let meant = |(at, entry): &(IpAddr, Entry)| {
            entry.vip.as_str() == host || address.is_some_and(|address| address == *at)
        };
        let named = entries.iter().position(meant);
        named.or_else(|| (!entries.is_empty()).then_some(0))
    })
}

async fn named(State(driver): State<Userspace>, Path(vip): Path<String>) -> Response {
    let vip = vip.to_ascii_lowercase();
    driver.answer(|entries| {
        let meant = |(_, entry): &(IpAddr, Entry)| entry.vip.as_str() == vip;
        entries.iter().position(meant)
    })
}

/// `[::1]:80` is `::1`, `demo:80` is `demo`.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A responder of this process could be stopped with its port open.
const NO_GATE: &str = "the driver \"userspace\" has no kernel that closes a load balancer's probe port \
                       when the lease ends: write `driver = \"linux\"` in the section [os]";

impl AddressDriver for Userspace {
    fn add(&self, additions: Vec<Addition>) -> BoxFuture<'_, Vec<Result<(), OsError>>> {
        Box::pin(async move {
            let mut table = self.table();
            let mut add = |addition: Addition| {
                if addition.probe.is_some() {
                    return Err(OsError { problem: NO_GATE.to_owned() });
                }
                for one in &addition.addresses {
                    let entry = Entry {
                        vip: addition.vip.clone(),
                        epoch: addition.epoch,
                        set_at: self.clocks.now(),
                        lifetime: addition.lifetime,
                    };
                    table.insert(one.address, entry);
                }
                Ok(())
            };
            additions.into_iter().map(&mut add).collect()
        })
    }

    fn remove(&self, addresses: Vec<IpAddr>) -> BoxFuture<'_, Result<(), OsError>> {
        Box::pin(async move {
            self.table().retain(|address, _| !addresses.contains(address));
            Ok(())
        })
    }

    /// Nobody else writes the table, so that nothing but what was added is ever in it.
    fn found<'a>(
        &'a self,
        _managed: &'a BTreeSet<IpAddr>,
    ) -> BoxFuture<'a, Result<Vec<Found>, OsError>> {
        Box::pin(async move {
            let mut table = self.table();
            let now = self.clocks.now();
            table.retain(|_, entry| !entry.left(now).is_zero());
            let found = table.iter().map(|(address, entry)| Found {
                address: *address,
                lifetime_left: Some(entry.left(now)),
            });
            Ok(found.collect())
        })
    }

    fn sighted(&self) -> BoxFuture<'_, Sighting> {
        Box::pin(std::future::pending())
    }
}

#[cfg(test)]
mod tests;

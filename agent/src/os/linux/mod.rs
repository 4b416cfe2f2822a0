//! Kernel addresses on Linux, by rtnetlink.
//!
//! ```text
//!   add ----> record file ----> RTM_NEWADDR with a lifetime ----> look ----> put right ----> announce
//!   reset --> connections of the address are destroyed while it is still there
//!   tell  --> bare ACKs to clients whose connections an earlier holder has cut
//!   remove -> RTM_DELADDR of every entry with the address ------> look ----> record file
//!   events -> look ----> what this agent has not done (Sighting)
//! ```
//!
//! Keeps what I1 rests on: every address that is added has a valid lifetime, so that the kernel takes
//! it off whatever happens to this process, and after an add there is one entry of the address, of
//! our making, on one interface. An entry that somebody else made of it (cloud-init with another
//! prefix, or for ever) would outlive the lease, so it is removed. `Ok` is said after a look only.
//!
//! An IPv4 address is chosen as a source for unrelated traffic when it stands before the interface's
//! own in the kernel's list and no subnet decides; the kernel looks at no preferred lifetime there (seen
//! on 6.18). So ours stand last: one that does not is taken off and added again.
//!
//! A VIP behind a load balancer has its address here as well, for the node's own use, and answers the
//! health probe (`probe`) behind a gate that the kernel closes when the lifetime ends (`gate`).
//!
//! Deliberately not here: who may have an address, and for how long (`vipfence_agent_core`).

mod announce;
mod gate;
mod place;
mod probe;
mod record;
mod sockets;
mod tell;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::AddressScope;
use rustix::thread::CapabilitySet;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use vipfence_agent_core::{Found, Sighting};
use vipfence_types::{Connection, KERNEL_LIFETIME_CAP, VipAddress};

use self::probe::Probes;
use self::record::Record;
use self::wire::{Entry, Link, Look};
use super::{Addition, AddressDriver, Interface, OsError};

/// After a set, a look and what it finds wrong: so often in one call.
const ROUNDS: usize = 3;
/// What a lifetime that was just set may show beyond its own length: the kernel rounds.
const ROUNDING: Duration = Duration::from_secs(1);
/// How long a drop waits for its connections to be reset.
const RESET_WITHIN: Duration = Duration::from_millis(500);

/// The driver cannot work on this machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The process may not change addresses.
    #[error(
        "the agent may not change addresses: it lacks the capability CAP_NET_ADMIN. Run it as root, \
         or with `AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW` in its unit"
    )]
    NotAllowed,
    /// The kernel's netlink socket cannot be opened.
    #[error("no netlink socket")]
    Socket(#[source] std::io::Error),
    /// The kernel does not say which addresses there are.
    #[error("{0}")]
    Look(OsError),
    /// See [`Record`].
    #[error(transparent)]
    Record(#[from] record::RecordError),
}

/// The driver.
pub(crate) struct Kernel {
    handle: Handle,
    interfaces: Vec<Interface>,
    ours: Arc<Ours>,
    /// Addresses that were read back in their place, and the interface of each.
    placed: Mutex<BTreeMap<IpAddr, Link>>,
    probes: Probes,
    sightings: AsyncMutex<mpsc::Receiver<Sighting>>,
    /// Said once that connections cannot be reset.
    complained: AtomicBool,
    /// Said once that clients cannot be told.
    mute: AtomicBool,
    /// The sequence number of what clients are told next.
    sequence: AtomicU32,
}

/// How addresses of this program are known again.
#[derive(Debug)]
pub(super) struct Ours {
    record: Mutex<Record>,
}

impl Ours {
    fn record(&self) -> MutexGuard<'_, Record> {
        // Each change of it is whole: it is written first.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this program has added it, in this start or an earlier one.
    fn has(&self, entry: &Entry) -> bool {
        entry.marked || self.record().has(entry.address)
    }

    /// Whether it is as this program sets an address: under a lifetime that ends soon.
    fn is_as_set(&self, entry: &Entry) -> bool {
        let ends = entry.valid.is_some_and(|valid| valid <= KERNEL_LIFETIME_CAP + ROUNDING);
        // An IPv4 address without its label is somebody else's, although the record knows of ours.
        let known = entry.marked || (entry.address.is_ipv6() && self.record().has(entry.address));
        ends && known
    }
}

impl Kernel {
    /// Opens the kernel's sockets, and reads what earlier starts have left in the state directory.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) async fn open(folder: &Path, interfaces: Vec<Interface>) -> Result<Self, OpenError> {
        let may = rustix::thread::capabilities(None).map(|sets| sets.effective);
        if may.is_ok_and(|may| !may.contains(CapabilitySet::NET_ADMIN)) {
            return Err(OpenError::NotAllowed);
        }
        let handle = wire::connect().map_err(OpenError::Socket)?;
        let mut record = Record::open(folder)?;
        let look = wire::look(&handle).await.map_err(OpenError::Look)?;
        record.keep(|address| look.of(address).next().is_some())?;
        let ours = Arc::new(Ours { record: Mutex::new(record) });
        let sightings = watch::start(Arc::clone(&ours)).map_err(OpenError::Socket)?;
        Ok(Self {
            handle,
            interfaces,
            ours,
            placed: Mutex::default(),
            probes: Probes::default(),
            sightings: AsyncMutex::new(sightings),
            complained: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            sequence: AtomicU32::new(0),
        })
    }

    fn placed(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Link>> {
        // Each change of the map is one call on it.
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets all, looks once, and puts right what is wrong, a few times over.
    async fn add_all(&self, additions: &[Addition]) -> Vec<Result<(), OsError>> {
        let all_fail = |problem: &str| additions.iter().map(|_| Err(os_error(problem))).collect();
        if let Err(error) = self.note(additions).await {
            return all_fail(&error.problem);
        }
        let mut outcomes: Vec<Option<Result<(), OsError>>> =
            additions.iter().map(|_| None).collect();
        let mut seen = None;
        for _ in 0..ROUNDS {
            let open = || additions.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_none());
            let unplaced = {
                let placed = self.placed();
                let unknown = |one: &VipAddress| !placed.contains_key(&one.address);
                open().any(|(addition, _)| addition.addresses.iter().any(unknown))
            };
            // A renewal costs the look that reads it back, and no other.
            if unplaced && seen.is_none() {
                seen = match wire::look(&self.handle).await {
                    Ok(look) => Some(look),
                    Err(error) => return all_fail(&error.problem),
                };
            }
            for (addition, outcome) in additions.iter().zip(&mut outcomes) {
                if outcome.is_none() {
                    *outcome = self.set(addition, seen.as_ref()).await.err().map(Err);
                }
            }
            let look = match wire::look(&self.handle).await {
                Ok(look) => look,
                Err(error) => return all_fail(&error.problem),
            };
            for (addition, outcome) in additions.iter().zip(&mut outcomes) {
                if outcome.is_none() {
                    *outcome = self.read_back(addition, &look).await;
                }
            }
            if outcomes.iter().all(Option::is_some) {
                break;
            }
            seen = Some(look);
        }
        let fought = "something else changes the address as fast as it is added";
        let mut outcomes: Vec<Result<(), OsError>> =
            outcomes.into_iter().map(|one| one.unwrap_or_else(|| Err(os_error(fought)))).collect();
        // Last: a node that answers the probe is sent traffic.
        for (addition, outcome) in additions.iter().zip(&mut outcomes) {
            if let (Some(probe), Ok(())) = (&addition.probe, &outcome) {
                let addresses = addition.addresses.iter().map(|one| one.address);
                let addresses = addresses.collect();
                let Addition { lifetime, deadline, .. } = addition;
                *outcome = self.probes.answer(addresses, probe, *lifetime, deadline).await;
            }
        }
        outcomes
    }

    async fn note(&self, additions: &[Addition]) -> Result<(), OsError> {
        let all = additions.iter().flat_map(|addition| &addition.addresses);
        let all: BTreeSet<IpAddr> = all.map(|one| one.address).collect();
        // Every renewal comes by here, and has nothing to write.
        if self.ours.record().has_all(&all) {
            return Ok(());
        }
        self.write_record(move |record| record.note(&all)).await
    }

    async fn write_record(
        &self,
        write: impl FnOnce(&mut Record) -> Result<(), record::RecordError> + Send + 'static,
    ) -> Result<(), OsError> {
        let ours = Arc::clone(&self.ours);
        let written = tokio::task::spawn_blocking(move || write(&mut ours.record())).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(os_error(&error.to_string())),
            Err(_) => Err(os_error("the record of addresses was not written")),
        }
    }

    async fn set(&self, addition: &Addition, seen: Option<&Look>) -> Result<(), OsError> {
        for one in &addition.addresses {
            let known = self.placed().get(&one.address).cloned();
            let link = match (known, seen) {
                (Some(link), _) => link,
                (None, Some(look)) => self.place(one, look)?,
                (None, None) => return Err(os_error("its interface is not known yet")),
            };
            addition.deadline.check()?;
            let set =
                wire::set(&self.handle, &link, one.address, one.prefix_len, addition.lifetime);
            if let Err(error) = set.await {
                // The interface may be gone, or be another one now.
                self.placed().remove(&one.address);
                return Err(error);
            }
        }
        Ok(())
    }

    fn place(&self, one: &VipAddress, look: &Look) -> Result<Link, OsError> {
        let link = place::choose(&self.interfaces, one.nic.as_deref(), one.address, look);
        link.cloned().map_err(|error| os_error(&error.to_string()))
    }

    /// None: something was wrong and has been taken off, so that it must be set again.
    async fn read_back(&self, addition: &Addition, look: &Look) -> Option<Result<(), OsError>> {
        let mut whole = true;
        for one in &addition.addresses {
            // Where it stands already it stays: the interface's own address, by which it was found, may
            // be away for a moment.
            let known = self.placed().get(&one.address).cloned();
            let link = match known.map_or_else(|| self.place(one, look), Ok) {
                Ok(link) => link,
                Err(error) => return Some(Err(error)),
            };
            let (right, wrong) = self.sort(one, &link, addition.lifetime, look);
            for entry in &wrong {
                if let Err(error) = wire::delete(&self.handle, entry).await {
                    return Some(Err(error));
                }
            }
            whole &= right && wrong.is_empty();
            if !(right && wrong.is_empty()) {
                self.placed().remove(&one.address);
            } else if self.placed().insert(one.address, link.clone()).is_none()
                && let Err(error) = announce::announce(&link, one.address)
            {
                tracing::warn!(address = %one.address, "cannot announce the address: {error}");
            }
        }
        whole.then_some(Ok(()))
    }

    /// Whether the address is there as it is to be, and the entries of it that are not.
    fn sort<'a>(
        &self,
        one: &VipAddress,
        link: &Link,
        lifetime: Duration,
        look: &'a Look,
    ) -> (bool, Vec<&'a Entry>) {
        let in_time = |entry: &Entry| entry.valid.is_some_and(|left| left <= lifetime + ROUNDING);
        let is_right = |entry: &&Entry| {
            entry.link == link.index
                && entry.prefix_len == one.prefix_len
                && self.ours.is_as_set(entry)
                && in_time(entry)
                && !self.hides_another(entry, look)
        };
        let (right, wrong): (Vec<&Entry>, Vec<&Entry>) = look.of(one.address).partition(is_right);
        (!right.is_empty(), wrong)
    }

    /// Whether the kernel would choose this address as a source before one that is not ours.
    fn hides_another(&self, entry: &Entry, look: &Look) -> bool {
        let rival = |other: &&Entry| {
            other.link == entry.link
                && other.address.is_ipv4()
                && other.scope == AddressScope::Universe
                && !other.secondary
                && !self.ours.has(other)
        };
        let behind = look.entries.iter().skip_while(|other| *other != entry);
        entry.address.is_ipv4() && !entry.secondary && behind.skip(1).any(|other| rival(&other))
    }

    async fn remove_all(&self, addresses: &[IpAddr]) -> Result<(), OsError> {
        // First: who does not answer the probe is sent nothing.
        self.probes.refuse(addresses).await?;
        self.placed().retain(|address, _| !addresses.contains(address));
        for _ in 0..ROUNDS {
            let look = wire::look(&self.handle).await?;
            let there: Vec<&Entry> =
                look.entries.iter().filter(|entry| addresses.contains(&entry.address)).collect();
            if there.is_empty() {
                let gone = addresses.to_vec();
                return self.write_record(move |record| record.forget(&gone)).await;
            }
            for entry in there {
                wire::delete(&self.handle, entry).await?;
            }
        }
        Err(os_error("something else adds the address as fast as it is taken off"))
    }

    /// What was reset, as far as it went.
    async fn reset(&self, addresses: &[IpAddr]) -> Vec<Connection> {
        let meant = addresses.iter().copied().collect();
        let (told, cut) = std::sync::mpsc::channel();
        let reset = tokio::task::spawn_blocking(move || {
            sockets::reset(&meant, |connection| {
                // Nobody listens any more once it takes too long.
                let _late = told.send(connection);
            })
        });
        let why = match tokio::time::timeout(RESET_WITHIN, reset).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(_)) | Err(_) => Some("it took too long".to_owned()),
        };
        if let Some(why) = why
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("connections are not reset when a VIP is let go of, and hang: {why}");
        }
        let mut cut: Vec<Connection> = cut.try_iter().collect();
        let untold = cut.len().saturating_sub(Connection::PER_VIP);
        cut.truncate(Connection::PER_VIP);
        if !cut.is_empty() {
            let carried = cut.len();
            tracing::info!(
                carried,
                untold,
                "connections to the address were reset; the next holder tells the clients of those \
                 that are carried"
            );
        }
        cut
    }

    async fn tell(&self, connections: &[Connection]) {
        let (all, connections) = (connections.len(), connections.to_vec());
        // So far apart that at most one of the four can fit into a client's window.
        let sequence = self.sequence.fetch_add(1 << 30, Ordering::Relaxed);
        let told = tokio::task::spawn_blocking(move || tell::send(&connections, sequence)).await;
        match told.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(sent) => {
                tracing::info!(sent, all, "clients are told that their connections are over")
            }
            Err(error) if !self.mute.swap(true, Ordering::Relaxed) => tracing::warn!(
                "clients that only read are not told that their connections are over, and hang: \
                 {error}; the agent needs the capability CAP_NET_RAW"
            ),
            Err(_) => {}
        }
    }

    async fn find(&self, managed: &BTreeSet<IpAddr>) -> Result<Vec<Found>, OsError> {
        let look = wire::look(&self.handle).await?;
        let mut found: BTreeMap<IpAddr, Option<Duration>> = BTreeMap::new();
        for entry in &look.entries {
            if !managed.contains(&entry.address) && !self.ours.has(entry) {
                continue;
            }
            // Of two entries of one address the one that stays longer counts.
            found
                .entry(entry.address)
                .and_modify(|left| *left = left.zip(entry.valid).map(|(a, b)| a.max(b)))
                .or_insert(entry.valid);
        }
        let found = found.into_iter();
        Ok(found.map(|(address, lifetime_left)| Found { address, lifetime_left }).collect())
    }
}

fn os_error(problem: &str) -> OsError {
    OsError { problem: problem.to_owned() }
}

impl AddressDriver for Kernel {
    fn reset_connections<'a>(&'a self, addresses: &'a [IpAddr]) -> BoxFuture<'a, Vec<Connection>> {
        Box::pin(self.reset(addresses))
    }

    fn tell<'a>(&'a self, connections: &'a [Connection]) -> BoxFuture<'a, ()> {
        Box::pin(self.tell(connections))
    }

    fn add(&self, additions: Vec<Addition>) -> BoxFuture<'_, Vec<Result<(), OsError>>> {
        Box::pin(async move { self.add_all(&additions).await })
    }

    fn remove(&self, addresses: Vec<IpAddr>) -> BoxFuture<'_, Result<(), OsError>> {
        Box::pin(async move { self.remove_all(&addresses).await })
    }

    fn found<'a>(
        &'a self,
        managed: &'a BTreeSet<IpAddr>,
    ) -> BoxFuture<'a, Result<Vec<Found>, OsError>> {
        Box::pin(self.find(managed))
    }

    fn sighted(&self) -> BoxFuture<'_, Sighting> {
        Box::pin(async move {
            match self.sightings.lock().await.recv().await {
                Some(sighting) => sighting,
                None => std::future::pending().await,
            }
        })
    }
}

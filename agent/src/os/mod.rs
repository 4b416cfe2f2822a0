//! The operating system's side of a VIP: addresses that come with a lifetime and go by
//! themselves.
//!
//! A driver does what it is told and reads back what came of it. It decides nothing: whether an
//! address may be added, and for how long, is said by `vipfence_agent_core::Holder`. Linux-only
//! code stays below `os/linux`, so that an agent on another system stays possible.
//!
//! I1 rests on what a driver promises: an address that was added with a lifetime is gone when
//! the lifetime has ended (and `KERNEL_SLACK` has passed), with no code of the agent running.

#[cfg(target_os = "linux")]
pub(crate) mod linux;
pub(crate) mod userspace;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use vipfence_agent_core::{Found, Sighting};
use vipfence_types::{Clocks, Connection, Epoch, Probe, VipAddress, VipName};

use crate::clock::ClockSource;

/// A call to the OS failed: the addresses may or may not be there.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct OsError {
    /// What went wrong, for people.
    pub(crate) problem: String,
}

/// An address with its lifetime, as it is to be on the OS.
#[derive(Clone, Debug)]
pub(crate) struct Addition {
    /// The VIP.
    pub(crate) vip: VipName,
    /// The epoch under which it is held.
    pub(crate) epoch: Epoch,
    /// The addresses.
    pub(crate) addresses: Vec<VipAddress>,
    /// The valid lifetime of all of them: whole seconds, from the moment of the call.
    pub(crate) lifetime: Duration,
    /// Until when a call may be made: the lifetime was computed from a lease that runs meanwhile.
    pub(crate) deadline: Deadline,
    /// The load balancer's probe that is answered for as long.
    pub(crate) probe: Option<Probe>,
}

/// When something must be begun on the OS. Looked at right before each call that gives a lifetime: a
/// process that was stopped on its way there would outlive its lease (I1).
#[derive(Clone)]
pub(crate) struct Deadline {
    pub(crate) clocks: Arc<dyn ClockSource>,
    pub(crate) computed_at: Clocks,
    pub(crate) within: Duration,
}

impl Deadline {
    pub(crate) fn check(&self) -> Result<(), OsError> {
        let waited = self.clocks.now().longest_since(self.computed_at);
        if waited <= self.within {
            return Ok(());
        }
        Err(OsError { problem: format!("the OS was busy for {} ms", waited.as_millis()) })
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:?}", self.within, self.computed_at)
    }
}

/// Which interface belongs to a NIC of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The node's own name for the NIC.
    pub(crate) nic: String,
    /// How the interface is found.
    pub(crate) selector: Selector,
}

/// How an interface is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    /// By its name.
    Name(String),
    /// By its MAC address, which Azure shows for each NIC.
    Mac([u8; 6]),
    /// The one with an address in whose subnet the VIP is.
    Subnet,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "\"{name}\""),
            Self::Mac(mac) => {
                let parts: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(f, "with the MAC address {}", parts.join(":"))
            }
            Self::Subnet => f.write_str("in the subnet of the VIP"),
        }
    }
}

/// Addresses on an operating system. The calls of one agent come one after the other.
pub(crate) trait AddressDriver: Send + Sync {
    /// Puts the addresses on the OS; where they are already, their lifetime starts anew. One outcome
    /// for each addition, in their order; `Ok` only after its addresses were read back.
    fn add(&self, additions: Vec<Addition>) -> BoxFuture<'_, Vec<Result<(), OsError>>>;

    /// Resets TCP connections to the addresses, which are about to go, so that who waits at their
    /// other end hears of it. What cannot be done is left. The connections, as many as are carried of
    /// one VIP; none where the OS has no such connections.
    fn reset_connections<'a>(&'a self, _addresses: &'a [IpAddr]) -> BoxFuture<'a, Vec<Connection>> {
        Box::pin(std::future::ready(vec![]))
    }

    /// Sends the other end of each connection one ACK that fits into none, from the VIP's address,
    /// which must be here. What cannot be done is left.
    fn tell<'a>(&'a self, _connections: &'a [Connection]) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Takes the addresses off the OS; one that is not there is no error. `Ok` only after a read
    /// back that does not show them.
    fn remove(&self, addresses: Vec<IpAddr>) -> BoxFuture<'_, Result<(), OsError>>;

    /// What is on the OS of these addresses, whoever put it there, and of those that this program
    /// has added, in this start or an earlier one.
    fn found<'a>(
        &'a self,
        managed: &'a BTreeSet<IpAddr>,
    ) -> BoxFuture<'a, Result<Vec<Found>, OsError>>;

    /// Waits for the next change of an address that this driver has not made, and says what there is
    /// after it. Only one task may wait.
    fn sighted(&self) -> BoxFuture<'_, Sighting>;
}

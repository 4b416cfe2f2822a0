//! The operating system's side of a VIP: addresses that come with a lifetime and go by
//! themselves.
//!
//! A driver does what it is told and reads back what came of it. It decides nothing: whether an
//! address may be added, and for how long, is said by `vipfence_agent_core::Holder`. Linux-only
//! code stays below `os/linux`, so that an agent on another system stays possible.
//!
//! I1 rests on what a driver promises: an address that was added with a lifetime is gone when
//! the lifetime has ended (and `KERNEL_SLACK` has passed), with no code of the agent running.

pub(crate) mod userspace;

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use vipfence_agent_core::Found;
use vipfence_types::{Epoch, VipAddress, VipName};

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
}

/// Addresses on an operating system. The calls of one agent come one after the other.
pub(crate) trait AddressDriver: Send + Sync {
    /// Puts the addresses on the OS; where they are already, their lifetime starts anew. `Ok`
    /// only after they were read back.
    fn add(&self, addition: Addition) -> BoxFuture<'_, Result<(), OsError>>;

    /// Takes the addresses off the OS; one that is not there is no error. `Ok` only after a read
    /// back that does not show them.
    fn remove(&self, addresses: Vec<IpAddr>) -> BoxFuture<'_, Result<(), OsError>>;

    /// Every managed address on the OS: each that this program has added, in this start or an
    /// earlier one, and none else.
    fn found(&self) -> BoxFuture<'_, Result<Vec<Found>, OsError>>;
}

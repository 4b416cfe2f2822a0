//! The OS of a node: the stage's kernel, behind the trait that production's drivers have.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use vipfence_agent_core::{Found, Sighting};
use vipfence_sim::Who;

use super::stage::Shared;
use crate::os::{Addition, AddressDriver, OsError};

/// See the module.
pub(super) struct StageKernel {
    pub(super) stage: Shared,
    pub(super) who: Who,
}

/// What a kernel is asked for.
#[derive(Debug)]
pub(super) enum Asked {
    Add(Addition),
    Remove(Vec<IpAddr>),
}

impl StageKernel {
    /// A call to the OS takes a moment, and sometimes too long; it may fail before it does anything.
    /// The kernel has it from the beginning: it does not wait for a process that is stopped meanwhile.
    async fn call(&self, asked: Asked) -> Result<(), OsError> {
        let (wait, fails) = {
            let mut stage = self.stage.enter();
            let chance = &mut stage.chance;
            let wait = match chance.within(0, 19) {
                0 => chance.within(50, 400),
                1..4 => chance.within(1, 20),
                _ => 0,
            };
            let fails = chance.one_in(100);
            stage.nodes[self.who.node].in_kernel = (!fails).then_some((self.who, asked));
            (wait, fails)
        };
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        self.stage.enter().kernel_does(self.who.node);
        if fails { Err(OsError { problem: "as it was drawn".to_owned() }) } else { Ok(()) }
    }
}

impl AddressDriver for StageKernel {
    fn add(&self, additions: Vec<Addition>) -> BoxFuture<'_, Vec<Result<(), OsError>>> {
        Box::pin(async move {
            let mut outcomes = Vec::new();
            for addition in additions {
                outcomes.push(self.call(Asked::Add(addition)).await);
            }
            outcomes
        })
    }

    fn remove(&self, addresses: Vec<IpAddr>) -> BoxFuture<'_, Result<(), OsError>> {
        Box::pin(self.call(Asked::Remove(addresses)))
    }

    fn found<'a>(
        &'a self,
        _managed: &'a BTreeSet<IpAddr>,
    ) -> BoxFuture<'a, Result<Vec<Found>, OsError>> {
        Box::pin(async move { Ok(self.stage.enter().found(self.who.node)) })
    }

    fn sighted(&self) -> BoxFuture<'_, Sighting> {
        Box::pin(std::future::pending())
    }
}

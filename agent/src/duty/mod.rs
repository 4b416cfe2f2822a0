//! What runs around a VIP on this node beside its address: hooks, and the units that start and stop
//! with it. The Holder says what and when; here it is done.
//!
//! What runs stands in this node's own file and nowhere else (ADR 9).
//!
//! Deliberately not here: the order of tasks, time-outs, whether a task is run again, and what follows
//! from one that failed: all of that is `vipfence_agent_core`.

#[cfg(test)]
mod tests;
mod units;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use vipfence_agent_core::{Duties, Serving, Task};
use vipfence_types::{ClusterName, Epoch, NodeId, VipName};

pub(crate) use units::{ServiceManager, Systemctl, drop_in};

use crate::{
    health::CheckSetup,
    program::{self, Program},
    spawner::Spawner,
};

/// How long a starting agent waits to hear of a unit.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// What the file of a node says about a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VipSetup {
    /// The units that start with it, in this order.
    pub(crate) units: Vec<String>,
    /// How long all of them together may take to start, or to stop.
    pub(crate) units_timeout: Duration,
    /// Connections to it are reset before its address is dropped.
    pub(crate) reset_connections: bool,
    /// It is served also where `pre_acquire` fails.
    pub(crate) serve_all_the_same: bool,
    /// The hooks, by the task that runs them.
    pub(crate) hooks: BTreeMap<Task, Hook>,
    /// What its service is asked.
    pub(crate) checks: Vec<CheckSetup>,
}

/// A program that is run around a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// How long it may take.
    pub(crate) timeout: Duration,
}

/// The addresses of a VIP, as far as this node's copy of the log tells.
pub(crate) type AddressesOf = dyn Fn(&VipName) -> Vec<IpAddr> + Send + Sync;

/// Does what is to be done around VIPs.
pub(crate) struct Attendant {
    /// This node, as hooks see it.
    pub(crate) node: NodeId,
    /// Its cluster.
    pub(crate) cluster: ClusterName,
    /// What the file says.
    pub(crate) vips: BTreeMap<VipName, VipSetup>,
    /// Who forks.
    pub(crate) spawner: Spawner,
    /// Who starts units.
    pub(crate) services: Arc<dyn ServiceManager>,
    /// The addresses that hooks are told.
    pub(crate) addresses: Box<AddressesOf>,
}

impl Attendant {
    /// One who has nothing to do.
    #[cfg(test)]
    pub(crate) fn idle() -> Self {
        Self::of(BTreeMap::new())
    }

    /// One of a node of tests.
    #[cfg(test)]
    pub(crate) fn of(vips: BTreeMap<VipName, VipSetup>) -> Self {
        let spawner = Spawner::new().expect("a thread");
        Self {
            node: NodeId::new("n1").expect("a name"),
            cluster: ClusterName::new("c1").expect("a name"),
            vips,
            spawner: spawner.clone(),
            services: Arc::new(Systemctl::new(spawner)),
            addresses: Box::new(|_| vec![[10, 5, 0, 110].into(), [10, 5, 0, 111].into()]),
        }
    }

    /// What there is to do, for the Holder.
    pub(crate) fn duties(&self) -> BTreeMap<VipName, Duties> {
        let duties = |setup: &VipSetup| {
            let mut tasks: BTreeMap<Task, Duration> =
                setup.hooks.iter().map(|(task, hook)| (*task, hook.timeout)).collect();
            if !setup.units.is_empty() {
                tasks.insert(Task::StartUnits, setup.units_timeout);
                tasks.insert(Task::StopUnits, setup.units_timeout);
            }
            Duties { tasks, serve_all_the_same: setup.serve_all_the_same }
        };
        let vips = self.vips.iter();
        vips.map(|(vip, setup)| (vip.clone(), duties(setup)))
            .filter(|(_, duties)| !duties.tasks.is_empty())
            .collect()
    }

    /// What an earlier start has done around VIPs, as it still is: complete only where all units still
    /// run. (Those that are bound to the agent went with it.)
    pub(crate) async fn still_serving(
        &self,
        mut before: BTreeMap<VipName, Serving>,
    ) -> BTreeMap<VipName, Serving> {
        for (vip, serving) in before.iter_mut().filter(|(_, serving)| serving.complete) {
            for unit in self.vips.get(vip).map_or(&[][..], |setup| &setup.units) {
                let active = tokio::time::timeout(LOOK_WITHIN, self.services.is_active(unit)).await;
                if !matches!(active, Ok(Ok(()))) {
                    tracing::warn!(%vip, unit, "the unit does not run any more: a new epoch is needed");
                    serving.complete = false;
                    break;
                }
            }
        }
        before
    }

    /// Whether connections to a VIP are reset before its address goes.
    pub(crate) fn resets_connections(&self, vip: &VipName) -> bool {
        self.vips.get(vip).is_none_or(|setup| setup.reset_connections)
    }

    /// Does one task, until its end or until `stop` is ready.
    ///
    /// # Errors
    /// In words for people. Nothing of a task that was stopped runs any more, but for what systemd
    /// has begun with a unit.
    pub(crate) async fn perform(
        &self,
        vip: &VipName,
        epoch: Epoch,
        task: Task,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), String> {
        let Some(setup) = self.vips.get(vip) else { return Ok(()) };
        let hook = match task {
            Task::StartUnits => {
                return units::start_all(&*self.services, &setup.units, stop).await;
            }
            Task::StopUnits => return units::stop_all(&*self.services, &setup.units, stop).await,
            Task::PreAcquire
            | Task::PostAcquire
            | Task::PreRelease
            | Task::PostRelease
            | Task::OnFault => setup.hooks.get(&task),
        };
        let Some(hook) = hook else { return Ok(()) };
        let environment = self.environment(vip, epoch, task);
        let program = Program { words: hook.words.clone(), environment: Some(environment) };
        let ended = program::run(&self.spawner, &program, stop).await;
        if ended.outcome.is_ok() && !ended.said.trim().is_empty() {
            tracing::info!(%vip, %epoch, "{task} said: {}", ended.said.trim());
        }
        ended.told()
    }

    fn environment(&self, vip: &VipName, epoch: Epoch, task: Task) -> Vec<(&'static str, String)> {
        let addresses = (self.addresses)(vip);
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let mut all = vec![
            ("VIPFENCE_VIP", vip.to_string()),
            ("VIPFENCE_EPOCH", epoch.to_string()),
            ("VIPFENCE_NODE", self.node.to_string()),
            ("VIPFENCE_CLUSTER", self.cluster.to_string()),
            ("VIPFENCE_TASK", task.to_string()),
            ("VIPFENCE_ADDRESSES", addresses.join(" ")),
        ];
        all.extend(plain_environment());
        all
    }
}

/// What every program gets that the agent runs by the file's word.
pub(crate) fn plain_environment() -> [(&'static str, String); 2] {
    let own = |key, default: &str| std::env::var(key).unwrap_or_else(|_| default.to_owned());
    [
        ("PATH", own("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")),
        ("LANG", own("LANG", "C.UTF-8")),
    ]
}

//! Who watches over the agent from outside: the service manager (`sd_notify`), and a watchdog device
//! where the configuration names one.
//!
//! Both hear from the node's own loop only, right after it has looked at its clocks and taken a
//! step. A loop that hangs tells them nothing: the service manager then starts the agent anew, the
//! device resets the machine.
//!
//! It decides nothing: whether the leases are sound, and whether something may be left on the OS, is
//! said by `vipfence_agent_core::LocalView`. I1 does not rest on it; the kernel's lifetimes and the
//! lease wait keep that. A device is for the kernel that does not do as it was told.

mod device;
mod manager;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use vipfence_agent_core::LocalView;
use vipfence_types::Clocks;

pub(crate) use device::Device;
pub(crate) use manager::Manager;

/// Everybody who watches; nobody by default.
#[derive(Default)]
pub(crate) struct Supervisor {
    manager: Option<Manager>,
    device: Option<Device>,
}

impl Supervisor {
    pub(crate) fn new(manager: Option<Manager>, device: Option<Device>) -> Self {
        Self { manager, device }
    }

    /// How often the loop must look at the least.
    pub(crate) fn look_every(&self) -> Duration {
        self.manager.as_ref().and_then(Manager::look_every).unwrap_or(Duration::MAX)
    }

    /// The loop has taken a step, and this is what the node then knows of itself.
    pub(crate) fn look(&mut self, now: Clocks, view: &LocalView) {
        if let Some(manager) = &mut self.manager {
            manager.look(now, view);
        }
        if let Some(device) = &mut self.device {
            device.look(now, view.sound);
        }
    }

    /// The loop has come to its clean end. A device is disarmed only if nothing is left that the
    /// kernel would have to take off: an agent that keeps its VIPs leaves it armed, and has to be
    /// back within its time-out.
    pub(crate) fn end(self, view: &LocalView) {
        if let Some(device) = self.device {
            device.end(!view.may_be_left);
        }
    }
}

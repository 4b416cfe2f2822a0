//! What comes next: for scripts that do something between any two events.

use super::{Event, Kind, World};
use crate::{net::Spot, process::Local};

/// What the next event is.
#[derive(Clone, Debug, PartialEq)]
pub enum Coming {
    /// A message arrives.
    Message {
        /// Where it comes from.
        from: Spot,
        /// Where it goes.
        to: Spot,
        /// What it is.
        kind: Kind,
    },
    /// A request to ARM has its connection, and is sent.
    Sends {
        /// The node that sends it.
        node: usize,
    },
    /// The disk of an agent has flushed.
    Flushed {
        /// The node.
        node: usize,
    },
    /// What has been applied reaches a coordinator.
    Applied {
        /// The node.
        node: usize,
    },
    /// Anything else.
    Other,
}

impl World {
    /// What the next event is; none = there is none.
    #[must_use]
    pub fn coming(&self) -> Option<Coming> {
        let (_, event) = self.queue.first_key_value()?;
        Some(match event {
            Event::Arrives(packet) => {
                let kind = Kind::of(&packet.message);
                Coming::Message { from: packet.from, to: packet.to, kind }
            }
            Event::Local { node, local, .. } => match local {
                Local::Ready(_) => Coming::Sends { node: *node },
                Local::Disk => Coming::Flushed { node: *node },
                Local::Applied | Local::Input(_) => Coming::Applied { node: *node },
                Local::Raft(_)
                | Local::Driver(_)
                | Local::Holder(_)
                | Local::Os
                | Local::Task(_)
                | Local::ReachTimeout(_)
                | Local::HttpTimeout(_)
                | Local::BeatTimeout(_)
                | Local::Sighted(_)
                | Local::Token => Coming::Other,
            },
            Event::Kernel { .. }
            | Event::Azure
            | Event::Operator { .. }
            | Event::Probes { .. }
            | Event::Deed(_) => Coming::Other,
        })
    }

    /// The next event happens; whether there was one, and nothing is violated.
    pub fn step(&mut self) -> bool {
        let Some(entry) = self.queue.first_entry() else { return false };
        self.now = self.now.max(entry.key().0);
        let event = entry.remove();
        self.happen(event);
        self.look();
        self.violation.is_none()
    }
}

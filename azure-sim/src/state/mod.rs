//! The pure state machine: no clock, no randomness, no I/O, no tokio.

mod admin;
mod attachments;
mod authorization;
mod build;
mod check;
mod config;
mod conflict;
mod dispatch;
mod effect;
mod entra;
mod error;
mod fault;
mod guid;
mod held;
mod http;
mod identity;
mod imds;
mod journal;
mod linked;
mod net;
mod nic;
mod obey;
mod operation;
mod place;
mod plan;
mod profile;
mod read;
mod roles;
mod route;
mod rules;
mod settings;
mod sites;
mod standing;
mod tags;
#[cfg(test)]
mod tests;
mod throttle;
mod view;
mod vm;
mod wall;
mod world;
mod write;

pub use admin::{AdminCommand, AdminError, AdminReply, THIRD_PARTY};
pub use attachments::{AttachmentChange, Attachments};
pub use check::ConfigError;
pub use config::{
    ApplicationConfig, FederationConfig, IdentityConfig, Limits, NicConfig, SubnetConfig,
    VirtualNetworkConfig, VmConfig, WorldConfig,
};
pub use fault::{Fault, FaultEffect};
pub use http::{ArmRequest, ArmResponse};
pub use identity::Rights;
pub use journal::{Call, JournalEntry, JournalEvent};
pub use net::{Prefix, PrefixError};
pub use profile::{Profile, ProfileError};
pub use roles::{BuiltInRole, Role, RoleAssignment, RoleDefinition};
pub use settings::{AddressFreed, ConcurrentWrite, PatchTags, Settings, TenantUpdate};
pub use standing::{Lock, SubnetTrouble};
pub use throttle::{Bucket, Throttling};
pub use view::{HeldStatus, NicStatus, RunningOperation, Status, VmStatus};
pub use vm::{ImdsFault, Power};
pub use world::{ArmOutcome, HoldId, LostAnswer, World};

//! The commands of `azure-sim admin` that change something, and what they are as
//! [`AdminCommand`]s.

use std::net::IpAddr;
use std::time::Duration;

use azure_sim::{AdminCommand, Fault, FaultEffect, HoldId, Lock, Power, Profile};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, json};

use super::roles::Roles;
use super::serve::{duration, millis};

#[derive(Debug, Subcommand)]
pub(super) enum Deed {
    /// Puts on a profile: instant, new-control-plane, classic or bad-day.
    Profile {
        /// Which.
        profile: Profile,
    },
    /// A fault waits for the next request it means.
    Fault(FaultArgs),
    /// All waiting faults go.
    ClearFaults,
    /// Lets a held request through, or all of them.
    Release {
        /// Which; all without it.
        hold: Option<u64>,
    },
    /// Operations do not end any more.
    Freeze {
        /// Of which NIC; of all without it.
        nic: Option<String>,
    },
    /// They do again.
    Unfreeze {
        /// Of which NIC; of all without it.
        nic: Option<String>,
    },
    /// Somebody writes to a NIC without If-Match.
    #[command(subcommand)]
    ThirdParty(ThirdParty),
    /// Locks a NIC or the whole resource group, or unlocks it.
    Lock {
        /// What may not be done.
        lock: LockWord,
        /// The NIC; the resource group without it.
        #[arg(long)]
        nic: Option<String>,
    },
    /// A policy denies writes; without a name it does so no longer.
    Policy {
        /// Name of its assignment.
        policy: Option<String>,
        /// The NIC; all of the resource group without it.
        #[arg(long)]
        nic: Option<String>,
    },
    /// Starts, stops, deallocates or deletes a VM.
    Power {
        /// Name of the VM.
        node: String,
        /// New state.
        power: PowerWord,
    },
    /// Ends the operation that runs on a NIC as Canceled.
    Cancel {
        /// Name of the NIC.
        nic: String,
    },
    /// The NIC's provisioningState is Failed, and so is what runs on it.
    FailNic {
        /// Name of the NIC.
        nic: String,
    },
    /// Empties the token buckets of a VM's identity, or of all.
    Drain {
        /// Name of the VM.
        node: Option<String>,
    },
    /// Assigns roles to a VM's identity, in place of those it had.
    Roles(Roles),
    /// Any command as JSON, for instance '{"command":"revoke_tokens","node":"n1"}'.
    Command {
        /// As in the README.
        #[arg(value_name = "JSON", value_parser = command)]
        command: AdminCommand,
    },
}

#[derive(Debug, Args)]
pub(super) struct FaultArgs {
    /// Only requests of this VM.
    #[arg(long)]
    node: Option<String>,
    /// Only requests about this NIC.
    #[arg(long)]
    nic: Option<String>,
    /// Only this method; * = all, POLL = the GETs of operations. Writes without it.
    #[arg(long)]
    method: Option<String>,
    /// Lets so many pass first.
    #[arg(long, default_value_t = 0)]
    skip: u32,
    /// Strikes so many after that.
    #[arg(long, default_value_t = 1)]
    times: u32,
    #[command(subcommand)]
    effect: Effect,
}

#[derive(Debug, Subcommand)]
pub(super) enum Effect {
    /// Refused before anything is looked at.
    Refuse {
        /// HTTP status.
        status: u16,
        /// error.code
        code: String,
        /// error.message
        #[arg(default_value = "")]
        message: String,
        /// Retry-After in seconds.
        #[arg(long)]
        retry_after_s: Option<u64>,
    },
    /// Lost on its way: not processed, the connection is closed.
    NeverArrives,
    /// Processed, but the client hears nothing.
    LoseAnswer {
        /// The connection is closed instead.
        #[arg(long)]
        close: bool,
    },
    /// Kept until released.
    Hold,
    /// Kept for a while.
    Delay {
        /// For instance 300ms.
        #[arg(value_parser = duration)]
        takes: Duration,
    },
    /// The next operation ends Failed.
    FailOperation {
        /// error.code
        code: String,
        /// error.message
        #[arg(default_value = "")]
        message: String,
        /// What it was to do happens all the same.
        #[arg(long)]
        takes_effect: bool,
    },
    /// The next operation takes so long.
    OperationTakes {
        /// For instance 90s.
        #[arg(value_parser = duration)]
        takes: Duration,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ThirdParty {
    /// Adds an ipConfiguration.
    Attach {
        /// Name of the NIC.
        nic: String,
        /// Its address.
        address: IpAddr,
        /// Its name; made from the address without it.
        #[arg(long)]
        ip_config: Option<String>,
        /// The operation ends at once.
        #[arg(long)]
        immediate: bool,
    },
    /// Takes one away.
    Detach {
        /// Name of the NIC.
        nic: String,
        /// Its address.
        address: IpAddr,
        /// The operation ends at once.
        #[arg(long)]
        immediate: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LockWord {
    CanNotDelete,
    ReadOnly,
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PowerWord {
    Running,
    Stopped,
    Deallocated,
    Deleting,
}

fn command(text: &str) -> Result<AdminCommand, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl From<Deed> for AdminCommand {
    fn from(deed: Deed) -> Self {
        match deed {
            Deed::Profile { profile } => {
                let changes = Map::from_iter([("profile".to_owned(), json!(profile))]);
                AdminCommand::ChangeSettings { changes }
            }
            Deed::Fault(fault) => AdminCommand::AddFault { fault: fault.into() },
            Deed::ClearFaults => AdminCommand::ClearFaults,
            Deed::Release { hold } => AdminCommand::Release { hold: hold.map(HoldId) },
            Deed::Freeze { nic } => AdminCommand::Freeze { nic },
            Deed::Unfreeze { nic } => AdminCommand::Unfreeze { nic },
            Deed::ThirdParty(ThirdParty::Attach { nic, address, ip_config, immediate }) => {
                AdminCommand::ThirdPartyAttach { nic, address, ip_config, immediate }
            }
            Deed::ThirdParty(ThirdParty::Detach { nic, address, immediate }) => {
                AdminCommand::ThirdPartyDetach { nic, address, immediate }
            }
            Deed::Lock { lock, nic } => {
                let lock = match lock {
                    LockWord::CanNotDelete => Some(Lock::CanNotDelete),
                    LockWord::ReadOnly => Some(Lock::ReadOnly),
                    LockWord::None => None,
                };
                AdminCommand::SetLock { nic, lock }
            }
            Deed::Policy { policy, nic } => AdminCommand::SetPolicy { nic, policy },
            Deed::Power { node, power } => {
                let power = match power {
                    PowerWord::Running => Power::Running,
                    PowerWord::Stopped => Power::Stopped,
                    PowerWord::Deallocated => Power::Deallocated,
                    PowerWord::Deleting => Power::Deleting,
                };
                AdminCommand::SetPower { node, power }
            }
            Deed::Cancel { nic } => AdminCommand::CancelOperation { nic },
            Deed::FailNic { nic } => AdminCommand::FailNic { nic },
            Deed::Drain { node } => AdminCommand::DrainBuckets { node },
            Deed::Roles(roles) => roles.into(),
            Deed::Command { command } => command,
        }
    }
}

impl From<FaultArgs> for Fault {
    fn from(args: FaultArgs) -> Self {
        let FaultArgs { node, nic, method, skip, times, effect } = args;
        let effect = match effect {
            Effect::Refuse { status, code, message, retry_after_s } => {
                FaultEffect::Refuse { status, code, message, retry_after_s }
            }
            Effect::NeverArrives => FaultEffect::NeverArrives,
            Effect::LoseAnswer { close } => FaultEffect::LoseAnswer { close },
            Effect::Hold => FaultEffect::Hold,
            Effect::Delay { takes } => FaultEffect::Delay { ms: millis(takes) },
            Effect::FailOperation { code, message, takes_effect } => {
                FaultEffect::FailOperation { code, message, takes_effect }
            }
            Effect::OperationTakes { takes } => FaultEffect::OperationTakes { ms: millis(takes) },
        };
        Self { node, nic, method, skip, times, effect }
    }
}

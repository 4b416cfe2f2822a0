//! The tester's hand: everything that can be done to a world besides sending it requests. What a
//! command does stands in `obey`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fault::Fault;
use super::http::ArmResponse;
use super::identity::Rights;
use super::roles::RoleAssignment;
use super::standing::{Lock, SubnetTrouble};
use super::vm::{ImdsFault, Power};
use super::world::HoldId;

/// The principal under which [`AdminCommand::ThirdPartyAttach`] and its like write.
pub const THIRD_PARTY: &str = "third-party";

/// A command of the tester. As JSON: `{"command":"set_operation_ms","ms":250}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminCommand {
    /// Duration of operations accepted from now on.
    SetOperationMs {
        /// New `operation_ms`; `detach_operation_ms` is cleared.
        ms: u64,
    },
    /// Changes the named settings.
    ChangeSettings {
        /// Some of the fields of [`Settings`](super::Settings), and `profile`: see
        /// [`Settings::changed`](super::Settings::changed).
        changes: Map<String, Value>,
    },
    /// A fault begins to wait.
    AddFault {
        /// The fault.
        fault: Fault,
    },
    /// All waiting faults go.
    ClearFaults,
    /// Lets a held request through, or all of them in the order of arrival.
    Release {
        /// Which; `None` = all.
        #[serde(default)]
        hold: Option<HoldId>,
    },
    /// Operations do not end any more.
    Freeze {
        /// Of which NIC; `None` = of all.
        #[serde(default)]
        nic: Option<String>,
    },
    /// The opposite; what is overdue ends at once. Without a NIC every freeze ends.
    Unfreeze {
        /// Of which NIC; `None` = of all.
        #[serde(default)]
        nic: Option<String>,
    },
    /// Ends the operation that runs on a NIC as `Canceled`, as if another one had superseded it.
    CancelOperation {
        /// Name of the NIC.
        nic: String,
    },
    /// The NIC's `provisioningState` is `Failed`; an operation that runs on it ends so. The next
    /// PUT that succeeds heals it. `[I]`
    FailNic {
        /// Name of the NIC.
        nic: String,
    },
    /// Puts a lock on a NIC or on the resource group, or takes it away. Third parties break it.
    SetLock {
        /// Name of the NIC; `None` = the resource group.
        #[serde(default)]
        nic: Option<String>,
        /// The lock; `None` = none.
        #[serde(default)]
        lock: Option<Lock>,
    },
    /// A policy denies PUT and PATCH, or does so no longer. Third parties are exempt.
    SetPolicy {
        /// Name of the NIC; `None` = every NIC of the resource group.
        #[serde(default)]
        nic: Option<String>,
        /// Name of the assignment; `None` = none.
        #[serde(default)]
        policy: Option<String>,
    },
    /// A subnet is being updated or has failed: PUTs of NICs that refer to it are refused.
    SetSubnet {
        /// Name of the virtual network.
        virtual_network: String,
        /// Name of the subnet.
        subnet: String,
        /// What is wrong; `None` = nothing.
        #[serde(default)]
        trouble: Option<SubnetTrouble>,
    },
    /// The token buckets of ARM are empty; without effect where `throttling` has none.
    DrainBuckets {
        /// Name of the VM whose identity used them up; `None` = all did.
        #[serde(default)]
        node: Option<String>,
    },
    /// Somebody without manners adds an ipConfiguration: no `If-Match`.
    ThirdPartyAttach {
        /// Name of the NIC.
        nic: String,
        /// Address.
        address: IpAddr,
        /// Name of the ipConfiguration; `None` = made from the address.
        #[serde(default)]
        ip_config: Option<String>,
        /// The operation ends at once.
        #[serde(default)]
        immediate: bool,
    },
    /// The same for taking one away.
    ThirdPartyDetach {
        /// Name of the NIC.
        nic: String,
        /// Address.
        address: IpAddr,
        /// The operation ends at once.
        #[serde(default)]
        immediate: bool,
    },
    /// The NIC is gone, whatever held on to it.
    DeleteNic {
        /// Name of the NIC.
        nic: String,
    },
    /// Starts, stops, deallocates or deletes a VM.
    SetPower {
        /// Name of the VM.
        node: String,
        /// New state.
        power: Power,
    },
    /// Breaks the IMDS of a VM, or repairs it.
    SetImds {
        /// Name of the VM.
        node: String,
        /// What is wrong; `None` = nothing.
        #[serde(default)]
        fault: Option<ImdsFault>,
    },
    /// Takes or gives rights in ARM.
    SetRights {
        /// Name of the VM.
        node: String,
        /// New rights.
        rights: Rights,
    },
    /// Assigns roles to an identity, in place of those it had. The coarse rights stay as they are.
    SetRoles {
        /// Name of the VM.
        node: String,
        /// New assignments; `None` = it may do everything, as before there were any.
        #[serde(default)]
        assignments: Option<Vec<RoleAssignment>>,
    },
    /// No token given to this VM so far counts any more.
    RevokeTokens {
        /// Name of the VM.
        node: String,
    },
    /// Announces maintenance in the VM's IMDS.
    ScheduleEvent {
        /// Name of the VM.
        node: String,
        /// `Reboot`, `Redeploy`, `Freeze`, `Preempt` or `Terminate`.
        event: String,
        /// It starts so much later, or when it is acknowledged.
        in_ms: u64,
    },
    /// Ends all events of a VM: they vanish.
    EndEvents {
        /// Name of the VM.
        node: String,
    },
}

/// What a command led to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum AdminReply {
    /// Done.
    Done,
    /// These requests were processed now.
    Released {
        /// Their ids, in this order.
        holds: Vec<HoldId>,
    },
    /// The third party's PUT was answered with this.
    Answer {
        /// As a client would see it.
        response: ArmResponse,
    },
}

/// Why a command did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No such VM.
    #[error("there is no VM {0}")]
    UnknownNode(String),
    /// No such NIC.
    #[error("there is no NIC {0}")]
    UnknownNic(String),
    /// No such subnet.
    #[error("there is no subnet {0}")]
    UnknownSubnet(String),
    /// No operation to cancel.
    #[error("no operation runs on NIC {0}")]
    NoOperation(String),
    /// No such held request.
    #[error("no request is held as {0}")]
    UnknownHold(u64),
    /// A setting does not exist or has an impossible value.
    #[error("bad settings: {0}")]
    BadSettings(String),
    /// A role cannot be assigned there.
    #[error("{0}; it is assignable below its AssignableScopes only")]
    NotAssignable(String),
    /// Too many faults wait.
    #[error("{0} faults wait already")]
    TooManyFaults(usize),
}

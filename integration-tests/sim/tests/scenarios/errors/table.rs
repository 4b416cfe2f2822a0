//! The table: every way in which Azure can say no to a request of ours (azure.md §4), how it comes
//! about in the simulator, and what becomes of a move meanwhile.
//!
//! Where the simulator has the cause itself (locks, policies, rights, buckets, a subnet that is being
//! updated, somebody else's operation), that is used, since it answers as Azure does, details and
//! headers included. Everything else is a fault that answers for as long as it waits.

use azure_sim::{AdminCommand, Fault, FaultEffect};

use super::causes::*;

/// Which requests a cause strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Those about the NIC that the VIP comes from.
    Source,
    /// Those about the NIC that it goes to.
    Target,
    /// All.
    Everywhere,
}

impl At {
    /// The NIC; none = all. The VIP goes from `a` to `b`.
    pub(crate) fn nic(self) -> Option<&'static str> {
        match self {
            Self::Source => Some("a-nic"),
            Self::Target => Some("b-nic"),
            Self::Everywhere => None,
        }
    }
}

/// What becomes of a move while its target is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It waits for the end of the cause.
    Waits,
    /// Azure refuses this NIC for good, as far as anybody can tell: it may go to another candidate.
    MayGoElsewhere,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// Requests with this method are answered so.
    Answer { method: &'static str, status: u16, retry_after_s: Option<u64> },
    /// Writes go on being processed or not, and no answer comes: this is what happens to them.
    Silence(fn() -> FaultEffect),
    /// Operations are accepted and fail with the row's code, with their effect or without.
    Fails { takes_effect: bool },
    /// Something in Azure stands so.
    Stands { begin: Commands, end: Commands },
    /// Something is done again and again.
    Repeats(Commands),
}

type Commands = fn(At) -> Vec<AdminCommand>;

/// An error case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The code that Azure names, where it is a fault's.
    pub(crate) code: &'static str,
    /// What people must be able to read while it keeps a move waiting; empty = nothing in particular.
    pub(crate) says: &'static str,
    /// What goes wrong.
    pub(crate) cause: Cause,
    /// Where it can strike.
    pub(crate) at: &'static [At],
    /// What a move does when its target is struck.
    pub(crate) then: Then,
}

const EVERYWHERE: &[At] = &[At::Everywhere];
const ONE_NIC: &[At] = &[At::Source, At::Target];
const ANY: &[At] = &[At::Source, At::Target, At::Everywhere];

const fn answer(method: &'static str, status: u16, code: &'static str) -> Row {
    let cause = Cause::Answer { method, status, retry_after_s: None };
    Row { code, says: code, cause, at: ANY, then: Then::Waits }
}

const fn put(status: u16, code: &'static str) -> Row {
    answer("PUT", status, code)
}

/// A poll that fails is no reason to wait: the NIC is read instead, and meanwhile the operation is
/// shown as what it is, under way.
const fn poll(status: u16, code: &'static str) -> Row {
    Row { at: EVERYWHERE, says: "", ..answer("POLL", status, code) }
}

const fn fails(code: &'static str, takes_effect: bool) -> Row {
    Row { cause: Cause::Fails { takes_effect }, ..answer("", 0, code) }
}

/// The NIC that the VIP goes to is not there. (Where it comes from it is really deleted: that a NIC
/// does not exist is believed, and Azure does not say so of one that has the address.)
const fn gone(code: &'static str) -> Row {
    let row = Row { at: &[At::Target], says: "does not exist", ..answer("*", 404, code) };
    row.may_go_elsewhere()
}

const fn silence(effect: fn() -> FaultEffect) -> Row {
    Row { cause: Cause::Silence(effect), ..answer("", 0, "") }
}

const fn stands(says: &'static str, at: &'static [At], begin: Commands, end: Commands) -> Row {
    Row { cause: Cause::Stands { begin, end }, at, ..answer("", 0, says) }
}

const fn repeats(says: &'static str, at: &'static [At], commands: Commands) -> Row {
    Row { cause: Cause::Repeats(commands), at, ..answer("", 0, says) }
}

impl Row {
    const fn may_go_elsewhere(self) -> Self {
        Self { then: Then::MayGoElsewhere, ..self }
    }

    const fn after(self, seconds: u64) -> Self {
        let Cause::Answer { method, status, .. } = self.cause else { return self };
        let cause = Cause::Answer { method, status, retry_after_s: Some(seconds) };
        Self { cause, ..self }
    }
}

/// What a move says that has read of somebody else's operation before it met it.
pub(super) const ANOTHER: &str = "is being changed by another operation";

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    // The address: who has it, and whether the subnet has it.
    put(400, "PrivateIPAddressIsAllocated"),
    put(400, "PrivateIPAddressInUse"),
    put(400, "PrivateIPAddressIsBeingCleanedUp"),
    stands("PrivateIPAddressIsBeingCleanedUp", EVERYWHERE, cleaned_up_slowly, cleaned_up_at_once),
    put(400, "PrivateIPAddressNotInSubnet").may_go_elsewhere(),
    put(400, "PrivateIPAddressInReservedRange").may_go_elsewhere(),
    put(400, "SubnetIsFull").may_go_elsewhere(),
    // The body.
    put(400, "InvalidIPConfigCount").may_go_elsewhere(),
    put(400, "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary").may_go_elsewhere(),
    put(400, "IpConfigDeleteNotSupported").may_go_elsewhere(),
    put(400, "SubnetIsRequired").may_go_elsewhere(),
    put(400, "InvalidRequestContent").may_go_elsewhere(),
    put(400, "InvalidRequestFormat").may_go_elsewhere(),
    put(400, "InvalidResource").may_go_elsewhere(),
    // Somebody else's operation.
    stands(ANOTHER, ONE_NIC, busy_429, idle),
    stands(ANOTHER, ONE_NIC, in_progress_429, idle),
    stands(ANOTHER, ONE_NIC, conflict_409, idle),
    stands(ANOTHER, ONE_NIC, fails_later, idle),
    repeats("", ONE_NIC, busy_now_and_then),
    put(429, "RetryableError"),
    put(429, "AnotherOperationInProgress"),
    put(409, "AnotherOperationInProgress"),
    stands("ReferencedResourceNotProvisioned", EVERYWHERE, subnet_updating, subnet_well),
    stands("ReferencedResourceNotProvisioned", EVERYWHERE, subnet_failed, subnet_well),
    put(400, "ReferencedResourceNotProvisioned").may_go_elsewhere(),
    repeats("Canceled", ONE_NIC, canceled),
    repeats("", ONE_NIC, superseded),
    // Operations that fail.
    fails("AnotherOperationInProgress", false),
    fails("OperationPreempted", false),
    fails("OperationPreempted", true),
    fails("OperationNotAllowed", false).may_go_elsewhere(),
    fails("InternalServerError", false),
    fails("InternalServerError", true),
    stands("OperationNotAllowed", ONE_NIC, vm_deleting, vm_running).may_go_elsewhere(),
    repeats("", ONE_NIC, nic_failed),
    // What is not there.
    gone("ResourceNotFound"),
    gone("NotFound"),
    gone("ResourceGroupNotFound"),
    stands("", &[At::Source], nic_deleted, nothing),
    put(404, "ResourceNotFound").may_go_elsewhere(),
    answer("PATCH", 404, "ResourceNotFound"),
    poll(404, "OperationNotFound"),
    // Who may.
    answer("*", 403, "AuthorizationFailed").may_go_elsewhere(),
    put(403, "AuthorizationFailed").may_go_elsewhere(),
    put(403, "LinkedAuthorizationFailed").may_go_elsewhere(),
    stands("AuthorizationFailed", EVERYWHERE, nobody_writes, all_rights),
    UNREADABLE,
    stands("LinkedAuthorizationFailed", EVERYWHERE, nobody_joins, all_rights),
    stands("", EVERYWHERE, leader_writes_not, all_rights),
    answer("*", 401, "InvalidAuthenticationToken"),
    answer("*", 401, "ExpiredAuthenticationToken"),
    repeats("", EVERYWHERE, tokens_revoked),
    stands("ScopeLocked", ANY, locked, unlocked).may_go_elsewhere(),
    stands("RequestDisallowedByPolicy", ANY, disallowed, allowed).may_go_elsewhere(),
    answer("PATCH", 403, "RequestDisallowedByPolicy"),
    // How often.
    answer("*", 429, "SubscriptionRequestsThrottled").after(2),
    put(429, "SubscriptionRequestsThrottled").after(4),
    poll(429, "SubscriptionRequestsThrottled").after(4),
    stands("SubscriptionRequestsThrottled", EVERYWHERE, drained, unlimited),
    // Azure itself.
    answer("*", 500, "InternalServerError"),
    put(500, "InternalServerError"),
    poll(500, "InternalServerError"),
    answer("PATCH", 500, "InternalServerError"),
    put(502, "BadGateway"),
    answer("*", 503, "ServiceUnavailable"),
    put(504, "GatewayTimeout"),
    // What nobody has heard of yet.
    put(400, "SomethingNew").may_go_elsewhere(),
    put(409, "SomethingNew"),
    answer("PATCH", 400, "SomethingNew"),
    poll(400, "SomethingNew"),
    put(412, "PreconditionFailed"),
    answer("PATCH", 412, "PreconditionFailed"),
    // No answer.
    silence(|| FaultEffect::LoseAnswer { close: true }),
    silence(|| FaultEffect::LoseAnswer { close: false }),
    silence(|| FaultEffect::NeverArrives),
    silence(|| FaultEffect::Delay { ms: 6_000 }),
];

/// Nobody may read a NIC.
pub(super) const UNREADABLE: Row =
    stands("AuthorizationFailed", EVERYWHERE, nobody_reads, all_rights);

impl Row {
    /// What is done when it begins.
    pub(crate) fn begin(&self, at: At) -> Vec<AdminCommand> {
        match self.cause {
            Cause::Stands { begin, .. } => begin(at),
            Cause::Repeats(commands) => commands(at),
            Cause::Answer { .. } | Cause::Silence(_) | Cause::Fails { .. } => {
                self.fault(at).into_iter().map(|fault| AdminCommand::AddFault { fault }).collect()
            }
        }
    }

    /// What is done when it ends, besides that its fault goes.
    pub(crate) fn end(&self, at: At) -> Vec<AdminCommand> {
        match self.cause {
            Cause::Stands { end, .. } => end(at),
            Cause::Answer { .. } | Cause::Silence(_) | Cause::Fails { .. } | Cause::Repeats(_) => {
                vec![]
            }
        }
    }

    /// What is done twice a second meanwhile.
    pub(crate) fn again(&self, at: At) -> Vec<AdminCommand> {
        match self.cause {
            Cause::Repeats(commands) => commands(at),
            Cause::Stands { .. }
            | Cause::Answer { .. }
            | Cause::Silence(_)
            | Cause::Fails { .. } => vec![],
        }
    }

    /// The fault that waits meanwhile, if it is one.
    pub(crate) fn fault(&self, at: At) -> Option<Fault> {
        let code = self.code.to_owned();
        let (effect, method) = match self.cause {
            Cause::Answer { method, status, retry_after_s } => {
                let message = "as in the table".to_owned();
                (FaultEffect::Refuse { status, code, message, retry_after_s }, Some(method))
            }
            Cause::Silence(effect) => (effect(), None),
            Cause::Fails { takes_effect } => {
                let message = "as in the table".to_owned();
                (FaultEffect::FailOperation { code, message, takes_effect }, None)
            }
            Cause::Stands { .. } | Cause::Repeats(_) => return None,
        };
        let fault = Fault::once(effect).times(u32::MAX);
        let method = method.map(str::to_owned);
        Some(Fault { nic: at.nic().map(str::to_owned), method, ..fault })
    }
}

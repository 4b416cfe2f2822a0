//! Causes that the simulator has itself: how each of them begins and ends.

use azure_sim::{AdminCommand, Lock, Power, Rights, SubnetTrouble, Throttling};
use serde_json::{Value, json};

use super::table::At;

fn nics(at: At) -> Vec<String> {
    match at.nic() {
        Some(nic) => vec![nic.to_owned()],
        None => ["a-nic", "b-nic", "c-nic"].map(str::to_owned).to_vec(),
    }
}

fn of_nics(at: At, command: impl Fn(String) -> AdminCommand) -> Vec<AdminCommand> {
    nics(at).into_iter().map(command).collect()
}

fn of_nodes(command: impl Fn(String) -> AdminCommand) -> Vec<AdminCommand> {
    ["a", "b", "c"].map(|node| command(node.to_owned())).to_vec()
}

fn settings(changes: &Value) -> AdminCommand {
    AdminCommand::ChangeSettings { changes: changes.as_object().cloned().unwrap_or_default() }
}

pub(super) fn cleaned_up_slowly(_: At) -> Vec<AdminCommand> {
    vec![settings(&json!({ "cleanup_ms": 9_000 }))]
}

pub(super) fn cleaned_up_at_once(_: At) -> Vec<AdminCommand> {
    vec![settings(&json!({ "cleanup_ms": 0 }))]
}

/// Somebody writes a NIC as it is, which costs an operation all the same.
fn written_as_it_is(nic: String) -> AdminCommand {
    AdminCommand::ThirdPartyDetach { nic, address: [10, 5, 0, 250].into(), immediate: false }
}

/// Somebody's operation does not end, and a write meets it in this manner.
fn busy(at: At, manner: &str) -> Vec<AdminCommand> {
    let mut commands = of_nics(at, |nic| AdminCommand::Freeze { nic: Some(nic) });
    commands.extend(of_nics(at, written_as_it_is));
    commands.push(settings(&json!({ "concurrent_write": manner })));
    commands
}

pub(super) fn busy_429(at: At) -> Vec<AdminCommand> {
    busy(at, "retryable_429")
}

pub(super) fn in_progress_429(at: At) -> Vec<AdminCommand> {
    busy(at, "in_progress_429")
}

pub(super) fn conflict_409(at: At) -> Vec<AdminCommand> {
    busy(at, "conflict_409")
}

pub(super) fn fails_later(at: At) -> Vec<AdminCommand> {
    busy(at, "fail_later")
}

pub(super) fn idle(at: At) -> Vec<AdminCommand> {
    let mut commands = of_nics(at, |nic| AdminCommand::Unfreeze { nic: Some(nic) });
    commands.push(settings(&json!({ "concurrent_write": "retryable_429" })));
    commands
}

/// Somebody's operation runs half of the time.
pub(super) fn busy_now_and_then(at: At) -> Vec<AdminCommand> {
    of_nics(at, written_as_it_is)
}

pub(super) fn canceled(at: At) -> Vec<AdminCommand> {
    of_nics(at, |nic| AdminCommand::CancelOperation { nic })
}

pub(super) fn superseded(at: At) -> Vec<AdminCommand> {
    let mut commands = vec![settings(&json!({ "concurrent_write": "supersede" }))];
    commands.extend(of_nics(at, written_as_it_is));
    commands.push(settings(&json!({ "concurrent_write": "retryable_429" })));
    commands
}

pub(super) fn nic_failed(at: At) -> Vec<AdminCommand> {
    of_nics(at, |nic| AdminCommand::FailNic { nic })
}

pub(super) fn nic_deleted(at: At) -> Vec<AdminCommand> {
    of_nics(at, |nic| AdminCommand::DeleteNic { nic })
}

pub(super) fn nothing(_: At) -> Vec<AdminCommand> {
    vec![]
}

fn subnet(trouble: Option<SubnetTrouble>) -> Vec<AdminCommand> {
    let (virtual_network, subnet) = ("vnet".to_owned(), "subnet".to_owned());
    vec![AdminCommand::SetSubnet { virtual_network, subnet, trouble }]
}

pub(super) fn subnet_updating(_: At) -> Vec<AdminCommand> {
    subnet(Some(SubnetTrouble::Updating))
}

pub(super) fn subnet_failed(_: At) -> Vec<AdminCommand> {
    subnet(Some(SubnetTrouble::Failed))
}

pub(super) fn subnet_well(_: At) -> Vec<AdminCommand> {
    subnet(None)
}

fn power(at: At, power: Power) -> Vec<AdminCommand> {
    of_nics(at, |nic| AdminCommand::SetPower { node: nic.replace("-nic", ""), power })
}

pub(super) fn vm_deleting(at: At) -> Vec<AdminCommand> {
    power(at, Power::Deleting)
}

pub(super) fn vm_running(at: At) -> Vec<AdminCommand> {
    power(at, Power::Running)
}

fn rights(rights: Rights) -> Vec<AdminCommand> {
    of_nodes(|node| AdminCommand::SetRights { node, rights })
}

pub(super) fn nobody_writes(_: At) -> Vec<AdminCommand> {
    rights(Rights { write: false, ..Rights::default() })
}

pub(super) fn nobody_reads(_: At) -> Vec<AdminCommand> {
    rights(Rights { read: false, write: false, join: false })
}

pub(super) fn nobody_joins(_: At) -> Vec<AdminCommand> {
    rights(Rights { join: false, ..Rights::default() })
}

pub(super) fn leader_writes_not(_: At) -> Vec<AdminCommand> {
    let rights = Rights { write: false, ..Rights::default() };
    vec![AdminCommand::SetRights { node: "c".to_owned(), rights }]
}

pub(super) fn all_rights(_: At) -> Vec<AdminCommand> {
    rights(Rights::default())
}

pub(super) fn tokens_revoked(_: At) -> Vec<AdminCommand> {
    of_nodes(|node| AdminCommand::RevokeTokens { node })
}

fn locks(at: At, lock: Option<Lock>) -> Vec<AdminCommand> {
    vec![AdminCommand::SetLock { nic: at.nic().map(str::to_owned), lock }]
}

pub(super) fn locked(at: At) -> Vec<AdminCommand> {
    locks(at, Some(Lock::ReadOnly))
}

pub(super) fn unlocked(at: At) -> Vec<AdminCommand> {
    locks(at, None)
}

fn policy(at: At, policy: Option<&str>) -> Vec<AdminCommand> {
    let (nic, policy) = (at.nic().map(str::to_owned), policy.map(str::to_owned));
    vec![AdminCommand::SetPolicy { nic, policy }]
}

pub(super) fn disallowed(at: At) -> Vec<AdminCommand> {
    policy(at, Some("nothing-changes-today"))
}

pub(super) fn allowed(at: At) -> Vec<AdminCommand> {
    policy(at, None)
}

/// The buckets are real, and empty for as long as nothing comes back.
pub(super) fn drained(_: At) -> Vec<AdminCommand> {
    let none = |size| json!({ "size": size, "refill": 0, "every_s": 1 });
    let throttling = json!({ "arm_reads": none(0), "arm_writes": none(0), "retry_after_s": 3 });
    vec![settings(&json!({ "throttling": throttling }))]
}

pub(super) fn unlimited(_: At) -> Vec<AdminCommand> {
    vec![settings(&json!({ "throttling": Throttling::default() }))]
}

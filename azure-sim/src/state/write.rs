//! Writes to NICs: PUT, tag PATCH, DELETE.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use super::build::mac;
use super::error::ArmError;
use super::fault::{Aim, FaultEffect};
use super::http::ArmResponse;
use super::journal::Call;
use super::nic::{Draft, Goal, Nic, Provisioning, parse_tags};
use super::operation::{Operation, OperationStatus};
use super::plan::{Surroundings, plan};
use super::settings::{AddressFreed, ConcurrentWrite, PatchTags};
use super::vm::Power;
use super::wall;
use super::world::World;

/// What a write brings along.
pub(crate) struct Write<'a> {
    pub(crate) body: Option<&'a Value>,
    pub(crate) if_match: Option<&'a str>,
    pub(crate) principal: Option<String>,
    /// Name of the sender's VM.
    pub(crate) node: Option<&'a str>,
    /// Scheme and host of URLs in the answer.
    pub(crate) base: String,
    pub(crate) api_version: String,
    /// Duration of its operation, whatever the settings say.
    pub(crate) takes: Option<Duration>,
}

/// `[R]` for networks, `[I]` for NICs.
pub(crate) fn canceled(why: &str) -> ArmError {
    ArmError::network(200, "Canceled", "Operation was canceled.")
        .with_detail("CanceledAndSupersededDueToAnotherOperation", why)
}

impl World {
    /// The whole NIC is replaced. `[R]` (three independent bugs of others)
    pub(crate) fn put_nic(
        &mut self,
        name: &str,
        write: &Write<'_>,
        call: &mut Call,
    ) -> Result<ArmResponse, ArmError> {
        let key = name.to_ascii_lowercase();
        let present = self.nics.get(&key);
        let id = present.map_or_else(|| self.config.nic_id(name), |nic| nic.id.clone());
        let draft = Draft::parse(write.body)?;
        check_if_match(present, write, self.settings.put_honours_if_match, &id)?;
        if let Some(nic) = present {
            self.check_idle(nic, write)?;
        } else if self.nics.len() >= self.config.limits.nics {
            return Err(ArmError::network(
                400,
                "NetworkInterfaceCountLimitReached",
                "The simulator has as many network interfaces as it may.",
            ));
        }
        let taken = self.taken_by_others(&key);
        let around = Surroundings { config: &self.config, taken: &taken, cleaning: &self.cleaning };
        let goal = plan(&id, name, draft, present, &around)?;
        let created = present.is_none();
        if created {
            self.create_nic(&key, name, &id, goal.clone());
        }
        self.replace_goal(&key, goal, write, created, call);
        let nic = &self.nics[&key];
        let mut answer = ArmResponse::new(if created { 201 } else { 200 }, self.nic_document(nic));
        if let Some(guid) = &call.operation {
            // No `Location` and no `ETag` on a PUT. [W]
            answer = answer
                .with_header("Azure-AsyncOperation", self.operation_url(write, guid))
                .with_header("Azure-AsyncNotification", "Enabled");
        }
        if let Some(seconds) = self.settings.retry_after_s {
            answer = answer.with_header("Retry-After", seconds.to_string());
        }
        Ok(answer)
    }

    fn create_nic(&mut self, key: &str, name: &str, id: &str, goal: Goal) {
        let nic = Nic {
            name: name.to_owned(),
            id: id.to_owned(),
            vm: None,
            mac: mac(self.nics.len()),
            resource_guid: self.guids.next(),
            etag: String::new(),
            goal,
            provisioning: Provisioning::Succeeded,
            operation: None,
            releasing: BTreeSet::new(),
        };
        self.nics.insert(key.to_owned(), nic);
    }

    /// The accepted part of a PUT: the goal is visible at once, the effect comes with the end of
    /// the operation; at once on a NIC that no running VM has. `[W]`
    fn replace_goal(
        &mut self,
        key: &str,
        goal: Goal,
        write: &Write<'_>,
        created: bool,
        call: &mut Call,
    ) {
        let guid = self.guids.next();
        let etag = self.next_etag();
        let freed_now = self.settings.address_freed == AddressFreed::AtAccept;
        let is_operation = self.is_operation(key);
        let Some(nic) = self.nics.get_mut(key) else { return };
        let superseded = nic.operation.take();
        let previous = std::mem::replace(&mut nic.goal, goal);
        nic.etag = etag;
        let before = if created { BTreeSet::new() } else { previous.addresses() };
        let after = nic.goal.addresses();
        let removed: BTreeSet<Ipv4Addr> = before.difference(&after).copied().collect();
        call.added = after.difference(&before).copied().collect();
        call.removed = removed.iter().copied().collect();
        call.operation = Some(guid.clone());
        nic.releasing.retain(|address| !after.contains(address));
        if !freed_now {
            nic.releasing.extend(&removed);
        }
        let (resource, network) = (nic.id.clone(), nic.goal.network.clone());
        if let Some(old) = superseded {
            let why = format!(
                "Operation PutNicOperation ({old}) was canceled and superseded by operation \
                 PutNicOperation ({guid})."
            );
            self.end_operation(&old, OperationStatus::Canceled(canceled(&why)));
        }
        if freed_now {
            self.free(&network, removed.clone());
        }
        let only_detaches = call.added.is_empty() && !removed.is_empty();
        let mut operation = Operation {
            guid: guid.clone(),
            nic: key.to_owned(),
            resource,
            principal: write.principal.clone(),
            accepted: self.now,
            due: self.now,
            addresses: after.clone(),
            previous: Some(previous),
            failure: None,
            status: OperationStatus::Succeeded,
        };
        if is_operation {
            operation.status = OperationStatus::Running;
            self.shape(&mut operation, write, only_detaches);
            if let Some(nic) = self.nics.get_mut(key) {
                nic.provisioning = Provisioning::Updating;
                nic.operation = Some(guid);
            }
        } else {
            operation.previous = None;
            if let Some(nic) = self.nics.get_mut(key) {
                nic.provisioning = Provisioning::Succeeded;
            }
            self.take_effect(key, after);
        }
        self.operations.insert(operation);
    }

    fn is_operation(&self, key: &str) -> bool {
        let vm = self.nics.get(key).and_then(|nic| nic.vm.as_ref());
        let vm = vm.and_then(|vm| self.vms.get(&vm.to_ascii_lowercase()));
        vm.is_some_and(|vm| vm.power != Power::Deallocated)
    }

    /// How long an operation takes and how it ends.
    fn shape(&mut self, operation: &mut Operation, write: &Write<'_>, only_detaches: bool) {
        let usual = self.settings.operation_ms;
        let ms = match self.settings.detach_operation_ms {
            Some(ms) if only_detaches => ms,
            Some(_) | None => usual,
        };
        let mut takes = Duration::from_millis(ms);
        let aim = Aim { node: write.node, nic: Some(&operation.nic), method: "PUT" };
        for effect in self.faults.strike_operation(aim) {
            match effect {
                FaultEffect::FailOperation { code, message, takes_effect } => {
                    let error = ArmError::network(200, &code, message);
                    operation.failure = Some((error, takes_effect));
                }
                FaultEffect::OperationTakes { ms } => takes = Duration::from_millis(ms),
                FaultEffect::Refuse { .. }
                | FaultEffect::NeverArrives
                | FaultEffect::LoseAnswer { .. }
                | FaultEffect::Hold
                | FaultEffect::Delay { .. } => {}
            }
        }
        operation.due = self.now + write.takes.unwrap_or(takes);
    }

    /// The tags, and only the tags; not a long-running operation. `[S]`
    pub(crate) fn patch_nic(
        &mut self,
        key: &str,
        write: &Write<'_>,
    ) -> Result<ArmResponse, ArmError> {
        let nic = &self.nics[key];
        let fields = write.body.and_then(Value::as_object);
        let fields =
            fields.ok_or_else(|| ArmError::bad_content("the body is not a JSON object"))?;
        if let Some(other) = fields.keys().find(|name| *name != "tags") {
            return Err(ArmError::bad_content(format!("a PATCH may not name {other}")));
        }
        let tags = parse_tags(fields.get("tags"))?;
        check_if_match(Some(nic), write, self.settings.patch_honours_if_match, &nic.id)?;
        if self.settings.patch_waits_for_operation {
            let conflict = self.settings.concurrent_write;
            if conflict != ConcurrentWrite::Supersede {
                self.check_idle(nic, write)?;
            }
        }
        let etag = self.next_etag();
        let nic = self.nics.get_mut(key).expect("it was indexed above");
        match self.settings.patch_tags {
            PatchTags::Replace => nic.goal.tags = tags,
            PatchTags::Merge => nic.goal.tags.extend(tags),
        }
        if self.settings.patch_changes_etag {
            nic.etag = etag;
        }
        Ok(ArmResponse::new(200, self.nic_document(&self.nics[key])))
    }

    pub(crate) fn delete_nic(
        &mut self,
        name: &str,
        write: &Write<'_>,
        call: &mut Call,
    ) -> Result<ArmResponse, ArmError> {
        let key = name.to_ascii_lowercase();
        let Some(nic) = self.nics.get(&key) else { return Ok(ArmResponse::empty(204)) };
        check_if_match(Some(nic), write, self.settings.put_honours_if_match, &nic.id)?;
        if let Some(vm) = &nic.vm {
            // [W]
            return Err(ArmError::network(
                400,
                "NicInUse",
                format!(
                    "Network Interface {} is used by existing resource {}. In order to delete \
                     the network interface, it must be dissociated from the resource. To learn \
                     more, see aka.ms/deletenic.",
                    nic.id,
                    self.config.vm_id(vm)
                ),
            ));
        }
        let resource = nic.id.clone();
        call.removed = nic.goal.addresses().into_iter().collect();
        self.remove_nic(&key);
        let guid = self.guids.next();
        call.operation = Some(guid.clone());
        self.operations.insert(Operation {
            guid: guid.clone(),
            nic: key,
            resource,
            principal: write.principal.clone(),
            accepted: self.now,
            due: self.now,
            addresses: BTreeSet::new(),
            previous: None,
            failure: None,
            status: OperationStatus::Succeeded,
        });
        let url = self.operation_url(write, &guid);
        Ok(ArmResponse::empty(202)
            .with_header("Location", url.replace("/operations/", "/operationResults/"))
            .with_header("Azure-AsyncOperation", url))
    }

    /// Nothing is written while an operation runs, unless it is superseded.
    fn check_idle(&self, nic: &Nic, write: &Write<'_>) -> Result<(), ArmError> {
        let Some(guid) = &nic.operation else { return Ok(()) };
        let due = self.operations.get(guid).map_or(self.now, |operation| operation.due);
        let left = wall::millis(due.saturating_sub(self.now)).div_ceil(1_000).max(1);
        match self.settings.concurrent_write {
            // [W] for subnets
            ConcurrentWrite::Retryable429 => {
                Err(ArmError::network(429, "RetryableError", "A retryable error occurred.")
                    .with_detail(
                        "RetryableErrorDueToAnotherOperation",
                        format!(
                            "Operation PutNicOperation ({guid}) is updating resource {}. The \
                             call can be retried in {left} seconds.",
                            nic.id
                        ),
                    )
                    .with_header("Retry-After", left.to_string()))
            }
            // [R] for subnets
            ConcurrentWrite::Conflict409 => Err(ArmError::network(
                409,
                "AnotherOperationInProgress",
                format!(
                    "Another operation on this or dependent resource is in progress. To retrieve \
                     status of the operation use uri: {}.",
                    self.operation_url(write, guid)
                ),
            )),
            ConcurrentWrite::Supersede => Ok(()),
        }
    }

    fn operation_url(&self, write: &Write<'_>, guid: &str) -> String {
        format!(
            "{}/subscriptions/{}/providers/Microsoft.Network/locations/{}/operations/{guid}?api-version={}",
            write.base, self.config.subscription, self.config.location, write.api_version
        )
    }
}

fn check_if_match(
    present: Option<&Nic>,
    write: &Write<'_>,
    honoured: bool,
    id: &str,
) -> Result<(), ArmError> {
    match (write.if_match, present) {
        (None, _) => Ok(()),
        (Some(_), _) if !honoured => Ok(()),
        (Some("*"), Some(_)) => Ok(()),
        (Some(sent), Some(nic)) if sent == nic.etag => Ok(()),
        (Some(sent), Some(nic)) => Err(ArmError::precondition(sent, &nic.etag, id)),
        // [I]: what does not exist has no ETag that could match.
        (Some(sent), None) => Err(ArmError::precondition(sent, "null", id)),
    }
}

//! Writes to NICs: PUT, tag PATCH, DELETE.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::build::mac;
use super::conflict::check_if_match;
use super::error::ArmError;
use super::fault::{Aim, FaultEffect};
use super::http::ArmResponse;
use super::journal::Call;
use super::nic::{Draft, Goal, Nic, Provisioning, as_of, parse_tags};
use super::operation::{Operation, OperationStatus};
use super::plan::{Surroundings, plan};
use super::settings::{AddressFreed, ConcurrentWrite, PatchTags, TenantUpdate};
use super::sites::name_of;
use super::vm::{Power, Vm};
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

/// The end of an operation that another one made pointless.
pub(crate) fn superseded(old: &str, new: &str) -> ArmError {
    canceled(&format!(
        "Operation PutNicOperation ({old}) was canceled and superseded by operation \
         PutNicOperation ({new})."
    ))
}

/// `[R]` for networks, `[I]` for NICs.
pub(crate) fn canceled(why: &str) -> ArmError {
    ArmError::network(200, "Canceled", "Operation was canceled.")
        .with_detail("CanceledAndSupersededDueToAnotherOperation", why)
}

/// `[R]` sassoftware/viya4-iac-azure#140: a PUT on the NIC is an update of its VM.
fn marked_for_deletion(vm: &str) -> ArmError {
    ArmError::network(
        200,
        "OperationNotAllowed",
        format!(
            "Operation 'startTenantUpdate' is not allowed on VM '{vm}' since the VM is marked for \
             deletion. You can only retry the Delete operation (or wait for an ongoing one to \
             complete)."
        ),
    )
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
        let if_match = write.if_match.or_else(|| self.body_etag(write, present));
        check_if_match(present, if_match, self.settings.put_honours_if_match, &id)?;
        let fails_later = self.settings.concurrent_write == ConcurrentWrite::FailLater;
        if let Some(nic) = present {
            if !fails_later {
                self.check_idle(nic, write)?;
            }
        } else if self.nics.len() >= self.config.limits.nics {
            return Err(ArmError::network(
                400,
                "NetworkInterfaceCountLimitReached",
                "The simulator has as many network interfaces as it may.",
            ));
        }
        let taken = self.taken_by_others(&key);
        let around = Surroundings {
            config: &self.config,
            nics: &self.nics,
            taken: &taken,
            cleaning: &self.cleaning,
            cleanup_status: self.settings.cleanup_status,
            subnets: &self.standing.subnets,
        };
        let mut goal = plan(&id, name_of(name), draft, present, &around)?;
        if self.settings.primary_first {
            goal.ip_configs.sort_by_key(|config| !config.primary);
        }
        if fails_later && let Some(running) = present.and_then(|nic| nic.operation.clone()) {
            return Ok(self.accept_in_vain(&key, goal, &running, write, call));
        }
        let created = present.is_none();
        if created {
            self.create_nic(&key, name_of(name), &id, goal.clone());
        }
        self.replace_goal(&key, goal, write, created, call);
        Ok(self.accepted(if created { 201 } else { 200 }, &self.nics[&key], write, call))
    }

    /// The answer to an accepted PUT.
    pub(crate) fn accepted(
        &self,
        status: u16,
        nic: &Nic,
        write: &Write<'_>,
        call: &Call,
    ) -> ArmResponse {
        let document = as_of(self.nic_document(nic), &write.api_version);
        let mut answer = ArmResponse::new(status, document);
        if let Some(guid) = &call.operation {
            // No `Location` and no `ETag` on a PUT. [W]
            answer = answer
                .with_header("Azure-AsyncOperation", self.operation_url(write, guid))
                .with_header("Azure-AsyncNotification", "Enabled");
        }
        if let Some(seconds) = self.settings.retry_after_s {
            answer = answer.with_header("Retry-After", seconds.to_string());
        }
        answer
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
        let unfinished = nic.operation.take();
        let same = !created && nic.goal == goal;
        let previous = std::mem::replace(&mut nic.goal, goal);
        if !same || self.settings.same_put_changes_etag {
            nic.etag = etag;
        }
        let before = if created { BTreeSet::new() } else { previous.addresses() };
        let after = nic.goal.addresses();
        let removed: BTreeSet<IpAddr> = before.difference(&after).copied().collect();
        call.added = after.difference(&before).copied().collect();
        call.removed = removed.iter().copied().collect();
        call.operation = Some(guid.clone());
        nic.releasing.retain(|address| !after.contains(address));
        if !freed_now {
            nic.releasing.extend(&removed);
        }
        let (resource, network) = (nic.id.clone(), nic.goal.network.clone());
        if let Some(old) = unfinished {
            self.end_operation(&old, OperationStatus::Canceled(superseded(&old, &guid)));
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
            polls: 0,
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

    fn vm_of(&self, key: &str) -> Option<&Vm> {
        let vm = self.nics.get(key)?.vm.as_ref()?;
        self.vms.get(&vm.to_ascii_lowercase())
    }

    fn is_operation(&self, key: &str) -> bool {
        self.vm_of(key).is_some_and(|vm| match (vm.power, self.settings.tenant_update) {
            (Power::Running | Power::Deleting, _) => true,
            (Power::Stopped, update) => update != TenantUpdate::Running,
            (Power::Deallocated, update) => update == TenantUpdate::Always,
        })
    }

    /// How long an operation takes and how it ends.
    fn shape(&mut self, operation: &mut Operation, write: &Write<'_>, only_detaches: bool) {
        let usual = self.settings.operation_ms;
        let ms = match self.settings.detach_operation_ms {
            Some(ms) if only_detaches => ms,
            Some(_) | None => usual,
        };
        let mut takes = Duration::from_millis(ms);
        if let Some(vm) = self.vm_of(&operation.nic).filter(|vm| vm.power == Power::Deleting) {
            operation.failure = Some((marked_for_deletion(&vm.name), false));
        }
        let aim = Aim { node: write.node, nic: Some(name_of(&operation.nic)), method: "PUT" };
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
        check_if_match(Some(nic), write.if_match, self.settings.patch_honours_if_match, &nic.id)?;
        if self.settings.patch_waits_for_operation {
            self.check_idle(nic, write)?;
        }
        let tags = match self.settings.patch_tags {
            PatchTags::Replace => tags,
            PatchTags::Merge => {
                let mut merged = nic.goal.tags.clone();
                merged.extend(tags);
                merged
            }
        };
        self.set_tags(key, tags);
        let document = self.nic_document(&self.nics[key]);
        Ok(ArmResponse::new(200, as_of(document, &write.api_version)))
    }

    pub(crate) fn set_tags(&mut self, key: &str, tags: Map<String, Value>) {
        let etag = self.next_etag();
        let Some(nic) = self.nics.get_mut(key) else { return };
        nic.goal.tags = tags;
        if self.settings.patch_changes_etag {
            nic.etag = etag;
        }
    }

    pub(crate) fn delete_nic(
        &mut self,
        name: &str,
        write: &Write<'_>,
        call: &mut Call,
    ) -> Result<ArmResponse, ArmError> {
        let key = name.to_ascii_lowercase();
        let Some(nic) = self.nics.get(&key) else { return Ok(ArmResponse::empty(204)) };
        check_if_match(Some(nic), write.if_match, self.settings.put_honours_if_match, &nic.id)?;
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
            polls: 0,
            status: OperationStatus::Succeeded,
        });
        let url = self.operation_url(write, &guid);
        Ok(ArmResponse::empty(202)
            .with_header("Location", url.replace("/operations/", "/operationResults/"))
            .with_header("Azure-AsyncOperation", url))
    }
}

//! What the commands of the tester do.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::admin::{AdminCommand, AdminError, AdminReply, THIRD_PARTY};
use super::error::ArmError;
use super::fault::Fault;
use super::journal::{Call, JournalEvent};
use super::nic::Provisioning;
use super::operation::OperationStatus;
use super::roles::RoleAssignment;
use super::sites::name_of;
use super::standing;
use super::vm::Vm;
use super::world::{HoldId, World};
use super::write::{Write, canceled, superseded};

impl World {
    /// Does what the tester wants.
    ///
    /// # Errors
    /// The command names something that does not exist; nothing was done then.
    pub fn admin(
        &mut self,
        now: Duration,
        command: AdminCommand,
    ) -> Result<AdminReply, AdminError> {
        self.advance(now);
        let text = serde_json::to_string(&command).unwrap_or_default();
        let reply = self.obey(command)?;
        self.note(JournalEvent::Admin { command: text });
        // What has become due by the command happens now.
        self.advance(now);
        Ok(reply)
    }

    fn obey(&mut self, command: AdminCommand) -> Result<AdminReply, AdminError> {
        match command {
            AdminCommand::SetOperationMs { ms } => {
                self.settings.operation_ms = ms;
                self.settings.detach_operation_ms = None;
            }
            AdminCommand::ChangeSettings { changes } => self.change_settings(changes)?,
            AdminCommand::AddFault { fault } => self.add_fault(fault)?,
            AdminCommand::ClearFaults => self.faults.clear(),
            AdminCommand::Release { hold } => return self.release(hold),
            AdminCommand::Freeze { nic } => self.freeze(nic, true)?,
            AdminCommand::Unfreeze { nic } => self.freeze(nic, false)?,
            AdminCommand::CancelOperation { nic } => self.cancel_operation(&nic)?,
            AdminCommand::FailNic { nic } => self.fail_nic(&nic)?,
            AdminCommand::SetLock { nic, lock } => {
                let scope = nic.map(|nic| self.nic_key(&nic)).transpose()?;
                standing::put(&mut self.standing.locks, scope, lock);
            }
            AdminCommand::SetPolicy { nic, policy } => {
                let scope = nic.map(|nic| self.nic_key(&nic)).transpose()?;
                standing::put(&mut self.standing.policies, scope, policy);
            }
            AdminCommand::SetSubnet { virtual_network, subnet, trouble } => {
                let id = self.known_subnet(&virtual_network, &subnet)?;
                standing::put(&mut self.standing.subnets, id, trouble);
            }
            AdminCommand::DrainBuckets { node } => {
                let key = node.map(|node| self.vm_key(&node)).transpose()?;
                for (owner, identity) in &self.identities {
                    if key.as_ref().is_none_or(|key| key == owner) {
                        self.throttle.drain(self.now, &identity.object_id);
                    }
                }
            }
            AdminCommand::ThirdPartyAttach { nic, address, ip_config, immediate } => {
                // A name has no colons.
                let unnamed = || format!("third-party-{address}").replace(':', "-");
                let name = ip_config.unwrap_or_else(unnamed);
                return self.third_party(&nic, immediate, |configs| {
                    let mut properties = json!({
                        "privateIPAddress": address,
                        "privateIPAllocationMethod": "Static",
                        "privateIPAddressVersion": if address.is_ipv4() { "IPv4" } else { "IPv6" },
                    });
                    // As it must be: those of the others.
                    for name in ["subnet", "applicationSecurityGroups"] {
                        let first = configs.first().and_then(|c| c["properties"].get(name));
                        if let Some(value) = first.cloned() {
                            properties[name] = value;
                        }
                    }
                    configs.push(json!({"name": name, "properties": properties}));
                });
            }
            AdminCommand::ThirdPartyDetach { nic, address, immediate } => {
                let address = json!(address);
                return self.third_party(&nic, immediate, |configs| {
                    configs.retain(|c| c["properties"]["privateIPAddress"] != address);
                });
            }
            AdminCommand::DeleteNic { nic } => {
                let key = self.nic_key(&nic)?;
                self.remove_nic(&key);
            }
            AdminCommand::SetPower { node, power } => self.vm_mut(&node)?.power = power,
            AdminCommand::SetImds { node, fault } => self.vm_mut(&node)?.imds_fault = fault,
            AdminCommand::SetRights { node, rights } => {
                let key = self.vm_key(&node)?;
                if let Some(identity) = self.identities.get_mut(&key) {
                    identity.rights = rights;
                }
            }
            AdminCommand::SetRoles { node, assignments } => self.set_roles(&node, assignments)?,
            AdminCommand::RevokeTokens { node } => {
                let key = self.vm_key(&node)?;
                if let Some(identity) = self.identities.get_mut(&key) {
                    identity.forget_tokens();
                }
            }
            AdminCommand::ScheduleEvent { node, event, in_ms } => {
                let not_before = self.unix_ms().saturating_add(in_ms);
                let key = self.vm_key(&node)?;
                if let Some(vm) = self.vms.get_mut(&key) {
                    vm.schedule(event, not_before, &mut self.guids);
                }
            }
            AdminCommand::EndEvents { node } => self.vm_mut(&node)?.end_events(),
        }
        Ok(AdminReply::Done)
    }

    fn set_roles(
        &mut self,
        node: &str,
        assignments: Option<Vec<RoleAssignment>>,
    ) -> Result<(), AdminError> {
        let key = self.vm_key(node)?;
        for given in assignments.iter().flatten() {
            given.check().map_err(AdminError::NotAssignable)?;
        }
        if let Some(identity) = self.identities.get_mut(&key) {
            identity.roles = assignments;
        }
        Ok(())
    }

    fn add_fault(&mut self, fault: Fault) -> Result<(), AdminError> {
        let waiting = self.faults.waiting().len();
        if waiting >= self.config.limits.faults {
            return Err(AdminError::TooManyFaults(waiting));
        }
        self.faults.add(fault);
        Ok(())
    }

    fn freeze(&mut self, nic: Option<String>, frozen: bool) -> Result<(), AdminError> {
        let key = nic.map(|nic| self.nic_key(&nic)).transpose()?;
        let operations = &mut self.operations;
        match (key, frozen) {
            (None, true) => operations.all_frozen = true,
            (None, false) => {
                operations.all_frozen = false;
                operations.frozen.clear();
            }
            (Some(key), true) => drop(operations.frozen.insert(key)),
            (Some(key), false) => drop(operations.frozen.remove(&key)),
        }
        Ok(())
    }

    fn change_settings(&mut self, changes: Map<String, Value>) -> Result<(), AdminError> {
        let changed = self.settings.changed(changes);
        self.settings = changed.map_err(|error| AdminError::BadSettings(error.to_string()))?;
        Ok(())
    }

    fn cancel_operation(&mut self, nic: &str) -> Result<(), AdminError> {
        let running = self.nics[&self.nic_key(nic)?].operation.clone();
        let guid = running.ok_or_else(|| AdminError::NoOperation(nic.to_owned()))?;
        let by = self.guids.next();
        let status = OperationStatus::Canceled(superseded(&guid, &by));
        self.conclude(&guid, status, false);
        Ok(())
    }

    fn fail_nic(&mut self, nic: &str) -> Result<(), AdminError> {
        let key = self.nic_key(nic)?;
        if let Some(guid) = self.nics[&key].operation.clone() {
            let error = ArmError::network(200, "InternalServerError", "An error occurred.");
            self.conclude(&guid, OperationStatus::Failed(error), false);
            return Ok(());
        }
        let etag = self.next_etag();
        if let Some(nic) = self.nics.get_mut(&key) {
            nic.provisioning = Provisioning::Failed;
            nic.etag = etag;
        }
        Ok(())
    }

    /// Lower-case id of a subnet.
    fn known_subnet(&self, network: &str, subnet: &str) -> Result<String, AdminError> {
        let mut networks = self.config.virtual_networks.iter();
        let known = networks
            .find(|n| n.name.eq_ignore_ascii_case(network))
            .is_some_and(|n| n.subnets.iter().any(|s| s.name.eq_ignore_ascii_case(subnet)));
        if known {
            return Ok(self.config.subnet_id(network, subnet).to_ascii_lowercase());
        }
        Err(AdminError::UnknownSubnet(format!("{network}/{subnet}")))
    }

    fn release(&mut self, hold: Option<HoldId>) -> Result<AdminReply, AdminError> {
        let holds = match hold {
            Some(hold) if self.held.contains(hold) => vec![hold],
            Some(hold) => return Err(AdminError::UnknownHold(hold.0)),
            None => self.held.ids(),
        };
        for hold in &holds {
            self.process_held(*hold);
        }
        Ok(AdminReply::Released { holds })
    }

    /// GET, edit, PUT the whole NIC without `If-Match`, as `az` does. `[W]`
    fn third_party(
        &mut self,
        nic: &str,
        immediate: bool,
        edit: impl FnOnce(&mut Vec<Value>),
    ) -> Result<AdminReply, AdminError> {
        let key = self.nic_key(nic)?;
        let (reference, mut body) = {
            let nic = &self.nics[&key];
            let at_home = !key.starts_with('/');
            let reference = if at_home { nic.name.clone() } else { nic.id.clone() };
            (reference, self.nic_document(nic))
        };
        if let Some(configs) = body["properties"]["ipConfigurations"].as_array_mut() {
            edit(configs);
        }
        let write = Write {
            body: Some(&body),
            if_match: None,
            principal: Some(THIRD_PARTY.to_owned()),
            node: None,
            base: "https://management.azure.com".to_owned(),
            api_version: "2024-05-01".to_owned(),
            takes: immediate.then_some(Duration::ZERO),
        };
        let mut call = Call {
            principal: Some(THIRD_PARTY.to_owned()),
            method: "PUT".to_owned(),
            resource: self.nics[&key].id.clone(),
            ..Call::default()
        };
        let response = match self.put_nic(&reference, &write, &mut call) {
            Ok(response) => response,
            Err(error) => error.response(),
        };
        call.status = response.status;
        call.error_code = response.error_code().map(str::to_owned);
        self.note(JournalEvent::Write(call));
        Ok(AdminReply::Answer { response })
    }

    pub(crate) fn remove_nic(&mut self, key: &str) {
        let Some(nic) = self.nics.remove(key) else { return };
        self.standing.locks.remove(&Some(key.to_owned()));
        self.standing.policies.remove(&Some(key.to_owned()));
        if let Some(guid) = &nic.operation {
            // [I]
            let why = canceled("The resource was deleted.");
            self.end_operation(guid, OperationStatus::Canceled(why));
        }
        self.operations.frozen.remove(key);
        let addresses = nic.goal.addresses().union(&nic.releasing).copied().collect();
        self.free(&nic.goal.network, addresses);
        self.change_data_plane(&nic.goal.network, &nic.id, BTreeSet::new());
    }

    /// By its reference, or by its name if there is one NIC of that name.
    fn nic_key(&self, name: &str) -> Result<String, AdminError> {
        let key = name.to_ascii_lowercase();
        if self.nics.contains_key(&key) {
            return Ok(key);
        }
        let mut named = self.nics.keys().filter(|known| name_of(known) == key);
        match (named.next(), named.next()) {
            (Some(key), None) => Ok(key.clone()),
            _ => Err(AdminError::UnknownNic(name.to_owned())),
        }
    }

    fn vm_key(&self, name: &str) -> Result<String, AdminError> {
        let key = name.to_ascii_lowercase();
        let known = self.vms.contains_key(&key);
        known.then_some(key).ok_or_else(|| AdminError::UnknownNode(name.to_owned()))
    }

    fn vm_mut(&mut self, name: &str) -> Result<&mut Vm, AdminError> {
        let unknown = || AdminError::UnknownNode(name.to_owned());
        self.vms.get_mut(&name.to_ascii_lowercase()).ok_or_else(unknown)
    }
}

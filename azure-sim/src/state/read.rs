//! Reads: NICs, ipConfigurations, networks, VMs, operations, free addresses.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::config::{SubnetConfig, VirtualNetworkConfig};
use super::dispatch::Asked;
use super::error::ArmError;
use super::http::ArmResponse;
use super::nic::{Nic, as_of};
use super::operation::{Operation, OperationStatus};
use super::rules::MAX_IP_CONFIGS;
use super::sites::{Site, Within, name_of};
use super::vm::{Power, Vm};
use super::world::World;

/// What Azure calls its limit of addresses per NIC.
const LIMIT: &str = "SecondaryIPConfigurationsPerNetworkInterface";

/// Addresses that `CheckIPAddressAvailability` proposes. `[W]`
const PROPOSALS: usize = 5;

impl World {
    pub(crate) fn find_nic(&self, reference: &str) -> Result<&Nic, ArmError> {
        self.nics.get(&reference.to_ascii_lowercase()).ok_or_else(|| {
            let site = Site::of(reference).unwrap_or_else(|| self.config.home());
            let kind = "Microsoft.Network/networkInterfaces";
            ArmError::resource_not_found(kind, name_of(reference), &site.group)
        })
    }

    /// Every GET of a NIC has its ETag as a header. `[W]`
    pub(crate) fn get_nic(&self, name: &str, api_version: &str) -> Result<ArmResponse, ArmError> {
        let nic = self.find_nic(name)?;
        let document = as_of(self.nic_document(nic), api_version);
        Ok(ArmResponse::new(200, document).with_header("ETag", &nic.etag))
    }

    /// One page of a list, and where the next one is. `[S]`
    pub(crate) fn list(
        &self,
        asked: &Asked<'_>,
        documents: impl Iterator<Item = Value>,
    ) -> ArmResponse {
        let skip = asked.target.parameter("$skiptoken").and_then(|skip| skip.parse().ok());
        let skip: usize = skip.unwrap_or(0);
        let page = self.settings.page_size.unwrap_or(usize::MAX).max(1);
        let mut documents = documents.skip(skip);
        let mut body = json!({"value": documents.by_ref().take(page).collect::<Value>()});
        if documents.next().is_some() {
            let path = asked.request.path_and_query.split('?').next().unwrap_or_default();
            body["nextLink"] = json!(format!(
                "{}{path}?api-version={}&$skipToken={}",
                asked.base,
                asked.api_version,
                skip.saturating_add(page)
            ));
        }
        ArmResponse::new(200, body)
    }

    /// Those of a resource group, or of a subscription.
    pub(crate) fn list_nics(&self, asked: &Asked<'_>, within: Within<'_>) -> ArmResponse {
        let nics = self
            .nics
            .values()
            .filter(|nic| Site::of(&nic.id).is_some_and(|site| within.has(&site)));
        self.list(asked, nics.map(|nic| as_of(self.nic_document(nic), &asked.api_version)))
    }

    pub(crate) fn list_ip_configs(
        &self,
        asked: &Asked<'_>,
        nic: &str,
    ) -> Result<ArmResponse, ArmError> {
        let nic = self.find_nic(nic)?;
        Ok(self.list(asked, nic.goal.ip_configs.iter().map(|config| nic.ip_config(config))))
    }

    pub(crate) fn list_networks(&self, asked: &Asked<'_>, within: Within<'_>) -> ArmResponse {
        let networks = self.config.virtual_networks.iter();
        let networks = networks.filter(|n| within.has(&self.config.site_of_network(&n.name)));
        self.list(asked, networks.map(|network| self.network(network)))
    }

    pub(crate) fn get_ip_config(&self, nic: &str, name: &str) -> Result<ArmResponse, ArmError> {
        let nic = self.find_nic(nic)?;
        let mut configs = nic.goal.ip_configs.iter();
        let config = configs.find(|c| c.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            // [R] the network provider's own words for what lies below a resource.
            let id = nic.ip_config_id(name);
            ArmError::network(404, "NotFound", format!("Resource {id} not found."))
        })?;
        Ok(ArmResponse::new(200, nic.ip_config(config)).with_header("ETag", &nic.etag))
    }

    fn find_network(&self, site: &Site, name: &str) -> Result<&VirtualNetworkConfig, ArmError> {
        let mut networks = self.config.virtual_networks.iter();
        networks
            .find(|network| network.name.eq_ignore_ascii_case(name))
            .filter(|network| self.config.site_of_network(&network.name) == *site)
            .ok_or_else(|| {
                let kind = "Microsoft.Network/virtualNetworks";
                ArmError::resource_not_found(kind, name, &site.group)
            })
    }

    pub(crate) fn get_network(&self, site: &Site, name: &str) -> Result<ArmResponse, ArmError> {
        Ok(ArmResponse::new(200, self.network(self.find_network(site, name)?)))
    }

    fn network(&self, network: &VirtualNetworkConfig) -> Value {
        let prefixes: Vec<String> = network
            .subnets
            .iter()
            .flat_map(SubnetConfig::prefixes)
            .map(|p| p.to_string())
            .collect();
        let subnets = network.subnets.iter().map(|subnet| self.subnet(network, subnet));
        json!({
            "name": network.name,
            "id": self.config.virtual_network_id(&network.name),
            "type": "Microsoft.Network/virtualNetworks",
            "location": self.config.location,
            "properties": {
                "provisioningState": "Succeeded",
                "addressSpace": {"addressPrefixes": prefixes},
                "subnets": subnets.collect::<Value>(),
            },
        })
    }

    pub(crate) fn get_subnet(
        &self,
        site: &Site,
        network: &str,
        name: &str,
    ) -> Result<ArmResponse, ArmError> {
        let network = self.find_network(site, network)?;
        let subnet = network.subnets.iter().find(|s| s.name.eq_ignore_ascii_case(name));
        let subnet = subnet.ok_or_else(|| {
            let id = self.config.subnet_id(&network.name, name);
            ArmError::network(404, "NotFound", format!("Resource {id} not found."))
        })?;
        Ok(ArmResponse::new(200, self.subnet(network, subnet)))
    }

    fn subnet(&self, network: &VirtualNetworkConfig, subnet: &SubnetConfig) -> Value {
        // One prefix stands alone, several in a list. [I]
        let (field, prefixes) = match subnet.prefix_v6 {
            None => ("addressPrefix", json!(subnet.prefix)),
            Some(v6) => ("addressPrefixes", json!([subnet.prefix, v6])),
        };
        json!({
            "name": subnet.name,
            "id": self.config.subnet_id(&network.name, &subnet.name),
            "type": "Microsoft.Network/virtualNetworks/subnets",
            "properties": {
                "provisioningState": "Succeeded",
                field: prefixes,
            },
        })
    }

    /// `[W]`; for an address outside every subnet `[I]`.
    pub(crate) fn check_address(
        &self,
        site: &Site,
        network: &str,
        address: Option<&str>,
        api_version: &str,
    ) -> Result<ArmResponse, ArmError> {
        let network = self.find_network(site, network)?;
        let address: IpAddr = address.and_then(|a| a.parse().ok()).ok_or_else(|| {
            ArmError::network(400, "InvalidIPAddressFormat", "ipAddress is missing or no address.")
        })?;
        let prefix = network.subnets.iter().find_map(|subnet| subnet.prefix_of(address));
        let prefix = prefix.ok_or_else(|| {
            ArmError::network(
                400,
                "PrivateIPAddressNotInAnySubnet",
                format!(
                    "Private static IP address {address} does not belong to any subnet of virtual \
                     network {}.",
                    network.name
                ),
            )
        })?;
        let key = network.name.to_ascii_lowercase();
        // No NIC has an empty name: these are the addresses of all of them.
        let taken = self.taken_by_others("").remove(&key).unwrap_or_default();
        let is_free = |address: &IpAddr| {
            !taken.contains_key(address) && !self.cleaning.contains_key(&(key.clone(), *address))
        };
        let reserved = prefix.reserved(address);
        let mut body = if !reserved && is_free(&address) {
            json!({"available": true, "isPlatformReserved": false})
        } else {
            let others: Vec<IpAddr> = prefix.usable().filter(is_free).take(PROPOSALS).collect();
            json!({
                "available": false,
                "availableIPAddresses": others,
                "isPlatformReserved": reserved,
            })
        };
        if api_version <= "2017-10-01"
            && let Some(body) = body.as_object_mut()
        {
            body.remove("isPlatformReserved");
        }
        Ok(ArmResponse::new(200, body))
    }

    pub(crate) fn list_vms(&self, asked: &Asked<'_>, within: Within<'_>) -> ArmResponse {
        let vms = self.vms.values().filter(|vm| within.has(&self.config.site_of_vm(&vm.name)));
        self.list(asked, vms.map(|vm| self.vm(vm, false)))
    }

    pub(crate) fn get_load_balancer(
        &self,
        site: &Site,
        name: &str,
    ) -> Result<ArmResponse, ArmError> {
        let kind = "Microsoft.Network/loadBalancers";
        let id = format!("{}/providers/{kind}/{name}", site.id());
        let is_it = |known: &&Value| {
            known["id"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(&id))
        };
        let document = self.config.load_balancers.iter().find(is_it);
        let missing = || ArmError::resource_not_found(kind, name, &site.group);
        Ok(ArmResponse::new(200, document.cloned().ok_or_else(missing)?))
    }

    /// `[S]` the shape and the name: armnetwork's example of the usages of a location.
    pub(crate) fn usage(&self) -> Value {
        json!({
            "id": format!(
                "/subscriptions/{}/providers/Microsoft.Network/locations/{}/usages/{LIMIT}",
                self.config.subscription, self.config.location
            ),
            "name": {"value": LIMIT, "localizedValue": "Secondary IP Configurations Per NIC"},
            "currentValue": 0,
            "limit": MAX_IP_CONFIGS,
            "unit": "Count",
        })
    }

    pub(crate) fn get_vm(
        &self,
        site: &Site,
        name: &str,
        with_view: bool,
    ) -> Result<ArmResponse, ArmError> {
        let vm = self.vms.get(&name.to_ascii_lowercase());
        let vm = vm.filter(|vm| self.config.site_of_vm(&vm.name) == *site).ok_or_else(|| {
            ArmError::resource_not_found("Microsoft.Compute/virtualMachines", name, &site.group)
        })?;
        Ok(ArmResponse::new(200, self.vm(vm, with_view)))
    }

    fn vm(&self, vm: &Vm, with_view: bool) -> Value {
        let nics = self.nics.values().filter(|nic| nic.vm.as_ref() == Some(&vm.name));
        let nics = nics
            .enumerate()
            .map(|(i, nic)| json!({"id": nic.id, "properties": {"primary": i == 0}}));
        let mut body = json!({
            "name": vm.name,
            "id": self.config.vm_id(&vm.name),
            "type": "Microsoft.Compute/virtualMachines",
            "location": self.config.location,
            "zones": [vm.zone],
            "properties": {
                "provisioningState": "Succeeded",
                "vmId": vm.vm_id,
                "networkProfile": {"networkInterfaces": nics.collect::<Value>()},
            },
        });
        if with_view {
            let power = match vm.power {
                Power::Running => "running",
                Power::Stopped => "stopped",
                Power::Deallocated => "deallocated",
                // [I]
                Power::Deleting => "deallocating",
            };
            body["properties"]["instanceView"] = json!({"statuses": [
                {"code": "ProvisioningState/succeeded", "level": "Info"},
                {"code": format!("PowerState/{power}"), "level": "Info"},
            ]});
        }
        body
    }

    fn operation(&self, guid: &str) -> Result<&Operation, ArmError> {
        let early = Duration::from_millis(self.settings.early_operation_404_ms);
        let operation = self.operations.get(guid);
        operation.filter(|operation| self.now >= operation.accepted + early).ok_or_else(|| {
            // [R] the status, [I] code and text.
            ArmError::network(404, "NotFound", format!("Operation {guid} not found."))
        })
    }

    /// `{"status"}` and nothing else, plus `error` on failure. `[W]`
    pub(crate) fn poll(&mut self, guid: &str) -> Result<ArmResponse, ArmError> {
        let operation = self.operation(guid)?;
        let mut body = json!({"status": operation.status.as_str()});
        if let Some(error) = operation.status.error() {
            body["error"] = error.value();
        }
        let answer = ArmResponse::new(200, body);
        if operation.status != OperationStatus::Running {
            return Ok(answer);
        }
        let grows = self.settings.retry_after_grows;
        let operation = self.operations.get_mut(guid).expect("it was found above");
        operation.polls = operation.polls.saturating_add(1);
        let factor = if grows { backoff(operation.polls) } else { 1 };
        Ok(match self.settings.retry_after_s {
            Some(first) => {
                answer.with_header("Retry-After", first.saturating_mul(factor).to_string())
            }
            None => answer,
        })
    }

    /// What `Location` of a DELETE leads to. `[I]`
    pub(crate) fn poll_result(&self, guid: &str) -> Result<ArmResponse, ArmError> {
        let running = self.operation(guid)?.status == OperationStatus::Running;
        Ok(ArmResponse::empty(if running { 202 } else { 204 }))
    }
}

/// How many times the `Retry-After` of the PUT the n-th unfinished poll is told: 10 s on the PUT
/// become 20, 40, 80, 160, 100, 100, …
fn backoff(poll: u32) -> u64 {
    match poll {
        0..=4 => 1 << poll,
        _ => 10,
    }
}

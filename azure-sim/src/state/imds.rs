//! The instance metadata service: each VM has its own, so the caller says which VM asks.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{ArmRequest, ArmResponse, Target};
use super::identity::Identity;
use super::nic::Nic;
use super::vm::{ImdsFault, Vm};
use super::wall;
use super::world::{ArmOutcome, LostAnswer, World};

/// `[S]`
fn refuse(status: u16, error: &str, description: &str) -> ArmResponse {
    ArmResponse::new(status, json!({"error": error, "error_description": description}))
}

impl World {
    /// A request of VM `node` reaches its IMDS. Never [`ArmOutcome::Held`].
    pub fn imds(&mut self, now: Duration, node: &str, request: &ArmRequest) -> ArmOutcome {
        self.advance(now);
        let key = node.to_ascii_lowercase();
        let Some(vm) = self.vms.get(&key) else {
            return ArmOutcome::Answer(refuse(404, "not_found", "there is no such VM"));
        };
        let fault = vm.imds_fault;
        let principal = self.identities.get(&key).map(|identity| identity.principal.clone());
        self.journal.count(principal.as_deref(), "IMDS");
        match fault {
            Some(ImdsFault::Down) => ArmOutcome::Lost(LostAnswer::Closed),
            Some(ImdsFault::Silent) => ArmOutcome::Lost(LostAnswer::Silence),
            Some(ImdsFault::Status(status)) => {
                let answer = refuse(status, "simulated_fault", "IMDS is broken by the tester");
                ArmOutcome::Answer(answer)
            }
            None => ArmOutcome::Answer(self.ask_imds(&key, request).unwrap_or_else(|error| error)),
        }
    }

    fn ask_imds(&mut self, key: &str, request: &ArmRequest) -> Result<ArmResponse, ArmResponse> {
        if !request.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            let why = "Required metadata header not specified";
            return Err(refuse(400, "bad_request_102", why));
        }
        // [S] requests that came through a proxy are refused; [I] the words.
        if request.header("x-forwarded-for").is_some() {
            return Err(refuse(400, "invalid_request", "X-Forwarded-For is not allowed"));
        }
        let target = Target::parse(&request.path_and_query);
        if target.parameter("api-version").is_none() {
            return Err(refuse(400, "invalid_request", "api-version is missing"));
        }
        let path: Vec<String> = target.segments.iter().map(|s| s.to_ascii_lowercase()).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["metadata", "identity", "oauth2", "token"]) => self.token(key, &target),
            ("GET", ["metadata", "instance", ..]) => {
                let mut value = self.instance(key);
                for segment in target.segments.iter().skip(2) {
                    let index = segment.parse::<usize>().ok();
                    value = match index.and_then(|i| value.get(i)).or_else(|| value.get(segment)) {
                        Some(value) => value.clone(),
                        None => return Err(refuse(404, "not_found", "no such metadata")),
                    };
                }
                Ok(ArmResponse::new(200, value))
            }
            ("GET", ["metadata", "scheduledevents"]) => Ok(self.events(key)),
            ("POST", ["metadata", "scheduledevents"]) => {
                Ok(self.acknowledge(key, request.body.as_ref()))
            }
            (_, ["metadata", ..]) => Err(refuse(404, "not_found", "no such metadata")),
            _ => Err(refuse(404, "not_found", "IMDS answers below /metadata only")),
        }
    }

    /// Every field is a string. `[S]`
    fn token(&mut self, key: &str, target: &Target) -> Result<ArmResponse, ArmResponse> {
        let Some(resource) = target.parameter("resource") else {
            return Err(refuse(
                400,
                "invalid_request",
                "Required query variable 'resource' is missing",
            ));
        };
        let unix_ms = self.unix_ms();
        let life_ms = self.settings.token_life_s.saturating_mul(1_000);
        let cached = self.settings.imds_caches_tokens;
        let identity = self.select_identity(key, target)?;
        let Some(identity) = self.identities.get_mut(&identity) else {
            return Err(refuse(400, "invalid_request", "Identity not found"));
        };
        let tenant = &self.config.tenant;
        let token = identity.token(tenant, resource, unix_ms, life_ms, cached, &mut self.guids);
        let left = token.expires_ms.saturating_sub(unix_ms) / 1_000;
        Ok(ArmResponse::new(
            200,
            json!({
                "access_token": token.text,
                "refresh_token": "",
                "client_id": identity.client_id,
                "expires_in": left.to_string(),
                "ext_expires_in": left.to_string(),
                "expires_on": (token.expires_ms / 1_000).to_string(),
                "not_before": (token.not_before_ms / 1_000).to_string(),
                "resource": resource,
                "token_type": "Bearer",
            }),
        ))
    }

    /// Which of the VM's identities is asked for: the one that is named; else its own; else the
    /// only user-assigned one. `[S]`
    fn select_identity(&self, key: &str, target: &Target) -> Result<String, ArmResponse> {
        let refuse = |why| Err(refuse(400, "invalid_request", why));
        let own = self.identities.contains_key(key).then(|| key.to_owned());
        let assigned = self.vms.get(key).map_or(&[][..], |vm| &vm.identities);
        let is = |parameter: &str, value: &str| {
            target.parameter(parameter).is_none_or(|asked| asked.eq_ignore_ascii_case(value))
        };
        let named = ["client_id", "object_id", "msi_res_id"];
        if named.iter().any(|name| target.parameter(name).is_some()) {
            // The VM's own identity has no resource id.
            let by_resource = target.parameter("msi_res_id").is_some();
            let mut all = own.iter().filter(|_| !by_resource).chain(assigned);
            let fits = |identity: &Identity| {
                is("client_id", &identity.client_id)
                    && is("object_id", &identity.object_id)
                    && (!by_resource || is("msi_res_id", &identity.resource))
            };
            let found = all.find(|key| self.identities.get(*key).is_some_and(fits));
            // [I]
            return found.map_or_else(|| refuse("Identity not found"), |key| Ok(key.clone()));
        }
        match (own, assigned) {
            (Some(own), _) => Ok(own),
            (None, [only]) => Ok(only.clone()),
            (None, []) => refuse("Identity not found"),
            // [I]
            (None, _) => refuse(
                "Multiple user assigned identities exist, please specify the clientId / \
                 resourceId of the identity in the token request",
            ),
        }
    }

    fn instance(&self, key: &str) -> Value {
        let vm = &self.vms[key];
        let site = self.config.site_of_vm(&vm.name);
        let interfaces = self
            .nics
            .values()
            .filter(|nic| nic.vm.as_ref() == Some(&vm.name))
            .map(|nic| self.interface(nic));
        json!({
            "compute": {
                "name": vm.name,
                "vmId": vm.vm_id,
                "resourceId": self.config.vm_id(&vm.name),
                "resourceGroupName": site.group,
                "subscriptionId": site.subscription,
                "location": self.config.location,
                "zone": vm.zone,
                "platformFaultDomain": "0",
                "vmScaleSetName": "",
                "azEnvironment": "AzurePublicCloud",
                "osType": "Linux",
            },
            "network": {"interface": interfaces.collect::<Value>()},
        })
    }

    /// Secondary addresses show up here `[S]`; when is not documented: with the data plane. `[I]`
    fn interface(&self, nic: &Nic) -> Value {
        let primary = nic.goal.primary().map(|config| config.block.network());
        let others = self.data_plane.of(&nic.id).filter(|address| Some(*address) != primary);
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) =
            primary.into_iter().chain(others).partition(IpAddr::is_ipv4);
        let one = |a: &IpAddr| json!({"privateIpAddress": a, "publicIpAddress": ""});
        let prefix = self
            .config
            .virtual_networks
            .iter()
            .filter(|network| network.name.eq_ignore_ascii_case(&nic.goal.network))
            .flat_map(|network| &network.subnets)
            .map(|subnet| subnet.prefix)
            .find(|prefix| primary.is_some_and(|primary| prefix.contains(primary)));
        let subnet = prefix.map(
            |prefix| json!({"address": prefix.network(), "prefix": prefix.length().to_string()}),
        );
        json!({
            "ipv4": {
                "ipAddress": v4.iter().map(one).collect::<Value>(),
                "subnet": subnet.into_iter().collect::<Value>(),
            },
            "ipv6": {
                "ipAddress": v6.iter().map(|a| json!({"privateIpAddress": a})).collect::<Value>(),
            },
            "macAddress": nic.mac.replace('-', ""),
        })
    }

    fn events(&self, key: &str) -> ArmResponse {
        let vm: &Vm = &self.vms[key];
        let events = vm.events.iter().map(|event| {
            let started = event.not_before_ms.is_none();
            json!({
                "EventId": event.id,
                "EventStatus": if started { "Started" } else { "Scheduled" },
                "EventType": event.kind,
                "ResourceType": "VirtualMachine",
                "Resources": [vm.name],
                // Empty once started. [I]
                "NotBefore": event.not_before_ms.map(wall::http_date).unwrap_or_default(),
                "Description": "",
                "EventSource": "Platform",
                "DurationInSeconds": -1,
            })
        });
        ArmResponse::new(
            200,
            json!({"DocumentIncarnation": vm.incarnation, "Events": events.collect::<Value>()}),
        )
    }

    /// Approved events start at once. `[S]`
    fn acknowledge(&mut self, key: &str, body: Option<&Value>) -> ArmResponse {
        let requests = body.and_then(|b| b.get("StartRequests")).and_then(Value::as_array);
        let Some(requests) = requests else {
            return refuse(400, "invalid_request", "StartRequests is missing");
        };
        let ids: Vec<&str> =
            requests.iter().filter_map(|r| r.get("EventId")).filter_map(Value::as_str).collect();
        if let Some(vm) = self.vms.get_mut(key) {
            vm.start_events(|event| ids.iter().any(|id| event.id.eq_ignore_ascii_case(id)));
        }
        ArmResponse::empty(200)
    }
}

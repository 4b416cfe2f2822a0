//! A small ARM: NIC documents with ETags, operations that take time, unique addresses, `If-Match`.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::nic::{HttpAnswer, HttpFault, HttpRequest, HttpResult, Method};

pub(super) const GROUP: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network";

/// What is done to a request instead of carrying it out.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Answered so.
    Answer(u16, &'static str),
    /// Carried out, but the answer is lost.
    Lost,
    /// Accepted, but the operation fails and is undone.
    OperationFails,
}

/// Which requests meet a fault.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// End of the NIC's name; empty = any.
    pub(super) nic: &'static str,
    pub(super) method: Option<Method>,
    pub(super) fault: Fault,
    pub(super) left: usize,
}

#[derive(Clone, Debug)]
struct Config {
    name: String,
    address: IpAddr,
    primary: bool,
    properties: Value,
}

#[derive(Clone, Debug)]
struct Running {
    ends: Duration,
    fails: bool,
    before: Vec<Config>,
}

#[derive(Clone, Debug)]
struct Nic {
    configs: Vec<Config>,
    tags: Value,
    version: u64,
    running: Option<Running>,
    failed: bool,
    /// What a failed detach has left allocated, though the document shows its goal.
    kept: Vec<IpAddr>,
}

/// One write as ARM saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Duration,
    pub(super) nic: String,
    pub(super) method: Method,
    pub(super) status: u16,
    /// The secondary addresses before and after.
    pub(super) before: Vec<IpAddr>,
    pub(super) after: Vec<IpAddr>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Arm {
    nics: BTreeMap<String, Nic>,
    operations: BTreeMap<String, (String, Duration, bool)>,
    /// How long an operation takes.
    pub(super) takes: Duration,
    pub(super) rules: Vec<Rule>,
    pub(super) writes: Vec<Seen>,
    pub(super) requests: usize,
    /// Whether a tag PATCH changes the ETag (H7).
    pub(super) patch_changes_etag: bool,
    /// Whether a write with an old ETag is refused.
    pub(super) honours_if_match: bool,
    pub(super) prefix: &'static str,
    next: u64,
}

fn path_of(nic: &str) -> String {
    format!("{GROUP}/networkInterfaces/{nic}")
}

impl Arm {
    pub(super) fn new() -> Self {
        Self {
            nics: BTreeMap::new(),
            operations: BTreeMap::new(),
            takes: Duration::from_secs(1),
            rules: vec![],
            writes: vec![],
            requests: 0,
            patch_changes_etag: true,
            honours_if_match: true,
            prefix: "10.5.0.0/24",
            next: 0,
        }
    }

    pub(super) fn add_nic(&mut self, name: &str, primary: IpAddr) {
        let config = Config {
            name: "ipconfig1".into(),
            address: primary,
            primary: true,
            properties: json!({}),
        };
        let nic = Nic {
            configs: vec![config],
            tags: json!({}),
            version: 1,
            running: None,
            failed: false,
            kept: vec![],
        };
        self.nics.insert(name.to_owned(), nic);
    }

    pub(super) fn remove_nic(&mut self, name: &str) {
        self.nics.remove(name);
    }

    /// Somebody else puts an address on a NIC, at once.
    pub(super) fn outsider_attaches(&mut self, nic: &str, address: IpAddr, config: &str) {
        let nic = self.nics.get_mut(nic).expect("a NIC");
        let properties = json!({"publicIPAddress": {"id": "/pip"}});
        nic.configs.push(Config { name: config.into(), address, primary: false, properties });
        nic.version += 1;
    }

    /// Something unrelated has failed on a NIC.
    pub(super) fn fails(&mut self, nic: &str) {
        self.nics.get_mut(nic).expect("a NIC").failed = true;
    }

    /// A detach has failed: the document shows its goal, and Azure has let go of nothing.
    pub(super) fn detach_failed(&mut self, nic: &str, address: IpAddr) {
        let nic = self.nics.get_mut(nic).expect("a NIC");
        nic.failed = true;
        nic.kept.push(address);
    }

    pub(super) fn outsider_detaches(&mut self, nic: &str, address: IpAddr) {
        let nic = self.nics.get_mut(nic).expect("a NIC");
        nic.configs.retain(|config| config.address != address || config.primary);
        nic.version += 1;
    }

    /// The NICs to which Azure delivers an address.
    pub(super) fn attached(&self, address: IpAddr) -> Vec<String> {
        let has = |nic: &Nic| nic.configs.iter().any(|config| config.address == address);
        self.nics.iter().filter(|(_, nic)| has(nic)).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn properties(&self, nic: &str, address: IpAddr) -> Option<Value> {
        let configs = &self.nics.get(nic)?.configs;
        configs.iter().find(|c| c.address == address).map(|c| c.properties.clone())
    }

    pub(super) fn tag(&self, nic: &str) -> Option<String> {
        Some(self.nics.get(nic)?.tags.get("vipfence")?.as_str()?.to_owned())
    }

    /// Carries a request out at a moment.
    pub(super) fn serve(&mut self, at: Duration, request: &HttpRequest) -> HttpResult {
        self.requests += 1;
        self.settle(at);
        let path = request.path.split('?').next().unwrap_or_default().to_owned();
        let fault = self.fault(&path, request.method);
        match fault {
            Some(Fault::Answer(status, code)) => Ok(error(status, code, "scripted")),
            Some(Fault::Lost) => {
                let _ = self.route(at, &path, request, false);
                Err(HttpFault::Unknown("the answer was lost".into()))
            }
            Some(Fault::OperationFails) => Ok(self.route(at, &path, request, true)),
            None => Ok(self.route(at, &path, request, false)),
        }
    }

    fn fault(&mut self, path: &str, method: Method) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|rule| {
            rule.left > 0
                && path.ends_with(rule.nic)
                && rule.method.is_none_or(|wanted| wanted == method)
        })?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }

    fn route(
        &mut self,
        at: Duration,
        path: &str,
        request: &HttpRequest,
        fails: bool,
    ) -> HttpAnswer {
        if let Some(address) = request.path.split("ipAddress=").nth(1) {
            let address: IpAddr =
                address.split('&').next().and_then(|a| a.parse().ok()).expect("an address");
            let free = self.attached(address).is_empty();
            return ok(json!({ "available": free }));
        }
        if path.contains("/operations/") {
            let Some((_, ends, failed)) = self.operations.get(path).cloned() else {
                return error(404, "OperationNotFound", "unknown");
            };
            return ok(match (at >= ends, failed) {
                (false, _) => json!({"status": "InProgress"}),
                (true, false) => json!({"status": "Succeeded"}),
                (true, true) => json!({"status": "Failed", "error": {"code": "InternalError"}}),
            });
        }
        if path.ends_with("/virtualNetworks/v") {
            let subnet = json!({"id": format!("{GROUP}/virtualNetworks/v/subnets/a"),
                "properties": {"addressPrefix": self.prefix}});
            return ok(json!({"properties": {"subnets": [subnet]}}));
        }
        if path.ends_with("/networkInterfaces") {
            let all: Vec<Value> = self.nics.keys().map(|name| self.document(name)).collect();
            return ok(json!({ "value": all }));
        }
        let Some(name) = self.nics.keys().find(|name| path == path_of(name)).cloned() else {
            return error(404, "ResourceNotFound", "no such NIC");
        };
        match request.method {
            Method::Get => ok(self.document(&name)),
            Method::Put | Method::Patch => {
                let before = self.secondaries(&name);
                let answer = self.write(at, &name, request, fails);
                self.writes.push(Seen {
                    at,
                    after: self.secondaries(&name),
                    before,
                    nic: name,
                    method: request.method,
                    status: answer.status,
                });
                answer
            }
        }
    }

    fn secondaries(&self, name: &str) -> Vec<IpAddr> {
        let configs = self.nics.get(name).map(|nic| nic.configs.clone()).unwrap_or_default();
        configs.iter().filter(|c| !c.primary).map(|c| c.address).collect()
    }

    fn write(
        &mut self,
        at: Duration,
        name: &str,
        request: &HttpRequest,
        fails: bool,
    ) -> HttpAnswer {
        let nic = self.nics.get(name).expect("it was found");
        if self.honours_if_match && request.headers.get("if-match") != Some(&etag(nic.version)) {
            return error(412, "PreconditionFailed", "the ETag has changed");
        }
        if nic.running.is_some() {
            return error(429, "RetryableError", "another operation is running");
        }
        let body = request.body.clone().unwrap_or_default();
        if request.method == Method::Patch {
            let changes = self.patch_changes_etag;
            let nic = self.nics.get_mut(name).expect("it was found");
            nic.tags = body.get("tags").cloned().unwrap_or_default();
            nic.version += u64::from(changes);
            return ok(self.document(name));
        }
        let configs = read_configs(&body);
        for config in &configs {
            if let Some(other) = self.holder(name, config.address) {
                let message = format!(
                    "IP configuration /x/y is using the private IP address {} which is already \
                     allocated to resource {}/ipConfigurations/z.",
                    config.address,
                    path_of(&other)
                );
                return error(400, "PrivateIPAddressIsAllocated", &message);
            }
        }
        self.next += 1;
        let url = format!("{GROUP}/locations/l/operations/{}", self.next);
        let ends = at + self.takes;
        let nic = self.nics.get_mut(name).expect("it was found");
        let before = core::mem::replace(&mut nic.configs, configs);
        nic.tags = body.get("tags").cloned().unwrap_or_default();
        nic.version += 1;
        nic.failed = false;
        nic.running = Some(Running { ends, fails, before });
        self.operations.insert(url.clone(), (name.to_owned(), ends, fails));
        let mut answer = ok(self.document(name));
        answer.headers.insert("azure-asyncoperation".into(), url);
        answer
    }

    /// Who else has an address: in its document, or until its running operation has ended.
    fn holder(&self, but: &str, address: IpAddr) -> Option<String> {
        let has = |configs: &[Config]| configs.iter().any(|config| config.address == address);
        let other = self.nics.iter().find(|(name, nic)| {
            let freeing = nic.running.as_ref().is_some_and(|running| has(&running.before));
            *name != but && (has(&nic.configs) || freeing || nic.kept.contains(&address))
        });
        other.map(|(name, _)| name.clone())
    }

    fn settle(&mut self, at: Duration) {
        for nic in self.nics.values_mut() {
            if let Some(running) = nic.running.take_if(|running| at >= running.ends) {
                nic.version += 1;
                if running.fails {
                    nic.configs = running.before;
                    nic.failed = true;
                } else {
                    nic.kept.clear();
                }
            }
        }
    }

    fn document(&self, name: &str) -> Value {
        let nic = self.nics.get(name).expect("it was found");
        let state = match (&nic.running, nic.failed) {
            (Some(_), _) => "Updating",
            (None, true) => "Failed",
            (None, false) => "Succeeded",
        };
        let configs: Vec<Value> = nic
            .configs
            .iter()
            .map(|config| {
                let mut properties = config.properties.clone();
                let own = properties.as_object_mut().expect("an object");
                own.insert("privateIPAddress".into(), json!(config.address.to_string()));
                own.insert("primary".into(), json!(config.primary));
                own.insert("provisioningState".into(), json!(state));
                let subnet = format!("{GROUP}/virtualNetworks/v/subnets/a");
                own.insert("subnet".into(), json!({ "id": subnet }));
                json!({"name": config.name, "properties": properties})
            })
            .collect();
        json!({"id": path_of(name), "name": name, "etag": etag(nic.version), "tags": nic.tags,
            "properties": {"provisioningState": state, "ipConfigurations": configs}})
    }
}

fn read_configs(body: &Value) -> Vec<Config> {
    let configs = body.pointer("/properties/ipConfigurations").and_then(Value::as_array);
    let read = |config: &Value| {
        let of = |key: &str| config.pointer(&format!("/properties/{key}")).cloned();
        let mut properties = config.get("properties").cloned().unwrap_or_default();
        let kept = properties.as_object_mut().expect("an object");
        kept.retain(|key, _| key == "publicIPAddress");
        Config {
            name: config.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            address: of("privateIPAddress")
                .and_then(|a| a.as_str()?.parse().ok())
                .expect("an address"),
            primary: of("primary").and_then(|p| p.as_bool()).unwrap_or_default(),
            properties,
        }
    };
    configs.into_iter().flatten().map(read).collect()
}

fn etag(version: u64) -> String {
    format!("W/\"{version}\"")
}

fn ok(body: Value) -> HttpAnswer {
    HttpAnswer { status: 200, headers: BTreeMap::new(), body }
}

fn error(status: u16, code: &str, message: &str) -> HttpAnswer {
    let body = json!({"error": {"code": code, "message": message, "details": []}});
    HttpAnswer { status, headers: BTreeMap::new(), body }
}

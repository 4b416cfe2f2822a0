//! One test per rule, on the pure state.

mod address;
mod authorization;
mod ending;
mod entra;
mod etag;
mod fault;
mod identities;
mod identity;
mod operation;
mod profile;
mod property;
mod read;
mod roles;
mod rules;
mod sites;
mod standing;
mod tags;
mod throttle;
mod validation;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const API: &str = "api-version=2024-05-01";
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 5, 0, 110));

/// A world of three nodes and a stranger, and what it takes to talk to it.
struct Bench {
    world: World,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut config =
            WorldConfig::nodes(3).with_stranger("stranger", Ipv4Addr::new(10, 5, 0, 200));
        change(&mut config.settings);
        Self::of(config)
    }

    fn of(config: WorldConfig) -> Self {
        Self { world: World::new(config).expect("a possible world"), now: Duration::ZERO }
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.world.advance(self.now);
    }

    fn token(&mut self, node: &str) -> String {
        let answer = self.imds(
            node,
            "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F",
        );
        answer.body.expect("a body")["access_token"].as_str().expect("a token").to_owned()
    }

    fn imds(&mut self, node: &str, path: &str) -> ArmResponse {
        let request = ArmRequest::new("GET", path).with_header("Metadata", "true");
        match self.world.imds(self.now, node, &request) {
            ArmOutcome::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, request: ArmRequest) -> ArmOutcome {
        let token = self.token("n1");
        self.world.arm(self.now, request.with_token(&token))
    }

    fn ask(&mut self, request: ArmRequest) -> ArmResponse {
        match self.send(request) {
            ArmOutcome::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self, path: &str) -> ArmResponse {
        self.ask(ArmRequest::new("GET", path))
    }

    fn nic_path(&self, nic: &str) -> String {
        format!("{}?{API}", self.world.config().nic_id(nic))
    }

    fn nic(&mut self, nic: &str) -> Value {
        self.get(&self.nic_path(nic)).body.expect("a NIC")
    }

    fn put_request(&self, nic: &str, body: Value) -> ArmRequest {
        ArmRequest::new("PUT", self.nic_path(nic)).with_body(body)
    }

    fn put(&mut self, nic: &str, body: Value) -> ArmResponse {
        self.ask(self.put_request(nic, body))
    }

    fn patch(&mut self, nic: &str, tags: Value) -> ArmResponse {
        let path = self.nic_path(nic);
        self.ask(ArmRequest::new("PATCH", path).with_body(json!({"tags": tags})))
    }

    /// The NIC's document with one more ipConfiguration.
    fn with_address(&mut self, nic: &str, address: IpAddr) -> Value {
        let mut body = self.nic(nic);
        let configs = &mut body["properties"]["ipConfigurations"];
        let subnet = configs[0]["properties"]["subnet"].clone();
        let version = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        configs.as_array_mut().expect("a list").push(json!({
            "name": format!("vip-{address}"),
            "properties": {
                "privateIPAddress": address,
                "privateIPAllocationMethod": "Static",
                "privateIPAddressVersion": version,
                "subnet": subnet,
            },
        }));
        body
    }

    fn without_address(&mut self, nic: &str, address: IpAddr) -> Value {
        let mut body = self.nic(nic);
        body["properties"]["ipConfigurations"]
            .as_array_mut()
            .expect("a list")
            .retain(|c| c["properties"]["privateIPAddress"] != json!(address));
        body
    }

    fn attach(&mut self, nic: &str, address: IpAddr) -> ArmResponse {
        let body = self.with_address(nic, address);
        self.put(nic, body)
    }

    fn detach(&mut self, nic: &str, address: IpAddr) -> ArmResponse {
        let body = self.without_address(nic, address);
        self.put(nic, body)
    }

    /// Attached and at rest.
    fn attached(&mut self, nic: &str, address: IpAddr) {
        assert_eq!(self.attach(nic, address).status, 200);
        self.wait(60_000);
        assert_eq!(self.reaches(address), Some(nic.to_owned()));
    }

    fn poll(&mut self, put: &ArmResponse) -> Value {
        let url = put.header("Azure-AsyncOperation").expect("an operation");
        let path = url.strip_prefix("https://management.azure.com").expect("the public cloud");
        self.get(path).body.expect("a status")
    }

    /// Name of the NIC that gets the traffic of an address.
    fn reaches(&self, address: IpAddr) -> Option<String> {
        let attachments = self.world.attachments().attachments;
        Some(attachments.get(&address)?.rsplit('/').next()?.to_owned())
    }

    fn admin(&mut self, command: AdminCommand) -> AdminReply {
        self.world.admin(self.now, command).expect("a possible command")
    }

    fn fault(&mut self, fault: Fault) {
        self.admin(AdminCommand::AddFault { fault });
    }

    fn last_write(&self) -> Call {
        let writes = self.world.journal_after(0).filter_map(|entry| match &entry.event {
            JournalEvent::Write(call) => Some(call.clone()),
            _ => None,
        });
        writes.last().expect("a write")
    }
}

#[track_caller]
fn assert_refused(answer: &ArmResponse, status: u16, code: &str) {
    assert_eq!((answer.status, answer.error_code()), (status, Some(code)), "{answer:?}");
}

/// What `error` of an answer says in its first detail.
fn detail(answer: &ArmResponse) -> (String, String) {
    let detail = &answer.body.as_ref().expect("a body")["error"]["details"][0];
    let text = |name: &str| detail[name].as_str().expect("a text").to_owned();
    (text("code"), text("message"))
}

//! The simulator over real HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use azure_sim::server::{Running, ServerConfig, TlsConfig, run};
use azure_sim::{AdminCommand, Fault, FaultEffect, WorldConfig};
use serde_json::{Value, json};

const API: &str = "api-version=2024-05-01";
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct Bench {
    running: Running,
    client: reqwest::Client,
    token: String,
}

async fn bench() -> Bench {
    // A second call finds it installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut world = WorldConfig::nodes(2);
    world.settings.operation_ms = 150;
    let imds = vec![("n1".to_owned(), ANY), ("n2".to_owned(), ANY)];
    let running = run(ServerConfig { arm: ANY, imds, tls: None, world }).await.expect("it runs");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!(
        "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F",
        running.imds_url("n1").expect("n1 has one")
    );
    let answer = client.get(url).header("Metadata", "true").send().await.expect("a token");
    let answer: Value = answer.json().await.expect("JSON");
    let token = answer["access_token"].as_str().expect("a text").to_owned();
    Bench { running, client, token }
}

impl Bench {
    fn nic_url(&self, nic: &str) -> String {
        let id = self.running.with_world(|world, _| world.config().nic_id(nic));
        format!("{}{id}?{API}", self.running.arm_url())
    }

    async fn get(&self, url: &str) -> Value {
        let answer = self.client.get(url).bearer_auth(&self.token).send().await;
        answer.expect("an answer").json().await.expect("JSON")
    }

    fn put(&self, nic: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client.put(self.nic_url(nic)).bearer_auth(&self.token).json(body)
    }

    async fn with_vip(&self, nic: &str) -> Value {
        let mut body = self.get(&self.nic_url(nic)).await;
        let configs = &mut body["properties"]["ipConfigurations"];
        let subnet = configs[0]["properties"]["subnet"].clone();
        configs.as_array_mut().expect("a list").push(json!({
            "name": "vip",
            "properties": {"privateIPAddress": "10.5.0.110", "subnet": subnet,
                "privateIPAllocationMethod": "Static"},
        }));
        body
    }

    async fn attachments(&self, query: &str) -> Value {
        self.get(&format!("{}/admin/attachments{query}", self.running.arm_url())).await
    }

    async fn command(&self, command: &AdminCommand) -> (u16, Value) {
        let url = format!("{}/admin/command", self.running.arm_url());
        let answer = self.client.post(url).json(command).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }
}

#[tokio::test]
async fn an_attach_runs_over_http_from_the_put_to_the_data_plane() {
    let bench = bench().await;
    let before = bench.attachments("").await;
    let body = bench.with_vip("n1-nic").await;
    let etag = body["etag"].as_str().expect("a text").to_owned();
    let put = bench.put("n1-nic", &body).header("If-Match", &etag).send().await.expect("accepted");
    assert_eq!(put.status(), 200);
    assert!(put.headers().get("etag").is_none());
    assert_eq!(put.headers()["content-type"], "application/json; charset=utf-8");
    let operation = put.headers()["azure-asyncoperation"].to_str().expect("a URL").to_owned();
    assert!(operation.starts_with(&bench.running.arm_url()), "{operation}");
    assert_eq!(bench.get(&operation).await, json!({"status": "InProgress"}));

    // The long poll returns by itself when the operation has taken effect.
    let after = bench.attachments(&format!("?after={}", before["version"])).await;
    let id = bench.running.with_world(|world, _| world.config().nic_id("n1-nic"));
    assert_eq!(after["attachments"]["10.5.0.110"], id);
    assert_eq!(bench.get(&operation).await, json!({"status": "Succeeded"}));

    let stale = bench.put("n1-nic", &body).header("If-Match", &etag).send().await;
    assert_eq!(stale.expect("an answer").status(), 412);
    let journal = bench.get(&format!("{}/admin/journal?after=0", bench.running.arm_url())).await;
    let kinds: Vec<&str> = journal["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["kind"].as_str().expect("a text"))
        .collect();
    assert_eq!(kinds, ["write", "completion", "data_plane", "write"]);
    assert_eq!(journal["next_after"], 4);
    assert_eq!(journal["entries"][3]["error_code"], "PreconditionFailed");
}

#[tokio::test]
async fn a_poll_body_has_the_recorded_bytes() {
    let bench = bench().await;
    let body = bench.get(&bench.nic_url("n1-nic")).await;
    let put = bench.put("n1-nic", &body).send().await.expect("accepted");
    let url = put.headers()["azure-asyncoperation"].to_str().expect("a URL").to_owned();
    let poll = bench.client.get(url).bearer_auth(&bench.token).send().await.expect("an answer");
    assert_eq!(poll.headers()["retry-after"], "10");
    assert_eq!(poll.text().await.expect("a text"), "{\r\n  \"status\": \"InProgress\"\r\n}");
}

#[tokio::test]
async fn a_long_poll_without_news_ends_with_the_old_version() {
    let bench = bench().await;
    let before = bench.attachments("").await;
    let after = bench.attachments(&format!("?after={}&wait_ms=20", before["version"])).await;
    assert_eq!(before, after);
}

#[tokio::test]
async fn each_imds_listener_speaks_for_its_own_vm() {
    let bench = bench().await;
    for node in ["n1", "n2"] {
        let url = bench.running.imds_url(node).expect("it has one");
        let url = format!("{url}/metadata/instance/compute/name?api-version=2021-02-01");
        let answer = bench.client.get(url).header("Metadata", "true").send().await;
        let name: Value = answer.expect("an answer").json().await.expect("JSON");
        assert_eq!(name, node);
    }
}

#[tokio::test]
async fn a_lost_answer_is_a_closed_connection_and_the_write_counts() {
    let bench = bench().await;
    let body = bench.with_vip("n1-nic").await;
    let fault = Fault::once(FaultEffect::LoseAnswer { close: true });
    let reply = bench.command(&AdminCommand::AddFault { fault }).await;
    assert_eq!(reply, (200, json!({"result": "done"})));
    let lost = bench.put("n1-nic", &body).send().await;
    assert!(lost.is_err(), "{lost:?}");
    let nic = bench.get(&bench.nic_url("n1-nic")).await;
    assert_eq!(nic["properties"]["ipConfigurations"][1]["name"], "vip");
}

#[tokio::test]
async fn a_silent_answer_is_a_time_out() {
    let bench = bench().await;
    let body = bench.with_vip("n1-nic").await;
    let fault = Fault::once(FaultEffect::LoseAnswer { close: false });
    bench.command(&AdminCommand::AddFault { fault }).await;
    let lost = bench.put("n1-nic", &body).timeout(Duration::from_millis(100)).send().await;
    assert!(lost.expect_err("no answer").is_timeout());
}

#[tokio::test]
async fn a_held_write_is_processed_after_its_client_has_left() {
    let bench = bench().await;
    let body = bench.with_vip("n1-nic").await;
    bench.command(&AdminCommand::AddFault { fault: Fault::once(FaultEffect::Hold) }).await;
    let left = bench.put("n1-nic", &body).timeout(Duration::from_millis(100)).send().await;
    assert!(left.expect_err("no answer").is_timeout());
    let reply = bench.command(&AdminCommand::Release { hold: None }).await;
    assert_eq!(reply, (200, json!({"result": "released", "holds": [1]})));
    let nic = bench.get(&bench.nic_url("n1-nic")).await;
    assert_eq!(nic["properties"]["provisioningState"], "Updating");
}

#[tokio::test]
async fn a_held_write_is_answered_when_it_is_released() {
    let bench = bench().await;
    let body = bench.with_vip("n1-nic").await;
    bench.command(&AdminCommand::AddFault { fault: Fault::once(FaultEffect::Hold) }).await;
    let put = bench.put("n1-nic", &body).send();
    let release = async {
        let held = |world: &mut azure_sim::World, _| !world.status().held.is_empty();
        while !bench.running.with_world(held) {
            tokio::task::yield_now().await;
        }
        bench.command(&AdminCommand::Release { hold: None }).await
    };
    let (put, _) = tokio::join!(put, release);
    assert_eq!(put.expect("an answer").status(), 200);
}

#[tokio::test]
async fn admin_refuses_what_it_does_not_know() {
    let bench = bench().await;
    let nic = "none".to_owned();
    let (status, body) = bench.command(&AdminCommand::DeleteNic { nic }).await;
    assert_eq!((status, body), (404, json!({"error": "there is no NIC none"})));
    let url = format!("{}/admin/command", bench.running.arm_url());
    let answer = bench.client.post(url).body(r#"{"command":"dance"}"#).send().await;
    assert_eq!(answer.expect("an answer").status(), 400);
    let state = bench.get(&format!("{}/admin/state", bench.running.arm_url())).await;
    assert_eq!(state["nics"][0]["name"], "n1-nic");
    assert_eq!(state["settings"]["operation_ms"], 150);
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_remedy() {
    let bench = bench().await;
    let again = ServerConfig {
        arm: bench.running.arm,
        imds: Vec::new(),
        tls: None,
        world: WorldConfig::nodes(1),
    };
    let error = run(again).await.expect_err("the port is taken").to_string();
    assert!(error.contains(&bench.running.arm.to_string()), "{error}");
    assert!(error.contains("--arm"), "{error}");
}

/// The same world through TLS as well, and a client that trusts its CA.
async fn secure(names: &[&str]) -> (Running, reqwest::Client) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let names = names.iter().map(ToString::to_string).collect();
    let tls = Some(TlsConfig { listen: ANY, names });
    let world = WorldConfig::nodes(1);
    let running = run(ServerConfig { arm: ANY, imds: Vec::new(), tls, world }).await;
    let running = running.expect("it runs");
    let ca = running.tls.as_ref().expect("it was asked for").ca_pem.clone();
    let ca = reqwest::Certificate::from_pem(ca.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build();
    (running, client.expect("a client"))
}

#[tokio::test]
async fn through_tls_urls_in_answers_are_https() {
    let (running, client) = secure(&["azure.test"]).await;
    let tls = running.tls.as_ref().expect("it was asked for");
    let path = "/metadata/endpoints?api-version=2022-09-01";
    for host in ["localhost", "127.0.0.1"] {
        let base = format!("https://{host}:{}", tls.address.port());
        let answer = client.get(format!("{base}{path}")).send().await.expect("an answer");
        let endpoints: Value = answer.json().await.expect("JSON");
        assert_eq!(endpoints["resourceManager"], base);
    }
    // The tester's hand stays on the plain listener.
    let admin = client.get(format!("{}/admin/state", tls.arm_url())).send().await;
    assert_eq!(admin.expect("an answer").status(), 401);
    let plain = client.get(format!("{}/admin/state", running.arm_url())).send().await;
    assert_eq!(plain.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_certificate_has_the_names_that_were_asked_for_and_no_others() {
    for (names, known) in [(&["azure.test"][..], true), (&[][..], false)] {
        let (running, _) = secure(names).await;
        let tls = running.tls.as_ref().expect("it was asked for");
        let ca = reqwest::Certificate::from_pem(tls.ca_pem.as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
        let client = client.resolve("azure.test", tls.address).build().expect("a client");
        let url = format!("https://azure.test:{}/metadata/endpoints", tls.address.port());
        assert_eq!(client.get(url).send().await.is_ok(), known);
    }
}

#[tokio::test]
async fn a_client_that_stalls_in_its_handshake_is_in_nobodys_way() {
    let (running, client) = secure(&[]).await;
    let tls = running.tls.as_ref().expect("it was asked for");
    let _stalled = tokio::net::TcpStream::connect(tls.address).await.expect("connected");
    let answer = client.get(format!("{}/metadata/endpoints", tls.arm_url())).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
}

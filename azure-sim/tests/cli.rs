//! `azure-sim admin` against a running simulator.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;

use azure_sim::server::{Running, ServerConfig, run};
use azure_sim::{
    AdminCommand, BuiltInRole, Fault, FaultEffect, JournalEvent, Lock, Profile, Role,
    RoleAssignment, Settings, Status, WorldConfig,
};
use serde_json::{Value, json};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn simulator() -> Running {
    let world = WorldConfig::nodes(2);
    run(ServerConfig { arm: ANY, imds: Vec::new(), tls: None, world }).await.expect("it runs")
}

async fn admin_at(url: &str, words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_azure-sim"));
    command.args(["admin", "--at", url]).args(words);
    command.output().await.expect("the program runs")
}

/// What it prints.
async fn admin(running: &Running, words: &[&str]) -> String {
    let output = admin_at(&running.arm_url(), words).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{words:?}: {err}");
    out
}

/// What it complains about.
async fn refused(url: &str, words: &[&str]) -> String {
    let output = admin_at(url, words).await;
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    assert!(output.stdout.is_empty());
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("a text")
}

fn status(running: &Running) -> Status {
    running.with_world(|world, _| world.status())
}

#[tokio::test]
async fn faults_freezes_and_locks_are_a_word_each() {
    let running = simulator().await;
    let fault = ["fault", "--nic", "n1-nic", "--times", "2", "refuse", "503", "Busy", "no"];
    assert_eq!(admin(&running, &fault).await, "{\"result\":\"done\"}\n");
    let effect = FaultEffect::Refuse {
        status: 503,
        code: "Busy".to_owned(),
        message: "no".to_owned(),
        retry_after_s: None,
    };
    assert_eq!(status(&running).faults, [Fault::once(effect).on_nic("n1-nic").times(2)]);
    admin(&running, &["clear-faults"]).await;
    admin(&running, &["fault", "delay", "300ms"]).await;
    assert_eq!(status(&running).faults, [Fault::once(FaultEffect::Delay { ms: 300 })]);
    admin(&running, &["freeze", "n1-nic"]).await;
    admin(&running, &["lock", "read-only", "--nic", "n2-nic"]).await;
    let now = status(&running);
    assert_eq!(now.nics.iter().map(|nic| nic.frozen).collect::<Vec<_>>(), [true, false]);
    assert_eq!(now.locks.values().collect::<Vec<_>>(), [&Lock::ReadOnly]);
    admin(&running, &["unfreeze"]).await;
    admin(&running, &["lock", "none", "--nic", "n2-nic"]).await;
    admin(&running, &["policy", "no-vips"]).await;
    let now = status(&running);
    assert!(now.nics.iter().all(|nic| !nic.frozen));
    assert!(now.locks.is_empty());
    assert_eq!(now.policies.values().collect::<Vec<_>>(), ["no-vips"]);
}

#[tokio::test]
async fn settings_are_shown_and_changed_one_by_one_or_by_profile() {
    let running = simulator().await;
    admin(&running, &["profile", "classic"]).await;
    admin(&running, &["settings", "cleanup_ms=5000", "concurrent_write=fail_later"]).await;
    let shown: Settings =
        serde_json::from_str(&admin(&running, &["settings"]).await).expect("settings");
    let expected = Settings {
        cleanup_ms: 5_000,
        concurrent_write: azure_sim::ConcurrentWrite::FailLater,
        ..Profile::Classic.settings()
    };
    assert_eq!(shown, expected);
    let url = running.arm_url();
    let error = refused(&url, &["settings", "cleanup=5"]).await;
    assert!(error.contains("unknown field `cleanup`") && error.contains("cleanup_ms"), "{error}");
}

#[tokio::test]
async fn a_third_party_writes_and_the_journal_tells() {
    let running = simulator().await;
    let answer =
        admin(&running, &["third-party", "attach", "n1-nic", "10.5.0.110", "--immediate"]).await;
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["response"]["status"], 200);
    let attached = admin(&running, &["attachments"]).await;
    assert!(attached.contains("\"10.5.0.110\""), "{attached}");
    let lines = admin(&running, &["journal"]).await;
    let kinds: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["kind"].take())
        .collect();
    assert_eq!(kinds, ["write", "admin", "completion", "data_plane"]);
    assert_eq!(admin(&running, &["journal", "--after", "3"]).await.lines().count(), 1);
}

#[tokio::test]
async fn anything_else_is_a_command_as_json() {
    let running = simulator().await;
    admin(&running, &["command", r#"{"command":"revoke_tokens","node":"n1"}"#]).await;
    let said = running.with_world(|world, _| world.journal_after(0).last().cloned());
    let revoke = AdminCommand::RevokeTokens { node: "n1".to_owned() };
    let command = serde_json::to_string(&revoke).expect("JSON");
    assert_eq!(said.map(|entry| entry.event), Some(JournalEvent::Admin { command }));
}

#[tokio::test]
async fn a_refusal_names_the_thing_and_the_remedy() {
    let running = simulator().await;
    let url = running.arm_url();
    assert_eq!(
        refused(&url, &["freeze", "n9-nic"]).await,
        "azure-sim: there is no NIC n9-nic; `azure-sim admin state` names all there are\n"
    );
    assert_eq!(
        refused(&url, &["cancel", "n1-nic"]).await,
        "azure-sim: no operation runs on NIC n1-nic; `azure-sim admin state` lists the operations that run\n"
    );
    drop(running);
    let error = refused(&url, &["state"]).await;
    let begin = format!(
        "azure-sim: no simulator answers at {url}; start one with `azure-sim serve`, or say with --at where it is"
    );
    assert!(error.starts_with(&begin), "{error}");
}

#[tokio::test]
async fn roles_are_given_by_name_or_from_the_file_that_az_takes() {
    let running = simulator().await;
    let roles = || status(&running).vms[0].roles.clone();
    assert_eq!(roles(), None);
    let group = running.with_world(|world, _| world.config().resource_group_id());
    admin(&running, &["roles", "n1", "--role", "reader", "--scope", &group]).await;
    let reader = Role::BuiltIn(BuiltInRole::Reader);
    assert_eq!(roles(), Some(vec![RoleAssignment { role: reader, scope: group.clone() }]));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let definition = json!({
        "Name": "mine", "IsCustom": true, "Description": "", "Actions": ["*/read"],
        "NotActions": [], "DataActions": [], "NotDataActions": [], "AssignableScopes": [group],
    });
    std::fs::write(file.path(), definition.to_string()).expect("it is written");
    let path = file.path().to_str().expect("a text");
    admin(&running, &["roles", "n1", "--definition", path]).await;
    let given = roles().expect("roles");
    assert_eq!(given.iter().map(|given| given.scope.as_str()).collect::<Vec<_>>(), [&group]);
    let elsewhere = ["roles", "n1", "--definition", path, "--scope", "/subscriptions/other"];
    let error = refused(&running.arm_url(), &elsewhere).await;
    assert!(error.contains("role mine cannot be assigned at /subscriptions/other"), "{error}");
    admin(&running, &["roles", "n1", "--clear"]).await;
    assert_eq!(roles(), None);
}

#[tokio::test]
async fn serve_says_where_it_listens_through_tls_and_whom_to_trust() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_azure-sim"));
    command.args(["serve", "--arm", "127.0.0.1:0", "--imds-base-port", "0", "--nodes", "1"]);
    command.args(["--tls", "--tls-listen", "127.0.0.1:0", "--tls-dir"]);
    // A folder that is not there yet is made.
    command.arg(folder.path().join("new")).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let line = lines.next_line().await.expect("a text").expect("a line");
    let said: Value = serde_json::from_str(&line).expect("JSON");
    let arm = said["tls"]["arm"].as_str().expect("a URL");
    assert!(arm.starts_with("https://localhost:"), "{arm}");
    let ca = std::path::Path::new(said["tls"]["ca"].as_str().expect("a path"));
    assert!(ca.is_absolute());
    let pem = std::fs::read_to_string(ca).expect("a file");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    assert!(!pem.contains("PRIVATE KEY"), "only the certificate leaves");
    child.kill().await.expect("it ends");
}

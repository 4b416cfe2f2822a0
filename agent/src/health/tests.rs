//! Checks of real services.

use std::{net::SocketAddr, sync::Mutex};

use axum::{Router, http::StatusCode, response::Redirect, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};
use vipfence_types::NodeId;

use super::*;
use crate::{duty::Systemctl, spawner::Spawner};

fn demo() -> VipName {
    VipName::new("demo").unwrap()
}

fn prober() -> Arc<Prober> {
    // The one provider of the process; another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let spawner = Spawner::new().unwrap();
    let services = Arc::new(Systemctl::at(spawner.clone(), "/bin/false"));
    Arc::new(Prober::new(NodeId::new("n1").unwrap(), spawner, services).unwrap())
}

async fn ask(probe: Probe) -> Result<(), String> {
    let (prober, vip) = (prober(), demo());
    let asked = prober.ask(&vip, &probe);
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap()
}

async fn web() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/primary", get(async || "I am the primary"))
        .route("/replica", get(async || (StatusCode::SERVICE_UNAVAILABLE, "I am not")))
        .route("/elsewhere", get(async || Redirect::to("/primary")));
    (at, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

fn http(at: SocketAddr, path: &str, status: &[u32], body: Option<&str>) -> Probe {
    Probe::Http(HttpProbe {
        url: format!("http://{at}{path}").parse().unwrap(),
        status: status.to_vec(),
        body: body.map(str::to_owned),
        verify_tls: true,
    })
}

#[tokio::test]
async fn a_connection_that_is_taken_is_well_and_one_that_is_refused_is_not() {
    let (at, server) = web().await;
    assert_eq!(ask(Probe::Tcp(at.to_string())).await, Ok(()));
    server.abort();
    let _ = server.await;
    let refused = ask(Probe::Tcp(at.to_string())).await.unwrap_err();
    assert!(refused.contains(&at.to_string()) && refused.contains("refused"), "{refused}");
}

#[tokio::test]
async fn a_page_is_judged_by_its_code_and_by_what_it_has_and_a_redirect_is_not_followed() {
    let (at, server) = web().await;
    assert_eq!(ask(http(at, "/primary", &[200], Some("primary"))).await, Ok(()));
    let lacks = ask(http(at, "/primary", &[200], Some("replica"))).await.unwrap_err();
    assert!(lacks.contains("lacks \"replica\""), "{lacks}");
    let code = ask(http(at, "/replica", &[200], None)).await.unwrap_err();
    assert!(code.contains("503 Service Unavailable"), "{code}");
    assert_eq!(ask(http(at, "/replica", &[200, 503], Some("not"))).await, Ok(()));
    assert!(ask(http(at, "/elsewhere", &[200], None)).await.is_err());
    server.abort();
    let _ = server.await;
    let refused = ask(http(at, "/primary", &[200], None)).await.unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
}

#[tokio::test]
async fn a_command_is_well_by_its_exit_code_and_a_unit_by_the_service_manager() {
    let shell =
        |script: &str| Probe::Command(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
    assert_eq!(ask(shell("test $VIPFENCE_VIP = demo")).await, Ok(()));
    let failed = ask(shell("echo lag 90 s; exit 1")).await.unwrap_err();
    assert_eq!(failed, "exit status: 1; it said: lag 90 s");
    assert!(ask(Probe::Unit("x.service".to_owned())).await.is_err());
}

/// What the node was told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Option<String>>>>);

impl Heard {
    fn told(&self) -> Box<Told> {
        let heard = self.clone();
        Box::new(move |_, failing| {
            heard.0.lock().unwrap().push(failing);
            Box::pin(std::future::ready(()))
        })
    }

    async fn nth(&self, at: usize) -> Option<String> {
        let heard = async {
            loop {
                if let Some(told) = self.0.lock().unwrap().get(at) {
                    return told.clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap()
    }
}

fn check(name: &str, probe: Probe, on: CheckOn, fall: u32) -> CheckSetup {
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(20));
    let rules = CheckRules { rise: 2, fall };
    CheckSetup { name: name.to_owned(), probe, on, interval, timeout, rules }
}

/// A probe that is well as long as there is such a file, and how often it was asked stands beside it.
fn by_file(folder: &std::path::Path, name: &str) -> Probe {
    let file = folder.join(name);
    let script = format!("echo x >> {0}.asked; test -e {0}", file.display());
    Probe::Command(["/bin/sh", "-c", &script].map(str::to_owned).to_vec())
}

#[tokio::test]
async fn a_vip_fails_while_one_of_its_checks_does_and_the_reason_names_each() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["disk", "lag"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let checks = ["disk", "lag"].map(|name| CheckSetup {
        timeout: Duration::from_secs(10),
        ..check(name, by_file(folder.path(), name), CheckOn::Any, 3)
    });
    let heard = Heard::default();
    let (_serves, served) = watch::channel(BTreeSet::new());
    let following = tokio::spawn(follow(demo(), checks.into(), prober(), served, heard.told()));
    std::fs::remove_file(folder.path().join("lag")).unwrap();
    assert_eq!(heard.nth(0).await.unwrap(), "lag: exit status: 1");
    std::fs::remove_file(folder.path().join("disk")).unwrap();
    assert_eq!(heard.nth(1).await.unwrap(), "disk: exit status: 1; lag: exit status: 1");
    std::fs::write(folder.path().join("lag"), "").unwrap();
    assert_eq!(heard.nth(2).await.unwrap(), "disk: exit status: 1");
    std::fs::write(folder.path().join("disk"), "").unwrap();
    assert_eq!(heard.nth(3).await, None);
    following.abort();
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_is_not_well() {
    // It listens, and takes what the kernel takes for it; nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probe = http(listener.local_addr().unwrap(), "/", &[200], None);
    let heard = Heard::default();
    let (_serves, served) = watch::channel(BTreeSet::new());
    let checks = vec![check("web", probe, CheckOn::Any, 3)];
    let following = tokio::spawn(follow(demo(), checks, prober(), served, heard.told()));
    assert_eq!(heard.nth(0).await.unwrap(), "web: no answer within 20 ms");
    following.abort();
}

#[tokio::test]
async fn a_check_of_the_holder_asks_only_where_the_vip_is_served_and_begins_anew_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let asked = || {
        let text = std::fs::read_to_string(folder.path().join("pg.asked"));
        text.unwrap_or_default().lines().count()
    };
    let setup = CheckSetup {
        timeout: Duration::from_secs(10),
        ..check("pg", by_file(folder.path(), "pg"), CheckOn::Holder, 2)
    };
    let heard = Heard::default();
    let (serves, served) = watch::channel(BTreeSet::new());
    let following = tokio::spawn(follow(demo(), vec![setup], prober(), served, heard.told()));
    for round in 0..2 {
        let before = asked();
        serves.send_replace(BTreeSet::from([demo()]));
        assert_eq!(heard.nth(2 * round).await.unwrap(), "pg: exit status: 1");
        assert!(asked() >= before + 2, "it counts anew");
        serves.send_replace(BTreeSet::new());
        // Who does not serve is not failing by it.
        assert_eq!(heard.nth(2 * round + 1).await, None);
    }
    let before = asked();
    // As long as a good many probes would take.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(asked(), before);
    following.abort();
}

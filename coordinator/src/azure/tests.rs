//! The way to ARM against small servers that count what arrives.

mod faults;
mod identities;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap as Headers, StatusCode},
    response::IntoResponse,
    routing::{any, get},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use vipfence_coordinator_core::{HttpId, SendBefore};
use vipfence_types::Clocks;

use super::*;

/// An ARM and an IMDS in one.
#[derive(Default)]
struct Site {
    tokens: AtomicUsize,
    imds_down: AtomicBool,
    /// Only tokens from this number on are accepted.
    accepts_from: AtomicUsize,
    writes: Mutex<Vec<String>>,
    html: AtomicBool,
    /// Writes are denied for want of a permission.
    denies: AtomicBool,
    imds_busy: AtomicBool,
    giant: AtomicBool,
    /// Seconds that a token lives; 0 = an hour.
    life_s: AtomicU64,
    /// What the last token was asked for with.
    query: Mutex<String>,
}

async fn imds(State(site): State<Arc<Site>>, uri: axum::http::Uri) -> impl IntoResponse {
    *site.query.lock().expect("no panic") = uri.query().unwrap_or_default().to_owned();
    if site.imds_busy.load(Ordering::SeqCst) {
        return (StatusCode::TOO_MANY_REQUESTS, "busy".to_owned());
    }
    if site.imds_down.load(Ordering::SeqCst) {
        return (StatusCode::BAD_REQUEST, "down".to_owned());
    }
    let number = site.tokens.fetch_add(1, Ordering::SeqCst) + 1;
    let life = match site.life_s.load(Ordering::SeqCst) {
        0 => 3_600,
        life => life,
    };
    let expires = wall_s() + life;
    let body = json!({"access_token": format!("token-{number}"), "expires_on": expires.to_string(),
        "resource": "r", "token_type": "Bearer"});
    (StatusCode::OK, body.to_string())
}

async fn arm(State(site): State<Arc<Site>>, headers: Headers, body: Bytes) -> impl IntoResponse {
    let token = headers["authorization"].to_str().expect("ASCII");
    let number: usize = token.trim_start_matches("Bearer token-").parse().expect("a number");
    if number < site.accepts_from.load(Ordering::SeqCst) {
        return (StatusCode::UNAUTHORIZED, "{}".to_owned());
    }
    if site.denies.load(Ordering::SeqCst) {
        let message = "The client 'c' with object id 'o' does not have authorization to perform \
                       action 'Microsoft.Network/networkInterfaces/write' over scope '/nic' or x.";
        let body = json!({"error": {"code": "AuthorizationFailed", "message": message}});
        return (StatusCode::FORBIDDEN, body.to_string());
    }
    site.writes.lock().expect("no panic").push(String::from_utf8_lossy(&body).into_owned());
    if site.giant.load(Ordering::SeqCst) {
        return (StatusCode::OK, "x".repeat(20 << 20));
    }
    if site.html.load(Ordering::SeqCst) {
        return (StatusCode::OK, "<html>busy</html>".to_owned());
    }
    (StatusCode::OK, json!({"ok": true}).to_string())
}

fn wall_s() -> u64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec.unsigned_abs()
}

fn now() -> Clocks {
    Clocks::all_at(Duration::from_secs(wall_s()))
}

async fn site() -> (Arc<Site>, SocketAddr) {
    let site = Arc::new(Site::default());
    let router = Router::new()
        .route("/metadata/identity/oauth2/token", get(imds))
        .fallback(any(arm))
        .with_state(Arc::clone(&site));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (site, address)
}

fn azure_at(arm: SocketAddr, imds: SocketAddr) -> Azure {
    azure_with(arm, imds, Arc::new(now))
}

fn azure_with(arm: SocketAddr, imds: SocketAddr, clocks: ReadClocks) -> Azure {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = AzureConfig::new(
        &format!("http://{arm}"),
        &format!("http://{imds}"),
        "https://management.azure.com/",
    );
    let azure = Azure::new(config, clocks).expect("good settings");
    azure.start_keeper();
    azure
}

fn put(body: &str, window: Duration) -> HttpRequest {
    HttpRequest {
        id: HttpId(1),
        method: Method::Put,
        path: "/nic?api-version=x".to_owned(),
        headers: BTreeMap::new(),
        body: Some(json!(body)),
        send_before: Some(SendBefore { began: now(), window }),
    }
}

const WIDE: Duration = Duration::from_secs(60);

fn get_request(path: &str) -> HttpRequest {
    HttpRequest {
        method: Method::Get,
        path: path.to_owned(),
        body: None,
        send_before: None,
        ..put("", WIDE)
    }
}

#[tokio::test]
async fn a_write_within_its_window_arrives_once_with_its_token() {
    let (site, address) = site().await;
    let answer = azure_at(address, address).send(put("a", WIDE)).await.expect("answered");
    assert_eq!((answer.status, answer.body), (200, json!({"ok": true})));
    assert_eq!(*site.writes.lock().expect("no panic"), ["\"a\""]);
}

#[tokio::test]
async fn a_write_whose_window_has_passed_is_not_sent() {
    let (site, address) = site().await;
    let azure = azure_at(address, address);
    let result = azure.send(put("late", Duration::ZERO)).await;
    assert!(matches!(result, Err(HttpFault::NotSent(_))), "{result:?}");
    azure.send(put("next", WIDE)).await.expect("answered");
    assert_eq!(*site.writes.lock().expect("no panic"), ["\"next\""]);
}

#[tokio::test]
async fn nobody_listening_means_that_nothing_was_sent() {
    let (_, imds) = site().await;
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = free.local_addr().expect("bound");
    drop(free);
    let result = azure_at(nobody, imds).send(put("x", WIDE)).await;
    assert!(matches!(result, Err(HttpFault::NotSent(_))), "{result:?}");
}

/// A server that reads whole requests and closes without an answer; counts them.
async fn mute() -> (Arc<AtomicUsize>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\"mute\"") {
                let mut chunk = [0; 1_024];
                match stream.read(&mut chunk).await {
                    Ok(0) | Err(_) => break,
                    Ok(length) => seen.extend_from_slice(&chunk[..length]),
                }
            }
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.shutdown().await;
        }
    });
    (count, address)
}

#[tokio::test]
async fn a_write_that_arrived_without_an_answer_has_an_unknown_outcome_and_is_not_repeated() {
    let (_, imds) = site().await;
    let (count, arm) = mute().await;
    let azure = azure_at(arm, imds);
    let result = azure.send(put("mute", WIDE)).await;
    assert!(matches!(result, Err(HttpFault::Unknown(_))), "{result:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(azure.health().borrow().arm_ok, Some(false));
}

#[tokio::test]
async fn a_token_is_served_although_the_metadata_service_went_down() {
    let (site, address) = site().await;
    let azure = azure_at(address, address);
    azure.send(put("a", WIDE)).await.expect("answered");
    site.imds_down.store(true, Ordering::SeqCst);
    azure.send(put("b", WIDE)).await.expect("answered");
    assert_eq!(site.tokens.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_any_token_a_request_is_not_sent_and_says_why() {
    let (site, address) = site().await;
    site.imds_down.store(true, Ordering::SeqCst);
    let result = azure_at(address, address).send(put("x", WIDE)).await;
    let Err(HttpFault::NotSent(why)) = result else { panic!("{result:?}") };
    assert!(why.contains("managed identity"), "{why}");
    assert!(site.writes.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let (site, address) = site().await;
    let azure = azure_at(address, address);
    azure.send(put("a", WIDE)).await.expect("answered");
    site.accepts_from.store(2, Ordering::SeqCst);
    assert_eq!(azure.send(put("b", WIDE)).await.map(|answer| answer.status), Ok(401));
    let mut kept = azure.inner.keeper.subscribe();
    let renewed = kept.wait_for(|kept| kept.is("token-2"));
    timeout_of(renewed).await.expect("the keeper lives");
    assert_eq!(azure.send(put("c", WIDE)).await.map(|answer| answer.status), Ok(200));
    assert_eq!(site.tokens.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_denied_permission_is_tried_with_one_fresh_token_and_named() {
    let (site, address) = site().await;
    // The keeper lets five seconds pass between two fetches.
    let ahead = Arc::new(AtomicU64::new(0));
    let turned = Arc::clone(&ahead);
    let azure = azure_with(
        address,
        address,
        Arc::new(move || now().plus(Duration::from_secs(turned.load(Ordering::SeqCst)))),
    );
    azure.send(put("a", WIDE)).await.expect("answered");
    site.denies.store(true, Ordering::SeqCst);
    ahead.store(10, Ordering::SeqCst);
    assert_eq!(azure.send(put("b", WIDE)).await.map(|answer| answer.status), Ok(403));
    let mut kept = azure.inner.keeper.subscribe();
    timeout_of(kept.wait_for(|kept| kept.is("token-2"))).await.expect("the keeper lives");
    let seen = azure.health().borrow().clone();
    assert_eq!(seen.arm_ok, Some(false));
    assert!(seen.detail.contains("networkInterfaces/write at /nic"), "{}", seen.detail);
    for round in 2..6 {
        ahead.store(10 * round, Ordering::SeqCst);
        assert_eq!(azure.send(put("c", WIDE)).await.map(|answer| answer.status), Ok(403));
        assert!(!azure.inner.keeper.is_fetch_due(), "the same problem asks for no other token");
    }
    assert_eq!(site.tokens.load(Ordering::SeqCst), 2);
    // Allowed once, a later denial is another problem.
    site.denies.store(false, Ordering::SeqCst);
    azure.send(put("d", WIDE)).await.expect("answered");
    site.denies.store(true, Ordering::SeqCst);
    azure.send(put("e", WIDE)).await.expect("answered");
    timeout_of(kept.wait_for(|kept| kept.is("token-3"))).await.expect("the keeper lives");
}

async fn timeout_of<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("in time")
}

#[tokio::test]
async fn the_token_is_sent_nowhere_but_to_arm() {
    let (site, address) = site().await;
    let azure = azure_at(address, address);
    for foreign in ["http://evil.example/op", "https://127.0.0.1/op", "http://127.0.0.1:1/op"] {
        let result = azure.send(get_request(foreign)).await;
        let Err(HttpFault::NotSent(why)) = result else { panic!("{result:?}") };
        assert!(why.contains("not sent there"), "{why}");
    }
    let own = format!("http://{address}/operations/1");
    assert_eq!(azure.send(get_request(&own)).await.map(|answer| answer.status), Ok(200));
    assert_eq!(site.writes.lock().expect("no panic").len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_json_becomes_a_string() {
    let (site, address) = site().await;
    site.html.store(true, Ordering::SeqCst);
    let answer = azure_at(address, address).send(get_request("/nic")).await.expect("answered");
    assert_eq!(answer.body, json!("<html>busy</html>"));
}

#[test]
fn a_bad_setting_is_named() {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let clocks: ReadClocks = Arc::new(now);
    let bad = AzureConfig::new("nonsense", "http://169.254.169.254", "a");
    let error = Azure::new(bad, Arc::clone(&clocks)).err().expect("refused");
    assert!(error.to_string().contains("azure.arm"), "{error}");
    let good = AzureConfig::new("https://management.azure.com", "http://169.254.169.254", "a");
    let missing = good.with_ca_file(Some("/no/such/file.pem".into()));
    let error = Azure::new(missing, clocks).err().expect("refused");
    assert!(error.to_string().contains("/no/such/file.pem"), "{error}");
}

/// A server that answers one request per connection as if it kept it open, and closes it.
async fn once_then_close() -> (Arc<AtomicUsize>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while !seen.ends_with(b"\"mute\"") {
                    let mut chunk = [0; 1_024];
                    match stream.read(&mut chunk).await {
                        Ok(0) | Err(_) => return,
                        Ok(length) => seen.extend_from_slice(&chunk[..length]),
                    }
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
            });
        }
    });
    (count, address)
}

//! What goes wrong with writes, tokens and settings, and what must not come of it.

use std::task::{Context, Poll, Waker};

use super::*;

fn poll_body(body: &mut Guarded) -> Poll<Option<bool>> {
    let mut context = Context::from_waker(Waker::noop());
    http_body::Body::poll_frame(std::pin::Pin::new(body), &mut context)
        .map(|frame| frame.map(|frame| frame.is_ok()))
}

#[test]
fn once_given_up_a_body_is_never_handed_over() {
    let handed = Handed::default();
    let mut body = Guarded::new(
        b"x".to_vec(),
        SendBefore { began: now(), window: WIDE },
        Arc::new(now),
        handed.clone(),
    );
    assert!(handed.withdraw(), "nothing was handed over: certain");
    assert_eq!(poll_body(&mut body), Poll::Ready(Some(false)), "the bytes stay");
}

#[tokio::test]
async fn a_token_that_expired_in_a_pause_is_replaced_at_once() {
    let (site, address) = site().await;
    let ahead = Arc::new(AtomicU64::new(0));
    let turned = Arc::clone(&ahead);
    let azure = azure_with(
        address,
        address,
        Arc::new(move || now().plus(Duration::from_secs(turned.load(Ordering::SeqCst)))),
    );
    azure.send(get_request("/nic")).await.expect("answered");
    // Later tokens outlive the pause.
    site.life_s.store(30_000, Ordering::SeqCst);
    ahead.store(4_000, Ordering::SeqCst);
    let after = timeout_of(async {
        loop {
            if let Ok(answer) = azure.send(get_request("/nic")).await {
                return answer;
            }
        }
    })
    .await;
    assert_eq!(after.status, 200);
}

#[tokio::test]
async fn without_a_metadata_service_the_reason_is_told_within_the_bound() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = free.local_addr().expect("bound");
    drop(free);
    let (_, arm) = site().await;
    let result = azure_at(arm, nobody).send(get_request("/nic")).await;
    let Err(HttpFault::NotSent(why)) = result else { panic!("{result:?}") };
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_busy_metadata_service_is_named_with_its_status() {
    let (site, address) = site().await;
    site.imds_busy.store(true, Ordering::SeqCst);
    let result = azure_at(address, address).send(get_request("/nic")).await;
    let Err(HttpFault::NotSent(why)) = result else { panic!("{result:?}") };
    assert!(why.contains("429"), "{why}");
}

#[tokio::test]
async fn a_missed_window_says_nothing_about_arm() {
    let (_, address) = site().await;
    let azure = azure_at(address, address);
    azure.send(get_request("/nic")).await.expect("answered");
    let _ = azure.send(put("late", Duration::ZERO)).await;
    let _ = azure.send(get_request("http://evil.example/op")).await;
    let seen = azure.health().borrow().clone();
    assert_eq!(seen.arm_ok, Some(true), "{seen:?}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let (site, address) = site().await;
    site.giant.store(true, Ordering::SeqCst);
    let result = azure_at(address, address).send(get_request("/nic")).await;
    assert!(matches!(result, Err(HttpFault::Unknown(_))), "{result:?}");
}

#[tokio::test]
async fn a_connection_that_closes_between_two_writes_brings_none_twice() {
    let (_, imds) = site().await;
    for _ in 0..50 {
        let (count, arm) = once_then_close().await;
        let azure = azure_at(arm, imds);
        azure.send(put("mute", WIDE)).await.expect("answered");
        let second = azure.send(put("mute", WIDE)).await;
        let arrived = count.load(Ordering::SeqCst);
        match second {
            Ok(_) => assert_eq!(arrived, 2),
            Err(HttpFault::NotSent(why)) => assert_eq!(arrived, 1, "{why}"),
            Err(HttpFault::Unknown(_)) => assert!(arrived <= 2),
        }
    }
}

#[test]
fn a_plain_endpoint_needs_no_certificates() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let good = AzureConfig::new("http://127.0.0.1:1", "http://127.0.0.1:2", "a");
    let clocks: ReadClocks = Arc::new(now);
    if let Err(error) = Azure::new(good, clocks) {
        panic!("{}", told(&error));
    }
}

#[tokio::test]
async fn a_write_without_a_window_is_not_sent() {
    let (site, address) = site().await;
    let naked = HttpRequest { send_before: None, ..put("naked", WIDE) };
    let result = azure_at(address, address).send(naked).await;
    assert!(matches!(result, Err(HttpFault::NotSent(_))), "{result:?}");
    assert!(site.writes.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_metadata_service_that_comes_back_is_found_while_a_request_waits() {
    let (site, address) = site().await;
    site.imds_down.store(true, Ordering::SeqCst);
    let azure = azure_at(address, address);
    // By then the pause between fetches would be four seconds, were nobody waiting.
    for _ in 0..4 {
        assert!(azure.send(get_request("/nic")).await.is_err());
    }
    site.imds_down.store(false, Ordering::SeqCst);
    let answer = azure.send(get_request("/nic")).await;
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn the_audience_is_asked_for_as_written() {
    let (site, address) = site().await;
    azure_at(address, address).send(get_request("/nic")).await.expect("answered");
    let query = site.query.lock().expect("no panic").clone();
    assert!(query.contains("resource=https%3A%2F%2Fmanagement.azure.com%2F"), "{query}");
}

#[tokio::test]
async fn a_node_without_a_token_says_so_before_it_is_asked_for_anything() {
    let (site, address) = site().await;
    site.imds_down.store(true, Ordering::SeqCst);
    let azure = azure_at(address, address);
    let mut health = azure.health();
    let seen = timeout_of(health.wait_for(|seen| seen.arm_ok == Some(false))).await;
    assert!(!seen.expect("the way to ARM lives").token_ok);
}

#[tokio::test]
async fn a_token_that_is_always_refused_does_not_storm_the_metadata_service() {
    let (site, address) = site().await;
    site.accepts_from.store(1_000_000, Ordering::SeqCst);
    let azure = azure_at(address, address);
    for _ in 0..60 {
        let _ = azure.send(get_request("/nic")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let fetched = site.tokens.load(Ordering::SeqCst);
    assert!(fetched <= 3, "{fetched}");
}

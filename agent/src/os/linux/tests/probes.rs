//! Who answers a load balancer's probe, and until when.

#![expect(
    clippy::disallowed_methods,
    reason = "a test measures how long the kernel's gate is open"
)]

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use vipfence_types::{Probe, ProbeProtocol};

use super::*;

const PORT: u16 = 63_001;

fn probe(protocol: ProbeProtocol, reply: &str) -> Probe {
    Probe { port: PORT, protocol, reply: reply.to_owned() }
}

async fn hold(node: &Node, probe: Probe, secs: u64) {
    let addition = Addition { probe: Some(probe), ..addition(&["10.5.0.110"], secs) };
    // The rules are put there the first time, by a program that may take its time.
    for outcome in node.kernel.add(vec![addition]).await {
        outcome.unwrap();
    }
}

/// What a client of the probe reads; or how it is refused.
async fn ask(say: &'static str) -> Result<String, ErrorKind> {
    let at = SocketAddr::from(([10, 5, 0, 4], PORT));
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2))?;
        stream.write_all(say.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    asked.await.unwrap().map_err(|error| error.kind())
}

/// `nft` is there; else the test is skipped, but not in CI.
pub(super) fn can_gate() -> bool {
    let there = Command::new("nft").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-v").output();
    let there = there.is_ok_and(|output| output.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "no nft: install nftables");
    if !there {
        println!("skipped: no nft; install nftables");
    }
    there
}

#[test]
fn a_probe_is_answered_while_the_vip_is_held_and_refused_before_and_after() {
    inside(
        "probes::a_probe_is_answered_while_the_vip_is_held_and_refused_before_and_after",
        async {
            if !can_gate() {
                return;
            }
            let node = Node::new().await;
            up(&node.somebody, "lo").await;
            assert_eq!(ask("").await, Err(ErrorKind::ConnectionRefused));
            hold(&node, probe(ProbeProtocol::Tcp, "n1 holds demo\n"), 12).await;
            assert_eq!(ask("").await.as_deref(), Ok("n1 holds demo\n"));
            node.kernel.remove(vec![ip("10.5.0.110")]).await.unwrap();
            assert_eq!(ask("").await, Err(ErrorKind::ConnectionRefused));
            hold(&node, probe(ProbeProtocol::Http, "up"), 12).await;
            let page = ask("GET /health HTTP/1.1\r\nHost: n1\r\n\r\n").await.unwrap();
            assert!(
                page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\nup"),
                "{page}"
            );
        },
    );
}

#[test]
fn the_kernel_closes_the_gate_before_a_listener_that_nobody_stops() {
    inside("probes::the_kernel_closes_the_gate_before_a_listener_that_nobody_stops", async {
        if !can_gate() {
            return;
        }
        let node = Node::new().await;
        up(&node.somebody, "lo").await;
        let begun = Instant::now();
        hold(&node, probe(ProbeProtocol::Tcp, ""), 3).await;
        // Each renewal counts anew.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let renewed = Instant::now();
        hold(&node, probe(ProbeProtocol::Tcp, ""), 3).await;
        let mut answered = Instant::now();
        while ask("").await.is_ok() {
            answered = Instant::now();
            assert!(begun.elapsed() < Duration::from_secs(20), "it is never closed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(ask("").await, Err(ErrorKind::ConnectionRefused));
        let lasted = answered - renewed;
        let lifetime = Duration::from_secs(3);
        assert!(lasted > lifetime - Duration::from_secs(1), "closed after {lasted:?}");
        assert!(renewed.elapsed() < lifetime + KERNEL_SLACK, "closed after {lasted:?}");
        // The listener is there all the time: only the kernel refuses.
        hold(&node, probe(ProbeProtocol::Tcp, ""), 3).await;
        assert_eq!(ask("").await.as_deref(), Ok(""));
    });
}

#[test]
fn rules_that_somebody_flushed_are_put_back_by_the_next_renewal() {
    inside("probes::rules_that_somebody_flushed_are_put_back_by_the_next_renewal", async {
        if !can_gate() {
            return;
        }
        let node = Node::new().await;
        up(&node.somebody, "lo").await;
        let held = Addition {
            probe: Some(probe(ProbeProtocol::Tcp, "")),
            ..addition(&["10.5.0.110"], 12)
        };
        hold(&node, probe(ProbeProtocol::Tcp, ""), 12).await;
        let flush = Command::new("nft")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["flush", "ruleset"])
            .output();
        assert!(flush.unwrap().status.success());
        let outcome = node.kernel.add(vec![held]).await.pop().unwrap();
        let problem = outcome.unwrap_err().problem;
        assert!(problem.contains("gate of the probe port 63001"), "{problem}");
        // Unguarded it is not served.
        assert_eq!(ask("").await, Err(ErrorKind::ConnectionRefused));
        hold(&node, probe(ProbeProtocol::Tcp, ""), 12).await;
        assert_eq!(ask("").await.as_deref(), Ok(""));
    });
}

#[test]
fn a_process_that_was_stopped_in_an_add_neither_sets_an_address_nor_opens_the_gate() {
    inside(
        "probes::a_process_that_was_stopped_in_an_add_neither_sets_an_address_nor_opens_the_gate",
        async {
            if !can_gate() {
                return;
            }
            let node = Node::new().await;
            up(&node.somebody, "lo").await;
            let held = |looks| Addition {
                probe: Some(probe(ProbeProtocol::Tcp, "")),
                deadline: stopped_after(looks),
                ..addition(&["10.5.0.110"], 3)
            };
            let has = async || node.kernel.found(&[ip("10.5.0.110")].into()).await.unwrap().len();
            for (looks, address) in [(0, 0), (1, 1)] {
                let outcome = node.kernel.add(vec![held(looks)]).await.pop().unwrap();
                assert_eq!(outcome.unwrap_err().problem, "the OS was busy for 60000 ms");
                assert_eq!(has().await, address, "after {looks} looks at the clock");
                assert_eq!(ask("").await, Err(ErrorKind::ConnectionRefused));
            }
            hold(&node, probe(ProbeProtocol::Tcp, ""), 3).await;
            assert_eq!(ask("").await.as_deref(), Ok(""));
        },
    );
}

/// Its request came in before, through the open gate.
#[test]
fn a_process_that_was_stopped_before_its_answer_does_not_say_that_it_holds_the_vip() {
    inside(
        "probes::a_process_that_was_stopped_before_its_answer_does_not_say_that_it_holds_the_vip",
        async {
            if !can_gate() {
                return;
            }
            let node = Node::new().await;
            up(&node.somebody, "lo").await;
            // It looks at the clock before it sets the address, before it opens the gate, and then.
            let held = Addition {
                probe: Some(probe(ProbeProtocol::Http, "up")),
                deadline: stopped_after(2),
                ..addition(&["10.5.0.110"], 12)
            };
            node.kernel.add(vec![held]).await.pop().unwrap().unwrap();
            let page = ask("GET / HTTP/1.1\r\nHost: n1\r\n\r\n").await.unwrap();
            assert!(page.starts_with("HTTP/1.1 503 ") && !page.contains("up"), "{page}");
            hold(&node, probe(ProbeProtocol::Http, "up"), 12).await;
            let page = ask("GET / HTTP/1.1\r\nHost: n1\r\n\r\n").await.unwrap();
            assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
        },
    );
}

#[test]
fn a_probe_port_that_something_else_has_is_named() {
    inside("probes::a_probe_port_that_something_else_has_is_named", async {
        if !can_gate() {
            return;
        }
        let node = Node::new().await;
        let _taken = std::net::TcpListener::bind(("::", PORT)).unwrap();
        let addition = Addition {
            probe: Some(probe(ProbeProtocol::Tcp, "")),
            ..addition(&["10.5.0.110"], 12)
        };
        let problem = node.kernel.add(vec![addition]).await.pop().unwrap().unwrap_err().problem;
        assert!(problem.starts_with("cannot listen on the probe port 63001"), "{problem}");
    });
}

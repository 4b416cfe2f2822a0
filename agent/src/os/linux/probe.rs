//! Answers to a load balancer's health probe, by the holder only.
//!
//! A listener lives as long as this node holds the VIP, behind the kernel's [`Gate`], which ends with
//! the lease. Without a listener the kernel refuses the connection, so that every other node does,
//! too. A connection that was accepted proves the holder; what is said on it is for people and for
//! probes that read it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header::CONNECTION};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use vipfence_types::{Probe, ProbeProtocol};

use super::super::{Deadline, OsError};
use super::gate::Gate;
use super::os_error;

/// How long a client may take to read its answer, and how many may at a time.
const PATIENCE: Duration = Duration::from_secs(1);
const CLIENTS: usize = 64;
/// The pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// The gate keeps requests out, not answers in: one that came in time is held against this right
/// before it is answered, for the process may have been stopped between the two.
type Lease = Arc<std::sync::Mutex<Deadline>>;

/// The probes that this node answers.
#[derive(Default)]
pub(super) struct Probes {
    gate: Arc<Gate>,
    answered: Mutex<BTreeMap<u16, Answered>>,
}

struct Answered {
    /// Of the VIP.
    addresses: Vec<IpAddr>,
    probe: Probe,
    /// How long the holder answers, by its own clock.
    lease: Lease,
    listener: JoinHandle<()>,
}

impl Answered {
    /// Returns when nobody listens any more.
    async fn end(self) {
        self.listener.abort();
        let _aborted = self.listener.await;
    }
}

impl Probes {
    /// The probe is answered for so long, from now on.
    pub(super) async fn answer(
        &self,
        addresses: Vec<IpAddr>,
        probe: &Probe,
        lifetime: Duration,
        deadline: &Deadline,
    ) -> Result<(), OsError> {
        let mut answered = self.answered.lock().await;
        let port = probe.port;
        let lasting = Deadline { within: lifetime, ..deadline.clone() };
        let same = |known: &&Answered| {
            known.probe == *probe && known.addresses == addresses && !known.listener.is_finished()
        };
        if let Some(known) = answered.get(&port).filter(same) {
            *known.lease.lock().unwrap_or_else(PoisonError::into_inner) = lasting;
        } else {
            if let Some(former) = answered.remove(&port) {
                former.end().await;
            }
            self.gate.guard(port).await?;
            let lease = Lease::new(std::sync::Mutex::new(lasting));
            let listener = listen(probe, Arc::clone(&lease)).await?;
            answered.insert(port, Answered { addresses, probe: probe.clone(), lease, listener });
        }
        let (gate, deadline) = (Arc::clone(&self.gate), deadline.clone());
        let opened = in_time(move || match deadline.check() {
            Ok(()) => gate.open(port, lifetime).map(Ok),
            late => Ok(late),
        });
        match opened.await {
            // Too late: the listener stays, behind the gate as it is.
            Ok(in_time) => in_time,
            Err(error) => {
                // Somebody may have flushed the rules: they are put there anew the next time.
                if let Some(unguarded) = answered.remove(&port) {
                    unguarded.end().await;
                }
                Err(os_error(&format!("cannot open the gate of the probe port {port}: {error}")))
            }
        }
    }

    /// No probe for one of these addresses is answered any more.
    pub(super) async fn refuse(&self, addresses: &[IpAddr]) -> Result<(), OsError> {
        let mut answered = self.answered.lock().await;
        let of_these = |known: &Answered| known.addresses.iter().any(|one| addresses.contains(one));
        let ports: Vec<u16> =
            answered.iter().filter(|(_, known)| of_these(known)).map(|(port, _)| *port).collect();
        for port in ports {
            // Without a listener the port is refused, whatever becomes of the gate.
            if let Some(former) = answered.remove(&port) {
                former.end().await;
            }
            let gate = Arc::clone(&self.gate);
            in_time(move || gate.close(port)).await.map_err(|error| {
                os_error(&format!("cannot close the gate of the probe port {port}: {error}"))
            })?;
        }
        Ok(())
    }
}

async fn in_time<T: Send + 'static>(
    call: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, std::io::Error> {
    tokio::task::spawn_blocking(call).await.map_err(std::io::Error::other)?
}

async fn listen(probe: &Probe, lease: Lease) -> Result<JoinHandle<()>, OsError> {
    let port = probe.port;
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        // A machine without IPv6.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    };
    let listener = listener.map_err(|error| {
        os_error(&format!(
            "cannot listen on the probe port {port}: {error}; stop who does, or give the load \
             balancer's probe another port"
        ))
    })?;
    let reply = probe.reply.clone();
    Ok(match probe.protocol {
        ProbeProtocol::Tcp => tokio::spawn(serve_tcp(listener, reply)),
        ProbeProtocol::Http => tokio::spawn(async move {
            // A connection that outlived the grant would still be answered.
            let answer = move || {
                let lease = lease.lock().unwrap_or_else(PoisonError::into_inner).check();
                let (status, text) = match lease {
                    Ok(()) => (StatusCode::OK, reply.clone()),
                    Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not the holder\n".to_owned()),
                };
                std::future::ready((status, [(CONNECTION, "close")], text))
            };
            let page = Router::new().fallback(answer);
            let _ends_with_the_task = axum::serve(listener, page).await;
        }),
    })
}

async fn serve_tcp(listener: TcpListener, reply: String) {
    let (reply, room) = (Arc::new(reply), Arc::new(Semaphore::new(CLIENTS)));
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Who finds no room is accepted and let go: that is an answer as well.
        if let Ok(room) = Arc::clone(&room).try_acquire_owned() {
            let reply = Arc::clone(&reply);
            tokio::spawn(async move {
                let talk = async {
                    stream.write_all(reply.as_bytes()).await?;
                    stream.shutdown().await
                };
                let _gone = tokio::time::timeout(PATIENCE, talk).await;
                drop(room);
            });
        }
    }
}

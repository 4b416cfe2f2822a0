//! One question to a service, and its answer: a TCP connection, an HTTP request, a command, a unit.
//!
//! A connection that is taken says that something listens: the kernel takes it also for a process
//! that stands still. Deliberately not here: how long an answer may take; a question is dropped then.

use std::sync::Arc;

use reqwest::{Client, StatusCode, Url, redirect::Policy};
use tokio::net::TcpStream;
use vipfence_types::{NodeId, VipName, brief};

use crate::{
    duty::{ServiceManager, plain_environment},
    program::{self, Program},
    spawner::Spawner,
};

/// How much of a page is searched.
const PAGE: usize = 64 * 1_024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// A TCP connection is taken.
    Tcp(String),
    /// A request is answered as it should be.
    Http(HttpProbe),
    /// A program ends with exit code 0.
    Command(Vec<String>),
    /// A unit is active.
    Unit(String),
}

/// A request, and the answer that is right. Redirects are answers like others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpProbe {
    /// What is asked for, by GET.
    pub(crate) url: Url,
    /// The right codes.
    pub(crate) status: Vec<u32>,
    /// A text that the page must have, in its first 64 KiB.
    pub(crate) body: Option<String>,
    /// Whether an https server must have a certificate that this machine trusts.
    pub(crate) verify_tls: bool,
}

/// Asks.
pub(crate) struct Prober {
    node: NodeId,
    spawner: Spawner,
    services: Arc<dyn ServiceManager>,
    strict: Client,
    /// Takes any certificate.
    lax: Client,
}

impl Prober {
    /// # Errors
    /// This machine's TLS cannot be set up.
    pub(crate) fn new(
        node: NodeId,
        spawner: Spawner,
        services: Arc<dyn ServiceManager>,
    ) -> Result<Self, reqwest::Error> {
        // A connection of its own for each question: a kept one says nothing about who listens.
        let builder =
            || Client::builder().no_proxy().redirect(Policy::none()).pool_max_idle_per_host(0);
        let lax = builder().tls_danger_accept_invalid_certs(true).build()?;
        Ok(Self { node, spawner, services, strict: builder().build()?, lax })
    }

    /// # Errors
    /// The service is not well; why, for people.
    pub(super) async fn ask(&self, vip: &VipName, probe: &Probe) -> Result<(), String> {
        match probe {
            Probe::Tcp(at) => match TcpStream::connect(at).await {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{at}: {error}")),
            },
            Probe::Http(http) => self.get(http).await,
            Probe::Command(words) => {
                let mut environment = vec![
                    ("VIPFENCE_VIP", vip.to_string()),
                    ("VIPFENCE_NODE", self.node.to_string()),
                ];
                environment.extend(plain_environment());
                let program = Program { words: words.clone(), environment: Some(environment) };
                let ended = program::run(&self.spawner, &program, std::future::pending()).await;
                ended.told().map_err(|problem| brief(&problem))
            }
            Probe::Unit(unit) => self.services.is_active(unit).await,
        }
    }

    async fn get(&self, http: &HttpProbe) -> Result<(), String> {
        let client = if http.verify_tls { &self.strict } else { &self.lax };
        let failed = |error: reqwest::Error| {
            // The innermost cause is what people can use.
            let mut cause: &dyn std::error::Error = &error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            format!("{}: {cause}", http.url)
        };
        let mut answer = client.get(http.url.clone()).send().await.map_err(failed)?;
        let code = answer.status();
        if !http.status.iter().any(|right| u32::from(code.as_u16()) == *right) {
            return Err(format!("{} answers {}", http.url, shown(code)));
        }
        let Some(text) = &http.body else { return Ok(()) };
        let mut page = Vec::new();
        while page.len() < PAGE
            && let Some(chunk) = answer.chunk().await.map_err(failed)?
        {
            page.extend_from_slice(&chunk[..chunk.len().min(PAGE - page.len())]);
        }
        if String::from_utf8_lossy(&page).contains(text.as_str()) {
            return Ok(());
        }
        Err(format!("the page of {} lacks \"{text}\"", http.url))
    }
}

fn shown(code: StatusCode) -> String {
    match code.canonical_reason() {
        Some(reason) => format!("{} {reason}", code.as_u16()),
        None => code.as_u16().to_string(),
    }
}

//! The other end of `/admin`.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use azure_sim::AdminCommand;
use serde_json::Value;

/// A running simulator.
pub(super) struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new(base: &str) -> anyhow::Result<Self> {
        // The client wants a TLS provider even where there is no TLS; one that is there will do.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().context("no HTTP client")?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), http })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.read(self.http.get(format!("{}/admin/{path}", self.base))).await
    }

    pub(super) async fn command(&self, command: &AdminCommand) -> anyhow::Result<Value> {
        self.read(self.http.post(format!("{}/admin/command", self.base)).json(command)).await
    }

    async fn read(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await.with_context(|| {
            format!(
                "no simulator answers at {}; start one with `azure-sim serve`, or say with --at \
                 where it is",
                self.base
            )
        })?;
        let status = answer.status();
        let body: Value = answer.json().await.with_context(|| {
            format!("what answers at {} is no simulator; say with --at where it is", self.base)
        })?;
        if status.is_success() {
            return Ok(body);
        }
        match body["error"].as_str() {
            Some(why) => bail!("{why}{}", remedy(status)),
            None => bail!("{} answers {status}: {body}", self.base),
        }
    }
}

/// What to do about a refusal of the simulator.
fn remedy(status: reqwest::StatusCode) -> &'static str {
    match status.as_u16() {
        404 => "; `azure-sim admin state` names all there are",
        409 => "; `azure-sim admin state` lists the operations that run",
        429 => "; `azure-sim admin clear-faults` makes room",
        _ => "",
    }
}

/// One line, or indented.
pub(super) fn print(value: &Value, indented: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if indented { writeln!(out, "{value:#}") } else { writeln!(out, "{value}") }
        .context("nobody reads standard output")
}

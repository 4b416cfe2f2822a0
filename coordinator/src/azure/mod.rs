//! The way to Azure Resource Manager: carries the machines' HTTP requests, and keeps a token.
//!
//! It decides nothing: what a status means is the taxonomy of the core. What it vouches for is what
//! the core cannot see: that a write is handed to the socket only within its window (I7), that it is
//! handed over at most once (no retry, no redirect), and that an error is told apart into *nothing
//! was sent* and *the outcome is unknown* (I2).

mod answer;
mod guard;
mod health;
mod identity;
mod issuer;
mod keeper;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use reqwest::{Certificate, Client, Url, header};
use tokio::sync::watch;
use vipfence_coordinator_core::{
    HttpAnswer, HttpFault, HttpRequest, HttpResult, Method, Problem, ProblemKind,
};
use vipfence_types::told;

use crate::driver::ReadClocks;
use guard::{Guarded, Handed};
pub use health::ArmHealth;
use health::Health;
pub use identity::Identity;
use issuer::Issuer;
use keeper::{Keeper, Named, Token};

/// A write is awaited so long; then its outcome is unknown.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a request waits for the first token of all.
const TOKEN_PATIENCE: Duration = Duration::from_secs(2);
/// A peer that vanished is noticed soon.
const USER_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(5);
/// The largest answer that is read: a page of NICs with 256 addresses each fits in.
const MAX_ANSWER: usize = 16 << 20;

/// How Azure is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureConfig {
    arm: String,
    imds: String,
    audience: String,
    authority: String,
    ca_file: Option<PathBuf>,
    identity: Identity,
}

/// Where the public cloud's sign-in service is.
const AUTHORITY: &str = "https://login.microsoftonline.com";

impl AzureConfig {
    /// ARM's endpoint, the instance metadata service, and what tokens are asked for.
    #[must_use]
    pub fn new(arm: &str, imds: &str, audience: &str) -> Self {
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        // The audience is a name: asked for as written, with its slash if it has one.
        Self {
            arm: bare(arm),
            imds: bare(imds),
            audience: audience.to_owned(),
            authority: AUTHORITY.to_owned(),
            ca_file: None,
            identity: Identity::Managed { client_id: None },
        }
    }

    /// Certificates (PEM) to trust for ARM and the sign-in service instead of the system's.
    #[must_use]
    pub fn with_ca_file(mut self, ca_file: Option<PathBuf>) -> Self {
        self.ca_file = ca_file;
        self
    }

    /// Who this node is; the system-assigned identity of its VM if this is not called.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// The sign-in service, for identities that sign in; the public cloud's if this is not called.
    #[must_use]
    pub fn with_authority(mut self, authority: &str) -> Self {
        authority.trim_end_matches('/').clone_into(&mut self.authority);
        self
    }
}

/// Why the way to Azure cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AzureSetupError {
    /// A URL of the configuration is not one.
    #[error("azure.{field}: \"{url}\" is not a URL; write it like https://management.azure.com")]
    Url {
        /// The key in the configuration.
        field: &'static str,
        /// What stands there.
        url: String,
    },
    /// The CA file cannot be read, or has no certificate.
    #[error("azure.ca_file: {path} cannot be used: {problem}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The process has no TLS.
    #[error("no rustls crypto provider is installed: the program must install one at its start")]
    NoCryptoProvider,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    /// The credential cannot be made.
    #[error("{what} cannot be used: {problem}")]
    Identity {
        /// Which kind of identity.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// The way to ARM; cheap to clone.
#[derive(Clone)]
pub struct Azure {
    inner: Arc<Inner>,
}

struct Inner {
    arm: Url,
    base: String,
    client: Client,
    keeper: Keeper,
    clocks: ReadClocks,
    health: Arc<Health>,
}

impl Azure {
    /// Sets the way up; sends nothing yet.
    ///
    /// # Errors
    /// Names the setting at fault.
    pub fn new(config: AzureConfig, clocks: ReadClocks) -> Result<Self, AzureSetupError> {
        let url = |field, text: &str| {
            let error = || AzureSetupError::Url { field, url: text.to_owned() };
            Url::parse(text)
                .map_err(|_| error())
                .and_then(|url| if url.has_host() { Ok(url) } else { Err(error()) })
        };
        let arm = url("arm", &config.arm)?;
        let imds = url("imds", &config.imds)?;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // reqwest would panic.
            return Err(AzureSetupError::NoCryptoProvider);
        }
        let certificates = certificates(&config)?;
        let issuer = if config.identity.signs_in() {
            Issuer::authority(&url("authority", &config.authority)?, certificates.clone())?
        } else {
            Issuer::imds(&imds)?
        };
        let client = client(certificates, &arm)?;
        let health = Arc::new(Health::default());
        let keeper = Keeper::new(
            config.identity,
            Arc::new(issuer),
            &config.audience,
            Arc::clone(&clocks),
            Arc::clone(&health),
        )?;
        let inner = Inner { arm, base: config.arm, client, keeper, clocks, health };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Fetches the first token and keeps it fresh, as long as the process lives.
    pub fn start_keeper(&self) {
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move { inner.keeper.keep().await });
    }

    /// How Azure was last seen from this node.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<ArmHealth> {
        self.inner.health.subscribe()
    }

    /// Why there is no token that is good, after waiting for one; none = there is one.
    pub async fn token_problem(&self, patience: Duration) -> Option<String> {
        self.inner.keeper.token(patience).await.err()
    }

    /// Sends one request, once. Always returns, within the time-outs.
    ///
    /// # Errors
    /// See [`HttpFault`].
    pub async fn send(&self, request: HttpRequest) -> HttpResult {
        self.inner.send(request).await
    }
}

/// Those of the CA file; none = there is no such file.
fn certificates(config: &AzureConfig) -> Result<Option<Vec<Certificate>>, AzureSetupError> {
    let Some(path) = &config.ca_file else { return Ok(None) };
    let fail = |problem: String| AzureSetupError::CaFile { path: path.clone(), problem };
    let pem = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|error| fail(error.to_string()))?;
    if certificates.is_empty() {
        return Err(fail("it has no certificate".to_owned()));
    }
    Ok(Some(certificates))
}

fn client(certificates: Option<Vec<Certificate>>, arm: &Url) -> Result<Client, AzureSetupError> {
    let mut builder = Client::builder()
        .user_agent(concat!("vipfence/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_user_timeout(USER_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_timeout(CONNECT_TIMEOUT)
        // Else a pooled connection that died unseen costs the next request its whole time-out.
        .http2_keep_alive_while_idle(true)
        // A write is sent once or not at all; who asked decides about another.
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none());
    if let Some(certificates) = certificates {
        builder = builder.tls_certs_only(certificates);
    } else if arm.scheme() == "http" {
        // Without TLS (`vipfence dev`, tests) no certificates are needed, nor is a proxy.
        builder = builder.tls_certs_only([]).no_proxy();
    }
    builder.build().map_err(AzureSetupError::Client)
}

impl Inner {
    async fn send(&self, request: HttpRequest) -> HttpResult {
        let url = self.url(&request.path)?;
        let token = self.keeper.token(TOKEN_PATIENCE).await.map_err(HttpFault::NotSent)?;
        let handed = Handed::default();
        let built = self.build(&request, url, &token, &handed)?;
        let is_read = request.method == Method::Get;
        if let Some(send_before) = request.send_before
            && !send_before.allows((self.clocks)())
        {
            return Err(HttpFault::NotSent("the write window has passed".to_owned()));
        }
        let fault = |error: &reqwest::Error| {
            let told = told(error);
            // A request whose body is kept back for good is not complete anywhere.
            let not_sent = if is_read { error.is_connect() } else { handed.withdraw() };
            if handed.came_too_late() {
                // HTTP/2 does not pass on why a body broke off.
                return HttpFault::NotSent("the write window passed while connecting".to_owned());
            }
            self.health.arm(false, &format!("ARM is not reached: {told}"));
            if not_sent { HttpFault::NotSent(told) } else { HttpFault::Unknown(told) }
        };
        let named = (request.method, request.path.split('?').next().unwrap_or_default().to_owned());
        let response = self.client.execute(built).await.map_err(|error| fault(&error))?;
        let status = response.status().as_u16();
        if status == 401 {
            self.keeper.refused(&token);
        } else {
            self.keeper.accepted();
        }
        let headers = answer::headers(response.headers());
        let bytes = answer::bytes(response, MAX_ANSWER).await.map_err(|told| {
            self.health.arm(false, &format!("ARM's answer broke off: {told}"));
            HttpFault::Unknown(told)
        })?;
        let answer = HttpAnswer { status, headers, body: answer::value(&bytes) };
        self.note(&answer, named);
        Ok(answer)
    }

    /// The request, with all that takes time or can fail done.
    fn build(
        &self,
        request: &HttpRequest,
        url: Url,
        token: &Token,
        handed: &Handed,
    ) -> Result<reqwest::Request, HttpFault> {
        let not_sent = |error: &dyn std::error::Error| HttpFault::NotSent(told(error));
        let (method, timeout) = match request.method {
            Method::Get => (reqwest::Method::GET, READ_TIMEOUT),
            Method::Put => (reqwest::Method::PUT, WRITE_TIMEOUT),
            Method::Patch => (reqwest::Method::PATCH, WRITE_TIMEOUT),
        };
        let mut builder =
            self.client.request(method, url).bearer_auth(token.as_str()).timeout(timeout);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if request.method != Method::Get {
            // Both are the guard's: a write without a window is never allowed, one without a
            // body could not be kept back.
            let (Some(body), Some(send_before)) = (&request.body, request.send_before) else {
                return Err(HttpFault::NotSent("a write needs a body and a window".to_owned()));
            };
            let bytes = serde_json::to_vec(body).map_err(|error| not_sent(&error))?;
            let clocks = Arc::clone(&self.clocks);
            let guarded = Guarded::new(bytes, send_before, clocks, handed.clone());
            builder = builder
                .header(header::CONTENT_TYPE, "application/json")
                .body(reqwest::Body::wrap(guarded));
        }
        builder.build().map_err(|error| not_sent(&error))
    }

    /// Paths go below the endpoint. An absolute URL, as ARM gives for operations, gets the token
    /// only if it is ARM's own.
    fn url(&self, path: &str) -> Result<Url, HttpFault> {
        let not_sent = |why: String| HttpFault::NotSent(why);
        if path.starts_with('/') {
            return Url::parse(&format!("{}{path}", self.base))
                .map_err(|error| not_sent(format!("{path}: {error}")));
        }
        let url = Url::parse(path).map_err(|error| not_sent(format!("{path}: {error}")))?;
        let host = |url: &Url| url.host_str().unwrap_or_default().to_ascii_lowercase();
        let own = host(&self.arm);
        let below = host(&url).ends_with(&format!(".{own}"));
        let same = url.scheme() == self.arm.scheme()
            && url.port_or_known_default() == self.arm.port_or_known_default();
        if same && (host(&url) == own || below) {
            Ok(url)
        } else {
            Err(not_sent(format!("{path} is not at {}: the token is not sent there", self.base)))
        }
    }

    /// What an answer says of this node's way to ARM is the core's to say; what a fresh token may
    /// mend is the keeper's.
    fn note(&self, answer: &HttpAnswer, named: Named) {
        let problem = Problem::of_the_way(answer);
        match &problem {
            None => self.health.arm(true, ""),
            Some(problem) => self.health.arm(false, &format!("ARM: {}", problem.text)),
        }
        match problem.map(|problem| problem.kind) {
            Some(ProblemKind::Forbidden) => self.keeper.denied(named),
            None if answer.status < 300 => self.keeper.allowed(&named),
            _ => {}
        }
    }
}

//! The token keeper: a move never waits for the instance metadata service.
//!
//! Tokens come from `azure_identity`'s managed identity, which on its own would go to the metadata
//! service in the middle of a move, retry there for more than a minute, and refuse a token that is
//! still good. So it is asked in the background only: at start, at half of the token's life, and
//! once when ARM refuses the token. The last token is served until it expires. Each fetch uses a new
//! credential, since a credential keeps tokens of its own.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::{
    credentials::TokenCredential,
    http::{AsyncRawResponse, ClientOptions, HttpClient, Request, Transport, Url},
};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::AzureSetupError;
use crate::driver::ReadClocks;

/// One fetch is given up after this; `azure_identity` alone would go on for 72 s.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Never refreshed more often than this, whatever a token's life.
const REFRESH_MIN: Duration = Duration::from_secs(5);
/// A token in its last moments is not sent any more.
const LAST_MOMENTS_S: u64 = 2;
const IMDS_HOST: &str = "169.254.169.254";

/// A token and until when it is good.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    secret: Arc<str>,
    expires_s: u64,
}

impl Token {
    pub(super) fn as_str(&self) -> &str {
        &self.secret
    }
}

#[derive(Clone, Default)]
pub(super) struct Kept {
    token: Option<Token>,
    /// Why the last fetch failed; empty = it did not.
    problem: String,
}

#[cfg(test)]
impl Kept {
    pub(super) fn is(&self, secret: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.as_str() == secret)
    }
}

/// See the module.
pub(super) struct Keeper {
    scope: String,
    client_id: Option<String>,
    transport: Arc<dyn HttpClient>,
    clocks: ReadClocks,
    kept: watch::Sender<Kept>,
    refused: Notify,
}

impl Keeper {
    pub(super) fn new(
        imds: Url,
        audience: &str,
        client_id: Option<String>,
        clocks: ReadClocks,
    ) -> Result<Self, AzureSetupError> {
        let inner = reqwest::Client::builder()
            // The metadata service is never behind a proxy.
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(5))
            .build()
            .map_err(AzureSetupError::Client)?;
        let keeper = Self {
            scope: format!("{}/.default", audience.trim_end_matches('/')),
            client_id,
            transport: Arc::new(ToImds { inner, imds }),
            clocks,
            kept: watch::Sender::default(),
            refused: Notify::new(),
        };
        keeper.credential().map_err(AzureSetupError::Identity)?;
        Ok(keeper)
    }

    fn credential(&self) -> Result<Arc<ManagedIdentityCredential>, String> {
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: self.client_id.clone().map(UserAssignedId::ClientId),
            client_options: ClientOptions {
                transport: Some(Transport::new(Arc::clone(&self.transport))),
                ..ClientOptions::default()
            },
        };
        ManagedIdentityCredential::new(Some(options)).map_err(|error| error.to_string())
    }

    /// Fetches, and keeps fetching.
    pub(super) async fn keep(&self) {
        let mut retry = RETRY_MIN;
        loop {
            match self.fetch().await {
                Ok(token) => {
                    retry = RETRY_MIN;
                    let life = token.expires_s.saturating_sub(self.now_s());
                    self.kept.send_replace(Kept { token: Some(token), problem: String::new() });
                    let half = Duration::from_secs(life / 2).max(REFRESH_MIN);
                    tokio::select! {
                        () = sleep(half) => {}
                        () = self.refused.notified() => {
                            tracing::warn!("ARM refused the token: fetching a new one");
                            sleep(RETRY_MIN).await;
                        }
                    }
                }
                Err(problem) => {
                    tracing::warn!("no token from the managed identity: {problem}");
                    self.kept.send_modify(|kept| kept.problem = problem);
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn fetch(&self) -> Result<Token, String> {
        let credential = self.credential()?;
        let scopes = [self.scope.as_str()];
        let fetched = timeout(FETCH_TIMEOUT, Box::pin(credential.get_token(&scopes, None)))
            .await
            .map_err(|_| format!("the metadata service did not answer within {FETCH_TIMEOUT:?}"))?
            .map_err(|error| error.to_string())?;
        let expires_s = u64::try_from(fetched.expires_on.unix_timestamp()).unwrap_or(0);
        Ok(Token { secret: fetched.token.secret().into(), expires_s })
    }

    /// The token, at once if there is one that is good; else the first one that comes within
    /// `patience`.
    pub(super) async fn token(&self, patience: Duration) -> Result<Token, String> {
        let mut kept = self.kept.subscribe();
        let good = |kept: &Kept| kept.token.as_ref().is_some_and(|token| self.is_good(token));
        if let Ok(Ok(now)) = timeout(patience, kept.wait_for(good)).await
            && let Some(token) = now.token.clone()
        {
            return Ok(token);
        }
        let problem = self.kept.borrow().problem.clone();
        let problem =
            if problem.is_empty() { "the metadata service is slow".to_owned() } else { problem };
        Err(format!("there is no token of the managed identity yet: {problem}"))
    }

    /// ARM refused this token: fetch another, once.
    pub(super) fn refused(&self, token: &Token) {
        if self.kept.borrow().token.as_ref() == Some(token) {
            self.refused.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn subscribe(&self) -> watch::Receiver<Kept> {
        self.kept.subscribe()
    }

    fn is_good(&self, token: &Token) -> bool {
        token.expires_s > self.now_s() + LAST_MOMENTS_S
    }

    fn now_s(&self) -> u64 {
        (self.clocks)().wall_us / 1_000_000
    }
}

/// Sends what is meant for the metadata service to where the configuration says that it is.
#[derive(Debug)]
struct ToImds {
    inner: reqwest::Client,
    imds: Url,
}

#[async_trait]
impl HttpClient for ToImds {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut url = request.url().clone();
        if url.host_str() == Some(IMDS_HOST) {
            // The configured URL has been parsed with a host, so these cannot fail.
            let _ = url.set_scheme(self.imds.scheme());
            let _ = url.set_host(self.imds.host_str());
            let _ = url.set_port(self.imds.port());
        }
        let mut redirected = Request::new(url, request.method());
        for (name, value) in request.headers().iter() {
            redirected.insert_header(name.clone(), value.clone());
        }
        redirected.set_body(request.body().clone());
        self.inner.execute_request(&redirected).await
    }
}

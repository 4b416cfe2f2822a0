//! The instance metadata service, as `azure_identity` reaches it.
//!
//! `azure_identity` has the service's address and its retries (up to 72 s) hard-wired. This
//! transport sends its requests to where the configuration says, and turns everything but a token
//! into an error that is not retried: how often to ask is the keeper's affair, and it then knows at
//! once what was wrong.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::{
    error::{Error, ErrorKind},
    http::{AsyncRawResponse, HttpClient, Request, StatusCode, headers::Headers},
};
use reqwest::{Client, Url};

use super::{AzureSetupError, answer};

const HOST: &str = "169.254.169.254";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 64 << 10;
/// So much of an error's text is passed on.
const MAX_TOLD: usize = 300;

#[derive(Debug)]
pub(super) struct Imds {
    client: Client,
    base: String,
}

impl Imds {
    pub(super) fn new(url: &Url) -> Result<Self, AzureSetupError> {
        let mut builder = Client::builder()
            // The metadata service is never behind a proxy and never somewhere else.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT);
        if url.scheme() == "http" {
            // Else the certificates of the system would be loaded, and must exist.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(AzureSetupError::Client)?;
        Ok(Self { client, base: url.as_str().trim_end_matches('/').to_owned() })
    }

    async fn fetch(&self, request: &Request) -> Result<Vec<u8>, String> {
        let asked = request.url();
        let url = if asked.host_str() == Some(HOST) {
            format!("{}{}?{}", self.base, asked.path(), asked.query().unwrap_or_default())
        } else {
            asked.to_string()
        };
        let mut call = self.client.get(url);
        for (name, value) in request.headers().iter() {
            call = call.header(name.as_str(), value.as_str());
        }
        let at = &self.base;
        let response = call.send().await.map_err(|error| {
            format!("the metadata service at {at} is not reached: {}", answer::told(&error))
        })?;
        let status = response.status();
        let body = answer::bytes(response, MAX_ANSWER).await?;
        if status.is_success() {
            return Ok(body);
        }
        let text: String = String::from_utf8_lossy(&body).chars().take(MAX_TOLD).collect();
        Err(format!("the metadata service at {at} answers {}: {}", status.as_u16(), text.trim()))
    }
}

#[async_trait]
impl HttpClient for Imds {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.fetch(request).await {
            Ok(body) => Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), body)),
            // Neither `Io` nor `Connection`: those are retried.
            Err(problem) => Err(Error::with_message(ErrorKind::Other, problem)),
        }
    }
}

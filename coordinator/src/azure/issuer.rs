//! Who gives tokens, the metadata service or the sign-in service, as `azure_identity` reaches it.
//!
//! `azure_identity` has the metadata service's address and its retries (up to 72 s) hard-wired, and
//! takes nothing but HTTPS for signing in. This transport sends its requests to where the
//! configuration says, and turns everything but a token into an error that is not retried: how often
//! to ask is the keeper's affair, and it then knows at once what was wrong.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::{
    error::{Error, ErrorKind},
    http::{AsyncRawResponse, Body, HttpClient, Method, Request, StatusCode, headers::Headers},
};
use reqwest::{Certificate, Client, Url};
use vipfence_types::told;

use super::{AzureSetupError, answer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 64 << 10;
/// So much of an error's text is passed on.
const MAX_TOLD: usize = 300;

#[derive(Debug)]
pub(super) struct Issuer {
    client: Client,
    /// What it is called in errors.
    what: &'static str,
    base: String,
}

impl Issuer {
    /// The metadata service: never behind a proxy, never somewhere else.
    pub(super) fn imds(url: &Url) -> Result<Self, AzureSetupError> {
        let builder = Client::builder().no_proxy();
        Self::new("the metadata service", url, builder, None)
    }

    /// The sign-in service, whose certificate is checked like ARM's.
    pub(super) fn authority(
        url: &Url,
        certificates: Option<Vec<Certificate>>,
    ) -> Result<Self, AzureSetupError> {
        let builder = Client::builder();
        Self::new("the sign-in service", url, builder, certificates)
    }

    fn new(
        what: &'static str,
        url: &Url,
        builder: reqwest::ClientBuilder,
        certificates: Option<Vec<Certificate>>,
    ) -> Result<Self, AzureSetupError> {
        let mut builder = builder
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT);
        if let Some(certificates) = certificates {
            builder = builder.tls_certs_only(certificates);
        } else if url.scheme() == "http" {
            // Else the certificates of the system would be loaded, and must exist.
            builder = builder.tls_certs_only([]).no_proxy();
        }
        let client = builder.build().map_err(AzureSetupError::Client)?;
        Ok(Self { client, what, base: url.as_str().trim_end_matches('/').to_owned() })
    }

    async fn fetch(&self, request: &Request) -> Result<Vec<u8>, String> {
        let (asked, at, what) = (request.url(), &self.base, self.what);
        let query = asked.query().map_or(String::new(), |query| format!("?{query}"));
        let url = format!("{at}{}{query}", asked.path());
        let mut call = match request.method() {
            Method::Post => self.client.post(url),
            _ => self.client.get(url),
        };
        for (name, value) in request.headers().iter() {
            call = call.header(name.as_str(), value.as_str());
        }
        if let Body::Bytes(bytes) = request.body() {
            call = call.body(bytes.clone());
        }
        let response = call
            .send()
            .await
            .map_err(|error| format!("{what} at {at} is not reached: {}", told(&error)))?;
        let status = response.status();
        let body = answer::bytes(response, MAX_ANSWER).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(format!("{what} at {at} answers {}: {}", status.as_u16(), reason(&body)))
    }
}

/// What a refusal says: Entra's description without its trace ids, else the text.
fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let described = json.as_ref().and_then(|json| json["error_description"].as_str());
    let words = described.map_or(&*text, |words| words.split(" Trace ID:").next().unwrap_or(words));
    words.chars().take(MAX_TOLD).collect::<String>().trim().to_owned()
}

#[async_trait]
impl HttpClient for Issuer {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.fetch(request).await {
            Ok(body) => Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), body)),
            // Neither `Io` nor `Connection`: those are retried.
            Err(problem) => Err(Error::with_message(ErrorKind::Other, problem)),
        }
    }
}

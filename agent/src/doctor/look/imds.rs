//! The metadata service, asked as plainly as `curl` would: what it answers tells which mistake it
//! is, which a token keeper's error would not.

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use vipfence_coordinator::azure::Identity;
use vipfence_types::{brief, told};

use super::super::facts::{Refusal, Seen};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
const INSTANCE: &str = "2021-02-01";
const TOKEN: &str = "2018-02-01";

/// The document of this VM, and what is said to the request for a token if the node's comes from
/// here.
pub(super) async fn look(
    imds: &str,
    audience: &str,
    identity: &Identity,
) -> (Seen<Value>, Option<Seen<()>>) {
    let builder = Client::builder()
        // Never behind a proxy, never somewhere else, plain HTTP by design.
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT);
    let client = match builder.build() {
        Ok(client) => client,
        Err(error) => {
            let why = brief(&error.to_string());
            return (Seen::Silent(why.clone()), Some(Seen::Silent(why)));
        }
    };
    let instance = format!("{imds}/metadata/instance?api-version={INSTANCE}");
    let token = match identity {
        Identity::Managed { client_id } => Some(token_url(imds, audience, client_id.as_deref())),
        Identity::Workload { .. } | Identity::Secret { .. } | Identity::AzCli { .. } => None,
    };
    let token = async {
        let seen = ask(&client, token.as_ref()?).await;
        Some(seen.map(|_| ()))
    };
    tokio::join!(ask(&client, &instance), token)
}

fn token_url(imds: &str, audience: &str, client_id: Option<&str>) -> String {
    let mut url = format!("{imds}/metadata/identity/oauth2/token?api-version={TOKEN}&resource=");
    url.extend(url_encoded(audience));
    if let Some(client_id) = client_id {
        url.push_str("&client_id=");
        url.push_str(client_id);
    }
    url
}

async fn ask(client: &Client, url: &str) -> Seen<Value> {
    let silent = |error: &reqwest::Error| brief(&told(error));
    let response = match client.get(url).header("Metadata", "true").send().await {
        Ok(response) => response,
        Err(error) => return Seen::Silent(silent(&error)),
    };
    let status = response.status().as_u16();
    let text = match response.text().await {
        Ok(text) => text,
        Err(error) => return Seen::Silent(silent(&error)),
    };
    match (status, serde_json::from_str::<Value>(&text)) {
        (200, Ok(body)) => Seen::Yes(body),
        (_, Ok(body)) => Seen::Refused(Refusal::read(status, &body)),
        (_, Err(_)) => Seen::Refused(Refusal::read(status, &Value::String(text))),
    }
}

/// Percent-encoded but for what is never special.
fn url_encoded(text: &str) -> impl Iterator<Item = char> {
    text.bytes().flat_map(|byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let hex = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap_or('0');
        let encoded = ['%', hex(byte >> 4), hex(byte & 15)];
        let all = if plain { vec![char::from(byte)] } else { encoded.to_vec() };
        all.into_iter()
    })
}

//! What comes back: headers and a body of limited size, and errors in words.

use std::collections::BTreeMap;

use reqwest::{Response, header::HeaderMap};
use serde_json::Value;
use vipfence_types::told;

pub(super) fn headers(map: &HeaderMap) -> BTreeMap<String, String> {
    map.iter()
        .filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect()
}

/// The whole body, unless it is larger than `max`.
pub(super) async fn bytes(mut response: Response, max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| told(&error))? {
        if bytes.len() + chunk.len() > max {
            return Err(format!("the answer is larger than {max} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// JSON, else a string; null when empty.
pub(super) fn value(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

//! ARM and IMDS over HTTP: from a request to the world and back.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::connection::Cut;
use super::shared::Shared;
use crate::{ArmOutcome, ArmRequest, ArmResponse, LostAnswer};

/// Largest body of a request; ARM's own limit is 4 MB. `[S]`
const MAX_BODY: usize = 4 << 20;

const FORM: &str = "application/x-www-form-urlencoded";

/// A client that is to hear nothing is let go after this.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// Everything that `/admin` does not answer.
pub(super) fn routes(tls: bool) -> Router<Arc<Shared>> {
    Router::new().fallback(
        move |State(shared): State<Arc<Shared>>,
              ConnectInfo(cut): ConnectInfo<Cut>,
              request: Request| async move {
            let request = match read(request).await {
                Ok(request) => ArmRequest { tls, ..request },
                Err(refusal) => return refusal,
            };
            let outcome = shared.with_world(|world, now| world.arm(now, request));
            answer(&shared, &cut, outcome).await
        },
    )
}

/// The IMDS of one VM.
pub(super) fn imds_routes(node: String) -> Router<Arc<Shared>> {
    Router::new().fallback(
        |State(shared): State<Arc<Shared>>,
         ConnectInfo(cut): ConnectInfo<Cut>,
         request: Request| async move {
            let request = match read(request).await {
                Ok(request) => request,
                Err(refusal) => return refusal,
            };
            let outcome = shared.with_world(|world, now| world.imds(now, &node, &request));
            answer(&shared, &cut, outcome).await
        },
    )
}

async fn read(request: Request) -> Result<ArmRequest, Response> {
    let (head, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| StatusCode::PAYLOAD_TOO_LARGE.into_response())?;
    let headers = head.headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    let request = ArmRequest {
        method: head.method.as_str().to_owned(),
        path_and_query: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers.collect(),
        // Whether a body was needed is for the world to say.
        body: serde_json::from_slice(&bytes).ok(),
        tls: false,
    };
    let is_form = request.headers.get("content-type").is_some_and(|kind| kind.starts_with(FORM));
    match std::str::from_utf8(&bytes) {
        Ok(form) if is_form => Ok(request.with_form(form)),
        _ => Ok(request),
    }
}

async fn answer(shared: &Shared, cut: &Cut, outcome: ArmOutcome) -> Response {
    match outcome {
        ArmOutcome::Answer(response) => write(&response),
        ArmOutcome::Held(hold) => {
            // A client that leaves drops this future; the request stays held all the same.
            match shared.wait_for(None, |world| world.take_answer(hold)).await {
                Some(response) => write(&response),
                None => closed(cut),
            }
        }
        ArmOutcome::Lost(LostAnswer::Closed) => closed(cut),
        ArmOutcome::Lost(LostAnswer::Silence) => {
            tokio::time::sleep(LONGEST_SILENCE).await;
            closed(cut)
        }
    }
}

/// The answer is never written: the connection breaks first.
fn closed(cut: &Cut) -> Response {
    cut.cut();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn write(response: &ArmResponse) -> Response {
    let mut builder = Response::builder().status(response.status);
    for (name, value) in &response.headers {
        builder = builder.header(name, value);
    }
    if response.body.is_some() {
        builder = builder.header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    }
    builder.body(Body::from(response.body_text())).unwrap_or_else(|error| {
        // A fault with an impossible status, or a header with a line end.
        tracing::warn!(%error, "an answer cannot be written");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

//! `/admin`: the tester's hand and eyes over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::shared::Shared;
use crate::{AdminCommand, AdminError, Attachments, JournalEntry, Status, World};

/// Longest wait of a long poll.
const LONGEST_WAIT_MS: u64 = 60_000;

/// Wait of `/admin/attachments` when the caller names none.
const USUAL_WAIT_MS: u64 = 30_000;

/// Journal entries in one answer.
const PAGE: usize = 1_000;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/admin/attachments", get(attachments))
        .route("/admin/journal", get(journal))
        .route("/admin/state", get(state))
        .route("/admin/command", post(command))
}

#[derive(Debug, Deserialize)]
struct Since {
    after: Option<u64>,
    wait_ms: Option<u64>,
}

impl Since {
    fn wait(&self, usual_ms: u64) -> Duration {
        Duration::from_millis(self.wait_ms.unwrap_or(usual_ms).min(LONGEST_WAIT_MS))
    }
}

/// At once without `after`; else as soon as the version is another one, at the latest after
/// `wait_ms`. A version that the caller cannot know from here is "another one" too.
async fn attachments(
    State(shared): State<Arc<Shared>>,
    Query(since): Query<Since>,
) -> Json<Attachments> {
    let news = |world: &mut World| {
        (since.after != Some(world.attachments_version())).then(|| world.attachments())
    };
    let news = shared.wait_for(Some(since.wait(USUAL_WAIT_MS)), news).await;
    Json(news.unwrap_or_else(|| shared.look(|world| world.attachments())))
}

/// A page of the journal.
#[derive(Debug, Serialize)]
struct JournalPage {
    /// Oldest first.
    entries: Vec<JournalEntry>,
    /// `after` for the next page.
    next_after: u64,
}

async fn journal(
    State(shared): State<Arc<Shared>>,
    Query(since): Query<Since>,
) -> Json<JournalPage> {
    let after = since.after.unwrap_or(0);
    let page = |world: &World| {
        let entries: Vec<JournalEntry> = world.journal_after(after).take(PAGE).cloned().collect();
        let next_after = entries.last().map_or(after, |entry| entry.seq);
        JournalPage { entries, next_after }
    };
    let news = |world: &mut World| (world.journal_seq() > after).then(|| page(world));
    let news = shared.wait_for(Some(since.wait(0)), news).await;
    Json(news.unwrap_or_else(|| shared.look(|world| page(world))))
}

async fn state(State(shared): State<Arc<Shared>>) -> Json<Status> {
    Json(shared.with_world(|world, now| {
        world.advance(now);
        world.status()
    }))
}

async fn command(State(shared): State<Arc<Shared>>, body: axum::body::Bytes) -> Response {
    let command: AdminCommand = match serde_json::from_slice(&body) {
        Ok(command) => command,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match shared.with_world(|world, now| world.admin(now, command)) {
        Ok(reply) => Json(reply).into_response(),
        Err(error) => {
            let status = match &error {
                AdminError::UnknownNode(_)
                | AdminError::UnknownNic(_)
                | AdminError::UnknownSubnet(_)
                | AdminError::UnknownHold(_) => StatusCode::NOT_FOUND,
                AdminError::NoOperation(_) => StatusCode::CONFLICT,
                AdminError::BadSettings(_) | AdminError::NotAssignable(_) => {
                    StatusCode::BAD_REQUEST
                }
                AdminError::TooManyFaults(_) => StatusCode::TOO_MANY_REQUESTS,
            };
            refuse(status, &error.to_string())
        }
    }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({"error": why}))).into_response()
}

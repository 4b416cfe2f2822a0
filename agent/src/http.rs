//! The HTTP port of a node, for load balancers, automation and Prometheus.
//!
//! `/healthz`: the process runs. `/readyz`: a leader answers this node. `/vips/NAME/holder`: 200 on
//! the node that has the VIP's address now, 503 elsewhere. `/metrics`.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::get,
};
use serde_json::json;
use tokio::net::TcpListener;
use vipfence_coordinator::consensus::Consensus;

use crate::{metrics::Metrics, node::NodeHandle};

#[derive(Clone)]
struct Site {
    node: NodeHandle,
    consensus: Consensus,
    metrics: Arc<Metrics>,
}

/// Opens the listener.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen for HTTP at {address}; change listen.http, or stop who does")
    })
}

/// Serves until the process ends.
pub(crate) async fn serve(
    listener: TcpListener,
    node: NodeHandle,
    consensus: Consensus,
    metrics: Arc<Metrics>,
) -> std::io::Result<()> {
    tokio::spawn(Metrics::follow(Arc::clone(&metrics), consensus.clone()));
    let site = Site { node, consensus, metrics };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/vips/{name}/holder", get(holder))
        .route("/metrics", get(scrape))
        .with_state(site);
    axum::serve(listener, router).await
}

async fn ready(State(site): State<Site>) -> (StatusCode, String) {
    let detail = site.node.view().detail;
    if detail.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{detail}\n"))
    }
}

async fn holder(State(site): State<Site>, Path(name): Path<String>) -> impl IntoResponse {
    let view = site.node.view();
    let held = view.held.iter().find(|held| held.vip.as_str() == name && held.added);
    if let Some(held) = held {
        let body = json!({"vip": name, "node": view.node, "epoch": held.epoch});
        return (StatusCode::OK, Json(body));
    }
    let state = Arc::clone(&site.consensus.applied().borrow().state);
    let known = state.vips.values().find(|record| record.name.as_str() == name);
    match known {
        None => {
            let body = json!({"vip": name, "error": "there is no VIP of this name"});
            (StatusCode::NOT_FOUND, Json(body))
        }
        Some(record) => {
            let body = json!({"vip": name, "node": view.node, "holder": record.holder(),
                "detail": view.detail});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

async fn scrape(State(site): State<Site>) -> impl IntoResponse {
    let leadership = site.consensus.leadership().borrow().clone();
    let held: Vec<_> = site.node.view().held.into_iter().filter(|held| held.added).collect();
    let state = Arc::clone(&site.consensus.applied().borrow().state);
    let text = site.metrics.scrape(&leadership, &state, &held);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(axum::http::header::CONTENT_TYPE, kind)], text)
}

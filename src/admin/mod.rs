//! The admin listener: whether the process is well, what it has counted, and what its logs hold.
//!
//! | path | answers |
//! |---|---|
//! | `/livez` | 200 while the process can answer at all |
//! | `/readyz` | 200 when every part is ready, else 503; one line a part, with the reason |
//! | `/metrics` | counters and gauges, in OpenMetrics text |
//! | `/log-level` | GET the log filter, PUT a new one |
//! | `/api/v1/namespaces/<ns>/brokers/<name>/events` | the events in a broker's log, one JSON object a line |
//! | `/api/v1/namespaces/<ns>/brokers/<name>/events/filter` | POST filters, which are run over these events |
//! | `/api/v1/namespaces/<ns>/triggers/<name>/stats` | live figures of a Trigger |
//! | `/api/v1/namespaces/<ns>/triggers/<name>/dead-letters` | the events that it could not deliver |
//! | `/api/v1/namespaces/<ns>/triggers/<name>/redrive` | POST: deliver those once more; the progress, one JSON object a line |
//!
//! The last three exist for `channels` and `subscriptions` too. It listens on loopback by default and
//! has no authentication: whoever reaches it may read events.

mod events;
mod filter;
mod health;
mod redrive;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use heddle_broker::clock::Clock;
use heddle_broker::directory::SharedDirectory;
use heddle_dispatcher::config::ConsumerId;
use heddle_dispatcher::{ConsumerStats, Dispatcher};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::telemetry::LogLevel;
pub use health::{Check, Readiness};

/// Everything that the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    /// What has been counted.
    pub registry: Arc<Mutex<Registry>>,
    /// What has to be ready.
    pub readiness: Readiness,
    /// The log filter, where the process has one.
    pub log_level: Option<LogLevel>,
    /// The brokers and channels, with their logs.
    pub directory: SharedDirectory,
    /// The Triggers and Subscriptions.
    pub dispatcher: Arc<Dispatcher>,
    /// For positions like "ten minutes ago".
    pub clock: Arc<dyn Clock>,
    /// Ends the answers that follow a log.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Serves until `admin.stop` is cancelled.
pub async fn serve(admin: Admin, listener: TcpListener) -> std::io::Result<()> {
    let stop = admin.stop.clone();
    axum::serve(listener, router(admin))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/log-level", get(log_level).put(set_log_level))
        .route(
            "/api/v1/namespaces/{namespace}/{kind}/{name}/events",
            get(events::list),
        )
        .route(
            "/api/v1/namespaces/{namespace}/{kind}/{name}/events/filter",
            post(filter::judge).layer(Extension(Arc::new(Semaphore::new(filter::AT_ONCE)))),
        )
        .route(
            "/api/v1/namespaces/{namespace}/{kind}/{name}/stats",
            get(stats),
        )
        .route(
            "/api/v1/namespaces/{namespace}/{kind}/{name}/dead-letters",
            get(events::dead_letters),
        )
        .route(
            "/api/v1/namespaces/{namespace}/{kind}/{name}/redrive",
            post(redrive::redrive),
        )
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let (ready, report) = admin.readiness.report();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, report).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &admin.registry.lock()).is_err() {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be written\n",
        )
            .into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn log_level(State(admin): State<Admin>) -> Response {
    match admin.log_level {
        Some(level) => format!("{}\n", level.get()).into_response(),
        None => (StatusCode::NOT_FOUND, "this process has no log filter\n").into_response(),
    }
}

async fn set_log_level(State(admin): State<Admin>, filter: String) -> Response {
    let Some(level) = admin.log_level else {
        return (StatusCode::NOT_FOUND, "this process has no log filter\n").into_response();
    };
    match level.set(filter.trim()) {
        Ok(()) => {
            tracing::info!(filter = filter.trim(), "log filter changed");
            format!("{}\n", level.get()).into_response()
        }
        Err(error) => (
            StatusCode::BAD_REQUEST,
            format!(
                "not a log filter: {error}; try info, debug, or heddle_dispatcher=debug,info\n"
            ),
        )
            .into_response(),
    }
}

/// The consumer that a path names, where its kind has consumers.
fn consumer(kind: &str, namespace: &str, name: &str) -> Option<ConsumerId> {
    let kind = match kind {
        "triggers" => "trigger",
        "subscriptions" => "subscription",
        _ => return None,
    };
    Some(ConsumerId {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    })
}

async fn stats(
    State(admin): State<Admin>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
) -> Response {
    /// The statistics, and when the filter is evaluated.
    #[derive(serde::Serialize)]
    struct Answer {
        #[serde(flatten)]
        stats: ConsumerStats,
        filter_evaluated: Option<String>,
    }
    let found = consumer(&kind, &namespace, &name).and_then(|id| {
        Some(Answer {
            stats: admin.dispatcher.stats(&id)?,
            filter_evaluated: admin
                .dispatcher
                .pruning(&id)
                .map(|pruning| pruning.to_string()),
        })
    });
    match found {
        Some(answer) => axum::Json(answer).into_response(),
        None => not_found(&kind, &namespace, &name, "is not being delivered to"),
    }
}

fn not_found(kind: &str, namespace: &str, name: &str, what: &str) -> Response {
    (
        StatusCode::NOT_FOUND,
        format!("{kind} {namespace}/{name} {what}\n"),
    )
        .into_response()
}

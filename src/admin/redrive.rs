//! Redriving dead letters, with the progress as lines of JSON.
//!
//! The redrive lives as long as the answer is read: a client that goes away ends it, and what is
//! under way is brought to its end. The last line says `finished` or `stopped`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use heddle_dispatcher::redrive::{Progress, RedriveError, Redriving, State as Stand};
use serde::Deserialize;

use super::{Admin, consumer, not_found};

/// The least time between two lines.
const PACE: Duration = Duration::from_millis(100);

/// What to redrive.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Bound {
    limit: Option<u64>,
}

/// Delivers the kept dead letters of a Trigger or Subscription once more.
pub(super) async fn redrive(
    State(admin): State<Admin>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(bound): Query<Bound>,
) -> Response {
    let Some(id) = consumer(&kind, &namespace, &name) else {
        return not_found(&kind, &namespace, &name, "has no dead letters");
    };
    let limit = bound.limit.unwrap_or(u64::MAX);
    match admin.dispatcher.redrive(&id, limit) {
        Ok(redriving) => {
            let body = Body::from_stream(lines(redriving));
            ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
        }
        Err(error) => {
            let status = match error {
                RedriveError::Unknown(_) => StatusCode::NOT_FOUND,
                RedriveError::Busy(_) | RedriveError::Held(_) => StatusCode::CONFLICT,
                RedriveError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, format!("{error}\n")).into_response()
        }
    }
}

/// A line now, then one whenever there is news, until the last.
fn lines(redriving: Redriving) -> impl Stream<Item = Result<Bytes, serde_json::Error>> {
    let first = redriving.progress();
    let start = Some((redriving, first));
    futures::stream::try_unfold(start, |now| async move {
        let Some((mut redriving, progress)) = now else {
            return Ok(None);
        };
        let line = line(&progress)?;
        if progress.state != Stand::Running {
            return Ok(Some((line, None)));
        }
        tokio::time::sleep(PACE).await;
        let next = redriving.next().await;
        Ok(Some((line, next.map(|next| (redriving, next)))))
    })
}

fn line(progress: &Progress) -> Result<Bytes, serde_json::Error> {
    let mut text = serde_json::to_vec(progress)?;
    text.push(b'\n');
    Ok(text.into())
}

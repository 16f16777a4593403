//! The events in a log, as lines of JSON.
//!
//! `from` is `earliest` (default), `latest`, an offset, or an RFC 3339 time; `limit` bounds the number of
//! lines; `follow=true` keeps the answer open and goes on with what comes in. The answer is made
//! as it is read, so that a log of any size costs the memory of one batch.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use heddle_broker::event::http::encode_structured;
use heddle_broker::log::{Log, Offset, ReadError, ReadLimit, Record};
use heddle_dispatcher::DeadLetters;
use jiff::Timestamp;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Admin, consumer, not_found};

pub(super) const BATCH: ReadLimit = ReadLimit {
    records: 256,
    bytes: 1 << 20,
};

/// What to read.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Range {
    from: Option<String>,
    limit: Option<u64>,
    follow: Option<bool>,
}

impl Range {
    /// Where to begin.
    pub(super) fn from(&self) -> &str {
        self.from.as_deref().unwrap_or("earliest")
    }

    /// How many events at most.
    pub(super) fn limit(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX)
    }
}

/// The log of a broker or channel that is ready.
pub(super) fn find(admin: &Admin, kind: &str, namespace: &str, name: &str) -> Option<Arc<dyn Log>> {
    let directory = admin.directory.load();
    let key = format!("{namespace}/{name}");
    let entry = match kind {
        "brokers" => directory.brokers.get(&key),
        "channels" | "inmemorychannels" => directory.channels.get(&key),
        _ => None,
    };
    entry.map(|entry| Arc::clone(&entry.log))
}

/// The events of a broker or channel.
pub(super) async fn list(
    State(admin): State<Admin>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(range): Query<Range>,
) -> Response {
    let Some(log) = find(&admin, &kind, &namespace, &name) else {
        return not_found(&kind, &namespace, &name, "does not exist, or is not ready");
    };
    answer(log, None, &range, admin.stop.clone()).await
}

/// The events that a Trigger or Subscription could not deliver, but for those that were redriven.
pub(super) async fn dead_letters(
    State(admin): State<Admin>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(range): Query<Range>,
) -> Response {
    let Some(id) = consumer(&kind, &namespace, &name) else {
        return not_found(&kind, &namespace, &name, "has no dead letters");
    };
    match admin.dispatcher.dead_letters(&id) {
        Some(letters) => {
            let log = Arc::clone(letters.log());
            answer(log, Some(letters), &range, admin.stop.clone()).await
        }
        None => (StatusCode::OK, "").into_response(),
    }
}

async fn answer(
    log: Arc<dyn Log>,
    letters: Option<DeadLetters>,
    range: &Range,
    stop: CancellationToken,
) -> Response {
    let from = match start(&*log, range.from()).await {
        Ok(from) => from,
        Err(reason) => return (StatusCode::BAD_REQUEST, reason).into_response(),
    };
    let floor = letters.as_ref().map_or(0, DeadLetters::floor);
    let reader = Reader {
        log,
        letters,
        at: from.max(floor),
        left: range.limit(),
        follow: range.follow.unwrap_or(false),
        stop,
    };
    let body = Body::from_stream(lines(reader));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// The offset that `from` means.
pub(super) async fn start(log: &dyn Log, from: &str) -> Result<Offset, String> {
    let stats = log.stats();
    if from == "earliest" {
        return Ok(stats.first);
    }
    if from == "latest" {
        return Ok(stats.next);
    }
    if let Ok(offset) = from.parse::<Offset>() {
        return if offset <= stats.next {
            Ok(offset)
        } else {
            Err(format!(
                "offset {offset} is past the end of the log ({})\n",
                stats.next
            ))
        };
    }
    let time: Timestamp = from.parse().map_err(|_| {
        format!("from={from:?} is neither earliest, latest, an offset nor an RFC 3339 time\n")
    })?;
    log.offset_at(time)
        .await
        .map_err(|error| format!("{error}\n"))
}

struct Reader {
    log: Arc<dyn Log>,
    /// Says which of them to leave out, where they are dead letters.
    letters: Option<DeadLetters>,
    at: Offset,
    left: u64,
    follow: bool,
    stop: CancellationToken,
}

fn lines(reader: Reader) -> impl Stream<Item = Result<Bytes, ReadError>> {
    futures::stream::try_unfold(reader, |mut reader| async move {
        let mut tail = reader.log.tail();
        loop {
            if reader.left == 0 {
                return Ok(None);
            }
            let batch = reader.log.read(reader.at, BATCH).await?;
            reader.at = batch.next;
            if !batch.records.is_empty() {
                let mut text = Vec::new();
                for record in &batch.records {
                    if reader.left == 0 {
                        break;
                    }
                    let letters = reader.letters.as_ref();
                    if letters.is_some_and(|letters| !letters.is_left(record.offset)) {
                        continue;
                    }
                    reader.left -= 1;
                    write_line(&mut text, record);
                }
                if !text.is_empty() {
                    return Ok(Some((Bytes::from(text), reader)));
                }
            }
            if reader.at < *tail.borrow_and_update() {
                continue;
            }
            if !reader.follow {
                return Ok(None);
            }
            tokio::select! {
                () = reader.stop.cancelled() => return Ok(None),
                moved = tail.changed() => if moved.is_err() { return Ok(None) },
            }
        }
    })
}

fn write_line(text: &mut Vec<u8>, record: &Record) {
    let (_, event) = encode_structured(&record.event, &[]);
    text.extend_from_slice(
        format!(
            "{{\"offset\":{},\"accepted\":\"{}\",\"event\":",
            record.offset, record.accepted
        )
        .as_bytes(),
    );
    // Data keeps the line breaks of its JSON text; on a line of its own they become spaces, which
    // mean the same in JSON, because strings cannot hold them.
    text.extend(event.iter().map(|&byte| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            byte
        }
    }));
    text.extend_from_slice(b"}\n");
}

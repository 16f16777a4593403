//! The events in a log, as lines of JSON.
//!
//! `from` is `earliest` (default), `latest`, an offset, or an RFC 3339 time; `limit` bounds the number of
//! lines; `follow=true` keeps the answer open and goes on with what comes in. The answer is made
//! as it is read, so that a log of any size costs the memory of one batch. Of a log with partitions
//! one comes after the other, each line with its number, or `partition` names the only one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use heddle_broker::event::http::encode_structured;
use heddle_broker::log::{Log, Offset, Partitions, ReadError, ReadLimit, Record};
use heddle_dispatcher::DeadLetters;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::watch;
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
    partition: Option<usize>,
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
pub(super) fn find(admin: &Admin, kind: &str, namespace: &str, name: &str) -> Option<Partitions> {
    let directory = admin.directory.load();
    let key = format!("{namespace}/{name}");
    let entry = match kind {
        "brokers" => directory.brokers.get(&key),
        "channels" | "inmemorychannels" => directory.channels.get(&key),
        _ => None,
    };
    entry.map(|entry| entry.logs.clone())
}

/// The events of a broker or channel.
pub(super) async fn list(
    State(admin): State<Admin>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(range): Query<Range>,
) -> Response {
    let Some(logs) = find(&admin, &kind, &namespace, &name) else {
        return not_found(&kind, &namespace, &name, "does not exist, or is not ready");
    };
    answer(logs, None, &range, admin.stop.clone()).await
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
            let logs = Arc::clone(letters.log()).into();
            answer(logs, Some(letters), &range, admin.stop.clone()).await
        }
        None => (StatusCode::OK, "").into_response(),
    }
}

async fn answer(
    logs: Partitions,
    letters: Option<DeadLetters>,
    range: &Range,
    stop: CancellationToken,
) -> Response {
    let floor = letters.as_ref().map_or(0, DeadLetters::floor);
    let mut places = Vec::new();
    for (number, log) in logs.all().iter().enumerate() {
        if range.partition.is_some_and(|only| only != number) {
            continue;
        }
        let at = match begin(&**log, &logs, range).await {
            Ok(at) => at.max(floor),
            Err(reason) => return (StatusCode::BAD_REQUEST, reason).into_response(),
        };
        places.push(Place {
            number: (logs.all().len() > 1).then_some(number),
            tail: log.tail(),
            log: Arc::clone(log),
            at,
        });
    }
    let reader = Reader {
        places,
        letters,
        left: range.limit(),
        follow: range.follow.unwrap_or(false),
        stop,
    };
    let body = Body::from_stream(lines(reader));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// The one partition that is asked for, where there is one thing to be said about it.
pub(super) fn single(logs: &Partitions, range: &Range) -> Result<Arc<dyn Log>, String> {
    let count = logs.all().len();
    let number = match range.partition {
        None if count > 1 => {
            return Err(format!(
                "the log has {count} partitions; name one, like partition=0\n"
            ));
        }
        number => number.unwrap_or(0),
    };
    let found = logs.all().get(number).cloned();
    found.ok_or_else(|| format!("there is no partition {number}; the log has {count}\n"))
}

/// The offset at which a partition is to be read. A number means one partition.
async fn begin(log: &dyn Log, logs: &Partitions, range: &Range) -> Result<Offset, String> {
    if range.from().parse::<Offset>().is_ok() {
        single(logs, range)?;
    }
    start(log, range.from()).await
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

/// A place in a partition.
struct Place {
    /// Its number, where there are several.
    number: Option<usize>,
    log: Arc<dyn Log>,
    tail: watch::Receiver<Offset>,
    at: Offset,
}

impl Place {
    fn is_behind(&mut self) -> bool {
        self.at < *self.tail.borrow_and_update()
    }
}

struct Reader {
    places: Vec<Place>,
    /// Says which of them to leave out, where they are dead letters.
    letters: Option<DeadLetters>,
    left: u64,
    follow: bool,
    stop: CancellationToken,
}

fn lines(reader: Reader) -> impl Stream<Item = Result<Bytes, ReadError>> {
    futures::stream::try_unfold(reader, |mut reader| async move {
        loop {
            if reader.left == 0 {
                return Ok(None);
            }
            if let Some(place) = reader.places.iter_mut().position(Place::is_behind) {
                let text = reader.read(place).await?;
                if !text.is_empty() {
                    return Ok(Some((Bytes::from(text), reader)));
                }
            } else if !reader.follow || !reader.moved().await {
                return Ok(None);
            }
        }
    })
}

impl Reader {
    /// The lines of one batch.
    async fn read(&mut self, place: usize) -> Result<Vec<u8>, ReadError> {
        let mut text = Vec::new();
        let Some(place) = self.places.get_mut(place) else {
            return Ok(text);
        };
        let batch = place.log.read(place.at, BATCH).await?;
        place.at = batch.next;
        for record in &batch.records {
            if self.left == 0 {
                break;
            }
            let letters = self.letters.as_ref();
            if letters.is_some_and(|letters| !letters.is_left(record.offset)) {
                continue;
            }
            self.left -= 1;
            write_line(&mut text, place.number, record);
        }
        Ok(text)
    }

    /// Waits until a log goes on. False when this is over.
    async fn moved(&mut self) -> bool {
        let tails = self
            .places
            .iter_mut()
            .map(|place| Box::pin(place.tail.changed()));
        let tails: Vec<_> = tails.collect();
        if tails.is_empty() {
            return false;
        }
        tokio::select! {
            () = self.stop.cancelled() => false,
            (moved, ..) = futures::future::select_all(tails) => moved.is_ok(),
        }
    }
}

fn write_line(text: &mut Vec<u8>, partition: Option<usize>, record: &Record) {
    let (_, event) = encode_structured(&record.event, &[]);
    text.push(b'{');
    if let Some(partition) = partition {
        text.extend_from_slice(format!("\"partition\":{partition},").as_bytes());
    }
    text.extend_from_slice(
        format!(
            "\"offset\":{},\"accepted\":\"{}\",\"event\":",
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

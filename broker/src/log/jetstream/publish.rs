//! The one task that sends a log's appends, in order, and counts their acknowledgements.
//!
//! Appends wait in a bounded queue. The task sends each without waiting for the one before, up to
//! [`IN_FLIGHT`] at a time, and takes acknowledgements in the order of the appends. It never sends an
//! append again: one whose fate is not known fails, and the producer decides. So appends that succeed
//! have growing offsets, and an outage costs no memory.

use std::error::Error as _;
use std::ops::Range;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode as Code;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::log::Shared;
use super::message;
use crate::event::Event;
use crate::log::{AppendError, Offset};

/// Appends that are under way to the server at a time.
const IN_FLIGHT: usize = 256;
/// Appends that wait to be sent.
pub(super) const QUEUE: usize = 4_096;
/// Bytes of events that wait, sent or not; more are refused.
pub const MAX_PENDING_BYTES: usize = 32 << 20;
/// Events of one append: what the server takes as one atomic batch.
pub const MAX_BATCH: usize = 1_000;

type Outcome = Result<Range<Offset>, AppendError>;

/// An append on its way.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) events: Vec<Event>,
    pub(super) bytes: usize,
    pub(super) done: oneshot::Sender<Outcome>,
}

/// An append that was sent.
struct Sent {
    bytes: usize,
    done: oneshot::Sender<Outcome>,
    outcome: Outcome,
}

/// Sends what comes out of `queue` until it is closed, or `stop` is cancelled.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Unit>,
    stop: CancellationToken,
) {
    let mut in_flight: FuturesOrdered<BoxFuture<'static, Sent>> = FuturesOrdered::new();
    loop {
        tokio::select! {
            biased;
            Some(sent) = in_flight.next(), if !in_flight.is_empty() => settle(&shared, sent),
            unit = queue.recv(), if in_flight.len() < IN_FLIGHT => match unit {
                Some(unit) => in_flight.push_back(send(&shared, unit).await),
                None => break,
            },
            () = stop.cancelled() => break,
        }
    }
    // What was sent is still answered; what was not is refused as its sender is dropped.
    while let Some(sent) = in_flight.next().await {
        settle(&shared, sent);
    }
}

fn settle(shared: &Shared, sent: Sent) {
    if let Ok(offsets) = &sent.outcome {
        shared.committed(offsets.clone(), sent.bytes);
    }
    shared.give_back(sent.bytes);
    // A caller that has gone away does not want to know.
    let _gone = sent.done.send(sent.outcome);
}

/// Sends an append; the future that comes back is its answer.
async fn send(shared: &Arc<Shared>, unit: Unit) -> BoxFuture<'static, Sent> {
    let Unit {
        events,
        bytes,
        done,
    } = unit;
    let answer: BoxFuture<'static, Outcome> = match events.as_slice() {
        [event] => match send_one(shared, event, bytes).await {
            Ok(answer) => {
                let limits = Limits::of(shared, bytes);
                Box::pin(async move {
                    let ack = answer.await.map_err(|error| limits.refusal(&error))?;
                    Ok(offsets(&ack, 1))
                })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        },
        events => match send_batch(shared, events, bytes).await {
            Ok(answer) => answer,
            Err(error) => Box::pin(std::future::ready(Err(error))),
        },
    };
    Box::pin(async move {
        Sent {
            bytes,
            done,
            outcome: answer.await,
        }
    })
}

async fn send_one(
    shared: &Shared,
    event: &Event,
    bytes: usize,
) -> Result<PublishAckFuture, AppendError> {
    let (headers, data) = message::write(event, shared.now(), true);
    let publish = PublishMessage::build().headers(headers).payload(data);
    let context = shared.context();
    let sent = context.send_publish(shared.subject(), publish).await;
    sent.map_err(|error| Limits::of(shared, bytes).refusal(&error))
}

/// Sends an atomic batch (JetStream's ADR 50): the server keeps nothing before the last message, and
/// then all. Its answer to the last one counts for all.
async fn send_batch(
    shared: &Arc<Shared>,
    events: &[Event],
    bytes: usize,
) -> Result<BoxFuture<'static, Outcome>, AppendError> {
    let context = shared.context();
    let client = context.client();
    let batch = client.new_inbox();
    let count = events.len();
    let accepted = shared.now();
    let part = |place: usize, event: &Event| -> (HeaderMap, Bytes) {
        let (mut headers, data) = message::write(event, accepted, false);
        headers.insert("Nats-Batch-Id", batch.as_str());
        headers.insert("Nats-Batch-Sequence", (place + 1).to_string());
        if place + 1 == count {
            headers.insert("Nats-Batch-Commit", "1");
        }
        (headers, data)
    };
    let Some((last, before)) = events.split_last() else {
        return Ok(Box::pin(std::future::ready(Ok(shared.end()))));
    };
    let subject = shared.subject();
    for (place, event) in before.iter().enumerate() {
        let (headers, data) = part(place, event);
        client
            .publish_with_headers(subject.clone(), headers, data)
            .await
            .map_err(|error| unavailable(&error))?;
    }
    let (headers, data) = part(before.len(), last);
    let publish = PublishMessage::build().headers(headers).payload(data);
    let sending = context.send_publish(subject, publish);
    let limits = Limits::of(shared, bytes);
    let answer = sending.await.map_err(|error| limits.refusal(&error))?;
    Ok(Box::pin(async move {
        let ack = answer.await.map_err(|error| limits.refusal(&error))?;
        Ok(offsets(&ack, count as u64))
    }))
}

/// The offsets of events that end at the sequence of an acknowledgement.
fn offsets(ack: &PublishAck, count: u64) -> Range<Offset> {
    ack.sequence.saturating_sub(count)..ack.sequence
}

/// What is needed to say why an append was refused.
#[derive(Clone, Copy)]
struct Limits {
    bytes: usize,
    max_payload: usize,
}

/// The most bytes of headers that a stream takes with one message.
const MAX_HEADERS: usize = 64 << 10;

impl Limits {
    fn of(shared: &Shared, bytes: usize) -> Self {
        Self {
            bytes,
            max_payload: shared.context().client().max_payload(),
        }
    }

    /// Why an append was refused, in our terms.
    fn refusal(self, error: &PublishError) -> AppendError {
        let bytes = self.bytes;
        let said = error.source();
        let code = said
            .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>())
            .map(async_nats::jetstream::Error::error_code);
        match (error.kind(), code) {
            (PublishErrorKind::MaxPayloadExceeded, _)
            | (_, Some(Code::STREAM_MESSAGE_EXCEEDS_MAXIMUM)) => AppendError::TooLarge {
                bytes,
                limit: self.max_payload,
            },
            (_, Some(Code::STREAM_HEADER_EXCEEDS_MAXIMUM)) => AppendError::TooLarge {
                bytes,
                limit: MAX_HEADERS,
            },
            (_, Some(code)) if NO_ROOM.contains(&code) => AppendError::DiskFull,
            (PublishErrorKind::StreamNotFound, _) => AppendError::Unavailable {
                reason: "no NATS server answers for its stream".into(),
            },
            _ => unavailable(error),
        }
    }
}

/// What the server says when it has no room; it recovers by itself.
const NO_ROOM: [Code; 4] = [
    Code::INSUFFICIENT_RESOURCES,
    Code::STORAGE_RESOURCES_EXCEEDED,
    Code::STREAM_STORE_FAILED,
    Code::TEMP_STORAGE_FAILED,
];

fn unavailable(error: &dyn std::error::Error) -> AppendError {
    AppendError::Unavailable {
        reason: error.to_string().into(),
    }
}

//! Batches and single messages, by direct gets: any server that has the stream answers, and keeps no
//! state for us.
//!
//! A replica may be behind, and says of what it does not have yet what it says of what is gone. So what
//! is missing is held against what the leader knows ([`missing_up_to`]), and the leader's word counts
//! only if it has everything that was acknowledged: one that has just lost its office may not.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::log::Place;
use super::message;
use crate::log::{Gap, GapReason, Offset, ReadBatch, ReadError, ReadLimit, Record};

/// The longest that a read waits for the next message of its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages of one read at the most; the server has a limit of its own.
const MAX_MESSAGES: usize = 512;

/// The body of a direct get (JetStream's ADR 31).
#[derive(Serialize)]
struct Get {
    seq: u64,
    /// Any: what is at `seq`, or after it.
    next_by_subj: &'static str,
    batch: usize,
    max_bytes: usize,
}

/// Reads from `from` on, never past `tail`.
pub(super) async fn batch(
    place: &Place,
    from: Offset,
    tail: Offset,
    limit: ReadLimit,
) -> Result<ReadBatch, ReadError> {
    let mut batch = ReadBatch {
        next: from,
        ..ReadBatch::default()
    };
    let records = limit.records.clamp(1, MAX_MESSAGES);
    let request = Get {
        seq: from + 1,
        next_by_subj: ">",
        batch: records,
        // The server counts headers too, and stops before it has too much, where we stop after.
        max_bytes: limit
            .bytes
            .saturating_add(limit.bytes / 4)
            .clamp(64 << 10, 8 << 20),
    };
    let mut answers = ask(place, &request).await?;
    let mut bytes = 0;
    loop {
        let next = tokio::time::timeout(PATIENCE, answers.next()).await;
        let message = next
            .map_err(|_| io("the server did not answer in time"))?
            .ok_or_else(|| io("the connection to the server was closed"))?;
        match message.status {
            None => {}
            // Nothing at `from` or above.
            Some(StatusCode::NOT_FOUND) => {
                pass_over(place, &mut batch, tail, tail).await?;
                return Ok(batch);
            }
            // The end of the batch. One that is empty comes from a replica that is behind.
            Some(status) if status.as_u16() == 204 && batch.next > from => return Ok(batch),
            Some(StatusCode::NO_RESPONDERS) => return Err(io("no server has the stream")),
            Some(status) => {
                let what = message.description.unwrap_or_default();
                return Err(io(&format!("the server answered {status} {what}")));
            }
        }
        let Some((offset, stored)) = position(&message) else {
            return Err(io("the server's answer has no place in the stream"));
        };
        if offset > batch.next {
            let read = batch.next > from;
            match pass_over(place, &mut batch, offset.min(tail), tail).await {
                Err(_) if read => return Ok(batch),
                outcome => outcome?,
            }
        }
        if offset >= tail {
            // Kept, but its append has not been acknowledged yet.
            return Ok(batch);
        }
        bytes += take(place, &mut batch, offset, stored, &message);
        if batch.records.len() >= records || (bytes >= limit.bytes && !batch.records.is_empty()) {
            return Ok(batch);
        }
    }
}

/// Passes over offsets that a replica has nothing at, if that is so because they are gone.
async fn pass_over(
    place: &Place,
    batch: &mut ReadBatch,
    up_to: Offset,
    tail: Offset,
) -> Result<(), ReadError> {
    let gone = missing_up_to(place, batch.next, tail).await?;
    if gone < up_to {
        return Err(io("a replica answered that is behind"));
    }
    gap(batch, up_to);
    Ok(())
}

/// Up to where there is nothing from an offset on, by the word of the leader.
async fn missing_up_to(place: &Place, from: Offset, tail: Offset) -> Result<Offset, ReadError> {
    let context = place.context();
    let stream = context.get_stream_no_info(&place.stream).await;
    let stream = stream.map_err(|error| io(&error))?;
    let info = stream.info_builder().with_deleted(true).fetch().await;
    let state = info.map_err(|error| io(&error))?.info.state;
    if state.last_sequence < tail {
        return Err(io("a leader answered that is behind"));
    }
    let first = match state.messages {
        0 => state.last_sequence,
        _ => state.first_sequence.saturating_sub(1),
    };
    let deleted: HashSet<u64> = state.deleted.into_iter().flatten().collect();
    let mut at = from.max(first);
    // The offset `at` is the sequence after it.
    while at < tail && deleted.contains(&(at + 1)) {
        at += 1;
    }
    Ok(at)
}

/// Adds a message to a batch that ends at its offset, and returns the bytes of its event.
fn take(
    place: &Place,
    batch: &mut ReadBatch,
    offset: Offset,
    stored: Timestamp,
    message: &Message,
) -> usize {
    match message::read(message.headers.as_ref(), &message.payload, stored) {
        Ok((event, accepted)) => {
            let bytes = event.size();
            batch.next = offset + 1;
            batch.records.push(Record {
                offset,
                accepted,
                event,
            });
            bytes
        }
        Err(error) => {
            tracing::warn!(stream = place.stream, offset, %error, "a message holds no event");
            missing(batch, offset + 1, GapReason::Damaged);
            0
        }
    }
}

/// When the first message at `offset` or above was accepted, and where it is.
pub(super) async fn one(
    place: &Place,
    offset: Offset,
    tail: Offset,
) -> Result<Option<(Offset, Timestamp)>, ReadError> {
    let limit = ReadLimit {
        records: 1,
        bytes: 1,
    };
    let found = batch(place, offset, tail, limit).await?;
    Ok(found
        .records
        .first()
        .map(|record| (record.offset, record.accepted)))
}

async fn ask(place: &Place, request: &Get) -> Result<async_nats::Subscriber, ReadError> {
    let context = place.context();
    let client = context.client();
    let inbox = client.new_inbox();
    let answers = client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| io(&error))?;
    let body = serde_json::to_vec(request).map_err(|error| io(&error))?;
    let subject = format!("{}.DIRECT.GET.{}", place.prefix, place.stream);
    client
        .publish_with_reply(subject, inbox, Bytes::from(body))
        .await
        .map_err(|error| io(&error))?;
    Ok(answers)
}

/// The offset of a message, and when the server stored it.
fn position(message: &Message) -> Option<(Offset, Timestamp)> {
    let headers = message.headers.as_ref()?;
    let sequence: u64 = headers.get("Nats-Sequence")?.as_str().parse().ok()?;
    let stored = headers.get("Nats-Time-Stamp")?.as_str().parse().ok()?;
    Some((sequence.checked_sub(1)?, stored))
}

fn gap(batch: &mut ReadBatch, up_to: Offset) {
    missing(batch, up_to, GapReason::Expired);
}

fn missing(batch: &mut ReadBatch, up_to: Offset, reason: GapReason) {
    if up_to <= batch.next {
        return;
    }
    let offsets = batch.next..up_to;
    batch.next = up_to;
    match batch.gaps.last_mut() {
        Some(last) if last.reason == reason && last.offsets.end == offsets.start => {
            last.offsets.end = offsets.end;
        }
        _ => batch.gaps.push(Gap { offsets, reason }),
    }
}

fn io(reason: &(impl ToString + ?Sized)) -> ReadError {
    ReadError::Io {
        reason: reason.to_string().into(),
    }
}

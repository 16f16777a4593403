//! What keeps a stream small: asks the server now and then, and purges what retention asks for.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Config, InfoError, Stream};
use jiff::SignedDuration;

use super::log::Shared;
use super::read;
use crate::log::Offset;

/// Purges of one look at the most; the rest waits for the next look.
const PURGES: usize = 16;

/// How often to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two looks, at least.
    pub(super) least: Duration,
    /// Between two looks, when nothing happens.
    pub(super) most: Duration,
}

/// Looks after a log until it is closed.
pub(super) async fn run(shared: Arc<Shared>, log: String, pace: Pace) {
    let closed = shared.closed().clone();
    let work = async {
        let mut tail = shared.tail();
        // An outage is reported once, and not with every look.
        let mut trouble = None;
        loop {
            let outcome = look(&shared, &log).await.err();
            if let Some(error) = outcome
                .as_ref()
                .filter(|error| trouble.as_ref() != Some(*error))
            {
                tracing::warn!(%log, %error, "a stream could not be looked after");
            }
            trouble = outcome;
            tokio::time::sleep(pace.least).await;
            tail.mark_unchanged();
            tokio::select! {
                () = tokio::time::sleep(pace.most.saturating_sub(pace.least)) => {}
                () = shared.changed() => {}
                _ = tail.changed() => {}
            }
        }
    };
    closed.run_until_cancelled(work).await;
}

/// One look: learns what is there, and removes what may go.
async fn look(shared: &Shared, log: &str) -> Result<(), String> {
    let place = shared.place();
    let context = place.context();
    let stream = context.get_stream_no_info(&place.stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    for _ in 0..PURGES {
        let quiet = shared.is_quiet();
        match stream.get_info().await {
            Ok(info) => {
                shared.observe(&info.state, quiet && shared.is_quiet());
                shape(&context, &info.config, &shared.config(log)).await?;
            }
            Err(error) if is_gone(&error) => return again(shared, log).await,
            Err(error) => return Err(error.to_string()),
        }
        let target = target(shared).await?;
        if target <= shared.kept().0.start {
            return Ok(());
        }
        purge(&stream, target).await?;
        shared.removed(target);
    }
    Ok(())
}

fn is_gone(error: &InfoError) -> bool {
    use std::error::Error as _;
    let said = error.source();
    said.and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>())
        .is_some_and(|error| error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Makes a stream again that somebody deleted. Its sequences go on, so that no offset is given twice.
async fn again(shared: &Shared, log: &str) -> Result<(), String> {
    let place = shared.place();
    let end = shared.end().end;
    tracing::error!(%log, stream = place.stream, "the stream was deleted, and its events are lost; it is made again");
    let mut config = shared.config(log);
    config.first_sequence = Some(end + 1);
    let made = place.context().create_stream(config).await;
    made.map(|_| shared.removed(end))
        .map_err(|error| error.to_string())
}

/// Makes a stream what it should be. What others have added to its configuration stays.
pub(super) async fn shape(context: &Context, is: &Config, wanted: &Config) -> Result<(), String> {
    let mut shaped = is.clone();
    shaped.subjects.clone_from(&wanted.subjects);
    shaped.storage = wanted.storage;
    shaped.num_replicas = wanted.num_replicas;
    shaped.discard = wanted.discard;
    shaped.max_bytes = wanted.max_bytes;
    shaped.max_messages = wanted.max_messages;
    shaped.max_message_size = wanted.max_message_size;
    shaped.max_consumers = wanted.max_consumers;
    shaped.max_age = wanted.max_age;
    shaped.duplicate_window = wanted.duplicate_window;
    shaped.placement.clone_from(&wanted.placement);
    shaped.sources.clone_from(&wanted.sources);
    shaped.allow_direct = true;
    shaped.allow_atomic_publish = true;
    if shaped == *is {
        return Ok(());
    }
    let updated = context.update_stream(&shaped).await;
    updated.map(|_| ()).map_err(|error| {
        format!(
            "the stream {} cannot be made what it should be: {error}",
            is.name
        )
    })
}

async fn purge(stream: &Stream<()>, up_to: Offset) -> Result<(), String> {
    // The server purges below a sequence; that of the offset `up_to` is one more.
    let purged = stream.purge().sequence(up_to + 1).await;
    purged.map(|_| ()).map_err(|error| error.to_string())
}

/// Below which offset events are to be removed now.
async fn target(shared: &Shared) -> Result<Offset, String> {
    let (retention, free) = shared.retention();
    let (kept, oldest) = shared.kept();
    let free = free.min(kept.end);
    if kept.is_empty() {
        return Ok(kept.start);
    }
    let mut target = kept.start;
    if let Some(max) = retention.max_bytes {
        let (messages, bytes) = shared.size();
        if bytes > max && messages > 0 {
            let each = (bytes / messages).max(1);
            // Rounded down, so that it takes a look or two more rather than an event too many.
            target += ((bytes - max) / each).clamp(1, messages);
        }
    }
    if let Some(max) = retention.max_age {
        let oldest = match oldest {
            Some(oldest) => Some(oldest),
            None => {
                let found = read::one(shared.place(), kept.start, kept.end).await;
                let found = found.map_err(|error| error.to_string())?;
                let accepted = found.map(|(_, accepted)| accepted);
                shared.set_oldest(accepted);
                accepted
            }
        };
        let max = SignedDuration::try_from(max).unwrap_or(SignedDuration::MAX);
        let limit = shared.now().checked_sub(max);
        if let (Some(oldest), Ok(limit)) = (oldest, limit)
            && oldest < limit
            && free > kept.start
        {
            let old = shared.offset_at(limit).await;
            target = target.max(old.map_err(|error| error.to_string())?);
        }
    }
    Ok(target.min(free))
}

//! Appends on their way, and their acknowledgements.
//!
//! The library sends what it is given (see [`mod@super::line`]) in the order of each partition, again where it
//! has to, and keeps the order by numbers that the servers check. What is not acknowledged within the store's
//! timeout fails, and the producer of the event decides. An outage therefore costs no memory.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DeliveryResult};
use tokio::sync::oneshot;

use super::access::Access;
use super::cluster::{Producer, is_fatal};
use super::line;
use super::log::Shared;
use super::record;
use crate::event::Event;
use crate::log::{AppendError, Offset};

/// Bytes that wait to be acknowledged by one cluster; more are refused.
pub const MAX_BYTES: usize = 64 << 20;
/// Bytes of one partition among them, so that no log takes all of it.
pub const MAX_LOG_BYTES: usize = 16 << 20;
/// What a record costs besides its event.
pub(super) const OVERHEAD: usize = 512;
/// The most bytes of one record that the library may send; the topic's own limit is less.
const MAX_REQUEST: usize = 64 << 20;

/// How long the library waits for more events before it sends those of a partition.
pub(super) const LINGER: Duration = Duration::from_millis(1);

/// What the producer is told.
pub(super) fn config(access: &Access, timeout: Duration) -> ClientConfig {
    let timeout = timeout.as_millis().to_string();
    let mut config = access.config();
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", &timeout)
        .set("request.timeout.ms", &timeout)
        .set("retry.backoff.ms", "50")
        .set("linger.ms", LINGER.as_millis().to_string())
        .set("message.max.bytes", MAX_REQUEST.to_string())
        // Records go together up to what every server takes; one that is larger goes alone.
        .set("batch.size", "900000")
        .set("compression.type", "none")
        // The bounds are ours, and known before anything of an append is queued.
        .set("queue.buffering.max.messages", "0")
        .set(
            "queue.buffering.max.kbytes",
            (4 * MAX_BYTES / 1024).to_string(),
        );
    config
}

/// The events of one append, which succeed or fail together.
#[derive(Debug)]
pub(super) struct Unit {
    log: Arc<Shared>,
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Events without an outcome.
    left: usize,
    /// What those that were kept span.
    offsets: Option<Range<Offset>>,
    error: Option<AppendError>,
    done: Option<oneshot::Sender<Result<Range<Offset>, AppendError>>>,
}

impl Unit {
    /// An append of so many events, with so many bytes, and where its outcome shows.
    pub(super) fn new(
        log: &Arc<Shared>,
        events: usize,
        bytes: usize,
    ) -> (
        Arc<Self>,
        oneshot::Receiver<Result<Range<Offset>, AppendError>>,
    ) {
        let (done, outcome) = oneshot::channel();
        let unit = Self {
            log: Arc::clone(log),
            bytes,
            state: Mutex::new(State {
                left: events,
                offsets: None,
                error: None,
                done: Some(done),
            }),
        };
        (Arc::new(unit), outcome)
    }

    /// What became of one of them.
    pub(super) fn delivered(&self, result: &DeliveryResult<'_>) {
        match result {
            Ok(message) => {
                let offset = u64::try_from(message.offset()).unwrap_or_default();
                self.settle(1, Ok(offset));
            }
            Err((error, _)) => self.settle(1, Err(refusal(&self.log, self.bytes, error))),
        }
    }

    /// None of them goes out.
    pub(super) fn refuse(&self, reason: Arc<str>) {
        let all = self.state.lock().left;
        self.settle(all, Err(AppendError::Unavailable { reason }));
    }

    /// Notes what became of so many of them, and tells when that is all.
    fn settle(&self, events: usize, outcome: Result<Offset, AppendError>) {
        let mut state = self.state.lock();
        match outcome {
            Ok(offset) => {
                let one = offset..offset + 1;
                let before = state.offsets.take();
                state.offsets = Some(match before {
                    None => one,
                    Some(all) => all.start.min(one.start)..all.end.max(one.end),
                });
            }
            Err(error) => {
                state.error.get_or_insert(error);
            }
        }
        state.left -= events;
        if state.left > 0 {
            return;
        }
        let outcome = match (state.error.take(), state.offsets.take()) {
            (None, Some(offsets)) => Ok(offsets),
            (Some(error), _) => Err(error),
            (None, None) => Err(AppendError::Unavailable {
                reason: "the Kafka library gave no offset".into(),
            }),
        };
        let done = state.done.take();
        drop(state);
        self.log.settle(&outcome, self.bytes);
        if let Some(done) = done {
            // A caller that has gone away does not want to know.
            let _gone = done.send(outcome);
        }
        line::settled(&self.log);
    }
}

/// Hands the events of an append over to the library. What it does not take at once fails with the rest.
pub(super) fn send(producer: &Producer, unit: &Arc<Unit>, events: &[Event], accepted: Timestamp) {
    let log = &unit.log;
    let form = *log.topic.form.read();
    for event in events {
        let (headers, data) = record::write(event, form, accepted);
        let key = record::key(event);
        let mut record = BaseRecord::with_opaque_to(&log.topic.name, Arc::clone(unit))
            .partition(log.partition)
            .timestamp(accepted.as_millisecond())
            .headers(headers);
        if let Some(key) = &key {
            record = record.key(*key);
        }
        if let Some(data) = &data {
            record = record.payload(&**data);
        }
        if let Err((error, _)) = producer.send::<str, [u8]>(record) {
            unit.settle(1, Err(refusal(log, unit.bytes, &error)));
        }
    }
}

/// Why an append was refused, in our terms.
fn refusal(log: &Shared, bytes: usize, error: &KafkaError) -> AppendError {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => AppendError::TooLarge {
            bytes,
            limit: log.topic.max_record,
        },
        Some(Code::QueueFull) => AppendError::Busy {
            pending_bytes: log.cluster.pending.load(Ordering::Relaxed),
        },
        Some(Code::PurgeQueue | Code::PurgeInflight) => AppendError::Closed {
            reason: "the process is ending".into(),
        },
        Some(Code::MessageTimedOut) => {
            log.cluster.reach.lost("they did not acknowledge in time");
            AppendError::Unavailable {
                reason: "the Kafka servers did not acknowledge in time".into(),
            }
        }
        _ => {
            if is_fatal(error) {
                log.cluster.reach.lost("the producer has given up");
            }
            AppendError::Unavailable {
                reason: error.to_string().into(),
            }
        }
    }
}

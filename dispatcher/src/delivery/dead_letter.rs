//! What a dead letter says: the event as it was, and why it was not taken.
//!
//! Three extensions are added (replaced, if the event has been a dead letter before):
//! `knativeerrordest` is the URL that failed, `knativeerrorcode` the status, an Integer, and
//! `knativeerrordata` the base64 of the first 1024 bytes of the answer. Everything else stays, the
//! TTL included: a dead letter sink may be a broker, and a loop through it has to end.
//!
//! One that is kept for lack of a sink has a fourth, `heddledeliverykey`: the idempotency key of the
//! delivery that failed, so that the subscriber can tell when it gets the event a second time. What
//! was added is taken away again when a kept dead letter is redriven ([`original`]).

use std::fmt::Display;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heddle_broker::event::{Event, EventError};
use heddle_broker::log::Retention;

use super::{ERROR_DATA, Failure};

/// The URL that did not take the event.
pub const DESTINATION: &str = "knativeerrordest";
/// The status of its answer.
pub const CODE: &str = "knativeerrorcode";
/// The start of its answer.
pub const DATA: &str = "knativeerrordata";
/// The idempotency key of the delivery, without quotes; only where the dead letter is kept.
pub const KEY: &str = "heddledeliverykey";

/// How long dead letters are kept: 30 days, and a gibibyte for each consumer. They are bounded, since
/// a consumer whose subscriber never comes back makes them without end; what goes is counted.
pub const RETENTION: Retention = Retention {
    max_bytes: Some(1 << 30),
    max_age: Some(Duration::from_secs(30 * 24 * 3600)),
    protect: false,
};

/// The name of the log that keeps the dead letters of a consumer that has no sink for them.
/// `consumer` is its id, as text or not.
#[must_use]
pub fn log_name(consumer: impl Display) -> String {
    format!("dead-letter/{consumer}")
}

/// The dead letter for an event.
///
/// # Errors
///
/// When the event has no room for three more attributes.
pub fn dead_letter(event: &Event, failure: &Failure) -> Result<Event, EventError> {
    let data = failure.data.get(..ERROR_DATA).unwrap_or(&failure.data);
    event.without(&[DESTINATION, CODE, DATA]).with(&[
        (DESTINATION, failure.destination.as_str().into()),
        (CODE, i32::from(failure.code).into()),
        (DATA, STANDARD.encode(data).into()),
    ])
}

/// The dead letter for an event, as it is kept: with the idempotency key of its delivery.
///
/// # Errors
///
/// When the event has no room for four more attributes.
pub fn kept(event: &Event, failure: &Failure, key: &str) -> Result<Event, EventError> {
    dead_letter(event, failure)?.with(&[(KEY, key.into())])
}

/// The event of a kept dead letter, with the key of its delivery where that is known.
#[must_use]
pub fn original(letter: &Event) -> (Event, Option<String>) {
    // Others may have written the attribute, where there was no room for ours.
    let fits = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let key = letter
        .attribute(KEY)
        .filter(|key| fits(key.text))
        .map(|key| key.text.to_owned());
    (letter.without(&[DESTINATION, CODE, DATA, KEY]), key)
}

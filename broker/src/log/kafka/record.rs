//! An event as a record, and back.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::message::{Header, Headers as _, Message, OwnedHeaders};

use crate::event::message::{KAFKA, MessageError, SHAPE};
use crate::event::{Event, header, http};
use crate::log::partitions::PARTITION_KEY;

/// When the log accepted the event, in nanoseconds since 1970. Kafka's own time has milliseconds.
const ACCEPTED: &str = "heddle-accepted";
/// A record does not hold an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// One that we wrote.
    #[error(transparent)]
    Own(#[from] MessageError),
    /// One that somebody else wrote.
    #[error(transparent)]
    Foreign(#[from] http::DecodeError),
    /// A batch, which no single record can be.
    #[error("the record holds a batch of events")]
    Batch,
    /// A header that no event has.
    #[error("the record has headers that no event has")]
    Headers,
}

/// The key of the record, which decides about its partition.
pub(super) fn key(event: &Event) -> Option<&str> {
    event
        .attribute(PARTITION_KEY)
        .map(|attribute| attribute.text)
}

/// Writes an event: its headers, and its value where it has data.
pub(super) fn write(event: &Event, accepted: Timestamp) -> (OwnedHeaders, Option<Bytes>) {
    let mut headers = Some(OwnedHeaders::new_with_capacity(8));
    let mut put = |name: &str, value: &str| {
        headers = headers.take().map(|headers| {
            headers.insert(Header {
                key: name,
                value: Some(value),
            })
        });
    };
    let data = KAFKA.write(event, &mut put);
    put(ACCEPTED, &accepted.as_nanosecond().to_string());
    let none = event.data_form() == crate::event::DataForm::None;
    (headers.unwrap_or_default(), (!none).then_some(data))
}

/// Reads a record, and when its event was accepted; Kafka's time where we did not write it.
///
/// # Errors
///
/// When the record is no event, or not a valid one.
pub fn read<M: Message>(message: &M) -> Result<(Event, Timestamp), Unreadable> {
    let stored = message.timestamp().to_millis();
    let stored = stored.and_then(|stored| Timestamp::from_millisecond(stored).ok());
    let headers: Vec<(&str, &[u8])> = message.headers().map_or_else(Vec::new, |headers| {
        let pairs = headers.iter();
        pairs
            .filter_map(|header| Some((header.key, header.value?)))
            .collect()
    });
    let get = |name: &str| {
        let found = headers.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| *value)
    };
    let text = |name: &str| get(name).and_then(|value| std::str::from_utf8(value).ok());
    let accepted = text(ACCEPTED)
        .and_then(|text| text.parse().ok())
        .and_then(|nanoseconds| Timestamp::from_nanosecond(nanoseconds).ok());
    let data = Bytes::copy_from_slice(message.payload().unwrap_or_default());
    let event = match text(SHAPE) {
        Some(shape) => KAFKA.read(shape, get, &data)?,
        None => foreign(&headers, &data)?,
    };
    Ok((event, accepted.or(stored).unwrap_or(Timestamp::UNIX_EPOCH)))
}

/// Reads what somebody else wrote, in binary or structured mode: the HTTP binding by other names.
fn foreign(headers: &[(&str, &[u8])], data: &Bytes) -> Result<Event, Unreadable> {
    let mut map = ::http::HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let (name, value) = match name.strip_prefix(KAFKA.prefix) {
            Some(attribute) => {
                let text = std::str::from_utf8(value).map_err(|_| Unreadable::Headers)?;
                (format!("ce-{attribute}"), header::encode(text))
            }
            None if name.eq_ignore_ascii_case("content-type") => {
                let text = std::str::from_utf8(value).map_err(|_| Unreadable::Headers)?;
                ("content-type".to_owned(), Cow::Borrowed(text))
            }
            None => continue,
        };
        let name = ::http::HeaderName::try_from(name).map_err(|_| Unreadable::Headers)?;
        let value = ::http::HeaderValue::try_from(&*value).map_err(|_| Unreadable::Headers)?;
        map.append(name, value);
    }
    match http::decode(&map, data)? {
        http::Decoded::One(draft) => Ok(draft.finish().map_err(http::DecodeError::from)?),
        http::Decoded::Batch(_) => Err(Unreadable::Batch),
    }
}

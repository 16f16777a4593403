//! An event as a record, and back.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::message::{Header, Headers as _, Message, OwnedHeaders};

use crate::event::http::STRUCTURED;
use crate::event::message::{CONTENT_TYPE, KAFKA, MessageError, SHAPE};
use crate::event::{DataForm, Event, header, http, json};
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

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// In binary mode, with headers of ours that keep what the binding loses.
    #[default]
    Whole,
    /// In binary mode, and nothing else.
    Binary,
    /// In structured mode, as JSON.
    Structured,
}

/// What the names of our own headers begin with. No attribute is written under such a name.
const OWN: &str = "heddle-";

/// The key of the record, which decides about its partition.
pub(super) fn key(event: &Event) -> Option<&str> {
    event
        .attribute(PARTITION_KEY)
        .map(|attribute| attribute.text)
}

/// Writes an event: its headers, and its value where it has data.
pub(super) fn write(
    event: &Event,
    form: Form,
    accepted: Timestamp,
) -> (OwnedHeaders, Option<Bytes>) {
    let mut headers = Some(OwnedHeaders::new_with_capacity(8));
    let mut put = |name: &str, value: &str| {
        headers = headers.take().map(|headers| {
            headers.insert(Header {
                key: name,
                value: Some(value),
            })
        });
    };
    let data = match form {
        Form::Whole => {
            let data = KAFKA.write(event, &mut put);
            put(ACCEPTED, &accepted.as_nanosecond().to_string());
            data
        }
        Form::Binary => KAFKA.write(event, |name, value| {
            if !name.starts_with(OWN) {
                put(name, value);
            }
        }),
        Form::Structured => {
            put(CONTENT_TYPE, STRUCTURED);
            json::encode(event, &[]).into()
        }
    };
    let none = form != Form::Structured && event.data_form() == DataForm::None;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use rdkafka::Timestamp as Stored;
    use rdkafka::message::OwnedMessage;

    use super::*;
    use crate::event::EventBuilder;

    fn record(event: &Event, form: Form) -> OwnedMessage {
        let (headers, data) = write(event, form, Timestamp::UNIX_EPOCH);
        let data = data.map(|data| data.to_vec());
        let (key, topic) = (None, "t".to_owned());
        OwnedMessage::new(data, key, topic, Stored::CreateTime(0), 0, 0, Some(headers))
    }

    fn is_own(record: &OwnedMessage) -> bool {
        let mut headers = record.headers().unwrap().iter();
        headers.any(|header| header.key.starts_with(OWN))
    }

    #[test]
    fn other_readers_find_the_event_in_every_form() {
        let start = || EventBuilder::new("1", "/s", "t").attribute("region", "Zürich");
        for event in [
            start().build().unwrap(),
            start().data("text/plain", &b"x\n"[..]).build().unwrap(),
            start()
                .data("application/octet-stream", &[0, 255][..])
                .build()
                .unwrap(),
            start()
                .data("application/json", &b"{\"n\" : 1.0}"[..])
                .build()
                .unwrap(),
        ] {
            for form in [Form::Whole, Form::Binary, Form::Structured] {
                let record = record(&event, form);
                assert_eq!(is_own(&record), form == Form::Whole);
                let (read, accepted) = read(&record).unwrap();
                assert_eq!(accepted, Timestamp::UNIX_EPOCH);
                let texts = |event: &Event| -> Vec<(String, String)> {
                    let all = event.attributes();
                    let all = all.map(|one| (one.name.to_owned(), one.text.to_owned()));
                    let mut all: Vec<_> = all.collect();
                    all.sort();
                    all
                };
                assert_eq!(texts(&read), texts(&event), "{form:?}");
                assert_eq!(
                    json::data_bytes(&read),
                    json::data_bytes(&event),
                    "{form:?}"
                );
            }
        }
    }

    #[test]
    fn an_event_without_data_is_a_record_without_a_value() {
        let event = EventBuilder::new("1", "/s", "t").build().unwrap();
        for (form, has) in [
            (Form::Whole, false),
            (Form::Binary, false),
            (Form::Structured, true),
        ] {
            assert_eq!(record(&event, form).payload().is_some(), has, "{form:?}");
        }
    }
}

//! An event as a message, and back.

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use jiff::Timestamp;

use crate::event::attributes::TTL;
use crate::event::message::{MessageError, NATS, SHAPE};
use crate::event::{Event, http};

/// When the log accepted the event, in nanoseconds since 1970. The server's own time is that of the
/// server's clock.
const ACCEPTED: &str = "heddle-accepted";

/// What headers begin with.
const VERSION: &[u8] = b"NATS/1.0\r\n";

/// The header by which the server knows what it has already.
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// A message does not hold an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// One that we wrote.
    #[error(transparent)]
    Own(#[from] MessageError),
    /// One that somebody else wrote.
    #[error(transparent)]
    Foreign(#[from] http::DecodeError),
    /// A batch, which no single message can be.
    #[error("the message holds a batch of events")]
    Batch,
    /// A header that is no HTTP header.
    #[error("the message has headers that no event has")]
    Headers,
}

/// Writes the headers of an event into `headers`, which may have been used before, and returns the
/// data. `accepted` is when, in nanoseconds since 1970; `more` are headers of JetStream besides.
/// `identified` asks for the one that lets the server drop what comes twice.
pub(super) fn write(
    headers: &mut Vec<u8>,
    event: &Event,
    accepted: &str,
    identified: bool,
    more: &[(&str, &str)],
) -> Bytes {
    headers.clear();
    headers.extend_from_slice(VERSION);
    let data = NATS.write(event, |name, value| put(headers, name, &[value]));
    put(headers, ACCEPTED, &[accepted]);
    if identified {
        identify(headers, event);
    }
    for (name, value) in more {
        put(headers, name, &[value]);
    }
    headers.extend_from_slice(b"\r\n");
    data
}

/// Adds a header whose value is `parts`, with a space between them.
fn put(headers: &mut Vec<u8>, name: &str, parts: &[&str]) {
    // An event's names and values are header names and values: the front door has seen to it. None of
    // them ends its line, whoever wrote it.
    let ends = |part: &&str| memchr::memchr2(b'\r', b'\n', part.as_bytes()).is_some();
    if parts.iter().any(ends) {
        return;
    }
    headers.extend_from_slice(name.as_bytes());
    headers.push(b':');
    for part in parts {
        headers.push(b' ');
        headers.extend_from_slice(part.as_bytes());
    }
    headers.extend_from_slice(b"\r\n");
}

/// Adds what tells events apart: `source` and `id`, as the specification demands; and `type` and the
/// hops left, because subscribers reply with the event that they got, changed, and that is another event.
fn identify(headers: &mut Vec<u8>, event: &Event) {
    use crate::event::header::encode;
    let hops = event.attribute(TTL).map_or("", |attribute| attribute.text);
    let [source, id, ty] = [event.source(), event.id(), event.ty()].map(encode);
    put(headers, MESSAGE_ID, &[&source, &id, &ty, hops]);
}

/// Reads a message, and when its event was accepted; the server's time where we did not write it.
pub(super) fn read(
    headers: Option<&HeaderMap>,
    data: &Bytes,
    stored: Timestamp,
) -> Result<(Event, Timestamp), Unreadable> {
    let empty = HeaderMap::new();
    let headers = headers.unwrap_or(&empty);
    let text = |name: &str| {
        let name = name.parse::<HeaderName>().ok()?;
        headers.get(name).map(HeaderValue::as_str)
    };
    let accepted = text(ACCEPTED)
        .and_then(|text| text.parse().ok())
        .and_then(|nanoseconds| Timestamp::from_nanosecond(nanoseconds).ok());
    let event = match text(SHAPE) {
        Some(shape) => NATS.read(shape, |name| text(name).map(str::as_bytes), data)?,
        None => foreign(headers, data)?,
    };
    Ok((event, accepted.unwrap_or(stored)))
}

/// Reads what somebody else wrote, in binary or structured mode.
fn foreign(headers: &HeaderMap, data: &Bytes) -> Result<Event, Unreadable> {
    let mut pairs: Vec<(String, &str)> = headers
        .iter()
        .flat_map(|(name, values)| {
            let name = name.to_string().to_ascii_lowercase();
            values
                .iter()
                .map(move |value| (name.clone(), value.as_str()))
        })
        .filter(|(name, _)| name.starts_with("ce-") || name == "content-type")
        .collect();
    // The client has no order for them; one that is always the same is better than none.
    pairs.sort_unstable();
    let mut map = ::http::HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let name = ::http::HeaderName::try_from(name).map_err(|_| Unreadable::Headers)?;
        let value = ::http::HeaderValue::try_from(value).map_err(|_| Unreadable::Headers)?;
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
    use super::*;
    use crate::event::{Attribute, AttributeKind, DataForm, Packer, SpecVersion};

    /// An event with these attributes besides those that each has.
    fn event(attributes: &[(&str, &str)]) -> Event {
        let mut packer = Packer::new(SpecVersion::V1, 1024);
        let own = [("id", "1 2"), ("source", "/a"), ("type", "t")];
        for (name, text) in own.iter().chain(attributes) {
            assert!(packer.push(&Attribute {
                name,
                kind: AttributeKind::String,
                text,
                header: None,
            }));
        }
        packer.finish(DataForm::Bytes, b"data").unwrap()
    }

    /// What a reader gets of the headers that were written.
    fn heard(headers: &[u8]) -> HeaderMap {
        let text = std::str::from_utf8(headers).unwrap();
        let lines = text.strip_prefix("NATS/1.0\r\n").unwrap();
        let lines = lines.strip_suffix("\r\n\r\n").unwrap();
        let pairs = lines.split("\r\n").map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse().unwrap(), value.parse().unwrap())
        });
        pairs.collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let event = event(&[("subject", "\u{e4} %"), ("datacontenttype", "text/plain")]);
        let accepted = Timestamp::from_nanosecond(1_700_000_000_000_000_001).unwrap();
        let nanoseconds = accepted.as_nanosecond().to_string();
        // What was there before does not matter.
        let mut headers = b"rubbish".to_vec();
        let data = write(&mut headers, &event, &nanoseconds, true, &[("Nats-X", "y")]);
        let map = heard(&headers);
        assert_eq!(map.get("Nats-X").unwrap().as_str(), "y");
        assert_eq!(map.get(MESSAGE_ID).unwrap().as_str(), "/a 1%202 t ");
        let (read, stamped) = read(Some(&map), &data, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(read.packed(), event.packed());
        assert_eq!(stamped, accepted);
        write(&mut headers, &event, &nanoseconds, false, &[]);
        assert!(heard(&headers).get(MESSAGE_ID).is_none());
    }

    #[test]
    fn no_value_makes_a_header_of_its_own() {
        let event = event(&[("datacontenttype", "text/plain\r\nNats-Rollup: all")]);
        let mut headers = Vec::new();
        write(&mut headers, &event, "0", true, &[]);
        let text = std::str::from_utf8(&headers).unwrap();
        assert!(!text.contains("Rollup"), "{text}");
    }
}

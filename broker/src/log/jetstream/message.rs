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

/// Writes an event. `identified` asks for the header that lets the server drop what comes twice.
pub(super) fn write(event: &Event, accepted: Timestamp, identified: bool) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    // An event's names and values are header names and values: the front door has seen to it.
    let mut put = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    };
    let data = NATS.write(event, &mut put);
    put(ACCEPTED, &accepted.as_nanosecond().to_string());
    if identified {
        put(MESSAGE_ID, &identity(event));
    }
    (headers, data)
}

/// What tells events apart: `source` and `id`, as the specification demands; and `type` and the hops
/// left, because subscribers reply with the event that they got, changed, and that is another event.
fn identity(event: &Event) -> String {
    use crate::event::header::encode;
    let hops = event.attribute(TTL).map_or("", |attribute| attribute.text);
    let [source, id, ty] = [event.source(), event.id(), event.ty()].map(encode);
    format!("{source} {id} {ty} {hops}")
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

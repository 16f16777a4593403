//! The dispatcher's view of the event codecs: what goes out to a subscriber.

use bytes::Bytes;
use heddle_broker::event::{Event, http as codec};
use http::HeaderMap;

use crate::config::Format;

/// The message for an event, without the attributes in `skip`.
pub(crate) fn encode(event: &Event, format: Format, skip: &[&str]) -> (HeaderMap, Bytes) {
    match format {
        Format::Binary => codec::encode_binary(event, skip),
        Format::Json => codec::encode_structured(event, skip),
    }
}

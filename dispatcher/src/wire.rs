//! The dispatcher's view of the event codecs: what goes out to a subscriber, what comes back.

use bytes::Bytes;
use heddle_broker::event::{Attribute, AttributeKind, DataForm, Event, Packer, SpecVersion};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::Format;

/// An event could not be changed, or a message is not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);

/// A copy of the event without the attributes in `remove`, and with those in `set`.
pub(crate) fn with(
    event: &Event,
    set: &[(&str, AttributeKind, &str)],
    remove: &[&str],
) -> Result<Event, WireError> {
    let mut packer = Packer::new(event.spec_version(), event.size() + 256);
    let kept = event.attributes().filter(|old| {
        !remove.contains(&old.name) && !set.iter().any(|(name, ..)| *name == old.name)
    });
    let added = set.iter().map(|&(name, kind, text)| Attribute {
        name,
        kind,
        text,
        header: None,
    });
    for attribute in kept.chain(added) {
        if !packer.push(&attribute) {
            return Err(WireError(format!(
                "there is no room for {}",
                attribute.name
            )));
        }
    }
    packer
        .finish(event.data_form(), &event.data())
        .map_err(|error| WireError(error.to_string()))
}

/// The message for an event, without the attributes in `skip`.
pub(crate) fn encode(event: &Event, _format: Format, skip: &[&str]) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert(
        "ce-specversion",
        HeaderValue::from_static(event.spec_version().as_str()),
    );
    for attribute in event.attributes().filter(|a| !skip.contains(&a.name)) {
        let Ok(value) = HeaderValue::from_str(attribute.header.unwrap_or(attribute.text)) else {
            continue;
        };
        if attribute.name == "datacontenttype" {
            headers.insert(header::CONTENT_TYPE, value);
        } else if let Ok(name) = HeaderName::try_from(format!("ce-{}", attribute.name)) {
            headers.insert(name, value);
        }
    }
    (headers, event.data())
}

/// The event in a message; `None` where the message does not claim to be one.
pub(crate) fn decode(headers: &HeaderMap, body: &Bytes) -> Result<Option<Event>, WireError> {
    if !headers.contains_key("ce-specversion") {
        return Ok(None);
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut packer = Packer::new(SpecVersion::V1, body.len() + 256);
    for name in ["id", "source", "type"] {
        let value = text(&format!("ce-{name}")).ok_or_else(|| WireError(format!("no {name}")))?;
        let _ = packer.push(&Attribute {
            name,
            kind: AttributeKind::String,
            text: value,
            header: None,
        });
    }
    let form = if body.is_empty() {
        DataForm::None
    } else {
        DataForm::Bytes
    };
    for (name, value) in headers {
        let name = name.as_str().strip_prefix("ce-").unwrap_or_default();
        if !matches!(name, "" | "id" | "source" | "type" | "specversion") {
            let text = value.to_str().unwrap_or_default();
            let _ = packer.push(&Attribute {
                name,
                kind: AttributeKind::String,
                text,
                header: None,
            });
        }
    }
    packer
        .finish(form, body)
        .map(Some)
        .map_err(|error| WireError(error.to_string()))
}

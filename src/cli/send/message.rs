//! An event as an HTTP message, in binary or structured mode.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::cli::show_event::{Data, Shown};

/// The media type of structured mode.
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

/// Attributes in headers, data in the body (CloudEvents HTTP binding 1.0, section 3.1).
#[must_use]
pub fn binary(event: &Shown) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    for (name, text) in &event.attributes {
        let (name, text) = if name == "datacontenttype" {
            (Ok(header::CONTENT_TYPE), text.as_str().to_owned())
        } else {
            let name = HeaderName::try_from(format!("ce-{name}"));
            (name, percent_encode(text.as_str()))
        };
        // Names were checked to be letters and digits, and values are printable ASCII now.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(text)) {
            headers.insert(name, value);
        }
    }
    let body = match &event.data {
        Data::None => Bytes::new(),
        Data::Bytes(bytes) => bytes.clone(),
        Data::Json(text) => {
            headers
                .entry(header::CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
            json_body(event, text)
        }
    };
    (headers, body)
}

/// Everything in one JSON document (CloudEvents HTTP binding 1.0, section 3.2).
#[must_use]
pub fn structured(event: &Shown) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
    (headers, event.to_json().into())
}

/// The bytes of `data`: the JSON itself, or the text of a string where the type is not JSON
/// (CloudEvents JSON event format 1.0, section 3.1).
fn json_body(event: &Shown, json: &str) -> Bytes {
    if !event.is_json()
        && let Ok(text) = serde_json::from_str::<String>(json)
    {
        return text.into();
    }
    Bytes::copy_from_slice(json.as_bytes())
}

/// Encodes a header value (section 3.1.3.2): spaces, double quotes, percent signs and everything
/// that is not printable ASCII.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' | b'"' | b'%' | 0..=0x20 | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

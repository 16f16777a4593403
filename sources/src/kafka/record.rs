//! A record as an event.
//!
//! A record that is a CloudEvent by the Kafka binding, in either mode, stays the event that it is.
//! Every other becomes one of Knative's type [`TYPE`], so that nothing in a topic is passed over:
//!
//! | attribute | of the record |
//! |---|---|
//! | `id` | `partition:P/offset:O` |
//! | `source` | `/apis/v1/namespaces/NS/kafkasources/NAME#TOPIC` |
//! | `subject` | `partition:P#O` |
//! | `time` | its timestamp |
//! | `key`, `partitionkey` | its key, read as the source's label says |
//! | `datacontenttype` | its header `content-type` |
//! | `kafkaheader...` | each other header, its name cut down to letters and digits in lower case |
//!
//! What no attribute may be (control characters, bytes that are no text) goes in base64 where it is a
//! key, and is left out where it is a header.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heddle_broker::event::attributes::{check_name, check_value};
use heddle_broker::event::{AttributeValue, Event, EventBuilder, EventError};
use heddle_broker::log::kafka::read_record;
use jiff::Timestamp;
use rdkafka::message::{Header, Headers, Message};

/// The type of events made of records that are no CloudEvents.
pub const TYPE: &str = "dev.knative.kafka.event";
/// What the extensions made of headers begin with.
const HEADER: &str = "kafkaheader";
/// The header that is an attribute of its own.
const CONTENT_TYPE: &str = "content-type";
/// The most headers of one record that become extensions.
const MAX_HEADERS: usize = 128;

/// How keys of records are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// Text.
    #[default]
    String,
    /// A number of 4 bytes, the highest first; else text.
    Int,
    /// A number with a fraction, of 4 or 8 bytes; else text.
    Float,
    /// Bytes, written in base64.
    Bytes,
}

impl KeyType {
    /// The type that a label's value names; text where it names none.
    #[must_use]
    pub fn named(name: Option<&str>) -> Self {
        match name {
            Some("int") => Self::Int,
            Some("float") => Self::Float,
            Some("byte-array") => Self::Bytes,
            _ => Self::String,
        }
    }

    /// The key as an attribute. `None` for an empty one, which is no key.
    fn read(self, key: &[u8]) -> Option<AttributeValue<'_>> {
        if key.is_empty() {
            return None;
        }
        let four = || key.try_into().ok();
        let eight = || key.try_into().ok();
        let number = match self {
            Self::Int => four().map(|bytes| i32::from_be_bytes(bytes).into()),
            Self::Float => {
                let short = four().map(|bytes| f32::from_be_bytes(bytes).to_string());
                let long = || eight().map(|bytes| f64::from_be_bytes(bytes).to_string());
                short.or_else(long).map(AttributeValue::from)
            }
            Self::Bytes => Some(STANDARD.encode(key).into()),
            Self::String => None,
        };
        let text = || {
            let text = std::str::from_utf8(key).ok()?;
            check_value("key", text).is_ok().then(|| text.into())
        };
        number
            .or_else(text)
            .or_else(|| Some(STANDARD.encode(key).into()))
    }
}

/// Makes events of the records of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// What `source` is, without the topic.
    pub base: Arc<str>,
    /// How keys are read.
    pub key_type: KeyType,
    /// Attributes that are set on each event.
    pub overrides: Arc<[(String, String)]>,
}

impl Reader {
    /// The reader of a source without overrides.
    #[must_use]
    pub fn new(namespace: &str, name: &str, key_type: KeyType) -> Self {
        Self {
            base: format!("/apis/v1/namespaces/{namespace}/kafkasources/{name}").into(),
            key_type,
            overrides: Arc::default(),
        }
    }

    /// What `source` is for records of a topic that are no CloudEvents.
    #[must_use]
    pub fn source(&self, topic: &str) -> String {
        format!("{}#{topic}", self.base)
    }

    /// The event that a record is, or becomes, and when the record was written.
    ///
    /// # Errors
    ///
    /// When no event can be made of it, which no record of Kafka's own shape brings about.
    pub fn event<M: Message>(&self, record: &M) -> Result<(Event, Timestamp), EventError> {
        let written = record.timestamp().to_millis();
        let written = written
            .and_then(|millis| Timestamp::from_millisecond(millis).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let event = read_record(record).map(|(event, _)| event);
        let event = event.or_else(|_| self.wrap(record, written))?;
        Ok((self.overridden(event), written))
    }

    fn overridden(&self, event: Event) -> Event {
        if self.overrides.is_empty() {
            return event;
        }
        let overrides = self.overrides.iter();
        let changes: Vec<_> = overrides
            .map(|(name, value)| (name.as_str(), AttributeValue::from(value.as_str())))
            .collect();
        // An event that has no room for them matters more than they do.
        event.with(&changes).unwrap_or(event)
    }

    fn wrap<M: Message>(&self, record: &M, written: Timestamp) -> Result<Event, EventError> {
        let key = record.key().and_then(|key| self.key_type.read(key));
        let mut content_type = None;
        let mut extensions: Vec<(String, &str)> = Vec::new();
        let headers = record.headers().into_iter().flat_map(Headers::iter);
        for Header { key, value } in headers.take(MAX_HEADERS) {
            let Ok(text) = std::str::from_utf8(value.unwrap_or_default()) else {
                continue;
            };
            if key.eq_ignore_ascii_case(CONTENT_TYPE) {
                let fits = check_value("datacontenttype", text).is_ok();
                content_type = fits.then(|| text.to_lowercase());
                continue;
            }
            let name = extension(key);
            if check_name(&name).is_ok() && check_value(&name, text).is_ok() {
                extensions.push((name, text));
            }
        }
        let built = |whole: bool| {
            let mut event = self.bare(record, written);
            if whole && let Some(key) = &key {
                event = event.attribute("partitionkey", key.clone());
                event = event.attribute("key", key.clone());
            }
            for (name, text) in extensions.iter().filter(|_| whole) {
                event = event.attribute(name.as_str(), *text);
            }
            if let Some(data) = record.payload() {
                event = match &content_type {
                    Some(content_type) => event.data(content_type, data),
                    None => event.untyped_data(data),
                };
            }
            event.build()
        };
        // Keys may be longer than an attribute; the event then has its data all the same.
        built(true).or_else(|_| built(false))
    }

    /// The attributes that every record has.
    fn bare<'r, M: Message>(&self, record: &'r M, written: Timestamp) -> EventBuilder<'r> {
        let (partition, offset) = (record.partition(), record.offset());
        EventBuilder::new(
            format!("partition:{partition}/offset:{offset}"),
            self.source(record.topic()),
            TYPE,
        )
        .attribute("subject", format!("partition:{partition}#{offset}"))
        .attribute("time", written.to_string())
    }
}

/// The name of the extension that a header becomes.
fn extension(header: &str) -> String {
    let kept = header
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    HEADER.chars().chain(kept).collect()
}

#[cfg(test)]
mod tests;

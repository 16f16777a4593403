//! Conversions from and to `cloudevents::Event`, for code that understands or makes events with
//! the CloudEvents SDK. The path of an event through the broker does not come here: the SDK's
//! event parses data and normalises attributes.
//!
//! To the SDK: timestamps become UTC, JSON data becomes a value (long numbers, key order and
//! duplicate keys are lost), `dataschema` must be an absolute URI. From the SDK: JSON data is
//! written compactly.

use base64::Engine as _;
use cloudevents::event::{AttributeValue as SdkAttribute, ExtensionValue};
use cloudevents::{AttributesReader as _, AttributesWriter as _, Data};
use cloudevents::{EventBuilder as _, EventBuilderV03, EventBuilderV10};

use super::attributes::{self, EventError, Rule};
use super::builder::{AttributeValue, EventBuilder};
use super::json;
use super::packed::{AttributeKind, DataForm, Event, SpecVersion};

/// An event cannot be told in the other model.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// An attribute is not valid here.
    #[error(transparent)]
    Attribute(#[from] EventError),
    /// The SDK does not take the event.
    #[error("the CloudEvents SDK does not take the event: {0}")]
    Sdk(String),
}

impl TryFrom<&Event> for cloudevents::Event {
    type Error = ConvertError;

    fn try_from(event: &Event) -> Result<Self, ConvertError> {
        let mut made = match event.spec_version() {
            SpecVersion::V1 => EventBuilderV10::new()
                .id(event.id())
                .source(event.source())
                .ty(event.ty())
                .build(),
            SpecVersion::V03 => EventBuilderV03::new()
                .id(event.id())
                .source(event.source())
                .ty(event.ty())
                .build(),
        }
        .map_err(sdk)?;
        let mut schema = None;
        for attribute in event.attributes().skip(3) {
            let text = attribute.text;
            match attribute.name {
                "subject" => {
                    made.set_subject(Some(text));
                }
                "time" => {
                    let time = cloudevents::event::TryIntoTime::into_time(text).map_err(sdk)?;
                    made.set_time(Some(time));
                }
                "datacontenttype" => {}
                "dataschema" | "schemaurl" => {
                    let url = cloudevents::event::TryIntoUrl::into_url(text).map_err(sdk)?;
                    schema = Some(url);
                }
                name => made.set_extension(name, extension(attribute.kind, text)),
            }
        }
        if let Some(schema) = schema {
            made.set_dataschema(Some(schema));
        }
        let content_type = event
            .attribute("datacontenttype")
            .map(|attribute| attribute.text);
        if let Some(content_type) = content_type {
            made.set_datacontenttype(Some(content_type));
        }
        if let Some(data) = data(event, content_type) {
            made.set_data_unchecked(data);
        }
        Ok(made)
    }
}

fn sdk(error: impl std::fmt::Display) -> ConvertError {
    ConvertError::Sdk(error.to_string())
}

fn extension(kind: AttributeKind, text: &str) -> ExtensionValue {
    match (kind, text.parse::<i64>()) {
        (AttributeKind::Integer, Ok(number)) => ExtensionValue::Integer(number),
        (AttributeKind::Boolean, _) => ExtensionValue::Boolean(text == "true"),
        (AttributeKind::Integer | AttributeKind::String, _) => ExtensionValue::from_string(text),
    }
}

fn data(event: &Event, content_type: Option<&str>) -> Option<Data> {
    let bytes = json::data_bytes(event);
    match event.data_form() {
        DataForm::None => None,
        DataForm::Base64 => Some(Data::Binary(bytes.into())),
        DataForm::Json | DataForm::Bytes => {
            if content_type.is_none_or(attributes::is_json)
                && let Ok(value) = serde_json::from_slice(&bytes)
            {
                return Some(Data::Json(value));
            }
            let is_string = event.data_form() == DataForm::Json
                || content_type.is_some_and(attributes::is_text);
            Some(match String::from_utf8(bytes.into()) {
                Ok(text) if is_string => Data::String(text),
                Ok(text) => Data::Binary(text.into_bytes()),
                Err(error) => Data::Binary(error.into_bytes()),
            })
        }
    }
}

impl TryFrom<&cloudevents::Event> for Event {
    type Error = ConvertError;

    fn try_from(event: &cloudevents::Event) -> Result<Self, ConvertError> {
        let mut builder = EventBuilder::new(event.id(), event.source().as_str(), event.ty())
            .version(match event.specversion() {
                cloudevents::event::SpecVersion::V03 => SpecVersion::V03,
                cloudevents::event::SpecVersion::V10 => SpecVersion::V1,
            });
        for (name, value) in event.iter() {
            if matches!(name, "specversion" | "id" | "source" | "type") {
                continue;
            }
            builder = builder.attribute(name, attribute(name, &value)?);
        }
        let built = match event.data() {
            None => builder,
            Some(Data::Json(value)) => {
                builder.raw_data(DataForm::Json, value.to_string().into_bytes().into())
            }
            // A string is JSON text where the content type says JSON, and text otherwise.
            Some(Data::String(text)) => builder.raw_data(DataForm::Bytes, text.as_bytes().into()),
            Some(Data::Binary(bytes)) => builder.raw_data(DataForm::Base64, bytes.into()),
        };
        Ok(built.build()?)
    }
}

fn attribute<'a>(
    name: &str,
    value: &SdkAttribute<'a>,
) -> Result<AttributeValue<'static>, EventError> {
    Ok(match value {
        SdkAttribute::Boolean(flag) => AttributeValue::Boolean(**flag),
        SdkAttribute::Integer(number) => AttributeValue::Integer(
            i32::try_from(**number).map_err(|_| EventError::new(name, Rule::Integer32))?,
        ),
        SdkAttribute::Binary(bytes) => base64::engine::general_purpose::STANDARD
            .encode(bytes)
            .into(),
        SdkAttribute::String(text) => (*text).to_owned().into(),
        SdkAttribute::URI(url) => url.as_str().to_owned().into(),
        SdkAttribute::URIRef(text) => (*text).clone().into(),
        // `Z` rather than an offset, as most producers write it.
        SdkAttribute::Time(time) => {
            let text = time.to_rfc3339();
            match text.strip_suffix("+00:00") {
                Some(utc) => format!("{utc}Z").into(),
                None => text.into(),
            }
        }
        SdkAttribute::SpecVersion(version) => version.to_string().into(),
    })
}

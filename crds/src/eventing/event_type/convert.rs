//! From one version of EventType to another, and back without loss.
//!
//! | `v1beta1`, `v1beta2` | `v1beta3` |
//! |---|---|
//! | `type`, `source` | the attributes of these names |
//! | `schema` | the attribute `schemadata`, which is Knative's name for it |
//! | `broker`, where there is no `reference` | `reference` to that Broker |
//! | nothing | `specversion` and `id`, which every event has and `v1beta3` demands |
//!
//! What one form says and the other cannot is carried along in an annotation and put back from it:
//! [`ATTRIBUTES`] while an object has the older form, [`OLDER`] while it has the newer one. Where
//! somebody has changed a field meanwhile, the field counts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::v1beta3::{self, EventAttribute};
use super::{EventTypeSpec, broker_named};
use crate::annotations::Annotations;
use crate::duck::KReference;

/// Annotation of an object in an older form: the attributes of the newer form, as JSON, where
/// the older fields alone would give others.
pub const ATTRIBUTES: &str = "eventing.heddle.dev/attributes";
/// Annotation of an object in the newer form: the older fields that it has no place for, as JSON.
pub const OLDER: &str = "eventing.heddle.dev/v1beta2";

const TYPE: &str = "type";
const SOURCE: &str = "source";
const SCHEMA: &str = "schemadata";

/// What only the older form can say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Older {
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_data: Option<String>,
    /// The reference was made of `broker`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    by_broker: bool,
}

/// Turns an EventType of one version into one of another, but for its `apiVersion`.
///
/// # Errors
///
/// What is wrong with an object whose spec or annotations have no such form at all.
pub fn convert(object: &mut Value, from: &str, to: &str) -> Result<(), String> {
    match (from == "v1beta3", to == "v1beta3") {
        (false, true) => between(object, to_v1beta3),
        (true, false) => between(object, to_v1beta2),
        (true, true) | (false, false) => Ok(()),
    }
}

fn between<A, B>(object: &mut Value, convert: fn(A, &mut Annotations) -> B) -> Result<(), String>
where
    A: serde::de::DeserializeOwned + Default,
    B: Serialize,
{
    let Some(fields) = object.as_object_mut() else {
        return Err("expected an object".to_owned());
    };
    let spec = match fields.get("spec") {
        None | Some(Value::Null) => A::default(),
        Some(spec) => A::deserialize(spec).map_err(|error| format!("spec: {error}"))?,
    };
    let metadata = fields.get("metadata").and_then(Value::as_object);
    let mut annotations = match metadata.and_then(|metadata| metadata.get("annotations")) {
        None | Some(Value::Null) => Annotations::new(),
        Some(found) => Annotations::deserialize(found)
            .map_err(|error| format!("metadata.annotations: {error}"))?,
    };
    let before = annotations.clone();
    let spec = convert(spec, &mut annotations);
    let spec = serde_json::to_value(spec).map_err(|error| format!("spec: {error}"))?;
    fields.insert("spec".to_owned(), spec);
    if annotations != before
        && let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut)
    {
        if annotations.is_empty() {
            metadata.remove("annotations");
        } else {
            metadata.insert("annotations".to_owned(), Value::from_iter(annotations));
        }
    }
    Ok(())
}

/// The newer form of a spec.
#[must_use]
pub fn to_v1beta3(spec: EventTypeSpec, annotations: &mut Annotations) -> v1beta3::EventTypeSpec {
    let attributes = match take(annotations, ATTRIBUTES) {
        Some(kept) => merged(kept, &spec),
        None => derived(&spec),
    };
    let EventTypeSpec {
        type_: _,
        source: _,
        schema: _,
        schema_data,
        broker,
        reference,
        description,
    } = spec;
    let named = broker.as_deref().filter(|name| !name.is_empty());
    let by_broker = reference.is_none() && named.is_some();
    let reference = reference.or_else(|| named.map(broker_named));
    let older = Older {
        broker,
        schema_data,
        by_broker,
    };
    put(
        annotations,
        OLDER,
        (older != Older::default()).then_some(&older),
    );
    v1beta3::EventTypeSpec {
        reference,
        description,
        attributes,
    }
}

/// The older form of a spec.
#[must_use]
pub fn to_v1beta2(spec: v1beta3::EventTypeSpec, annotations: &mut Annotations) -> EventTypeSpec {
    let v1beta3::EventTypeSpec {
        reference,
        description,
        attributes,
    } = spec;
    let value = |name| value(&attributes, name).map(str::to_owned);
    let older: Older = take(annotations, OLDER).unwrap_or_default();
    let same_broker = older.by_broker && is_broker(reference.as_ref(), older.broker.as_deref());
    let spec = EventTypeSpec {
        type_: value(TYPE).unwrap_or_default(),
        source: value(SOURCE),
        schema: value(SCHEMA),
        schema_data: older.schema_data,
        // The Broker goes with the reference that stood for it.
        broker: older.broker.filter(|_| same_broker || !older.by_broker),
        reference: reference.filter(|_| !same_broker),
        description,
    };
    let more = (derived(&spec) != attributes).then_some(&attributes);
    put(annotations, ATTRIBUTES, more);
    spec
}

/// Whether a reference is the one that the field `broker` stands for, in whatever namespace the
/// object is.
fn is_broker(reference: Option<&KReference>, broker: Option<&str>) -> bool {
    let (Some(reference), Some(broker)) = (reference, broker) else {
        return false;
    };
    let mut expected = broker_named(broker);
    expected.namespace.clone_from(&reference.namespace);
    *reference == expected
}

/// The attributes that the older fields stand for.
fn derived(spec: &EventTypeSpec) -> Vec<EventAttribute> {
    let schema = spec.schema.as_deref().filter(|text| !text.is_empty());
    let source = spec.source.as_deref().filter(|text| !text.is_empty());
    let mut attributes = vec![EventAttribute::new(TYPE, true, Some(&spec.type_))];
    attributes.extend(schema.map(|schema| EventAttribute::new(SCHEMA, false, Some(schema))));
    attributes.extend([
        EventAttribute::new(SOURCE, true, source),
        EventAttribute::new("specversion", true, None),
        EventAttribute::new("id", true, None),
    ]);
    attributes
}

/// The attributes that were kept, with what the older fields say now.
fn merged(mut kept: Vec<EventAttribute>, spec: &EventTypeSpec) -> Vec<EventAttribute> {
    let fields = [
        (TYPE, Some(spec.type_.as_str())),
        (SCHEMA, spec.schema.as_deref()),
        (SOURCE, spec.source.as_deref()),
    ];
    for (name, now) in fields {
        let now = now.filter(|text| !text.is_empty());
        let before = value(&kept, name);
        if before == now {
            continue;
        }
        match kept.iter_mut().find(|one| one.name == name) {
            Some(_) if name == SCHEMA && now.is_none() => kept.retain(|one| one.name != name),
            Some(attribute) => attribute.value = now.map(str::to_owned),
            None => kept.push(EventAttribute::new(name, name != SCHEMA, now)),
        }
    }
    kept
}

/// The value of an attribute, where it has one.
fn value<'a>(attributes: &'a [EventAttribute], name: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|one| one.name == name)?;
    attribute.value.as_deref().filter(|text| !text.is_empty())
}

fn take<T: serde::de::DeserializeOwned>(annotations: &mut Annotations, name: &str) -> Option<T> {
    serde_json::from_str(&annotations.remove(name)?).ok()
}

/// Sets an annotation, or removes it where there is no value.
fn put<T: Serialize>(annotations: &mut Annotations, name: &str, value: Option<&T>) {
    annotations.remove(name);
    // What was made of JSON can be written as JSON.
    if let Some(text) = value.and_then(|value| serde_json::to_string(value).ok()) {
        annotations.insert(name.to_owned(), text);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

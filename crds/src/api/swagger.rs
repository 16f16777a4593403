//! OpenAPI v2, which `kubectl` up to 1.26 and some libraries read, in JSON and in the protobuf
//! that such a `kubectl` insists on.
//!
//! It is made of the same schemas as v3 ([`super::openapi`]). What v2 does not have is left out
//! (`nullable`, `oneOf`, `anyOf`, `not`), so that it lets more pass than the server does.

use serde_json::{Map, Value, json};

use super::openapi::{OBJECT_META, add_envelope, group_path, object_meta, schema_name};
use super::registry::Registry;
use crate::resource::ResourceKind;

/// The media type of the protobuf form, as clients ask for it: once with a character that no
/// media type may have, and in later versions without it.
pub(crate) const ASKED: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    MEDIA_TYPE,
];
/// The media type as it is answered: some clients refuse what is not a media type.
pub(crate) const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const GVK: &str = "x-kubernetes-group-version-kind";
/// What of a schema is told.
const KEPT: [&str; 17] = [
    "description",
    "type",
    "format",
    "properties",
    "items",
    "additionalProperties",
    "required",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "default",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-patch-merge-key",
];

fn gvk(kind: &ResourceKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// `/openapi/v2`.
pub(crate) fn document(registry: &Registry) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for kind in registry.kinds() {
        let namespace = if kind.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let path = format!("/{}/{namespace}{}/{{name}}", group_path(kind), kind.plural);
        let dry_run = json!({
            "name": "dryRun", "in": "query", "type": "string", "uniqueItems": true,
            "description": "All, to change nothing",
        });
        paths.insert(
            path,
            json!({"patch": {
                "operationId": format!("patch{}", kind.kind),
                "consumes": ["application/json-patch+json", "application/merge-patch+json"],
                "produces": ["application/json"],
                "parameters": [dry_run],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": "patch",
                GVK: gvk(kind),
            }}),
        );
        definitions.insert(schema_name(kind), definition(kind));
    }
    definitions.insert(OBJECT_META.to_owned(), convert(&object_meta()));
    json!({
        "swagger": "2.0",
        "info": {"title": "Heddle", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "definitions": definitions,
    })
}

fn definition(kind: &ResourceKind) -> Value {
    let mut schema = convert(&kind.schema.document());
    // Beside a reference v2 knows no other word, so that the field is not described.
    let metadata = format!("#/definitions/{OBJECT_META}");
    add_envelope(&mut schema, json!({"$ref": metadata}));
    schema[GVK] = json!([gvk(kind)]);
    schema
}

/// What v2 can say of a schema.
fn convert(schema: &Value) -> Value {
    let Some(map) = schema.as_object() else {
        return json!({});
    };
    // What may be null has no type in v2 that null would fit.
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true || schema["nullable"] == true;
    let mut out = Map::new();
    for (name, value) in map {
        if !KEPT.contains(&name.as_str()) {
            continue;
        }
        let value = match name.as_str() {
            "type" | "properties" | "items" | "additionalProperties" if open => continue,
            "type" if schema["x-kubernetes-int-or-string"] == true => continue,
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                let fields = fields.map(|(name, value)| (name.clone(), convert(value)));
                Value::Object(fields.collect())
            }
            "items" => convert(value),
            "additionalProperties" if value.is_object() => convert(value),
            _ => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    Value::Object(out)
}

/// The document in protobuf (`openapi.v2.Document` of gnostic).
pub(crate) fn protobuf(document: &Value) -> Vec<u8> {
    let info = [
        text(1, &document["info"]["title"]),
        text(2, &document["info"]["version"]),
    ];
    let paths = entries(&document["paths"]).map(|(name, path)| {
        let value = message(8, &operation(&path["patch"]));
        message(2, &[plain(1, name), message(2, &value)].concat())
    });
    let definitions = entries(&document["definitions"])
        .map(|(name, schema)| message(1, &[plain(1, name), message(2, &encode(schema))].concat()));
    [
        text(1, &document["swagger"]),
        message(2, &info.concat()),
        message(8, &paths.collect::<Vec<_>>().concat()),
        message(9, &definitions.collect::<Vec<_>>().concat()),
    ]
    .concat()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn operation(operation: &Value) -> Vec<u8> {
    let mut out = text(5, &operation["operationId"]);
    for parameter in items(&operation["parameters"]) {
        let query = [
            text(2, &parameter["in"]),
            text(3, &parameter["description"]),
            text(4, &parameter["name"]),
            text(6, &parameter["type"]),
        ];
        let wrapped = message(1, &message(2, &message(3, &query.concat())));
        out.extend(message(8, &wrapped));
    }
    out.extend(extensions(13, operation));
    out
}

fn encode(schema: &Value) -> Vec<u8> {
    let mut out = text(1, &schema["$ref"]);
    out.extend(text(2, &schema["format"]));
    out.extend(text(4, &schema["description"]));
    for name in items(&schema["required"]) {
        out.extend(text(19, name));
    }
    match &schema["additionalProperties"] {
        Value::Null => {}
        Value::Bool(all) => out.extend(message(21, &number(2, u64::from(*all)))),
        inner => out.extend(message(21, &message(1, &encode(inner)))),
    }
    if schema["type"].is_string() {
        out.extend(message(22, &text(1, &schema["type"])));
    }
    if schema["items"].is_object() {
        out.extend(message(23, &message(1, &encode(&schema["items"]))));
    }
    if schema["properties"].is_object() {
        let fields = entries(&schema["properties"]).map(|(name, schema)| {
            message(1, &[plain(1, name), message(2, &encode(schema))].concat())
        });
        out.extend(message(25, &fields.collect::<Vec<_>>().concat()));
    }
    out.extend(extensions(31, schema));
    out
}

/// The extensions of an object, as YAML, of which JSON is a part.
fn extensions(field: u64, of: &Value) -> Vec<u8> {
    let extensions = entries(of).filter(|(name, _)| name.starts_with("x-"));
    let extensions = extensions.map(|(name, value)| {
        let any = plain(2, &value.to_string());
        message(field, &[plain(1, name), message(2, &any)].concat())
    });
    extensions.collect::<Vec<_>>().concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return out;
        }
        out.push(low | 0x80);
    }
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn message(field: u64, content: &[u8]) -> Vec<u8> {
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let mut out = varint(field << 3 | 2);
    out.extend(varint(length));
    out.extend_from_slice(content);
    out
}

fn plain(field: u64, content: &str) -> Vec<u8> {
    message(field, content.as_bytes())
}

/// A text, if it is one.
fn text(field: u64, value: &Value) -> Vec<u8> {
    value
        .as_str()
        .map_or_else(Vec::new, |text| plain(field, text))
}

//! `metadata`: its shape, its names, and the parts of it that only the server writes.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::object::{FOREGROUND, ORPHAN};
use super::{names, rules};
use crate::resource::{FieldError, KindSchema, ResourceKind};

/// What `metadata` may hold.
pub(crate) static SCHEMA: LazyLock<KindSchema> =
    LazyLock::new(|| KindSchema::built_in("apis.meta.v1.ObjectMeta"));

/// Namespaces that exist from the start.
pub(crate) const FIRST_NAMESPACES: [&str; 3] = ["default", "knative-eventing", "kube-system"];
/// Namespaces that may not be deleted.
pub(crate) const KEPT_NAMESPACES: [&str; 2] = ["default", "kube-system"];

/// Finalizers that Kubernetes itself knows; others name the domain that they are of.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", FOREGROUND, ORPHAN];

/// Bytes of all annotations of an object.
pub(crate) const MAX_ANNOTATIONS: usize = 256 * 1024;
/// Fields that only the server writes.
const SERVER_FIELDS: [&str; 5] = [
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];
/// Fields of old or foreign bookkeeping, which are not kept.
const DROPPED_FIELDS: [&str; 2] = ["managedFields", "selfLink"];

fn wrong(field: impl Into<String>, reason: &'static str, message: impl Into<String>) -> FieldError {
    FieldError {
        field: field.into(),
        message: message.into(),
        reason,
    }
}

/// Checks the JSON types of the metadata, so that everything after may rely on them.
pub(crate) fn shape(kind: &ResourceKind, body: &Value) -> Result<(), ApiError> {
    let fail = |field: &str, want: &str| {
        Err(ApiError::bad_request(format!(
            "{0} in version \"{1}\" cannot be handled as a {0}: metadata{field} must be {want}",
            kind.kind, kind.version
        )))
    };
    let metadata = match body.get("metadata") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(map)) => map,
        Some(_) => return fail("", "an object"),
    };
    let absent = |field: &str| metadata.get(field).is_none_or(Value::is_null);
    for field in [
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
    ] {
        if !absent(field) && !metadata[field].is_string() {
            return fail(&format!(".{field}"), "a string");
        }
    }
    for field in ["creationTimestamp", "deletionTimestamp"] {
        let time = metadata.get(field).and_then(Value::as_str);
        if !absent(field) && time.is_none_or(|text| text.parse::<Timestamp>().is_err()) {
            return fail(&format!(".{field}"), "a time like 2026-01-31T12:00:00Z");
        }
    }
    for field in ["labels", "annotations"] {
        let map = metadata.get(field).and_then(Value::as_object);
        if !absent(field) && !map.is_some_and(|m| m.values().all(Value::is_string)) {
            return fail(&format!(".{field}"), "a map of strings to strings");
        }
    }
    let items = |field: &str| metadata.get(field).and_then(Value::as_array);
    if !absent("finalizers")
        && !items("finalizers").is_some_and(|all| all.iter().all(Value::is_string))
    {
        return fail(".finalizers", "a list of strings");
    }
    if !absent("ownerReferences")
        && !items("ownerReferences").is_some_and(|all| all.iter().all(Value::is_object))
    {
        return fail(".ownerReferences", "a list of objects");
    }
    if !absent("managedFields")
        && !items("managedFields").is_some_and(|all| all.iter().all(Value::is_object))
    {
        return fail(".managedFields", "a list of objects");
    }
    Ok(())
}

/// The paths of fields that no metadata has, at most `most`.
pub(crate) fn unknown(body: &Value, most: usize) -> Vec<String> {
    SCHEMA.unknown_at(&body["metadata"], "metadata", most)
}

/// Runs `change` on the metadata, which is made an object first if it is none.
fn edit<T>(body: &mut Value, change: impl FnOnce(&mut Map<String, Value>) -> T) -> T {
    let mut map = match body["metadata"].take() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let result = change(&mut map);
    body["metadata"] = Value::Object(map);
    result
}

/// Checks the namespace of the body against that of the request, and writes it.
pub(crate) fn namespace(body: &mut Value, namespace: &str) -> Result<(), ApiError> {
    let given = body["metadata"]["namespace"].as_str().unwrap_or_default();
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    edit(body, |map| {
        if namespace.is_empty() {
            map.remove("namespace");
        } else {
            map.insert("namespace".to_owned(), json!(namespace));
        }
    });
    Ok(())
}

/// The name of a new object, made from `generateName` where there is none.
pub(crate) fn name(kind: &ResourceKind, body: &mut Value) -> Result<String, ApiError> {
    let text = |field: &str| {
        body["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (mut name, prefix) = (text("name"), text("generateName"));
    if name.is_empty() && !prefix.is_empty() {
        // Kubernetes cuts the prefix so that the name stays within 63 characters.
        name = prefix.chars().take(58).collect::<String>() + &names::random_suffix();
    }
    let error = if name.is_empty() {
        Some(wrong(
            "metadata.name",
            "FieldValueRequired",
            "name or generateName is required",
        ))
    } else {
        let labels = ["namespaces", "services"];
        let is_label = kind.group.is_empty() && labels.contains(&kind.plural.as_str());
        let rights = kind.group == "rbac.authorization.k8s.io";
        let valid = if rights {
            names::path_segment(&name)
        } else if is_label {
            names::dns_label(&name)
        } else {
            names::subdomain(&name)
        };
        valid.err().map(|why| {
            wrong(
                "metadata.name",
                "FieldValueInvalid",
                format!("{}: {why}", json!(name)),
            )
        })
    };
    if let Some(error) = error {
        return Err(ApiError::invalid(kind, &name, &[error]));
    }
    edit(body, |map| map.insert("name".to_owned(), json!(name)));
    Ok(name)
}

/// Writes the server's fields, and takes out those that are not in `fields` and those that no
/// metadata has.
pub(crate) fn stamp(body: &mut Value, fields: &[(&str, Value)]) {
    SCHEMA.prune_part(&mut body["metadata"]);
    edit(body, |map| {
        for field in SERVER_FIELDS
            .iter()
            .chain(&DROPPED_FIELDS)
            .chain(&["resourceVersion"])
        {
            map.remove(*field);
        }
        // Empty collections and none at all are the same to every client.
        map.retain(|_, value| {
            !(value.is_null()
                || value.as_object().is_some_and(Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty))
        });
        for (field, value) in fields {
            if !value.is_null() {
                map.insert((*field).to_owned(), value.clone());
            }
        }
    });
}

/// The server's fields as they are, to be kept over an update.
pub(crate) fn kept(before: &Value) -> Vec<(&'static str, Value)> {
    let metadata = &before["metadata"];
    ["name"]
        .iter()
        .chain(&SERVER_FIELDS)
        .map(|field| (*field, metadata[*field].clone()))
        .collect()
}

/// What a Namespace has from the start.
pub(crate) fn new_namespace(body: &mut Value, name: &str) {
    body["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
    body["spec"] = json!({"finalizers": ["kubernetes"]});
    body["status"] = json!({"phase": "Active"});
}

/// Keeps the finalizers of a Namespace's spec, which are written through `/finalize` alone.
pub(crate) fn keep_namespace(body: &mut Value, before: &Value) {
    let finalizers = before["spec"].get("finalizers");
    if finalizers.is_some() && body["spec"].is_null() {
        body["spec"] = json!({});
    }
    let Some(spec) = body["spec"].as_object_mut() else {
        return;
    };
    match finalizers {
        Some(finalizers) => spec.insert("finalizers".to_owned(), finalizers.clone()),
        None => spec.remove("finalizers"),
    };
}

/// The finalizers of an object.
pub(crate) fn finalizers(body: &Value) -> Vec<&str> {
    body["metadata"]["finalizers"]
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// Refuses finalizers that are added to an object that is being deleted.
pub(crate) fn no_new_finalizers(
    kind: &ResourceKind,
    name: &str,
    before: &Value,
    after: &Value,
) -> Result<(), ApiError> {
    if !before["metadata"]["deletionTimestamp"].is_string() {
        return Ok(());
    }
    let old = finalizers(before);
    let new: Vec<&str> = finalizers(after)
        .into_iter()
        .filter(|f| !old.contains(f))
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let quoted: Vec<String> = new.iter().map(|f| format!("{f:?}")).collect();
    let message = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers \
         []string{{{}}}",
        quoted.join(", ")
    );
    let error = wrong("metadata.finalizers", "FieldValueForbidden", message);
    Err(ApiError::invalid(kind, name, &[error]))
}

/// Everything that is wrong with labels, annotations, finalizers and owners.
pub(crate) fn validate(kind: &ResourceKind, body: &Value) -> Vec<FieldError> {
    let metadata = &body["metadata"];
    let mut errors = Vec::new();
    let invalid = |field: String, value: &str, why: String| {
        wrong(
            field,
            "FieldValueInvalid",
            format!("{}: {why}", json!(value)),
        )
    };
    let pairs = |field: &str| metadata[field].as_object().into_iter().flatten();
    for (key, value) in pairs("labels") {
        let value = value.as_str().unwrap_or_default();
        if let Err(why) = names::label_key(key) {
            errors.push(invalid("metadata.labels".to_owned(), key, why));
        }
        if let Err(why) = names::label_value(value) {
            errors.push(invalid("metadata.labels".to_owned(), value, why));
        }
    }
    let mut bytes = 0;
    for (key, value) in pairs("annotations") {
        // Keys of annotations are compared in lower case.
        if let Err(why) = names::label_key(&key.to_lowercase()) {
            errors.push(invalid("metadata.annotations".to_owned(), key, why));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > MAX_ANNOTATIONS {
        errors.push(wrong(
            "metadata.annotations",
            "FieldValueTooLong",
            format!("may not be more than {MAX_ANNOTATIONS} bytes"),
        ));
    }
    for (at, name) in finalizers(body).into_iter().enumerate() {
        if let Err(why) = names::label_key(name) {
            errors.push(invalid("metadata.finalizers".to_owned(), name, why));
        } else if rules::is_built_in(kind)
            && kind.group != "apiextensions.k8s.io"
            && !name.contains('/')
            && !STANDARD_FINALIZERS.contains(&name)
        {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            let field = format!("metadata.finalizers[{at}]");
            errors.push(invalid(field, name, why.to_owned()));
        }
    }
    owners(metadata, &mut errors);
    errors
}

fn owners(metadata: &Value, errors: &mut Vec<FieldError>) {
    let references = metadata["ownerReferences"].as_array();
    for reference in references.into_iter().flatten() {
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if reference[field].as_str().unwrap_or_default().is_empty() {
                // Kubernetes does not say which of them it is.
                let field = format!("metadata.ownerReferences.{field}");
                errors.push(wrong(field, "FieldValueInvalid", format!("\"\": {why}")));
            }
        }
    }
    let events = references.into_iter().flatten();
    for _ in events.filter(|r| r["apiVersion"] == "v1" && r["kind"] == "Event") {
        errors.push(wrong(
            "metadata.ownerReferences",
            "FieldValueInvalid",
            "/v1, Kind=Event is disallowed from being an owner",
        ));
    }
    let controllers = references
        .into_iter()
        .flatten()
        .filter(|r| r["controller"] == true)
        .count();
    if controllers > 1 {
        errors.push(wrong(
            "metadata.ownerReferences",
            "FieldValueInvalid",
            "Only one reference can have Controller set to true",
        ));
    }
}

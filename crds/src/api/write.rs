//! Create, update and patch: what a write makes of an object before it is stored.
//!
//! The server alone writes identity (`uid`, `creationTimestamp`), versions (`resourceVersion`,
//! `generation`) and deletion (`deletionTimestamp`); what a client sends there is a precondition
//! or is ignored, as Kubernetes does.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::deletion::uid_conflict;
use super::error::ApiError;
use super::managed::Managed;
use super::metadata;
use super::object::{Key, Object};
use super::owners::{self, By, Part};
use super::registry::{KindId, api_version};
use super::store::Transaction;
use super::{patch, rules, version};
use crate::resource::{FieldError, ResourceKind};

/// Bytes of one object's JSON.
pub(crate) const MAX_OBJECT: usize = 3 * 1024 * 1024;

/// Why a write that continues from an old version is refused.
pub(crate) const CONFLICT: &str = "the object has been modified; please apply your changes to the latest \
    version and try again";

/// Creates an object in a namespace, which is empty for cluster-scoped kinds.
pub(crate) fn create(
    transaction: &mut Transaction<'_>,
    kind_id: KindId,
    namespace: &str,
    by: &str,
    body: Value,
) -> Result<Arc<Object>, ApiError> {
    create_by(transaction, kind_id, namespace, By::Update(by), body)
}

pub(crate) fn create_by(
    transaction: &mut Transaction<'_>,
    kind_id: KindId,
    namespace: &str,
    by: By<'_>,
    mut body: Value,
) -> Result<Arc<Object>, ApiError> {
    let kind = transaction.kind(kind_id)?;
    if let Some(why) = transaction.registry().closed(kind_id) {
        return Err(ApiError::closed(why));
    }
    envelope(&kind, &mut body)?;
    metadata::shape(&kind, &body)?;
    if body["metadata"]["resourceVersion"]
        .as_str()
        .is_some_and(|v| !v.is_empty() && v != "0")
    {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    metadata::namespace(&mut body, namespace)?;
    let name = metadata::name(&kind, &mut body)?;
    room_for(transaction, &kind, namespace, &name)?;
    let key = Key::new(namespace, &name);
    let born = [
        ("uid", json!(uuid::Uuid::new_v4().to_string())),
        ("creationTimestamp", json!(transaction.time())),
        (
            "generation",
            if rules::has_generation(&kind) {
                json!(1)
            } else {
                Value::Null
            },
        ),
    ];
    let managed = Managed::of_update(&body["metadata"]["managedFields"], &Value::Null);
    metadata::stamp(&mut body, &born);
    if kind.status_subresource {
        remove_field(&mut body, "status");
    }
    if kind_id == transaction.registry().namespaces() {
        metadata::new_namespace(&mut body, &name);
    }
    admit(transaction, &kind, &mut body, None)?;
    metadata::stamp(&mut body, &born);
    check(&kind, &name, &body)?;
    // The name is looked at last: an object that is invalid and exists already is invalid.
    if transaction.get(kind_id, &key).is_some() {
        return Err(ApiError::already_exists(&kind, &name));
    }
    owners::own(
        transaction,
        &kind,
        None,
        &mut body,
        Part::Itself,
        (by, managed),
    )?;
    transaction.put(kind_id, body)
}

/// Replaces an object, or its status alone. Tells also whether that made it.
pub(crate) fn update(
    transaction: &mut Transaction<'_>,
    kind_id: KindId,
    key: &Key,
    part: Part,
    by: &str,
    mut body: Value,
) -> Result<(Arc<Object>, bool), ApiError> {
    let kind = transaction.kind(kind_id)?;
    envelope(&kind, &mut body)?;
    identity(&kind, key, &mut body)?;
    let Some(old) = transaction.get(kind_id, key) else {
        if part != Part::Itself || !rules::created_by_update(&kind) {
            return Err(ApiError::not_found(&kind, &key.name));
        }
        return create(transaction, kind_id, &key.namespace, by, body).map(|made| (made, true));
    };
    let unconditional = body["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .is_empty();
    if unconditional && !rules::updated_unconditionally(&kind) {
        return Err(ApiError::invalid(
            &kind,
            &key.name,
            &[FieldError {
                field: "metadata.resourceVersion".to_owned(),
                message: "0: must be specified for an update".to_owned(),
                reason: "FieldValueInvalid",
            }],
        ));
    }
    replace(transaction, kind_id, &old, part, By::Update(by), body).map(|object| (object, false))
}

/// Checks that an object is the one that the request names.
pub(crate) fn identity(kind: &ResourceKind, key: &Key, body: &mut Value) -> Result<(), ApiError> {
    metadata::shape(kind, body)?;
    metadata::namespace(body, &key.namespace)?;
    let name = body["metadata"]["name"].as_str().unwrap_or_default();
    if name == key.name {
        return Ok(());
    }
    Err(ApiError::bad_request(if name.is_empty() {
        format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            key.name
        )
    } else {
        format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            key.name
        )
    }))
}

/// Stores `body` in place of `old`.
pub(crate) fn replace(
    transaction: &mut Transaction<'_>,
    kind_id: KindId,
    old: &Arc<Object>,
    part: Part,
    by: By<'_>,
    mut body: Value,
) -> Result<Arc<Object>, ApiError> {
    let kind = transaction.kind(kind_id)?;
    let status = part == Part::Status;
    let name = old.name();
    let uid = body["metadata"]["uid"].as_str().unwrap_or_default();
    if !uid.is_empty() && uid != old.uid() {
        return Err(uid_conflict(&kind, old, uid));
    }
    let expected = body["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    if !expected.is_empty() && expected != old.version().to_string() {
        return Err(ApiError::conflict(&kind, name, CONFLICT));
    }
    let before = version::value(&kind, old)?;
    let kept = metadata::kept(&before);
    let owners = &before["metadata"]["managedFields"];
    let managed = if status {
        Managed::of_update(owners, owners)
    } else {
        Managed::of_update(&body["metadata"]["managedFields"], owners)
    };
    if status {
        let status = body.get("status").cloned();
        body = before.clone();
        put_field(&mut body, "status", status);
    } else {
        metadata::stamp(&mut body, &kept);
        if kind.status_subresource {
            put_field(&mut body, "status", before.get("status").cloned());
        }
        if kind_id == transaction.registry().namespaces() {
            metadata::keep_namespace(&mut body, &before);
        }
        metadata::no_new_finalizers(&kind, name, &before, &body)?;
        admit(transaction, &kind, &mut body, Some(&before))?;
        metadata::stamp(&mut body, &kept);
    }
    check(&kind, name, &body)?;
    if !status && rules::has_generation(&kind) && spec_changed(&kind, &before, &body) {
        let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
        body["metadata"]["generation"] = json!(generation + 1);
    }
    body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    owners::own(
        transaction,
        &kind,
        Some(&before),
        &mut body,
        part,
        (by, managed),
    )?;
    let released = old.terminating() && metadata::finalizers(&body).is_empty();
    if released && kind_id != transaction.registry().namespaces() {
        return transaction.remove_as(kind_id, old, body);
    }
    // Nothing changed, so there is no new version and nobody is told.
    if body == before {
        return Ok(Arc::clone(old));
    }
    transaction.put(kind_id, body)
}

/// Whether anything but metadata and status differs.
fn spec_changed(kind: &ResourceKind, before: &Value, after: &Value) -> bool {
    let counted = |value: &Value| -> Map<String, Value> {
        let mut map = value.as_object().cloned().unwrap_or_default();
        map.remove("metadata");
        if kind.status_subresource {
            map.remove("status");
        }
        map
    };
    counted(before) != counted(after)
}

fn put_field(value: &mut Value, field: &str, content: Option<Value>) {
    match content {
        Some(content) => value[field] = content,
        None => remove_field(value, field),
    }
}

/// Takes a field out of an object, where it is one and has it.
pub(crate) fn remove_field(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}

/// Checks `apiVersion` and `kind`. Objects of kinds of Kubernetes itself may leave them out.
pub(crate) fn envelope(kind: &ResourceKind, body: &mut Value) -> Result<(), ApiError> {
    let expected = api_version(kind);
    let Some(map) = body.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the body of the request is not a {} but another kind of JSON value: send an object",
            kind.kind
        )));
    };
    for (field, title, want) in [
        ("kind", "Kind", kind.kind.as_str()),
        ("apiVersion", "apiVersion", &expected),
    ] {
        match map
            .get(field)
            .and_then(Value::as_str)
            .filter(|v| !v.is_empty())
        {
            None if rules::is_built_in(kind) => {
                map.insert(field.to_owned(), json!(want));
            }
            None => {
                return Err(ApiError::bad_request(format!(
                    "Object '{title}' is missing in the body of the request; expected {want:?}"
                )));
            }
            Some(found) if found == want => {}
            Some(found) if field == "apiVersion" => {
                return Err(ApiError::bad_request(format!(
                    "the API version in the data ({found}) does not match the expected API \
                     version ({want})"
                )));
            }
            Some(found) => {
                return Err(ApiError::bad_request(format!(
                    "the kind in the data ({found}) does not match the expected kind ({want})"
                )));
            }
        }
    }
    Ok(())
}

/// Refuses to create in a namespace that is not there or that is going away.
fn room_for(
    transaction: &Transaction<'_>,
    kind: &ResourceKind,
    namespace: &str,
    name: &str,
) -> Result<(), ApiError> {
    if !kind.namespaced {
        return Ok(());
    }
    let namespaces = transaction.registry().namespaces();
    let found = transaction
        .get(namespaces, &Key::new("", namespace))
        .ok_or_else(|| ApiError::not_found_as("namespaces", "", namespace))?;
    if found.terminating() {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        return Err(ApiError::forbidden(kind, name, &why));
    }
    Ok(())
}

fn admit(
    transaction: &Transaction<'_>,
    kind: &ResourceKind,
    body: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let name = body["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    kind.admission
        .default(body, old, transaction)
        .map_err(|errors| ApiError::invalid(kind, &name, &errors))?;
    let errors = kind.admission.validate(body, old, transaction);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(kind, &name, &errors))
    }
}

/// The refusal of an object that nests too deep.
pub(crate) fn too_deep() -> ApiError {
    ApiError::bad_request(format!(
        "the object nests deeper than {} levels",
        patch::MAX_DEPTH
    ))
}

/// The checks that hold for every object that is stored.
fn check(kind: &ResourceKind, name: &str, body: &Value) -> Result<(), ApiError> {
    if patch::deeper_than(body, patch::MAX_DEPTH) {
        return Err(too_deep());
    }
    metadata::shape(kind, body)?;
    let mut errors = metadata::validate(kind, body);
    if body
        .get("status")
        .is_some_and(|s| !s.is_object() && !s.is_null())
    {
        errors.push(FieldError {
            field: "status".to_owned(),
            message: "must be an object".to_owned(),
            reason: "FieldValueTypeInvalid",
        });
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(kind, name, &errors));
    }
    if patch::size(body) > MAX_OBJECT {
        return Err(ApiError::too_large(MAX_OBJECT));
    }
    Ok(())
}

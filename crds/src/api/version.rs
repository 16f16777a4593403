//! One stored object, read in any served version of its kind.
//!
//! Laws: what memory holds is in the storage version and has its defaults ([`settle`]), so that
//! reading it there changes nothing; reading it in another version converts a copy. Conversion
//! changes nothing of the metadata but annotations.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::error::ApiError;
use super::object::Object;
use super::registry::api_version;
use crate::resource::ResourceKind;

/// Orders `v2` over `v1` over `v1beta2` over `v1alpha1`.
pub(crate) fn stability(version: &str) -> (u8, u32, u32) {
    let number = |text: &str| text.parse().unwrap_or(0);
    let rest = version.strip_prefix('v').unwrap_or_default();
    for (word, rank) in [("beta", 1), ("alpha", 0)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return (rank, number(major), number(minor));
        }
    }
    (2, number(rest), 0)
}

/// Makes an object of any version one of `kind`'s version.
pub(crate) fn convert(kind: &ResourceKind, object: &mut Value) -> Result<(), ApiError> {
    let wanted = api_version(kind);
    let found = object["apiVersion"].as_str().unwrap_or_default();
    if found == wanted {
        return Ok(());
    }
    let from = found.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(convert) = kind.conversion {
        convert(object, &from, &kind.version).map_err(|why| {
            ApiError::internal(format!(
                "an object of kind {} in version {from} cannot be converted to version {}: {why}",
                kind.kind, kind.version
            ))
        })?;
    }
    object["apiVersion"] = wanted.into();
    Ok(())
}

fn is_current(kind: &ResourceKind, object: &Object) -> bool {
    let found = object.api_version();
    match found.rsplit_once('/') {
        Some((group, version)) => group == kind.group && version == kind.version,
        None => kind.group.is_empty() && found == kind.version,
    }
}

/// The JSON of an object in the version of `kind`, to be changed.
pub(crate) fn value(kind: &ResourceKind, object: &Object) -> Result<Value, ApiError> {
    let mut value = object.value();
    if !is_current(kind, object) {
        convert(kind, &mut value)?;
        kind.admission.read(&mut value);
    }
    Ok(value)
}

/// The JSON of an object in the version of `kind`, for people and clients. One that cannot be
/// converted is shown as it is stored, since lists have no place for an error.
pub(crate) fn shown(kind: &ResourceKind, object: &Object) -> Value {
    value(kind, object).unwrap_or_else(|error| {
        tracing::warn!(
            kind = kind.kind, version = kind.version,
            namespace = object.namespace(), name = object.name(), %error,
            "an object is shown in another version than was asked for"
        );
        object.value()
    })
}

/// [`shown`] as bytes, which are only put together where the object is stored in that version.
pub(crate) fn bytes(kind: &ResourceKind, object: &Object) -> Bytes {
    if is_current(kind, object) {
        object.json().bytes()
    } else {
        Bytes::from(shown(kind, object).to_string())
    }
}

/// Writes [`bytes()`].
pub(crate) fn write(kind: &ResourceKind, object: &Object, out: &mut BytesMut) {
    if is_current(kind, object) {
        object.json().write(out);
    } else {
        out.put_slice(shown(kind, object).to_string().as_bytes());
    }
}

/// An object as memory holds it. `kind` is the version in which the kind is stored. One that cannot
/// be converted is kept as it is and reported.
pub(crate) fn settled(kind: &ResourceKind, mut object: Value) -> Value {
    if object["apiVersion"] != api_version(kind) {
        let before = object.clone();
        if let Err(error) = convert(kind, &mut object) {
            let metadata = &before["metadata"];
            tracing::warn!(
                kind = kind.kind,
                namespace = metadata["namespace"].as_str().unwrap_or_default(),
                name = metadata["name"].as_str().unwrap_or_default(),
                %error,
                "a stored object does not fit its kind any more and is left as it is"
            );
            return before;
        }
    }
    kind.admission.read(&mut object);
    object
}

/// [`settled`] for an object that memory holds already.
pub(crate) fn settle(kind: &ResourceKind, object: &Arc<Object>) -> Arc<Object> {
    let settled = Object::from_value(&settled(kind, object.value()));
    settled.map_or_else(
        |error| {
            tracing::warn!(
                kind = kind.kind, namespace = object.namespace(), name = object.name(), %error,
                "a stored object does not fit its kind any more and is left as it is"
            );
            Arc::clone(object)
        },
        Arc::new,
    )
}

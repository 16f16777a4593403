//! Deletion: what a client may demand of it, and what it makes of an object.
//!
//! An object without finalizers goes at once. One with finalizers is marked and waits for them.
//! Two finalizers are the server's own: `orphan` is taken off once no dependent names the object
//! as its owner any more, `foregroundDeletion` once no dependent is left that blocks it; the
//! store's garbage collector does both.

use std::sync::Arc;

use serde_json::{Value, json};

use super::error::ApiError;
use super::object::{FOREGROUND, Key, ORPHAN, Object};
use super::registry::KindId;
use super::route::Query;
use super::store::Transaction;
use super::{definitions, metadata};
use crate::resource::{FieldError, ResourceKind};

/// What becomes of the dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They go after the object.
    Background,
    /// They go before the object.
    Foreground,
    /// They stay, and have one owner less.
    Orphan,
}

/// What a deletion demands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The identity that the object must have.
    pub(crate) uid: Option<String>,
    /// The version that the object must have.
    pub(crate) version: Option<String>,
    /// What becomes of the dependents, if that was said.
    pub(crate) propagation: Option<Propagation>,
    /// Whether nothing is to be kept.
    pub(crate) dry_run: bool,
}

/// What became of an object that was to be deleted.
#[derive(Clone, Debug)]
pub(crate) enum Deleted {
    /// It is gone; this was its last state.
    Gone(Arc<Object>),
    /// It waits for its finalizers.
    Waiting(Arc<Object>),
}

fn invalid(field: &str, message: String, reason: &'static str) -> ApiError {
    let error = FieldError {
        field: field.to_owned(),
        message,
        reason,
    };
    ApiError::invalid_options("DeleteOptions", &[error])
}

fn wrong(field: &str, want: &str) -> ApiError {
    ApiError::bad_request(format!("DeleteOptions: {field} must be {want}"))
}

impl Options {
    /// Reads the options from the body, or from the query where there is no body.
    pub(crate) fn read(body: Option<&Value>, query: &Query) -> Result<Self, ApiError> {
        let given = match body {
            Some(Value::Object(map)) => Value::Object(map.clone()),
            Some(_) => {
                return Err(ApiError::bad_request(
                    "the body of the request is not a DeleteOptions object",
                ));
            }
            None => json!({
                "propagationPolicy": query.get("propagationPolicy"),
                "orphanDependents": query.flag("orphanDependents")?,
                "gracePeriodSeconds": query.signed("gracePeriodSeconds")?,
                "dryRun": query.get("dryRun").map(|value| vec![value]),
            }),
        };
        let text = |value: &Value, field: &str| match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(wrong(field, "a string")),
        };
        if let Some(kind) = text(&given["kind"], "kind")?
            && kind != "DeleteOptions"
        {
            return Err(ApiError::bad_request(format!(
                "the body of the request is a {kind}, but a DeleteOptions is expected"
            )));
        }
        let seconds = &given["gracePeriodSeconds"];
        if !seconds.is_null() && !seconds.is_i64() {
            return Err(wrong("gracePeriodSeconds", "a whole number"));
        }
        let preconditions = &given["preconditions"];
        if !preconditions.is_null() && !preconditions.is_object() {
            return Err(wrong("preconditions", "an object"));
        }
        Ok(Self {
            uid: text(&preconditions["uid"], "preconditions.uid")?,
            version: text(
                &preconditions["resourceVersion"],
                "preconditions.resourceVersion",
            )?,
            propagation: propagation(&given)?,
            dry_run: dry_run(&given["dryRun"])?,
        })
    }

    /// Whether the object is the one that is meant.
    fn admit(&self, kind: &ResourceKind, object: &Object) -> Result<(), ApiError> {
        if let Some(uid) = &self.uid
            && uid != object.uid()
        {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The \
                 object might have been deleted and then recreated",
                object.uid()
            );
            return Err(ApiError::unmet(kind, object.name(), &why));
        }
        if let Some(version) = &self.version
            && *version != object.version().to_string()
        {
            let why = format!(
                "the ResourceVersion in the precondition ({version}) does not match the \
                 ResourceVersion in record ({}). The object might have been modified",
                object.version()
            );
            return Err(ApiError::unmet(kind, object.name(), &why));
        }
        Ok(())
    }
}

/// The refusal of a call that means another object of the same name.
pub(crate) fn uid_conflict(kind: &ResourceKind, object: &Object, uid: &str) -> ApiError {
    let why = format!(
        "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
        object.uid()
    );
    ApiError::conflict(kind, object.name(), &why)
}

fn propagation(given: &Value) -> Result<Option<Propagation>, ApiError> {
    let field = "propagationPolicy";
    let policy = match &given[field] {
        Value::Null => None,
        Value::String(text) => Some(match text.as_str() {
            "Background" => Propagation::Background,
            "Foreground" => Propagation::Foreground,
            "Orphan" => Propagation::Orphan,
            _ => {
                let message = format!(
                    "Unsupported value: {text:?}: supported values: \"Foreground\", \
                     \"Background\", \"Orphan\", \"nil\""
                );
                return Err(invalid(field, message, "FieldValueNotSupported"));
            }
        }),
        _ => return Err(wrong(field, "a string")),
    };
    let orphan = match &given["orphanDependents"] {
        Value::Null => None,
        Value::Bool(true) => Some(Propagation::Orphan),
        Value::Bool(false) => Some(Propagation::Background),
        _ => return Err(wrong("orphanDependents", "true or false")),
    };
    if policy.is_some() && orphan.is_some() {
        let message = format!(
            "{}: orphanDependents and deletionPropagation cannot be both set",
            given[field]
        );
        return Err(invalid(field, message, "FieldValueInvalid"));
    }
    Ok(policy.or(orphan))
}

fn dry_run(given: &Value) -> Result<bool, ApiError> {
    let Some(values) = given.as_array() else {
        return if given.is_null() {
            Ok(false)
        } else {
            Err(wrong("dryRun", "a list of strings"))
        };
    };
    match values.iter().find(|value| *value != "All") {
        None => Ok(!values.is_empty()),
        Some(other) => {
            let message = format!("Unsupported value: {other}: supported values: \"All\"");
            Err(invalid("dryRun", message, "FieldValueNotSupported"))
        }
    }
}

/// Deletes an object, or marks it as being deleted where it has finalizers.
pub(crate) fn delete(
    transaction: &mut Transaction<'_>,
    kind_id: KindId,
    key: &Key,
    options: &Options,
) -> Result<Deleted, ApiError> {
    let kind = transaction.kind(kind_id)?;
    let old = transaction
        .get(kind_id, key)
        .ok_or_else(|| ApiError::not_found(&kind, &key.name))?;
    options.admit(&kind, &old)?;
    let is_namespace = kind_id == transaction.registry().namespaces();
    if is_namespace && metadata::KEPT_NAMESPACES.contains(&key.name.as_str()) {
        let why = "this namespace may not be deleted";
        return Err(ApiError::forbidden(&kind, &key.name, why));
    }
    if definitions::is_own(transaction.registry(), kind_id, &key.name) {
        let why = "this kind is part of heddle: its definition is built in and may not be deleted";
        return Err(ApiError::forbidden(&kind, &key.name, why));
    }
    let mut value = old.value();
    let before = finalizers(&value);
    let after = with_propagation(&before, options.propagation);
    if after.is_empty() && !is_namespace {
        if before.is_empty() {
            return Ok(Deleted::Gone(transaction.remove(kind_id, key)?));
        }
        set_finalizers(&mut value, &after);
        return Ok(Deleted::Gone(transaction.remove_as(kind_id, &old, value)?));
    }
    if old.terminating() && before == after {
        return Ok(Deleted::Waiting(old));
    }
    set_finalizers(&mut value, &after);
    if !old.terminating() {
        mark(&mut value, &transaction.time());
        if is_namespace {
            value["status"]["phase"] = json!("Terminating");
        }
    }
    Ok(Deleted::Waiting(transaction.put(kind_id, value)?))
}

/// Marks an object as being deleted.
fn mark(value: &mut Value, time: &str) {
    let metadata = &mut value["metadata"];
    metadata["deletionTimestamp"] = json!(time);
    metadata["deletionGracePeriodSeconds"] = json!(0);
    if let Some(generation) = metadata["generation"].as_i64() {
        metadata["generation"] = json!(generation + 1);
    }
}

/// The finalizers with which an object is deleted: what was said last of the dependents counts.
fn with_propagation(before: &[String], propagation: Option<Propagation>) -> Vec<String> {
    let Some(propagation) = propagation else {
        return before.to_vec();
    };
    let mut after: Vec<String> = before
        .iter()
        .filter(|name| *name != FOREGROUND && *name != ORPHAN)
        .cloned()
        .collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => after.push(FOREGROUND.to_owned()),
        Propagation::Orphan => after.push(ORPHAN.to_owned()),
    }
    after
}

/// Takes a finalizer off an object that is being deleted; the last one lets it go.
pub(crate) fn release(
    transaction: &mut Transaction<'_>,
    kind: KindId,
    old: &Arc<Object>,
    finalizer: &str,
) -> Result<(), ApiError> {
    let mut value = old.value();
    let mut left = finalizers(&value);
    left.retain(|name| name != finalizer);
    set_finalizers(&mut value, &left);
    if left.is_empty() && kind != transaction.registry().namespaces() {
        transaction.remove_as(kind, old, value).map(drop)
    } else {
        transaction.put(kind, value).map(drop)
    }
}

fn finalizers(value: &Value) -> Vec<String> {
    metadata::finalizers(value)
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn set_finalizers(value: &mut Value, finalizers: &[String]) {
    let metadata = value["metadata"].as_object_mut();
    if finalizers.is_empty() {
        metadata.map(|map| map.remove("finalizers"));
    } else {
        metadata.map(|map| map.insert("finalizers".to_owned(), json!(finalizers)));
    }
}

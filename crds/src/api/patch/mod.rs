//! Patches: JSON patch, JSON merge patch, strategic merge patch, and server-side apply.
//!
//! The first three change a copy of the stored object, which then goes the way of every update.
//! An apply can also make the object.

mod json;
mod strategic;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use self::json::{MAX_DEPTH, PatchError, deeper_than, merge, size};

use super::error::{ApiError, Cause};
use super::managed::{self, Conflict, Managed, Operation, Refused, Request, Views};
use super::object::{Key, Object};
use super::openapi::{FieldValidation, strict};
use super::owners::{By, Part};
use super::registry::{KindId, api_version};
use super::store::Transaction;
use super::types::Type;
use super::write::{self, CONFLICT};
use super::{metadata, owners, version};
use crate::resource::{FieldError, ResourceKind};

/// A patch.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    /// A JSON merge patch.
    Merge(Value),
    /// A JSON patch.
    Json(Value),
    /// A strategic merge patch, for kinds whose schema says how lists are merged.
    Strategic(Value),
    /// All that the applier wants.
    Apply {
        /// The object as the applier wants it.
        config: Value,
        /// Whether to take over what others own with other values.
        force: bool,
    },
}

/// A patch with what the client says beside it.
#[derive(Clone, Debug)]
pub(crate) struct Patching {
    /// The patch.
    pub(crate) patch: Patch,
    /// The name of the client.
    pub(crate) by: String,
    /// What to do with fields that are not known or were given twice.
    pub(crate) validation: FieldValidation,
    /// The fields that were given twice, in words.
    pub(crate) mistakes: Vec<String>,
}

/// What a patch led to.
#[derive(Clone, Debug)]
pub(crate) struct Patched {
    /// The object.
    pub(crate) object: Arc<Object>,
    /// Whether the patch made it.
    pub(crate) created: bool,
    /// What the client is warned of.
    pub(crate) warnings: Vec<String>,
}

/// Bytes of an object that a refusal shows.
const MAX_SHOWN: usize = 4 * 1024;

/// Patches an object, or its status alone. Through its scale nothing is patched but by an apply
/// that states the object's number of replicas.
pub(crate) fn patch(
    transaction: &mut Transaction<'_>,
    kind_id: KindId,
    key: &Key,
    part: Part,
    patching: Patching,
) -> Result<Patched, ApiError> {
    let Patching {
        patch,
        by,
        validation,
        mistakes,
    } = patching;
    let kind = transaction.kind(kind_id)?;
    let old = transaction.get(kind_id, key);
    let outcome = match (patch, &old) {
        (Patch::Apply { config, force }, old) => {
            let warnings = validation.judge(mistakes)?;
            let config = (config, force);
            let object = apply(transaction, kind_id, key, old.as_ref(), part, &by, config)?;
            return Ok(Patched {
                object,
                created: old.is_none(),
                warnings,
            });
        }
        (_, None) => return Err(ApiError::not_found(&kind, &key.name)),
        (patch, Some(old)) => {
            let mut body = version::value(&kind, old)?;
            patched(&kind, &mut body, patch).map(|()| (old, body))
        }
    };
    let (old, mut body) = outcome.map_err(refused)?;
    readable(&kind, &key.name, &mut body)?;
    let warnings = validation.named(&kind, &body, mistakes);
    if validation == FieldValidation::Strict && !warnings.is_empty() {
        return Err(unreadable(&body, &strict(&warnings)));
    }
    write::identity(&kind, key, &mut body)?;
    same_uid(&kind, old, &body)?;
    let object = write::replace(transaction, kind_id, old, part, By::Update(&by), body)?;
    Ok(Patched {
        object,
        created: false,
        warnings,
    })
}

/// What a patch makes of an object must be one, and of the same kind.
fn readable(kind: &ResourceKind, name: &str, body: &mut Value) -> Result<(), ApiError> {
    let version = api_version(kind);
    for (field, want) in [("kind", kind.kind.as_str()), ("apiVersion", &version)] {
        let found = body[field].as_str().unwrap_or_default();
        if !found.is_empty() && found != want {
            let error = FieldError {
                field: field.to_owned(),
                message: format!("{}: must be {want}", Value::from(found)),
                reason: "FieldValueInvalid",
            };
            return Err(ApiError::invalid(kind, name, &[error]));
        }
    }
    write::envelope(kind, body)
        .and_then(|()| metadata::shape(kind, body))
        .map_err(|error| unreadable(body, &error.message))
}

/// Refuses a patch that names another identity than the object has. What a PUT names is a
/// precondition instead.
fn same_uid(kind: &ResourceKind, old: &Object, body: &Value) -> Result<(), ApiError> {
    let uid = body["metadata"]["uid"].as_str().unwrap_or_default();
    if uid.is_empty() || uid == old.uid() {
        return Ok(());
    }
    let error = FieldError {
        field: "metadata.uid".to_owned(),
        message: format!("{}: field is immutable", Value::from(uid)),
        reason: "FieldValueInvalid",
    };
    Err(ApiError::invalid(kind, old.name(), &[error]))
}

/// Changes a value as a patch says that is not an apply.
pub(crate) fn change(kind: &ResourceKind, body: &mut Value, patch: Patch) -> Result<(), ApiError> {
    patched(kind, body, patch).map_err(refused)
}

fn refused(error: PatchError) -> ApiError {
    match error {
        PatchError::Malformed(why) => ApiError::bad_request(format!("error decoding patch: {why}")),
        PatchError::Inapplicable(why) => ApiError::patch_failed(&why),
        PatchError::TooMuch(why) => ApiError::too_much(why),
    }
}

fn patched(kind: &ResourceKind, body: &mut Value, patch: Patch) -> Result<(), PatchError> {
    match patch {
        Patch::Merge(patch) if !patch.is_object() => {
            let why = "a JSON merge patch is an object: send an object";
            Err(PatchError::Malformed(why.to_owned()))
        }
        Patch::Merge(patch) => {
            merge(body, patch);
            Ok(())
        }
        Patch::Json(patch) => json::apply(body, &patch),
        Patch::Strategic(patch) => strategic::merge(Type::Object(&kind.schema), body, patch),
        // An apply needs no object, so it goes another way.
        Patch::Apply { .. } => Ok(()),
    }
}

/// The refusal of what a patch would make of an object.
fn unreadable(body: &Value, why: &str) -> ApiError {
    let mut shown = body.to_string();
    if let Some((end, _)) = shown.char_indices().find(|(at, _)| *at >= MAX_SHOWN) {
        shown.truncate(end);
        shown.push_str("...");
    }
    let error = FieldError {
        field: "patch".to_owned(),
        message: format!("{}: {why}", Value::String(shown)),
        reason: "FieldValueInvalid",
    };
    ApiError::invalid_of("", "", &[error])
}

fn apply(
    transaction: &mut Transaction<'_>,
    kind_id: KindId,
    key: &Key,
    old: Option<&Arc<Object>>,
    part: Part,
    by: &str,
    (mut config, force): (Value, bool),
) -> Result<Arc<Object>, ApiError> {
    let kind = transaction.kind(kind_id)?;
    for field in ["apiVersion", "kind"] {
        // Elsewhere the path may say it alone. What is applied says of which version it speaks.
        if config.is_object() && config[field].as_str().unwrap_or_default().is_empty() {
            let why = format!("what is applied has no {field}: add {field} to it");
            return Err(ApiError::bad_request(why));
        }
    }
    write::envelope(&kind, &mut config)?;
    if deeper_than(&config, MAX_DEPTH) {
        return Err(write::too_deep());
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let before = old.map(|old| version::value(&kind, old)).transpose()?;
    let writer = owners::writer(&kind, by, Operation::Apply, part);
    let now = transaction.time();
    let request = Request {
        views: Views::new(&kind, transaction.registry().kinds()),
        by: &writer,
        scope: owners::scope(&kind, part),
        force,
        now: &now,
    };
    let stored = before
        .as_ref()
        .map(|before| &before["metadata"]["managedFields"]);
    let managed = Managed::decode(stored.unwrap_or(&Value::Null)).unwrap_or_default();
    let (mut object, managed) = managed::apply(&request, before.as_ref(), &config, managed)
        .map_err(|refused| refusal(&kind, key, refused))?;
    write::identity(&kind, key, &mut object)?;
    let by = By::Apply(managed);
    match old {
        Some(old) => {
            same_uid(&kind, old, &object)?;
            write::replace(transaction, kind_id, old, part, by, object)
        }
        None if part != Part::Itself => Err(ApiError::not_found(&kind, &key.name)),
        None => {
            nothing_to_match(&kind, key, &object)?;
            write::create_by(transaction, kind_id, &key.namespace, by, object)
        }
    }
}

/// Refuses to make an object that was to be one that is there.
fn nothing_to_match(kind: &ResourceKind, key: &Key, object: &Value) -> Result<(), ApiError> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let (uid, version) = (text("uid"), text("resourceVersion"));
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was \
             found"
        );
        return Err(ApiError::conflict(kind, &key.name, &why));
    }
    if !version.is_empty() && version != "0" {
        return Err(ApiError::conflict(kind, &key.name, CONFLICT));
    }
    Ok(())
}

fn refusal(kind: &ResourceKind, key: &Key, refused: Refused) -> ApiError {
    match refused {
        Refused::Mistakes(mistakes) => {
            let lines: Vec<String> = mistakes
                .iter()
                .map(|(path, why)| format!("{path}: {why}"))
                .collect();
            let text = match lines.as_slice() {
                [one] => one.clone(),
                many => format!("errors:\n  {}", many.join("\n  ")),
            };
            ApiError::bad_request(format!(
                "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {text}",
                key.namespace, key.name, kind.group, kind.version, kind.kind
            ))
        }
        Refused::Conflicts(conflicts) => conflicted(&conflicts),
    }
}

fn conflicted(conflicts: &[Conflict]) -> ApiError {
    let causes = conflicts
        .iter()
        .map(|conflict| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", conflict.owner),
            field: managed::text(&conflict.path),
        })
        .collect();
    let text = match conflicts {
        [one] => format!(
            "1 conflict: conflict with {}: {}",
            one.owner,
            managed::text(&one.path)
        ),
        many => {
            let mut lines = Vec::new();
            let mut owner = None;
            for conflict in many {
                if owner != Some(&conflict.owner) {
                    lines.push(format!("conflicts with {}:", conflict.owner));
                    owner = Some(&conflict.owner);
                }
                lines.push(format!("- {}", managed::text(&conflict.path)));
            }
            format!("{} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    ApiError::apply_conflict(format!("Apply failed with {text}"), causes)
}

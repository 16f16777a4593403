//! The annotation in which `kubectl apply` without `--server-side` keeps what it applied.
//!
//! Whoever goes over to server-side apply with `kubectl` is to have no conflicts with himself: what
//! the annotation says and the object still has was his own. The annotation is kept true, so that
//! he can go back.

use serde_json::{Value, json};

use super::collect::fields_of;
use super::compare::compare;
use super::set::Set;
use crate::annotations::LAST_APPLIED;
use crate::api::metadata::MAX_ANNOTATIONS;
use crate::api::types::Type;

/// The name under which `kubectl` applies.
pub(crate) const KUBECTL: &str = "kubectl";

/// The fields that were applied without the server and that the object still has so.
pub(crate) fn applied(ty: Type<'_>, live: &Value, version: &str) -> Option<Set> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last["apiVersion"] != version {
        return None;
    }
    let mut fields = fields_of(ty, &last);
    let changes = compare(ty, &last, live);
    fields.subtract(&changes.written());
    fields.subtract(&changes.removed);
    Some(fields)
}

/// Brings the annotation up to date, where the object has it.
pub(crate) fn renew(object: &mut Value, config: &Value) {
    let annotations = object.pointer_mut("/metadata/annotations");
    let Some(annotations) = annotations.and_then(Value::as_object_mut).filter(|all| {
        let text = all.get(LAST_APPLIED).and_then(Value::as_str);
        text.is_some_and(|text| !text.is_empty())
    }) else {
        return;
    };
    let mut config = config.clone();
    let stated = config.pointer_mut("/metadata/annotations");
    if let Some(stated) = stated.and_then(Value::as_object_mut) {
        stated.remove(LAST_APPLIED);
    }
    annotations.insert(LAST_APPLIED.to_owned(), json!(format!("{config}\n")));
    let size: usize = annotations
        .iter()
        .map(|(name, text)| name.len() + text.as_str().map_or(0, str::len))
        .sum();
    if size > MAX_ANNOTATIONS {
        annotations.remove(LAST_APPLIED);
    }
}

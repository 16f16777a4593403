//! Parts of objects that are read and written on their own: the scale of a workload, and the
//! finalizers of a namespace. (`status` goes the way of every write.)

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::ApiError;
use super::format::Format;
use super::http::{ResponseBody, json_answer};
use super::object::{Key, Object};
use super::owners::Part;
use super::patch::{Patch, Patching, change, patch};
use super::registry::KindId;
use super::store::Transaction;
use super::store::namespace::is_free;
use super::table::{self, evaluate};
use super::{version, write};
use crate::resource::{FieldError, ResourceKind, Scale};

/// What is to become of a scale, and who says so.
enum Change {
    Replace { scale: Value, by: String },
    Patch(Patching),
}

impl Call<'_> {
    /// Gives the scale of an object.
    pub(crate) fn scale(
        &self,
        kind: KindId,
        key: &Key,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let object = self.api.store.get(kind, key)?;
        let kind = self.api.store.kind(kind)?;
        Ok(self.scaled(scale_of(&kind, &object)?))
    }

    /// The answer that shows a scale.
    fn scaled(&self, scale: Value) -> Response<ResponseBody> {
        let shown = match self.format {
            Format::Table { include } => table::scale(&scale, self.api.store.now(), include),
            Format::Full | Format::Metadata => scale,
        };
        json_answer(StatusCode::OK, shown.to_string().into())
    }

    /// Replaces or patches the scale of an object.
    pub(crate) async fn rescale(
        &self,
        kind: KindId,
        key: Key,
        patches: bool,
        body: bytes::Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let change = if patches {
            Change::Patch(self.patch_body(kind, &body)?)
        } else {
            Change::Replace {
                scale: self.json_body(&body)?.value,
                by: self.manager()?,
            }
        };
        let scale = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                rescale(t, kind, &key, change)
            })
            .await?;
        Ok(self.scaled(scale))
    }

    /// Replaces the finalizers in the spec of a namespace.
    pub(crate) async fn finalize(
        &self,
        name: String,
        body: bytes::Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let value = self.json_body(&body)?.value;
        let kind = self.api.store.registry().namespaces();
        let object = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                finalize(t, &name, &value)
            })
            .await?;
        self.one(StatusCode::OK, kind, &object)
    }
}

/// The place of numbers in objects of a kind.
fn places(kind: &ResourceKind) -> Result<&Scale, ApiError> {
    kind.scale.as_ref().ok_or_else(ApiError::no_such_resource)
}

fn scale_of(kind: &ResourceKind, object: &Object) -> Result<Value, ApiError> {
    let value = version::value(kind, object)?;
    let places = places(kind)?;
    let number = |path: &str| evaluate(&value, path).and_then(Value::as_i64).unwrap_or(0);
    let metadata = &value["metadata"];
    let mut kept = Map::new();
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if !metadata[field].is_null() {
            kept.insert(field.to_owned(), metadata[field].clone());
        }
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept,
        "spec": {"replicas": number(&places.spec_replicas)},
        "status": {"replicas": number(&places.status_replicas)},
    });
    let selector = places.label_selector.as_ref();
    if let Some(selector) = selector.and_then(|path| evaluate(&value, path)) {
        scale["status"]["selector"] = Value::from(selector_text(selector));
    }
    Ok(scale)
}

/// A selector as text, which it is already in most kinds of users.
fn selector_text(selector: &Value) -> String {
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> = labels
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let expressions = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    parts.extend(expressions.filter_map(|expression| {
        let name = expression["key"].as_str()?;
        let values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        Some(match expression["operator"].as_str()? {
            "In" => format!("{name} in ({})", values.join(",")),
            "NotIn" => format!("{name} notin ({})", values.join(",")),
            "Exists" => name.to_owned(),
            "DoesNotExist" => format!("!{name}"),
            _ => return None,
        })
    }));
    parts.join(",")
}

fn rescale(
    transaction: &mut Transaction<'_>,
    kind_id: KindId,
    key: &Key,
    wanted: Change,
) -> Result<Value, ApiError> {
    let kind = transaction.kind(kind_id)?;
    let places = places(&kind)?;
    let old = transaction
        .get(kind_id, key)
        .ok_or_else(|| ApiError::not_found(&kind, &key.name))?;
    let (after, by) = match wanted {
        Change::Replace { scale, by } => (scale, by),
        Change::Patch(mut patching) => {
            if let Patch::Apply { config, .. } = &mut patching.patch {
                *config = applied(&kind, places, key, config)?;
                let patched = patch(transaction, kind_id, key, Part::Scale, patching)?;
                return scale_of(&kind, &patched.object);
            }
            let mut scale = scale_of(&kind, &old)?;
            let patch = match patching.patch {
                // A scale has one field, and no lists to be merged.
                Patch::Strategic(patch) => Patch::Merge(patch),
                other => other,
            };
            change(&kind, &mut scale, patch)?;
            (scale, patching.by)
        }
    };
    let wanted = replicas(&after, key)?;
    let mut body = version::value(&kind, &old)?;
    put(&mut body, &places.spec_replicas, json!(wanted));
    let expected = &after["metadata"]["resourceVersion"];
    if expected.as_str().is_some_and(|text| !text.is_empty()) {
        body["metadata"]["resourceVersion"] = expected.clone();
    }
    let (object, _) = write::update(transaction, kind_id, key, Part::Scale, &by, body)?;
    scale_of(&kind, &object)
}

/// What an applied scale states of its object.
fn applied(
    kind: &ResourceKind,
    places: &Scale,
    key: &Key,
    scale: &Value,
) -> Result<Value, ApiError> {
    let mut config = json!({
        "apiVersion": super::registry::api_version(kind), "kind": kind.kind,
        "metadata": {"name": key.name},
    });
    let version = &scale["metadata"]["resourceVersion"];
    if !version.is_null() {
        config["metadata"]["resourceVersion"] = version.clone();
    }
    let wanted = replicas(scale, key)?;
    put(&mut config, &places.spec_replicas, json!(wanted));
    Ok(config)
}

/// The number that a scale wants.
fn replicas(scale: &Value, key: &Key) -> Result<i64, ApiError> {
    let found = &scale["kind"];
    if !found.is_null() && found != "Scale" {
        return Err(ApiError::bad_request(format!(
            "the kind in the data ({found}) does not match the expected kind (Scale)"
        )));
    }
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        value => value.as_i64().unwrap_or(-1),
    };
    if replicas >= 0 && i32::try_from(replicas).is_ok() {
        return Ok(replicas);
    }
    let error = FieldError {
        field: "spec.replicas".to_owned(),
        message: format!(
            "{}: must be greater than or equal to 0",
            scale["spec"]["replicas"]
        ),
        reason: "FieldValueInvalid",
    };
    Err(ApiError::invalid_of(
        "Scale.autoscaling",
        &key.name,
        &[error],
    ))
}

/// Writes a value at a path like `.spec.replicas`.
fn put(body: &mut Value, path: &str, value: Value) {
    let mut at = body;
    for field in path.split('.').filter(|field| !field.is_empty()) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[field];
    }
    *at = value;
}

/// Writes the finalizers of a namespace's spec; without any a namespace that is being deleted goes.
fn finalize(
    transaction: &mut Transaction<'_>,
    name: &str,
    given: &Value,
) -> Result<Arc<Object>, ApiError> {
    let kind_id = transaction.registry().namespaces();
    let kind = transaction.kind(kind_id)?;
    let old = transaction
        .get(kind_id, &Key::new("", name))
        .ok_or_else(|| ApiError::not_found(&kind, name))?;
    let named = given["metadata"]["name"].as_str().unwrap_or_default();
    if named != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({named}) does not match the name on the URL ({name})"
        )));
    }
    let expected = given["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    if !expected.is_empty() && expected != old.version().to_string() {
        return Err(ApiError::conflict(&kind, name, write::CONFLICT));
    }
    let finalizers = match &given["spec"]["finalizers"] {
        Value::Null => Vec::new(),
        Value::Array(all) if all.iter().all(Value::is_string) => all.clone(),
        _ => {
            return Err(ApiError::bad_request(
                "Namespace: spec.finalizers must be a list of strings",
            ));
        }
    };
    let mut value = old.value();
    value["spec"] = if finalizers.is_empty() {
        json!({})
    } else {
        json!({"finalizers": finalizers})
    };
    if old.terminating() && is_free(&value) {
        return transaction.remove_as(kind_id, &old, value);
    }
    transaction.put(kind_id, value)
}

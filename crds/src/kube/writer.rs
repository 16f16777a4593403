//! What controllers write: statuses and child objects, and only when something differs.
//!
//! Plans compare, so that a status that says nothing new costs no request: [`status_patch`] gives the
//! JSON merge patch from what is to what should be, or nothing. A patch names the version that it was
//! made for; one that comes too late is refused by the API and forgotten, because the newer version
//! wakes the controller up again.

use std::collections::HashMap;
use std::sync::LazyLock;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::diff::merge_patch;
use super::queue::Key;

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create an object of this kind.
    Create(&'static str, Box<DynamicObject>),
    /// Merge fields into the spec of the object, made from this version of it.
    Spec(Key, Option<String>, Value),
    /// Merge fields into the status of the object, made from this version of it.
    Status(Key, Option<String>, Value),
    /// Replace the finalizers of the object, made from this version of it.
    Finalizers(Key, Option<String>, Vec<String>),
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The API has it.
    Done,
    /// The object has changed meanwhile, or is gone; its watch brings the news.
    Superseded,
}

/// The JSON merge patch (RFC 7386) that turns the `current` status into the `desired` one, or `None`
/// where they are equal. The fields in `leave` belong to somebody else and are not touched.
#[must_use]
pub fn status_patch<C: Serialize, D: Serialize>(
    current: Option<&C>,
    desired: &D,
    leave: &[&str],
) -> Option<Value> {
    let fields = |value: Value| match value {
        Value::Object(mut fields) => {
            fields.retain(|name, _| !leave.contains(&name.as_str()));
            fields
        }
        _ => Map::new(),
    };
    let current = fields(serde_json::to_value(current).unwrap_or_default());
    let desired = fields(serde_json::to_value(desired).unwrap_or_default());
    merge_patch(&Value::Object(current), &Value::Object(desired))
}

/// Writes objects through the API.
#[derive(Clone)]
pub struct Writer {
    client: Client,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer that uses `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Carries out one write.
    pub async fn write(&self, write: &Write) -> Result<Written, kube::Error> {
        match write {
            Write::Create(kind, object) => self.create(kind, object).await,
            Write::Spec(key, version, patch) => {
                let patch = json!({ "metadata": { "resourceVersion": version }, "spec": patch });
                self.merge(key, &patch).await
            }
            Write::Finalizers(key, version, finalizers) => {
                let metadata = json!({ "resourceVersion": version, "finalizers": finalizers });
                self.merge(key, &json!({ "metadata": metadata })).await
            }
            Write::Status(key, version, patch) => self.status(key, version.as_deref(), patch).await,
        }
    }

    /// Applies a patch that [`status_patch`] made from the object's version `version`.
    async fn status(
        &self,
        key: &Key,
        version: Option<&str>,
        patch: &Value,
    ) -> Result<Written, kube::Error> {
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": patch });
        let written = self
            .api(key)
            .patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        outcome(written)
    }

    /// Merges fields into an object, but for its status.
    async fn merge(&self, key: &Key, patch: &Value) -> Result<Written, kube::Error> {
        let written = self
            .api(key)
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        outcome(written)
    }

    /// Creates an object. One that exists already is somebody else's work, and no error.
    async fn create(
        &self,
        kind: &'static str,
        object: &DynamicObject,
    ) -> Result<Written, kube::Error> {
        let key = Key::new(
            kind,
            &object.namespace().unwrap_or_default(),
            &object.name_any(),
        );
        outcome(self.api(&key).create(&PostParams::default(), object).await)
    }

    fn api(&self, key: &Key) -> Api<DynamicObject> {
        let resource = resource_of(key.kind);
        if key.namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &key.namespace, &resource)
        }
    }
}

fn outcome(written: Result<DynamicObject, kube::Error>) -> Result<Written, kube::Error> {
    match written {
        Ok(_) => Ok(Written::Done),
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
            Ok(Written::Superseded)
        }
        Err(error) => Err(error),
    }
}

/// Where the API serves a kind of ours, in the version that it stores; an unknown kind gets an address that nobody serves.
#[must_use]
pub fn resource_of(kind: &str) -> ApiResource {
    static KNOWN: LazyLock<HashMap<String, ApiResource>> = LazyLock::new(|| {
        let stored = crate::stored().into_iter();
        stored.map(|known| (known.kind.clone(), known)).collect()
    });
    KNOWN.get(kind).cloned().unwrap_or_else(|| ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: kind.to_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{resource_of, status_patch};

    #[test]
    fn objects_are_written_where_the_api_stores_them() {
        for kind in crate::kinds().into_iter().filter(|kind| kind.storage) {
            let resource = resource_of(&kind.kind);
            assert_eq!(
                (&resource.group, &resource.version, &resource.plural),
                (&kind.group, &kind.version, &kind.plural)
            );
            let api_version = format!("{}/{}", kind.group, kind.version);
            assert_eq!(resource.api_version, api_version.trim_start_matches('/'));
        }
    }

    #[test]
    fn only_what_differs_is_written_and_what_is_gone_is_set_to_null() {
        for (current, desired, patch) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2}))),
            (
                json!({"a": 1, "b": 2}),
                json!({"a": 1}),
                Some(json!({"b": null})),
            ),
            (
                json!({"o": {"x": 1, "y": 2}}),
                json!({"o": {"x": 3}}),
                Some(json!({"o": {"x": 3, "y": null}})),
            ),
            (json!({"theirs": 1}), json!({"theirs": 2}), None),
            (json!({}), json!({"n": null}), None),
        ] {
            assert_eq!(
                status_patch(Some(&current), &desired, &["theirs"]),
                patch,
                "{current} {desired}"
            );
        }
        assert_eq!(
            status_patch(None::<&()>, &json!({"a": 1}), &[]),
            Some(json!({"a": 1}))
        );
    }
}

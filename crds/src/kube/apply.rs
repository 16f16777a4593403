//! Child objects: created, brought up to date and deleted by their owner.
//!
//! Laws: an object that says already what is wanted is not written; fields that others added
//! (defaults, labels) stay; fields that an earlier call wanted and this one does not are taken
//! out, for which what was wanted is kept in an annotation; and an object that another controller
//! owns is left alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::diff::{covers, three_way};
use super::status::api_of;
use super::watch::ObjectKey;

/// Where what was wanted is kept, as JSON.
pub const LAST_APPLIED: &str = "heddle.dev/last-applied";
/// How often a write that lost a race is made again.
const ATTEMPTS: u32 = 5;

/// What was done.
#[derive(Clone, Debug)]
pub enum Applied {
    /// The object was created.
    Created(DynamicObject),
    /// The object was changed.
    Updated(DynamicObject),
    /// The object was as wanted.
    Unchanged(DynamicObject),
}

impl Applied {
    /// The object as it is now.
    #[must_use]
    pub fn object(&self) -> &DynamicObject {
        match self {
            Self::Created(object) | Self::Updated(object) | Self::Unchanged(object) => object,
        }
    }
}

/// Why an object was not brought about.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody else made an object of that name.
    #[error(
        "{kind} {namespace}/{name} exists and is not controlled by {owner}: delete or rename it"
    )]
    NotOurs {
        /// The kind.
        kind: String,
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
        /// The owner that wanted it.
        owner: String,
    },
    /// The API refused or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// What is wanted cannot be written as JSON.
    #[error("what is wanted cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The reference by which `owner` controls its children. Nothing when it has no name or identity
/// yet.
pub fn controller_of<K: Resource>(owner: &K, kind: &K::DynamicType) -> Option<OwnerReference> {
    owner.controller_owner_ref(kind)
}

/// Brings about that an object says what `desired` says, and that `owner` controls it.
pub async fn apply(
    client: &Client,
    resource: &ApiResource,
    owner: &OwnerReference,
    mut desired: DynamicObject,
) -> Result<Applied, ApplyError> {
    desired.types.get_or_insert_with(|| kube::api::TypeMeta {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
    });
    desired.metadata.owner_references = Some(vec![owner.clone()]);
    let wanted = serde_json::to_value(&desired)?;
    let note = wanted.to_string();
    let annotations = desired.metadata.annotations.get_or_insert_default();
    annotations.insert(LAST_APPLIED.to_owned(), note.clone());

    let key = ObjectKey::of(&desired);
    let api = api_of(client, resource, &key);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let outcome = match api.get_opt(&key.name).await? {
            None => api
                .create(&PostParams::default(), &desired)
                .await
                .map(Applied::Created),
            Some(current) => {
                check_owner(&current, resource, owner)?;
                let now = serde_json::to_value(&current)?;
                let last = current.annotations().get(LAST_APPLIED);
                if last == Some(&note) && covers(&now, &wanted) {
                    return Ok(Applied::Unchanged(current));
                }
                let last: Value = last
                    .and_then(|l| serde_json::from_str(l).ok())
                    .unwrap_or(Value::Null);
                let mut patch = three_way(&last, &wanted);
                patch["metadata"]["annotations"][LAST_APPLIED] = json!(note);
                patch["metadata"]["resourceVersion"] = json!(current.resource_version());
                api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .map(Applied::Updated)
            }
        };
        match outcome {
            Ok(applied) => return Ok(applied),
            // It was created, changed or deleted meanwhile: look again.
            Err(kube::Error::Api(s)) if matches!(s.code, 404 | 409) && attempts < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Deletes an object that `owner` controls. False when it was not there.
pub async fn delete(
    client: &Client,
    resource: &ApiResource,
    owner: &OwnerReference,
    key: &ObjectKey,
) -> Result<bool, ApplyError> {
    let api = api_of(client, resource, key);
    let Some(current) = api.get_opt(&key.name).await? else {
        return Ok(false);
    };
    check_owner(&current, resource, owner)?;
    let mut params = DeleteParams::background();
    // Should another object have taken the name meanwhile, it is not deleted.
    params.preconditions = Some(kube::api::Preconditions {
        uid: current.uid(),
        resource_version: None,
    });
    match api.delete(&key.name, &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn check_owner(
    current: &DynamicObject,
    resource: &ApiResource,
    owner: &OwnerReference,
) -> Result<(), ApplyError> {
    if current
        .owner_references()
        .iter()
        .any(|o| o.uid == owner.uid)
    {
        return Ok(());
    }
    let key = ObjectKey::of(current);
    Err(ApplyError::NotOurs {
        kind: resource.kind.clone(),
        namespace: key.namespace,
        name: key.name,
        owner: format!("{} {}", owner.kind, owner.name),
    })
}

//! The kinds that are served, found by path or by name.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::OpenError;
use crate::resource::{Admission, AdmissionContext, Column, FieldError, ResourceKind};

/// The place of a kind in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KindId(pub(crate) usize);

/// The kinds that are served.
#[derive(Debug)]
pub(crate) struct Registry {
    kinds: Vec<Arc<ResourceKind>>,
    namespaces: KindId,
    config_maps: KindId,
}

impl Registry {
    /// The given kinds, and Namespace and ConfigMap where they are not among them: the API
    /// itself cannot work without these two.
    pub(crate) fn new(mut kinds: Vec<ResourceKind>) -> Result<Self, OpenError> {
        for (kind, plural, namespaced) in [
            ("Namespace", "namespaces", false),
            ("ConfigMap", "configmaps", true),
        ] {
            if !kinds
                .iter()
                .any(|k| k.group.is_empty() && k.plural == plural)
            {
                kinds.push(core_kind(kind, plural, namespaced));
            }
        }
        let mut seen = HashSet::new();
        for kind in &kinds {
            if !seen.insert((kind.group.clone(), kind.plural.clone())) {
                return Err(OpenError::DuplicateKind {
                    group: kind.group.clone(),
                    plural: kind.plural.clone(),
                });
            }
        }
        let place = |plural: &str| {
            KindId(
                kinds
                    .iter()
                    .position(|k| k.group.is_empty() && k.plural == plural)
                    .unwrap_or_default(),
            )
        };
        let (namespaces, config_maps) = (place("namespaces"), place("configmaps"));
        Ok(Self {
            kinds: kinds.into_iter().map(Arc::new).collect(),
            namespaces,
            config_maps,
        })
    }

    /// The kind at a place.
    pub(crate) fn kind(&self, id: KindId) -> &Arc<ResourceKind> {
        &self.kinds[id.0]
    }

    /// All kinds.
    pub(crate) fn kinds(&self) -> &[Arc<ResourceKind>] {
        &self.kinds
    }

    /// All places.
    pub(crate) fn ids(&self) -> impl Iterator<Item = KindId> + use<> {
        (0..self.kinds.len()).map(KindId)
    }

    /// The kind that is served under a path.
    pub(crate) fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<KindId> {
        self.kinds
            .iter()
            .position(|k| k.group == group && k.version == version && k.plural == plural)
            .map(KindId)
    }

    /// The kind that an object reference names.
    pub(crate) fn by_reference(&self, api_version: &str, kind: &str) -> Option<KindId> {
        self.kinds
            .iter()
            .position(|k| k.kind == kind && self::api_version(k) == api_version)
            .map(KindId)
    }

    /// The Namespace kind.
    pub(crate) fn namespaces(&self) -> KindId {
        self.namespaces
    }

    /// The ConfigMap kind.
    pub(crate) fn config_maps(&self) -> KindId {
        self.config_maps
    }
}

/// The `apiVersion` of a kind's objects.
pub(crate) fn api_version(kind: &ResourceKind) -> String {
    if kind.group.is_empty() {
        kind.version.clone()
    } else {
        format!("{}/{}", kind.group, kind.version)
    }
}

fn core_kind(kind: &str, plural: &str, namespaced: bool) -> ResourceKind {
    let status = if namespaced {
        vec![]
    } else {
        vec![Column {
            name: "Status".to_owned(),
            kind: "string".to_owned(),
            json_path: ".status.phase".to_owned(),
            priority: 0,
        }]
    };
    ResourceKind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        short_names: vec![if namespaced { "cm" } else { "ns" }.to_owned()],
        categories: vec![],
        namespaced,
        status_subresource: !namespaced,
        columns: status
            .into_iter()
            .chain([Column {
                name: "Age".to_owned(),
                kind: "date".to_owned(),
                json_path: ".metadata.creationTimestamp".to_owned(),
                priority: 0,
            }])
            .collect(),
        schema: json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        admission: Arc::new(CoreAdmission),
    }
}

/// Admits Namespaces and ConfigMaps: only the types of a ConfigMap's values matter.
struct CoreAdmission;

impl Admission for CoreAdmission {
    fn default(
        &self,
        _: &mut Value,
        _: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        Ok(())
    }

    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for field in ["data", "binaryData"] {
            let Some(map) = object.get(field) else {
                continue;
            };
            let strings = map
                .as_object()
                .is_some_and(|m| m.values().all(Value::is_string));
            if !strings && !map.is_null() {
                errors.push(FieldError {
                    field: field.to_owned(),
                    message: "must be a map of strings to strings".to_owned(),
                    reason: "FieldValueTypeInvalid",
                });
            }
        }
        if let Some(old) = old
            && old["immutable"] == true
            && ["data", "binaryData", "immutable"]
                .iter()
                .any(|f| old[*f] != object[*f])
        {
            errors.push(FieldError {
                field: "data".to_owned(),
                message: "field is immutable when `immutable` is set".to_owned(),
                reason: "FieldValueForbidden",
            });
        }
        errors
    }
}

//! CustomResourceDefinitions: kinds that users bring.
//!
//! A definition is an object like any other. Its admission ([`DefinitionAdmission`]) judges it as
//! API servers do, with their words and field paths; [`names`] decides which definition may use
//! which names; [`defined`] makes of an accepted one the kind that is served. All of it is pure;
//! `api::definitions` holds it against what is stored.
//!
//! Differences from Kubernetes, all refused with a reason: conversion by webhook between several
//! versions, and rules that `structural::rules` cannot evaluate.

mod check;
pub(crate) mod names;
mod schema;

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::kind::of_definition;
use crate::resource::{Admission, AdmissionContext, Column, FieldError, KindSchema, ResourceKind};
use crate::structural::whole_bounds;
use crate::structural::words::Faults;

/// The group of definitions.
pub(crate) const GROUP: &str = "apiextensions.k8s.io";
/// The plural name of definitions.
pub(crate) const PLURAL: &str = "customresourcedefinitions";
/// Holds a definition until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Marks the definitions of kinds that are compiled in.
pub(crate) const OWN: &str = "heddle.dev/compiled-in";

/// The kind of definitions themselves.
pub(crate) fn definition_kind() -> ResourceKind {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let conditions = json!({
        "type": "array",
        "items": open,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    });
    let versions = json!({
        "type": "array", "items": open, "x-kubernetes-list-type": "atomic",
        "description": "The versions of the kind; exactly one of them is stored.",
    });
    let text = json!({"type": "string"});
    ResourceKind {
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
        plural: PLURAL.to_owned(),
        singular: "customresourcedefinition".to_owned(),
        short_names: vec!["crd".to_owned(), "crds".to_owned()],
        categories: vec!["api-extensions".to_owned()],
        namespaced: false,
        status_subresource: true,
        scale: None,
        selectable: None,
        columns: vec![Column {
            name: "Created At".to_owned(),
            // The time itself, which clients show as it is, and not the age.
            kind: "string".to_owned(),
            json_path: ".metadata.creationTimestamp".to_owned(),
            priority: 0,
        }],
        schema: KindSchema::from(&json!({
            "type": "object",
            "description": "Defines a kind that the API serves.",
            "properties": {
                "spec": {"type": "object", "required": ["group", "names", "scope", "versions"],
                    "properties": {
                        "group": text, "scope": text, "names": open, "versions": versions,
                        "conversion": open, "preserveUnknownFields": {"type": "boolean"},
                    },
                },
                "status": {"type": "object", "properties": {
                    "conditions": conditions, "acceptedNames": open,
                    "storedVersions": {"type": "array", "items": text,
                        "x-kubernetes-list-type": "atomic"},
                }},
            },
        })),
        admission: Arc::new(DefinitionAdmission),
        served: true,
        storage: true,
        stored_in: None,
        cells: None,
        deprecation: None,
        conversion: None,
        definition: None,
    }
}

/// Reads a definition.
pub(crate) fn decode(object: &Value) -> Result<CustomResourceDefinition, Vec<FieldError>> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let mut faults = Faults::default();
        let path = error.path().to_string();
        let path = if path == "." { "" } else { &path };
        faults.wrong_type(path, "", error.inner());
        faults.into_vec()
    })
}

/// The kind that a definition defines, in each of its versions, under the names that it was
/// granted.
pub(crate) fn defined(object: &Value) -> Vec<ResourceKind> {
    let Ok(mut crd) = decode(object) else {
        return Vec::new();
    };
    if let Some(accepted) = crd.status.as_ref().and_then(|s| s.accepted_names.clone()) {
        crd.spec.names = accepted;
    }
    of_definition(&crd)
}

/// The name of the version in which objects are stored.
pub(crate) fn storage_version(object: &Value) -> Option<&str> {
    let versions = object["spec"]["versions"].as_array()?;
    let stored = versions.iter().find(|version| version["storage"] == true)?;
    stored["name"].as_str()
}

/// Whether a condition of a definition is true.
pub(crate) fn condition(object: &Value, name: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == name && condition["status"] == "True")
}

/// Admission of definitions.
#[derive(Debug)]
pub(crate) struct DefinitionAdmission;

impl Admission for DefinitionAdmission {
    fn default(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        let crd = decode(object)?;
        // What the type does not know is dropped, as API servers do.
        for (field, value) in [
            ("spec", serde_json::to_value(&crd.spec)),
            ("status", serde_json::to_value(&crd.status)),
        ] {
            if let Ok(mut value) = value
                && !value.is_null()
            {
                whole_bounds(&mut value);
                object[field] = value;
            }
        }
        let kind = crd.spec.names.kind;
        let names = &mut object["spec"]["names"];
        if !kind.is_empty() && names.is_object() {
            if names["singular"].as_str().unwrap_or_default().is_empty() {
                names["singular"] = json!(kind.to_lowercase());
            }
            if names["listKind"].as_str().unwrap_or_default().is_empty() {
                names["listKind"] = json!(format!("{kind}List"));
            }
        }
        if object["spec"]["conversion"].is_null() {
            object["spec"]["conversion"] = json!({"strategy": "None"});
        }
        if old.is_none() {
            object["status"] = json!({
                "acceptedNames": {"kind": "", "plural": ""}, "conditions": [],
                "storedVersions": [],
            });
        }
        if let Some(stored) = storage_version(object).map(str::to_owned)
            && let Some(versions) = object["status"]["storedVersions"].as_array_mut()
            && !versions.iter().any(|version| *version == stored)
        {
            versions.push(json!(stored));
        }
        Ok(())
    }

    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        let crd = match decode(object) {
            Ok(crd) => crd,
            Err(errors) => return errors,
        };
        let mut faults = Faults::default();
        check::metadata(&crd, &mut faults);
        check::spec(&crd, object, &mut faults);
        if let Some(old) = old {
            check::changes(object, old, &mut faults);
        }
        check::stored_versions(&crd, &mut faults);
        faults.into_vec()
    }
}

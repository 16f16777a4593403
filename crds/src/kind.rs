//! Turns a Rust type into a kind that the API serves and a CustomResourceDefinition that is
//! installed on a cluster.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps,
};
use kube::CustomResourceExt;
use serde_json::Value;

use crate::admission::{Admit, TypedAdmission};
use crate::resource::{Column, ResourceKind};
use crate::schema;

/// The labels that every definition carries.
const COMMON_LABELS: [(&str, &str); 2] = [
    ("knative.dev/crd-install", "true"),
    ("app.kubernetes.io/name", "heddle"),
];

/// A kind of our own, made from a type that derives `CustomResource`.
pub(crate) trait CustomKind: Admit + CustomResourceExt {
    /// The labels of the definition besides the common ones; duck types are found by them.
    const LABELS: &'static [(&'static str, &'static str)];
}

/// One line of the list of kinds.
pub(crate) struct Registered {
    /// Makes the kind.
    pub(crate) kind: fn() -> ResourceKind,
    /// Makes the definition, for kinds that a cluster does not have of itself.
    pub(crate) definition: Option<fn() -> CustomResourceDefinition>,
}

impl Registered {
    /// A kind of Kubernetes itself.
    pub(crate) const fn built_in(kind: fn() -> ResourceKind) -> Self {
        Self {
            kind,
            definition: None,
        }
    }

    /// A kind of our own.
    pub(crate) const fn custom<T: CustomKind>() -> Self {
        Self {
            kind: kind::<T>,
            definition: Some(definition::<T>),
        }
    }
}

/// The definition of a kind, as it is installed.
fn definition<T: CustomKind>() -> CustomResourceDefinition {
    let mut crd = T::crd();
    let labels = COMMON_LABELS.iter().chain(T::LABELS);
    crd.metadata.labels = Some(
        labels
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    );
    for version in &mut crd.spec.versions {
        let Some(validation) = &mut version.schema else {
            continue;
        };
        let published = validation
            .open_api_v3_schema
            .take()
            .map(|props| publish(&props));
        validation.open_api_v3_schema = published;
    }
    crd
}

fn publish(props: &JSONSchemaProps) -> JSONSchemaProps {
    // A schema was read from JSON by the derive, so it can be written and read again; where that
    // failed, the schema of the derive would still be a true one.
    let Ok(mut json) = serde_json::to_value(props) else {
        return props.clone();
    };
    schema::publish(&mut json);
    serde_json::from_value(json).unwrap_or_else(|_| props.clone())
}

/// The kind as the API serves it.
fn kind<T: CustomKind>() -> ResourceKind {
    let spec = definition::<T>().spec;
    let version = spec.versions.into_iter().next();
    let (name, columns, schema, status) = version.map(version_parts).unwrap_or_default();
    let namespaced = spec.scope == "Namespaced";
    ResourceKind {
        group: spec.group,
        version: name,
        kind: spec.names.kind,
        plural: spec.names.plural,
        singular: spec.names.singular.unwrap_or_default(),
        short_names: spec.names.short_names.unwrap_or_default(),
        categories: spec.names.categories.unwrap_or_default(),
        namespaced,
        status_subresource: status,
        columns,
        admission: Arc::new(TypedAdmission::<T>::new(&schema, namespaced)),
        schema,
    }
}

fn version_parts(version: CustomResourceDefinitionVersion) -> (String, Vec<Column>, Value, bool) {
    let columns = version.additional_printer_columns.unwrap_or_default();
    let columns = columns
        .into_iter()
        .map(|column| Column {
            name: column.name,
            kind: column.type_,
            json_path: column.json_path,
            priority: column.priority.unwrap_or_default(),
        })
        .collect();
    let schema = version
        .schema
        .and_then(|validation| validation.open_api_v3_schema)
        .and_then(|props| serde_json::to_value(props).ok())
        .unwrap_or_default();
    let status = version
        .subresources
        .is_some_and(|subresources| subresources.status.is_some());
    (version.name, columns, schema, status)
}

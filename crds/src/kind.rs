//! Turns a Rust type into a kind that the API serves and a CustomResourceDefinition that is
//! installed on a cluster.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
    JSONSchemaProps,
};
use kube::CustomResourceExt;
use kube::api::ApiResource;
use serde_json::Value;

use crate::admission::{self, Admit, BySchema, Errors, Nothing};
use crate::api::stability;
use crate::publish::publish;
use crate::resource::{
    Admission, AdmissionContext, Column, Conversion, Definition, FieldError, ResourceKind, Scale,
};
use crate::schema::KindSchema;
use crate::structural::whole_bounds;

/// The labels that every definition carries.
const COMMON_LABELS: [(&str, &str); 2] = [
    ("knative.dev/crd-install", "true"),
    ("app.kubernetes.io/name", "heddle"),
];

/// A kind of our own, made from a type that derives `CustomResource`.
pub(crate) trait CustomKind: Admit + CustomResourceExt {
    /// The labels of the definition besides the common ones; duck types are found by them.
    const LABELS: &'static [(&'static str, &'static str)];
    /// The derived definitions of the other versions that are served. This type is the version
    /// that is stored, and the one that is admitted whatever version a request speaks.
    const VERSIONS: &'static [fn() -> CustomResourceDefinition] = &[];
    /// How an object of one version becomes one of another, where more than `apiVersion` differs.
    const CONVERSION: Option<Conversion> = None;

    /// Reports what is wrong with an object of another version that conversion would hide.
    fn check_version(_version: &str, _object: &Value, _errors: &mut Errors) {}
}

/// One line of the list of kinds.
pub(crate) struct Registered {
    /// Makes the kind, in each of its versions.
    pub(crate) kinds: fn() -> Vec<ResourceKind>,
    /// Makes the definition, for kinds that a cluster does not have of itself.
    pub(crate) definition: Option<fn() -> CustomResourceDefinition>,
    /// Says where objects of a kind with a definition are stored, without making that.
    pub(crate) stored: Option<fn() -> ApiResource>,
}

impl Registered {
    /// A kind of Kubernetes itself.
    pub(crate) const fn built_in(kinds: fn() -> Vec<ResourceKind>) -> Self {
        Self {
            kinds,
            definition: None,
            stored: None,
        }
    }

    /// A kind of our own.
    pub(crate) const fn custom<T: CustomKind>() -> Self {
        Self {
            kinds: kinds::<T>,
            definition: Some(installed::<T>),
            stored: Some(T::api_resource),
        }
    }
}

/// The definition of a kind, as it is installed on a cluster. A version of another form is not
/// served there: an API server asks a webhook for its objects, and there is none yet.
fn installed<T: CustomKind>() -> CustomResourceDefinition {
    let mut crd = definition::<T>();
    let versions = &mut crd.spec.versions;
    let stored = versions.iter().find(|version| version.storage);
    let form = stored.and_then(|version| version.schema.clone());
    for version in versions.iter_mut().filter(|version| !version.storage) {
        version.served &= version.schema == form;
    }
    crd
}

/// The definition of a kind, as the API of this process has it.
fn definition<T: CustomKind>() -> CustomResourceDefinition {
    let mut crd = T::crd();
    let labels = COMMON_LABELS.iter().chain(T::LABELS);
    crd.metadata.labels = Some(
        labels
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    );
    for other in T::VERSIONS {
        for mut version in other().spec.versions {
            version.storage = false;
            crd.spec.versions.push(version);
        }
    }
    for version in &mut crd.spec.versions {
        let Some(validation) = &mut version.schema else {
            continue;
        };
        let published = validation
            .open_api_v3_schema
            .take()
            .map(|props| published(&props));
        validation.open_api_v3_schema = published;
    }
    crd
}

fn published(props: &JSONSchemaProps) -> JSONSchemaProps {
    // A schema was read from JSON by the derive, so it can be written and read again; where that
    // failed, the schema of the derive would still be a true one.
    let Ok(mut json) = serde_json::to_value(props) else {
        return props.clone();
    };
    publish(&mut json);
    serde_json::from_value(json).unwrap_or_else(|_| props.clone())
}

/// The kind as the API serves it, in each of its versions.
fn kinds<T: CustomKind>() -> Vec<ResourceKind> {
    let crd = definition::<T>();
    let namespaced = crd.spec.scope == "Namespaced";
    let mut kinds = of_definition(&crd);
    let Some(stored) = kinds.iter().find(|kind| kind.storage) else {
        return Vec::new();
    };
    let admission: Arc<dyn Admission> = Arc::new(admission::typed::<T>(&stored.schema, namespaced));
    let storage = stored.version.clone();
    let definition = Definition::new(serde_json::to_string(&crd).ok(), compiled_in::<T>);
    for kind in &mut kinds {
        let stored = Arc::clone(&admission);
        kind.admission = match T::CONVERSION {
            Some(convert) if !kind.storage => Arc::new(Converted {
                stored,
                convert,
                check: T::check_version,
                group: kind.group.clone(),
                storage: storage.clone(),
                version: kind.version.clone(),
            }),
            _ => stored,
        };
        kind.conversion = T::CONVERSION;
        kind.definition = Some(definition.clone());
    }
    kinds
}

/// The definition as an object.
fn compiled_in<T: CustomKind>() -> Value {
    serde_json::to_value(definition::<T>()).unwrap_or_default()
}

/// The kinds that a definition defines: one for each version, which its schema says everything of.
pub(crate) fn of_definition(crd: &CustomResourceDefinition) -> Vec<ResourceKind> {
    let (spec, names) = (&crd.spec, &crd.spec.names);
    let kinds = spec.versions.iter().map(|version| {
        let schema = schema_of(version);
        let subresources = version.subresources.as_ref();
        let deprecation = version.deprecated.unwrap_or_default().then(|| {
            let own = version.deprecation_warning.clone();
            own.unwrap_or_else(|| deprecation(spec, &version.name, &names.kind))
        });
        ResourceKind {
            group: spec.group.clone(),
            version: version.name.clone(),
            kind: names.kind.clone(),
            plural: names.plural.clone(),
            singular: names
                .singular
                .clone()
                .unwrap_or_else(|| names.kind.to_lowercase()),
            short_names: names.short_names.clone().unwrap_or_default(),
            categories: names.categories.clone().unwrap_or_default(),
            namespaced: spec.scope == "Namespaced",
            status_subresource: subresources.is_some_and(|all| all.status.is_some()),
            scale: subresources
                .and_then(|all| all.scale.as_ref())
                .map(|scale| Scale {
                    spec_replicas: scale.spec_replicas_path.clone(),
                    status_replicas: scale.status_replicas_path.clone(),
                    label_selector: scale.label_selector_path.clone(),
                }),
            selectable: Some(selectable_of(version)),
            columns: columns_of(version),
            admission: Arc::new(BySchema::new(&schema, Nothing)),
            schema,
            served: version.served,
            storage: version.storage,
            stored_in: None,
            cells: None,
            deprecation,
            conversion: None,
            definition: None,
        }
    });
    kinds.collect()
}

/// What users of a deprecated version are told: the best version that they can use instead.
fn deprecation(spec: &CustomResourceDefinitionSpec, version: &str, kind: &str) -> String {
    let better = spec
        .versions
        .iter()
        .filter(|v| v.served && !v.deprecated.unwrap_or_default())
        .map(|v| v.name.as_str())
        .filter(|name| stability(name) > stability(version))
        .max_by_key(|name| stability(name));
    let group = &spec.group;
    let instead = better.map_or_else(String::new, |v| format!("; use {group}/{v} {kind}"));
    format!("{group}/{version} {kind} is deprecated{instead}")
}

fn selectable_of(version: &CustomResourceDefinitionVersion) -> Vec<String> {
    let fields = version.selectable_fields.iter().flatten();
    fields.map(|field| field.json_path.clone()).collect()
}

fn columns_of(version: &CustomResourceDefinitionVersion) -> Vec<Column> {
    let columns = version.additional_printer_columns.iter().flatten();
    columns
        .map(|column| Column {
            name: column.name.clone(),
            kind: column.type_.clone(),
            json_path: column.json_path.clone(),
            priority: column.priority.unwrap_or_default(),
        })
        .collect()
}

fn schema_of(version: &CustomResourceDefinitionVersion) -> KindSchema {
    let schema = version
        .schema
        .as_ref()
        .and_then(|validation| validation.open_api_v3_schema.as_ref())
        .and_then(|props| serde_json::to_value(props).ok())
        .map(|mut schema| {
            whole_bounds(&mut schema);
            schema
        });
    KindSchema::from(&schema.unwrap_or_default())
}

/// Admission of a version by the type of the version that is stored.
struct Converted {
    stored: Arc<dyn Admission>,
    convert: Conversion,
    check: fn(&str, &Value, &mut Errors),
    group: String,
    storage: String,
    version: String,
}

impl Converted {
    fn turn(&self, object: &mut Value, from: &str, to: &str) -> Result<(), Vec<FieldError>> {
        (self.convert)(object, from, to).map_err(fault)?;
        if let Some(fields) = object.as_object_mut() {
            let version = format!("{}/{to}", self.group);
            fields.insert("apiVersion".to_owned(), version.into());
        }
        Ok(())
    }

    /// The object in the version that is stored.
    fn turned(&self, object: &Value) -> Result<Value, Vec<FieldError>> {
        let mut object = object.clone();
        self.turn(&mut object, &self.version, &self.storage)?;
        Ok(object)
    }
}

fn fault(message: String) -> Vec<FieldError> {
    vec![FieldError {
        field: String::new(),
        message,
        reason: "FieldValueInvalid",
    }]
}

impl Admission for Converted {
    fn default(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        let old = old.map(|old| self.turned(old)).transpose()?;
        let mut turned = self.turned(object)?;
        self.stored.default(&mut turned, old.as_ref(), context)?;
        self.turn(&mut turned, &self.storage, &self.version)?;
        *object = turned;
        Ok(())
    }

    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        let mut errors = Errors::default();
        if object["metadata"]["deletionTimestamp"].is_null() {
            (self.check)(&self.version, object, &mut errors);
        }
        if !errors.is_empty() {
            return errors.into_vec();
        }
        let old = match old.map(|old| self.turned(old)).transpose() {
            Ok(old) => old,
            Err(errors) => return errors,
        };
        match self.turned(object) {
            Ok(object) => self.stored.validate(&object, old.as_ref(), context),
            Err(errors) => errors,
        }
    }
}

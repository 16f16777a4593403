//! What the API needs to know of a kind: its names, its schema, and how it is admitted.
//!
//! A [`ResourceKind`] erases a Rust type. The embedded API serves whatever list of kinds it is
//! given, and the admission webhook on a cluster runs the same functions, so that both places
//! default and refuse alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// A printer column of `kubectl get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `date`, `integer` or `boolean`.
    pub kind: String,
    /// The JSON path of the value, as in a CustomResourceDefinition.
    pub json_path: String,
    /// 0 is always shown, others with `-o wide`.
    pub priority: i32,
}

/// One thing that is wrong with an object, in the words of the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path of the field, like `spec.delivery.retry`. Empty for the whole object.
    pub field: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// The machine-readable reason: `FieldValueRequired`, `FieldValueInvalid`,
    /// `FieldValueForbidden`, `FieldValueNotSupported`, `FieldValueTypeInvalid`.
    pub reason: &'static str,
}

/// What defaulting and validation may look at besides the object.
pub trait AdmissionContext {
    /// The `data` of a ConfigMap, where it exists.
    fn config_map(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>>;
}

/// Defaults and validates objects of one kind. Pure but for the context.
pub trait Admission: Send + Sync {
    /// Fills in what the user left out. `old` is the stored object on an update. Decoding errors
    /// (a wrong type, a missing required field) are returned as field errors.
    fn default(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>>;

    /// Everything that is wrong with the object, all at once. Runs after `default`.
    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Vec<FieldError>;
}

/// A kind that the API serves.
#[derive(Clone)]
pub struct ResourceKind {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind, like `Broker`.
    pub kind: String,
    /// The name in URLs, like `brokers`.
    pub plural: String,
    /// The name of one, like `broker`.
    pub singular: String,
    /// Short names for `kubectl`.
    pub short_names: Vec<String>,
    /// Categories for `kubectl`, like `all` or `knative`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether `status` is a subresource (and then not writable through the object itself).
    pub status_subresource: bool,
    /// Printer columns, without the name.
    pub columns: Vec<Column>,
    /// The OpenAPI v3 schema.
    pub schema: Value,
    /// How objects are admitted.
    pub admission: Arc<dyn Admission>,
}

impl std::fmt::Debug for ResourceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResourceKind({}/{}, {})", self.group, self.version, self.kind)
    }
}

//! What the API needs to know of a kind: its names, its schema, and how it is admitted.
//!
//! A [`ResourceKind`] erases a Rust type. The embedded API serves whatever list of kinds it is
//! given, and the admission webhook on a cluster runs the same functions, so that both places
//! default and refuse alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use serde_json::Value;

pub use crate::schema::KindSchema;

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
    /// `FieldValueForbidden`, `FieldValueNotSupported`, `FieldValueTypeInvalid`,
    /// `FieldValueDuplicate`, `FieldValueTooLong`, `FieldValueTooMany`.
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

    /// Makes of an object that was stored under an earlier schema what the schema of today says:
    /// drops what it does not name and fills in its defaults. Changes nothing the second time.
    fn read(&self, _object: &mut Value) {}
}

/// Turns an object of any version of a kind into one of the named version, but for `apiVersion`,
/// which the caller writes. Of `metadata` it may change annotations, in which it carries what a
/// version has no place for. Gives what is wrong with an object that cannot be turned.
pub type Conversion = fn(object: &mut Value, from: &str, to: &str) -> Result<(), String>;

/// Makes the cells of an object's row at a time, one for each column.
pub type Cells = fn(object: &Value, now: jiff::Timestamp) -> Vec<Value>;

/// Where the numbers of the `scale` subresource stand in an object, as JSON paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The number that is wanted, like `.spec.replicas`.
    pub spec_replicas: String,
    /// The number that is there, like `.status.replicas`.
    pub status_replicas: String,
    /// The label selector of the replicas as text, where it is told.
    pub label_selector: Option<String>,
}

/// A kind that the API serves, in one of its versions.
///
/// Kinds that are alike in group and plural name are one kind in several versions. Its objects are
/// stored in the one that says `storage` and are read and written in every one that is `served`.
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
    /// Where the `scale` subresource finds its numbers, if there is one.
    pub scale: Option<Scale>,
    /// The JSON paths of the fields by which lists may select, for kinds that have a definition.
    pub selectable: Option<Vec<String>>,
    /// Printer columns, without the name.
    pub columns: Vec<Column>,
    /// Makes the cells of all columns, for kinds whose columns are more than a path can tell.
    pub cells: Option<Cells>,
    /// What objects look like.
    pub schema: KindSchema,
    /// How objects are admitted.
    pub admission: Arc<dyn Admission>,
    /// Whether requests may speak of this version.
    pub served: bool,
    /// Whether objects are stored in this version. True for exactly one version of a kind.
    pub storage: bool,
    /// The group in which objects are stored, for a kind that is served in another as well.
    pub stored_in: Option<String>,
    /// The warning that users of a deprecated version get.
    pub deprecation: Option<String>,
    /// How objects of other versions become objects of this one. Without it they differ in their
    /// `apiVersion` alone.
    pub conversion: Option<Conversion>,
    /// The CustomResourceDefinition that this is a version of, for kinds that bring theirs.
    pub definition: Option<Definition>,
}

/// The CustomResourceDefinition of a kind that is compiled in. Making it is most of what making the kind
/// takes, and it is wanted once more when the store is opened. So it is kept as text until then, and by
/// nobody afterwards. Clones share the text.
#[derive(Clone, Debug)]
pub struct Definition {
    text: Arc<Mutex<Option<Box<str>>>>,
    make: fn() -> Value,
}

impl Definition {
    /// Of the definition that `make` makes, which was just made as `text`.
    pub(crate) fn new(text: Option<String>, make: fn() -> Value) -> Self {
        let text = Arc::new(Mutex::new(text.map(String::into_boxed_str)));
        Self { text, make }
    }

    /// The definition as an object.
    pub(crate) fn take(&self) -> Value {
        let text = self.text.lock().take();
        let kept = text.and_then(|text| serde_json::from_str(&text).ok());
        kept.unwrap_or_else(self.make)
    }
}

impl std::fmt::Debug for ResourceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ResourceKind({}/{}, {})",
            self.group, self.version, self.kind
        )
    }
}

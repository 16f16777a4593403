//! What the tests of admission share: a context of ConfigMaps, and an API server's two steps.

// Every test program includes all of it and uses some.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use heddle_crds::resource::{AdmissionContext, FieldError, ResourceKind};
use serde_json::{Value, json};

/// The ConfigMaps of the namespace `knative-eventing`, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config(pub(crate) BTreeMap<String, BTreeMap<String, String>>);

impl Config {
    /// One ConfigMap with one key.
    pub(crate) fn of(name: &str, key: &str, text: &str) -> Self {
        let data = BTreeMap::from([(key.to_owned(), text.to_owned())]);
        Self(BTreeMap::from([(name.to_owned(), data)]))
    }
}

impl AdmissionContext for Config {
    fn config_map(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        self.0
            .get(name)
            .filter(|_| namespace == "knative-eventing")
            .cloned()
    }
}

/// Every kind, made once.
pub(crate) fn kinds() -> &'static [ResourceKind] {
    static KINDS: LazyLock<Vec<ResourceKind>> = LazyLock::new(heddle_crds::kinds);
    &KINDS
}

/// The kind of that name, in the version that is stored.
pub(crate) fn kind(name: &str) -> &'static ResourceKind {
    let mut stored = kinds().iter().filter(|kind| kind.storage);
    stored.find(|kind| kind.kind == name).unwrap()
}

/// The kind of an object, in the version that it names, or else in the one that is stored.
fn kind_of(object: &Value) -> &'static ResourceKind {
    let name = object["kind"].as_str().unwrap();
    let version = |kind: &&ResourceKind| {
        kind.kind == name && object["apiVersion"] == format!("{}/{}", kind.group, kind.version)
    };
    kinds().iter().find(version).unwrap_or_else(|| kind(name))
}

/// Completes an object's metadata with a name and, where its kind has one, a namespace.
pub(crate) fn complete(object: &mut Value) {
    let name = object["kind"].as_str().unwrap().to_owned();
    let metadata = object
        .as_object_mut()
        .unwrap()
        .entry("metadata")
        .or_insert_with(|| json!({}));
    let metadata = metadata.as_object_mut().unwrap();
    metadata.entry("name").or_insert_with(|| json!("it"));
    if name != "Namespace" {
        metadata.entry("namespace").or_insert_with(|| json!("team"));
    }
}

/// Fills in and validates, as an API server does.
pub(crate) fn admit(
    mut object: Value,
    old: Option<&Value>,
    config: &Config,
) -> Result<Value, Vec<FieldError>> {
    let kind = kind_of(&object);
    kind.admission.default(&mut object, old, config)?;
    let errors = kind.admission.validate(&object, old, config);
    if errors.is_empty() {
        Ok(object)
    } else {
        Err(errors)
    }
}

//! The kinds of Kubernetes itself that Heddle needs: Namespace and ConfigMap.
//!
//! On a cluster they are the cluster's; the embedded API serves them by these rules, which are
//! those of Kubernetes, with its schemas and columns.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use serde_json::json;

use crate::admission::{Admit, Errors, NameRule, config, namespace, typed};
use crate::api::names;
use crate::builtin::cells;
use crate::resource::{AdmissionContext, Cells, Column, FieldError, KindSchema, ResourceKind};

/// The label by which a namespace can be selected by its name.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The most bytes of values that a ConfigMap may have together: 1 MiB.
pub const MAX_CONFIG_MAP_BYTES: usize = 1024 * 1024;

fn kind<T: Admit>(
    schema: &'static str,
    namespaced: bool,
    short_name: &str,
    column: (&str, Cells),
) -> ResourceKind {
    let schema = KindSchema::built_in(schema);
    let (column, cells) = column;
    let columns = [column, "Age"].map(|name| Column {
        name: name.to_owned(),
        kind: "string".to_owned(),
        json_path: ".metadata".to_owned(),
        priority: 0,
    });
    ResourceKind {
        group: T::group(&()).into_owned(),
        version: T::version(&()).into_owned(),
        kind: T::kind(&()).into_owned(),
        plural: T::plural(&()).into_owned(),
        singular: T::kind(&()).to_ascii_lowercase(),
        short_names: vec![short_name.to_owned()],
        categories: Vec::new(),
        namespaced,
        // Of the two kinds, the one that lives in namespaces has no status.
        status_subresource: !namespaced,
        scale: None,
        selectable: None,
        columns: columns.into(),
        admission: Arc::new(typed::<T>(&schema, namespaced)),
        schema,
        served: true,
        storage: true,
        stored_in: None,
        cells: Some(cells),
        deprecation: None,
        conversion: None,
        definition: None,
    }
}

/// Namespace.
pub(crate) fn namespace_kind() -> ResourceKind {
    let status = ("Status", cells::namespace as Cells);
    kind::<Namespace>("core.v1.Namespace", false, "ns", status)
}

/// ConfigMap.
pub(crate) fn config_map_kind() -> ResourceKind {
    let data = ("Data", cells::config_map as Cells);
    kind::<ConfigMap>("core.v1.ConfigMap", true, "cm", data)
}

impl Admit for Namespace {
    const NAMES: NameRule = NameRule::Label;

    fn fill_in(
        &mut self,
        _old: Option<&Self>,
        _context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        if let Some(name) = self.metadata.name.clone() {
            let labels = self.metadata.labels.get_or_insert_default();
            labels.insert(NAME_LABEL.to_owned(), name);
        }
        let status = self.status.get_or_insert_default();
        status.phase.get_or_insert_with(|| "Active".to_owned());
        Ok(())
    }

    fn check(&self, _old: Option<&Self>, _: &dyn AdmissionContext, _: &mut Errors) {}
}

impl Admit for ConfigMap {
    fn fill_in(
        &mut self,
        _old: Option<&Self>,
        _context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        Ok(())
    }

    fn check(&self, old: Option<&Self>, _: &dyn AdmissionContext, errors: &mut Errors) {
        let texts = self.data.iter().flatten();
        let texts = texts.map(|(key, value)| ("data", key, value.len()));
        let bytes = self.binary_data.iter().flatten();
        let bytes = bytes.map(|(key, value)| ("binaryData", key, value.0.len()));
        let mut size = 0;
        for (field, key, length) in texts.chain(bytes) {
            size += length;
            let mut wrong = |why: &str| {
                let message = format!("{}: {why}", json!(key));
                errors.push("FieldValueInvalid", &format!("{field}[{key}]"), message);
            };
            if let Err(why) = names::data_key(key) {
                wrong(&why);
            }
            let other = self.binary_data.as_ref().filter(|_| field == "data");
            if other.is_some_and(|other| other.contains_key(key)) {
                wrong("duplicate of key present in binaryData");
            }
        }
        if size > MAX_CONFIG_MAP_BYTES {
            let message = format!("may not be more than {MAX_CONFIG_MAP_BYTES} bytes");
            errors.push("FieldValueTooLong", "data", message);
        }
        if let Some(old) = old.filter(|old| old.immutable == Some(true)) {
            errors.sealed("immutable", &json!(old.immutable), &json!(self.immutable));
            errors.sealed("data", &json!(old.data), &json!(self.data));
            errors.sealed(
                "binaryData",
                &json!(old.binary_data),
                &json!(self.binary_data),
            );
        }
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let data = self.data.clone().unwrap_or_default();
        if let Some((key, fault)) = config::check(namespace(&self.metadata), name, &data) {
            errors.invalid(
                &format!("data[{key}]"),
                "text that is not the expected YAML",
                &fault,
            );
        }
    }
}

//! What is wrong with a definition, but for its schemas.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionVersion, CustomResourceSubresources,
};
use serde_json::{Value, json};

use super::schema;
use crate::api::names;
use crate::structural::words::Faults;

const APPROVED: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
/// Versions that one definition may have.
const MAX_VERSIONS: usize = 32;

/// The name of the definition, which follows from its spec.
pub(super) fn metadata(crd: &CustomResourceDefinition, faults: &mut Faults) {
    let (spec, name) = (&crd.spec, crd.metadata.name.as_deref().unwrap_or_default());
    if name != format!("{}.{}", spec.names.plural, spec.group) {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        faults.invalid("metadata.name", &name.into(), detail);
    }
    let group = spec.group.as_str();
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.ends_with(&format!(".{domain}")));
    let annotations = crd.metadata.annotations.as_ref();
    if protected && !annotations.is_some_and(|all| all.contains_key(APPROVED)) {
        let detail = format!(
            "protected groups must have approval annotation {APPROVED:?}, see \
             https://github.com/kubernetes/enhancements/pull/1111"
        );
        faults.required(format!("metadata.annotations[{APPROVED}]"), &detail);
    }
}

/// The spec. `object` is the same definition as JSON.
pub(super) fn spec(crd: &CustomResourceDefinition, object: &Value, faults: &mut Faults) {
    let spec = &crd.spec;
    if spec.group.is_empty() {
        faults.required("spec.group", "");
    } else if let Err(why) = names::subdomain(&spec.group) {
        faults.invalid("spec.group", &json!(spec.group), why);
    } else if !spec.group.contains('.') {
        let detail = "should be a domain with at least one dot";
        faults.invalid("spec.group", &json!(spec.group), detail);
    }
    if spec.scope.is_empty() {
        faults.required("spec.scope", "");
    } else if !["Cluster", "Namespaced"].contains(&spec.scope.as_str()) {
        let known = [json!("Cluster"), json!("Namespaced")];
        faults.unsupported("spec.scope", &json!(spec.scope), &known);
    }
    if spec.preserve_unknown_fields == Some(true) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                      spec.versions[*].schema instead";
        faults.invalid("spec.preserveUnknownFields", &json!(true), detail);
    }
    versions(crd, object, faults);
    let given = &spec.names;
    for (field, text) in [
        ("plural", Some(&given.plural)),
        ("singular", given.singular.as_ref()),
        ("kind", Some(&given.kind)),
        ("listKind", given.list_kind.as_ref()),
    ] {
        if text.is_none_or(String::is_empty) {
            faults.required(format!("spec.names.{field}"), "");
        }
    }
    check_names(given, faults);
    conversion(crd, faults);
}

fn versions(crd: &CustomResourceDefinition, object: &Value, faults: &mut Faults) {
    let versions = &crd.spec.versions;
    let shown = || Value::from(format!("{} versions", versions.len()));
    if versions.len() > MAX_VERSIONS {
        let detail = format!("must have at most {MAX_VERSIONS} versions");
        faults.invalid("spec.versions", &shown(), detail);
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{at}]");
        if let Err(why) = names::dns_1035_label(&version.name) {
            faults.invalid(format!("{path}.name"), &json!(version.name), why);
        }
        let json = &object["spec"]["versions"][at]["schema"]["openAPIV3Schema"];
        let place = format!("{path}.schema.openAPIV3Schema");
        if json.is_object() {
            schema::check(json, &place, faults);
        } else {
            faults.required(place, "schemas are required");
        }
        check_version(version, &path, faults);
        seen.insert(version.name.as_str());
    }
    if seen.len() != versions.len() {
        faults.invalid(
            "spec.versions",
            &shown(),
            "must contain unique version names",
        );
    }
    if versions.iter().filter(|version| version.storage).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        faults.invalid("spec.versions", &shown(), detail);
    }
}

fn check_version(version: &CustomResourceDefinitionVersion, path: &str, faults: &mut Faults) {
    if let Some(warning) = &version.deprecation_warning {
        let place = format!("{path}.deprecationWarning");
        let value = json!(warning);
        if version.deprecated != Some(true) {
            faults.invalid(&place, &value, "can only be set for deprecated versions");
        }
        if warning.is_empty() {
            faults.invalid(&place, &value, "must not be an empty string");
        } else if warning.len() > 256 {
            faults.invalid(&place, &value, "must be <= 256 characters long");
        } else if warning.chars().any(char::is_control) {
            let detail = "must only contain printable UTF-8 characters";
            faults.invalid(&place, &value, detail);
        }
    }
    if let Some(subresources) = &version.subresources {
        check_scale(subresources, &format!("{path}.subresources"), faults);
    }
    let columns = version.additional_printer_columns.iter().flatten();
    for (at, column) in columns.enumerate() {
        check_column(
            column,
            &format!("{path}.additionalPrinterColumns[{at}]"),
            faults,
        );
    }
}

fn check_scale(subresources: &CustomResourceSubresources, path: &str, faults: &mut Faults) {
    let Some(scale) = &subresources.scale else {
        return;
    };
    let mut simple = |field: &str, text: &str, under: &[&str], detail: &str| {
        let place = format!("{path}.scale.{field}");
        if text.is_empty() {
            faults.required(place, "");
        } else if let Err(why) = simple_path(text) {
            faults.invalid(place, &text.into(), why);
        } else if !under.iter().any(|prefix| text.starts_with(prefix)) {
            faults.invalid(place, &text.into(), detail);
        }
    };
    let (spec, status) = (".spec.", ".status.");
    let detail = "should be a json path under .spec";
    simple(
        "specReplicasPath",
        &scale.spec_replicas_path,
        &[spec],
        detail,
    );
    let detail = "should be a json path under .status";
    simple(
        "statusReplicasPath",
        &scale.status_replicas_path,
        &[status],
        detail,
    );
    if let Some(selector) = scale.label_selector_path.as_ref().filter(|t| !t.is_empty()) {
        let detail = "should be a json path under either .spec or .status";
        simple("labelSelectorPath", selector, &[spec, status], detail);
    }
}

/// Whether a path is one in dots alone.
fn simple_path(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('.') {
        return Err("must be a simple json path starting with .");
    }
    let good = text.split('.').skip(1).all(|part| !part.is_empty()) && !text.contains(['[', '{']);
    if good {
        Ok(())
    } else {
        Err("must be a json path in the dot notation")
    }
}

fn check_column(column: &CustomResourceColumnDefinition, path: &str, faults: &mut Faults) {
    if column.name.is_empty() {
        faults.required(format!("{path}.name"), "");
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    if column.type_.is_empty() {
        faults.required(format!("{path}.type"), &types);
    } else if !COLUMN_TYPES.contains(&column.type_.as_str()) {
        faults.invalid(format!("{path}.type"), &json!(column.type_), types);
    }
    if let Some(format) = column.format.as_ref().filter(|format| !format.is_empty())
        && !COLUMN_FORMATS.contains(&format.as_str())
    {
        let formats = format!("must be one of {}", COLUMN_FORMATS.join(","));
        faults.invalid(format!("{path}.format"), &json!(format), formats);
    }
    let place = format!("{path}.JSONPath");
    if column.json_path.is_empty() {
        faults.required(place, "");
    } else if !column.json_path.starts_with('.') {
        let detail = "must be a simple json path starting with .";
        faults.invalid(place, &json!(column.json_path), detail);
    } else if !crate::api::is_path(&column.json_path) {
        let detail = "is an invalid path: expected fields, indexes and filters like \
                      [?(@.type==\"Ready\")]";
        faults.invalid(place, &json!(column.json_path), detail);
    }
}

fn check_names(given: &CustomResourceDefinitionNames, faults: &mut Faults) {
    let mut label = |field: String, text: &str, mixed: bool| {
        if text.is_empty() {
            return;
        }
        let tested = if mixed {
            text.to_lowercase()
        } else {
            text.to_owned()
        };
        if let Err(why) = names::dns_1035_label(&tested) {
            let before = if mixed {
                "may have mixed case, but should otherwise match: "
            } else {
                ""
            };
            faults.invalid(field, &text.into(), format!("{before}{why}"));
        }
    };
    let (singular, list) = (&given.singular, &given.list_kind);
    label("spec.names.plural".to_owned(), &given.plural, false);
    label(
        "spec.names.singular".to_owned(),
        singular.as_deref().unwrap_or_default(),
        false,
    );
    label("spec.names.kind".to_owned(), &given.kind, true);
    label(
        "spec.names.listKind".to_owned(),
        list.as_deref().unwrap_or_default(),
        true,
    );
    for (field, all) in [
        ("shortNames", &given.short_names),
        ("categories", &given.categories),
    ] {
        for (at, text) in all.iter().flatten().enumerate() {
            label(format!("spec.names.{field}[{at}]"), text, false);
        }
    }
    if !given.kind.is_empty() && list.as_ref() == Some(&given.kind) {
        let detail = "kind and listKind may not be the same";
        faults.invalid("spec.names.listKind", &json!(given.kind), detail);
    }
}

fn conversion(crd: &CustomResourceDefinition, faults: &mut Faults) {
    let Some(conversion) = &crd.spec.conversion else {
        return;
    };
    let place = "spec.conversion.strategy";
    match conversion.strategy.as_str() {
        "" => faults.required(place, ""),
        "None" if conversion.webhook.is_some() => {
            let detail = "should not be set when strategy is not set to Webhook";
            faults.forbidden("spec.conversion.webhook", detail);
        }
        "None" => {}
        "Webhook" if crd.spec.versions.len() == 1 => {}
        "Webhook" => {
            let detail = "the embedded API calls no webhooks: objects of several versions can \
                          only differ in their apiVersion, with the strategy None";
            faults.invalid(place, &json!("Webhook"), detail);
        }
        other => {
            let known = [json!("None"), json!("Webhook")];
            faults.unsupported(place, &json!(other), &known);
        }
    }
}

/// What may not change.
pub(super) fn changes(object: &Value, old: &Value, faults: &mut Faults) {
    let (new, old_spec) = (&object["spec"], &old["spec"]);
    let established = super::condition(old, "Established");
    for (path, pointer, always) in [
        ("spec.scope", "/scope", false),
        ("spec.names.kind", "/names/kind", false),
        ("spec.group", "/group", true),
        ("spec.names.plural", "/names/plural", true),
    ] {
        let value = new.pointer(pointer).unwrap_or(&Value::Null);
        if (always || established) && Some(value) != old_spec.pointer(pointer) {
            faults.invalid(path, value, "field is immutable");
        }
    }
}

/// Every version in which objects may still be stored must be there.
pub(super) fn stored_versions(crd: &CustomResourceDefinition, faults: &mut Faults) {
    let stored = crd.status.as_ref().and_then(|s| s.stored_versions.as_ref());
    for (at, name) in stored.into_iter().flatten().enumerate() {
        if crd
            .spec
            .versions
            .iter()
            .all(|version| version.name != *name)
        {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must \
                 remain in spec.versions until a storage migration ensures no data remains \
                 persisted in {name} and removes {name} from status.storedVersions"
            );
            faults.invalid(format!("status.storedVersions[{at}]"), &json!(name), detail);
        }
    }
}

//! What every object's metadata must look like, as in Kubernetes: names, labels, annotations.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Errors, shown};
use crate::annotations;
use crate::api::metadata::MAX_ANNOTATIONS;
use crate::api::names;

/// The most characters of a DNS label.
const MAX_LABEL: usize = 63;
/// The most characters of a DNS subdomain.
const MAX_SUBDOMAIN: usize = 253;

const LABEL: &str = "expected at most 63 lower case letters, digits and '-', with a letter or \
                     digit at both ends (a DNS-1123 label)";
const SUBDOMAIN: &str = "expected at most 253 lower case letters, digits, '-' and '.', with a \
                         letter or digit at both ends of each part (a DNS-1123 subdomain)";

/// What names of a kind's objects look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// One part of a DNS name.
    Label,
    /// A DNS name.
    Subdomain,
}

impl NameRule {
    pub(crate) fn allows(self, name: &str) -> bool {
        match self {
            Self::Label => is_label(name),
            Self::Subdomain => is_subdomain(name),
        }
    }

    pub(crate) fn expectation(self) -> &'static str {
        match self {
            Self::Label => LABEL,
            Self::Subdomain => SUBDOMAIN,
        }
    }
}

/// Whether the text is a DNS-1123 label.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether the text is a DNS-1123 subdomain. Its parts are not bounded to 63, as in Kubernetes.
pub(crate) fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(part)
}

/// Reports what is wrong with an object's metadata.
pub(crate) fn check(meta: &ObjectMeta, rule: NameRule, namespaced: bool, errors: &mut Errors) {
    check_name(meta, rule, errors);
    match (meta.namespace.as_deref(), namespaced) {
        (None | Some(""), true) => errors.missing("metadata.namespace"),
        (Some(name), true) if !is_label(name) => {
            errors.invalid("metadata.namespace", name, LABEL);
        }
        (Some(name), false) if !name.is_empty() => {
            errors.forbidden(
                "metadata.namespace",
                "objects of this kind have no namespace",
            );
        }
        _ => {}
    }
    for (key, value) in meta.labels.iter().flatten() {
        report("metadata.labels", key, names::label_key(key), errors);
        report("metadata.labels", value, names::label_value(value), errors);
    }
    let mut bytes = 0;
    for (key, value) in meta.annotations.iter().flatten() {
        bytes += key.len() + value.len();
        // As in Kubernetes, where keys of annotations may be written in capitals.
        let found = names::label_key(&key.to_ascii_lowercase());
        report("metadata.annotations", key, found, errors);
    }
    if bytes > MAX_ANNOTATIONS {
        let message = format!("may not be more than {MAX_ANNOTATIONS} bytes");
        errors.push("FieldValueTooLong", "metadata.annotations", message);
    }
}

/// Reports a value that is wrong in Kubernetes' words.
fn report(field: &str, value: &str, found: Result<(), String>, errors: &mut Errors) {
    if let Err(why) = found {
        let message = format!("{}: {why}", shown(&value.into()));
        errors.push("FieldValueInvalid", field, message);
    }
}

fn check_name(meta: &ObjectMeta, names: NameRule, errors: &mut Errors) {
    let name = meta.name.as_deref().unwrap_or_default();
    let prefix = meta.generate_name.as_deref().unwrap_or_default();
    if !name.is_empty() {
        if !names.allows(name) {
            errors.invalid("metadata.name", name, names.expectation());
        }
    } else if prefix.is_empty() {
        errors.missing_because("metadata.name", "name or generateName is required");
    } else if !names.allows(&format!("{prefix}x")) {
        errors.invalid("metadata.generateName", prefix, names.expectation());
    }
}

/// Reports values of annotations that nobody could use, and names under our prefixes that nobody
/// reads.
pub(crate) fn check_annotations(meta: &ObjectMeta, errors: &mut Errors) {
    let Some(found) = &meta.annotations else {
        return;
    };
    for error in annotations::check(found) {
        let path = format!("metadata.annotations[{}]", error.name);
        errors.invalid(&path, &error.value, &error.expected);
    }
    for name in found.keys() {
        let prefixes = [annotations::DELIVERY_PREFIX, annotations::LOG_PREFIX];
        let ours = prefixes.into_iter().find(|prefix| name.starts_with(prefix));
        if let Some(prefix) = ours
            && !annotations::OURS.contains(&name.as_str())
        {
            let known: Vec<_> = annotations::OURS
                .into_iter()
                .filter(|known| known.starts_with(prefix))
                .collect();
            let detail = format!("unknown annotation, expected one of {}", known.join(", "));
            errors.invalid_key("metadata.annotations", name, &detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_dns() {
        for name in ["a", "a-b", "0", "a0-9z", &"a".repeat(63)] {
            assert!(is_label(name) && is_subdomain(name), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a_b", "a/b", "ä", "a b"] {
            assert!(!is_label(name) && !is_subdomain(name), "{name}");
        }
        assert!(!is_label("a.b") && is_subdomain("a.b"));
        assert!(!is_label(&"a".repeat(64)) && is_subdomain(&"a".repeat(64)));
        for name in ["a..b", ".a", "a.", "a.-b", &"a".repeat(254)] {
            assert!(!is_subdomain(name), "{name}");
        }
    }
}

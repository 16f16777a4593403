//! Field errors in Knative's words.
//!
//! The message begins as Knative's webhook words it, path included, because people search for
//! those texts and scripts match them; what was expected follows after a colon.

use serde_json::Value;

use crate::resource::FieldError;

/// The most errors that are reported of one object.
pub(crate) const MAX_ERRORS: usize = 100;
/// The most characters of a value that are repeated in a message.
const MAX_SHOWN: usize = 128;
/// The most characters of a message that comes from a parser.
const MAX_MESSAGE: usize = 512;

/// A field of an object at a path.
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// A value as JSON, cut to a length that fits a message.
pub(crate) fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    cut_to(text, MAX_SHOWN)
}

fn cut_to(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Collects what is wrong with an object, at most [`MAX_ERRORS`] things.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<FieldError>);

impl Errors {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    pub(crate) fn push(&mut self, reason: &'static str, field: &str, message: String) {
        if self.0.len() < MAX_ERRORS {
            self.0.push(FieldError {
                field: field.to_owned(),
                message,
                reason,
            });
        }
    }

    pub(crate) fn missing(&mut self, path: &str) {
        self.push(
            "FieldValueRequired",
            path,
            format!("missing field(s): {path}"),
        );
    }

    pub(crate) fn missing_because(&mut self, path: &str, detail: &str) {
        self.push(
            "FieldValueRequired",
            path,
            format!("missing field(s): {path}: {detail}"),
        );
    }

    /// None of the fields is set, and one must be. They stand under `parent`.
    pub(crate) fn none_of(&mut self, parent: &str, fields: &[&str]) {
        let paths: Vec<_> = fields.iter().map(|field| join(parent, field)).collect();
        let message = format!("expected at least one, got none: {}", paths.join(", "));
        self.push("FieldValueRequired", parent, message);
    }

    pub(crate) fn invalid(&mut self, path: &str, value: impl std::fmt::Display, detail: &str) {
        let value = cut(&value.to_string());
        // A fault of the whole object has no path.
        let separator = if path.is_empty() { "" } else { ": " };
        let message = format!("invalid value: {value}: {path}{separator}{detail}");
        self.push("FieldValueInvalid", path, message);
    }

    pub(crate) fn invalid_key(&mut self, path: &str, key: &str, detail: &str) {
        let message = format!("invalid key name \"{}\": {path}: {detail}", cut(key));
        self.push("FieldValueInvalid", path, message);
    }

    pub(crate) fn unsupported<'a>(
        &mut self,
        path: &str,
        value: &str,
        allowed: impl IntoIterator<Item = &'a str>,
    ) {
        let allowed: Vec<_> = allowed
            .into_iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        let (value, allowed) = (cut(value), allowed.join(", "));
        let message = format!("invalid value: {value}: {path}: expected one of {allowed}");
        self.push("FieldValueNotSupported", path, message);
    }

    pub(crate) fn forbidden(&mut self, path: &str, detail: &str) {
        let message = format!("must not set the field(s): {path}: {detail}");
        self.push("FieldValueForbidden", path, message);
    }

    pub(crate) fn wrong_type(&mut self, path: &str, message: &str) {
        self.push("FieldValueTypeInvalid", path, cut_to(message, MAX_MESSAGE));
    }

    /// Reports a field of an object that is `immutable`, in the words of Kubernetes.
    pub(crate) fn sealed(&mut self, path: &str, old: &Value, new: &Value) {
        if old != new {
            let message = "field is immutable when `immutable` is set".to_owned();
            self.push("FieldValueForbidden", path, message);
        }
    }

    /// Reports a field that may not change and did.
    pub(crate) fn immutable(&mut self, path: &str, old: &Value, new: &Value) {
        if old != new {
            let (old, new) = (shown(old), shown(new));
            let message = format!("Immutable fields changed (-old +new): {path}: -{old} +{new}");
            self.push("FieldValueForbidden", path, message);
        }
    }
}

//! Field errors in the words of Kubernetes, and the paths of fields.

use std::fmt;

use serde_json::Value;

use crate::resource::FieldError;

/// The most errors that are reported of one object.
pub(crate) const MAX_ERRORS: usize = 100;
/// The most characters of a value that are repeated in a message.
const MAX_SHOWN: usize = 512;

/// The path of a value, as a list of steps from the object down. Costs nothing until it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    /// The object.
    Root,
    /// A field.
    Field(&'a Self, &'a str),
    /// A value in a map, which is written like a field.
    Key(&'a Self, &'a str),
    /// An item.
    Index(&'a Self, usize),
}

impl Path<'_> {
    fn write(&self, out: &mut fmt::Formatter<'_>, brackets: bool) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(parent, name) if brackets => {
                parent.write(out, brackets)?;
                write!(out, "[{name}]")
            }
            Self::Field(parent, name) | Self::Key(parent, name) => {
                parent.write(out, brackets)?;
                let dot = if matches!(parent, Self::Root) {
                    ""
                } else {
                    "."
                };
                write!(out, "{dot}{name}")
            }
            Self::Index(parent, at) => {
                parent.write(out, brackets)?;
                write!(out, "[{at}]")
            }
        }
    }

    /// The path with the keys of maps in brackets, as checks of lists write it.
    pub(crate) fn bracketed(&self) -> String {
        struct Bracketed<'a>(&'a Path<'a>);
        impl fmt::Display for Bracketed<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(f, true)
            }
        }
        Bracketed(self).to_string()
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A value as messages show it.
pub(crate) fn shown(value: &Value) -> String {
    cut(value.to_string())
}

/// What is wrong with an object, at most [`MAX_ERRORS`] things.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<FieldError>);

impl Faults {
    /// Nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many things are wrong so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of these reasons is among them.
    pub(crate) fn has(&self, reasons: &[&str]) -> bool {
        self.0.iter().any(|fault| reasons.contains(&fault.reason))
    }

    /// Whether nothing else is wrong than that fields are missing.
    pub(crate) fn only_missing(&self) -> bool {
        self.0
            .iter()
            .all(|fault| fault.reason == "FieldValueRequired")
    }

    /// All of them.
    pub(crate) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// Adds what was found elsewhere.
    pub(crate) fn append(&mut self, others: Vec<FieldError>) {
        let room = MAX_ERRORS.saturating_sub(self.0.len());
        self.0.extend(others.into_iter().take(room));
    }

    fn push(&mut self, reason: &'static str, field: String, message: String) {
        if self.0.len() < MAX_ERRORS {
            self.0.push(FieldError {
                field,
                message,
                reason,
            });
        }
    }

    /// A field must be there.
    pub(crate) fn required(&mut self, field: impl fmt::Display, detail: &str) {
        self.push("FieldValueRequired", field.to_string(), detail.to_owned());
    }

    /// A value is wrong.
    pub(crate) fn invalid(
        &mut self,
        field: impl fmt::Display,
        value: &Value,
        detail: impl fmt::Display,
    ) {
        let message = format!("{}: {detail}", shown(value));
        self.push("FieldValueInvalid", field.to_string(), message);
    }

    /// A value has the wrong type.
    pub(crate) fn wrong_type(
        &mut self,
        field: impl fmt::Display,
        value: &str,
        detail: impl fmt::Display,
    ) {
        let message = format!("{}: {detail}", shown(&value.into()));
        self.push("FieldValueTypeInvalid", field.to_string(), message);
    }

    /// A value is wrong for another reason than those here, or is not to be shown.
    pub(crate) fn other(
        &mut self,
        reason: &'static str,
        field: impl fmt::Display,
        detail: impl fmt::Display,
    ) {
        self.push(reason, field.to_string(), detail.to_string());
    }

    /// A field may not be set.
    pub(crate) fn forbidden(&mut self, field: impl fmt::Display, detail: impl fmt::Display) {
        self.push("FieldValueForbidden", field.to_string(), detail.to_string());
    }

    /// A value is none of those that are known.
    pub(crate) fn unsupported<'a>(
        &mut self,
        field: impl fmt::Display,
        value: &Value,
        known: impl IntoIterator<Item = &'a Value>,
    ) {
        let known: Vec<String> = known
            .into_iter()
            .map(|value| match value {
                Value::String(_) => value.to_string(),
                other => Value::from(other.to_string()).to_string(),
            })
            .collect();
        let message = format!("{}: supported values: {}", shown(value), known.join(", "));
        self.push("FieldValueNotSupported", field.to_string(), message);
    }

    /// A value is there twice.
    pub(crate) fn duplicate(&mut self, field: impl fmt::Display, value: &Value) {
        self.push("FieldValueDuplicate", field.to_string(), shown(value));
    }

    /// A text is too long.
    pub(crate) fn too_long(&mut self, field: impl fmt::Display, most: u64) {
        let message = format!("may not be more than {most} bytes");
        self.push("FieldValueTooLong", field.to_string(), message);
    }

    /// A list is too long.
    pub(crate) fn too_many(&mut self, field: impl fmt::Display, count: usize, most: u64) {
        let items = if most == 1 { "item" } else { "items" };
        let message = format!("{count}: must have at most {most} {items}");
        self.push("FieldValueTooMany", field.to_string(), message);
    }
}

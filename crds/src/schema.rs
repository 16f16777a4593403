//! The schema of a kind, which is not read before it is needed.
//!
//! The API serves some thirty kinds, of which a process uses a few. As JSON values their schemas
//! would take most of the memory of an idle process; so a schema is a text, or the name of a type
//! in a text, until somebody asks for it. What asks most (admission, ownership of fields, patches)
//! shares one compiled form, which stays; documents for clients are read anew each time.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::builtin;
use crate::structural::words::Faults;
use crate::structural::{Rules, Schema};

/// Faults after which rules cannot be evaluated, as the object has not the shape they speak of.
const BLOCKING: [&str; 5] = [
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
];

/// The schema of a kind in one version. Clones share what was read.
///
/// It stands for its compiled form; the first use of that reads the text.
#[derive(Clone)]
pub struct KindSchema(Arc<Kept>);

struct Kept {
    text: Text,
    compiled: OnceLock<Compiled>,
}

#[derive(Debug, PartialEq, Eq)]
enum Text {
    /// A type of Kubernetes' own.
    BuiltIn(&'static str),
    /// The schema as JSON.
    Json(Box<str>),
}

#[derive(Debug)]
struct Compiled {
    schema: Schema,
    rules: Option<Rules>,
}

impl KindSchema {
    /// The schema of a type of Kubernetes' own.
    pub(crate) fn built_in(name: &'static str) -> Self {
        Self::new(Text::BuiltIn(name))
    }

    fn new(text: Text) -> Self {
        Self(Arc::new(Kept {
            text,
            compiled: OnceLock::new(),
        }))
    }

    /// The OpenAPI v3 schema, with the extensions that say how lists and maps are merged:
    /// `x-kubernetes-list-type`, `x-kubernetes-list-map-keys`, `x-kubernetes-map-type`, and for
    /// kinds of Kubernetes itself `x-kubernetes-patch-strategy` and
    /// `x-kubernetes-patch-merge-key`. Read anew each time.
    #[must_use]
    pub fn document(&self) -> Value {
        match &self.0.text {
            Text::BuiltIn(name) => builtin::schema(name),
            // The text was written from a value.
            Text::Json(text) => serde_json::from_str(text).unwrap_or_default(),
        }
    }

    fn compiled(&self) -> &Compiled {
        self.0.compiled.get_or_init(|| {
            let schema = self.document();
            Compiled {
                schema: Schema::compile(&schema),
                rules: Rules::compile(&schema),
            }
        })
    }

    /// Whether the compiled form was made.
    #[cfg(test)]
    pub(crate) fn is_read(&self) -> bool {
        self.0.compiled.get().is_some()
    }

    /// Drops what the schema does not name, and writes its defaults.
    pub(crate) fn read(&self, object: &mut Value) {
        self.prune(object);
        self.fill_in(object);
    }

    /// What is said of the first value of an object that has another type than it should.
    pub(crate) fn mistyped(&self, object: &Value) -> Option<String> {
        let mut faults = Faults::default();
        self.validate_but_lists(object, &mut faults);
        let mut faults = faults.into_vec().into_iter();
        // A field that is null is one that is not there.
        let found = faults.find(|fault| {
            fault.reason == "FieldValueTypeInvalid" && !fault.message.starts_with("\"null\"")
        })?;
        // Before it stands the value, or the name of its type.
        let said = found
            .message
            .split_once(": ")
            .map(|(_, said)| said.to_owned());
        said.or(Some(found.message))
    }

    /// Reports everything that is wrong with an object by the schema and its rules. `old` is the
    /// stored object on an update.
    pub(crate) fn judge(&self, object: &Value, old: Option<&Value>) -> Faults {
        let Compiled { schema, rules } = self.compiled();
        let mut faults = Faults::default();
        match self.0.text {
            // Their types say how lists are merged, and not that items differ: an environment variable
            // may be there twice.
            Text::BuiltIn(_) => schema.validate_but_lists(object, &mut faults),
            Text::Json(_) => schema.validate(object, &mut faults),
        }
        let Some(rules) = rules else {
            return faults;
        };
        if faults.has(&BLOCKING) {
            let detail = "some validation rules were not checked because the object was invalid; \
                          correct the existing errors to complete validation";
            faults.invalid("<nil>", &Value::Null, detail);
        } else {
            rules.evaluate(object, old, &mut faults);
        }
        faults
    }
}

impl Deref for KindSchema {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        &self.compiled().schema
    }
}

impl From<&Value> for KindSchema {
    fn from(schema: &Value) -> Self {
        Self::new(Text::Json(schema.to_string().into()))
    }
}

impl PartialEq for KindSchema {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for KindSchema {}

impl std::fmt::Debug for KindSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KindSchema({:?})", self.0.text)
    }
}

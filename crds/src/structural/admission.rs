//! Admission of objects whose kind is defined by a schema alone.

use serde_json::Value;

use super::words::Faults;
use super::{Rules, Schema};
use crate::resource::{Admission, AdmissionContext, FieldError};

/// Faults after which rules cannot be evaluated, as the object has not the shape they speak of.
const BLOCKING: [&str; 4] = [
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
];

/// Prunes, fills in and validates by a schema and its rules.
#[derive(Debug)]
pub(crate) struct StructuralAdmission {
    schema: Schema,
    rules: Option<Rules>,
}

impl StructuralAdmission {
    /// Compiles the schema of a version.
    pub(crate) fn new(schema: &Value) -> Self {
        Self {
            schema: Schema::compile(schema),
            rules: Rules::compile(schema),
        }
    }
}

impl Admission for StructuralAdmission {
    fn default(
        &self,
        object: &mut Value,
        _: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        self.read(object);
        Ok(())
    }

    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        let mut faults = Faults::default();
        self.schema.validate(object, &mut faults);
        let Some(rules) = &self.rules else {
            return faults.into_vec();
        };
        let errors = faults.into_vec();
        let blocked = errors.iter().any(|e| BLOCKING.contains(&e.reason));
        let mut faults = Faults::default();
        faults.append(errors);
        if blocked {
            let detail = "some validation rules were not checked because the object was invalid; \
                          correct the existing errors to complete validation";
            faults.invalid("<nil>", &Value::Null, detail);
        } else {
            rules.evaluate(object, old, &mut faults);
        }
        faults.into_vec()
    }

    fn read(&self, object: &mut Value) {
        self.schema.prune(object);
        self.schema.fill_in(object);
    }
}

//! Admission of what only this crate can judge: that a Trigger's filters can be built.
//!
//! The resource types know the structure of `filters` and nothing of expressions. [`kinds`] is their
//! list of kinds with Trigger's admission wrapped: whatever it says comes first, and where it has
//! nothing to say against an element, the filter is compiled as the dispatcher will compile it. So an
//! expression that cannot be read is refused with the position of the fault when it is written. An
//! update that leaves `filters` as they are is not refused for them, so that a Trigger which was
//! stored under other rules can still be changed and marked.

use std::sync::Arc;

use heddle_crds::eventing::Trigger;
use heddle_crds::eventing::filter::{Attributes, SubscriptionsApiFilter};
use heddle_crds::resource::{Admission, AdmissionContext, FieldError, ResourceKind};
use serde_json::Value;

use crate::filter::explain::{self, Clause};
use crate::filter::spec::Texts;
use crate::filter::{Filter, FilterError, FilterFault, Spec, Subject};

/// Every kind that the API serves, with everything that is refused on admission.
#[must_use]
pub fn kinds() -> Vec<ResourceKind> {
    let mut kinds = heddle_crds::kinds();
    for kind in &mut kinds {
        if kind.group == "eventing.knative.dev" && kind.kind == "Trigger" {
            kind.admission = Arc::new(TriggerAdmission {
                inner: Arc::clone(&kind.admission),
            });
        }
    }
    kinds
}

/// The compiled filter of a Trigger.
///
/// # Errors
///
/// Everything that is wrong with it; at least one thing.
pub fn filter(trigger: &Trigger) -> Result<Filter, Vec<FilterError>> {
    let (attributes, filters) = wanted(trigger);
    Filter::compile(&attributes, &filters)
}

/// Why an event passes the filter of a Trigger, or does not.
///
/// # Errors
///
/// As [`filter()`].
pub fn explain(trigger: &Trigger, subject: &Subject<'_>) -> Result<Clause, Vec<FilterError>> {
    let (attributes, filters) = wanted(trigger);
    explain::explain(&attributes, &filters, subject)
}

/// `filter.attributes` and `filters` as plain data.
fn wanted(trigger: &Trigger) -> (Texts, Vec<Spec>) {
    let spec = &trigger.spec;
    let attributes = spec
        .filter
        .as_ref()
        .and_then(|filter| filter.attributes.as_ref());
    let attributes = attributes.map_or_else(Texts::default, texts);
    (attributes, spec.filters.iter().map(element).collect())
}

fn texts(attributes: &Attributes) -> Texts {
    let texts = attributes.iter();
    texts
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect()
}

/// An element as plain data. Recurses as deep as the JSON that the object was read from, whose
/// depth the reader bounds.
fn element(filter: &SubscriptionsApiFilter) -> Spec {
    let texts = |attributes: &Option<Attributes>| {
        let attributes = attributes.as_ref();
        attributes.map_or_else(Texts::default, texts)
    };
    let list =
        |list: &Option<Vec<SubscriptionsApiFilter>>| list.iter().flatten().map(element).collect();
    Spec {
        exact: texts(&filter.exact),
        prefix: texts(&filter.prefix),
        suffix: texts(&filter.suffix),
        all: list(&filter.all),
        any: list(&filter.any),
        not: filter.not.as_deref().map(|not| Box::new(element(not))),
        cesql: filter.cesql.clone(),
        data: filter.data.clone(),
    }
}

struct TriggerAdmission {
    inner: Arc<dyn Admission>,
}

impl Admission for TriggerAdmission {
    fn default(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        self.inner.default(object, old, context)
    }

    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        let mut errors = self.inner.validate(object, old, context);
        let of_filters = |object: &Value| object.pointer("/spec/filters").cloned();
        let filters = of_filters(object);
        let deleted = object.pointer("/metadata/deletionTimestamp").is_some();
        if filters.is_none() || deleted || old.is_some_and(|old| of_filters(old) == filters) {
            return errors;
        }
        // What cannot be decoded has been reported.
        let Ok(trigger) = serde_json::from_value::<Trigger>(object.clone()) else {
            return errors;
        };
        for error in filter(&trigger).err().unwrap_or_default() {
            let told = errors.iter().any(|known| {
                known.field == error.path
                    // A wrong name is reported at its map.
                    || error.path.strip_prefix(&known.field).is_some_and(|rest| {
                        rest.starts_with('.') && error.fault == FilterFault::Name
                    })
            });
            if !told {
                errors.push(field_error(&error));
            }
        }
        errors
    }
}

fn field_error(error: &FilterError) -> FieldError {
    FieldError {
        field: error.path.clone(),
        message: format!("invalid value: {error}"),
        reason: "FieldValueInvalid",
    }
}

#[cfg(test)]
mod tests;

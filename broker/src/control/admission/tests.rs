//! Triggers whose filters cannot be built are refused where they are written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use heddle_crds::resource::{AdmissionContext, FieldError};
use serde_json::{Value, json};

use super::{filter, kinds};
use crate::event::EventBuilder;
use crate::filter::Filter;

struct NoConfig;

impl AdmissionContext for NoConfig {
    fn config_map(&self, _: &str, _: &str) -> Option<BTreeMap<String, String>> {
        None
    }
}

fn trigger(filters: &Value) -> Value {
    json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "t", "namespace": "n"},
        "spec": {"broker": "b", "subscriber": {"uri": "http://s/"}, "filters": filters},
    })
}

fn admit(mut object: Value, old: Option<&Value>) -> Vec<FieldError> {
    let kinds = kinds();
    let kind = kinds.iter().find(|kind| kind.kind == "Trigger").unwrap();
    if let Err(errors) = kind.admission.default(&mut object, old, &NoConfig) {
        return errors;
    }
    kind.admission.validate(&object, old, &NoConfig)
}

#[test]
fn good_filters_are_admitted_and_compiled() {
    let object = trigger(&json!([
        {"exact": {"type": "a"}},
        {"not": {"any": [{"cesql": "id = '2'"}, {"prefix": {"source": "/x"}}]}},
    ]));
    assert_eq!(admit(object.clone(), None), []);
    let filter = filter(&serde_json::from_value(object).unwrap()).unwrap();
    let event = |id, ty| EventBuilder::new(id, "/s", ty).build().unwrap();
    assert!(filter.matches(&event("1", "a")));
    assert!(!filter.matches(&event("2", "a")));
    assert!(!filter.matches(&event("1", "b")));
    assert_eq!(kinds().len(), heddle_crds::kinds().len());
}

#[test]
fn filters_override_filter() {
    let compiled = |spec: Value| {
        let mut object = trigger(&json!([]));
        object["spec"]
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        filter(&serde_json::from_value(object).unwrap()).unwrap()
    };
    assert_eq!(compiled(json!({"filter": {}})), Filter::All);
    let attributes = json!({"filter": {"attributes": {"type": "a"}}});
    assert!(matches!(
        compiled(attributes.clone()),
        Filter::Attributes(_)
    ));
    let mut both = attributes;
    both["filters"] = json!([{"cesql": "TRUE"}]);
    assert!(matches!(compiled(both), Filter::Dialects(_)));
}

#[test]
fn faults_are_told_once_and_at_their_place() {
    let object = trigger(&json!([
        {"exact": {"type": "a"}},
        {"all": [{"cesql": "id = 'a' AND"}, {"cesql": "LENGTH(id)"}]},
        {"exact": {"Type": "a"}},
        {"prefix": {"type": ""}},
        {},
        {"any": [{"heddle.dev/data": {"path": "$.a", "exists": "yes"}}]},
        {"cesql": "TRUE", "heddle.dev/data": {"path": "$", "exists": true}},
    ]));
    let errors = admit(object, None);
    let mut found: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "spec.filters[1].all[0].cesql",
            "spec.filters[1].all[1].cesql",
            "spec.filters[2].exact",
            "spec.filters[3].prefix.type",
            "spec.filters[4]",
            "spec.filters[5].any[0][heddle.dev/data].exists",
            "spec.filters[6]",
        ],
        "{errors:?}"
    );
    let syntax = errors
        .iter()
        .find(|error| error.field.ends_with("all[0].cesql"))
        .unwrap();
    assert_eq!(
        syntax.message,
        "invalid value: spec.filters[1].all[0].cesql: expected an expression, found the end \
         (at byte 12)"
    );
    assert_eq!(syntax.reason, "FieldValueInvalid");
}

#[test]
fn what_is_stored_stays_and_can_be_deleted() {
    let old = trigger(&json!([{"cesql": "id ="}]));
    let mut new = old.clone();
    new["metadata"]["annotations"] = json!({"a": "b"});
    assert_eq!(admit(new, Some(&old)), []);
    let worse = trigger(&json!([{"cesql": "id = ="}]));
    assert_eq!(admit(worse, Some(&old)).len(), 1);
    let mut deleted = trigger(&json!([{"cesql": "id ="}]));
    deleted["metadata"]["deletionTimestamp"] = json!("2025-01-01T00:00:00Z");
    assert_eq!(admit(deleted, None), []);
}

#[test]
fn whatever_is_sent_is_answered() {
    for filters in [
        json!(null),
        json!({}),
        json!("x"),
        json!([null]),
        json!([{"all": "x"}]),
    ] {
        let _ = admit(trigger(&filters), None);
    }
    assert!(!admit(json!([]), None).is_empty());
}

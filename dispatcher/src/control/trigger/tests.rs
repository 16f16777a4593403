//! Plans of Triggers, without a log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use super::*;

/// The condition SubscriptionReady of a Trigger with these filters.
fn subscription_ready(filters: &Value) -> Value {
    condition(filters, &Facts::default(), "SubscriptionReady")
}

fn condition(filters: &Value, facts: &Facts, name: &str) -> Value {
    let trigger: Trigger = serde_json::from_value(json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "t", "namespace": "n"},
        "spec": {"broker": "b", "subscriber": {"uri": "http://s/"}, "filters": filters},
    }))
    .unwrap();
    let mut world = World::default();
    world.triggers.put(Arc::new(trigger));
    let key = Key {
        kind: "Trigger",
        namespace: "n".to_owned(),
        name: "t".to_owned(),
    };
    let steps = plan(&world, facts, &key, Timestamp::UNIX_EPOCH);
    let Some(Step::Write(Write::Status(_, _, status))) = steps.into_iter().next() else {
        panic!("a status was to be written");
    };
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|one| one["type"] == name);
    found.unwrap().clone()
}

#[test]
fn a_filter_that_cannot_be_built_makes_the_trigger_not_ready() {
    let good = subscription_ready(&json!([{"cesql": "id = 'a'"}]));
    assert_eq!(good["reason"], "NotConsuming");
    let bad = subscription_ready(&json!([{"exact": {"id": "a"}}, {"all": [{"cesql": "id ="}]}]));
    assert_eq!(bad["status"], "False");
    assert_eq!(bad["reason"], "FilterInvalid");
    assert_eq!(
        bad["message"],
        "spec.filters[1].all[0].cesql: expected an expression, found the end (at byte 4)"
    );
    let nothing = subscription_ready(&json!([{}]));
    assert_eq!(nothing["reason"], "FilterInvalid");
}

#[test]
fn a_filter_that_the_index_cannot_use_is_named_and_works() {
    let facts = Facts {
        running: [ConsumerId {
            kind: "trigger",
            namespace: "n".into(),
            name: "t".into(),
        }]
        .into(),
        ..Facts::default()
    };
    let reason = |filters: Value| {
        let found = condition(&filters, &facts, "SubscriptionReady");
        assert_eq!(found["status"], "True", "{found}");
        found["reason"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(reason(json!([])), "", "every event is wanted");
    assert_eq!(reason(json!([{"exact": {"type": "a"}}])), "");
    let data = json!({"heddle.dev/data": {"path": "$.a", "exact": 1}});
    assert_eq!(reason(json!([data])), "FilterNotIndexed");
    assert_eq!(reason(json!([data, {"prefix": {"type": "a"}}])), "");
    assert_eq!(
        reason(json!([{"not": {"exact": {"type": "a"}}}])),
        "FilterNotIndexed"
    );
    assert_eq!(reason(json!([{"cesql": "FALSE"}])), "FilterPassesNothing");
}

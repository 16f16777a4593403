//! Plans of Triggers, without a log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use super::*;

/// The condition SubscriptionReady of a Trigger with these filters.
fn subscription_ready(filters: &Value) -> Value {
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
    let steps = plan(&world, &Facts::default(), &key, Timestamp::UNIX_EPOCH);
    let Some(Step::Write(Write::Status(_, _, status))) = steps.into_iter().next() else {
        panic!("a status was to be written");
    };
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions
        .iter()
        .find(|one| one["type"] == "SubscriptionReady");
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

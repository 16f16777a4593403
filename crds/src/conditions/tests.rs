//! The rules of [`ConditionSet`](super::ConditionSet), one by one and at random.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const SET: ConditionSet = ConditionSet::living(&["Addressable", "IngressReady"]);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn summary(conditions: &[Condition]) -> (ConditionStatus, &str, &str) {
    let ready = find(conditions, READY).unwrap();
    (ready.status, &ready.reason, &ready.message)
}

#[test]
fn a_new_object_is_unknown_in_everything_and_sorted() {
    let mut conditions = Vec::new();
    SET.manage(&mut conditions, at(1)).initialize();
    let types: Vec<_> = conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status))
        .collect();
    let unknown = ConditionStatus::Unknown;
    assert_eq!(
        types,
        [
            ("Addressable", unknown),
            ("IngressReady", unknown),
            ("Ready", unknown)
        ]
    );
}

#[test]
fn ready_needs_every_dependent() {
    let mut conditions = Vec::new();
    let mut manager = SET.manage(&mut conditions, at(1));
    manager.mark_true("Addressable");
    assert!(!manager.is_happy(), "IngressReady was never reported");
    manager.mark_true("IngressReady");
    assert!(manager.is_happy());
}

#[test]
fn false_outweighs_unknown_and_brings_its_reason() {
    let mut conditions = Vec::new();
    let mut manager = SET.manage(&mut conditions, at(1));
    manager.initialize();
    manager.mark_false("Addressable", "NoAddress", "the ingress has no address");
    manager.mark_unknown("IngressReady", "Starting", "the ingress is starting");
    assert_eq!(
        summary(&conditions),
        (
            ConditionStatus::False,
            "NoAddress",
            "the ingress has no address"
        )
    );
    let mut manager = SET.manage(&mut conditions, at(2));
    manager.mark_true("Addressable");
    assert_eq!(
        summary(&conditions),
        (
            ConditionStatus::Unknown,
            "Starting",
            "the ingress is starting"
        )
    );
}

#[test]
fn the_latest_failure_is_told() {
    let mut conditions = Vec::new();
    SET.manage(&mut conditions, at(1))
        .mark_false("IngressReady", "Old", "old");
    SET.manage(&mut conditions, at(2))
        .mark_false("Addressable", "New", "new");
    SET.manage(&mut conditions, at(3)).mark_true("Elsewhere");
    assert_eq!(summary(&conditions).1, "New");
}

#[test]
fn the_transition_time_moves_with_the_status_only() {
    let mut conditions = Vec::new();
    SET.manage(&mut conditions, at(1))
        .mark_false("Addressable", "A", "a");
    SET.manage(&mut conditions, at(2))
        .mark_false("Addressable", "B", "b");
    let condition = find(&conditions, "Addressable").unwrap();
    assert_eq!(
        (condition.last_transition_time(), condition.reason.as_str()),
        (Some(at(1)), "B")
    );
    SET.manage(&mut conditions, at(3)).mark_true("Addressable");
    let condition = find(&conditions, "Addressable").unwrap();
    assert_eq!(condition.last_transition_time(), Some(at(3)));
    assert_eq!(
        (condition.reason.as_str(), condition.message.as_str()),
        ("", "")
    );
}

#[test]
fn times_are_kept_to_the_second() {
    let mut conditions = Vec::new();
    SET.manage(&mut conditions, "2026-01-02T03:04:05.678Z".parse().unwrap())
        .initialize();
    let json = serde_json::to_value(&conditions[0]).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "type": "Addressable", "status": "Unknown", "lastTransitionTime": "2026-01-02T03:04:05Z",
        })
    );
}

#[test]
fn an_informational_condition_never_makes_unready() {
    let mut conditions = Vec::new();
    let mut manager = SET.manage(&mut conditions, at(1));
    manager.mark_true("Addressable");
    manager.mark_true("IngressReady");
    manager.mark_false("RetentionHeld", "BehindTrigger", "a Trigger is far behind");
    assert!(manager.is_happy());
    assert_eq!(
        manager.get("RetentionHeld").unwrap().severity,
        SEVERITY_INFO
    );
    assert!(!manager.clear("Addressable"));
    assert!(manager.clear("RetentionHeld"));
    assert!(manager.get("RetentionHeld").is_none());
}

#[test]
fn a_dependent_that_is_new_to_a_ready_object_starts_true() {
    let mut conditions = Vec::new();
    ConditionSet::living(&["Addressable"])
        .manage(&mut conditions, at(1))
        .mark_true("Addressable");
    let mut manager = SET.manage(&mut conditions, at(2));
    manager.initialize();
    assert_eq!(
        manager.get("IngressReady").unwrap().status,
        ConditionStatus::True
    );
    assert!(manager.is_happy());
}

proptest! {
    #[test]
    fn the_summary_always_follows_from_the_dependents(
        marks in prop::collection::vec((0usize..3, 0usize..3), 0..30),
    ) {
        let mut conditions = Vec::new();
        SET.manage(&mut conditions, at(0)).initialize();
        for (second, (which, status)) in marks.into_iter().enumerate() {
            let type_ = ["Addressable", "IngressReady", "Informational"][which];
            let mut manager = SET.manage(&mut conditions, at(second as i64));
            match status {
                0 => manager.mark_true(type_),
                1 => manager.mark_false(type_, "F", "f"),
                _ => manager.mark_unknown(type_, "U", "u"),
            }
            let states: Vec<_> =
                SET.dependents().iter().map(|t| find(&conditions, t).unwrap().status).collect();
            let want = if states.contains(&ConditionStatus::False) {
                ConditionStatus::False
            } else if states.contains(&ConditionStatus::Unknown) {
                ConditionStatus::Unknown
            } else {
                ConditionStatus::True
            };
            prop_assert_eq!(summary(&conditions).0, want);
            prop_assert!(conditions.is_sorted_by(|a, b| a.type_ < b.type_));
        }
    }
}

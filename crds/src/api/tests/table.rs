use serde_json::json;

use super::{age, evaluate};

#[test]
fn paths_of_printer_columns_are_found() {
    let object = json!({
        "metadata": {"annotations": {"eventing.knative.dev/broker.class": "Heddle"}},
        "status": {"conditions": [
            {"type": "Addressable", "status": "False"}, {"type": "Ready", "status": "True"},
        ]},
    });
    for (path, expected) in [
        (
            ".status.conditions[?(@.type==\"Ready\")].status",
            Some(json!("True")),
        ),
        (
            ".status.conditions[?(@.type=='Ready')].status",
            Some(json!("True")),
        ),
        (".status.conditions[?(@.type==\"None\")].status", None),
        (".status.conditions[0].type", Some(json!("Addressable"))),
        (
            ".metadata.annotations.eventing\\.knative\\.dev/broker\\.class",
            Some(json!("Heddle")),
        ),
        (
            ".metadata.annotations['eventing.knative.dev/broker.class']",
            Some(json!("Heddle")),
        ),
        ("{.status.conditions[1].status}", Some(json!("True"))),
        (".status.missing.deep", None),
        ("..", None),
        (".status.conditions[", None),
    ] {
        assert_eq!(evaluate(&object, path), expected.as_ref(), "{path}");
    }
}

#[test]
fn ages_are_short() {
    let ages: Vec<String> = [
        0,
        119,
        120,
        185,
        3_600,
        3 * 3_600 + 60,
        50 * 3_600,
        30 * 86_400,
    ]
    .into_iter()
    .map(age)
    .collect();
    assert_eq!(
        ages,
        ["0s", "119s", "2m", "3m5s", "60m", "3h1m", "2d2h", "30d"]
    );
}

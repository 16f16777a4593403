//! Every refusal in `data/bad_manifests.yaml`, with its exact answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use support::{Config, admit, complete};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    config: BTreeMap<String, BTreeMap<String, String>>,
    old: Option<Value>,
    #[serde(default)]
    bare: bool,
    object: Value,
    errors: Vec<Refusal>,
}

#[derive(Deserialize, Serialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Refusal {
    field: String,
    reason: String,
    message: String,
}

#[test]
fn what_is_wrong_is_refused_with_field_reason_and_message() {
    let cases: Vec<Case> = serde_saphyr::from_str(include_str!("data/bad_manifests.yaml")).unwrap();
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert!(
        names.len() == cases.len() && cases.len() >= 60,
        "{} cases",
        cases.len()
    );
    let mut wrong = Vec::new();
    for mut case in cases {
        let config = Config(case.config);
        let old = case.old.map(|mut old| {
            complete(&mut old);
            admit(old, None, &config).expect(&case.name)
        });
        if !case.bare {
            complete(&mut case.object);
        }
        let found: Vec<_> = admit(case.object, old.as_ref(), &config)
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|e| Refusal {
                field: e.field,
                reason: e.reason.to_owned(),
                message: e.message,
            })
            .collect();
        if found.is_empty() || found != case.errors {
            wrong.push(json!({"name": case.name, "errors": found}).to_string());
        }
    }
    assert!(
        wrong.is_empty(),
        "answered otherwise:\n{}",
        wrong.join("\n")
    );
}

//! The compatibility kit of the specification, case by case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::event::{AttributeValue, Event, EventBuilder};
use crate::filter::cesql::{ErrorKind, Expression, Value};

const FILES: usize = 18;
const CASES: usize = 270;

#[derive(Deserialize)]
struct File {
    name: String,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    expression: Json,
    result: Option<Json>,
    error: Option<String>,
    event: Option<BTreeMap<String, Json>>,
    #[serde(default)]
    event_overrides: BTreeMap<String, Json>,
}

fn text(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn event(case: &Case) -> Event {
    let default = || {
        [
            ("specversion", "1.0"),
            ("id", "myId"),
            ("source", "http://localhost/source"),
            ("type", "myType"),
        ]
        .map(|(name, value)| (name.to_owned(), Json::from(value)))
        .into()
    };
    let mut attributes: BTreeMap<String, Json> = case.event.clone().unwrap_or_else(default);
    attributes.extend(case.event_overrides.clone());
    assert_eq!(attributes.remove("specversion"), Some("1.0".into()));
    let mut required = |name: &str| text(&attributes.remove(name).unwrap());
    let mut event = EventBuilder::new(required("id"), required("source"), required("type"));
    for (name, value) in attributes {
        let value: AttributeValue<'_> = match value {
            Json::Bool(flag) => flag.into(),
            Json::Number(number) => i32::try_from(number.as_i64().unwrap()).unwrap().into(),
            other => text(&other).into(),
        };
        event = event.attribute(name, value);
    }
    event.build().unwrap()
}

fn kind(name: &str) -> ErrorKind {
    match name {
        "parse" => ErrorKind::Parse,
        "math" => ErrorKind::Math,
        "cast" => ErrorKind::Cast,
        "missingAttribute" => ErrorKind::MissingAttribute,
        "missingFunction" => ErrorKind::MissingFunction,
        "functionEvaluation" => ErrorKind::FunctionEvaluation,
        "generic" => ErrorKind::Generic,
        other => panic!("the kit has an unknown error {other}"),
    }
}

/// What is wrong with the outcome of a case.
fn run(case: &Case) -> Option<String> {
    let source = match &case.expression {
        Json::Bool(flag) => flag.to_string(),
        other => text(other),
    };
    let wanted = case.error.as_deref().map(kind);
    let expression = match Expression::parse(&source) {
        Ok(expression) => expression,
        Err(_) if wanted == Some(ErrorKind::Parse) => return None,
        Err(error) => return Some(format!("{source}: {error}")),
    };
    let event = event(case);
    let found = expression.evaluate(&event);
    let value = match &case.result {
        Some(Json::Bool(flag)) => Value::Boolean(*flag),
        Some(Json::Number(number)) => Value::Integer(number.as_i64().unwrap().try_into().unwrap()),
        Some(Json::String(text)) => Value::String(text.into()),
        // Without a value only the error counts.
        None if wanted.is_some() => found.value.clone(),
        other => panic!("the kit has an unknown result {other:?}"),
    };
    let error = found.error.map(|error| error.kind());
    (found.value != value || error != wanted)
        .then(|| format!("{source}: wanted {value:?}, {wanted:?}; found {found:?}"))
}

#[test]
fn every_case_of_the_kit_holds() {
    let Some(data) = std::env::var_os("HEDDLE_CONFORMANCE_DATA") else {
        eprintln!("skipped: HEDDLE_CONFORMANCE_DATA does not name a directory");
        return;
    };
    let folder = PathBuf::from(data).join("cesql_tck");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let (mut cases, mut wrong) = (0, Vec::new());
    for path in &paths {
        let file: File = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for case in &file.tests {
            cases += 1;
            wrong.extend(run(case).map(|why| format!("{}, {}: {why}", file.name, case.name)));
        }
    }
    assert_eq!(paths.len(), FILES, "every file was read");
    assert!(cases >= CASES, "only {cases} cases were read");
    assert!(
        wrong.is_empty(),
        "{} of {cases} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    eprintln!("{cases} cases hold");
}

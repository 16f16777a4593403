//! The dialects, alone and nested, with Knative's cases and the places where others went wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::{Dialects, FilterFault, MAX_DEPTH, MAX_ELEMENTS};
use crate::event::{Event, EventBuilder};
use crate::filter::cesql::{ErrorKind, Problem};
use crate::filter::{AttributesFilter, Filter, JudgeError, Spec};

fn event() -> Event {
    EventBuilder::new("1", "/source", "com.example.order.created")
        .attribute("extname", "extval")
        .attribute("number", 7)
        .attribute("flag", true)
        .attribute("empty", "")
        .build()
        .unwrap()
}

fn texts(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = wanted.iter();
    owned
        .map(|(name, text)| ((*name).into(), (*text).into()))
        .collect()
}

fn exact(wanted: &[(&str, &str)]) -> Spec {
    Spec {
        exact: texts(wanted),
        ..Spec::default()
    }
}

fn prefix(wanted: &[(&str, &str)]) -> Spec {
    Spec {
        prefix: texts(wanted),
        ..Spec::default()
    }
}

fn suffix(wanted: &[(&str, &str)]) -> Spec {
    Spec {
        suffix: texts(wanted),
        ..Spec::default()
    }
}

fn all(all: Vec<Spec>) -> Spec {
    Spec {
        all,
        ..Spec::default()
    }
}

fn any(any: Vec<Spec>) -> Spec {
    Spec {
        any,
        ..Spec::default()
    }
}

fn not(not: Spec) -> Spec {
    Spec {
        not: Some(Box::new(not)),
        ..Spec::default()
    }
}

fn cesql(text: &str) -> Spec {
    Spec {
        cesql: Some(text.into()),
        ..Spec::default()
    }
}

fn compile(filters: &[Spec]) -> Filter {
    Filter::compile(&[], filters).unwrap()
}

/// The paths and faults of a filter that cannot be built.
fn faults(filters: &[Spec]) -> Vec<(String, FilterFault)> {
    let errors = Filter::compile(&[], filters).unwrap_err();
    errors
        .into_iter()
        .map(|error| (error.path, error.fault))
        .collect()
}

#[test]
fn elements_choose() {
    let (yes, no) = (exact(&[("id", "1")]), exact(&[("id", "2")]));
    let cases = vec![
        // Knative's cases.
        (exact(&[("type", "com.example.order.created")]), true),
        (exact(&[("type", "wrong")]), false),
        (exact(&[("absent", "x")]), false),
        (exact(&[("extname", "extval"), ("source", "/source")]), true),
        (exact(&[("extname", "extval"), ("source", "/other")]), false),
        (exact(&[("specversion", "1.0")]), true),
        (prefix(&[("type", "com.example.")]), true),
        (prefix(&[("type", "com.other.")]), false),
        (prefix(&[("absent", "x")]), false),
        (prefix(&[("type", "com."), ("extname", "ext")]), true),
        (prefix(&[("type", "com."), ("extname", "val")]), false),
        (suffix(&[("type", ".created")]), true),
        (suffix(&[("type", ".deleted")]), false),
        (suffix(&[("absent", "x")]), false),
        (suffix(&[("type", ".created"), ("extname", "val")]), true),
        (all(vec![yes.clone(), yes.clone()]), true),
        (all(vec![yes.clone(), no.clone()]), false),
        (any(vec![no.clone(), yes.clone()]), true),
        (any(vec![no.clone(), no.clone()]), false),
        (not(yes.clone()), false),
        (not(no.clone()), true),
        (not(exact(&[("absent", "x")])), true),
        (not(not(yes.clone())), true),
        (cesql("type = 'com.example.order.created'"), true),
        (cesql("type = 'wrong'"), false),
        (cesql("number < 30"), true),
        (cesql("(id = '1') OR (source = 'other')"), true),
        (cesql("absent < 5"), false),
        (cesql("absent = other"), false),
        (all(vec![any(vec![no.clone(), not(no)]), yes.clone()]), true),
        // Extensions that are no strings are compared by their text.
        (exact(&[("number", "7"), ("flag", "true")]), true),
        (exact(&[("number", "07")]), false),
        (prefix(&[("flag", "tr")]), true),
        (suffix(&[("number", "7")]), true),
        // An empty text asks for any that is not empty.
        (exact(&[("extname", "")]), true),
        (exact(&[("empty", "")]), false),
        (exact(&[("absent", "")]), false),
        // A value that is no Boolean, and an error, do not pass, and do not crash.
        (cesql("number"), false),
        (cesql("extname"), false),
        (cesql("flag"), true),
        (cesql("1 / 0 = 0"), false),
        // Around it, that is all that counts.
        (not(cesql("absent = 1")), true),
        (any(vec![cesql("absent = 1"), yes.clone()]), true),
        (all(vec![cesql("absent = 1"), yes]), false),
    ];
    for (spec, wanted) in cases {
        let filter = compile(std::slice::from_ref(&spec));
        assert_eq!(filter.matches(&event()), wanted, "{spec:?}");
    }
}

#[test]
fn all_elements_must_pass_and_filters_come_before_attributes() {
    let (yes, no) = (exact(&[("id", "1")]), exact(&[("id", "2")]));
    assert!(compile(&[yes.clone(), yes.clone()]).matches(&event()));
    assert!(!compile(&[yes.clone(), no]).matches(&event()));
    let attributes = texts(&[("id", "2")]);
    let both = Filter::compile(&attributes, std::slice::from_ref(&yes)).unwrap();
    assert!(both.matches(&event()), "filters override filter");
    let one = Filter::compile(&attributes, &[]).unwrap();
    assert_eq!(
        one,
        Filter::Attributes(AttributesFilter::new([("id", "2")]))
    );
    assert!(!one.matches(&event()));
    assert_eq!(Filter::compile(&[], &[]), Ok(Filter::All));
}

#[test]
fn the_first_dialect_counts_on_old_objects() {
    // In this order; each passes, and what comes behind it would not.
    let yes = || exact(&[("id", "1")]);
    let no = || exact(&[("id", "2")]);
    let mut spec = Spec {
        exact: texts(&[("id", "1")]),
        prefix: texts(&[("id", "2")]),
        suffix: texts(&[("id", "2")]),
        all: vec![no()],
        any: vec![no()],
        not: Some(Box::new(yes())),
        cesql: Some("FALSE".into()),
        data: Some(serde_json::json!({"path": "$", "exists": true})),
    };
    let passes = |spec: &Spec| compile(std::slice::from_ref(spec)).matches(&event());
    assert!(passes(&spec), "exact");
    spec.exact.clear();
    spec.prefix = texts(&[("id", "1")]);
    assert!(passes(&spec), "prefix");
    spec.prefix.clear();
    spec.suffix = texts(&[("id", "1")]);
    assert!(passes(&spec), "suffix");
    spec.suffix.clear();
    spec.all = vec![yes()];
    assert!(passes(&spec), "all");
    spec.all.clear();
    spec.any = vec![yes()];
    assert!(passes(&spec), "any");
    spec.any.clear();
    spec.not = Some(Box::new(no()));
    assert!(passes(&spec), "not");
    spec.not = None;
    assert!(!passes(&spec), "cesql");
}

#[test]
fn what_cannot_be_built_is_refused_with_its_path() {
    let yes = || exact(&[("id", "1")]);
    let found = faults(&[
        yes(),
        all(vec![cesql("id = "), not(Spec::default()), yes()]),
        prefix(&[("type", "")]),
        any(vec![suffix(&[("Type", "x")])]),
        cesql("1 + 1"),
        cesql("NOSUCH()"),
        cesql(""),
    ]);
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.filters[1].all[0].cesql",
            "spec.filters[1].all[1].not",
            "spec.filters[2].prefix.type",
            "spec.filters[3].any[0].suffix.Type",
            "spec.filters[4].cesql",
            "spec.filters[5].cesql",
            "spec.filters[6]",
        ]
    );
    assert!(matches!(&found[0].1, FilterFault::Expression(error) if error.position == 5));
    assert_eq!(found[1].1, FilterFault::Empty);
    assert_eq!(found[2].1, FilterFault::EmptyText);
    assert_eq!(found[3].1, FilterFault::Name);
    let FilterFault::Expression(error) = &found[4].1 else {
        panic!("{found:?}");
    };
    assert!(matches!(error.problem, Problem::NeverBoolean(_)));
    let errors = Dialects::compile(&[cesql("id = ")], "f").unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "f[0].cesql: expected an expression, found the end (at byte 5)"
    );
}

#[test]
fn nesting_and_size_are_bounded() {
    let nested = |n| (0..n).fold(exact(&[("id", "1")]), |inner, _| not(inner));
    assert!(compile(&[nested(MAX_DEPTH - 2)]).matches(&event()));
    let found = faults(&[nested(MAX_DEPTH)]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, FilterFault::Depth);
    let wide = |n| any(vec![exact(&[("id", "1")]); n]);
    assert!(compile(&[wide(MAX_ELEMENTS - 1)]).matches(&event()));
    let found = faults(&[wide(MAX_ELEMENTS), wide(MAX_ELEMENTS)]);
    assert_eq!(found.len(), 1, "{:?}", &found[0]);
    assert_eq!(found[0].1, FilterFault::Elements);
    let errors = faults(&vec![Spec::default(); 1000]);
    assert_eq!(errors.len(), 100);
}

#[test]
fn outcomes_tell_of_errors() {
    let outcome = |filters: &[Spec]| compile(filters).outcome(&event());
    let kind = |filters: &[Spec]| match outcome(filters).error {
        Some(JudgeError::Expression(error)) => Some(error.kind()),
        Some(JudgeError::Data(_)) | None => None,
    };
    assert_eq!(kind(&[cesql("TRUE")]), None);
    assert_eq!(
        kind(&[cesql("absent = 1")]),
        Some(ErrorKind::MissingAttribute)
    );
    assert_eq!(kind(&[cesql("number")]), Some(ErrorKind::Generic));
    assert_eq!(kind(&[cesql("id = source + 1")]), Some(ErrorKind::Cast));
    let decided = outcome(&[any(vec![cesql("absent = 1"), cesql("TRUE")])]);
    assert!(decided.matched && decided.error.is_some());
    assert!(Filter::All.outcome(&event()).matched);
}

#[test]
fn equal_filters_are_equal() {
    assert_eq!(
        compile(&[cesql("id='1' and TRUE")]),
        compile(&[cesql("(id = \"1\") AND true")])
    );
    assert_ne!(compile(&[cesql("id = '1'")]), compile(&[cesql("id = '2'")]));
}

fn specs() -> impl Strategy<Value = Spec> {
    let name = || prop::sample::select(vec!["id", "type", "number", "flag", "absent"]);
    let text = || prop::sample::select(vec!["1", "7", "t", "true", "com", "created"]);
    let leaf = prop_oneof![
        (name(), text()).prop_map(|(name, text)| exact(&[(name, text)])),
        (name(), text()).prop_map(|(name, text)| prefix(&[(name, text)])),
        (name(), text()).prop_map(|(name, text)| suffix(&[(name, text)])),
        (name(), text()).prop_map(|(name, text)| cesql(&format!("{name} LIKE '{text}%'"))),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            some().prop_map(all),
            some().prop_map(any),
            inner.clone().prop_map(not)
        ]
    })
}

proptest! {
    #[test]
    fn not_is_the_complement(spec in specs()) {
        let passes = |spec: &Spec| compile(std::slice::from_ref(spec)).outcome(&event());
        let (plain, negated) = (passes(&spec), passes(&not(spec)));
        prop_assert_eq!(plain.matched, !negated.matched);
        prop_assert_eq!(plain.error, negated.error);
    }

    #[test]
    fn all_and_any_are_what_they_say(specs in prop::collection::vec(specs(), 1..5)) {
        let passes = |spec: &Spec| compile(std::slice::from_ref(spec)).matches(&event());
        let each: Vec<bool> = specs.iter().map(passes).collect();
        let every = each.iter().all(|passes| *passes);
        prop_assert_eq!(passes(&all(specs.clone())), every);
        prop_assert_eq!(passes(&any(specs.clone())), each.contains(&true));
        prop_assert_eq!(compile(&specs).matches(&event()), every);
    }
}

/// The examples of docs/filters.md are filters.
#[test]
fn the_examples_of_the_manual_can_be_built() {
    #[derive(serde::Deserialize)]
    struct Trigger {
        filters: Vec<Element>,
    }
    #[derive(serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    #[derive(Default)]
    struct Element {
        exact: std::collections::BTreeMap<String, String>,
        prefix: std::collections::BTreeMap<String, String>,
        suffix: std::collections::BTreeMap<String, String>,
        all: Vec<Self>,
        any: Vec<Self>,
        not: Option<Box<Self>>,
        cesql: Option<String>,
        #[serde(rename = "heddle.dev/data")]
        data: Option<serde_json::Value>,
    }
    fn spec(element: Element) -> Spec {
        Spec {
            exact: element.exact.into_iter().collect(),
            prefix: element.prefix.into_iter().collect(),
            suffix: element.suffix.into_iter().collect(),
            all: element.all.into_iter().map(spec).collect(),
            any: element.any.into_iter().map(spec).collect(),
            not: element.not.map(|not| Box::new(spec(*not))),
            cesql: element.cesql,
            data: element.data,
        }
    }
    let manual = include_str!("../../../../docs/filters.md");
    let blocks = |language: &str| -> Vec<String> {
        let opened = format!("```{language}\n");
        let parts = manual.split(&*opened).skip(1);
        parts
            .map(|part| part.split("```").next().unwrap().to_owned())
            .collect()
    };
    let yaml = blocks("yaml");
    assert!(yaml.len() >= 2, "the examples were found");
    for block in yaml {
        let trigger: Trigger = serde_saphyr::from_str(&block).unwrap();
        let specs: Vec<_> = trigger.filters.into_iter().map(spec).collect();
        Filter::compile(&[], &specs).unwrap();
    }
    // Each line: an expression, and behind `--` what it is on the event of the page.
    let event = EventBuilder::new("a1", "/shop/eu", "com.example.order.created")
        .attribute("subject", "order-17")
        .attribute("amount", 250)
        .attribute("express", true)
        .build()
        .unwrap();
    let mut lines = 0;
    for line in blocks("sql").iter().flat_map(|block| block.lines()) {
        let (expression, says) = line.split_once(" -- ").unwrap();
        let outcome = compile(&[cesql(expression.trim())]).outcome(&event);
        let found = match outcome.error {
            Some(_) => "error",
            None if outcome.matched => "passes",
            None => "does not pass",
        };
        assert_eq!(found, says.trim(), "{line}");
        lines += 1;
    }
    assert!(lines >= 10, "the expressions were found");
}

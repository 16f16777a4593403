//! What clients of other brokers rely on, and where those went wrong: each behaviour by its name,
//! asked of the filter alone and of the index.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};

use super::index::{Index, Scratch};
use super::spec::Texts;
use super::{Filter, JudgeError, Outcome, Spec};
use crate::event::{Event, EventBuilder, json};
use crate::filter::cesql::ErrorKind;

/// An event as a producer writes it in the structured mode, whose extensions have types.
fn structured(more: &Value) -> Event {
    let mut event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
    let more = more.as_object().unwrap().clone();
    event.as_object_mut().unwrap().extend(more);
    json::decode(event.to_string().as_bytes()).unwrap()
}

fn texts(all: &Value) -> Texts {
    let all = all.as_object().unwrap().iter();
    all.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()))
        .collect()
}

fn attributes(all: &Value) -> Filter {
    Filter::compile(&texts(all), &[]).unwrap()
}

fn dialect(name: &str, all: &Value) -> Spec {
    let (all, mut spec) = (texts(all), Spec::default());
    *match name {
        "exact" => &mut spec.exact,
        "prefix" => &mut spec.prefix,
        "suffix" => &mut spec.suffix,
        _ => panic!("{name}"),
    } = all;
    spec
}

fn cesql(text: &str) -> Spec {
    Spec {
        cesql: Some(text.to_owned()),
        ..Spec::default()
    }
}

fn not(spec: Spec) -> Spec {
    Spec {
        not: Some(Box::new(spec)),
        ..Spec::default()
    }
}

fn element(spec: Spec) -> Filter {
    Filter::compile(&[], &[spec]).unwrap()
}

/// Whether the filter wants the event. The index has to find the same.
fn wants(filter: &Filter, event: &Event) -> bool {
    outcome(filter, event).matched
}

fn outcome(filter: &Filter, event: &Event) -> Outcome {
    let mut index = Index::default();
    // Among others, so that it is told apart from them.
    for n in 0..20 {
        index.insert(attributes(&json!({"type": format!("other-{n}")})), false);
        index.insert(filter.clone(), true);
    }
    let mut found = 0;
    let snapshot = index.snapshot();
    snapshot.matches(event, &mut Scratch::default(), |own, outcome| {
        assert!(*own, "a filter for another type");
        found += usize::from(outcome.matched);
    });
    let outcome = filter.outcome(event);
    assert_eq!(found, if outcome.matched { 20 } else { 0 }, "{filter:?}");
    outcome
}

#[test]
fn extensions_that_are_no_strings_match_by_their_text() {
    let event = structured(&json!({"n": 7, "flag": true, "negative": -3}));
    for wanted in [
        json!({"n": "7"}),
        json!({"flag": "true"}),
        json!({"negative": "-3", "n": "7", "type": "t"}),
    ] {
        assert!(wants(&attributes(&wanted), &event), "{wanted}");
        for name in ["exact", "prefix", "suffix"] {
            assert!(
                wants(&element(dialect(name, &wanted)), &event),
                "{name}: {wanted}"
            );
        }
    }
    for wanted in [
        json!({"n": "07"}),
        json!({"n": "7.0"}),
        json!({"flag": "True"}),
    ] {
        assert!(!wants(&attributes(&wanted), &event), "{wanted}");
        assert!(
            !wants(&element(dialect("exact", &wanted)), &event),
            "{wanted}"
        );
    }
}

#[test]
fn an_empty_text_asks_for_an_attribute_that_is_there_and_not_empty() {
    let wanted = json!({"coupon": "", "type": "t"});
    let event = |coupon: &str| {
        let built = EventBuilder::new("1", "/s", "t").attribute("coupon", coupon);
        built.build().unwrap()
    };
    for filter in [attributes(&wanted), element(dialect("exact", &wanted))] {
        assert!(wants(&filter, &event("x")));
        assert!(wants(&filter, &structured(&json!({"coupon": 0}))));
        assert!(wants(&filter, &structured(&json!({"coupon": false}))));
        assert!(!wants(&filter, &event("")));
        assert!(
            !wants(&filter, &structured(&json!({}))),
            "it is not ignored"
        );
    }
}

#[test]
fn several_attributes_must_all_match() {
    let filter = attributes(&json!({"type": "t", "source": "/s", "region": "eu"}));
    assert!(wants(&filter, &structured(&json!({"region": "eu"}))));
    assert!(!wants(&filter, &structured(&json!({"region": "us"}))));
    assert!(!wants(&filter, &structured(&json!({}))));
}

#[test]
fn filters_override_attributes_and_must_all_pass() {
    let none = texts(&json!({"type": "none"}));
    let filter = |specs: &[Spec]| Filter::compile(&none, specs).unwrap();
    let (yes, no) = (
        cesql("id = '1'"),
        dialect("prefix", &json!({"source": "/x"})),
    );
    let event = structured(&json!({}));
    assert!(wants(&filter(std::slice::from_ref(&yes)), &event));
    assert!(!wants(&filter(&[yes, no]), &event));
    assert!(!wants(&filter(&[]), &event));
}

/// Where it is left out instead, the filter lets more through than was asked for.
#[test]
fn an_element_that_cannot_be_built_is_never_left_out() {
    let good = dialect("exact", &json!({"type": "t"}));
    let nested = |spec: Spec| Spec {
        all: vec![good.clone(), spec],
        ..Spec::default()
    };
    for bad in [
        cesql("id = "),
        cesql("NOSUCH(id)"),
        cesql("LENGTH(id)"),
        Spec::default(),
    ] {
        for spec in [bad.clone(), nested(bad.clone()), not(bad)] {
            let built = Filter::compile(&[], &[good.clone(), spec.clone()]);
            assert!(built.is_err(), "{spec:?}");
        }
    }
}

/// Elsewhere it passes everything, as what it negates does.
#[test]
fn not_of_nothing_is_refused() {
    assert!(Filter::compile(&[], &[not(Spec::default())]).is_err());
    assert!(Filter::compile(&[], &[not(not(Spec::default()))]).is_err());
}

#[test]
fn a_value_that_is_no_boolean_is_an_error_and_no_crash() {
    let event = structured(&json!({"n": 7, "flag": true, "text": "x"}));
    let kind = |text: &str| {
        let found = outcome(&element(cesql(text)), &event);
        assert!(!found.matched, "{text}");
        match found.error {
            Some(JudgeError::Expression(error)) => error.kind(),
            Some(JudgeError::Data(_)) | None => panic!("{text}: {found:?}"),
        }
    };
    // What the event makes of an attribute is known no earlier.
    assert_eq!(kind("n"), ErrorKind::Generic);
    assert_eq!(kind("text"), ErrorKind::Generic);
    assert!(wants(&element(cesql("flag")), &event));
    // What can never be a Boolean is refused when it is written.
    for text in ["1 + 1", "'x'", "LENGTH(type)", "CONCAT(id, type)"] {
        assert!(Filter::compile(&[], &[cesql(text)]).is_err(), "{text}");
    }
}

#[test]
fn an_event_on_which_cesql_meets_an_error_does_not_pass() {
    let event = structured(&json!({"n": 7, "text": "x"}));
    for (text, kind) in [
        ("absent = 'x'", ErrorKind::MissingAttribute),
        ("absent != 'x'", ErrorKind::MissingAttribute),
        ("text + 1 = 2", ErrorKind::Cast),
        ("n / 0 = 1", ErrorKind::Math),
        ("n + 2147483647 > 0", ErrorKind::Math),
        ("SUBSTRING(text, 9) = 'x'", ErrorKind::FunctionEvaluation),
    ] {
        let found = element(cesql(text)).outcome(&event);
        let met = match found.error {
            Some(JudgeError::Expression(error)) => Some(error.kind()),
            Some(JudgeError::Data(_)) | None => None,
        };
        assert_eq!((found.matched, met), (false, Some(kind)), "{text}");
        assert!(!wants(&element(cesql(text)), &event), "{text}");
        assert!(wants(&element(not(cesql(text))), &event), "not: {text}");
    }
}

#[test]
fn operators_bind_as_cesql_says() {
    let event = structured(&json!({"n": 7, "flag": true}));
    for (text, passes) in [
        ("TRUE OR FALSE AND FALSE", false),
        ("FALSE AND TRUE OR TRUE", true),
        ("TRUE XOR TRUE AND FALSE", false),
        ("NOT flag = FALSE", true),
        ("-n + 8 = 1", true),
        ("n + 2 * 3 = 13", true),
        ("n IN (6 + 1, 9) = TRUE", true),
        ("type LIKE 't%' AND NOT type LIKE '%x'", false),
        ("type LIKE 't%' AND type NOT LIKE '%x'", true),
        ("EXISTS n = TRUE", true),
        // What decides keeps the rest from being looked at.
        ("FALSE AND absent", false),
        ("TRUE OR absent", true),
    ] {
        assert_eq!(wants(&element(cesql(text)), &event), passes, "{text}");
    }
}

#[test]
fn data_can_be_filtered_on() {
    let spec = Spec {
        data: Some(json!({"path": "$.order.total", "numeric": {"gte": 100}})),
        ..Spec::default()
    };
    let event = |total: i32| structured(&json!({"data": {"order": {"total": total}}}));
    assert!(wants(&element(spec.clone()), &event(100)));
    assert!(!wants(&element(spec), &event(99)));
}

/// Not once for every Trigger.
#[test]
fn an_event_is_looked_at_for_those_that_may_want_it() {
    let mut index = Index::default();
    for n in 0..1000 {
        index.insert(attributes(&json!({"type": format!("t{n}")})), n);
    }
    let event = EventBuilder::new("1", "/s", "t500").build().unwrap();
    let stats = index
        .snapshot()
        .matches(&event, &mut Scratch::default(), |n, _| assert_eq!(*n, 500));
    assert_eq!((stats.evaluations, stats.matched), (1, 1));
}

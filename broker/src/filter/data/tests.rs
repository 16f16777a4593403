//! The dialect against an oracle: the same conditions on the data as `serde_json` reads it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::{Event, EventBuilder, json as event_json};
use crate::filter::{Filter, JudgeError, Spec};

fn with_data(data: &str) -> Event {
    EventBuilder::new("1", "/s", "t")
        .data("application/json", data.as_bytes())
        .build()
        .unwrap()
}

fn test(element: &Value) -> DataTest {
    compile(element).unwrap()
}

fn passes(element: &Value, data: &str) -> Result<bool, DataError> {
    test(element).passes(&Subject::new(&with_data(data)))
}

const ORDER: &str = r#"{"order": {"id": "A-17", "total": 99.50, "big": 12345678901234567890123,
    "paid": true, "coupon": null, "items": [{"sku": "X1"}, {"sku": "Y2"}], "tags": ["new", "eu", 3],
    "a b": {"\u00e9": 1}, "twice": 1, "twice": 2}}"#;

#[test]
fn conditions_choose() {
    let at = |path: &str, condition: Value| {
        let mut element = json!({ "path": path });
        let fields = condition.as_object().unwrap().clone();
        element.as_object_mut().unwrap().extend(fields);
        element
    };
    for (path, condition, expected) in [
        ("$.order.id", json!({"exact": "A-17"}), true),
        ("$.order.id", json!({"exact": ["B", "A-17"]}), true),
        ("$.order.id", json!({"exact": "a-17"}), false),
        ("$.order.id", json!({"prefix": "A-"}), true),
        ("$.order.id", json!({"suffix": "-17"}), true),
        ("$.order.id", json!({"suffix": "-18"}), false),
        ("$.order.id", json!({"anythingBut": "A-17"}), false),
        ("$.order.id", json!({"anythingBut": ["B", 1]}), true),
        ("$.order.nothing", json!({"anythingBut": "B"}), false),
        ("$.order.total", json!({"exact": 99.5}), true),
        ("$.order.total", json!({"exact": "99.50"}), false),
        ("$.order.total", json!({"numeric": {"gt": 99}}), true),
        ("$.order.total", json!({"numeric": {"gt": 99.5}}), false),
        (
            "$.order.total",
            json!({"numeric": {"gte": 99.5, "lt": 100}}),
            true,
        ),
        (
            "$.order.total",
            json!({"numeric": {"lte": "99.4999999999999999999"}}),
            false,
        ),
        (
            "$.order.big",
            json!({"numeric": {"gt": "12345678901234567890122"}}),
            true,
        ),
        (
            "$.order.big",
            json!({"numeric": {"gt": "12345678901234567890123"}}),
            false,
        ),
        ("$.order.id", json!({"numeric": {"gt": 0}}), false),
        ("$.order.paid", json!({"exact": true}), true),
        ("$.order.coupon", json!({"exact": null}), true),
        ("$.order.coupon", json!({"exists": true}), true),
        ("$.order.nothing", json!({"exists": true}), false),
        ("$.order.nothing", json!({"exists": false}), true),
        ("$.order.id.deeper", json!({"exists": false}), true),
        ("$.order.items[1].sku", json!({"exact": "Y2"}), true),
        ("$.order.items[2]", json!({"exists": true}), false),
        ("$.order.items", json!({"exact": "Y2"}), false),
        ("$.order.tags", json!({"exact": "eu"}), true),
        ("$.order.tags", json!({"prefix": "ne"}), true),
        ("$.order.tags", json!({"numeric": {"lt": 4}}), true),
        ("$.order.tags", json!({"anythingBut": "eu"}), false),
        ("$.order.tags", json!({"anythingBut": "us"}), true),
        ("$.order['a b'].é", json!({"exact": 1}), true),
        ("$.order.twice", json!({"exact": 2}), true),
        ("$.order.twice", json!({"exact": 1}), false),
        ("$.order", json!({"anythingBut": "x"}), true),
        ("$", json!({"exists": true}), true),
    ] {
        let element = at(path, condition);
        assert_eq!(passes(&element, ORDER), Ok(expected), "{element}");
    }
}

#[test]
fn data_that_cannot_be_looked_at_does_not_pass() {
    let absent = json!({"path": "$.a", "exists": false});
    let of = |event: &Event| test(&absent).passes(&Subject::new(event));
    let plain = EventBuilder::new("1", "/s", "t");
    assert_eq!(of(&plain.clone().build().unwrap()), Err(DataError::NoData));
    let text = plain.clone().data("text/plain", b"{}".as_slice());
    assert_eq!(of(&text.build().unwrap()), Err(DataError::NotJson));
    let vendor = plain.data("application/vnd.x+json; charset=utf-8", b"{}".as_slice());
    assert_eq!(of(&vendor.build().unwrap()), Ok(true));
    let structured = r#"{"specversion":"1.0","id":"1","source":"/","type":"t","data":{"a":1}}"#;
    assert_eq!(
        of(&event_json::decode(structured.as_bytes()).unwrap()),
        Ok(false)
    );

    for bad in ["{", "{\"a\":}", "{} {}", "nul", "{\"\\ud800\": 1}"] {
        assert_eq!(passes(&absent, bad), Err(DataError::Syntax), "{bad}");
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(passes(&absent, &nested(MAX_DEPTH)), Ok(true));
    assert_eq!(
        passes(&absent, &nested(MAX_DEPTH + 1)),
        Err(DataError::Depth)
    );
    let brackets = format!("{{\"a\": {:?}}}", "[\\\"{".repeat(100));
    assert_eq!(
        passes(&absent, &brackets),
        Ok(false),
        "those in texts do not count"
    );
    let large = |bytes: usize| format!("{{\"b\": \"{}\"}}", "x".repeat(bytes - 9));
    assert_eq!(passes(&absent, &large(MAX_SIZE)), Ok(true));
    assert_eq!(passes(&absent, &large(MAX_SIZE + 1)), Err(DataError::Size));
    let list = |len: usize| format!("{{\"a\": [{}0]}}", "1,".repeat(len - 1));
    let zero = json!({"path": "$.a", "exact": 0});
    assert_eq!(passes(&zero, &list(MAX_ELEMENTS)), Ok(true));
    assert_eq!(
        passes(&zero, &list(MAX_ELEMENTS + 1)),
        Err(DataError::Elements)
    );
}

#[test]
fn mistakes_have_a_place() {
    let fault = |element: Value| -> String {
        let (at, _) = compile(&element).unwrap_err();
        at
    };
    assert_eq!(fault(json!("x")), "");
    assert_eq!(fault(json!({})), ".path");
    assert_eq!(fault(json!({"path": "$.a"})), "");
    assert_eq!(fault(json!({"path": "$.a", "exact": 1, "prefix": "x"})), "");
    assert_eq!(fault(json!({"path": "a", "exist": true})), ".exist");
    assert_eq!(fault(json!({"path": "$", "exact": []})), ".exact");
    assert_eq!(fault(json!({"path": "$", "exact": [1, {}]})), ".exact[1]");
    assert_eq!(fault(json!({"path": "$", "prefix": ""})), ".prefix");
    assert_eq!(fault(json!({"path": "$", "exists": "yes"})), ".exists");
    assert_eq!(fault(json!({"path": "$", "numeric": {}})), ".numeric");
    assert_eq!(
        fault(json!({"path": "$", "numeric": {"eq": 1}})),
        ".numeric.eq"
    );
    assert_eq!(
        fault(json!({"path": "$", "numeric": {"gt": "x"}})),
        ".numeric.gt"
    );
    assert_eq!(
        fault(json!({"path": "$", "numeric": {"gt": 1, "gte": 1}})),
        ".numeric"
    );

    let spec = Spec {
        any: vec![Spec {
            data: Some(json!({"path": "$.a."})),
            ..Spec::default()
        }],
        ..Spec::default()
    };
    let errors = Filter::compile(&[], &[spec]).unwrap_err();
    let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let at = "spec.filters[0].any[0][heddle.dev/data]";
    assert!(
        told[0].starts_with(&format!("{at}.path: expected a name")),
        "{told:?}"
    );
    assert!(told[0].ends_with("(at byte 4)"), "{told:?}");
    assert_eq!(told.len(), 1, "one mistake, one message");
}

#[test]
fn it_nests_and_errors_are_told() {
    let data = |element: Value| Spec {
        data: Some(element),
        ..Spec::default()
    };
    let large = || data(json!({"path": "$.n", "numeric": {"gte": 10}}));
    let filter = |spec: Spec| Filter::compile(&[], &[spec]).unwrap();
    let any = filter(Spec {
        any: vec![large(), data(json!({"path": "$.vip", "exact": true}))],
        ..Spec::default()
    });
    let not = filter(Spec {
        not: Some(Box::new(large())),
        ..Spec::default()
    });
    for (text, either, none) in [
        ("{\"n\": 10}", true, false),
        ("{\"n\": 9, \"vip\": true}", true, true),
        ("{\"n\": 9}", false, true),
    ] {
        let event = with_data(text);
        assert_eq!((any.matches(&event), not.matches(&event)), (either, none));
    }
    let broken = with_data("{");
    let outcome = not.outcome(&broken);
    assert!(outcome.matched, "as with any element that does not pass");
    assert_eq!(outcome.error, Some(JudgeError::Data(DataError::Syntax)));
    assert!(!any.matches(&broken));
}

/// The value at a path of names and numbers.
fn look<'v>(value: &'v Value, steps: &[path::Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match step {
        path::Step::Member(name) => value.as_object()?.get(&**name),
        path::Step::Element(place) => value.as_array()?.get(*place),
    })
}

fn oracle(element: &Value, data: &Value) -> bool {
    let path = Path::parse(element["path"].as_str().unwrap()).unwrap();
    let Some(found) = look(data, path.steps()) else {
        return element.get("exists") == Some(&json!(false));
    };
    let alone = std::slice::from_ref(found);
    let all = found.as_array().map_or(alone, Vec::as_slice);
    let listed = |wanted: &Value, value: &Value| match wanted.as_array() {
        Some(list) => list.contains(value),
        None => wanted == value,
    };
    let (name, wanted) = element
        .as_object()
        .unwrap()
        .iter()
        .find(|(name, _)| *name != "path")
        .unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    match name.as_str() {
        "exists" => *wanted == json!(true),
        "exact" => all.iter().any(|value| listed(wanted, value)),
        "anythingBut" => !all.iter().any(|value| listed(wanted, value)),
        "prefix" => all.iter().any(|v| text(v).starts_with(&text(wanted))),
        "suffix" => all.iter().any(|v| text(v).ends_with(&text(wanted))),
        _ => all.iter().any(|value| {
            let Some(number) = value.as_i64() else {
                return false;
            };
            wanted.as_object().unwrap().iter().all(|(end, bound)| {
                let bound = bound.as_i64().unwrap();
                match end.as_str() {
                    "gt" => number > bound,
                    "gte" => number >= bound,
                    "lt" => number < bound,
                    _ => number <= bound,
                }
            })
        }),
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        "[ab\"\\\\é\n]{0,3}".prop_map(Value::from),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab]|a b|é", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn element() -> impl Strategy<Value = Value> {
    let step = prop_oneof![
        Just(".a"),
        Just(".b"),
        Just("['a b']"),
        Just(".é"),
        Just("[0]"),
        Just("[1]"),
    ];
    let path = prop::collection::vec(step, 0..4).prop_map(|steps| format!("${}", steps.concat()));
    let values = prop_oneof![
        scalar(),
        prop::collection::vec(scalar(), 1..3).prop_map(Value::from)
    ];
    let low = prop_oneof![Just("gt"), Just("gte")];
    let high = prop_oneof![Just("lt"), Just("lte")];
    let condition = prop_oneof![
        values.clone().prop_map(|wanted| ("exact", wanted)),
        values.prop_map(|wanted| ("anythingBut", wanted)),
        "[abé]{1,2}".prop_map(|text| ("prefix", text.into())),
        "[abé]{1,2}".prop_map(|text| ("suffix", text.into())),
        any::<bool>().prop_map(|flag| ("exists", flag.into())),
        (low, -3i64..4, high, -3i64..4).prop_map(|(l, x, h, y)| ("numeric", json!({l: x, h: y}))),
    ];
    (path, condition).prop_map(|(path, (name, value))| json!({"path": path, name: value}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn it_agrees_with_the_oracle(
        data in document(),
        elements in prop::collection::vec(element(), 1..5),
        pretty in any::<bool>(),
    ) {
        let text = if pretty { format!("{data:#}") } else { data.to_string() };
        let event = with_data(&text);
        // One subject for all of them, as they share what was read.
        let subject = Subject::new(&event);
        for element in &elements {
            let found = test(element).passes(&subject);
            prop_assert_eq!(found, Ok(oracle(element, &data)), "{} on {}", element, &text);
        }
        prop_assert_eq!(&*event.data(), text.as_bytes());
    }

    #[test]
    fn any_bytes_are_judged(data in "[\\[\\]{}\":,0-9a-e\\\\.truefalsn -]{0,40}", element in element()) {
        let result = passes(&element, &data);
        let valid = serde_json::from_str::<Value>(&data).is_ok();
        prop_assert!(!valid || result.is_ok(), "{:?}", result);
    }
}

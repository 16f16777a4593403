//! What people are told, and that it is what the filter does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::{Event, EventBuilder};

fn event() -> Event {
    EventBuilder::new("1", "/shop/eu", "order.created")
        .attribute("amount", 250)
        .data("application/json", br#"{"vip": false}"#.as_slice())
        .build()
        .unwrap()
}

fn spec(value: &serde_json::Value) -> Spec {
    let texts = |name: &str| {
        let map = value.get(name).and_then(|map| map.as_object());
        map.into_iter()
            .flatten()
            .map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()))
            .collect()
    };
    let list = |name: &str| {
        let list = value.get(name).and_then(|list| list.as_array());
        list.into_iter().flatten().map(spec).collect()
    };
    Spec {
        exact: texts("exact"),
        prefix: texts("prefix"),
        suffix: texts("suffix"),
        all: list("all"),
        any: list("any"),
        not: value.get("not").map(|not| Box::new(spec(not))),
        cesql: value.get("cesql").map(|text| text.as_str().unwrap().into()),
        data: value.get(data::DIALECT).cloned(),
    }
}

fn lines(clause: &Clause, depth: usize, out: &mut Vec<String>) {
    let Clause {
        clause: text,
        verdict,
        notes,
        position,
        clauses,
    } = clause;
    let place = position.map(|at| format!(" @{at}")).unwrap_or_default();
    let notes = notes.join("; ");
    out.push(format!(
        "{}{verdict:?} {text}{place} | {notes}",
        "  ".repeat(depth)
    ));
    clauses.iter().for_each(|part| lines(part, depth + 1, out));
}

#[test]
fn every_clause_is_marked() {
    let filters: Vec<Spec> = [
        json!({"prefix": {"type": "order."}}),
        json!({"not": {"exact": {"source": "/shop/us"}}}),
        json!({"any": [
            {"exact": {"type": "order.created", "region": "eu"}},
            {"cesql": "amount > 100 AND amount < 200"},
            {"cesql": "coupon = 'X'"},
            {"heddle.dev/data": {"path": "$.vip", "exact": true}},
        ]}),
        json!({"suffix": {"type": ".deleted"}}),
    ]
    .iter()
    .map(spec)
    .collect();
    let event = event();
    let clause = explain(&[], &filters, &Subject::new(&event)).unwrap();
    let mut out = Vec::new();
    lines(&clause, 0, &mut out);
    assert_eq!(
        out,
        [
            "Fail filters | ",
            "  Pass prefix: type begins with \"order.\" | ",
            "  Pass not | ",
            "    Fail exact: source = \"/shop/us\" | source is \"/shop/eu\"",
            "  Fail any | ",
            "    Fail exact | ",
            "      Fail region = \"eu\" | the event has no attribute region",
            "      NotEvaluated type = \"order.created\" | ",
            "    Fail cesql: amount > 100 AND amount < 200 @24 | amount is \"250\"",
            "    Error cesql: coupon = 'X' @0 | the event does not have the attribute (at byte 0); \
             the event has no attribute coupon",
            "    Fail heddle.dev/data: $.vip exact true | $.vip is false",
            "  NotEvaluated suffix: type ends with \".deleted\" | ",
        ]
    );
    let attributes = [("type".to_owned(), String::new())];
    let clause = explain(&attributes, &[], &Subject::new(&event)).unwrap();
    assert_eq!(
        clause.clause,
        "filter.attributes: type is there and not empty"
    );
    assert_eq!(clause.verdict, Verdict::Pass);
    let clause = explain(&[], &[], &Subject::new(&event)).unwrap();
    assert_eq!(clause.verdict, Verdict::Pass);
}

fn element() -> impl Strategy<Value = Spec> {
    let leaf = prop::sample::select(vec![
        json!({"exact": {"type": "order.created"}}),
        json!({"exact": {"type": "order.created", "source": "/x"}}),
        json!({"prefix": {"source": "/shop"}}),
        json!({"suffix": {"amount": "51"}}),
        json!({"cesql": "amount = 250 OR missing"}),
        json!({"cesql": "missing = 1"}),
        json!({"heddle.dev/data": {"path": "$.vip", "exact": false}}),
        json!({"heddle.dev/data": {"path": "$.a", "exact": false}}),
    ]);
    let leaf = leaf.prop_map(|value| spec(&value));
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            list.clone().prop_map(|all| Spec {
                all,
                ..Spec::default()
            }),
            list.prop_map(|any| Spec {
                any,
                ..Spec::default()
            }),
            inner.prop_map(|not| Spec {
                not: Some(Box::new(not)),
                ..Spec::default()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn the_verdict_is_the_filters(filters in prop::collection::vec(element(), 1..4)) {
        let event = event();
        let wanted = Filter::compile(&[], &filters).unwrap().matches(&event);
        let clause = explain(&[], &filters, &Subject::new(&event)).unwrap();
        prop_assert_eq!(clause.verdict == Verdict::Pass, wanted, "{:?}", clause);
    }
}

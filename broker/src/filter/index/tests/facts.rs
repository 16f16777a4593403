//! The keys of predicates meet those of attributes where the predicates hold, and nowhere else.

use proptest::prelude::*;

use crate::event::{Attribute, AttributeKind};
use crate::filter::cesql::Value;
use crate::filter::index::condition::{Predicate, Test, Wanted};
use crate::filter::index::facts::{Keys, around, blocks};

fn attribute(kind: AttributeKind, text: &str) -> Attribute<'_> {
    Attribute {
        name: "x",
        kind,
        text,
        header: None,
    }
}

/// Whether the attribute gives one of the predicate's keys.
fn meets(keys: &Keys, test: &Test<'_>, attribute: &Attribute<'_>) -> bool {
    let predicate = Predicate {
        name: "x",
        test: test.clone(),
    };
    let fact = keys.fact(attribute);
    keys.of(&predicate).into_iter().any(|(probe, wanted)| {
        let mut met = false;
        fact.keys(probe, keys, |key| met |= key == wanted);
        met
    })
}

/// Whether the predicate holds, as CESQL and the dialects see the attribute.
fn holds(test: &Test<'_>, attribute: &Attribute<'_>) -> bool {
    let value = Value::of(attribute);
    let texts = [attribute.text.into(), value.clone().into_text()];
    let within = |from, to| value.to_integer().is_some_and(|n| (from..=to).contains(&n));
    let any = |holds: &dyn Fn(&str) -> bool| texts.iter().any(|text| holds(text));
    match test {
        Test::Present => true,
        Test::OneOf(values) => values.iter().any(|wanted| match wanted {
            Wanted::Text(wanted) => any(&|text| text == *wanted),
            Wanted::Number(number) => within(*number, *number),
            Wanted::Truth(flag) => value.to_boolean() == Some(*flag),
        }),
        Test::Range(from, to) => within(*from, *to),
        Test::Prefix(head) => any(&|text| text.starts_with(&**head)),
        Test::Suffix(tail) => any(&|text| text.ends_with(&**tail)),
    }
}

fn number() -> impl Strategy<Value = i32> {
    let edges = prop::sample::select(vec![i32::MIN, i32::MIN + 1, -1, 0, 1, 7, i32::MAX]);
    prop_oneof![any::<i32>(), -40..40, edges]
}

/// Texts that differ in little, short and around the lengths at which they are cut off.
fn text() -> impl Strategy<Value = String> {
    let long = (
        prop::sample::select(vec![31_usize, 32, 33, 64, 65, 256, 257, 512]),
        0..3_usize,
    );
    prop_oneof![
        "[+-]?0?[0-9]{1,2}",
        "[a-c\u{e9}]{0,4}",
        Just("true".to_owned()),
        Just("FALSE".to_owned()),
        number().prop_map(|n| n.to_string()),
        long.prop_map(|(len, end)| format!("{}{}", "a".repeat(len), ["", "b", "c"][end])),
    ]
}

fn kind() -> impl Strategy<Value = AttributeKind> {
    prop::sample::select(vec![
        AttributeKind::String,
        AttributeKind::Integer,
        AttributeKind::Boolean,
    ])
}

fn test() -> impl Strategy<Value = Test<'static>> {
    let one_of = prop_oneof![
        text().prop_map(|text| Wanted::Text(text.into())),
        number().prop_map(Wanted::Number),
        any::<bool>().prop_map(Wanted::Truth),
    ];
    let some = || text().prop_filter("not empty", |text| !text.is_empty());
    prop_oneof![
        Just(Test::Present),
        prop::collection::vec(one_of, 1..5).prop_map(Test::OneOf),
        (number(), number()).prop_map(|(a, b)| Test::Range(a.min(b), a.max(b))),
        some().prop_map(|text| Test::Prefix(text.into())),
        some().prop_map(|text| Test::Suffix(text.into())),
    ]
}

/// What is longer than this is looked up by a part of it.
const WHOLE: usize = 32;

proptest! {
    #[test]
    fn a_predicate_that_holds_is_met(test in test(), kind in kind(), text in text()) {
        let keys = Keys::default();
        let attribute = attribute(kind, &text);
        let (holds, meets) = (holds(&test, &attribute), meets(&keys, &test, &attribute));
        prop_assert!(meets || !holds, "{test:?} {attribute:?}");
        let whole = match &test {
            Test::Prefix(text) | Test::Suffix(text) => text.len() <= WHOLE,
            Test::Present | Test::OneOf(_) | Test::Range(..) => true,
        };
        prop_assert!(holds || !meets || !whole, "in vain: {test:?} {attribute:?}");
    }

    #[test]
    fn a_range_consists_of_few_blocks_and_each_number_is_in_one(
        from in number(), to in number(), most in 1..70_usize
    ) {
        let (from, to) = (from.min(to), from.max(to));
        prop_assert!(blocks(from, to).count() <= 62);
        let (first, last) = around(from, to, most);
        prop_assert!(first <= from && to <= last);
        prop_assert!(blocks(first, last).count() <= most);
        if blocks(from, to).count() <= most {
            prop_assert_eq!((first, last), (from, to));
        }
    }
}

/// Attributes are looked up by the text that they came with, which the dialects compare, and by the
/// one that CESQL makes of their value.
#[test]
fn both_texts_of_an_attribute_are_looked_up() {
    use AttributeKind::{Boolean, Integer, String};
    let keys = Keys::default();
    let texts = |kind, text| {
        let all = ["+7", "07", "7", "-0", "0", "true", "TRUE", "1", "x"];
        let is = |wanted: &&str| {
            let test = Test::OneOf(vec![Wanted::Text((*wanted).into())]);
            meets(&keys, &test, &attribute(kind, text))
        };
        all.into_iter().filter(is).collect::<Vec<_>>()
    };
    assert_eq!(texts(Integer, "7"), ["7"]);
    assert_eq!(texts(Integer, "+7"), ["+7", "7"]);
    assert_eq!(texts(Integer, "07"), ["07", "7"]);
    assert_eq!(texts(Integer, "-0"), ["-0", "0"]);
    assert_eq!(texts(Integer, "x"), ["x"]);
    assert_eq!(texts(String, "07"), ["07"]);
    assert_eq!(texts(Boolean, "true"), ["true"]);
    assert_eq!(texts(String, "TRUE"), ["TRUE"]);
    let part = |test: Test<'_>, text| meets(&keys, &test, &attribute(Integer, text));
    assert!(part(Test::Prefix("+".into()), "+17") && part(Test::Prefix("1".into()), "+17"));
    assert!(part(Test::Suffix("017".into()), "017") && part(Test::Suffix("17".into()), "017"));
    assert!(!part(Test::Prefix("7".into()), "+17") && !part(Test::Suffix("+1".into()), "+17"));
}

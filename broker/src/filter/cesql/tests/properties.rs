//! What holds of every expression, pattern and event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use crate::event::{AttributeValue, Event, EventBuilder};
use crate::filter::cesql::ast::{Arithmetic, At, Callee, Comparison, Expr, Logic, Node};
use crate::filter::cesql::functions::Function;
use crate::filter::cesql::like::Pattern;
use crate::filter::cesql::{Expression, Type, Value};

fn at(node: Node) -> Expr {
    Expr { node, at: At(0) }
}

fn name() -> impl Strategy<Value = Box<str>> {
    prop::sample::select(vec!["id", "type", "source", "num", "flag", "text", "no1"])
        .prop_map(Box::from)
}

fn leaf() -> impl Strategy<Value = Expr> {
    prop_oneof![
        name().prop_map(Node::Attribute),
        name().prop_map(Node::Exists),
        // Without a backslash in front of a quote there is always a way to write it.
        "[a-c%_'\" \u{e9}0-9-]{0,6}".prop_map(|text| Node::Literal(Value::String(text.into()))),
        prop_oneof![any::<i32>(), -3..4_i32]
            .prop_map(|number| Node::Literal(Value::Integer(number))),
        any::<bool>().prop_map(|flag| Node::Literal(Value::Boolean(flag))),
    ]
    .prop_map(at)
}

fn pattern() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!["%", "_", "\\%", "\\_", "a", "b", "\u{e9}", "ab", "\\"]),
        0..8,
    )
    .prop_map(|parts| parts.concat())
    // A backslash at the end would take the closing quote with it.
    .prop_filter("ends in a backslash", |text| !text.ends_with('\\'))
}

fn call() -> impl Strategy<Value = (&'static str, usize)> {
    prop::sample::select(vec![
        ("LENGTH", 1),
        ("CONCAT", 0),
        ("CONCAT", 3),
        ("CONCAT_WS", 3),
        ("LOWER", 1),
        ("UPPER", 1),
        ("TRIM", 1),
        ("LEFT", 2),
        ("RIGHT", 2),
        ("SUBSTRING", 2),
        ("SUBSTRING", 3),
        ("ABS", 1),
        ("INT", 1),
        ("BOOL", 1),
        ("STRING", 1),
        ("IS_INT", 1),
        ("IS_BOOL", 1),
        ("NOSUCH_F", 2),
    ])
}

fn expr() -> impl Strategy<Value = Expr> {
    use prop::sample::select;
    leaf().prop_recursive(5, 40, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let sides = (inner.clone(), inner.clone()).prop_map(|(x, y)| Box::new([x, y]));
        let arithmetic = select(vec![
            Arithmetic::Add,
            Arithmetic::Subtract,
            Arithmetic::Multiply,
            Arithmetic::Divide,
            Arithmetic::Remainder,
        ]);
        let comparison = select(vec![
            Comparison::Equal,
            Comparison::NotEqual,
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
        ]);
        let logic = select(vec![Logic::And, Logic::Or, Logic::Xor]);
        let rest = prop::collection::vec((logic, inner.clone()), 1..4);
        let set = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            boxed.clone().prop_map(Node::Not),
            boxed.clone().prop_map(Node::Negate),
            (arithmetic, sides.clone()).prop_map(|(op, sides)| Node::Arithmetic(op, sides)),
            (comparison, sides).prop_map(|(op, sides)| Node::Compare(op, sides)),
            (boxed.clone(), rest).prop_map(|(first, rest)| Node::Logic(first, rest.into())),
            (boxed.clone(), pattern(), any::<bool>()).prop_map(|(operand, pattern, negated)| {
                let pattern = Box::new(Pattern::new(&pattern).unwrap());
                Node::Like {
                    operand,
                    pattern,
                    negated,
                }
            }),
            (boxed, set, any::<bool>()).prop_map(|(operand, set, negated)| Node::In {
                operand,
                set: set.into(),
                negated,
            }),
            (call(), prop::collection::vec(inner, 3)).prop_map(|((name, count), arguments)| {
                let callee = match Function::find(name, count) {
                    Some(function) => Callee::Known(function),
                    None => Callee::Unknown(name.into()),
                };
                Node::Call(callee, arguments.into_iter().take(count).collect())
            }),
        ]
        .prop_map(at)
    })
}

fn event() -> impl Strategy<Value = Event> {
    let texts = || prop_oneof!["[a-c%_ \u{e9}]{1,6}", "-?[0-9]{1,11}", "(true|FALSE)"];
    (
        texts(),
        texts(),
        prop::option::of(any::<i32>()),
        prop::option::of(any::<bool>()),
        prop::option::of(texts()),
    )
        .prop_map(|(id, ty, num, flag, text)| {
            let mut event = EventBuilder::new(id, "/s", ty);
            if let Some(num) = num {
                event = event.attribute("num", num);
            }
            if let Some(flag) = flag {
                event = event.attribute("flag", flag);
            }
            if let Some(text) = text {
                event = event.attribute("text", AttributeValue::from(text));
            }
            event.build().unwrap()
        })
}

/// The definition of LIKE, by trying everything.
fn like(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['%', rest @ ..], _) => (0..=text.len()).any(|n| like(rest, &text[n..])),
        (['\\', c @ ('%' | '_'), rest @ ..], [first, text @ ..]) => c == first && like(rest, text),
        (['\\', '%' | '_', ..], []) => false,
        (['_', rest @ ..], [_, text @ ..]) => like(rest, text),
        ([c, rest @ ..], [first, text @ ..]) => c == first && like(rest, text),
        _ => false,
    }
}

fn agrees(pattern: &str, text: &str) {
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    assert_eq!(
        Pattern::new(pattern).unwrap().matches(text),
        like(&chars(pattern), &chars(text)),
        "{text:?} LIKE {pattern:?}"
    );
}

proptest! {
    #[test]
    fn reading_never_panics(source in any::<String>()) {
        if let Err(error) = Expression::parse(&source) {
            prop_assert!(error.position <= source.len());
        }
    }

    #[test]
    fn reading_words_never_panics(words in prop::collection::vec(prop::sample::select(vec![
        "(", ")", ",", "NOT", "like", "IN", "EXISTS", "a", "f(", "'x'", "\"", "'", "\\", "1", "-",
        "+", "%", "<", "=", "!", "and", "XOR", "TRUE", "_", "\u{e9}", "99999999999",
    ]), 0..30)) {
        let source = words.join(" ");
        if let Err(error) = Expression::parse(&source) {
            prop_assert!(source.is_char_boundary(error.position), "{}", source);
        }
    }

    #[test]
    fn what_is_written_reads_as_what_it_was(expr in expr()) {
        let text = expr.to_string();
        let read = Expression::parse(&text);
        prop_assert_eq!(read.map(|read| read.root().clone()), Ok(expr), "{}", text);
    }

    #[test]
    fn evaluation_is_total(expr in expr(), event in event()) {
        let expression = Expression::parse(&expr.to_string()).unwrap();
        let found = expression.evaluate(&event);
        let wanted = expression.root().static_type();
        prop_assert!(wanted.is_none_or(|wanted| wanted == found.value.kind()));
        let passes = found.error.is_none() && found.value == Value::Boolean(true);
        prop_assert_eq!(expression.test(&event).unwrap_or(false), passes);
        prop_assert_eq!(&expression.evaluate(&event), &found);
    }

    #[test]
    fn not_is_the_complement(expr in expr(), event in event()) {
        let plain = Expression::parse(&expr.to_string()).unwrap();
        let negated = Expression::parse(&format!("NOT {expr}")).unwrap();
        if let Ok(passes) = plain.test(&event) {
            prop_assert_eq!(negated.test(&event), Ok(!passes));
        } else if plain.root().static_type() == Some(Type::Boolean) {
            prop_assert!(negated.test(&event).is_err());
        }
    }

    #[test]
    fn like_is_its_definition(pattern in pattern(), text in "[ab%_\u{e9}\\\\]{0,10}") {
        agrees(&pattern, &text);
    }

    #[test]
    fn like_is_its_definition_for_long_segments(
        head in "[a_]{0,3}",
        middle in "[ab_]{60,140}",
        noise in "[ab]{0,5}",
    ) {
        let fitting = middle.replace('_', "b");
        let pattern = format!("{head}%{middle}%");
        agrees(&pattern, &format!("aab{noise}{fitting}{noise}"));
        agrees(&pattern, &format!("aab{noise}{}", fitting.replacen('a', "b", 1)));
    }
}

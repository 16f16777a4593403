//! Where an expression stops making sense, and what is said about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::filter::cesql::error::{MAX_DEPTH, MAX_LENGTH, MAX_PATTERN, MAX_TERMS};
use crate::filter::cesql::{Expression, ParseError, Problem, Type};

fn fault(source: &str) -> ParseError {
    match Expression::parse_filter(source) {
        Err(error) => error,
        Ok(expression) => panic!("{source} was read as {expression}"),
    }
}

#[test]
fn faults_are_told_at_their_place() {
    let cases: &[(&str, usize, &str)] = &[
        ("", 0, "expected an expression, found the end"),
        ("  ", 2, "expected an expression, found the end"),
        ("ABC(", 4, "expected an expression, found the end"),
        ("CONCAT(id", 9, "expected `,` or `)`, found the end"),
        ("CONCAT(id,)", 10, "expected an expression, found `)`"),
        ("(id = 'a'", 9, "expected an operator or `)`, found the end"),
        (
            "id = 'a')",
            8,
            "expected an operator or the end of the expression, found `)`",
        ),
        ("id == 'a'", 4, "expected an expression, found `=`"),
        (
            "id 'a'",
            3,
            "expected an operator or the end of the expression, found `'a'`",
        ),
        (
            "id = 'it''s'",
            9,
            "expected an operator or the end of the expression, found `'s'`",
        ),
        ("id = 'a", 5, "the string has no closing '"),
        ("id = \"a\\\"", 5, "the string has no closing \""),
        (
            "id ~ 'a'",
            3,
            "the character '~' has no meaning outside of a string",
        ),
        (
            "id = \u{201e}a\u{201c}",
            5,
            "the character '\u{201e}' has no meaning outside of a string",
        ),
        ("x LIKE 123", 7, "expected a pattern in quotes, found `123`"),
        ("x LIKE y", 7, "expected a pattern in quotes, found `y`"),
        ("x NOT = 1", 6, "expected LIKE or IN, found `=`"),
        ("x IN 1", 5, "expected `(` and a list of values, found `1`"),
        ("x IN ()", 6, "expected an expression, found `)`"),
        (
            "EXISTS 'id'",
            7,
            "expected the name of an attribute, found `'id'`",
        ),
        (
            "EXISTS my_id",
            7,
            "expected a name of letters and digits, found `my_id`",
        ),
        (
            "my_id = 1",
            6,
            "expected `(` behind the name of a function, found `=`",
        ),
        (
            "my_id2 = 1",
            0,
            "expected a name of letters and digits, found `my_id2`",
        ),
        (
            "a.b = 1",
            1,
            "the character '.' has no meaning outside of a string",
        ),
        ("a = +b", 5, "expected an integer, found `b`"),
        ("a AND", 5, "expected an expression, found the end"),
        ("a AND OR b", 6, "expected an expression, found `OR`"),
        (
            "a = 2147483648",
            4,
            "the integer is not between -2147483648 and 2147483647",
        ),
        (
            "a = -2147483649",
            4,
            "the integer is not between -2147483648 and 2147483647",
        ),
        ("a = 1 AND LENGHT(b) = 2", 10, "there is no function LENGHT"),
        (
            "length(a, b) = 2",
            0,
            "the function LENGTH does not take 2 arguments",
        ),
        (
            "a + 1",
            2,
            "the value is always of type Integer; a filter needs a Boolean",
        ),
        (
            "'true'",
            0,
            "the value is always of type String; a filter needs a Boolean",
        ),
        (
            "STRING(TRUE)",
            0,
            "the value is always of type String; a filter needs a Boolean",
        ),
    ];
    for (source, position, message) in cases {
        let error = fault(source);
        assert_eq!(error.position, *position, "{source}: {error}");
        assert_eq!(
            error.to_string(),
            format!("{message} (at byte {position})"),
            "{source}"
        );
    }
}

#[test]
fn what_an_error_repeats_is_cut() {
    let error = fault(&format!(
        "a {}",
        "\u{e9}b".repeat(100).replace('\u{e9}', "x")
    ));
    assert!(error.to_string().len() < 150, "{error}");
}

#[test]
fn size_and_depth_are_bounded() {
    let at = |source: &str| fault(source).problem;
    let deep =
        |open: &str, close: &str, n: usize| format!("{}TRUE{}", open.repeat(n), close.repeat(n));
    for (open, close) in [("(", ")"), ("NOT ", ""), ("BOOL(", ")"), ("TRUE IN (", ")")] {
        assert!(
            Expression::parse(&deep(open, close, MAX_DEPTH - 1)).is_ok(),
            "{open}"
        );
        assert_eq!(
            at(&deep(open, close, MAX_DEPTH + 1)),
            Problem::Depth,
            "{open}"
        );
    }
    // `- - - 1` is deep too, but `--1` ends in a literal.
    assert_eq!(at(&format!("{}1 = 1", "-".repeat(1000))), Problem::Depth);
    // What grows to the left is as deep as what grows to the right; AND, OR and XOR do not grow.
    assert_eq!(
        at(&format!("1{} = 1", " + 1".repeat(MAX_DEPTH))),
        Problem::Depth
    );
    assert!(Expression::parse(&format!("a{}", " OR a".repeat(1000))).is_ok());
    assert_eq!(
        at(&format!("a IN (a{})", ",a".repeat(MAX_TERMS))),
        Problem::Terms
    );
    assert_eq!(
        at(&format!("a = '{}'", "x".repeat(MAX_LENGTH))),
        Problem::Length
    );
    let pattern = |n| format!("a LIKE '{}'", "_".repeat(n));
    assert!(Expression::parse(&pattern(MAX_PATTERN)).is_ok());
    assert_eq!(at(&pattern(MAX_PATTERN + 1)), Problem::PatternLength);
    assert!(Expression::parse(&format!("EXISTS {}", "a".repeat(255))).is_ok());
    assert_eq!(
        at(&format!("EXISTS {}", "a".repeat(256))),
        Problem::NameLength
    );
    assert_eq!(at(&"a".repeat(256)), Problem::NameLength);
}

#[test]
fn an_expression_that_is_no_filter_can_still_be_read() {
    let read = |source| Expression::parse(source).is_ok();
    assert!(read("1 + 1") && read("NOSUCH(1)"));
    assert_eq!(fault("1 + 1").problem, Problem::NeverBoolean(Type::Integer));
}

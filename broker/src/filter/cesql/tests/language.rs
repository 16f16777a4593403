//! The language beyond what the compatibility kit asks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::event::{Event, EventBuilder};
use crate::filter::cesql::error::MAX_DEPTH;
use crate::filter::cesql::eval::MAX_WORK;
use crate::filter::cesql::{ErrorKind, Expression, Fault, Value};

fn event() -> Event {
    EventBuilder::new("1", "/s", "com.example.a")
        .attribute("subject", "na\u{ef}ve \u{1f600}")
        .attribute("number", 7)
        .attribute("flag", true)
        .attribute("text", "7")
        .attribute("padded", "07")
        .build()
        .unwrap()
}

/// The value as text with its type, and the kind of the error.
fn outcome(source: &str) -> (String, Option<ErrorKind>) {
    let expression = Expression::parse(source).unwrap_or_else(|e| panic!("{source}: {e}"));
    let event = event();
    let found = expression.evaluate(&event);
    let value = match found.value {
        Value::String(text) => format!("'{text}'"),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
    };
    (value, found.error.map(|error| error.kind()))
}

#[test]
fn values() {
    let cases = [
        // Precedence: NOT binds tightest; AND, OR and XOR go from left to right.
        ("NOT FALSE = TRUE", "true"),
        ("NOT (TRUE = TRUE)", "false"),
        ("TRUE OR TRUE AND FALSE", "false"),
        ("TRUE OR (TRUE AND FALSE)", "true"),
        ("TRUE XOR TRUE OR TRUE", "true"),
        ("FALSE AND TRUE OR TRUE", "true"),
        ("2 + 3 * 4 = 14 AND 10 - 3 - 2 = 5", "true"),
        ("100 / 10 / 2 = 5 AND 7 % 4 % 2 = 1", "true"),
        ("1 + 2 LIKE '2'", "2"),
        ("10 + number IN (7, 8)", "11"),
        ("-10 LIKE '-1_'", "true"),
        ("- number", "-7"),
        ("4-1", "3"),
        ("1 < 2 = TRUE", "true"),
        ("not exists NUMBER and true", "false"),
        // Attributes keep the type of the wire; texts are cast as the other side needs.
        ("number", "7"),
        ("flag", "true"),
        ("text", "'7'"),
        ("number = '7'", "true"),
        ("number = '07'", "false"),
        ("padded = number", "true"),
        ("number = padded", "false"),
        ("text = number AND number = text", "true"),
        ("flag = 'TRUE'", "false"),
        ("'TRUE' = flag", "true"),
        ("number IN ('07', 8)", "true"),
        ("text IN (07, 8)", "true"),
        ("'07' IN (7)", "false"),
        ("number LIKE '_'", "true"),
        (
            "id = 1 AND specversion = '1.0' AND EXISTS specversion",
            "true",
        ),
        // Characters, not bytes.
        ("LENGTH(subject)", "7"),
        ("RIGHT(subject, 1)", "'\u{1f600}'"),
        ("LEFT(subject, 3)", "'na\u{ef}'"),
        ("SUBSTRING(subject, 3, 2)", "'\u{ef}v'"),
        ("SUBSTRING(subject, -1, 10)", "'\u{1f600}'"),
        ("UPPER(subject) LIKE 'NA\u{cf}VE _'", "true"),
        ("subject LIKE '__\u{ef}%_\u{1f600}'", "true"),
        ("TRIM('\u{2003}a b\u{a0}')", "'a b'"),
        ("CONCAT_WS('-', number, flag, text)", "'7-true-7'"),
        ("CONCAT_WS('-', '', '')", "'-'"),
        ("IS_INT('12') AND NOT IS_INT('a') AND IS_INT(TRUE)", "true"),
        (
            "IS_BOOL('TRUE') AND NOT IS_BOOL('1') AND IS_BOOL(0)",
            "true",
        ),
        // The remainder has the sign of the dividend; the quotient is cut towards 0.
        ("-7 % 2", "-1"),
        ("7 % -2", "1"),
        ("-7 / 2", "-3"),
        ("-2147483648 % -1", "0"),
        ("INT('+5') + INT('-3')", "2"),
        // The right side is not evaluated where the left side decides.
        ("FALSE AND missing", "false"),
        ("TRUE OR missing", "true"),
        ("TRUE OR missing OR missing", "true"),
        ("1 IN (1, missing)", "true"),
        // Only its own quote is escaped in a string; in a pattern, % and _ besides.
        (r#"'it\'s "so"'"#, r#"'it's "so"'"#),
        (r"'a\\b' LIKE 'a\\b'", "true"),
        (r"'a\%b' LIKE 'a\\%b'", "true"),
        ("'' LIKE '' AND '' LIKE '%' AND NOT ('a' LIKE '')", "true"),
    ];
    for (source, value) in cases {
        assert_eq!(outcome(source), (value.to_owned(), None), "{source}");
    }
}

#[test]
fn errors() {
    use ErrorKind::{Cast, FunctionEvaluation, Math, MissingAttribute, MissingFunction};
    let cases = [
        ("2147483647 + 1", "0", Math),
        ("-2147483648 - 1", "0", Math),
        ("65536 * 65536", "0", Math),
        ("-2147483648 / -1", "0", Math),
        ("-(-2147483648)", "0", Math),
        ("number / 0 = 0", "false", Math),
        ("'a' + 1", "0", Cast),
        ("'a' = 1", "false", Cast),
        ("subject < 1", "false", Cast),
        ("1 IN (subject, 1)", "false", Cast),
        ("'yes' AND TRUE", "false", Cast),
        ("INT('2147483648')", "0", Cast),
        ("INT('1.5')", "0", Cast),
        ("INT(' 1')", "0", Cast),
        ("BOOL('yes')", "false", Cast),
        ("NOT 'yes'", "true", Cast),
        ("missing", "false", MissingAttribute),
        ("data = 'x'", "false", MissingAttribute),
        ("NOT (missing = 1)", "false", MissingAttribute),
        ("missing NOT IN (1)", "false", MissingAttribute),
        ("missing NOT LIKE 'a'", "false", MissingAttribute),
        ("missing OR TRUE", "false", MissingAttribute),
        ("LENGTH(missing)", "0", MissingAttribute),
        ("UPPER(missing)", "''", MissingAttribute),
        ("IS_INT(missing)", "false", MissingAttribute),
        ("NOSUCH(missing)", "false", MissingFunction),
        ("SUBSTRING('abc', 2, -1)", "''", FunctionEvaluation),
        ("SUBSTRING('', 1)", "''", FunctionEvaluation),
        ("SUBSTRING('abc', -2147483648)", "''", FunctionEvaluation),
    ];
    for (source, value, kind) in cases {
        assert_eq!(outcome(source), (value.to_owned(), Some(kind)), "{source}");
    }
}

#[test]
fn errors_name_their_place() {
    let at = |source: &str| {
        let expression = Expression::parse(source).unwrap();
        let error = expression.test(&event()).unwrap_err();
        (error.position, error.to_string())
    };
    assert_eq!(
        at("number = 7 AND missing = 1"),
        (
            15,
            "the event does not have the attribute (at byte 15)".to_owned()
        )
    );
    assert_eq!(at("number > 1 AND 1 / 0 = 1").0, 17);
    assert_eq!(
        at("flag AND subject > 3").1,
        "the value of type String cannot be read as Integer (at byte 9)"
    );
}

#[test]
fn only_booleans_pass_as_filters() {
    let test = |source: &str| Expression::parse(source).unwrap().test(&event());
    assert_eq!(test("flag"), Ok(true));
    for source in ["number", "text", "1", "'true'", "UPPER('true')"] {
        let error = test(source).unwrap_err();
        assert!(matches!(error.fault, Fault::NotBoolean(_)), "{source}");
        assert_eq!(error.kind(), ErrorKind::Generic);
    }
}

#[test]
fn the_deepest_expressions_can_be_evaluated_and_written() {
    let deepest = |open: &str, close: &str| {
        let n = MAX_DEPTH - 1;
        format!("{}flag{}", open.repeat(n), close.repeat(n))
    };
    // There is an odd number of NOT.
    let cases = [
        ("BOOL(", ")", true),
        ("TRUE IN (", ")", true),
        ("NOT ", "", false),
    ];
    for (open, close, value) in cases {
        let expression = Expression::parse(&deepest(open, close)).unwrap();
        assert_eq!(expression.test(&event()), Ok(value), "{open}");
        assert!(expression.to_string().len() > MAX_DEPTH);
    }
}

#[test]
fn work_is_bounded() {
    let long = "a".repeat(64 * 1024);
    let event = EventBuilder::new("1", "/s", "t")
        .attribute("long", long.as_str())
        .build()
        .unwrap();
    let test = |source: &str| Expression::parse(source).unwrap().test(&event);
    let all = ["long"; 5].join(", ");
    assert_eq!(
        test(&format!("LENGTH(CONCAT({all})) = 1"))
            .unwrap_err()
            .fault,
        Fault::TextLength
    );
    let many = vec!["long = '' OR LENGTH(UPPER(long)) = 0"; 300].join(" OR ");
    assert!(300 * 3 * long.len() > MAX_WORK);
    assert_eq!(test(&many).unwrap_err().fault, Fault::Work);
    assert_eq!(test("long LIKE '%a%a%a%a_a%a%b'"), Ok(false));
}

//! Names, values and shapes at their limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn timestamps() {
    for good in [
        "2018-04-05T17:31:00Z",
        "2018-04-05t17:31:00z",
        "2018-04-05T17:31:00.123456789+02:00",
        "2020-02-29T23:59:60-23:59",
        "0000-01-01T00:00:00.0Z",
    ] {
        assert!(is_timestamp(good), "{good}");
    }
    for bad in [
        "",
        "2018-04-05",
        "2018-04-05 17:31:00Z",
        "2018-04-05T17:31:00",
        "2018-04-05T17:31:00.Z",
        "2018-13-05T17:31:00Z",
        "2019-02-29T17:31:00Z",
        "2018-04-31T17:31:00Z",
        "2018-04-05T24:00:00Z",
        "2018-04-05T17:31:61Z",
        "2018-04-05T17:31:00Zx",
        "2018-04-05T17:31:00+2:00",
        "2018-04-05T17:31:00+02:60",
        "２018-04-05T17:31:00Z",
    ] {
        assert!(!is_timestamp(bad), "{bad}");
    }
}

#[test]
fn media_types() {
    for good in [
        "application/json",
        "text/plain; charset=utf-8",
        "a/b ;q",
        "application/x.y+z",
    ] {
        assert!(is_media_type(good), "{good}");
    }
    for bad in [
        "",
        "json",
        "/json",
        "text/",
        "text/pl ain",
        "te xt/plain",
        "text/plain; \u{e9}",
        "a/b/c",
    ] {
        assert!(!is_media_type(bad), "{bad}");
    }
    for json in [
        "application/json",
        "TEXT/JSON;x=y",
        "application/vnd.a+JSON ; b",
    ] {
        assert!(is_json(json), "{json}");
    }
    for other in [
        "application/jsonp",
        "json",
        "application/x-json",
        "text/plain;a=/json",
    ] {
        assert!(!is_json(other), "{other}");
    }
    assert!(is_text("text/plain") && is_text("image/svg+xml; charset=UTF-8"));
    assert!(!is_text("text/plain; charset=iso-8859-1") && !is_text("image/png"));
}

#[test]
fn names_and_values() {
    assert!(check_name("a1").is_ok());
    assert_eq!(check_name("data").unwrap_err().rule, Rule::ReservedName);
    assert_eq!(
        check_name("data_base64").unwrap_err().rule,
        Rule::ReservedName
    );
    for bad in ["", "A", "a-b", "a_b", "é"] {
        assert_eq!(
            check_name(bad).unwrap_err().rule,
            Rule::NameCharacters,
            "{bad}"
        );
    }
    let long = "a".repeat(MAX_NAME + 1);
    let error = check_name(&long).unwrap_err();
    assert_eq!(
        (error.rule, error.attribute.len()),
        (Rule::NameLength, NAME_SHOWN)
    );

    assert!(check_value("id", &"x".repeat(MAX_VALUE)).is_ok());
    let too_long = Rule::ValueLength {
        found: MAX_VALUE + 1,
    };
    assert_eq!(
        check_value("id", &"x".repeat(MAX_VALUE + 1))
            .unwrap_err()
            .rule,
        too_long
    );
    assert!(check_value("ext", "").is_ok() && check_value("ext", "Euro € 😀").is_ok());
    for bad in ["a\nb", "\u{7f}", "\u{85}", "\u{fdd0}", "\u{1ffff}"] {
        assert_eq!(
            check_value("ext", bad).unwrap_err().rule,
            Rule::Characters,
            "{bad:?}"
        );
    }
    assert_eq!(check_value("source", "a b").unwrap_err().rule, Rule::Uri);
    assert_eq!(check_value("source", "").unwrap_err().rule, Rule::NotEmpty);
    assert_eq!(check_value("subject", "").unwrap_err().rule, Rule::NotEmpty);
}

//! Cases of the HTTP binding and of the JSON format that the specification or practice names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use heddle_broker::event::http::{
    DecodeError, Decoded, decode, decode_reply, encode_binary, encode_structured,
};
use heddle_broker::event::{AttributeKind, DataForm, Event, Rule, SpecVersion, json};
use http::{HeaderMap, HeaderName, HeaderValue};

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        map.append(HeaderName::try_from(*name).unwrap(), value);
    }
    map
}

fn structured(text: &str) -> Result<Event, DecodeError> {
    json::decode(text.as_bytes())
}

/// An envelope of 1.0 with the required attributes and the given rest.
fn envelope(rest: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{rest}}}"#)
}

const BINARY: [(&str, &str); 4] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "1"),
    ("ce-source", "/s"),
    ("ce-type", "t"),
];

fn binary(more: &[(&str, &str)], body: &'static [u8]) -> Result<Decoded<'static>, DecodeError> {
    decode(&headers(&[&BINARY, more].concat()), body)
}

fn event(decoded: Result<Decoded<'_>, DecodeError>) -> Event {
    match decoded.unwrap() {
        Decoded::One(draft) => draft.finish().unwrap(),
        Decoded::Batch(_) => panic!("a batch"),
    }
}

#[test]
fn binary_keeps_headers_and_body() {
    let sent = headers(&[
        ("CE-SpecVersion", "1.0"),
        ("ce-type", "t"),
        ("ce-id", "\"quoted id\" 100%"),
        ("ce-source", "/s?q=%C3%A9"),
        ("ce-time", "2018-04-05T19:31:00.10+02:00"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-myext", "7"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-request-id", "not an attribute"),
    ]);
    let body = Bytes::from_static(b"  {\"a\":1.10,\"a\":2}\n");
    let event = event(decode(&sent, &body));
    assert_eq!(event.id(), "quoted id 100%");
    assert_eq!(event.source(), "/s?q=é");
    assert_eq!(event.attribute("subject").unwrap().text, "Euro €");
    assert_eq!(event.attribute("subject").unwrap().header, None);
    assert_eq!(
        event.attribute("myext").unwrap().kind,
        AttributeKind::String
    );
    let (out, data) = encode_binary(&event, &["myext"]);
    let mut wanted = sent;
    wanted.remove("x-request-id");
    wanted.remove("ce-myext");
    assert_eq!(out, wanted);
    assert_eq!(data, body);
}

#[test]
fn versions_are_kept_and_others_refused() {
    let mut map = headers(&BINARY);
    map.insert("ce-specversion", HeaderValue::from_static("0.3"));
    let old = event(decode(&map, &Bytes::new()));
    assert_eq!(old.spec_version(), SpecVersion::V03);
    assert_eq!(encode_binary(&old, &[]).0, map);
    assert_eq!(old.data_form(), DataForm::None);
    for version in ["1", "1.0.2", "0.2", "2.0", ""] {
        map.insert("ce-specversion", version.parse().unwrap());
        let error = decode(&map, &Bytes::new()).unwrap_err();
        assert_eq!(error.attribute(), Some("specversion"), "{version}");
    }
}

#[test]
fn content_types_choose_the_mode() {
    let body = Bytes::from(envelope(""));
    for (content_type, wanted) in [
        ("application/cloudevents+json", "ok"),
        ("Application/CloudEvents+JSON ; charset=\"UTF-8\"", "ok"),
        (
            "application/cloudevents+json; charset=latin1",
            "charset `latin1`",
        ),
        (
            "application/cloudevents+xml",
            "format `application/cloudevents+xml`",
        ),
        (
            "application/cloudevents",
            "format `application/cloudevents`",
        ),
        (
            "application/cloudevents-batch+avro",
            "format `application/cloudevents-batch+avro`",
        ),
        ("application/cloudevents-batch+json", "JSON array of events"),
        ("application/cloudeventsfoo", "not a CloudEvent"),
        ("application/json", "not a CloudEvent"),
    ] {
        let answer = decode(&headers(&[("content-type", content_type)]), &body);
        let told = answer
            .as_ref()
            .map_or_else(ToString::to_string, |_| "ok".into());
        assert!(told.contains(wanted), "{content_type}: {told}");
    }
}

#[test]
fn binary_refusals_name_the_attribute() {
    for (more, attribute, rule) in [
        (&[("ce-id", "2")][..], "id", Rule::Once),
        (&[("ce-ext", "1"), ("ce-ext", "1")], "ext", Rule::Once),
        (&[("ce-bad-name", "1")], "bad-name", Rule::NameCharacters),
        (&[("ce-data", "1")], "data", Rule::ReservedName),
        (&[("ce-", "1")], "", Rule::NameCharacters),
        (&[("ce-time", "yesterday")], "time", Rule::Timestamp),
        (&[("ce-dataschema", "a b")], "dataschema", Rule::Uri),
        (&[("ce-subject", "")], "subject", Rule::NotEmpty),
        (&[("ce-ext", "%FF")], "ext", Rule::Utf8),
        (&[("ce-ext", "%0A")], "ext", Rule::Characters),
        (
            &[("ce-datacontenttype", "a/b")],
            "datacontenttype",
            Rule::ContentTypeHeader,
        ),
        (
            &[("content-type", "json")],
            "datacontenttype",
            Rule::MediaType,
        ),
        (
            &[("content-type", "a/b"), ("content-type", "a/b")],
            "datacontenttype",
            Rule::Once,
        ),
    ] {
        let Err(DecodeError::Attribute(error)) = binary(more, b"x") else {
            panic!("{more:?} should be refused")
        };
        assert_eq!((&*error.attribute, error.rule), (attribute, rule));
    }
    for missing in ["specversion", "id", "source", "type"] {
        let mut map = headers(&BINARY);
        map.remove(format!("ce-{missing}"));
        let error = decode(&map, &Bytes::new()).unwrap_err();
        assert_eq!(error.attribute(), Some(missing));
        map.insert(
            HeaderName::try_from(format!("ce-{missing}")).unwrap(),
            "".parse().unwrap(),
        );
        assert_eq!(
            decode(&map, &Bytes::new()).unwrap_err().attribute(),
            Some(missing)
        );
    }
}

#[test]
fn structured_keeps_types_and_data_text() {
    let data = "{ \"b\":1.10,\"a\":123456789012345678901234567890, \"a\" : \"\\u00e9\\/\" }";
    let text = envelope(&format!(
        r#","n":-7,"z":-0,"flag":false,"esc":"a\u00e9\n","no":null,"data":{data},"last":"x""#
    ));
    assert_eq!(structured(&text).unwrap_err().attribute(), Some("esc"));
    let event = structured(&text.replace("\\n", "")).unwrap();
    let kinds: Vec<_> = event
        .attributes()
        .skip(3)
        .map(|a| (a.name, a.kind, a.text))
        .collect();
    assert_eq!(
        kinds,
        [
            ("n", AttributeKind::Integer, "-7"),
            ("z", AttributeKind::Integer, "0"),
            ("flag", AttributeKind::Boolean, "false"),
            ("esc", AttributeKind::String, "aé"),
            ("last", AttributeKind::String, "x"),
        ]
    );
    assert_eq!(event.data(), data.as_bytes());
    let (out, body) = encode_binary(&event, &[]);
    assert_eq!(body, data.as_bytes());
    assert_eq!(out.get("content-type").unwrap(), "application/json");
    assert_eq!(out.get("ce-n").unwrap(), "-7");
    let written = String::from_utf8(json::encode(&event, &["last"])).unwrap();
    assert_eq!(
        written,
        envelope(&format!(
            r#","n":-7,"z":0,"flag":false,"esc":"aé","data":{data}"#
        ))
    );
}

#[test]
fn structured_refusals_name_the_attribute() {
    for (rest, attribute, rule) in [
        (r#","id":"2""#, "id", Rule::Once),
        (r#","x":1,"x":1"#, "x", Rule::Once),
        (r#","x":null,"x":1"#, "x", Rule::Once),
        (r#","data":1,"data":1"#, "data", Rule::Once),
        (r#","x":1.5"#, "x", Rule::Fraction),
        (r#","x":1e3"#, "x", Rule::Fraction),
        (r#","x":2147483648"#, "x", Rule::Integer32),
        (r#","x":{}"#, "x", Rule::Structure),
        (r#","x":[1]"#, "x", Rule::Structure),
        (r#","subject":1"#, "subject", Rule::String),
        (r#","time":true"#, "time", Rule::String),
        (r#","time":"2018""#, "time", Rule::Timestamp),
        (r#","Big":1"#, "Big", Rule::NameCharacters),
        (r#","":1"#, "", Rule::NameCharacters),
        (r#","x":"\ud800""#, "x", Rule::Surrogate),
        (r#","data_base64":"a""#, "data_base64", Rule::Base64),
        (r#","data_base64":1"#, "data_base64", Rule::String),
        (
            r#","data_base64":"aaaa","data":1"#,
            "data_base64",
            Rule::OneData,
        ),
        (
            r#","datacontenttype":"text/plain","data":"\ud800""#,
            "data",
            Rule::Surrogate,
        ),
        (
            r#","datacontenttype":"x""#,
            "datacontenttype",
            Rule::MediaType,
        ),
    ] {
        let Err(DecodeError::Attribute(error)) = structured(&envelope(rest)) else {
            panic!("{rest} should be refused")
        };
        assert_eq!((&*error.attribute, error.rule), (attribute, rule), "{rest}");
    }
}

#[test]
fn what_is_no_event_in_json_is_refused() {
    for text in [
        "",
        "[]",
        "1",
        "{",
        "{}x",
        "{\"a\":}",
        "{\"a\":\"\u{1}\"}",
        "{\"id\":01}",
    ] {
        assert!(
            matches!(structured(text), Err(DecodeError::Json(_))),
            "{text}"
        );
    }
    assert_eq!(
        structured("{}").unwrap_err().attribute(),
        Some("specversion")
    );
    assert_eq!(json::decode(b"\xff").unwrap_err(), DecodeError::NotUtf8);
    let many: String = (0..600).map(|i| format!(",\"x{i}\":null")).collect();
    assert!(
        structured(&envelope(&many))
            .unwrap_err()
            .to_string()
            .contains("510 members")
    );
    let many: String = (0..253).map(|i| format!(",\"x{i}\":1")).collect();
    assert_eq!(
        structured(&envelope(&many)).unwrap_err().attribute(),
        Some("x252")
    );
}

#[test]
fn depth_costs_nothing() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(150_000), close.repeat(150_000));
        let event = structured(&envelope(&format!(",\"data\":{deep}"))).unwrap();
        assert_eq!(event.data(), deep.as_bytes());
        assert_eq!(event.data_form(), DataForm::Json);
        let (headers, body) = encode_binary(&event, &[]);
        let event = self::event(decode(&headers, &body));
        assert_eq!(
            json::decode(&json::encode(&event, &[])).unwrap().data(),
            deep.as_bytes()
        );
    }
}

#[test]
fn data_forms_on_the_way_out() {
    let body = |rest: &str| encode_binary(&structured(&envelope(rest)).unwrap(), &[]).1;
    assert_eq!(
        body(r#","data":"x\ny","datacontenttype":"text/plain""#),
        "x\ny"
    );
    assert_eq!(
        body(r#","data":"plain","datacontenttype":"text/plain""#),
        "plain"
    );
    assert_eq!(
        body(r#","data":"x","datacontenttype":"application/json""#),
        "\"x\""
    );
    assert_eq!(body(r#","data":"x""#), "\"x\"");
    assert_eq!(body(r#","data":null"#), "null");
    assert_eq!(
        body(r#","data":{"a":1},"datacontenttype":"text/plain""#),
        "{\"a\":1}"
    );
    assert_eq!(body(r#","data_base64":"AP8=""#), &b"\x00\xff"[..]);
    assert_eq!(body(r#","data":1,"data_base64":null"#), "1");
    assert_eq!(body(""), "");

    let member = |content_type: &str, body: &'static [u8]| {
        let event = event(binary(&[("content-type", content_type)], body));
        let text = String::from_utf8(json::encode(&event, &[])).unwrap();
        let starts = [text.rfind(",\"data\":"), text.rfind(",\"data_base64\":")];
        let from = starts
            .into_iter()
            .flatten()
            .next()
            .map_or(text.len(), |at| at + 1);
        text[from..].trim_end_matches('}').to_owned()
    };
    assert_eq!(member("application/json", b" [1.10] "), "\"data\": [1.10] ");
    assert_eq!(
        member("application/json", b"not json"),
        "\"data_base64\":\"bm90IGpzb24=\""
    );
    assert_eq!(member("text/plain", b"a\"b"), "\"data\":\"a\\\"b\"");
    assert_eq!(member("text/plain", b"\xff"), "\"data_base64\":\"/w==\"");
    assert_eq!(
        member("text/plain; charset=latin1", b"a"),
        "\"data_base64\":\"YQ==\""
    );
    assert_eq!(member("image/png", b"a"), "\"data_base64\":\"YQ==\"");
    assert_eq!(member("image/png", b""), "");
}

#[test]
fn base64_in_version_0_3() {
    let text = r#"{"specversion":"0.3","id":"1","source":"/s","type":"t","datacontentencoding":"Base64","datacontenttype":"image/png","data":"AP8="}"#;
    let event = structured(text).unwrap();
    assert_eq!(
        (event.data_form(), &event.data()[..]),
        (DataForm::Base64, &b"\x00\xff"[..])
    );
    let (headers, body) = encode_binary(&event, &[]);
    assert_eq!(&body[..], b"\x00\xff");
    assert!(!headers.contains_key("ce-datacontentencoding"));
    let again = json::decode(&json::encode(&event, &[])).unwrap();
    assert_eq!(again.data(), event.data());
    // In binary mode the attribute says that the body is base64 text, and both stay.
    let mut map = self::headers(&BINARY);
    map.insert("ce-specversion", HeaderValue::from_static("0.3"));
    map.insert("ce-datacontentencoding", HeaderValue::from_static("base64"));
    let event = self::event(decode(&map, b"AP8="));
    assert_eq!(
        encode_binary(&event, &[]),
        (map, Bytes::from_static(b"AP8="))
    );
    assert_eq!(
        json::decode(&json::encode(&event, &[])).unwrap().data(),
        &b"\x00\xff"[..]
    );
    let bad = text.replace("AP8=", "AP8");
    assert_eq!(structured(&bad).unwrap_err().attribute(), Some("data"));
    let bad = text.replace("\"data\"", "\"data_base64\"");
    assert_eq!(
        structured(&bad).unwrap_err().attribute(),
        Some("data_base64")
    );
}

#[test]
fn batches_are_whole() {
    let good = envelope("");
    let batch = |text: String| json::decode_batch(text.as_bytes()).map(|events| events.len());
    assert_eq!(batch(" [ ] ".into()), Ok(0));
    assert_eq!(batch(format!("[{good}, {good}]")), Ok(2));
    let bad = batch(format!(
        "[{good},{{\"specversion\":\"1.0\",\"id\":\"\"}},{good}]"
    ));
    let error = bad.unwrap_err();
    assert!(matches!(error, DecodeError::Element { index: 1, .. }));
    assert_eq!(error.attribute(), Some("id"));
    assert_eq!(
        error.to_string(),
        "element 1 of the batch: attribute `id` must not be empty"
    );
    for text in ["{}", "[", "[1]", "[{}]", "[]x", "null"] {
        assert!(batch(text.into()).is_err(), "{text}");
    }
    assert!(batch(format!("[{good},]")).is_err());
}

#[test]
fn replies() {
    let empty = Bytes::new();
    let some = Bytes::from_static(b"ok");
    let event = Bytes::from(envelope(""));
    let json = headers(&[("content-type", "application/json")]);
    let structured = headers(&[("content-type", "application/cloudevents+json")]);
    let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
    assert_eq!(decode_reply(&HeaderMap::new(), &empty), Ok(None));
    assert_eq!(decode_reply(&json, &empty), Ok(None));
    assert_eq!(decode_reply(&structured, &empty), Ok(None));
    assert_eq!(decode_reply(&json, &some), Err(DecodeError::NotAnEvent));
    assert!(decode_reply(&structured, &some).is_err());
    assert_eq!(
        decode_reply(&structured, &event).unwrap().unwrap().id(),
        "1"
    );
    assert_eq!(decode_reply(&batch, &event), Err(DecodeError::BatchReply));
    assert_eq!(
        decode_reply(&headers(&BINARY), &empty)
            .unwrap()
            .unwrap()
            .id(),
        "1"
    );
    assert!(decode_reply(&headers(&BINARY[1..]), &empty).is_err());
}

#[test]
fn structured_output_says_what_it_is() {
    let event = event(binary(&[("ce-subject", "\"a b\"")], b""));
    let (headers, body) = encode_structured(&event, &[]);
    assert_eq!(
        headers.get("content-type").unwrap(),
        "application/cloudevents+json"
    );
    assert_eq!(body, envelope(r#","subject":"a b""#));
}

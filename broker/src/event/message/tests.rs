#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::event::http::{Decoded, decode};

type Headers = BTreeMap<String, String>;

fn write(binding: Binding, event: &Event) -> (Headers, Bytes) {
    let mut headers = Headers::new();
    let data = binding.write(event, |name, value| {
        let before = headers.insert(name.to_owned(), value.to_owned());
        assert_eq!(before, None, "{name} is written twice");
    });
    (headers, data)
}

fn read(binding: Binding, headers: &Headers, data: &Bytes) -> Result<Event, MessageError> {
    let get = |name: &str| headers.get(name).map(|value| value.as_bytes());
    let shape = headers.get(SHAPE).cloned().unwrap_or_default();
    binding.read(&shape, get, data)
}

fn structured(json: &str) -> Event {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_static("application/cloudevents+json");
    headers.insert(http::header::CONTENT_TYPE, value);
    match decode(&headers, &Bytes::copy_from_slice(json.as_bytes())).unwrap() {
        Decoded::One(draft) => draft.finish().unwrap(),
        Decoded::Batch(_) => panic!("a batch"),
    }
}

fn binary(headers: &[(&str, &str)], body: &[u8]) -> Event {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        );
    }
    match decode(&map, &Bytes::copy_from_slice(body)).unwrap() {
        Decoded::One(draft) => draft.finish().unwrap(),
        Decoded::Batch(_) => panic!("a batch"),
    }
}

/// Events with everything that a binding would lose.
fn hard_events() -> Vec<Event> {
    let base = r#""id":"1","source":"/s","type":"t""#;
    let v1 = |rest: &str| structured(&format!(r#"{{"specversion":"1.0",{base}{rest}}}"#));
    let v03 = |rest: &str| structured(&format!(r#"{{"specversion":"0.3",{base}{rest}}}"#));
    vec![
        v1(""),
        v1(r#","zeta":1,"alpha":true,"beta":"x y","time":"2026-01-02T03:04:05Z""#),
        v1(r#","data":{"a": 1.000000000000000000000000000001, "a": 2}"#),
        v1(r#","data":"text","datacontenttype":"text/plain""#),
        v1(r#","data":"t\u0065xt","datacontenttype":"text/plain""#),
        v1(r#","data":"line\nline","datacontenttype":"text/plain""#),
        v1(r#","data":"text""#),
        v1(r#","data":null"#),
        v1(r#","data_base64":"AAEC""#),
        v1(r#","data_base64":"""#),
        v1(",\"subject\":\"\u{20ac} 100% \\\"off\\\"\""),
        v03(r#","data":"AAEC","datacontentencoding":"base64","schemaurl":"/x""#),
        v03(r#","data":"AAEC""#),
        binary(
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "\"quoted id\""),
                ("ce-source", "/a%2Db"),
                ("ce-type", "t%c3%a4"),
                ("content-type", "application/json; charset=\"utf-8\""),
                ("ce-extra", "50%"),
            ],
            b"\x00\xff",
        ),
        binary(
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "1"),
                ("ce-source", "/s"),
                ("ce-type", "t"),
            ],
            b"",
        ),
    ]
}

#[test]
fn what_was_written_is_read_as_the_same_bytes() {
    for binding in [NATS, KAFKA] {
        for event in hard_events() {
            let (headers, data) = write(binding, &event);
            let back = read(binding, &headers, &data).unwrap();
            assert_eq!(back.packed(), event.packed(), "{headers:?}");
        }
    }
}

#[test]
fn another_reader_finds_what_the_binding_promises() {
    for event in hard_events() {
        let (headers, data) = write(NATS, &event);
        let mut map = HeaderMap::new();
        for (name, value) in &headers {
            map.insert(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::try_from(value).unwrap(),
            );
        }
        let Decoded::One(read) = decode(&map, &data).unwrap() else {
            panic!("a batch");
        };
        for attribute in event.attributes() {
            if attribute.name == "datacontentencoding" {
                continue;
            }
            let found = read.attribute(attribute.name).unwrap();
            assert_eq!(found.text, attribute.text, "{}", attribute.name);
        }
    }
    let (headers, data) = write(
        KAFKA,
        &structured(
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","x":"a b","data":"hello","datacontenttype":"text/plain"}"#,
        ),
    );
    assert_eq!(headers["ce_x"], "a b");
    assert_eq!(headers["content-type"], "text/plain");
    assert_eq!(data, "hello");
}

#[test]
fn a_message_that_lacks_something_is_an_error() {
    let event = structured(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","x":"y"}"#);
    let (whole, data) = write(NATS, &event);
    for missing in [
        "ce-id",
        "ce-source",
        "ce-type",
        "ce-specversion",
        "ce-x",
        SHAPE,
    ] {
        let mut headers = whole.clone();
        headers.remove(missing).unwrap();
        read(NATS, &headers, &data).unwrap_err();
    }
    for shape in ["", "q", "b;missing", "b;X", "s;", "b;data"] {
        let mut headers = whole.clone();
        headers.insert(SHAPE.to_owned(), shape.to_owned());
        let read = read(NATS, &headers, &data);
        assert!(read.is_err(), "{shape}: {read:?}");
    }
}

proptest! {
    #[test]
    fn any_event_survives_both_bindings(
        attributes in proptest::collection::btree_map("[a-z][a-z0-9]{0,8}", "\\PC{1,20}", 0..6),
        number in any::<i32>(),
        truth in any::<bool>(),
        data in proptest::collection::vec(any::<u8>(), 0..50),
        text in "\\PC{0,20}",
        mode in 0..3,
    ) {
        let mut json = serde_json::json!({
            "specversion": "1.0", "id": "i", "source": "/s", "type": "t", "anumber": number, "atruth": truth,
        });
        for (name, value) in &attributes {
            if json.get(name).is_none() && !["data", "time", "dataschema", "datacontenttype"].contains(&name.as_str()) {
                json[name] = serde_json::json!(value);
            }
        }
        match mode {
            0 => json["data_base64"] = serde_json::json!(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &data)),
            1 => json["data"] = serde_json::json!({"text": text}),
            _ => {
                json["data"] = serde_json::json!(text);
                json["datacontenttype"] = serde_json::json!("text/plain");
            }
        }
        let event = structured(&json.to_string());
        for binding in [NATS, KAFKA] {
            let (headers, data) = write(binding, &event);
            prop_assert_eq!(&read(binding, &headers, &data).unwrap(), &event);
        }
    }

    #[test]
    fn no_message_is_more_than_an_error(
        shape in "[nb6js](;[a-z]{1,4}(:[ithx]{0,2})?){0,4}",
        values in proptest::collection::btree_map("(ce-|heddle-http-)?[a-z]{1,4}", "[ -~]{0,9}", 0..8),
        data in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let get = |name: &str| values.get(name).map(|value| value.as_bytes());
        let _event_or_error = NATS.read(&shape, get, &data.clone().into());
        let _event_or_error = KAFKA.read(&shape, get, &data.into());
    }
}

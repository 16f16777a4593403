//! Properties of the codecs: what came in goes out, in either mode, and nothing makes them panic.
//! The CloudEvents SDK is the oracle for the events that it understands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use heddle_broker::event::http::{Decoded, decode, decode_reply, encode_binary, encode_structured};
use heddle_broker::event::{AttributeValue, DataForm, Event, EventBuilder, SpecVersion, json};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn one(decoded: Decoded<'_>) -> Event {
    match decoded {
        Decoded::One(draft) => draft.finish().unwrap(),
        Decoded::Batch(_) => panic!("a batch"),
    }
}

/// Text without what attributes must not have.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "\\PC{0,30}", 1 => "[ -~]{0,30}", 1 => Just("a%20\"b\\c%".to_owned())]
}

fn full_text() -> impl Strategy<Value = String> {
    text().prop_map(|text| {
        if text.is_empty() {
            "x".to_owned()
        } else {
            text
        }
    })
}

fn extensions() -> impl Strategy<Value = Vec<(String, AttributeValue<'static>)>> {
    let value = prop_oneof![
        text().prop_map(AttributeValue::from),
        any::<i32>().prop_map(AttributeValue::from),
        any::<bool>().prop_map(AttributeValue::from),
    ];
    btree_map("x[a-z0-9]{1,12}", value, 0..6).prop_map(|map| map.into_iter().collect())
}

/// JSON text as nobody would write it: every form of white space, order and number.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1.10".to_owned()),
        Just("-0.0e+30".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just("\"\\u00e9\\/\\n \\ud83d\\ude00\"".to_owned()),
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" ,\n"))),
            vec(inner, 0..4).prop_map(|items| {
                let members: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(i, v)| format!("\"k{}\" :{v}", i % 2))
                    .collect();
                format!("{{{}\t}}", members.join(","))
            }),
        ]
    })
}

fn content_type() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![
        None,
        Some("application/json"),
        Some("application/vnd.x+json; charset=utf-8"),
        Some("text/plain"),
        Some("text/plain; charset=iso-8859-1"),
        Some("application/xml"),
        Some("image/png"),
    ])
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 1..60),
        json_text().prop_map(String::into_bytes),
        text().prop_map(String::into_bytes),
    ]
}

prop_compose! {
    fn event()(
        id in full_text(),
        ty in full_text(),
        subject in full_text(),
        extensions in extensions(),
        content_type in content_type(),
        body in body(),
        v03 in any::<bool>(),
    ) -> Event {
        let mut builder = EventBuilder::new(id, "/source", ty).attribute("subject", subject);
        if v03 {
            builder = builder.version(SpecVersion::V03);
        }
        for (name, value) in extensions {
            builder = builder.attribute(name, value);
        }
        match content_type {
            Some(content_type) => builder.data(content_type, body).build().unwrap(),
            None => {
                let built = builder.data("a/b", body).build().unwrap();
                built.without(&["datacontenttype"])
            }
        }
    }
}

fn texts(event: &Event) -> Vec<(String, String)> {
    let mut all: Vec<_> = event
        .attributes()
        .map(|a| (a.name.to_owned(), a.text.to_owned()))
        .collect();
    all.push(("specversion".into(), event.spec_version().as_str().into()));
    all.sort();
    all
}

proptest! {
    #[test]
    fn a_binary_message_leaves_as_it_came(
        values in vec("[!-~]([ -~]{0,20}[!-~])?", 6),
        content_type in content_type(),
        body in vec(any::<u8>(), 0..80),
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", HeaderValue::from_static("1.0"));
        for (name, value) in ["ce-id", "ce-type", "ce-subject", "ce-ext", "ce-x1", "ce-x2"].iter().zip(&values) {
            headers.insert(*name, value.parse().unwrap());
        }
        headers.insert("ce-source", HeaderValue::from_static("urn:%41:\"a\""));
        if let Some(content_type) = content_type {
            headers.insert("content-type", HeaderValue::from_static(content_type));
        }
        let body = Bytes::from(body);
        // Percent signs may spell something that is no text; that is refused, and no matter here.
        if let Ok(decoded) = decode(&headers, &body) {
            let event = one(decoded);
            let (out, data) = encode_binary(&event, &[]);
            prop_assert_eq!(&out, &headers);
            prop_assert_eq!(&data, &body);
            let again = one(decode(&out, &data).unwrap());
            prop_assert_eq!(again.attributes().count(), event.attributes().count());
        } else {
            prop_assert!(values.iter().any(|value| value.contains('%') || value.contains('"')));
        }
    }

    #[test]
    fn text_survives_the_binary_mode(event in event()) {
        let (headers, body) = encode_binary(&event, &[]);
        for value in headers.values() {
            prop_assert!(value.as_bytes().iter().all(u8::is_ascii));
        }
        let back = one(decode(&headers, &body).unwrap());
        prop_assert_eq!(texts(&back), texts(&event));
        prop_assert_eq!(back.data(), event.data());
    }

    #[test]
    fn packing_is_reversible(event in event()) {
        let back = Event::unpack(event.packed().clone()).unwrap();
        prop_assert_eq!(&back, &event);
        let changed = event.with(&[("added", 7.into())]).unwrap();
        prop_assert_eq!(&Event::unpack(changed.packed().clone()).unwrap(), &changed);
        prop_assert_eq!(&changed.without(&["added"]), &event);
    }

    #[test]
    fn data_survives_the_structured_mode(event in event()) {
        let (headers, body) = encode_structured(&event, &[]);
        let back = one(decode(&headers, &body).unwrap());
        let (mut wanted, mut found) = (texts(&event), texts(&back));
        // In 0.3, base64 is told by an attribute.
        wanted.retain(|(name, _)| name != "datacontentencoding");
        found.retain(|(name, _)| name != "datacontentencoding");
        prop_assert_eq!(found, wanted);
        for attribute in event.attributes() {
            prop_assert_eq!(back.attribute(attribute.name).unwrap().kind, attribute.kind);
        }
        // White space around a JSON value is not part of the value.
        let is_json = back.data_form() == DataForm::Json;
        let (sent, got) = (encode_binary(&event, &[]).1, encode_binary(&back, &[]).1);
        if is_json && sent != got {
            prop_assert_eq!(sent.trim_ascii(), &got[..]);
        } else {
            prop_assert_eq!(sent, got);
        }
    }

    #[test]
    fn json_data_is_kept_as_text(
        data in json_text(),
        content_type in content_type(),
        id in full_text(),
        extensions in extensions(),
    ) {
        let mut envelope = format!("{{\"data\" : {data} ,\"id\":{}", serde_json::to_string(&id).unwrap());
        for (name, value) in &extensions {
            let value = match value {
                AttributeValue::String(text) => serde_json::to_string(text).unwrap(),
                other => other.text().into_owned(),
            };
            envelope += &format!(",\n\"{name}\": {value}");
        }
        if let Some(content_type) = content_type {
            envelope += &format!(",\"datacontenttype\":\"{content_type}\"");
        }
        envelope += ",\"specversion\":\"1.0\",\"source\":\"/\",\"type\":\"t\",\"absent\":null}";
        let event = json::decode(envelope.as_bytes()).unwrap();
        prop_assert_eq!(event.id(), id);
        prop_assert_eq!(&event.data()[..], data.as_bytes());
        prop_assert_eq!(event.attributes().count(), 3 + extensions.len() + usize::from(content_type.is_some()));
        // Structured again: the same event.
        prop_assert_eq!(&json::decode(&json::encode(&event, &[])).unwrap(), &event);
        // Binary: the JSON text, or what a string in other content stands for.
        let (headers, body) = encode_binary(&event, &[]);
        let says_json = content_type.is_none_or(|t| t.contains("json"));
        if data.starts_with('"') && !says_json {
            prop_assert_eq!(body, serde_json::from_str::<String>(&data).unwrap().into_bytes());
        } else {
            prop_assert_eq!(&body[..], data.as_bytes());
        }
        let stated = headers.get("content-type").unwrap().to_str().unwrap();
        prop_assert_eq!(stated, content_type.unwrap_or("application/json"));
    }

    #[test]
    fn unpacking_never_panics(
        noise in vec(any::<u8>(), 0..64),
        event in event(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let _ = Event::unpack(noise.into());
        let mut bytes = event.packed().to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for bytes in [bytes.clone(), bytes[..cut.index(bytes.len())].to_vec()] {
            if let Ok(event) = Event::unpack(bytes.into()) {
                let _ = (event.id(), event.source(), event.ty(), event.data(), format!("{event:?}"));
                let _ = (encode_binary(&event, &[]), event.without(&["subject"]));
                let structured = encode_structured(&event, &[]).1;
                // What has the shape of an event is written as JSON.
                if event.data_form() != DataForm::Json {
                    prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&structured).is_ok());
                }
            }
        }
    }

    #[test]
    fn decoding_never_panics(
        headers in vec(("(ce-)?[a-z0-9_.-]{1,8}", vec(0x20u8..=0xff, 0..12)), 0..8),
        content_type in "(application/cloudevents(-batch)?(\\+json)?|[ -~]{0,10})(; ?charset=[a-z8\"-]{0,6})?",
        body in prop_oneof![
            vec(any::<u8>(), 0..40),
            "[\\[\\]{}\":,a0-9\\\\ ]{0,40}".prop_map(String::into_bytes),
        ],
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
                map.append(name, value);
            }
        }
        for required in ["ce-id", "ce-source", "ce-type"] {
            map.entry(required).or_insert(HeaderValue::from_static("x"));
        }
        map.insert("ce-specversion", HeaderValue::from_static("1.0"));
        map.insert("content-type", content_type.trim().parse().unwrap());
        let body = Bytes::from(body);
        let decoded = decode(&map, &body);
        let _ = decode_reply(&map, &body);
        if let Ok(Decoded::One(draft)) = decoded {
            let event = draft.finish().unwrap();
            let (headers, body) = encode_binary(&event, &[]);
            prop_assert_eq!(texts(&one(decode(&headers, &body).unwrap())), texts(&event));
        }
    }

    #[test]
    fn damaged_envelopes_never_panic(
        event in event(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = json::encode(&event, &[]);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = json::decode(&bytes);
        let _ = json::decode_batch(&[b"[".as_slice(), &bytes, b"]"].concat());
    }

    /// The SDK reads what we write, and says the same about it.
    #[test]
    fn the_sdk_agrees(event in event()) {
        let mut event = event.without(&["datacontentencoding"]);
        // The SDK does not see JSON in a content type with parameters.
        if event.attribute("datacontenttype").is_some_and(|a| a.text.contains("+json;")) {
            event = event.with(&[("datacontenttype", "application/vnd.x+json".into())]).unwrap();
        }
        let written = json::encode(&event, &[]);
        let Ok(theirs) = serde_json::from_slice::<cloudevents::Event>(&written) else {
            // It wants base64 to hold JSON where the content type says JSON.
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&event.data()).is_err());
            return Ok(());
        };
        let ours = cloudevents::Event::try_from(&json::decode(&written).unwrap()).unwrap();
        prop_assert_eq!(theirs.iter_attributes().collect::<Vec<_>>(), ours.iter_attributes().collect::<Vec<_>>());
        let extensions = |event: &cloudevents::Event| {
            let mut all: Vec<_> = event
                .iter_extensions()
                .filter(|(name, _)| *name != "datacontentencoding")
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        prop_assert_eq!(extensions(&theirs), extensions(&ours));
        prop_assert_eq!(theirs.data(), ours.data());
        // And back from the SDK's model.
        let back = Event::try_from(&ours).unwrap();
        let mut names = texts(&back);
        let mut wanted = texts(&json::decode(&written).unwrap());
        names.retain(|(name, _)| name != "datacontentencoding");
        wanted.retain(|(name, _)| name != "datacontentencoding");
        prop_assert_eq!(names, wanted);
        prop_assert_eq!(cloudevents::Event::try_from(&back).unwrap(), ours);
    }
}

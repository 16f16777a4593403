#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use rdkafka::Timestamp as Written;
use rdkafka::message::{OwnedHeaders, OwnedMessage};

use super::*;

fn record(key: Option<&[u8]>, headers: &[(&str, &[u8])], value: Option<&[u8]>) -> OwnedMessage {
    let headers = headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| {
            let value = Some(*value);
            all.insert(Header { key, value })
        });
    OwnedMessage::new(
        value.map(<[u8]>::to_vec),
        key.map(<[u8]>::to_vec),
        "orders".to_owned(),
        Written::CreateTime(1_700_000_000_123),
        3,
        42,
        Some(headers),
    )
}

fn read(key_type: KeyType, record: &OwnedMessage) -> Event {
    Reader::new("ns", "name", key_type).event(record).unwrap().0
}

fn attributes(event: &Event) -> Vec<(String, String)> {
    let all = event.attributes();
    all.map(|a| (a.name.to_owned(), a.text.to_owned()))
        .collect()
}

#[test]
fn a_plain_record_gets_the_attributes_of_its_place() {
    let headers: [(&str, &[u8]); 3] = [
        ("Content-Type", b"Text/CSV"),
        ("B3-Trace_1", b"abc"),
        ("binary", &[0xff]),
    ];
    let event = read(KeyType::String, &record(Some(b"k"), &headers, Some(b"a,b")));
    let wanted = [
        ("id", "partition:3/offset:42"),
        ("source", "/apis/v1/namespaces/ns/kafkasources/name#orders"),
        ("type", "dev.knative.kafka.event"),
        ("subject", "partition:3#42"),
        ("time", "2023-11-14T22:13:20.123Z"),
        ("partitionkey", "k"),
        ("key", "k"),
        ("kafkaheaderb3trace1", "abc"),
        ("datacontenttype", "text/csv"),
    ];
    assert_eq!(
        attributes(&event),
        wanted.map(|(name, text)| (name.to_owned(), text.to_owned()))
    );
    assert_eq!(&event.data()[..], b"a,b");
}

#[test]
fn an_event_that_is_not_valid_is_a_record_like_any_other() {
    let headers: [(&str, &[u8]); 2] = [("ce_specversion", b"1.0"), ("ce_id", b"7")];
    let event = read(KeyType::String, &record(None, &headers, Some(b"x")));
    assert_eq!((event.ty(), &event.data()[..]), (TYPE, &b"x"[..]));
    assert_eq!(event.attribute("kafkaheaderceid").unwrap().text, "7");
    let headers: [(&str, &[u8]); 1] = [("content-type", b"application/cloudevents+json")];
    let event = read(KeyType::String, &record(None, &headers, Some(b"{")));
    assert_eq!((event.ty(), &event.data()[..]), (TYPE, &b"{"[..]));
}

#[test]
fn overrides_outweigh_what_an_event_has() {
    let mut reader = Reader::new("ns", "name", KeyType::String);
    reader.overrides = [("subject".to_owned(), "mine".to_owned())].into();
    let (event, _) = reader.event(&record(None, &[], None)).unwrap();
    assert_eq!(event.attribute("subject").unwrap().text, "mine");
}

#[test]
fn keys_are_read_as_their_type_says() {
    let long = 2.5f64.to_be_bytes();
    let table: [(KeyType, &[u8], Option<&str>); 9] = [
        (KeyType::String, b"text", Some("text")),
        (KeyType::String, b"", None),
        (KeyType::String, &[0xff, 0], Some("/wA=")),
        (KeyType::Int, &[0xff, 0xff, 0xff, 0xfe], Some("-2")),
        (KeyType::Int, b"four5", Some("four5")),
        (KeyType::Float, &[0x3f, 0xc0, 0, 0], Some("1.5")),
        (KeyType::Float, &long, Some("2.5")),
        (KeyType::Float, b"one", Some("one")),
        (KeyType::Bytes, b"text", Some("dGV4dA==")),
    ];
    for (key_type, key, wanted) in table {
        let event = read(key_type, &record(Some(key), &[], None));
        let found = event.attribute("key").map(|key| key.text.to_owned());
        assert_eq!(found.as_deref(), wanted, "{key_type:?} {key:?}");
    }
}

proptest! {
    #[test]
    fn every_record_becomes_an_event_with_its_bytes(
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..80_000)),
        headers in proptest::collection::vec((".{0,30}", proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        kind in 0..4usize,
    ) {
        let kinds = [KeyType::String, KeyType::Int, KeyType::Float, KeyType::Bytes];
        let names: Vec<String> = headers.iter().map(|(name, _)| name.replace('\0', "")).collect();
        let headers: Vec<(&str, &[u8])> =
            names.iter().zip(&headers).map(|(name, (_, value))| (name.as_str(), &value[..])).collect();
        let record = record(key.as_deref(), &headers, value.as_deref());
        let event = read(kinds[kind], &record);
        if event.ty() == TYPE {
            prop_assert_eq!(&event.data()[..], value.as_deref().unwrap_or_default());
        }
    }
}

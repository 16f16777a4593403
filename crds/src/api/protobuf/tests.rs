//! Messages as Go's clients write them, and bytes that are none.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A field whose value has a length.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        field.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap());
    field.extend(value);
    field
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn envelope(version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [
        MAGIC.to_vec(),
        bytes(1, &meta),
        bytes(2, message),
        // No content encoding, no content type.
        bytes(3, b""),
        bytes(4, b""),
    ]
    .concat()
}

/// The metadata of an object that is only named: a Go client writes its zero values too.
fn named(name: &str) -> Vec<u8> {
    [
        bytes(1, name.as_bytes()),
        bytes(2, b""),
        bytes(3, b""),
        bytes(4, b""),
        bytes(5, b""),
        bytes(6, b""),
        number(7, 0),
        bytes(8, b""),
    ]
    .concat()
}

#[test]
fn the_whole_table_is_read() {
    let text = include_str!("fields.txt");
    let of = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(TABLE.kinds.len(), of("kind "));
    let fields: usize = TABLE.messages.values().map(Vec::len).sum();
    assert_eq!(
        fields,
        text.lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
            .count()
    );
    // Each message that a field or a kind names is there, or has no fields.
    let titles: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("message "))
        .collect();
    let fields = TABLE.messages.values().flatten();
    let named = fields.filter_map(|field| match field.of {
        Type::Message(name) => Some(name),
        _ => None,
    });
    for name in named.chain(TABLE.kinds.values().copied()) {
        assert!(titles.contains(&name), "{name}");
    }
}

#[test]
fn zero_values_are_left_out() {
    let message = [
        bytes(1, &named("n")),
        bytes(2, b""),
        bytes(3, &bytes(1, b"")),
    ]
    .concat();
    let decoded = decode(&envelope("v1", "Namespace", &message)).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"},
        "spec": {}, "status": {},
    });
    assert_eq!(decoded, expected);
}

#[test]
fn maps_hold_text_and_bytes() {
    let entry = |key: &str, value: &[u8]| [bytes(1, key.as_bytes()), bytes(2, value)].concat();
    let message = [
        bytes(1, &named("s")),
        bytes(2, &entry("a", &[0, 1, 2])),
        bytes(2, &bytes(1, b"empty")),
        bytes(3, b"Opaque"),
        bytes(4, &entry("b", b"text")),
        number(5, 1),
    ]
    .concat();
    let decoded = decode(&envelope("v1", "Secret", &message)).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque",
        "data": {"a": "AAEC", "empty": ""}, "stringData": {"b": "text"}, "immutable": true,
    });
    assert_eq!(decoded, expected);
}

#[test]
fn lists_inlined_messages_and_unions_are_told_apart() {
    // `tcpSocket` belongs to the probe, though it is sent in a message of its own.
    let probe = |port: &[u8]| bytes(1, &bytes(3, &[bytes(1, port), bytes(2, b"")].concat()));
    let by_name = [number(1, 1), number(2, 0), bytes(3, b"http")].concat();
    let limit = [bytes(1, b"cpu"), bytes(2, &bytes(1, b"500m"))].concat();
    let inner = probe(&by_name);
    let container = [
        bytes(1, b"c"),
        bytes(2, b""),
        bytes(3, b"run"),
        bytes(3, b"it"),
        bytes(8, &bytes(1, &limit)),
        bytes(10, &[inner, number(2, 5), number(3, 0)].concat()),
    ]
    .concat();
    let template = bytes(2, &bytes(2, &container));
    let spec = [number(1, 0), bytes(3, &template)].concat();
    let message = [bytes(1, &named("d")), bytes(2, &spec)].concat();
    let decoded = decode(&envelope("apps/v1", "Deployment", &message)).unwrap();
    let container = json!({
        "name": "c", "command": ["run", "it"], "resources": {"limits": {"cpu": "500m"}},
        "livenessProbe": {"tcpSocket": {"port": "http"}, "initialDelaySeconds": 5},
    });
    assert_eq!(
        decoded["spec"]["template"]["spec"]["containers"],
        json!([container])
    );
    // A pointer's zero is told.
    assert_eq!(decoded["spec"]["replicas"], 0);
}

#[test]
fn times_are_told_in_text() {
    let seconds = [0x08, 0x80, 0xd2, 0x85, 0xd8, 0x04];
    let micros = [&seconds[..], &[0x10, 0xc0, 0x84, 0x3d]].concat();
    let spec = [bytes(1, b"me"), bytes(3, &micros)].concat();
    let message = [bytes(1, &named("l")), bytes(2, &spec)].concat();
    let decoded = decode(&envelope("coordination.k8s.io/v1", "Lease", &message)).unwrap();
    assert_eq!(
        decoded["spec"]["acquireTime"],
        "2009-11-16T15:00:16.001000Z"
    );
    let meta = [bytes(1, b"n"), bytes(8, &seconds)].concat();
    let decoded = decode(&envelope("v1", "ConfigMap", &bytes(1, &meta))).unwrap();
    assert_eq!(
        decoded["metadata"]["creationTimestamp"],
        "2009-11-16T15:00:16Z"
    );
}

#[test]
fn options_of_a_deletion_belong_to_every_group() {
    let message = bytes(2, &bytes(1, b"some-uid"));
    let decoded = decode(&envelope("apps/v1", "DeleteOptions", &message)).unwrap();
    assert_eq!(decoded["preconditions"], json!({"uid": "some-uid"}));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let unknown = decode(&envelope("example.com/v1", "Loom", b"")).unwrap_err();
    assert!(
        matches!(unknown, ProtobufError::UnknownKind { .. }),
        "{unknown}"
    );
    assert_eq!(decode(b"{}"), Err(ProtobufError::NoEnvelope));
    let cut = envelope("v1", "ConfigMap", &bytes(1, &named("n")));
    assert_eq!(decode(&cut[..cut.len() - 6]), Err(ProtobufError::Truncated));
    let wrong = decode(&envelope("v1", "ConfigMap", &number(1, 1)));
    assert_eq!(wrong, Err(ProtobufError::WireType { number: 1, wire: 0 }));
    let latin = bytes(1, &bytes(1, &[0xff]));
    let refused = decode(&envelope("v1", "ConfigMap", &latin)).unwrap_err();
    assert_eq!(refused.to_string(), "the field name is not UTF-8 text");
}

#[test]
fn messages_nest_only_so_deep() {
    let message = bytes(1, &named("n"));
    // A Pod and its metadata.
    assert!(TABLE.message("core/v1.Pod", &message, 2).is_ok());
    assert_eq!(
        TABLE.message("core/v1.Pod", &message, 1),
        Err(ProtobufError::TooDeep)
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(version in "v1|apps/v1|batch/v1", kind in "Pod|Secret|Deployment|Job|Event",
                      message in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&envelope(&version, &kind, &message));
        let _ = decode(&message);
    }
}

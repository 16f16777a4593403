#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// A Broker that is well, to be broken.
const GOOD: &str = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: b\n";

fn message(text: &str) -> String {
    match parse_text("f.yaml", text) {
        Ok(loaded) => panic!("accepted: {loaded:?}"),
        Err(error) => error.to_string(),
    }
}

/// Everything that can be wrong with a manifest before the API sees it: the input, then exactly
/// what the user reads.
#[test]
fn malformed_manifests_are_shown_with_their_place() {
    let meta = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n";
    let event = "specversion: \"1.0\"\nid: a\nsource: /s\ntype: t\n";
    let table: &[(&str, String)] = &[
        ("empty", String::new()),
        ("only comments", "# nothing\n---\n# nothing\n".into()),
        ("tab as indentation", "metadata:\n\tname: b\n".into()),
        (
            "unclosed double quote",
            "kind: \"Broker\nmetadata: {}\n".into(),
        ),
        ("unclosed single quote", "kind: 'Broker\n".into()),
        ("unclosed brace", "metadata: {name: b\n".into()),
        ("unclosed bracket", "spec: [1, 2\n".into()),
        ("wrong closing bracket", "spec: [1, 2}\n".into()),
        (
            "missing comma",
            "metadata: {name: \"b\" namespace: \"c\"}\n".into(),
        ),
        ("colon in a plain value", "kind: Broker: yes\n".into()),
        ("dedented field", format!("{GOOD}    labels: {{}}\n")),
        ("field without colon", format!("{GOOD}spec\n")),
        ("unknown alias", format!("{GOOD}spec: *nowhere\n")),
        ("alias to itself", format!("{GOOD}spec: &a\n  again: *a\n")),
        ("custom tag", format!("{GOOD}spec: !Ref x\n")),
        (
            "tag that does not fit",
            format!("{GOOD}spec: !!int three\n"),
        ),
        ("field given twice", format!("{GOOD}kind: Trigger\n")),
        (
            "nested field given twice",
            "apiVersion: v1\nkind: A\nmetadata:\n  name: a\n  labels: {x: a, x: b}\n".into(),
        ),
        (
            "mapping as a field name",
            format!("{GOOD}? {{a: b}}\n: c\n"),
        ),
        (
            "infinity",
            format!("{GOOD}spec:\n  delivery:\n    retry: .inf\n"),
        ),
        (
            "leading zero",
            format!("{GOOD}spec:\n  delivery:\n    retry: 010\n"),
        ),
        ("merge of a scalar", format!("{GOOD}spec:\n  <<: x\n")),
        ("bad escape", "kind: \"\\q\"\n".into()),
        ("second document broken", format!("{GOOD}---\nkind: [\n")),
        ("a text", "just words\n".into()),
        ("a list", "- a\n- b\n".into()),
        (
            "no apiVersion",
            "kind: Broker\nmetadata:\n  name: b\n".into(),
        ),
        (
            "apiVersion in another case",
            "apiversion: v1\nkind: A\nmetadata: {name: a}\n".into(),
        ),
        (
            "apiVersion is a number",
            "apiVersion: 1\nkind: A\nmetadata: {name: a}\n".into(),
        ),
        (
            "apiVersion is not one",
            "apiVersion: Eventing/one\nkind: A\nmetadata: {name: a}\n".into(),
        ),
        ("no kind", "apiVersion: v1\nmetadata: {name: a}\n".into()),
        (
            "kind in lower case",
            "apiVersion: v1\nkind: broker\nmetadata: {name: a}\n".into(),
        ),
        (
            "kind is a list",
            "apiVersion: v1\nkind: [Broker]\nmetadata: {name: a}\n".into(),
        ),
        ("no metadata", "apiVersion: v1\nkind: A\n".into()),
        (
            "metadata is a text",
            "apiVersion: v1\nkind: A\nmetadata: b\n".into(),
        ),
        (
            "metadata is empty",
            "apiVersion: v1\nkind: A\nmetadata:\n".into(),
        ),
        ("no name", format!("{meta}  namespace: x\n")),
        ("name is a number", format!("{meta}  name: 7\n")),
        ("name has capitals", format!("{meta}  name: MyBroker\n")),
        ("generated name", format!("{meta}  generateName: b-\n")),
        (
            "namespace has a dot",
            format!("{meta}  name: b\n  namespace: a.b\n"),
        ),
        (
            "label is a boolean",
            format!("{meta}  name: b\n  labels:\n    on: true\n"),
        ),
        (
            "label has spaces",
            format!("{meta}  name: b\n  labels:\n    a: two words\n"),
        ),
        (
            "annotation is a number",
            format!("{meta}  name: b\n  annotations:\n    delivery.heddle.dev/max-in-flight: 5\n"),
        ),
        (
            "annotations are a list",
            format!("{meta}  name: b\n  annotations: [a]\n"),
        ),
        ("spec is a list", format!("{GOOD}spec: []\n")),
        (
            "two mistakes",
            "apiVersion: v1\nkind: a\nmetadata:\n  name: B\n".into(),
        ),
        (
            "items are not a list",
            "apiVersion: v1\nkind: List\nitems: 3\n".into(),
        ),
        (
            "an item is broken",
            format!(
                "apiVersion: v1\nkind: List\nitems:\n- {}\n",
                GOOD.trim_end()
                    .replace('\n', "\n  ")
                    .replace("name: b", "name: B")
            ),
        ),
        (
            "event without id",
            "specversion: \"1.0\"\nsource: /s\ntype: t\n".into(),
        ),
        ("event of another version", event.replace("1.0", "2.0")),
        ("event with a bad name", format!("{event}myAttribute: 1\n")),
        ("event with a bad time", format!("{event}time: yesterday\n")),
        (
            "event with both kinds of data",
            format!("{event}data: 1\ndata_base64: AA==\n"),
        ),
        (
            "event with bad base64",
            format!("{event}data_base64: \"*\"\n"),
        ),
        (
            "event with a mapping as attribute",
            format!("{event}ext: {{a: b}}\n"),
        ),
        (
            "event with a large integer",
            format!("{event}ext: 3000000000\n"),
        ),
        (
            "event with an empty type",
            event.replace("type: t", "type: \"\""),
        ),
    ];
    let mut shown = String::new();
    for (name, text) in table {
        shown.push_str(&format!("## {name}\n{}\n\n", message(text)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn bytes_that_are_not_text_are_pointed_at() {
    let error = load_with(&[PathBuf::from("-")], &mut &b"kind: Br\xffker\n"[..]).unwrap_err();
    let first = error.to_string();
    assert_eq!(
        first.lines().next().unwrap(),
        "<stdin>:1:9: expected UTF-8 text, found the byte 0xff"
    );
}

#[test]
fn values_follow_the_core_schema() {
    let text = "apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec:\n  hex: 0x1F\n  octal: 0o17\n  \
                plus: +3\n  half: .5\n  big: 1e3\n  yes: yes\n  none: ~\n  text: \"1\"\n  \
                tagged: !!str 5\n  folded: >-\n    a\n    b\n";
    let loaded = parse_text("f", text).unwrap();
    assert_eq!(
        loaded.resources[0].object["spec"],
        serde_json::json!({
            "hex": 31, "octal": 15, "plus": 3, "half": 0.5, "big": 1e3, "yes": "yes",
            "none": null, "text": "1", "tagged": "5", "folded": "a b",
        })
    );
}

#[test]
fn anchors_and_merges_are_taken() {
    let text = "apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec:\n  base: &b {x: 1, y: 2}\n  \
                more:\n    <<: *b\n    y: 3\n  same: *b\n";
    let loaded = parse_text("f", text).unwrap();
    let spec = &loaded.resources[0].object["spec"];
    assert_eq!(spec["more"], serde_json::json!({"x": 1, "y": 3}));
    assert_eq!(spec["same"], serde_json::json!({"x": 1, "y": 2}));
}

#[test]
fn aliases_cannot_be_made_to_explode() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        let items = vec![before; 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let message = message(&text);
    assert!(
        message.contains("aliases expand to more than 200000 values"),
        "{message}"
    );
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    let text = format!("a: {}", "[".repeat(100_000));
    assert!(message(&text).starts_with("f.yaml:1:"));
}

#[test]
fn json_is_yaml_too() {
    let text = "{\"apiVersion\": \"v1\",\n\t\"kind\": \"A\", \"metadata\": {\"name\": \"a\"},\n\
                \"spec\": {\"face\": \"\\ud83d\\ude00\", \"slash\": \"\\/\"}}";
    let loaded = parse_text("f.json", text).unwrap();
    let spec = &loaded.resources[0].object["spec"];
    assert_eq!(
        spec,
        &serde_json::json!({"face": "\u{1f600}", "slash": "/"})
    );
}

#[test]
fn fields_are_found_by_their_path() {
    let text = "apiVersion: v1\nkind: A\nmetadata:\n  name: a\n  annotations:\n    \
                a.b/c: x\nspec:\n  filters:\n  - exact:\n      type: t\n  - prefix: {}\n  \
                delivery:\n    retry: three\n";
    let loaded = parse_text("f.yaml", text).unwrap();
    let manifest = &loaded.resources[0];
    let at = |field: &str| {
        let Mark { line, column } = manifest.diagnostic(field, String::new()).region.start;
        (line, column)
    };
    assert_eq!(at("spec.delivery.retry"), (13, 5));
    assert_eq!(at("spec.filters[0].exact.type"), (10, 7));
    assert_eq!(at("spec.filters[1].prefix"), (11, 5));
    assert_eq!(at("metadata.annotations[a.b/c]"), (6, 5));
    assert_eq!(at("metadata.annotations[\"a.b/c\"]"), (6, 5));
    assert_eq!(at("metadata.annotations.a.b/c"), (6, 5));
    // What is not there is shown at the nearest thing around it.
    assert_eq!(at("spec.delivery.backoffDelay"), (12, 3));
    assert_eq!(at("spec.subscriber"), (7, 1));
    assert_eq!(at("status"), (1, 1));
    assert_eq!(at(""), (1, 1));
    let shown = manifest
        .diagnostic(
            "spec.delivery.retry",
            "expected an integer, found \"three\"".into(),
        )
        .to_string();
    assert_eq!(
        shown,
        "f.yaml:13:5: spec.delivery.retry: expected an integer, found \"three\"\n   \
         |\n13 |     retry: three\n   |     ^^^^^^^^^^^^"
    );
}

#[test]
fn carets_stand_under_the_place_in_long_lines_and_after_tabs() {
    let long = format!(
        "{{\"apiVersion\": \"v1\", \"x\": \"{}\", \"kind\": 5, \"metadata\": {{\"name\": \"a\"}}}}",
        "y".repeat(300)
    );
    let shown = message(&long);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[2].len() < 140, "{shown}");
    let at = lines[3].find('^').unwrap();
    assert!(lines[2][at..].starts_with("\"kind\": 5"), "{shown}");
}

#[test]
fn events_keep_their_data_as_it_was_written() {
    let text = "specversion: 1.0\nid: 42\nsource: /s\ntype: t\ndatacontenttype: application/json\n\
                n: 7\nflag: true\ndata: {b: 123456789012345678901234567890, a: 1.10}\n";
    let loaded = parse_text("f.yaml", text).unwrap();
    assert_eq!(
        loaded.events[0].json,
        "{\"specversion\":\"1.0\",\"id\":\"42\",\"source\":\"/s\",\"type\":\"t\",\
         \"datacontenttype\":\"application/json\",\"n\":7,\"flag\":true,\
         \"data\":{\"b\":123456789012345678901234567890,\"a\":1.10}}"
    );
    assert_eq!(loaded.events[0].origin, "f.yaml:1");
    let batch = "[{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"},\
                 {\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/s\",\"type\":\"t\"}]";
    assert_eq!(parse_text("f.json", batch).unwrap().events.len(), 2);
}

/// What `heddle events -o json` and `heddle listen -o json` print: an object a line.
#[test]
fn events_are_read_line_by_line() {
    let event = |id: u32| {
        format!("{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"t\"}}")
    };
    let kept = format!(
        "{{\"offset\":7,\"accepted\":\"2026-01-31T12:00:00Z\",\"event\":{}}}",
        event(2)
    );
    let text = format!("{}\n\n{kept}\n", event(1));
    let found = parse_text("<stdin>", &text).unwrap().events;
    let found: Vec<_> = found.iter().map(|e| (&*e.json, &*e.origin)).collect();
    assert_eq!(
        found,
        [(&*event(1), "<stdin>:1"), (&*event(2), "<stdin>:3")]
    );
    assert_eq!(parse_text("f", &kept).unwrap().events.len(), 1);
    let wrong = text.replace("\"id\":\"2\"", "\"id\":\"\"");
    let told = parse_text("f", &wrong).unwrap_err().to_string();
    assert!(told.starts_with("f:3:"), "{told}");
}

/// Whatever stands in the texts of JSON, and however it is escaped.
#[test]
fn json_lines_are_json_and_not_what_yaml_makes_of_it() {
    let data = [
        "\u{7f}\u{80}\u{85}\u{9f}\u{2028}\u{feff}\u{fffe}\u{1f600}",
        "a: b # c",
        "\0\t\r\n\"\\/",
        "- *x &y !z %d @e `f 'g' ~ null <<",
        &"k".repeat(3000),
    ];
    let mut lines = String::new();
    for text in data {
        let value = serde_json::json!({text: text, "n": [1, -0.5e-7, null, {}]});
        let event = serde_json::json!({
            "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": value,
        });
        lines.push_str(&format!("{event}\n"));
    }
    let escaped = "{\"specversion\":\"1.0\",\"id\":\"\\ud83d\\ude00\\/\\u0041\",\
                   \"source\":\"/s\",\"type\":\"t\"}\n";
    lines.push_str(escaped);
    let found = parse_text("f", &lines).unwrap().events;
    let wanted: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<serde_json::Value> = found
        .iter()
        .map(|event| serde_json::from_str(&event.json).unwrap())
        .collect();
    assert_eq!(found, wanted);
    let mixed = format!("{escaped}kind: Broker\n");
    assert!(parse_text("f", &mixed).is_err(), "{mixed}");
}

#[test]
fn directories_are_read_in_the_order_of_names() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).unwrap();
    };
    write("20.yml", &GOOD.replace("name: b", "name: second"));
    write(
        "10.yaml",
        &format!("\u{feff}{GOOD}---\n{}", GOOD.replace("name: b", "name: c")),
    );
    write("notes.txt", "not a manifest: [");
    let loaded = load(&[directory.path().to_owned()]).unwrap();
    let names: Vec<&str> = loaded.resources.iter().map(Manifest::name).collect();
    assert_eq!(names, ["b", "c", "second"]);

    let empty = tempfile::tempdir().unwrap();
    let error = load(&[empty.path().to_owned()]).unwrap_err();
    assert!(matches!(error, ManifestError::NoFiles { .. }), "{error}");
    let missing = load(&[empty.path().join("none.yaml")]).unwrap_err();
    assert!(matches!(missing, ManifestError::Read { .. }), "{missing}");
}

#[test]
fn the_mistakes_of_all_files_are_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.yaml"), "kind: a\n").unwrap();
    std::fs::write(directory.path().join("b.yaml"), "kind: [\n").unwrap();
    let error = load(&[directory.path().to_owned()]).unwrap_err();
    let ManifestError::Invalid(found) = error else {
        panic!("{error}");
    };
    let files: std::collections::BTreeSet<&str> = found
        .iter()
        .map(|mistake| mistake.source.name.as_str())
        .collect();
    assert_eq!(files.len(), 2);
}

#[test]
fn a_file_is_read_up_to_its_bound() {
    let mut endless = std::io::repeat(b' ');
    let error = load_with(&[PathBuf::from("-")], &mut endless).unwrap_err();
    assert!(matches!(error, ManifestError::TooLarge { .. }), "{error}");
}

proptest! {
    /// Whatever stands in a file, reading it ends with a result that can be shown.
    #[test]
    fn no_text_makes_it_panic(text in "[ -~\n\t\u{e9}]{0,200}") {
        if let Err(error) = parse_text("f", &text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    /// Any JSON document survives being read and written.
    #[test]
    fn json_is_read_as_it_was(words in prop::collection::vec("[a-z\"\\\\\u{1f600}\n]{0,8}", 0..6), number in any::<i64>()) {
        let spec = serde_json::json!({"words": words, "number": number});
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "spec": spec,
        }).to_string();
        let loaded = parse_text("f", &text).unwrap();
        prop_assert_eq!(&loaded.resources[0].object["spec"], &spec);
    }
}

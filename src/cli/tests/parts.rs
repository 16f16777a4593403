//! Selectors, positions, merges, tables, settings and the rest of the small parts.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use crate::cli::context::{Settings, use_color};
use crate::cli::events::From;
use crate::cli::http::{query_encode, reason};
use crate::cli::kinds::{self, Kind};
use crate::cli::selector::Selector;
use crate::cli::show_event::{Data, Shown, Style};
use crate::cli::table::{Table, span};
use crate::cli::{Color, Global, json_text, merge};

#[test]
fn selectors_are_checked_and_written_in_one_way() {
    for (text, expected) in [
        ("app=web", "app=web"),
        ("app==web", "app=web"),
        (" app = web , tier != db ", "app=web,tier!=db"),
        ("env in (a, b)", "env in (a,b)"),
        ("env notin (a,b),!old,new", "env notin (a,b),!old,new"),
        ("env in (a)", "env=a"),
        (
            "eventing.knative.dev/broker=default",
            "eventing.knative.dev/broker=default",
        ),
        ("empty=", "empty="),
    ] {
        let selector: Selector = text.parse().expect(text);
        assert_eq!(selector.to_string(), expected, "{text}");
    }
    for text in [
        "",
        "a b",
        "=x",
        "a=b c",
        "env in a",
        "env in (a",
        "!",
        "a=b,",
        "Bad_/x=y",
        "a=-b",
    ] {
        assert!(text.parse::<Selector>().is_err(), "{text:?}");
    }
}

#[test]
fn positions_are_taken_as_people_write_them() {
    let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    for (text, expected) in [
        ("earliest", "earliest"),
        ("LATEST", "latest"),
        ("0", "0"),
        ("12345", "12345"),
        ("-10m", "2026-01-31T11:50:00Z"),
        ("-1h30m", "2026-01-31T10:30:00Z"),
        ("2026-01-01T00:00:00+02:00", "2025-12-31T22:00:00Z"),
    ] {
        let from: From = text.parse().expect(text);
        assert_eq!(from.query(now), expected, "{text}");
    }
    for text in [
        "",
        "yesterday",
        "-",
        "--5m",
        "1.5",
        "10m",
        "99999999999999999999",
        "2026-01-01",
    ] {
        assert!(text.parse::<From>().is_err(), "{text:?}");
    }
}

#[test]
fn a_merge_changes_what_the_manifest_owns_and_nothing_else() {
    let first = json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a", "labels": {"x": "1"}},
        "spec": {"keep": 1, "drop": 2, "nested": {"a": 1, "b": 2}, "list": [1, 2]}});
    let mut live = merge::prepare(&first, Some("default"));
    // What others set: a default, a status, a finalizer.
    live["spec"]["defaulted"] = json!(true);
    live["status"] = json!({"ready": true});
    live["metadata"]["resourceVersion"] = json!("5");
    assert_eq!(
        merge::patch(&merge::prepare(&first, Some("default")), &live),
        None
    );

    let second = json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"},
        "spec": {"keep": 1, "nested": {"a": 3}, "list": [1], "new": "n", "nothing": null},
        "status": {"ready": false}});
    let patch = merge::patch(&merge::prepare(&second, Some("default")), &live).unwrap();
    assert_eq!(
        patch["spec"],
        json!({"drop": null, "nested": {"a": 3, "b": null}, "list": [1], "new": "n"})
    );
    assert_eq!(patch["metadata"]["labels"], json!(null));
    assert!(patch.get("status").is_none());
    assert!(patch["metadata"]["annotations"][merge::LAST_APPLIED].is_string());
}

proptest! {
    /// Applying a patch gives an object that has what the manifest says, and applying the same
    /// manifest again changes nothing.
    #[test]
    fn applying_twice_is_applying_once(
        old in prop::collection::btree_map("[a-d]", 0..5_i32, 0..4),
        new in prop::collection::btree_map("[a-d]", 0..5_i32, 0..4),
        foreign in prop::collection::btree_map("[e-g]", 0..5_i32, 0..3),
    ) {
        let manifest = |spec: &std::collections::BTreeMap<String, i32>| json!({
            "apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "spec": spec,
        });
        let mut live = merge::prepare(&manifest(&old), Some("default"));
        for (key, value) in &foreign {
            live["spec"][key] = json!(value);
        }
        let wanted = merge::prepare(&manifest(&new), Some("default"));
        if let Some(patch) = merge::patch(&wanted, &live) {
            super::fake::apply_merge(&mut live, &patch);
        }
        let mut expected = json!(new);
        for (key, value) in &foreign {
            expected[key] = json!(value);
        }
        prop_assert_eq!(&live["spec"], &expected);
        prop_assert_eq!(merge::patch(&wanted, &live), None);
    }
}

#[test]
fn tables_line_up() {
    let answer = json!({"kind": "Table", "columnDefinitions": [
            {"name": "Name", "type": "string"}, {"name": "Url", "type": "string"},
            {"name": "Age", "type": "string", "priority": 1}, {"name": "Ready", "type": "string"}],
        "rows": [
            {"cells": ["default", "http://x", "5m", "True"], "object": {"metadata": {"namespace": "a"}}},
            {"cells": ["b\u{e9}ta\u{1b}[31m", null, "5m", "False"], "object": {"metadata": {"namespace": "bb"}}}]});
    let print = |wide, namespaces, color| {
        let table = Table::from_api(&answer, wide, namespaces).unwrap();
        let mut out = Vec::new();
        table
            .print(&mut out, &table.widths(&[]), true, color)
            .unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        print(false, false, false),
        "NAME        URL        READY\n\
         default     http://x   True\n\
         b\u{e9}ta [31m              False\n"
    );
    assert_eq!(
        print(true, true, false),
        "NAMESPACE   NAME        URL        AGE   READY\n\
         a           default     http://x   5m    True\n\
         bb          b\u{e9}ta [31m              5m    False\n"
    );
    assert!(print(false, false, true).contains("\x1b[32mTrue\x1b[0m"));
    assert_eq!(
        Table::from_api(&json!({"kind": "BrokerList"}), false, false),
        None
    );

    let objects = [
        json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-31T11:58:30Z"},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NoBroker"}]}}),
    ];
    let table = Table::from_objects(&objects, false, "2026-01-31T12:00:00Z".parse().unwrap());
    assert_eq!(table.rows, [["a", "False", "NoBroker", "90s"]]);
}

#[test]
fn spans_of_time_have_two_units_at_most() {
    let table = [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (3599, "59m"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600, "9h"),
        (3 * 86400, "3d"),
        (30 * 86400, "30d"),
        (800 * 86400, "2y"),
    ];
    for (seconds, expected) in table {
        assert_eq!(span(seconds), expected);
    }
}

#[test]
fn shared_options_may_stand_before_or_after_the_command() {
    use clap::Parser as _;
    let settings = |line: &[&str], env: Option<&str>| {
        let cli = crate::cli::Cli::try_parse_from(line).unwrap();
        Settings::resolve(&cli.shared(), |_| env.map(str::to_owned))
    };
    let before = settings(
        &["heddle", "--api", "http://a", "-n", "x", "get", "b"],
        Some("http://env"),
    );
    assert_eq!(
        (before.api.as_deref().unwrap(), before.namespace.as_str()),
        ("http://a", "x")
    );
    let after = settings(
        &["heddle", "-n", "x", "get", "b", "-n", "y", "-A"],
        Some("http://env/"),
    );
    assert_eq!(
        (after.api.as_deref().unwrap(), after.namespace.as_str()),
        ("http://env", "y")
    );
    assert!(after.all_namespaces);
    let bare = settings(&["heddle", "get", "b", "--admin", "localhost:1"], Some(""));
    assert_eq!(
        (bare.api, bare.kubeconfig, bare.admin.as_str()),
        (None, None, "http://localhost:1")
    );
    let _ = Global::default();
}

#[test]
fn colour_is_for_terminals() {
    let env = |name: &'static str, value: &'static str| {
        move |asked: &str| (asked == name).then(|| value.to_owned())
    };
    assert!(use_color(Color::Auto, true, |_| None));
    assert!(!use_color(Color::Auto, false, |_| None));
    assert!(!use_color(Color::Auto, true, env("NO_COLOR", "1")));
    assert!(use_color(Color::Auto, true, env("NO_COLOR", "")));
    assert!(!use_color(Color::Auto, true, env("TERM", "dumb")));
    assert!(use_color(Color::Always, false, env("NO_COLOR", "1")));
    assert!(!use_color(Color::Never, true, |_| None));
}

#[test]
fn kinds_go_by_all_their_names() {
    let kind = |group: &str, kind: &str, plural: &str, short: &[&str]| Kind {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
        singular: kind.to_lowercase(),
        short_names: short.iter().map(|&name| name.to_owned()).collect(),
        categories: vec!["all".into()],
        namespaced: true,
        listable: true,
    };
    let served = [
        kind("eventing.knative.dev", "Broker", "brokers", &[]),
        kind(
            "messaging.knative.dev",
            "InMemoryChannel",
            "inmemorychannels",
            &["imc"],
        ),
        kind("", "ConfigMap", "configmaps", &["cm"]),
    ];
    for (name, expected) in [
        ("brokers", "Broker"),
        ("broker", "Broker"),
        ("Broker", "Broker"),
        ("BROKERS", "Broker"),
        ("brokers.eventing.knative.dev", "Broker"),
        ("broker.v1.eventing.knative.dev", "Broker"),
        ("imc", "InMemoryChannel"),
        ("CM", "ConfigMap"),
    ] {
        let found = kinds::resolve(&served, name).expect(name);
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].kind, expected, "{name}");
    }
    assert_eq!(kinds::resolve(&served, "broker,cm").unwrap().len(), 2);
    assert_eq!(kinds::resolve(&served, "all").unwrap().len(), 3);
    let failure = |name| format!("{:?}", kinds::resolve(&served, name).unwrap_err());
    assert!(
        failure("brokre").contains("did you mean broker?"),
        "{}",
        failure("brokre")
    );
    assert!(failure("pods").contains("this API has brokers, configmaps, inmemorychannels"));
    assert_eq!(
        served[0].path(Some("a"), Some("b")),
        "/apis/eventing.knative.dev/v1/namespaces/a/brokers/b"
    );
    assert_eq!(served[2].path(None, None), "/api/v1/configmaps");
    assert!(kinds::kind_and_names("broker/../x", &[]).is_err());
    assert!(kinds::kind_and_names("broker/a", &["b".into()]).is_err());
}

#[test]
fn json_is_set_out_without_being_changed() {
    let text =
        r#"{"b":1.10,"a":[1,{"x":"q\"{,"}],"e":[],"o":{},"b":123456789012345678901234567890}"#;
    let pretty = json_text::pretty(text, false).unwrap();
    assert_eq!(
        pretty,
        "{\n  \"b\": 1.10,\n  \"a\": [\n    1,\n    {\n      \"x\": \"q\\\"{,\"\n    }\n  ],\n  \
         \"e\": [],\n  \"o\": {},\n  \"b\": 123456789012345678901234567890\n}"
    );
    assert_eq!(json_text::pretty("{\"a\":", false), None);
    assert_eq!(json_text::pretty(" 7 ", false).unwrap(), "7");
    assert!(
        json_text::pretty("{\"a\":\"b\"}", true)
            .unwrap()
            .contains("\x1b[34m\"a\"\x1b[0m")
    );
}

proptest! {
    /// Without its white space, the text that is set out is the text that came in.
    #[test]
    fn setting_out_adds_white_space_only(words in prop::collection::vec("[a-z\"\\\\{}:,\\[\\]]{0,6}", 0..5), n in any::<f64>()) {
        let text = json!({"w": words, "n": n, "o": {"x": []}}).to_string();
        let pretty = json_text::pretty(&text, false).unwrap();
        let bare: String = pretty.chars().filter(|c| !c.is_whitespace()).collect();
        prop_assert_eq!(bare, text);
    }
}

fn shown(event: &Shown, style: Style) -> String {
    let mut out = Vec::new();
    event.write(&mut out, style).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn events_are_shown_as_they_came() {
    let json =
        r#"{"type":"t","specversion":"1.0","id":"1","n":7,"source":"/s","data":{"b":1.10, "a":2}}"#;
    let event = Shown::from_json(json).unwrap();
    assert_eq!(
        shown(
            &event,
            Style::Text {
                pretty: false,
                color: false
            }
        ),
        "specversion  1.0\ntype         t\nid           1\nn            7\nsource       /s\n\n{\"b\":1.10, \"a\":2}\n"
    );
    assert_eq!(
        shown(&event, Style::JsonLines),
        "{\"specversion\":\"1.0\",\"type\":\"t\",\"id\":\"1\",\"n\":7,\"source\":\"/s\",\"data\":{\"b\":1.10, \"a\":2}}\n"
    );
    assert_eq!(Shown::from_json("[]"), None);

    let binary = Shown::from_json(
        r#"{"specversion":"1.0","datacontenttype":"image/png","data_base64":"AP8="}"#,
    )
    .unwrap();
    assert!(
        shown(
            &binary,
            Style::Text {
                pretty: true,
                color: false
            }
        )
        .ends_with("(2 bytes that are not text)\n")
    );
    assert!(shown(&binary, Style::JsonLines).contains("\"data_base64\":\"AP8=\""));
}

#[test]
fn an_event_cannot_drive_the_terminal() {
    let event = Shown::from_json("{\"specversion\":\"1.0\",\"type\":\"a\\u001b[2Jb\"}").unwrap();
    let event = Shown {
        data: Data::Bytes(bytes::Bytes::from_static(b"x\x1b]0;title\x07y\nz")),
        ..event
    };
    let text = shown(
        &event,
        Style::Text {
            pretty: true,
            color: false,
        },
    );
    assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
    assert!(text.ends_with("y\nz\n"), "{text:?}");
}

#[test]
fn refusals_are_told_in_their_own_words() {
    assert_eq!(
        reason(r#"{"title":"Bad event","detail":"no id"}"#),
        "Bad event: no id"
    );
    assert_eq!(reason(r#"{"detail":"no id"}"#), "no id");
    assert_eq!(reason("plain\nsecond"), "plain");
    assert_eq!(reason(&"x".repeat(1000)).len(), 300);
    assert_eq!(query_encode("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
}

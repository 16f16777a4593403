//! Good and bad definitions and objects, each with the answer it gets: a table of one line for
//! each fault, kept beside this file.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::{Value, json};

use super::definitions::{CRDS, cabinet};
use super::support::{Fixture, fixture};

const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";
const LOOMS: &str = "/apis/shop.example.com/v1/namespaces/default/looms";

/// Sets or, with null, removes a field, whose parents are made where they are not there.
fn edit(object: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut at = object;
    for part in parent.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[part],
        };
    }
    match (name.parse::<usize>(), value.is_null()) {
        (Ok(index), _) => at.as_array_mut().unwrap().insert(index, value),
        (Err(_), true) => {
            at.as_object_mut().unwrap().remove(name);
        }
        (Err(_), false) => at[name] = value,
    }
}

/// The answer: its code and reason, and every cause, or what a good object became.
fn told(out: &mut String, name: &str, (code, answer): &(StatusCode, Value), good: &str) {
    let number = code.as_u16();
    if code.is_success() {
        let made = answer.pointer(good).unwrap_or(&Value::Null);
        let made = if good.is_empty() {
            ""
        } else {
            &format!(" {made}")
        };
        writeln!(out, "{name}: {number}{made}").unwrap();
        return;
    }
    assert_eq!(answer["kind"], "Status");
    assert_eq!(answer["status"], "Failure");
    assert_eq!(answer["code"], number);
    writeln!(
        out,
        "{name}: {number} {}",
        answer["reason"].as_str().unwrap()
    )
    .unwrap();
    let causes = answer["details"]["causes"].as_array();
    let message = answer["message"].as_str().unwrap();
    for cause in causes.into_iter().flatten() {
        let text = |field: &str| cause[field].as_str().unwrap_or_default();
        let (field, words) = (text("field"), text("message"));
        writeln!(out, "  {} {field}: {words}", text("reason")).unwrap();
        assert!(message.contains(&format!("{field}: {words}")), "{message}");
    }
    if causes.is_none() {
        writeln!(out, "  {message}").unwrap();
    }
}

/// Creates each of the definitions that an edit makes of a good one, and keeps none.
async fn judge(rows: Vec<(&str, &str, Value)>) -> String {
    let (fixture, mut out) = (fixture(), String::new());
    let uri = format!("{CRDS}?dryRun=All");
    for (name, pointer, value) in rows {
        let mut crd = cabinet();
        edit(&mut crd, pointer, value);
        told(&mut out, name, &fixture.post(&uri, &crd).await, "");
    }
    out
}

#[tokio::test]
async fn definitions_are_judged_as_kubernetes_judges_them() {
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object"}}})
    };
    let names = |more: Value| {
        let mut names = json!({"plural": "cabinets", "kind": "Cabinet"});
        for (name, value) in more.as_object().unwrap() {
            names[name] = value.clone();
        }
        names
    };
    let column = |kind: &str, path: &str| json!({"name": "C", "type": kind, "jsonPath": path});
    let scale = |spec: &str, status: &str| json!({"scale": {"specReplicasPath": spec, "statusReplicasPath": status}});
    let first = |field: &str| format!("/spec/versions/0/{field}");
    let columns = first("additionalPrinterColumns/0");
    let (subresources, schema) = (first("subresources"), first("schema"));
    let (warning, deprecated) = (first("deprecationWarning"), first("deprecated"));
    let name = first("name");
    let rows = vec![
        ("as it is", "/spec/scope", json!("Namespaced")),
        ("of the cluster", "/spec/scope", json!("Cluster")),
        (
            "another name",
            "/metadata/name",
            json!("cabinet.shop.example.com"),
        ),
        ("no group", "/spec/group", json!("")),
        ("a group without a dot", "/spec/group", json!("shop")),
        ("a group of Kubernetes", "/spec/group", json!("apps.k8s.io")),
        ("an unknown scope", "/spec/scope", json!("Galaxy")),
        ("no scope", "/spec/scope", json!("")),
        ("a scope that is a number", "/spec/scope", json!(1)),
        ("no versions", "/spec/versions", json!([])),
        ("a second version", "/spec/versions/1", version("v2", false)),
        (
            "two that are stored",
            "/spec/versions/1",
            version("v2", true),
        ),
        (
            "one version twice",
            "/spec/versions/1",
            version("v1", false),
        ),
        ("a version in capitals", &name, json!("V1")),
        ("no schema", &schema, Value::Null),
        ("deprecated", &deprecated, json!(true)),
        ("a warning without deprecation", &warning, json!("old")),
        (
            "a kind in lower case",
            "/spec/names",
            names(json!({"kind": "cabinet"})),
        ),
        (
            "a kind with a blank",
            "/spec/names",
            names(json!({"kind": "Ca binet"})),
        ),
        ("no kind", "/spec/names", names(json!({"kind": ""}))),
        (
            "the list is the kind",
            "/spec/names",
            names(json!({"listKind": "Cabinet"})),
        ),
        (
            "a bad short name",
            "/spec/names",
            names(json!({"shortNames": ["c_b"]})),
        ),
        (
            "a bad category",
            "/spec/names",
            names(json!({"categories": ["A"]})),
        ),
        (
            "a column of time",
            &columns,
            column("date", ".metadata.creationTimestamp"),
        ),
        (
            "a column of no type",
            &columns,
            column("time", ".spec.wood"),
        ),
        (
            "a column without a dot",
            &columns,
            column("string", "spec.wood"),
        ),
        ("a column of no path", &columns, column("string", ".spec[")),
        ("a scale", &subresources, scale(".spec.n", ".status.n")),
        ("a scale of no field", &subresources, scale("", ".status.n")),
        (
            "a scale of lists",
            &subresources,
            scale(".spec.n[0]", ".status.n"),
        ),
        (
            "a scale of the wrong side",
            &subresources,
            scale(".spec.n", ".spec.n"),
        ),
        (
            "old preservation",
            "/spec/preserveUnknownFields",
            json!(true),
        ),
        (
            "a strategy of none",
            "/spec/conversion",
            json!({"strategy": "None"}),
        ),
        (
            "an unknown strategy",
            "/spec/conversion",
            json!({"strategy": "Magic"}),
        ),
        ("no plural", "/spec/names", names(json!({"plural": ""}))),
    ];
    insta::assert_snapshot!(judge(rows).await);
}

#[tokio::test]
async fn schemas_are_judged_as_kubernetes_judges_them() {
    let string = json!({"type": "string"});
    let of = |more: Value| {
        let mut schema = json!({"type": "object"});
        for (name, value) in more.as_object().unwrap() {
            schema[name] = value.clone();
        }
        schema
    };
    let list = |kind: &str, more: Value| {
        let mut schema = json!({"type": "array", "x-kubernetes-list-type": kind});
        for (name, value) in more.as_object().unwrap() {
            schema[name] = value.clone();
        }
        schema
    };
    let rule = |text: &str| {
        of(json!({"properties": {"a": string},
        "x-kubernetes-validations": [{"rule": text}]}))
    };
    let item = json!({"type": "object", "required": ["a"], "properties": {"a": string}});
    let rows = vec![
        (
            "open",
            of(json!({"x-kubernetes-preserve-unknown-fields": true})),
        ),
        ("no type", json!({})),
        ("an unknown type", json!({"type": "text"})),
        ("the type null", json!({"type": "null"})),
        ("a list of anything", json!({"type": "array"})),
        (
            "a list of items without a type",
            json!({"type": "array", "items": {}}),
        ),
        ("a reference", json!({"type": "string", "$ref": "#/x"})),
        (
            "unique items",
            json!({"type": "array", "items": string, "uniqueItems": true}),
        ),
        (
            "a pattern that is none",
            json!({"type": "string", "pattern": "["}),
        ),
        (
            "a type in an alternative",
            of(json!({"anyOf": [{"type": "object"}]})),
        ),
        (
            "a default in an alternative",
            of(json!({"not": {"default": 1}})),
        ),
        (
            "a bound in an alternative",
            json!({"type": "integer", "oneOf": [{"minimum": 1}]}),
        ),
        (
            "a number or a text",
            json!({"x-kubernetes-int-or-string": true}),
        ),
        (
            "an open number",
            json!({"x-kubernetes-int-or-string": true,
            "x-kubernetes-preserve-unknown-fields": true}),
        ),
        (
            "both named and other fields",
            of(json!({"properties": {"a": string},
            "additionalProperties": string})),
        ),
        (
            "preserving nothing",
            of(json!({"x-kubernetes-preserve-unknown-fields": false})),
        ),
        (
            "an embedded text",
            json!({"type": "string", "x-kubernetes-embedded-resource": true}),
        ),
        (
            "an embedded nothing",
            of(json!({"x-kubernetes-embedded-resource": true})),
        ),
        ("a default", json!({"type": "string", "default": "a"})),
        (
            "a default of another type",
            json!({"type": "string", "default": 1}),
        ),
        (
            "a default out of bounds",
            json!({"type": "integer", "minimum": 2, "default": 1}),
        ),
        (
            "a default with other fields",
            of(json!({"properties": {"a": string},
            "default": {"b": 1}})),
        ),
        ("a set", list("set", json!({"items": string}))),
        (
            "a set of objects",
            list("set", json!({"items": of(json!({}))})),
        ),
        (
            "a map",
            list(
                "map",
                json!({"items": item, "x-kubernetes-list-map-keys": ["a"]}),
            ),
        ),
        ("a map without keys", list("map", json!({"items": item}))),
        (
            "a map of texts",
            list(
                "map",
                json!({"items": string,
            "x-kubernetes-list-map-keys": ["a"]}),
            ),
        ),
        (
            "a map by an unknown key",
            list(
                "map",
                json!({"items": item,
            "x-kubernetes-list-map-keys": ["b"]}),
            ),
        ),
        ("an unknown list", list("bag", json!({"items": string}))),
        (
            "a list that is an object",
            of(json!({"x-kubernetes-list-type": "set"})),
        ),
        (
            "a map that is a text",
            json!({"type": "string", "x-kubernetes-map-type": "atomic"}),
        ),
        ("a rule", rule("self.a == 'x'")),
        ("a rule that is none", rule("")),
        ("a rule that does not parse", rule("self.a ==")),
        ("a rule with an unknown function", rule("magic(self.a)")),
        ("a rule with an unknown variable", rule("other.a == 'x'")),
    ];
    let at = format!("{SCHEMA}/properties/spec/properties/x");
    let rows = rows
        .into_iter()
        .map(|(name, schema)| (name, at.as_str(), schema));
    insta::assert_snapshot!(judge(rows.collect()).await);
}

/// The definition of a kind with a field for each kind of check.
fn loom() -> Value {
    let string = json!({"type": "string"});
    let mut crd = cabinet();
    crd["metadata"]["name"] = json!("looms.shop.example.com");
    crd["spec"]["names"] = json!({"plural": "looms", "kind": "Loom"});
    let properties = json!({
        "text": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
        "time": {"type": "string", "format": "date-time"},
        "count": {"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 2},
        "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
        "on": {"type": "boolean"},
        "size": {"x-kubernetes-int-or-string": true},
        "gone": {"type": "string", "nullable": true},
        "wood": {"type": "string", "enum": ["oak", "pine"], "default": "oak"},
        "names": {"type": "array", "items": string, "minItems": 1, "maxItems": 2,
            "x-kubernetes-list-type": "set"},
        "ports": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port"], "items": {"type": "object",
                "required": ["port"], "properties": {"port": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": string, "maxProperties": 2},
        "either": {"type": "object", "properties": {"a": string, "b": string},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "part": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true},
        "span": {"type": "object", "properties": {
            "from": {"type": "integer"}, "to": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.from <= self.to",
                "messageExpression": "'from ' + string(self.from) + ' is after to'"}]},
    });
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "properties": properties}}});
    edit(&mut crd, SCHEMA, schema);
    crd
}

async fn with_looms() -> Fixture {
    let fixture = fixture();
    let (code, made) = fixture.post(CRDS, &loom()).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    fixture
}

#[tokio::test]
async fn objects_are_judged_as_kubernetes_judges_them() {
    let (fixture, mut out) = (with_looms().await, String::new());
    let rows = [
        ("nothing", json!({})),
        ("an unknown field", json!({"shuttle": 1})),
        ("a text", json!({"text": "abc"})),
        ("a number for a text", json!({"text": 1})),
        ("a text that is short", json!({"text": "a"})),
        ("a text that is long and wrong", json!({"text": "ABCDE"})),
        ("a time", json!({"time": "2026-01-31T12:00:00Z"})),
        ("a time that is none", json!({"time": "noon"})),
        ("a count", json!({"count": 4})),
        ("a count that is small and odd", json!({"count": -1})),
        ("a count that is large", json!({"count": 10})),
        ("a count with a fraction", json!({"count": 1.5})),
        ("a ratio of zero", json!({"ratio": 0})),
        ("a text for a switch", json!({"on": "true"})),
        ("a size in words", json!({"size": "10%"})),
        ("a size that is neither", json!({"size": true})),
        ("nothing where nothing may be", json!({"gone": null})),
        ("nothing where it has a default", json!({"wood": null})),
        ("nothing where it may not be", json!({"text": null})),
        ("another wood", json!({"wood": "glass"})),
        ("names", json!({"names": ["a", "b"]})),
        ("no names", json!({"names": []})),
        ("a name twice", json!({"names": ["a", "a"]})),
        ("many names", json!({"names": ["a", "b", "c"]})),
        (
            "a port twice",
            json!({"ports": [{"port": 1}, {"port": 2}, {"port": 1}]}),
        ),
        ("a port without a number", json!({"ports": [{}]})),
        ("a label that is a number", json!({"labels": {"a": 1}})),
        (
            "many labels",
            json!({"labels": {"a": "", "b": "", "c": ""}}),
        ),
        ("one of two", json!({"either": {"a": "x"}})),
        ("both of two", json!({"either": {"a": "x", "b": "x"}})),
        ("none of two", json!({"either": {}})),
        (
            "a part without a kind",
            json!({"part": {"apiVersion": "v1"}}),
        ),
        ("a span", json!({"span": {"from": 1, "to": 2}})),
        ("a span backwards", json!({"span": {"from": 2, "to": 1}})),
        ("a list", json!([])),
    ];
    let uri = format!("{LOOMS}?dryRun=All");
    for (name, spec) in rows {
        let body = json!({
            "apiVersion": "shop.example.com/v1", "kind": "Loom",
            "metadata": {"name": "a"}, "spec": spec,
        });
        told(&mut out, name, &fixture.post(&uri, &body).await, "/spec");
    }
    insta::assert_snapshot!(out);
}

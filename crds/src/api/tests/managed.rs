use serde_json::{Value, json};

use super::collect::fields_of;
use super::entries::{Entry, Managed, Operation, Writer};
use super::path::text;
use super::set::Set;
use super::update::{Scope, Views};
use super::{Refused, Request, apply, update};
use crate::api::tests::support;
use crate::api::types::Type;
use crate::resource::KindSchema;
use crate::resource::ResourceKind;

#[path = "managed_cluster.rs"]
mod cluster;
#[path = "managed_laws.rs"]
mod laws;
#[path = "managed_rows.rs"]
mod rows;

/// A kind with every sort of field.
fn kind() -> ResourceKind {
    let int = || json!({"type": "integer"});
    let string = || json!({"type": "string"});
    let pair = || json!({"type": "object", "properties": {"x": int(), "y": int()}});
    let mut whole = pair();
    whole["x-kubernetes-map-type"] = json!("atomic");
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let mut whole_texts = texts.clone();
    whole_texts["x-kubernetes-map-type"] = json!("atomic");
    let set = json!({"type": "array", "items": string(), "x-kubernetes-list-type": "set"});
    let spec = json!({"type": "object", "properties": {
        "a": int(), "b": int(), "c": int(),
        "pair": pair(), "whole": whole, "texts": texts, "wholeTexts": whole_texts,
        "list": {"type": "array", "items": int()},
        "set": set,
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
            "items": {"type": "object", "properties": {
                "port": int(), "name": string(), "protocol": {"type": "string", "default": "TCP"},
                "extra": pair(),
            }},
        },
        "named": {
            "type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {
                "name": string(), "value": int(), "set": set,
            }},
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let mut kind = support::kind("Widget", "widgets", true);
    let status = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let properties = json!({"spec": spec, "status": status});
    kind.schema = KindSchema::from(&json!({"type": "object", "properties": properties}));
    kind
}

const VERSION: &str = "test.heddle.dev/v1";

fn writer(name: &str, operation: Operation) -> Writer {
    Writer {
        name: name.to_owned(),
        operation,
        api_version: VERSION.to_owned(),
        subresource: String::new(),
    }
}

/// An object and who owns what of it.
#[derive(Clone, Debug, Default)]
struct State {
    object: Option<Value>,
    managed: Managed,
    second: u32,
}

impl State {
    fn now(&mut self) -> String {
        self.second += 1;
        format!("2026-01-01T00:00:{:02}Z", self.second % 60)
    }

    fn update(&mut self, by: &str, object: Value) {
        let now = self.now();
        self.managed = update(
            self.managed.clone(),
            Views::new(&kind(), &[]),
            self.object.as_ref(),
            &object,
            &writer(by, Operation::Update),
            Scope::WithoutStatus,
            &now,
        );
        self.object = Some(object);
    }

    fn apply(&mut self, by: &str, force: bool, config: &Value) -> Result<(), Refused> {
        let now = self.now();
        let kind = kind();
        let request = Request {
            views: Views::new(&kind, &[]),
            by: &writer(by, Operation::Apply),
            scope: Scope::WithoutStatus,
            force,
            now: &now,
        };
        let live = self.object.as_ref();
        let (object, managed) = apply(&request, live, config, self.managed.clone())?;
        self.object = Some(object);
        self.managed = managed;
        Ok(())
    }

    /// What each owns, like `alice: .spec.a .spec.b`, updaters with a star.
    fn owners(&self) -> Vec<String> {
        let line = |entry: &Entry| {
            let paths: Vec<String> = entry.fields.paths().iter().map(|p| text(p)).collect();
            let star = match entry.writer.operation {
                Operation::Apply => "",
                Operation::Update => "*",
            };
            format!("{}{star}: {}", entry.writer.name, paths.join(" "))
        };
        let mut lines: Vec<String> = self.managed.0.iter().map(line).collect();
        lines.sort();
        lines
    }
}

fn refused(refused: Refused) -> Vec<String> {
    match refused {
        Refused::Mistakes(all) => all
            .iter()
            .map(|(path, why)| format!("{path}: {why}"))
            .collect(),
        Refused::Conflicts(all) => {
            let line = |c: &super::Conflict| format!("{} {}", c.owner, text(&c.path));
            all.iter().map(line).collect()
        }
    }
}

/// What the steps of a row led to.
fn outcome(row: &rows::Row) -> (rows::Expected, State) {
    let mut state = State::default();
    for (at, step) in row.steps.iter().enumerate() {
        // An empty specification stands for none.
        let config = |spec: &Value| match spec.as_object() {
            Some(fields) if fields.is_empty() => json!({}),
            _ => json!({"spec": spec}),
        };
        let outcome = match step {
            rows::Step::Apply(by, spec) => state.apply(by, false, &config(spec)),
            rows::Step::Force(by, spec) => state.apply(by, true, &config(spec)),
            rows::Step::Update(by, spec) => {
                state.update(by, json!({"spec": spec}));
                Ok(())
            }
        };
        if let Err(why) = outcome {
            assert_eq!(at + 1, row.steps.len(), "{}: {why:?}", row.name);
            return (rows::Expected::Refused(refused(why)), state);
        }
    }
    let object = state.object.clone().unwrap();
    let spec = object.get("spec").cloned().unwrap_or_default();
    (rows::Expected::Object(spec, state.owners()), state)
}

#[test]
fn applies_do_as_kubernetes_does() {
    let mut wrong = Vec::new();
    for row in rows::rows() {
        let (found, state) = outcome(&row);
        if found != row.expected {
            wrong.push(format!(
                "{}\n  expected {:?}\n  found    {found:?}",
                row.name, row.expected
            ));
        }
        let encoded = state.managed.clone().encode();
        let mut decoded = Managed::decode(&encoded).unwrap();
        let mut managed = state.managed;
        decoded.0.sort_by_key(|entry| entry.writer.to_string());
        managed.0.sort_by_key(|entry| entry.writer.to_string());
        assert_eq!(decoded, managed, "{}: FieldsV1 lose nothing", row.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn fields_are_written_as_fields_v1() {
    let value = json!({"spec": {
        "a": 1, "pair": {"x": 1}, "texts": {"k": "v"}, "set": ["p", "q"], "list": [1],
        "ports": [{"port": 80, "name": "http"}],
        "free": {"deep": {"er": [1]}},
    }});
    let kind = kind();
    let set = fields_of(Type::Object(&kind.schema), &value);
    let expected = json!({"f:spec": {
        "f:a": {}, "f:pair": {"f:x": {}}, "f:texts": {"f:k": {}},
        "f:set": {"v:\"p\"": {}, "v:\"q\"": {}}, "f:list": {},
        "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}},
        "f:free": {"f:deep": {".": {}, "f:er": {}}},
    }});
    assert_eq!(set.encode(), expected);
    assert_eq!(Set::decode(&expected).unwrap(), set);
    let paths: Vec<String> = set.paths().iter().map(|p| text(p)).collect();
    assert!(
        paths.contains(&r#".spec.ports[port=80,protocol="TCP"].name"#.to_owned()),
        "{paths:?}"
    );
    assert!(
        paths.contains(&r#".spec.set[="p"]"#.to_owned()),
        "{paths:?}"
    );
}

#[test]
fn foreign_fields_v1_are_read_or_refused() {
    let later = json!({"x:new": {}, "f:a": {}, "i:3": {"f:b": {}}});
    let set = Set::decode(&later).unwrap();
    assert_eq!(set.encode(), json!({"f:a": {}, "i:3": {"f:b": {}}}));
    for bad in [
        json!([]),
        json!({"a": {}}),
        json!({"k:x": {}}),
        json!({"i:x": {}}),
        json!({"f:a": 1}),
    ] {
        assert!(Set::decode(&bad).is_err(), "{bad}");
    }
}

#[test]
fn entries_are_decoded_only_when_well_formed() {
    let good = json!({
        "manager": "m", "operation": "Update", "apiVersion": VERSION, "fieldsType": "FieldsV1",
        "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:a": {}}},
    });
    let list = json!([good]);
    assert_eq!(Managed::decode(&list).unwrap().encode(), list);
    for (field, value) in [
        ("operation", json!("Create")),
        ("apiVersion", json!("")),
        ("fieldsType", json!("")),
        ("fieldsType", json!("FieldsV2")),
        ("fieldsV1", json!({"nonsense": {}})),
        ("manager", json!(1)),
    ] {
        let mut bad = list.clone();
        bad[0][field] = value.clone();
        assert_eq!(Managed::decode(&bad), None, "{field} {value}");
        assert_eq!(
            Managed::of_update(&bad, &list).encode(),
            list,
            "what is stored stays"
        );
    }
    for forgets in [json!([]), json!([{}])] {
        assert_eq!(Managed::of_update(&forgets, &list), Managed::default());
    }
    assert_eq!(Managed::of_update(&Value::Null, &list).encode(), list);
}

#[test]
fn old_updates_are_put_together() {
    let mut state = State::default();
    state.update("m0", json!({"spec": {"free": {"f0": 1}}}));
    for n in 1..15 {
        let mut object = state.object.clone().unwrap();
        object["spec"]["free"][format!("f{n}")] = json!(n);
        state.update(&format!("m{n}"), object);
    }
    let encoded = state.managed.clone().encode();
    let names: Vec<&str> = encoded
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["manager"].as_str().unwrap())
        .collect();
    let mut expected = vec!["ancient-changes".to_owned()];
    expected.extend((6..15).map(|n| format!("m{n}")));
    assert_eq!(names, expected);
    assert_eq!(
        encoded[0]["time"], "2026-01-01T00:00:06Z",
        "that of its newest"
    );
}

#[test]
fn times_change_with_what_is_owned() {
    let mut state = State::default();
    state.apply("a", false, &json!({"spec": {"a": 1}})).unwrap();
    let first = state.managed.clone();
    state.apply("a", false, &json!({"spec": {"a": 1}})).unwrap();
    assert_eq!(state.managed, first, "nothing changed");
    state.apply("a", false, &json!({"spec": {"a": 2}})).unwrap();
    let mut shared = state.clone();
    let config = json!({"spec": {"a": 2}});
    shared.apply("b", false, &config).unwrap();
    let entry = shared.managed.of(&writer("b", Operation::Apply)).unwrap();
    assert_eq!(entry.time, None, "it changed nothing");
    let time = |state: &State| state.managed.0[0].time.clone().unwrap();
    assert_eq!(time(&state), "2026-01-01T00:00:03Z");
    let same = state.object.clone().unwrap();
    state.update("b", same);
    assert_eq!(
        state.managed.0.len(),
        1,
        "an update that changes nothing owns nothing"
    );
}

#[test]
fn what_became_atomic_is_owned_as_a_whole() {
    let mut state = State::default();
    state.update("u", json!({"spec": {"pair": {"x": 1, "y": 2}}}));
    let mut later = kind();
    let mut schema = later.schema.document();
    schema["properties"]["spec"]["properties"]["pair"]["x-kubernetes-map-type"] = json!("atomic");
    later.schema = KindSchema::from(&schema);
    state.managed.fit(Views::new(&later, &[]));
    assert_eq!(state.owners(), ["u*: .spec .spec.pair"]);
    later.version = "v2".to_owned();
    state.managed.fit(Views::new(&later, &[]));
    assert!(state.managed.0.is_empty(), "the version is not served");
}

#[test]
fn a_client_side_apply_can_be_taken_over_by_kubectl() {
    let config = json!({"apiVersion": VERSION, "spec": {"a": 1, "b": 1}});
    let mut live = config.clone();
    live["metadata"]["name"] = json!("x");
    live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        json!(config.to_string());
    let mut state = State::default();
    state.update("kubectl-client-side-apply", live);
    let next = json!({"apiVersion": VERSION, "spec": {"a": 2, "b": 1}});
    let mut other = state.clone();
    assert!(
        other.apply("other", false, &next).is_err(),
        "only kubectl is the same person"
    );
    let mut foreign = state.clone();
    let mut object = foreign.object.clone().unwrap();
    object["spec"]["a"] = json!(5);
    foreign.update("someone", object);
    assert_eq!(
        foreign.apply("kubectl", false, &next).map_err(refused),
        Err(vec![format!("\"someone\" using {VERSION} .spec.a")])
    );
    state.apply("kubectl", false, &next).unwrap();
    let object = state.object.unwrap();
    assert_eq!(object["spec"], next["spec"]);
    let text =
        &object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(text, &json!(format!("{next}\n")), "kept true");
}

use proptest::prelude::*;
use serde_json::{Value, json};

use super::collect::fields_of;
use super::compare::compare;
use super::entries::{Entry, Managed, Operation, Writer};
use super::path::{Element, Literal, text};
use super::set::Set;
use super::update::{Scope, Views};
use super::{Refused, Request, apply, update};
use crate::api::tests::support;
use crate::api::types::Type;
use crate::resource::ResourceKind;

#[path = "managed_cluster.rs"]
mod cluster;
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
    kind.schema = json!({"type": "object", "properties": {
        "spec": spec,
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
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
    later.schema["properties"]["spec"]["properties"]["pair"]["x-kubernetes-map-type"] =
        json!("atomic");
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

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[a-c]".prop_map(Value::from),
        Just(json!(1.5)),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]|name|port|set|spec", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A specification that fits the schema.
fn fitting() -> impl Strategy<Value = Value> {
    let int = || (0..3i64).prop_map(Value::from);
    let pair = || prop::collection::btree_map("x|y", int(), 1..3);
    let texts = || prop::collection::btree_map("[k-m]", "[a-b]", 1..3);
    let port = (
        0..3i64,
        prop::option::of("TCP|UDP"),
        prop::option::of("[a-b]"),
    );
    let ports = prop::collection::btree_map(port, 0..2i64, 1..4).prop_map(|all| {
        let mut seen = std::collections::BTreeSet::new();
        all.into_iter()
            .filter(|((port, protocol, _), _)| {
                seen.insert((*port, protocol.clone().unwrap_or_else(|| "TCP".to_owned())))
            })
            .map(|((port, protocol, name), _)| {
                let mut item = json!({"port": port});
                item["protocol"] = json!(protocol.unwrap_or_else(|| "TCP".to_owned()));
                if let Some(name) = name {
                    item["name"] = json!(name);
                }
                item
            })
            .collect::<Vec<Value>>()
    });
    let scalars = prop::collection::btree_map("[a-c]", int(), 0..3);
    let others = (
        prop::option::of(pair()),
        prop::option::of(pair()),
        prop::option::of(texts()),
        prop::option::of(texts()),
        prop::option::of(prop::collection::vec(int(), 1..3)),
        prop::option::of(prop::collection::btree_set("[p-r]", 1..3)),
        prop::option::of(ports),
        prop::option::of(texts()),
    );
    (scalars, others).prop_map(
        |(scalars, (pair, whole, texts, whole_texts, list, set, ports, free))| {
            let mut spec = json!(scalars);
            for (name, value) in [
                ("pair", json!(pair)),
                ("whole", json!(whole)),
                ("texts", json!(texts)),
                ("wholeTexts", json!(whole_texts)),
                ("list", json!(list)),
                ("set", json!(set)),
                ("ports", json!(ports)),
                ("free", json!(free)),
            ] {
                if !value.is_null() {
                    spec[name] = value;
                }
            }
            json!({"spec": spec})
        },
    )
}

/// What is in the set, of the value.
fn extract(ty: Type<'_>, value: &Value, set: &Set) -> Option<Value> {
    let take = |ty, element: &Element, value: &Value| {
        let leaf = set.has(element) && set.below(element).is_none();
        if leaf {
            // Who owns a map or list whose members are owned one by one, and none of them, has
            // applied it empty; the members are of others.
            let each = !fields_of(ty, value).is_empty();
            return Some(match value {
                Value::Object(_) if each => json!({}),
                Value::Array(_) if each => json!([]),
                whole => whole.clone(),
            });
        }
        set.below(element)
            .and_then(|below| extract(ty, value, below))
    };
    match value {
        Value::Object(map) => {
            let fields = map.iter().filter_map(|(name, value)| {
                let element = Element::field(name);
                let (child, _) = ty.child(&element);
                Some((name.clone(), take(child, &element, value)?))
            });
            Some(Value::Object(fields.collect()))
        }
        Value::Array(items) => {
            let elements = ty.elements(items).unwrap()?;
            let taken = elements.iter().zip(items);
            Some(Value::Array(
                taken
                    .filter_map(|(element, item)| take(ty.item(), element, item))
                    .collect(),
            ))
        }
        scalar => Some(scalar.clone()),
    }
}

fn sets() -> impl Strategy<Value = Set> {
    let element = prop_oneof![
        "[a-c]".prop_map(Element::Field),
        (0..2i64).prop_map(|n| Element::Key(vec![("k".to_owned(), Literal(json!(n)))])),
        scalar().prop_map(|v| Element::Item(Literal(v))),
        (0..2i64).prop_map(Element::Index),
    ];
    let path = prop::collection::vec(element, 1..4);
    prop::collection::vec(path, 0..8).prop_map(|paths| {
        let mut set = Set::default();
        paths.iter().for_each(|path| set.insert(path));
        set
    })
}

proptest! {
    #[test]
    fn sets_do_as_sets_of_paths(a in sets(), b in sets()) {
        use std::collections::BTreeSet;
        let paths = |set: &Set| set.paths().into_iter().collect::<BTreeSet<_>>();
        let (pa, pb) = (paths(&a), paths(&b));
        let mut union = a.clone();
        union.unite(&b);
        prop_assert_eq!(paths(&union), &pa | &pb);
        let mut difference = a.clone();
        difference.subtract(&b);
        prop_assert_eq!(paths(&difference), &pa - &pb);
        prop_assert_eq!(paths(&a.intersection(&b)), &pa & &pb);
        prop_assert_eq!(&Set::decode(&a.encode()).unwrap(), &a);
        prop_assert!(pa.iter().all(|path| a.contains(path)));
        prop_assert_eq!(a.is_empty(), pa.is_empty());
        let mut again = Set::default();
        pa.iter().for_each(|path| again.insert(path));
        prop_assert_eq!(again, a);
    }

    #[test]
    fn an_apply_twice_is_an_apply_once(first in fitting(), other in fitting()) {
        let mut state = State::default();
        state.apply("a", false, &first).unwrap();
        state.apply("b", true, &other).unwrap();
        let before = (state.object.clone(), state.owners());
        state.apply("b", false, &other).unwrap();
        prop_assert_eq!((state.object.clone(), state.owners()), before);
    }

    #[test]
    fn what_one_applied_alone_goes_and_nothing_else(mine in fitting(), theirs in fitting()) {
        let mut state = State::default();
        state.apply("b", false, &theirs).unwrap();
        let before = state.object.clone().unwrap();
        let Ok(()) = state.apply("a", false, &mine) else { return Ok(()) };
        state.apply("a", false, &json!({})).unwrap();
        let ty = kind();
        let after = state.object.clone().unwrap();
        let changes = compare(Type::Object(&ty.schema), &before, &after);
        prop_assert!(changes.removed.is_empty() && changes.modified.is_empty(), "{:?}", changes);
        // Empty parts may stay, which say nothing.
        let left = fields_of(Type::Object(&ty.schema), &after);
        prop_assert_eq!(left, fields_of(Type::Object(&ty.schema), &before));
    }

    #[test]
    fn what_is_applied_can_be_taken_out_again(config in fitting(), other in fitting()) {
        let mut state = State::default();
        state.apply("b", false, &other).unwrap();
        state.apply("a", true, &config).unwrap();
        let kind = kind();
        let own = state.managed.of(&writer("a", Operation::Apply)).map(|e| e.fields.clone());
        let taken = extract(
            Type::Object(&kind.schema),
            state.object.as_ref().unwrap(),
            &own.unwrap_or_default(),
        ).unwrap();
        let changes = compare(Type::Object(&kind.schema), &taken, &config);
        prop_assert!(changes.modified.is_empty() && changes.removed.is_empty(), "{:?}", changes);
        prop_assert_eq!(
            fields_of(Type::Object(&kind.schema), &taken),
            fields_of(Type::Object(&kind.schema), &config)
        );
    }

    #[test]
    fn nothing_panics(
        steps in prop::collection::vec((0..3u8, any::<bool>(), any::<bool>(), anything()), 1..6),
        spec in any::<bool>(),
    ) {
        let mut state = State::default();
        for (who, applies, force, value) in steps {
            let value = if spec { json!({"spec": value}) } else { value };
            let value = if value.is_object() { value } else { json!({"spec": {"named": value}}) };
            let by = format!("m{who}");
            if applies {
                let _ = state.apply(&by, force, &value);
            } else {
                state.update(&by, value);
            }
            let encoded = state.managed.clone().encode();
            prop_assert!(Managed::decode(&encoded).is_some());
        }
    }

    #[test]
    fn changes_lead_from_one_to_the_other(before in fitting(), after in fitting()) {
        let kind = kind();
        let ty = Type::Object(&kind.schema);
        let changes = compare(ty, &before, &after);
        prop_assert_eq!(changes.written().is_empty() && changes.removed.is_empty(), {
            fields_of(ty, &before) == fields_of(ty, &after)
                && compare(ty, &after, &before) == super::compare::Changes::default()
        });
        let back = compare(ty, &after, &before);
        prop_assert_eq!(&changes.added, &back.removed);
        prop_assert_eq!(&changes.modified, &back.modified);
        prop_assert!(changes.added.intersection(&changes.removed).is_empty());
        prop_assert!(changes.added.intersection(&changes.modified).is_empty());
    }
}

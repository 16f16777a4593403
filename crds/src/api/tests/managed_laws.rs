//! Laws of ownership that hold for whatever is written.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::collect::fields_of;
use super::super::compare::{Changes, compare};
use super::super::entries::{Managed, Operation};
use super::super::path::{Element, Literal};
use super::super::set::Set;
use super::{State, kind, writer};
use crate::api::types::Type;

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
                && compare(ty, &after, &before) == Changes::default()
        });
        let back = compare(ty, &after, &before);
        prop_assert_eq!(&changes.added, &back.removed);
        prop_assert_eq!(&changes.modified, &back.modified);
        prop_assert!(changes.added.intersection(&changes.removed).is_empty());
        prop_assert!(changes.added.intersection(&changes.modified).is_empty());
    }
}

//! The laws of schemas, for arbitrary objects and schemas.

#![allow(clippy::unwrap_used)]

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{collection, prop_assert_eq};
use serde_json::{Value, json};

use super::words::Faults;
use super::{Rules, Schema};

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        "[a-d]{0,3}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::hash_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A schema that says something, right or wrong.
fn schema() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        Just("object"),
        Just("array"),
        Just("string"),
        Just("integer"),
        Just("number"),
        Just("boolean"),
        Just("nonsense"),
    ];
    let leaf = (kind, scalar(), any::<bool>(), 0..5u64).prop_map(|(kind, default, flag, n)| {
        json!({
            "type": kind, "default": default, "nullable": flag, "minLength": n, "maximum": n,
            "pattern": "[a", "enum": [default, "a"], "multipleOf": n, "minItems": n,
            "x-kubernetes-preserve-unknown-fields": !flag, "format": "ipv4",
        })
    });
    leaf.prop_recursive(3, 20, 3, |inner| {
        prop_oneof![
            collection::hash_map("[a-d]", inner.clone(), 0..4).prop_map(|map| {
                let names: Vec<_> = map.keys().cloned().collect();
                let properties: serde_json::Map<_, _> = map.into_iter().collect();
                json!({"type": "object", "properties": properties, "required": names})
            }),
            inner.clone().prop_map(|inner| json!({
                "type": "array", "items": inner, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["a"],
            })),
            inner.clone().prop_map(|inner| json!({
                "type": "object", "additionalProperties": inner,
            })),
            collection::vec(inner, 1..3).prop_map(|all| json!({
                "anyOf": all, "oneOf": all, "allOf": all, "not": all[0],
            })),
        ]
    })
}

/// As a kube-apiserver 1.36 answers; the places of these faults are in their texts alone.
#[test]
fn numbers_fit_their_formats() {
    let of = |kind: &str, format: &str| json!({"type": kind, "format": format});
    let schema = Schema::compile(&json!({"type": "object", "properties": {
        "a": of("integer", "int32"), "b": of("integer", "int64"), "c": of("number", "float"),
    }}));
    let found = |object: Value| {
        let mut faults = Faults::default();
        schema.validate(&object, &mut faults);
        let texts = faults.into_vec().into_iter();
        texts
            .map(|f| format!("{}: {}", f.field, f.message))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(json!({"a": 3_000_000_000_i64, "b": u64::MAX, "c": 1e300})),
        [
            "<nil>: \"\": Checked value must be of type integer with format int32 in a",
            "<nil>: \"\": Checked value must be of type integer with format int64 in b",
            "<nil>: \"\": Checked value must be of type number with format float in c",
        ]
    );
    let good = json!({"a": i32::MIN, "b": i64::MIN, "c": -1e38});
    assert_eq!(found(good), [""; 0]);
    assert_eq!(found(json!({"a": 1.0, "b": 1.0, "c": 1})), [""; 0]);
}

proptest! {
    #[test]
    fn pruning_changes_nothing_the_second_time(schema in schema(), mut object in value()) {
        let schema = Schema::compile(&schema);
        schema.prune(&mut object);
        let once = object.clone();
        schema.prune(&mut object);
        prop_assert_eq!(object, once);
    }

    #[test]
    fn pruning_leaves_nothing_unknown(schema in schema(), mut object in value()) {
        let schema = Schema::compile(&schema);
        assert!(schema.unknown(&object, 2).len() <= 2);
        schema.prune(&mut object);
        prop_assert_eq!(schema.unknown(&object, 2), Vec::<String>::new());
    }

    #[test]
    fn filling_in_changes_nothing_the_second_time(schema in schema(), mut object in value()) {
        let schema = Schema::compile(&schema);
        schema.fill_in(&mut object);
        let once = object.clone();
        schema.fill_in(&mut object);
        prop_assert_eq!(object, once);
    }

    #[test]
    fn nothing_panics_whatever_the_schema_is(schema in value(), object in value()) {
        let compiled = Schema::compile(&schema);
        let mut faults = Faults::default();
        compiled.validate(&object, &mut faults);
        if let Some(rules) = Rules::compile(&schema) {
            rules.evaluate(&object, Some(&object), &mut faults);
        }
    }

    #[test]
    fn validation_ends_with_a_bounded_number_of_faults(schema in schema(), object in value()) {
        let mut faults = Faults::default();
        Schema::compile(&schema).validate(&object, &mut faults);
        assert!(faults.len() <= super::words::MAX_ERRORS);
    }
}
